import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.physics.openings import (
    opening_loss,
    rectangular_view_factor,
    round_view_factor,
)

sides = st.floats(0.01, 5)


@given(sides, sides, st.floats(0.05, 1))
def test_a_view_is_a_share_and_does_not_hang_on_which_side_is_called_width(a, b, thickness_m):
    seen = rectangular_view_factor(a, b, thickness_m)
    assert seen == rectangular_view_factor(b, a, thickness_m)
    assert 0 < seen.value < 1
    assert seen.is_extrapolated == (min(a, b) / thickness_m < 0.1)


@given(sides, st.floats(0.05, 1), st.floats(0.1, 10))
def test_a_view_hangs_on_ratios_only(side_m, thickness_m, scale):
    assert round_view_factor(side_m * scale, thickness_m * scale).value == pytest.approx(
        round_view_factor(side_m, thickness_m).value, rel=1e-9
    )


def test_without_a_wall_the_view_is_the_widest():
    assert round_view_factor(0.1, 0.0).value == 0.86
    assert rectangular_view_factor(1.0, 1.0, 0.0) == rectangular_view_factor(6.0, 6.0, 1.0)


def test_no_opening_has_no_view():
    assert round_view_factor(0.0, 0.3) == (0.0, False)
    assert rectangular_view_factor(0.0, 1.0, 0.3) == (0.0, False)


@pytest.mark.parametrize("aspect", [1.0, 2.0])
def test_between_two_curves_the_view_is_continuous(aspect):
    at, beyond = (rectangular_view_factor(a * 0.3, 0.3, 0.3).value for a in (aspect, aspect + 1e-9))
    assert at == pytest.approx(beyond, abs=1e-8)


@pytest.mark.parametrize("curve", ["round", "square", "two", "ten"])
def test_the_two_fits_of_a_curve_meet_where_one_takes_over(curve):
    def seen(side_m: float) -> float:
        longer = {"square": 1.0, "two": 2.0, "ten": 10.0}.get(curve)
        if longer is None:
            return round_view_factor(side_m, 1.0).value
        return rectangular_view_factor(side_m, side_m * longer, 1.0).value

    assert seen(1 - 1e-9) == pytest.approx(seen(1.0), abs=0.01)


def test_a_very_narrow_opening_is_held_or_scaled_and_said_to_be_extrapolated():
    held = rectangular_view_factor(0.005, 0.005, 0.1)
    assert held == (rectangular_view_factor(0.01, 0.01, 0.1).value, True)
    slit = rectangular_view_factor(0.005, 0.05, 0.1)
    assert slit.value == pytest.approx(rectangular_view_factor(0.01, 0.1, 0.1).value / 2)
    bore = round_view_factor(0.005, 0.1)
    assert bore.value == pytest.approx(round_view_factor(0.01, 0.1).value / 2)
    assert slit.is_extrapolated
    assert bore.is_extrapolated


def test_an_opening_that_is_open_half_the_time_loses_half():
    whole, half = (opening_loss(1.0, 0.7, 1200.0, 300.0, open_ratio=r) for r in (1.0, 0.5))
    assert half == whole / 2
