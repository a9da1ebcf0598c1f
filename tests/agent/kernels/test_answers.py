"""Texts of controllers: cut apart without a slip, read without a float."""

import json
from decimal import Decimal
from fractions import Fraction
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.profile import ObjectPoint, SelectorPoint
from joulemark_agent.kernels.answers import (
    MAX_DEPTH,
    Digits,
    members,
    number_and_unit,
    number_of_text,
    parse_json,
    split_answers,
)
from joulemark_agent.kernels.decode import decode_point


@given(
    number=st.integers(-(10**40) + 1, 10**40 - 1),
    places=st.integers(0, 30),
    exponent=st.integers(-80, 80),
)
def test_a_number_is_what_the_text_says_to_the_last_digit(number, places, exponent):
    digits = str(abs(number)).zfill(places + 1)
    cut = len(digits) - places
    plain = f"{'-' if number < 0 else ''}{digits[:cut]}{'.' if places else ''}{digits[cut:]}"
    written = (plain, 0), (f"{plain}e{exponent}", exponent), (f"{plain}E{exponent:+d}", exponent)
    for text, shift in written:
        found = number_of_text(text)
        assert found is not None
        value = Fraction(found[0]) / Fraction(10) ** found[1]
        assert value == Fraction(number) / Fraction(10) ** (places - shift)


@given(text=st.text(alphabet="0123456789.,+-eE xnaif∞١٢", max_size=12))
def test_no_text_is_read_as_another_number_than_it_is_in_json(text):
    found = number_of_text(text)
    if found is None:
        return
    assert Fraction(text) == Fraction(found[0]) / Fraction(10) ** found[1]


@pytest.mark.parametrize(
    "text",
    ["", "-", "1,5", "17,396", "1.", ".5", "0x10", "1e999", "1e-999", "1e9999999999", "NaN",
     "Infinity", "-inf", "1_000", "١٢", "9" * 41, "1 2"],
)  # fmt: skip
def test_what_is_no_plain_number_is_none(text):
    assert number_of_text(text) is None


def test_a_unit_may_stand_behind_the_number():
    assert number_and_unit(" 17396 h ") == ((17396, 0), "h")
    assert number_and_unit("7.2") == ((72, 1), "")
    assert number_and_unit("off") == (None, "")


@given(parts=st.lists(st.one_of(st.none(), st.binary(min_size=4, max_size=4)), max_size=50))
def test_answers_come_apart_as_they_were_put_together(parts):
    texts = [b"X" if part is None else part.hex().upper().encode() for part in parts]

    assert split_answers(b"".join(texts)) == texts


@given(data=st.data())
def test_an_answer_cut_or_garbled_is_never_as_many_answers(data):
    texts = data.draw(
        st.lists(st.one_of(st.just(b"X"), st.just(b"08E15998")), min_size=1, max_size=9)
    )
    whole = b"".join(texts)
    at = data.draw(st.integers(0, len(whole) - 1))
    found = split_answers(whole[:at] + data.draw(st.sampled_from([b"", b"g", b" ", b"\xff"])))

    assert found is None or len(found) < len(texts)


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    document=st.dictionaries(st.text(max_size=3), documents, max_size=5),
    indent=st.sampled_from([None, 1]),
)
def test_members_are_the_parts_of_the_text_itself(document, indent):
    text = json.dumps(document, indent=indent, ensure_ascii=False).encode()
    found = members(text)

    assert {name: json.loads(part) for name, part in found.items()} == document
    assert all(part in text for part in found.values())


def test_members_of_an_array_have_numbers():
    assert members(b' [ {"Id": 1} , 7.0]') == {"0": b'{"Id": 1}', "1": b"7.0"}


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[1,]", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":1,"a":2}',
     b'{"a":"\xff"}', b"\xef\xbb\xbf{}", b"[" * 100_000,
     b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
     b'{"a":' * 50_000 + b"1" + b"}" * 50_000],
)  # fmt: skip
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_a_string_without_an_end_costs_no_more_than_its_length():
    begun_s = perf_counter()
    with pytest.raises(ValueError, match="Unterminated"):
        parse_json(b'"' + b'\\"' * 32_000)  # at each quote a string could begin anew

    assert perf_counter() - begun_s < 1.0  # of an answer as long as one may be: some milliseconds


def test_a_json_number_keeps_its_digits():
    found = parse_json(b'{"a": 0.1000000000000000055511151231257827, "b": "0.1", "c": 1e400}')

    assert [type(found[name]) for name in "abc"] == [Digits, str, Digits]
    assert found["a"] == "0.1000000000000000055511151231257827"
    assert found["c"] == "1e400"  # no infinity


# What becomes of them


def selector_point(**keys):
    return SelectorPoint(
        **{"name": "running_s", "selector": "300701", "type": "uint32", "counter": True,
           "unit_selector": "260701", "unit_code": 0} | keys
    )  # fmt: skip


@given(value=st.integers(0, 0xFFFFFFFF), label=st.integers(0, 0xFFFF))
def test_a_counter_is_its_digits_where_the_controller_counts_seconds_and_nothing_elsewhere(
    value, label
):
    text = f"{value:08X}".encode()

    assert decode_point(selector_point(), text + b"%04X0001" % label) == (str(value), None)
    assert decode_point(selector_point(), text + b"%04X0101" % label) == (None, "unit")
    assert decode_point(selector_point(), text + b"%04X0000" % label) == (None, "sentinel")
    assert decode_point(selector_point(), b"X%04X0001" % label) == (None, "sentinel")
    assert decode_point(selector_point(), text + b"X") == (None, "sentinel")
    assert decode_point(selector_point(), text) == (None, "type")


@given(value=st.integers(-0x8000, 0x7FFF), status=st.integers(0, 0xFFFF))
def test_an_analog_value_is_the_first_half_with_its_sign(value, status):
    point = SelectorPoint(
        name="outlet_k", selector="300202", type="int16_high", scale="0.1", offset="273.15"
    )
    text, code = decode_point(point, b"%04X%04X" % (value & 0xFFFF, status))

    assert code is None
    assert text is not None
    assert Decimal(text) == Decimal(value) / 10 + Decimal("273.15")


hours = ObjectPoint(name="running_s", object=7, units=[{"unit": "h", "scale": 3600}], counter=True)


@given(count=st.integers(0, 10**12))
def test_hours_become_seconds_exactly(count):
    for value in (f'"{count} h"', f'"{count}","Unit":"h"', f'{count},"Unit":" h "'):
        found = decode_point(hours, f'{{"Id":7,"Value":{value}}}'.encode())

        assert found == (str(count * 3600), None)


@pytest.mark.parametrize(
    ("element", "code"),
    [
        (b"", "sentinel"),
        (b"{}", "type"),
        (b'{"Id":8,"Value":"1 h"}', "type"),
        (b'{"Id":7}', "nan"),
        (b'{"Id":7,"Value":null,"Unit":"h"}', "nan"),
        (b'{"Id":7,"Value":"NaN","Unit":"h"}', "nan"),
        (b'{"Id":7,"Value":1e999,"Unit":"h"}', "nan"),
        (b'{"Id":7,"Value":NaN,"Unit":"h"}', "type"),
        (b'{"Id":7,"Value":"1"}', "unit"),
        (b'{"Id":7,"Value":"1 min","Unit":"h"}', "unit"),
        (b'{"Id":7,"Value":"1 h"', "type"),
        (b'[7,"1 h"]', "type"),
        (b'{"Id":7,"Value":{"a":1},"Unit":"h"}', "nan"),
    ],
)
def test_an_element_that_says_something_else_is_no_value(element, code):
    assert decode_point(hours, element) == (None, code)


lamp = ObjectPoint(name="load_state", led="led_load")


@pytest.mark.parametrize("state", [b"{}", b"[1]", b"null", b"true", b"3", b'"on"'])
def test_a_lamp_that_is_in_no_known_state_is_no_value(state):
    assert decode_point(lamp, b'{"State":%b,"Colour":3}' % state) == (None, "type")


@given(
    data=st.binary(max_size=60)
    | st.dictionaries(st.sampled_from(["Id", "Value", "Unit", "State"]), documents).map(
        lambda element: json.dumps(element).encode()
    )
)
def test_no_bytes_of_evidence_can_break_the_decoding(data):
    for point in (hours, selector_point(), lamp):
        text, code = decode_point(point, data)
        assert (text is None) != (code is None)
