"""How numbers stand on a page: never rounded up to whole, none is no zero."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_gateway.reports.plots import Axis
from joulemark_gateway.web import drawing, figures
from joulemark_gateway.web.words import WORDS

SEOUL = ZoneInfo("Asia/Seoul")


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("power_w", 14_680.0, ("14.68", "kW")),
        ("power_w", None, ("–", "kW")),  # noqa: RUF001
        ("power_w", float("nan"), ("–", "kW")),  # noqa: RUF001
        ("temperature_k", 273.15, ("0.0", "°C")),
        ("header_gauge_pressure_pa", 553_100.0, ("5.531", "bar")),
        ("leak_pa_s", -93.86, ("−0.0563", "bar/min")),  # noqa: RUF001
        ("specific_power_j_m3", 390_000.0, ("6.50", "kW/(m³/min)")),
        ("load_count", 5.0, ("5", "")),
        ("efficiency_ratio", 0.8733, ("87.33", "%")),
        ("power_factor_ratio", 0.7722, ("0.772", "")),
        ("irradiation_wh_m2", 1341.0, ("1.341", "kWh/m²")),
        ("gas_co2e_kg", 1184.9971, ("1,184.997", "kg CO2e")),
        ("generated_wh", 413_801_565.0, ("413,801.565", "kWh")),
        ("door_state", 1.0, ("1", "")),
        ("anything", 1.0, ("1.0000", "")),
    ],
)
def test_a_quantity_is_shown_in_the_unit_a_reader_expects(name, value, shown):
    assert figures.quantity(name, value) == shown


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_a_share_says_100_only_where_all_is_there(part, whole):
    text = figures.percent(min(part, whole), whole)
    assert (text == "100") == (part >= whole)
    assert figures.percent(1, 0) == figures.NONE


def test_a_share_says_0_only_where_nothing_is_there():
    assert figures.percent(3, 6_000_000) == "<0.01"
    assert figures.percent(0, 6_000_000) == "0"


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_number_can_be_shown(value):
    assert figures.number(value, 3)


@given(st.integers(-(2**63), 2**63))
def test_any_instant_can_be_shown(time_us):
    assert figures.instant(time_us, SEOUL)
    assert figures.offset(time_us, SEOUL)


@pytest.mark.parametrize(
    ("length_us", "shown"),
    [(0, "0 s"), (59_000_000, "59 s"), (3_600_000_000, "1 h"), (90_061_000_000, "1 d 1 h")],
)
def test_a_length_of_time_has_two_units_at_most(length_us, shown):
    assert figures.duration(WORDS["en"], length_us) == shown


@given(st.integers(0, 2**60), st.integers(1, 400 * 86_400 * 10**6))
def test_a_time_axis_has_few_ticks_inside_it(start_us, length_us):
    axis = Axis(start_us, start_us + length_us, 0, 100)
    ticks = drawing.time_ticks(axis, SEOUL, 9)
    assert len(ticks) <= 20
    assert all(start_us <= at_us <= start_us + length_us for at_us, _, _ in ticks)
