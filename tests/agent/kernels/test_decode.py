"""Decoding: raw words to exact decimal text, equal to an independent reckoning."""

import math
import struct
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.profile import Point, Profile
from joulemark_agent.contract.reading import Response
from joulemark_agent.kernels.decode import decode_point, decode_responses, shortest
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
