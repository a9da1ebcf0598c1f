"""Canonical JSON: one value, one byte string."""

import json
from decimal import Decimal

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.canonical import (
    MAX_SAFE_INT,
    canonical_bytes,
    decimal_text,
    parse_canonical,
    written_bytes,
)
from joulemark_agent.contract.errors import EvidenceError

texts = st.text(st.characters(exclude_categories=["Cs"]))
keys = texts
values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_SAFE_INT, MAX_SAFE_INT) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_a_value_survives_its_bytes(value):
    assert parse_canonical(canonical_bytes(value)) == value


@given(values)
def test_the_quick_check_accepts_exactly_what_rfc8785_writes(value):
    written = rfc8785.dumps(value)
    loose = json.dumps(value, ensure_ascii=True, indent=1).encode()

    assert parse_canonical(written) == value
    if loose != written:
        with pytest.raises(EvidenceError):
            parse_canonical(loose)


plain_keys = st.text(st.characters(max_codepoint=0x7F))
plain_values = st.recursive(
    st.integers(-MAX_SAFE_INT, MAX_SAFE_INT) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain_keys, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(plain_keys, plain_values, max_size=5))
def test_what_is_written_without_reading_it_back_has_the_same_bytes(value):
    assert written_bytes(value) == canonical_bytes(value) == rfc8785.dumps(value)


def test_a_text_that_utf8_cannot_hold_is_refused_either_way():
    for write in (canonical_bytes, written_bytes):
        with pytest.raises(EvidenceError, match="no canonical form"):
            write({"a": "\ud800"})


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":2}',
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":NaN}',
        b'{"a":-0}',
        b'{"a":9007199254740993}',
        b'{"a":"\\u0041"}',
        b'{"a":"\xff"}',
        b'{"\xef\xbc\xa1":1,"\xf0\x9f\x98\x80":1}',
        b'"' + b"\\" * 3,
        b"[" * 100_000,
        b"",
        b"{} ",
    ],
)
def test_bytes_in_any_other_form_are_refused(data):
    with pytest.raises(EvidenceError) as refusal:
        parse_canonical(data)

    assert refusal.value.code == "not_canonical"


@pytest.mark.parametrize("value", [1.5, {"a": [0.1]}, 2**53, {1: 2}, object(), (1, 2), "\ud800"])
def test_what_has_no_exact_form_is_not_written(value):
    with pytest.raises(EvidenceError):
        canonical_bytes(value)


def test_two_readings_above_two_to_the_53_keep_two_forms():
    """The control is `json` as it comes: as floats the two counters share their bytes."""
    first, second = 9007199254740992, 9007199254740993

    assert json.dumps(float(first)) == json.dumps(float(second))
    assert canonical_bytes(str(first)) != canonical_bytes(str(second))


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_decimal_text_is_exact_and_plain(number):
    text = decimal_text(number)

    assert Decimal(text) == number
    assert "e" not in text.lower()
    assert not (("." in text) and text.endswith(("0", ".")))
