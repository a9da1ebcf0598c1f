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
    LED,
    NODE,
    OBJECT,
    SELECTOR,
    SUNSPEC,
    AnyPoint,
    Identify,
    NodePoint,
    ObjectPoint,
    Point,
    Profile,
    SelectorPoint,
    SunspecPoint,
)
from joulemark_agent.contract.reading import Response
from joulemark_agent.kernels.answers import ABSENT, number_and_unit, parse_json, split_answers
from joulemark_agent.kernels.datavalue import STALE, TYPE, is_older, number_of

MISSING, SENTINEL, NOT_A_NUMBER, RANGE = "missing", "sentinel", "nan", "range"
SCALE = "scale"  # no scale factor, or one by which a counter counts fractions
TEXT = "text"  # a string: it has no number, see `text_of`
UNIT = "unit"  # the controller states a unit that the profile does not know for the point
NOT_DUE = "not_due"  # the point has a slower period of its own and was not asked at this slot
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
    responses = _latest(responses)
    layout = _layout(responses)
    for name, cut, decode in _decoders(profile, layout):
        data = cut(responses)
        if data is None:
            quality[name] = lacking(profile.point(name))
            continue
        text, code = decode(data)
        if text is not None:
            values[name] = text
        if code is not None:
            quality[name] = code
    return values, quality


def lacking(point: AnyPoint) -> str:
    """The code of a point of which no response has a word."""
    return NOT_DUE if isinstance(point, Point) and point.every_s is not None else MISSING


def raw_of(profile: Profile, responses: Sequence[Response]) -> dict[str, bytes]:
    """The bytes that each point was decoded from, as `decode_point` takes them."""
    responses = _latest(responses)
    layout = _layout(responses)
    found = ((name, cut(responses)) for name, cut, _ in _decoders(profile, layout))
    return {name: data for name, data in found if data is not None}


def decode_point(point: AnyPoint, data: bytes) -> Decoded:
    """The value of one point from its own data bytes.

    Args:
        point: what the bytes mean.
        data: Modbus and SunSpec: 2 bytes per word, in transmission order, then the scale register
            or factor where the point has one. OPC UA: the DataValue in its binary encoding. Over
            HTTP: the text of the answer; of an Elektronikon, those to both selectors.
    """
    return _decoder(point)(data)


def text_of(string: Point | Identify | SunspecPoint, data: bytes) -> str:
    """The text of a string's own bytes: up to the first zero byte, without blanks at its ends.

    Bytes that are no printable ASCII stand as '?', and 0xFF at the end is padding.
    """
    arrange = None if isinstance(string, SunspecPoint) else _arrangement(string)
    data = data if arrange is None else arrange(data)
    text = data.partition(b"\0")[0].rstrip(b"\xff")
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in text).strip()


def identifies(rule: Identify, data: bytes) -> bool:
    """Whether the registers hold what proves the model; numbers are compared raw."""
    found = found_in(rule, data)
    return found in rule.expected if rule.expected else found not in rule.excluded


def found_in(rule: Identify, data: bytes) -> str | Decimal | None:
    """What identifying registers hold: a text, or the raw number; None: no number."""
    if rule.type == "string":
        return text_of(rule, data)
    arrange = _arrangement(rule)
    found = _digits_reader(rule)(data if arrange is None else arrange(data))
    return None if found is None else Decimal(_shifted(*found))


_Cut = Callable[[Sequence[Response]], bytes | None]


def _latest(responses: Sequence[Response]) -> Sequence[Response]:
    """Of several values of a variable, as a subscription brings them, the last counts."""
    if not responses or responses[0].table != NODE:
        return responses
    return tuple({response.address: response for response in responses}.values())


def _layout(responses: Sequence[Response]) -> tuple[tuple[str, int, int], ...]:
    """Where what stands; where nothing has a place within an answer its length is not counted."""
    return tuple((r.table, r.address, 0 if r.table in _WHOLE else len(r.data)) for r in responses)


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
    if isinstance(point, (SelectorPoint, ObjectPoint)):
        return _cut_texts(point, layout)
    place = place_of(point, layout)
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
    place = place_of(point, layout)
    if place is None:
        return lambda _: None
    index, start, end, factor = place

    def cut(responses: Sequence[Response]) -> bytes | None:
        data = responses[index].data
        model, length = _HEAD.unpack_from(data)
        if model != point.model or length + 2 < point.end:
            return None  # another model, or one that ends before the point
        return data[start:end] + (b"" if factor is None else data[factor : factor + 2])

    return cut


def _cut_texts(
    point: SelectorPoint | ObjectPoint, layout: tuple[tuple[str, int, int], ...]
) -> _Cut:
    """The texts of a point, one behind the other."""
    places = (
        [point.place]
        if isinstance(point, ObjectPoint)
        else [(SELECTOR, int(selector, 16)) for selector in point.selectors]
    )
    at = {(table, address): k for k, (table, address, _) in enumerate(layout)}
    if not at.keys() >= set(places):
        return lambda _: None
    found = [at[place] for place in places]
    return lambda responses: b"".join([responses[k].data for k in found])


Place = tuple[int, int, int, int | None]  # response; first byte, end; first byte of the factor


def place_of(point: Point | SunspecPoint, layout: Sequence[tuple[str, int, int]]) -> Place | None:
    """Where the point stands, its scale register with it: both are of one response or missing."""
    if isinstance(point, SunspecPoint):
        return _place_in_model(point, layout)
    first, last = point.span
    for index, (table, address, size) in enumerate(layout):
        if table == point.table and address <= first and 2 * (last - address) <= size:
            start, factor = 2 * (point.address - address), point.scale_register
            place = None if factor is None else 2 * (factor.address - address)
            return index, start, start + 2 * point.words, place
    return None


def _place_in_model(point: SunspecPoint, layout: Sequence[tuple[str, int, int]]) -> Place | None:
    for index, (table, model, size) in enumerate(layout):
        if (table, model) == (SUNSPEC, point.model) and size >= 2 * point.end:
            start, factor = 2 * point.offset, point.scale_offset
            return index, start, start + 2 * point.words, None if factor is None else 2 * factor
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
    if isinstance(point, SelectorPoint):
        return _selector_reader(point)
    if isinstance(point, ObjectPoint):
        return _object_reader(point)
    return _sunspec_reader(point) if isinstance(point, SunspecPoint) else _words_reader(point)


def _words_reader(point: Point) -> Callable[[bytes], Decoded]:
    if point.type == "string":
        return lambda _: (None, TEXT)
    if point.scale_register is not None:
        return _scaled_reader(point)
    if point.offset or not point.type.startswith(("int", "uint")):
        return _number_reader(point)
    arrange, signed = _arrangement(point), point.type.startswith("int")
    numerator, places = fraction(point.scale)
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
    numerator, places = fraction(point.scale)
    added, added_places = fraction(point.offset)
    sentinels = frozenset(point.sentinels)
    is_as_sent = point.type.startswith("float") and (numerator, places, added) == (1, exponent, 0)

    def read(data: bytes) -> Decoded:
        if arrange is not None:
            data = arrange(data)
        if sentinels and int.from_bytes(data, "big") in sentinels:
            return None, SENTINEL
        if is_as_sent and "e" not in (text := shortest(data) or "e"):  # what most floats are
            text = text.removesuffix(".0")
            return ("0" if text == "-0" else text), None
        found = number_of_words(data)
        if found is None:
            return None, NOT_A_NUMBER
        number, below = found[0] * numerator, found[1] + places - exponent
        if added:
            number, below = _sum(number, below, added, added_places)
        return _finite(_shifted(number, below))

    return read


def _scaled_reader(point: Point) -> Callable[[bytes], Decoded]:
    """How to read a point whose own words are followed by those of its scale register."""
    size = 2 * point.words
    order: Literal["big", "little"] = "little" if point.order in {"BADC", "DCBA"} else "big"
    numerator, _ = fraction(point.scale)
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
    mask = arrangement_mask(registers)
    if mask == 0:
        return None
    take = itemgetter(*(i ^ mask for i in range(2 * registers.words)))
    return lambda data: bytes(take(data))


def arrangement_mask(registers: Point | Identify) -> int:
    """Byte i of a number stands at i XOR this: so of 2, 4 and 8 bytes, and of strings in BADC."""
    size = 2 * registers.words
    return {
        "ABCD": 0, "BADC": 1, "CDAB": size - 2, "DCBA": size - 1,
        "CDABGHEF": 2, "EFGHABCD": 4, "GHEFCDAB": 6,
    }[registers.order]  # fmt: skip


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
    if point.type == "string":
        return lambda _: (None, TEXT)
    size = 2 * point.words
    signed = point.type.startswith("int")
    numerator, places = fraction(point.scale)
    not_available = absent(point.type, 8 * size)

    def read(data: bytes) -> Decoded:
        exponent = 0
        if point.scale_offset is not None:
            exponent = int.from_bytes(data[size:], "big", signed=True)
            if not -_LARGEST_FACTOR <= exponent <= _LARGEST_FACTOR:
                return None, SCALE  # not implemented is -32768
        if point.type.startswith("float"):
            return _float(data[:size], numerator, places - exponent)
        if int.from_bytes(data[:size], "big") == not_available:
            return None, SENTINEL
        if point.counter and exponent < 0 and numerator % 10**-exponent:
            return None, SCALE
        number = int.from_bytes(data[:size], "big", signed=signed) * numerator
        return _shifted(number, places - exponent), None

    return read


def absent(kind: str, bits: int) -> int:
    """What a SunSpec point holds when the device does not have it; an accumulator holds 0."""
    if kind.startswith("int"):
        return 1 << (bits - 1)
    return 0 if kind.startswith("acc") else (1 << bits) - 1


def _node_reader(point: NodePoint) -> Callable[[bytes], Decoded]:
    numerator, places = fraction(point.scale)
    added, added_places = fraction(point.offset)
    age_us = None if point.max_age_s is None else int(point.max_age_s * 1_000_000)

    def read(data: bytes) -> Decoded:
        number, code = number_of(data, point.type)
        if number is None:
            return None, code
        digits = (number, 0) if isinstance(number, int) else _float_digits(number)
        if digits is None:
            return None, NOT_A_NUMBER
        value, below = digits[0] * numerator, digits[1] + places
        if added:
            value, below = _sum(value, below, added, added_places)
        text, no_number = _finite(_shifted(value, below))
        is_stale = code is None and age_us is not None and is_older(data, age_us)
        return text, no_number or (STALE if is_stale else code)

    return read


def _selector_reader(point: SelectorPoint) -> Callable[[bytes], Decoded]:
    """How to read the answers to a selector and to its unit selector."""
    numerator, places = fraction(point.scale)
    added = fraction(point.offset)
    wanted, signed = len(point.selectors), point.type.startswith("int")
    part = {"h": slice(0, 2), "l": slice(2, 4)}.get(point.type.partition("_")[2][:1], slice(0, 4))

    def read(data: bytes) -> Decoded:
        answers = split_answers(data)
        if answers is None or len(answers) != wanted:
            return None, TYPE
        if ABSENT in answers:
            return None, SENTINEL
        raw, *described = [bytes.fromhex(answer.decode()) for answer in answers]
        if described and not described[0][_ACTIVE]:
            return None, SENTINEL
        if described and described[0][_UNIT_CODE] != point.unit_code:
            return None, UNIT
        number = int.from_bytes(raw[part], "big", signed=signed) * numerator
        return _shifted(*_sum(number, places, *added)), None

    return read


def _object_reader(point: ObjectPoint) -> Callable[[bytes], Decoded]:
    """How to read an element of a Sigma Control 2's answer."""
    if point.led is not None:
        return _lamp
    units = {known.unit: (fraction(known.scale), fraction(known.offset)) for known in point.units}

    def read(data: bytes) -> Decoded:
        if not data:
            return None, SENTINEL
        element = _element(data)
        if element is None or element.get("Id") != str(point.object):
            return None, TYPE
        number, unit = number_and_unit(str(element.get("Value", "")))
        if number is None:
            return None, NOT_A_NUMBER
        factors = units.get(unit or str(element.get("Unit", "")).strip())
        if factors is None:
            return None, UNIT
        (numerator, places), added = factors
        return _finite(_shifted(*_sum(number[0] * numerator, number[1] + places, *added)))

    return read


def _lamp(data: bytes) -> Decoded:
    if not data:
        return None, SENTINEL
    element = _element(data)
    state = "" if element is None else str(element.get("State"))
    return (state, None) if state in {"0", "1", "2"} else (None, TYPE)


def _element(data: bytes) -> dict[str, object] | None:
    try:
        found = parse_json(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


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
    if normal and _FLOAT32.pack(float(text := f"{value:.6g}")) == data:  # most need no more
        return text
    for digits in range(7 if normal else 1, 9):  # six digits always read back to a float32
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


def _sum(number: int, places: int, added: int, added_places: int) -> tuple[int, int]:
    """The sum of two numbers, each divided by 10^places, in the same form."""
    common = max(places, added_places)
    return number * 10 ** (common - places) + added * 10 ** (common - added_places), common


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


def fraction(scale: Decimal) -> tuple[int, int]:
    """The scale as numerator / 10^places, exactly."""
    sign, digits, exponent = scale.as_tuple()
    number = int("".join(map(str, digits))) * (-1 if sign else 1)
    shift = int(exponent)
    while shift < 0 and number % 10 == 0:  # 1.0 is 1, as it stands in the document
        number, shift = number // 10, shift + 1
    return (number * 10**shift, 0) if shift >= 0 else (number, -shift)


_WHOLE = (SELECTOR, OBJECT, LED, NODE)  # tables whose answers are decoded whole
_UNIT_CODE, _ACTIVE = 2, 3  # bytes of what an Elektronikon says of a point; before them its label
_HEAD = struct.Struct(">HH")  # of a SunSpec model: its id, and how many words follow
_LARGEST_FACTOR = 10  # SunSpec 1.1: a scale factor is from -10 to 10
_FLOAT16, _FLOAT32, _FLOAT64 = struct.Struct(">e"), struct.Struct(">f"), struct.Struct(">d")
_TOO_LARGE_A_HALF = 65520.0  # from here on a number is rounded to no float16
_SMALLEST_NORMAL = 2.0**-126
_LONGEST_FINITE = 308  # digits of a whole number that is a float64 for certain
