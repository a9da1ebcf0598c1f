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
from operator import itemgetter
from typing import Literal

from joulemark_agent.contract.profile import (
    NODE,
    SUNSPEC,
    AnyPoint,
    Identify,
    NodePoint,
    Point,
    Profile,
    SunspecPoint,
)
from joulemark_agent.contract.reading import Response
from joulemark_agent.kernels.datavalue import number_of

MISSING, SENTINEL, NOT_A_NUMBER, RANGE = "missing", "sentinel", "nan", "range"
SCALE = "scale"  # no scale factor, or one by which a counter counts fractions
TEXT = "text"  # a string: it has no number, see `text_of`
DISPUTED = "disputed"  # public sources disagree on the point: a number, never a good one

Decoded = tuple[str | None, str | None]  # decimal text, quality code; a good value has no code


def decode_responses(
    profile: Profile, responses: Sequence[Response]
) -> tuple[dict[str, str], dict[str, str]]:
    """The values (decimal text by point) and quality codes (only of points that are not good).

    A point that is disputed or outside its range keeps its value beside the code; a sentinel or
    what is no number has none.
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
        data: Modbus and SunSpec: 2 bytes per word, in transmission order, then the scale register
            or factor where the point has one. OPC UA: the DataValue in its binary encoding.
    """
    return _decoder(point)(data)


def text_of(string: Point | Identify, data: bytes) -> str:
    """The text of a string's own bytes: up to the first zero byte, without blanks at its ends.

    Bytes that are no printable ASCII stand as '?', and 0xFF at the end is padding.
    """
    arrange = _arrangement(string)
    data = data if arrange is None else arrange(data)
    text = data.partition(b"\0")[0].rstrip(b"\xff")
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in text).strip()


def identifies(rule: Identify, data: bytes) -> bool:
    """Whether the registers hold what proves the model; numbers are compared raw."""
    if rule.type == "string":
        return text_of(rule, data) in rule.expected
    arrange = _arrangement(rule)
    found = _digits_reader(rule)(data if arrange is None else arrange(data))
    return found is not None and Decimal(_shifted(*found)) in rule.expected


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
    index, start, end, factor = place
    if factor is None:
        return lambda responses: responses[index].data[start:end]

    def cut(responses: Sequence[Response]) -> bytes:
        data = responses[index].data
        return data[start:end] + data[factor : factor + 2]

    return cut


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


_Place = tuple[int, int, int, int | None]  # response; first byte, end; first byte of the factor


def _place(point: Point, layout: tuple[tuple[str, int, int], ...]) -> _Place | None:
    """Where the point stands, its scale register with it: both are of one response or missing."""
    first, last = point.span
    for index, (table, address, size) in enumerate(layout):
        if table == point.table and address <= first and 2 * (last - address) <= size:
            start, factor = 2 * (point.address - address), point.scale_register
            place = None if factor is None else 2 * (factor.address - address)
            return index, start, start + 2 * point.words, place
    return None


@lru_cache(maxsize=4096)
def _decoder(point: AnyPoint) -> Callable[[bytes], Decoded]:
    read = _reader(point)
    low, high = point.minimum, point.maximum
    if low is None and high is None and not point.disputed:
        return read

    def decode(data: bytes) -> Decoded:
        text, code = read(data)
        if code is not None or text is None:
            return text, code
        if low is not None and Decimal(text) < low:
            return text, RANGE
        if high is not None and Decimal(text) > high:
            return text, RANGE
        return text, DISPUTED if point.disputed else None

    return decode


def _reader(point: AnyPoint) -> Callable[[bytes], Decoded]:
    if isinstance(point, NodePoint):
        return _node_reader(point)
    return _sunspec_reader(point) if isinstance(point, SunspecPoint) else _words_reader(point)


def _words_reader(point: Point) -> Callable[[bytes], Decoded]:
    if point.type == "string":
        return lambda _: (None, TEXT)
    if point.scale_register is not None:
        return _scaled_reader(point)
    if point.offset or not point.type.startswith(("int", "uint")):
        return _number_reader(point)
    arrange, signed = _arrangement(point), point.type.startswith("int")
    numerator, places = _fraction(point.scale)
    sentinels = frozenset(point.sentinels)

    def read(data: bytes) -> Decoded:  # what most points are, without a call too many
        if arrange is not None:
            data = arrange(data)
        if sentinels and int.from_bytes(data, "big") in sentinels:
            return None, SENTINEL
        return _plain(int.from_bytes(data, "big", signed=signed) * numerator, places), None

    return read


def _number_reader(point: Point, exponent: int = 0) -> Callable[[bytes], Decoded]:
    """How to read raw * 10^exponent * scale + offset."""
    arrange, number_of_words = _arrangement(point), _digits_reader(point)
    numerator, places = _fraction(point.scale)
    added, added_places = _fraction(point.offset)
    sentinels = frozenset(point.sentinels)

    def read(data: bytes) -> Decoded:
        if arrange is not None:
            data = arrange(data)
        if sentinels and int.from_bytes(data, "big") in sentinels:
            return None, SENTINEL
        found = number_of_words(data)
        if found is None:
            return None, NOT_A_NUMBER
        number, below = found[0] * numerator, found[1] + places - exponent
        if added:
            common = max(below, added_places)
            number = number * 10 ** (common - below) + added * 10 ** (common - added_places)
            below = common
        return _finite(_shifted(number, below))

    return read


def _scaled_reader(point: Point) -> Callable[[bytes], Decoded]:
    """How to read a point whose own words are followed by those of its scale register."""
    size = 2 * point.words
    order: Literal["big", "little"] = "little" if point.order in {"BADC", "DCBA"} else "big"
    numerator, _ = _fraction(point.scale)
    readers = {
        exponent: _number_reader(point, exponent)
        for exponent in range(-_LARGEST_FACTOR, _LARGEST_FACTOR + 1)
        if not (point.counter and exponent < 0 and numerator % 10**-exponent)
    }

    def read(data: bytes) -> Decoded:
        reader = readers.get(int.from_bytes(data[size:], order, signed=True))
        return (None, SCALE) if reader is None else reader(data[:size])  # none: -32768

    return read


def _arrangement(registers: Point | Identify) -> Callable[[bytes], bytes] | None:
    """How to put the bytes of a value into big-endian order; None: they came in it."""
    size = 2 * registers.words
    # Byte i of a number stands at i XOR this; 2, 4 and 8 bytes, and strings of BADC, have it so.
    mask = {
        "ABCD": 0, "BADC": 1, "CDAB": size - 2, "DCBA": size - 1,
        "CDABGHEF": 2, "EFGHABCD": 4, "GHEFCDAB": 6,
    }[registers.order]  # fmt: skip
    if mask == 0:
        return None
    take = itemgetter(*(i ^ mask for i in range(size)))
    return lambda data: bytes(take(data))


def _digits_reader(registers: Point | Identify) -> Callable[[bytes], tuple[int, int] | None]:
    """How to read the number of big-endian bytes as number / 10^places; None: it is none."""
    if registers.type.startswith("float"):
        return _float_digits
    if registers.type.startswith("bcd"):
        return _bcd_digits
    signed, shift = registers.type.startswith("int"), registers.bit
    if shift is not None:
        return lambda data: (int.from_bytes(data, "big") >> shift & 1, 0)
    return lambda data: (int.from_bytes(data, "big", signed=signed), 0)


def _bcd_digits(data: bytes) -> tuple[int, int] | None:
    digits = data.hex()
    return (int(digits), 0) if digits.isdecimal() else None


def _float_digits(data: bytes) -> tuple[int, int] | None:
    digits = shortest(data)
    if digits is None:
        return None
    mantissa, _, exponent = digits.partition("e")
    whole, _, fraction = mantissa.partition(".")
    return int(whole + fraction), len(fraction) - int(exponent or 0)


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
    """The shortest decimal ('%g' form) of a big-endian float of 16, 32 or 64 bits.

    None for NaN and infinity.
    """
    if len(data) == 8:
        wide = _FLOAT64.unpack(data)[0]
        return repr(wide) if math.isfinite(wide) else None
    if len(data) == 2:
        return _shortest_half(data)
    value = _FLOAT32.unpack(data)[0]
    if not math.isfinite(value):
        return None
    normal = abs(value) >= _SMALLEST_NORMAL or value == 0.0
    for digits in range(6 if normal else 1, 9):  # six digits always read back to a float32
        text = f"{value:.{digits}g}"
        if _FLOAT32.pack(float(text)) == data:
            return text
    return f"{value:.9g}"


def _shortest_half(data: bytes) -> str | None:
    value = _FLOAT16.unpack(data)[0]
    if not math.isfinite(value):
        return None
    for digits in range(1, 5):
        text = f"{value:.{digits}g}"
        if abs(float(text)) < _TOO_LARGE_A_HALF and _FLOAT16.pack(float(text)) == data:
            return text
    return f"{value:.5g}"


def _float(data: bytes, numerator: int, places: int) -> Decoded:
    found = _float_digits(data)
    if found is None:
        return None, NOT_A_NUMBER
    return _finite(_shifted(found[0] * numerator, found[1] + places))


def _finite(text: str) -> Decoded:
    """The value, unless whoever computes with it would have infinity."""
    if len(text) > _LONGEST_FINITE and math.isinf(float(text)):
        return None, NOT_A_NUMBER
    return text, None


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
_FLOAT16, _FLOAT32, _FLOAT64 = struct.Struct(">e"), struct.Struct(">f"), struct.Struct(">d")
_TOO_LARGE_A_HALF = 65520.0  # from here on a number is rounded to no float16
_SMALLEST_NORMAL = 2.0**-126
_LONGEST_FINITE = 308  # digits of a whole number that is a float64 for certain
