"""RFC 8785 canonical JSON, restricted: no floats, no large integers, no duplicate keys.

Decimals and 64-bit integers travel as strings, so two different readings can never share bytes.
Objects with ASCII keys are checked by the round trip through the standard library, a third of the
cost of `rfc8785` and equal to it (docs/decisions/0003); other keys, which the two sort differently,
go through `rfc8785`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn

import rfc8785

from joulemark_agent.contract.errors import EvidenceError

MAX_SAFE_INT = 2**53 - 1
MAX_VALUES = 250_000  # that any document may hold; a longer one may hold one in so many bytes:
_BYTES_PER_VALUE = 64


def canonical_bytes(value: Any) -> bytes:
    """The one byte form of a value made of str, bool, None, small int, list and dict.

    What was written is read back and compared, so nothing is signed that cannot be read.

    Raises:
        EvidenceError: a float, an integer above 2^53 - 1 or a foreign type is inside.
    """
    try:
        data = _encode(value).encode()
        if not data.isascii() and not _has_plain_keys(value):
            data = rfc8785.dumps(value)
        if parse_canonical(data) == value:
            return data
    except (ValueError, TypeError, RecursionError, EvidenceError) as error:
        raise _not_canonical(f"A value has no canonical form: {error}.") from error
    raise _not_canonical("A value does not survive its canonical form: use str keys and lists.")


def parse_canonical(data: bytes) -> Any:
    """The value of canonical bytes; bytes in any other form are refused.

    Raises:
        EvidenceError: not JSON, not canonical, a float, a duplicate key, or more values than can be
            meant.
    """
    if len(data) > 2 * MAX_VALUES:  # a value takes two bytes at least
        check_values(data, max(MAX_VALUES, len(data) // _BYTES_PER_VALUE))
    try:
        text = data.decode()
        value = _decode(text)
        if text.isascii() or _has_plain_keys(value):
            same = _encode(value) == text
        else:
            value = _decode_strictly(text)
            same = rfc8785.dumps(value) == data
    except (ValueError, RecursionError, EvidenceError) as error:
        raise _not_canonical(f"{len(data)} bytes are not canonical JSON: {error}.") from error
    if not same:
        raise _not_canonical(f"{len(data)} bytes of JSON are not in canonical form (RFC 8785).")
    return value


def check_values(data: bytes, most: int) -> None:
    """Refuse JSON with more values before any of them is built: each takes some hundred bytes.

    What begins a value or parts two is counted outside of texts; of what is no JSON, anything.

    Raises:
        EvidenceError: there may be more.
    """
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') <= 4 * most:
        outside = b"".join(bare.split(b'"')[::2])
        if sum(map(outside.count, (b",", b"[", b"{"))) <= most:
            return
    raise _not_canonical(f"{len(data)} bytes of JSON hold more than {most} values.")


def written_bytes(value: Mapping[str, Any]) -> bytes:
    """`canonical_bytes` of what we write most: a fixed form, so it is not read back to be sure.

    Args:
        value: every key ASCII; texts, integers within 2^53, lists and dicts of these.

    Raises:
        EvidenceError: a text is none that UTF-8 can hold.
    """
    try:
        return _encode(value).encode()
    except UnicodeEncodeError as error:
        raise _not_canonical(f"A value has no canonical form: {error}.") from error


def is_same(one: Any, other: Any) -> bool:
    """Whether two values of JSON are the same; Python takes true for 1, which JSON does not."""
    return one == other and _encode(one) == _encode(other)


def digest_hex(data: bytes) -> str:
    """SHA-256 of the bytes, as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def decimal_text(value: Decimal) -> str:
    """A decimal without exponent and without trailing zeros: '0.01', '12680', '-3.5'."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def _has_plain_keys(value: Any) -> bool:
    """Whether every key inside is ASCII: sorted alike by code point and by UTF-16 unit."""
    if isinstance(value, dict):
        return all(
            isinstance(key, str) and key.isascii() and _has_plain_keys(item)
            for key, item in value.items()
        )
    return not isinstance(value, list) or all(map(_has_plain_keys, value))


def _safe_integer(text: str) -> int:
    number = int(text) if len(text) <= 17 else MAX_SAFE_INT + 1
    if abs(number) > MAX_SAFE_INT:
        raise ValueError(f"the integer {text[:40]} is above 2^53 - 1; write it as a string")
    return number


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"the number {text[:40]} is not an integer; write it as a string")


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a key twice")
    return found


def _not_canonical(what: str) -> EvidenceError:
    return EvidenceError(
        what,
        "If it was received, take it from its source again; if written, use text for numbers.",
        code="not_canonical",
    )


# Built once: json.loads and json.dumps with arguments build one per call. Where the round trip is
# compared a duplicate key needs no hook, it is missing from it.
_encode = json.JSONEncoder(
    sort_keys=True,
    separators=(",", ":"),
    ensure_ascii=False,
    check_circular=False,
    allow_nan=False,
).encode
_numbers: dict[str, Any] = {
    "parse_float": _refuse,
    "parse_constant": _refuse,
    "parse_int": _safe_integer,
}
_decode = json.JSONDecoder(**_numbers).decode
_decode_strictly = json.JSONDecoder(**_numbers, object_pairs_hook=_object_without_duplicates).decode
