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

from joulemark_agent.contract.profile import (
    NODE,
    SUNSPEC,
    AnyPoint,
    NodePoint,
    Point,
    Profile,
    SunspecPoint,
)
from joulemark_agent.contract.reading import Response
from joulemark_agent.kernels.datavalue import number_of

MISSING, SENTINEL, NOT_A_NUMBER, RANGE = "missing", "sentinel", "nan", "range"
SCALE = "scale"  # no scale factor, or one by which a counter counts fractions

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
    for name, cut, decode in _decoders(profile, layout):
        data = cut(responses)
        if data is None:
            quality[name] = MISSING
            continue
        text, code = decode(data)
        if text is not None:
            values[name] = text
        if code is not None:
            quality[name] = code
    return values, quality


def raw_of(profile: Profile, responses: Sequence[Response]) -> dict[str, bytes]:
    """The bytes that each point was decoded from, as `decode_point` takes them."""
    layout = tuple((r.table, r.address, len(r.data)) for r in responses)
    found = ((name, cut(responses)) for name, cut, _ in _decoders(profile, layout))
    return {name: data for name, data in found if data is not None}


def decode_point(point: AnyPoint, data: bytes) -> Decoded:
    """The value of one point from its own data bytes.

    Args:
        point: what the bytes mean.
        data: Modbus: 2 bytes per word, in transmission order. SunSpec: the same, then the scale
            factor where the point has one. OPC UA: the DataValue in its binary encoding.
    """
    return _decoder(point)(data)


_Cut = Callable[[Sequence[Response]], bytes | None]


@lru_cache(maxsize=256)
def _decoders(
    profile: Profile, layout: tuple[tuple[str, int, int], ...]
) -> tuple[tuple[str, _Cut, Callable[[bytes], Decoded]], ...]:
    return tuple(
        (point.name, _cut(i, point, layout), _decoder(point))
        for i, point in enumerate(profile.points)
    )


def _cut(i: int, point: AnyPoint, layout: tuple[tuple[str, int, int], ...]) -> _Cut:
    """How to take the point's own bytes out of the responses; None: they are not there."""
    if isinstance(point, NodePoint):
        found = [k for k, (table, index, _) in enumerate(layout) if (table, index) == (NODE, i)]
        return (lambda responses: responses[found[0]].data) if found else (lambda _: None)
    if isinstance(point, SunspecPoint):
        return _cut_model(point, layout)
    place = _place(point, layout)
    if place is None:
        return lambda _: None
    index, start, end = place
    return lambda responses: responses[index].data[start:end]


def _cut_model(point: SunspecPoint, layout: tuple[tuple[str, int, int], ...]) -> _Cut:
    found = [
        k
        for k, (table, model, size) in enumerate(layout)
        if (table, model) == (SUNSPEC, point.model) and size >= 2 * point.end
    ]
    start, end, factor = 2 * point.offset, 2 * (point.offset + point.words), point.scale_offset

    def cut(responses: Sequence[Response]) -> bytes | None:
        data = responses[found[0]].data
        model, length = _HEAD.unpack_from(data)
        if model != point.model or length + 2 < point.end:
            return None  # another model, or one that ends before the point
        return data[start:end] + (b"" if factor is None else data[2 * factor : 2 * factor + 2])

    return cut if found else lambda _: None


_Place = tuple[int, int, int]


def _place(point: Point, layout: tuple[tuple[str, int, int], ...]) -> _Place | None:
    for index, (table, address, size) in enumerate(layout):
        start = 2 * (point.address - address)
        if table == point.table and start >= 0 and start + 2 * point.words <= size:
            return index, start, start + 2 * point.words
    return None


@lru_cache(maxsize=4096)
def _decoder(point: AnyPoint) -> Callable[[bytes], Decoded]:
    read = _reader(point)
    low, high = point.minimum, point.maximum
    if low is None and high is None:
        return read

    def decode(data: bytes) -> Decoded:
        text, code = read(data)
        if code is not None or text is None:
            return text, code
        if low is not None and Decimal(text) < low:
            return text, RANGE
        if high is not None and Decimal(text) > high:
            return text, RANGE
        return text, None

    return decode


def _reader(point: AnyPoint) -> Callable[[bytes], Decoded]:
    if isinstance(point, NodePoint):
        return _node_reader(point)
    return _sunspec_reader(point) if isinstance(point, SunspecPoint) else _words_reader(point)


def _words_reader(point: Point) -> Callable[[bytes], Decoded]:
    swap = point.word_order == "little" and point.words > 1
    is_float = point.type.startswith("float")
    signed = point.type.startswith("int")
    numerator, places = _fraction(point.scale)
    sentinels = frozenset(point.sentinels)

    def read(data: bytes) -> Decoded:
        if swap:
            data = b"".join(data[i : i + 2] for i in range(len(data) - 2, -1, -2))
        if sentinels and int.from_bytes(data, "big") in sentinels:
            return None, SENTINEL
        if is_float:
            return _float(data, numerator, places)
        return _plain(int.from_bytes(data, "big", signed=signed) * numerator, places), None

    return read


def _sunspec_reader(point: SunspecPoint) -> Callable[[bytes], Decoded]:
    size = 2 * point.words
    signed = point.type.startswith("int")
    numerator, places = _fraction(point.scale)
    absent = _absent(point.type, 8 * size)

    def read(data: bytes) -> Decoded:
        exponent = 0
        if point.scale_offset is not None:
            exponent = int.from_bytes(data[size:], "big", signed=True)
            if not -_LARGEST_FACTOR <= exponent <= _LARGEST_FACTOR:
                return None, SCALE  # not implemented is -32768
        if point.type == "float32":
            return _float(data[:size], numerator, places - exponent)
        if int.from_bytes(data[:size], "big") == absent:
            return None, SENTINEL
        if point.counter and exponent < 0 and numerator % 10**-exponent:
            return None, SCALE
        number = int.from_bytes(data[:size], "big", signed=signed) * numerator
        return _shifted(number, places - exponent), None

    return read


def _absent(kind: str, bits: int) -> int:
    """What a SunSpec point holds when the device does not have it; an accumulator holds 0."""
    if kind.startswith("int"):
        return 1 << (bits - 1)
    return 0 if kind.startswith("acc") else (1 << bits) - 1


def _node_reader(point: NodePoint) -> Callable[[bytes], Decoded]:
    numerator, places = _fraction(point.scale)

    def read(data: bytes) -> Decoded:
        number, code = number_of(data, point.type)
        if number is None:
            return None, code
        if isinstance(number, int):
            return _plain(number * numerator, places), code
        text, no_number = _float(number, numerator, places)
        return text, no_number or code

    return read


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


def _float(data: bytes, numerator: int, places: int) -> Decoded:
    digits = shortest(data)
    if digits is None:
        return None, NOT_A_NUMBER
    text = _scaled(digits, numerator, places)
    if len(text) > _LONGEST_FINITE and math.isinf(float(text)):
        return None, NOT_A_NUMBER  # whoever computes with it would have infinity
    return text, None


def _scaled(digits: str, numerator: int, places: int) -> str:
    mantissa, _, exponent = digits.partition("e")
    whole, _, fraction = mantissa.partition(".")
    places += len(fraction) - int(exponent or 0)
    number = int(whole + fraction) * numerator
    return _shifted(number, places)


def _shifted(number: int, places: int) -> str:
    """The text of number / 10^places; places may be below 0."""
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
    while shift < 0 and number % 10 == 0:  # 1.0 is 1, as it stands in the document
        number, shift = number // 10, shift + 1
    return (number * 10**shift, 0) if shift >= 0 else (number, -shift)


_HEAD = struct.Struct(">HH")  # of a SunSpec model: its id, and how many words follow
_LARGEST_FACTOR = 10  # SunSpec 1.1: a scale factor is from -10 to 10
_FLOAT32, _FLOAT64 = struct.Struct(">f"), struct.Struct(">d")
_SMALLEST_NORMAL = 2.0**-126
_LONGEST_FINITE = 308  # digits of a whole number that is a float64 for certain
