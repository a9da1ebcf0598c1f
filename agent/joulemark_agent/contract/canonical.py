"""RFC 8785 canonical JSON, restricted: no floats, no large integers, no duplicate keys.

Decimals and 64-bit integers travel as strings, so two different readings can never share bytes.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any, NoReturn

import rfc8785

from joulemark_agent.contract.errors import EvidenceError

MAX_SAFE_INT = 2**53 - 1


def canonical_bytes(value: Any) -> bytes:
    """The one byte form of a value made of str, bool, None, small int, list and dict.

    Raises:
        EvidenceError: a float, an integer above 2^53 - 1 or a foreign type is inside.
    """
    _refuse_floats(value)
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError) as error:
        raise EvidenceError(
            f"A value has no canonical form: {error}.",
            "Write decimals and integers above 2^53 - 1 as strings.",
            code="not_canonical",
        ) from error


def parse_canonical(data: bytes) -> Any:
    """The value of canonical bytes; bytes in any other form are refused.

    The check is the round trip through the standard library, which equals RFC 8785 for the
    restricted model (property-tested against `rfc8785`) and costs a tenth of it.

    Raises:
        EvidenceError: not JSON, not canonical, a float, or a duplicate key.
    """
    try:
        value = json.loads(
            data,
            object_pairs_hook=_object_without_duplicates,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
        _refuse_unsortable(value)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        same = text.encode() == data
    except EvidenceError:
        raise
    except (ValueError, RecursionError) as error:
        raise EvidenceError(
            f"{len(data)} bytes are not canonical JSON: {error}.",
            "They were damaged or not written by Joulemark; take them from their source again.",
            code="not_canonical",
        ) from error
    if not same:
        raise EvidenceError(
            f"{len(data)} bytes of JSON are not in canonical form (RFC 8785).",
            "They were rewritten on the way; take them from their source again.",
            code="not_canonical",
        )
    return value


def digest_hex(data: bytes) -> str:
    """SHA-256 of the bytes, as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def decimal_text(value: Decimal) -> str:
    """A decimal without exponent and without trailing zeros: '0.01', '12680', '-3.5'."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise EvidenceError(
            f"The float {value!r} has no place in signed bytes.",
            "Write it as a decimal string.",
            code="not_canonical",
        )
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _refuse_floats(item)


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a key twice")
    return found


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"the number {text} is not an integer")


def _refuse_unsortable(value: Any) -> None:
    """Refuse what the standard library orders or prints unlike RFC 8785.

    Python sorts keys by code point and RFC 8785 by UTF-16 unit, which agree below U+E000; integers
    above 2^53 - 1 have no canonical form at all.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if not key.isascii() and max(key) >= "\ue000":
                raise ValueError(f"the key {key!r} is outside the allowed alphabet")
            _refuse_unsortable(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_unsortable(item)
    elif isinstance(value, int) and abs(value) > MAX_SAFE_INT:
        raise ValueError(f"the integer {value} is above 2^53 - 1")
