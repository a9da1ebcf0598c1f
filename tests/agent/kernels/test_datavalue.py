"""DataValues in their binary encoding: equal to a foreign encoder's, and never an exception."""

import math
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.profile import NodePoint
from joulemark_agent.kernels.datavalue import (
    BAD_STATUS,
    NUMBERS,
    TYPE,
    UNCERTAIN,
    DataValue,
    encode,
    number_of,
    parse,
)
from joulemark_agent.kernels.decode import decode_point

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FOREIGN = {
    "bool": "Boolean", "int8": "SByte", "uint8": "Byte", "int16": "Int16", "uint16": "UInt16",
    "int32": "Int32", "uint32": "UInt32", "int64": "Int64", "uint64": "UInt64",
    "float32": "Float", "float64": "Double",
}  # fmt: skip
SIZES = {name: struct.calcsize(form) for name, (_, form) in NUMBERS.items()}
kinds = st.sampled_from(sorted(NUMBERS))
some_or_none = st.none() | kinds
statuses = st.integers(0, 2**32 - 1)
times_us = st.none() | st.integers(-(10**15), 4 * 10**15)


@st.composite
def values(draw, kinds=some_or_none):
    kind = draw(kinds)
    size = SIZES[kind] if kind else 0
    return DataValue(
        kind, draw(st.binary(min_size=size, max_size=size)), draw(statuses), draw(times_us)
    )


def foreign(value: DataValue) -> bytes:
    """The bytes that asyncua gives the same DataValue."""
    variant = None
    if value.type:
        code = NUMBERS[value.type][1]
        (number,) = struct.unpack(f">{code[1:]}", value.raw)
        number = bool(number) if value.type == "bool" else number
        variant = ua.Variant(number, getattr(ua.VariantType, FOREIGN[value.type]))
    at_us = value.source_time_us
    made = ua.DataValue(
        variant,
        ua.StatusCode(value.status) if value.status else None,
        SourceTimestamp=None if at_us is None else EPOCH + timedelta(microseconds=at_us),
    )
    return bytes(struct_to_binary(made))


def is_nan(value: DataValue) -> bool:
    if value.type not in {"float32", "float64"}:
        return False
    return math.isnan(struct.unpack(f">{NUMBERS[value.type][1][1:]}", value.raw)[0])


@given(values())
def test_what_was_encoded_is_parsed_again(value):
    assert parse(encode(value)) == value


@given(values(kinds))  # one without a value has a Variant of nothing there, and none here
def test_a_foreign_encoder_agrees_byte_for_byte(value):
    if value.type == "bool":  # a foreign encoder writes 1 for true, whatever was read
        value = replace(value, raw=bytes([value.raw != b"\0"]))
    if not is_nan(value):  # whose payload does not survive a Python float
        assert encode(value) == foreign(value)


@given(values(), st.booleans(), st.booleans(), st.booleans())
def test_what_a_server_may_add_is_stepped_over(value, has_server_time, has_pico, has_server_pico):
    """Picoseconds and the server's own time, in the order of part 6."""
    data = encode(value)
    mask = data[0] | has_server_time * 8 | has_pico * 16 | has_server_pico * 32
    more = b"\7\0" * has_pico + b"\1" * 8 * has_server_time + b"\7\0" * has_server_pico

    server_time_us = (0x0101010101010101 - 116_444_736_000_000_000) // 10
    added = replace(value, server_time_us=server_time_us if has_server_time else None)
    assert parse(bytes([mask]) + data[1:] + more) == added


@given(values())
def test_no_part_of_it_is_a_whole_and_none_raises(value):
    data = encode(value)

    assert [parse(data[:size]) for size in range(len(data))] == [None] * len(data)
    assert parse(data + b"\0") is None


@given(values(), st.integers(0, 7))
def test_no_flipped_bit_of_the_mask_raises_or_is_overlooked(value, bit):
    data = encode(value)
    flipped = bytes([data[0] ^ 1 << bit]) + data[1:]

    assert parse(flipped) != value


@given(values(), st.integers(0, 400))
def test_a_flipped_bit_is_never_overlooked(value, place):
    data = bytearray(encode(value))
    data[place // 8 % len(data)] ^= 1 << place % 8

    assert parse(bytes(data)) != value or value.source_time_us is not None


@given(st.binary(max_size=40), kinds)
def test_any_bytes_are_a_number_or_a_code(data, kind):
    number, code = number_of(data, kind)

    assert (number is None) <= (code is not None)
    assert code in {None, UNCERTAIN, BAD_STATUS, TYPE}


@given(st.binary(max_size=40))
def test_what_is_parsed_a_foreign_decoder_reads_alike(data):
    value = parse(data)
    if value is None or value.type is None:
        return
    found = struct_from_binary(ua.DataValue, Buffer(data))
    assert found.Value.VariantType.name == FOREIGN[value.type]
    assert (found.StatusCode_.value if found.StatusCode_ else 0) == value.status
    if value.type != "bool" and not is_nan(value):
        raw = struct.pack(f">{NUMBERS[value.type][1][1:]}", found.Value.Value)
        assert raw == value.raw


@pytest.mark.parametrize(
    ("severity", "number", "code"),
    [(0, 5, None), (1, 5, UNCERTAIN), (2, None, BAD_STATUS), (3, None, BAD_STATUS)],
)
def test_the_two_highest_bits_of_a_status_decide(severity, number, code):
    for rest in (0, 1, 0x3FFFFFFF):
        data = encode(DataValue("uint16", b"\0\5", severity << 30 | rest))
        assert number_of(data, "uint16") == (number, code)


@pytest.mark.parametrize("declared", sorted(NUMBERS))
@pytest.mark.parametrize("held", sorted(NUMBERS))
def test_another_type_than_declared_is_no_value(held, declared):
    data = encode(DataValue(held, b"\0" * SIZES[held]))

    assert (number_of(data, declared)[1] is None) == (held == declared)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("", TYPE),
        ("00", TYPE),  # no value and no status: nothing was said
        ("0100", TYPE),  # a Variant that holds nothing
        ("03000000003480", TYPE),  # cut short
        ("030000003480", BAD_STATUS),
        ("0200003480", BAD_STATUS),
        ("018b01000000000000000000f03f", TYPE),  # an array of one
        ("010c0100000031", TYPE),  # the text "1"
        ("41010000", TYPE),  # a bit of the mask that is not defined
    ],
)
def test_what_is_no_number_is_told_by_its_code(data, code):
    assert number_of(bytes.fromhex(data), "float64") == (None, code)


@pytest.mark.parametrize(
    ("kind", "raw", "fields", "text"),
    [
        ("bool", "00", {}, "0"),
        ("bool", "01", {}, "1"),
        ("bool", "7f", {}, "1"),
        ("int8", "80", {}, "-128"),
        ("uint8", "80", {}, "128"),
        ("int64", "8000000000000000", {}, "-9223372036854775808"),
        ("uint64", "ffffffffffffffff", {"counter": True, "scale": 100}, "1844674407370955161500"),
        ("float32", "414ae148", {"scale": 1000}, "12680"),
        ("float64", "4093e4999999999a", {}, "1273.15"),
    ],
)
def test_a_variable_is_the_exact_text_of_its_value(kind, raw, fields, text):
    made = {"name": "any_unstated", "node": "nsu=urn:x;i=1", "type": kind, **fields}
    data = encode(DataValue(kind, bytes.fromhex(raw)))

    assert decode_point(NodePoint.model_validate(made), data) == (text, None)


@pytest.mark.parametrize(
    ("value", "code"), [("7ff8000000000000", "nan"), ("fff0000000000000", "nan")]
)
@pytest.mark.parametrize("status", [0, 1 << 30])
def test_a_float_that_is_no_number_says_so_whatever_its_status(value, code, status):
    point = NodePoint(name="any_k", node="nsu=urn:x;i=1", type="float64")
    data = encode(DataValue("float64", bytes.fromhex(value), status))

    assert decode_point(point, data) == (None, code)


@pytest.mark.parametrize(
    ("value", "scale", "digits"),
    [(1.7e308, 1, 309), (1.7e308, 10, None), (-1.7e308, 10, None), (1e-308, "1e-80", 390)],
)
def test_a_float_that_its_scale_makes_infinite_is_no_number(value, scale, digits):
    point = NodePoint(name="any_k", node="nsu=urn:x;i=1", type="float64", scale=scale)
    text, code = decode_point(point, encode(DataValue("float64", struct.pack(">d", value))))

    assert (text and len(text), code) == (digits, None if digits else "nan")


def test_an_uncertain_value_outside_its_range_keeps_the_words_of_the_server():
    point = NodePoint(name="any_k", node="nsu=urn:x;i=1", type="uint8", maximum=5)
    data = encode(DataValue("uint8", b"\7", 1 << 30))

    assert decode_point(point, data) == ("7", UNCERTAIN)


@given(st.integers(-(10**15), 10**15), st.integers(-(10**9), 10**9), st.integers(1, 10**9))
def test_a_value_is_stale_by_what_the_server_itself_says_of_its_age(source_us, age_us, most_us):
    point = NodePoint(
        name="any_k", node="nsu=urn:a;s=b", type="uint8", max_age_s=str(Decimal(most_us) / 10**6)
    )
    sent = DataValue("uint8", b"\x07", 0, source_us, source_us + age_us)

    assert decode_point(point, encode(sent)) == ("7", "stale" if abs(age_us) > most_us else None)
    for unknown in (replace(sent, source_time_us=None), replace(sent, server_time_us=None)):
        assert decode_point(point, encode(unknown)) == ("7", "stale")
    without = point.model_copy(update={"max_age_s": None})
    assert decode_point(without, encode(replace(sent, server_time_us=None))) == ("7", None)


@given(st.integers(-128, 127), st.decimals(-1000, 1000, places=4), st.decimals(1, 1000, places=3))
def test_an_offset_is_added_after_the_scale(number, offset, scale):
    point = NodePoint(
        name="any_k", node="nsu=urn:a;s=b", type="int8", scale=str(scale), offset=str(offset)
    )
    text, _ = decode_point(point, encode(DataValue("int8", struct.pack(">b", number))))

    assert text is not None
    assert Decimal(text) == number * scale + offset
