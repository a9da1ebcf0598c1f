"""From raw words to decimal text, exactly: the step a verifier repeats.

An integer register's value is raw * scale in exact integer arithmetic. A float's is the nearest
decimal of n digits for the smallest n that reads back to the same word, times the scale, so
0x414AE148 in kW is 12680 W, not 12680.0003. Rules, traps and cost: docs/decisions/0003.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache

from joulemark_agent.contract.profile import Point, Profile
from joulemark_agent.contract.reading import Response

MISSING, SENTINEL, NOT_A_NUMBER, RANGE = "missing", "sentinel", "nan", "range"

Decoded = tuple[str | None, str | None]  # decimal text, quality code; a good value has no code


def decode_responses(
    profile: Profile, responses: Sequence[Response]
) -> tuple[dict[str, str], dict[str, str]]:
    """The values (decimal text by point) and quality codes (only of points that are not good).

    A point outside its range keeps its value beside the code; a sentinel or NaN has none.
    """
    values: dict[str, str] = {}
    quality: dict[str, str] = {}
    layout = tuple((r.table, r.address, len(r.data)) for r in responses)
    for name, place, decode in _decoders(profile, layout):
        if place is None:
            quality[name] = MISSING
            continue
        index, start, end = place
        text, code = decode(responses[index].data[start:end])
        if text is not None:
            values[name] = text
        if code is not None:
            quality[name] = code
    return values, quality


def decode_point(point: Point, data: bytes) -> Decoded:
    """The value of one point from its own data bytes (2 per word, in transmission order)."""
    return _decoder(point)(data)


_Place = tuple[int, int, int]


@lru_cache(maxsize=256)
def _decoders(
    profile: Profile, layout: tuple[tuple[str, int, int], ...]
) -> tuple[tuple[str, _Place | None, Callable[[bytes], Decoded]], ...]:
    return tuple((p.name, _place(p, layout), _decoder(p)) for p in profile.points)


def _place(point: Point, layout: tuple[tuple[str, int, int], ...]) -> _Place | None:
    for index, (table, address, size) in enumerate(layout):
        start = 2 * (point.address - address)
        if table == point.table and start >= 0 and start + 2 * point.words <= size:
            return index, start, start + 2 * point.words
    return None


@lru_cache(maxsize=4096)
def _decoder(point: Point) -> Callable[[bytes], Decoded]:
    swap = point.word_order == "little" and point.words > 1
    is_float = point.type.startswith("float")
    signed = point.type.startswith("int")
    numerator, places = _fraction(point.scale)
    sentinels, low, high = frozenset(point.sentinels), point.minimum, point.maximum

    def decode(data: bytes) -> Decoded:
        if swap:
            data = b"".join(data[i : i + 2] for i in range(len(data) - 2, -1, -2))
        if sentinels and int.from_bytes(data, "big") in sentinels:
            return None, SENTINEL
        if is_float:
            digits = shortest(data)
            if digits is None:
                return None, NOT_A_NUMBER
            text = _scaled(digits, numerator, places)
        else:
            text = _plain(int.from_bytes(data, "big", signed=signed) * numerator, places)
        if low is not None and Decimal(text) < low:
            return text, RANGE
        if high is not None and Decimal(text) > high:
            return text, RANGE
        return text, None

    return decode


def shortest(data: bytes) -> str | None:
    """The shortest decimal ('%g' form) of a big-endian float32 or float64; None for NaN and Inf."""
    if len(data) == 8:
        wide = _FLOAT64.unpack(data)[0]
        return repr(wide) if math.isfinite(wide) else None
    value = _FLOAT32.unpack(data)[0]
    if not math.isfinite(value):
        return None
    normal = abs(value) >= _SMALLEST_NORMAL or value == 0.0
    for digits in range(6 if normal else 1, 9):  # six digits always read back to a float32
        text = f"{value:.{digits}g}"
        if _FLOAT32.pack(float(text)) == data:
            return text
    return f"{value:.9g}"


def _scaled(digits: str, numerator: int, places: int) -> str:
    mantissa, _, exponent = digits.partition("e")
    whole, _, fraction = mantissa.partition(".")
    places += len(fraction) - int(exponent or 0)
    number = int(whole + fraction) * numerator
    return _plain(number, places) if places >= 0 else _plain(number * 10**-places, 0)


def _plain(number: int, places: int) -> str:
    """The text of number / 10^places: no exponent, no trailing zeros, one zero."""
    if places == 0:
        return str(number)
    sign = "-" if number < 0 else ""
    text = str(abs(number)).zfill(places + 1)
    tail = text[-places:].rstrip("0")
    return f"{sign}{text[:-places]}.{tail}" if tail else f"{sign}{text[:-places]}"


def _fraction(scale: Decimal) -> tuple[int, int]:
    """The scale as numerator / 10^places, exactly."""
    sign, digits, exponent = scale.as_tuple()
    number = int("".join(map(str, digits))) * (-1 if sign else 1)
    shift = int(exponent)
    return (number * 10**shift, 0) if shift >= 0 else (number, -shift)


_FLOAT32, _FLOAT64 = struct.Struct(">f"), struct.Struct(">d")
_SMALLEST_NORMAL = 2.0**-126
