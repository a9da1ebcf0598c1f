import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import kolmogorov

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.change_detection import (
    _beyond_a_bridge,
    _cuts,
    changes,
    penalty_of,
)
from joulemark_gateway.measure.logarithm import ln
from nightly import step_detection

PLACE = np.arange(200)


def stepped(seed=1, at=120, by=5.0, n=200):
    series = np.random.default_rng(seed).normal(size=n)
    series[at:] += by
    return series


def exhaustively(values, least, penalty):
    n, floor = values.size, 1e-4 * values.var()
    cheapest, before = [-penalty] + [math.inf] * n, [0] * (n + 1)
    for end in range(least, n + 1):
        for start in range(end - least + 1):
            part = values[start:end]
            variance = max(part.var(), floor)
            own = part.size * (math.log(variance) + part.var() / variance)
            if cheapest[start] + penalty + own < cheapest[end]:
                cheapest[end], before[end] = cheapest[start] + penalty + own, start
    cuts, at = [], before[n]
    while at > 0:
        cuts.append(at)
        at = before[at]
    return cuts[::-1]


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(2, 9), st.floats(1, 20))
def test_the_cuts_are_those_of_trying_all(seed, least, penalty):
    draw = np.random.default_rng(seed)
    values = draw.normal(size=40)
    for at in draw.integers(0, 40, 3):
        values[at:] = values[at:] * draw.uniform(0.3, 2) + draw.normal(0, 2)
    assert _cuts(values, least, penalty).tolist() == exhaustively(values, least, penalty)


def test_compiled_and_plain_cut_alike():
    series = stepped(by=1.5)
    plain = getattr(_cuts, "py_func", _cuts)
    assert plain(series, 7, 12.0).tolist() == _cuts(series, 7, 12.0).tolist()


@given(st.floats(1e-300, 1e300))
def test_the_logarithm_is_the_library_s(x):
    assert ln(x) == pytest.approx(math.log(x), rel=1e-15, abs=1e-15)


@pytest.mark.parametrize("size", [0.1, 0.25, 0.5, 1.0, 1.358, 2.0, 4.0])
def test_the_excursion_s_chance_is_kolmogorov_s_law(size):
    assert _beyond_a_bridge(size) == pytest.approx(kolmogorov(size), rel=1e-10, abs=1e-12)


def test_a_step_is_found_with_its_size_and_its_uncertainty():
    found = changes(stepped(), PLACE, 0.0)
    assert found.at == (120,)
    before, after = found.segments
    assert found.shifts[0] == pytest.approx(5, abs=0.4)
    assert (before.start, before.end, after.start, after.end) == (0, 120, 120, 200)
    assert before.u_mean == pytest.approx(before.sd / math.sqrt(120), rel=1e-12)
    assert found.excursion.at == 120
    assert found.excursion.p_value < 1e-6


def test_a_change_of_the_spread_alone_is_found():
    series = np.random.default_rng(3).normal(size=200)
    series[100:] *= 6
    found = changes(series, PLACE, 0.0)
    assert len(found.at) == 1
    assert found.at[0] == pytest.approx(100, abs=5)
    assert found.segments[1].sd > 3 * found.segments[0].sd


def test_missing_units_leave_holes_and_places_stay():
    series = stepped()
    series[[3, 50, 119]] = np.nan
    place = PLACE + np.where(PLACE >= 60, 1000, 0)
    found = changes(series, place, 0.0)
    assert found.at == (1120,)
    assert [part.units for part in found.segments] == [117, 80]


def test_memory_raises_the_price_and_widens_what_is_said_of_a_mean():
    assert penalty_of(365, 0.7) == pytest.approx(3 * math.log(365) * 1.7 / 0.3, rel=1e-12)
    plain, remembering = (changes(stepped(), PLACE, rho) for rho in (0.0, 0.5))
    assert remembering.penalty == pytest.approx(3 * plain.penalty)
    ratio = remembering.segments[0].u_mean / plain.segments[0].u_mean
    assert ratio == pytest.approx(math.sqrt(3))


def test_a_series_that_never_changes_has_no_cut_and_no_excursion():
    found = changes(np.full(60, 7.0), np.arange(60), 0.3)
    assert found.at == ()
    assert found.excursion.p_value == 1.0


def test_a_stuck_stretch_is_cut_out_and_costs_no_infinity():
    series = np.random.default_rng(5).normal(size=200)
    series[80:140] = 0.25
    assert changes(series, PLACE, 0.0).at == pytest.approx((80, 140), abs=2)


@pytest.mark.parametrize(
    ("n", "rho", "least", "code"),
    [
        (27, 0.0, 14, "series_too_short"),
        (100, 0.0, 1, "series_too_short"),
        (100, 1.0, 14, "bad_rho"),
        (100, -0.1, 14, "bad_rho"),
        (100, math.nan, 14, "bad_rho"),
    ],
)
def test_what_cannot_be_searched_is_refused(n, rho, least, code):
    with pytest.raises(MeasureError) as refused:
        changes(np.zeros(n), np.arange(n), rho, min_units=least)
    assert refused.value.code == code


@pytest.mark.nightly
def test_steps_are_found_and_quiet_series_left_alone():
    assert step_detection.run(1, full=False)
