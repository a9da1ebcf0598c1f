"""Decoding: raw words to exact decimal text, equal to an independent reckoning."""

import math
import struct
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.document import parse_yaml, validate
from joulemark_agent.contract.profile import (
    SUNSPEC_WORDS,
    Golden,
    NodePoint,
    Point,
    Profile,
    SunspecPoint,
)
from joulemark_agent.contract.reading import Response
from joulemark_agent.kernels.decode import (
    _decoders,
    decode_point,
    decode_responses,
    raw_of,
    shortest,
)
from support.present import present

INTEGERS = {"uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q"}


def point(kind, **fields):
    made = {"name": "power_w", "table": "holding", "address": 0, "type": kind, **fields}
    return Point.model_validate(made)


@given(
    st.sampled_from(sorted(INTEGERS)), st.data(), st.sampled_from(["1", "100", "0.0001", "-0.5"])
)
def test_an_integer_register_is_exact(kind, data, scale):
    code = INTEGERS[kind]
    bits = 8 * struct.calcsize(code)
    low, high = (0, 2**bits - 1) if code.isupper() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    raw = data.draw(st.integers(low, high))
    text, quality = decode_point(point(kind, scale=scale), struct.pack(f">{code}", raw))

    assert text is not None
    assert quality is None
    with localcontext(prec=60):
        assert Decimal(text) == Decimal(raw) * Decimal(scale)
    assert "e" not in text.lower()


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float32_reads_back_to_the_same_word(value):
    data = struct.pack(">f", value)
    text, _ = decode_point(point("float32"), data)

    assert np.float32(text) == np.float32(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float64_reads_back_to_the_same_word(value):
    text, _ = decode_point(point("float64"), struct.pack(">d", value))

    assert float(present(text)) == value


@pytest.mark.parametrize(
    ("power", "digits"),
    [(-96, "1.26217745e-29"), (87, "1.54742505e+26"), (90, "1.23794004e+27")],
)
def test_where_the_libraries_differ_the_nearest_decimal_stands(power, digits):
    assert shortest(struct.pack(">f", 2.0**power)) == digits


def test_a_kilowatt_float_is_whole_watts():
    assert decode_point(point("float32", scale=1000), bytes.fromhex("414ae148")) == ("12680", None)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_text(value):
    assert decode_point(point("float32"), struct.pack(">f", value)) == (None, "nan")


@given(st.integers(0, 2**32 - 1))
def test_little_word_order_is_the_words_backwards(raw):
    data = struct.pack(">I", raw)

    assert decode_point(point("uint32", word_order="little"), data[2:] + data[:2]) == (
        str(raw),
        None,
    )


def profile(*points):
    return Profile.model_validate(
        {
            "model": "m",
            "kind": "power_meter",
            "protocol": "modbus",
            "source": "made for this test",
            "confidence": "bench",
            "points": points,
            "golden": [{"point": points[0]["name"], "words": [0], "value": 0}],
        }
    )


def test_bad_values_are_named_and_never_filled():
    word = {"table": "holding", "type": "uint16"}
    made = profile(
        {"name": "a_w", "address": 0, **word},
        {"name": "b_w", "address": 1, "sentinels": [0xFFFF], **word},
        {"name": "c_w", "address": 2, "maximum": "10", **word},
        {"name": "d_w", "address": 9, **word},
        {"name": "e_w", "address": 0, **word, "table": "input"},
    )
    data = bytes.fromhex("0001ffff000b")
    values, quality = decode_responses(made, [Response("holding", 0, data)])

    assert values == {"a_w": "1", "c_w": "11"}
    assert quality == {"b_w": "sentinel", "c_w": "range", "d_w": "missing", "e_w": "missing"}


def sunspec(kind, **fields):
    made = {"name": "power_w", "model": 103, "offset": 4, "type": kind, **fields}
    return SunspecPoint.model_validate(made)


ABSENT = {
    "int16": "8000", "uint16": "ffff", "acc16": "0000", "enum16": "ffff",
    "int32": "80000000", "uint32": "ffffffff", "acc32": "00000000", "bitfield32": "ffffffff",
    "int64": "8000000000000000", "uint64": "ffffffffffffffff", "acc64": "0000000000000000",
    "bitfield16": "ffff", "enum32": "ffffffff", "bitfield64": "ffffffffffffffff",
    "float32": "7fc00000", "float64": "7ff8000000000000",
}  # fmt: skip
FLOATS = {"float32", "float64"}


@pytest.mark.parametrize("kind", sorted(SUNSPEC_WORDS))
def test_what_a_device_has_not_is_no_value_of_any_sunspec_type(kind):
    absent = bytes.fromhex(ABSENT[kind])
    assert len(absent) == 2 * SUNSPEC_WORDS[kind]

    text, code = decode_point(sunspec(kind), absent)
    assert text is None
    assert code == ("nan" if kind in FLOATS else "sentinel")
    text, code = decode_point(sunspec(kind, scale_offset=2), absent + b"\0\0")
    assert text is None
    assert code == ("nan" if kind in FLOATS else "sentinel")


@given(st.sampled_from(sorted(set(SUNSPEC_WORDS) - FLOATS)), st.data(), st.integers(-10, 10))
def test_every_other_word_is_a_value_times_its_scale_factor(kind, data, factor):
    size = 2 * SUNSPEC_WORDS[kind]
    raw = data.draw(st.binary(min_size=size, max_size=size))
    if raw == bytes.fromhex(ABSENT[kind]):
        return
    number = int.from_bytes(raw, "big", signed=kind.startswith("int"))
    words = raw + factor.to_bytes(2, "big", signed=True)
    text, code = decode_point(sunspec(kind, scale_offset=2, scale="0.5"), words)

    assert code is None
    with localcontext(prec=60):
        assert Decimal(present(text)) == number * Decimal(10) ** factor / 2


@pytest.mark.parametrize("factor", [-32768, -11, 11, 32767, -32767])
@pytest.mark.parametrize("kind", ["int16", "acc32", "float32"])
def test_without_a_scale_factor_that_can_be_there_is_no_value(kind, factor):
    words = bytes.fromhex("0001" * SUNSPEC_WORDS[kind]) + factor.to_bytes(2, "big", signed=True)

    assert decode_point(sunspec(kind, scale_offset=2), words) == (None, "scale")


@pytest.mark.parametrize(
    ("raw", "factor", "scale", "decoded"),
    [
        (1, 3, 1, ("1000", None)),
        (12345, 0, 1, ("12345", None)),
        (12345, -2, 100, ("12345", None)),  # the profile's scale makes it whole again
        (12345, -2, 1, (None, "scale")),
        (12300, -2, 1, (None, "scale")),  # not a value now and none the next time
        (12300, -3, 100, (None, "scale")),
        (12345, -1, "1.0", (None, "scale")),  # as in its document, where 1.0 stands as 1
        (12345, -4, "1000.0", (None, "scale")),
        (12345, -3, "1000.0", ("12345", None)),
    ],
)
def test_a_counter_that_counts_fractions_is_refused_whatever_it_shows(raw, factor, scale, decoded):
    point = sunspec("acc32", name="generated_wh", scale_offset=2, counter=True, scale=scale)
    words = raw.to_bytes(4, "big") + factor.to_bytes(2, "big", signed=True)

    assert decode_point(point, words) == decoded


def test_a_sunspec_value_outside_its_range_is_kept_and_marked():
    point = sunspec("int16", scale_offset=2, minimum=0, maximum=100)

    assert decode_point(point, bytes.fromhex("000b0001")) == ("110", "range")
    assert decode_point(point, bytes.fromhex("fffeffff")) == ("-0.2", "range")


def inverter():
    points = (
        sunspec("int16", offset=2, scale_offset=3),
        sunspec("uint16", name="front_v", offset=5, scale_offset=2),
        sunspec("uint16", name="end_a", offset=4),
    )
    return Profile(
        model="m", kind="pv_inverter", protocol="sunspec", source="made up by a test",
        confidence="bench", points=points, golden=(Golden(point="end_a", words=(1,), value=1),),
    )  # fmt: skip


def model(*words: int) -> Response:
    return Response("sunspec", 103, struct.pack(f">{len(words)}H", *words))


def test_a_scale_factor_is_of_the_same_answer_wherever_it_stands():
    responses = [model(103, 50, 1, 1, 7, 9)]

    assert decode_responses(inverter(), responses) == (
        {"power_w": "10", "front_v": "90", "end_a": "7"},
        {},
    )
    assert raw_of(inverter(), responses) == {
        "power_w": b"\0\1\0\1",
        "front_v": b"\0\x09\0\1",
        "end_a": b"\0\7",
    }


@pytest.mark.parametrize(
    ("responses", "missing"),
    [
        ([], ["end_a", "front_v", "power_w"]),
        ([model(160, 50, 1, 1, 7, 9)], ["end_a", "front_v", "power_w"]),  # another model
        ([model(103, 4, 1, 1, 7, 9)], []),
        ([model(103, 3, 1, 1, 7, 9)], ["front_v"]),  # it ends before; 9 is of the next model
        ([model(103, 2, 1, 1, 7, 9)], ["end_a", "front_v"]),
        ([model(103, 1, 1, 1, 7, 9)], ["end_a", "front_v", "power_w"]),  # without its factor
        ([model(103, 0, 1, 1, 7, 9)], ["end_a", "front_v", "power_w"]),
        ([model(103, 50, 1, 1, 7)], ["front_v"]),  # cut short
        ([model(103)], ["end_a", "front_v", "power_w"]),
        ([model()], ["end_a", "front_v", "power_w"]),
        ([Response("holding", 103, struct.pack(">6H", 103, 50, 1, 1, 7, 9))],
         ["end_a", "front_v", "power_w"]),
    ],
)  # fmt: skip
def test_a_model_that_moved_or_is_shorter_gives_no_words_of_another(responses, missing):
    values, quality = decode_responses(inverter(), responses)

    assert sorted(quality.items()) == [(name, "missing") for name in missing]
    assert sorted([*values, *quality]) == ["end_a", "front_v", "power_w"]


def test_a_variable_is_found_by_its_place_in_the_profile():
    points = tuple(
        NodePoint(name=name, node=f"nsu=urn:x;s={name}", type="uint8") for name in ("a_k", "b_k")
    )
    made = Profile(
        model="m", kind="furnace", protocol="opcua", source="made up by a test",
        confidence="bench", points=points, golden=(Golden(point="a_k", data="010301", value=1),),
    )  # fmt: skip
    responses = [Response("node", 1, b"\1\3\7")]

    assert decode_responses(made, responses) == ({"b_k": "7"}, {"a_k": "missing"})
    assert raw_of(made, responses) == {"b_k": b"\1\3\7"}


def test_of_several_values_of_a_variable_the_last_counts():
    point = NodePoint(name="a_k", node="nsu=urn:x;s=a", type="uint8")
    made = Profile(
        model="m", kind="furnace", protocol="opcua", source="made up by a test",
        confidence="bench", points=(point,), golden=(Golden(point="a_k", data="010301", value=1),),
    )  # fmt: skip
    known = _decoders.cache_info().misses
    for count in range(1, 50):
        responses = [Response("node", 0, bytes([1, 3, i])) for i in range(count)]
        assert decode_responses(made, responses) == ({"a_k": str(count - 1)}, {})

    assert _decoders.cache_info().misses == known + 1  # whatever came between two slots


def test_a_slow_point_that_was_not_asked_for_is_not_due_and_another_is_missing() -> None:
    text = """
model: any
kind: power_meter
protocol: modbus
source: made up by a test
confidence: bench
points:
  - {name: a_w, table: holding, address: 0, type: uint16}
  - {name: b_wh, table: holding, address: 9, type: uint16, every_s: 60, counter: true}
  - {name: c_w, table: input, address: 9, type: uint16}
"""
    made = validate(Profile, parse_yaml(text, "slow.yaml"))
    first, slow = Response("holding", 0, b"\0\7"), Response("holding", 9, b"\0\5")

    assert decode_responses(made, [first]) == ({"a_w": "7"}, {"b_wh": "not_due", "c_w": "missing"})
    assert decode_responses(made, [first, slow]) == ({"a_w": "7", "b_wh": "5"}, {"c_w": "missing"})
