import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.adjustments import (
    Adjustment,
    adjusted,
    by_indicator,
    by_sub_meter,
    excluded_units,
)
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.meter_error import MeterClass, Uncertain

DAY_US = 86_400_000_000
SAVING = Uncertain(1000.0, 30.0, 120.0)


def event(name="oven", first=10, last=19, method="engineering-estimate", **changes):
    given_by = {
        "id": name,
        "start_us": first * DAY_US,
        "end_us": (last + 1) * DAY_US,
        "cause": "a second oven ran on trial",
        "evidence_sha256": "ab" * 32,
        "author": "Kim",
        "approval": "Lee, verifier",
        "method": method,
    }
    if method != "exclude":
        given_by |= {"value_wh": 200.0, "u_wh": 40.0}
    return Adjustment(**(given_by | changes))


def days(n=40):
    return Data.of(
        {"start": np.arange(n) * DAY_US, "energy_wh": np.ones(n)}, unit_us=DAY_US, zone="UTC"
    )


valued = st.builds(
    event,
    st.uuids().map(str),
    value_wh=st.floats(0, 1e6),
    u_wh=st.floats(1e-3, 1e5),
    sign=st.sampled_from([-1, 1]),
)


@given(st.lists(valued, max_size=6, unique_by=lambda one: one.id))
def test_values_add_and_uncertainties_add_in_quadrature(items):
    found = adjusted(SAVING, items)
    assert found.without == SAVING
    total = SAVING.value + sum(one.sign * one.value_wh for one in items)
    assert found.with_adjustments.value == pytest.approx(total, rel=1e-9, abs=1e-6)
    u = math.sqrt(SAVING.u**2 + sum(one.u_wh**2 for one in items))
    assert found.with_adjustments.u == pytest.approx(u, rel=1e-12)
    assert found.with_adjustments.u >= SAVING.u


def test_what_is_left_out_has_no_value_and_the_saving_with_it_stands_beside():
    found = adjusted(SAVING, [event(method="exclude")], unmasked_wh=900.0)
    assert found.with_adjustments.value == SAVING.value
    assert found.unmasked_wh == 900.0
    touched = excluded_units([event(method="exclude"), event("other", 30, 31)], days())
    assert np.flatnonzero(touched).tolist() == list(range(10, 20))


def test_a_unit_that_an_event_touches_in_part_is_left_out():
    short = event(method="exclude", start_us=5 * DAY_US + 1, end_us=6 * DAY_US + 1)
    assert np.flatnonzero(excluded_units([short], days())).tolist() == [5, 6]


@pytest.mark.parametrize(
    ("items", "code"),
    [
        ([event(), event()], "adjustment_twice"),
        ([event(), event("gap", 19, 25, "exclude")], "adjustment_of_excluded"),
        ([event("gap", method="exclude")], "unmasked_missing"),
    ],
)
def test_what_would_count_twice_or_silently_is_refused(items, code):
    known = None if code == "unmasked_missing" else 0.0
    with pytest.raises(MeasureError) as refused:
        adjusted(SAVING, items, known)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "changes",
    [
        {"end_us": 0},
        {"method": "exclude", "value_wh": 1.0},
        {"u_wh": 0.0},
        {"u_wh": -1.0},
        {"value_wh": math.nan},
        {"value_wh": math.inf},
        {"value_wh": -5.0},
        {"sign": 0},
        {"evidence_sha256": "ab"},
        {"author": ""},
        {"approval": ""},
        {"cause": "broken"},
        {"degrees_of_freedom": 0.0},
    ],
)
def test_an_adjustment_that_does_not_say_enough_is_refused(changes):
    with pytest.raises(MeasureError) as refused:
        event(**changes)
    assert refused.value.code == "bad_adjustment"


def test_an_indicator_finds_what_an_event_took_within_its_interval():
    draw = np.random.default_rng(11)
    inside = (np.arange(120) >= 40) & (np.arange(120) < 65)
    saved = 50 + draw.normal(0, 4, 120) - 30.0 * inside
    found = by_indicator(saved, np.arange(120), inside)
    assert found.value == pytest.approx(30 * 25, abs=2 * found.u)
    assert 0 < found.u < 60
    mended = adjusted(Uncertain(float(saved.sum()), 50.0), [
        event(method="indicator", value_wh=found.value, u_wh=found.u)
    ])  # fmt: skip
    assert mended.with_adjustments.value == pytest.approx(50 * 120, abs=150)


def test_without_memory_quadrature_is_exact_for_an_indicator():
    draw = np.random.default_rng(12)
    inside = np.arange(100) < 30
    saved = draw.normal(0, 1, 100)
    saved[1::2] -= 0.5 * saved[::2]  # a correlation below 0 counts as none
    found = by_indicator(saved, np.arange(100), inside)
    means = [saved[inside].mean(), saved[~inside].mean()]
    assert found.value == pytest.approx(30 * (means[1] - means[0]), rel=1e-9)
    residuals = saved - np.where(inside, *means)
    s2 = (residuals**2).sum() / 98
    exact = (1 / 30 + 1 / 70) * 30**2
    assert found.u**2 / s2 == pytest.approx(exact, rel=0.2)
    # S + A is the mean without the event over all units, whose variance is n^2 / (n - L).
    assert 100 + exact == pytest.approx(100**2 / 70, rel=1e-12)


@pytest.mark.parametrize("inside", [np.arange(60) < 6, np.arange(60) >= 6, np.zeros(60, bool)])
def test_an_indicator_asks_for_units_with_and_without_the_event(inside):
    with pytest.raises(MeasureError) as refused:
        by_indicator(np.arange(60.0), np.arange(60), inside)
    assert refused.value.code == "indicator_one_sided"


def test_a_sub_meter_gives_what_it_counted_with_its_class():
    found = by_sub_meter(np.full(10, 50.0), MeterClass(0.02))
    assert found == replace(found, value=500.0)
    assert found.u == pytest.approx(0.02 / math.sqrt(3) * 500, rel=1e-12)
