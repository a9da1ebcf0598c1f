"""From raw words to decimal text, exactly: the step a verifier repeats.

An integer register's value is raw * scale in exact decimals. A float's is the shortest decimal
that gives the same float back, times the scale, so 0x414AE148 in kW is 12680 W, not 12680.0003.
Source of the shortest form: Steele and White (1990), as numpy prints float32 and float64.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache

import numpy as np

from joulemark_agent.contract.canonical import decimal_text
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
    scale, sentinels = point.scale, frozenset(point.sentinels)
    low, high = point.minimum, point.maximum
    whole = int(scale) if scale == scale.to_integral_value() else None

    def decode(data: bytes) -> Decoded:
        if swap:
            data = b"".join(data[i : i + 2] for i in range(len(data) - 2, -1, -2))
        if sentinels and int.from_bytes(data, "big") in sentinels:
            return None, SENTINEL
        if is_float:
            number = float_decimal(data)
            if number is None:
                return None, NOT_A_NUMBER
            value = number * scale
        else:
            raw = int.from_bytes(data, "big", signed=signed)
            if whole is not None and low is None and high is None:
                return str(raw * whole), None
            value = raw * scale
        out = (low is not None and value < low) or (high is not None and value > high)
        return decimal_text(value), RANGE if out else None

    return decode


def float_decimal(data: bytes) -> Decimal | None:
    """The shortest decimal of a big-endian float32 or float64; None for NaN and infinities."""
    number = struct.unpack(">f" if len(data) == 4 else ">d", data)[0]
    if not math.isfinite(number):
        return None
    return Decimal(str(np.float32(number)) if len(data) == 4 else repr(number))
