"""What controllers answer as text over HTTP: cut apart and read exactly, never through a float.

A reading keeps these texts as they were received, so that a stranger reads them again. An
Elektronikon answers a question of n selectors with n answers in their order, eight hexadecimal
digits or, where it has no such thing, one X. A Sigma Control 2 answers with JSON, of which one
element is kept per point, as it stands in the answer.
Source: siyka-au/node-elektronikon-cgi@902c0f8 notes/elektronikon-mkv-protocol.md;
Brown-Industries/kaeser-sc2-api@9a3eccd docs/reference-data.md; RFC 8259 (JSON).
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 16  # of nested JSON; the answers have 4
MAX_EXPONENT = 80  # 1e999999999 is short to write and long to compute
ABSENT = b"X"

_ANSWER = re.compile(rb"X|[0-9A-Fa-f]{8}")
_NUMBER = re.compile(r"(-?)([0-9]{1,40})(?:\.([0-9]{1,40}))?(?:[eE]([+-]?[0-9]{1,3}))?")
# A string that does not end is one too: else each of its quotes would be tried as a beginning.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"?|([\[{])|([\]}])')


def split_answers(text: bytes) -> list[bytes] | None:
    """The answers of an Elektronikon one by one; None: something else stands between them."""
    found = _ANSWER.findall(text)
    return found if sum(map(len, found)) == len(text) else None


def number_of_text(text: str) -> tuple[int, int] | None:
    """The number as number / 10^places; None: it is none, or of too many digits.

    A comma is no decimal point and parts no thousands: what it means depends on the language.
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    sign, whole, fraction, exponent = found[1], found[2], found[3] or "", int(found[4] or 0)
    if abs(exponent) > MAX_EXPONENT:
        return None
    return int(f"{sign}{whole}{fraction}"), len(fraction) - exponent


def number_and_unit(text: str) -> tuple[tuple[int, int] | None, str]:
    """A number and the unit behind it, such as that of '17396 h'; the unit may be missing."""
    number, _, unit = text.strip().partition(" ")
    return number_of_text(number), unit.strip()


def parse_json(text: bytes) -> Any:
    """The JSON document, its numbers as the text that stands there, as `Digits`.

    Raises:
        ValueError: no UTF-8, no JSON, nested too deeply, or a name twice in one object.
    """
    decoded = text.decode("utf-8", "strict")
    _check_depth(decoded)
    return json.loads(
        decoded,
        parse_float=Digits,
        parse_int=Digits,
        parse_constant=_refuse_constant,
        object_pairs_hook=_unique,
    )


class Digits(str):
    """A JSON number as it was written; a JSON string is a plain `str`."""

    __slots__ = ()


def members(text: bytes) -> dict[str, bytes]:
    """What an object or an array holds, by name or number, each as it stands in the text.

    Args:
        text: a document that `parse_json` reads, or a part of one.

    Raises:
        ValueError: it is neither an object nor an array.
    """
    decoded = text.decode("utf-8", "strict")
    at = _after_blanks(decoded, 0)
    if (opening := decoded[at : at + 1]) not in _CLOSING:
        raise ValueError("there is neither an object nor an array")
    found: dict[str, bytes] = {}
    at = _after_blanks(decoded, at + 1)
    while decoded[at] != _CLOSING[opening]:
        name = str(len(found))
        if opening == "{":
            name, at = _DECODER.raw_decode(decoded, at)
            at = _after_blanks(decoded, _after_blanks(decoded, at) + 1)  # the colon
        _, end = _DECODER.raw_decode(decoded, at)
        found[name] = decoded[at:end].encode()
        at = _after_blanks(decoded, end)
        if decoded[at] == ",":
            at = _after_blanks(decoded, at + 1)
    return found


def _after_blanks(text: str, at: int) -> int:
    while text[at : at + 1] in {" ", "\t", "\r", "\n"}:
        at += 1
    return at


def _check_depth(text: str) -> None:
    depth = 0
    for found in _BRACKETS.finditer(text):
        depth += bool(found[1]) - bool(found[2])
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


_CLOSING = {"{": "}", "[": "]"}
_DECODER = json.JSONDecoder(parse_float=Digits, parse_int=Digits)
