"""Figures are plain decimals, rounded half to even, of at most ten significant digits."""

from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.reports.figures import (
    kwh,
    local_time,
    percent,
    places,
    share,
    significant,
    tonnes,
    with_half_width,
)

SEOUL, BERLIN = ZoneInfo("Asia/Seoul"), ZoneInfo("Europe/Berlin")
numbers = st.one_of(
    st.integers(-(10**15), 10**15),
    st.floats(-1e15, 1e15, allow_nan=False),
    st.decimals(-(10**12), 10**12, allow_nan=False, places=6),
)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0, 3, "0.000"),
        (-0.0, 3, "0.000"),
        (-1e-9, 3, "0.000"),
        (0.0005, 3, "0.000"),
        (0.0015, 3, "0.002"),
        (2.5, 0, "2"),
        (3.5, 0, "4"),
        (959636.71, 3, "959636.710"),
        (12345678.9012, 3, "12345678.90"),
        (12345678901234, 3, "12345678900000"),
        (999999999.95, 3, "1000000000"),
        (9.9996, 3, "10.000"),
        (Decimal("-1.25"), 1, "-1.2"),
        (np.float64(0.1), 3, "0.100"),
    ],
)
def test_a_value_is_printed_with_fixed_places(value, digits, text):
    assert places(value, digits) == text


@given(numbers, st.integers(0, 6))
def test_no_figure_has_more_than_ten_significant_digits_or_an_exponent(value, digits):
    for text in (places(value, digits), significant(value, 10), kwh(value), tonnes(value)):
        plain = text.lstrip("-").replace(".", "")
        assert plain.isdigit()
        assert len(plain.lstrip("0").rstrip("0" if "." not in text else "")) <= 10
        assert not text.startswith("-") or plain.strip("0"), "there is no minus zero"


@given(st.floats(-1e9, 1e9, allow_nan=False))
def test_a_difference_in_the_last_binary_place_is_not_printed_unless_it_is_a_tie(value):
    other = np.nextafter(value, np.inf)
    assert abs(Decimal(places(value, 3)) - Decimal(places(other, 3))) <= Decimal("0.001")


def test_what_is_no_number_is_refused():
    for value in (float("nan"), float("inf"), Decimal("NaN")):
        with pytest.raises(MeasureError) as caught:
            places(value, 3)
        assert caught.value.code == "not_finite"


def test_units_are_those_a_reader_expects():
    assert kwh(959636710) == "959636.710"
    assert kwh(1) == "0.001"
    assert tonnes(439993.4) == "439.993400"
    assert percent(0.5) == "50.0000"
    assert (share(1, 3), share(1, 0)) == ("33.3333", None)


@pytest.mark.parametrize(
    ("value", "half", "shown"),
    [
        (30678.973, 1845.271, ("30679", "1845")),
        (9847.98, 292.38, ("9848.0", "292.4")),
        (14.667742, 1.146, ("14.668", "1.146")),
        (5, 0, ("5", "0")),
        (123456.7, 98765.4, ("123457", "98765")),
    ],
)
def test_a_headline_is_as_fine_as_its_half_width_allows(value, half, shown):
    assert with_half_width(value, half) == shown


def test_local_times_carry_their_offset():
    assert local_time(1_541_602_800_000_000, SEOUL) == "2018-11-08 00:00 +09:00"
    assert local_time(1_540_686_600_000_000, BERLIN) == "2018-10-28 02:30 +02:00"
    assert local_time(1_540_690_200_000_000, BERLIN) == "2018-10-28 02:30 +01:00"
    assert local_time(1_541_602_801_000_001, SEOUL) == "2018-11-08 00:00:01.000001 +09:00"
