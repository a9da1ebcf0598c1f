from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.reading import Gap
from joulemark_gateway.measure.intervals import counted, falls, false_zeros
from support.histories import METER, QUARTER_US, history, profile

P = 1000  # period [us]


def prepared(counter, **changes):
    found = history(METER, "energy_wh", counter, period_us=P, **changes)
    return counted(found, found.profile.points[0])


def spans(ready, low=0, high=10**6):
    return [(s.start_us, s.end_us, s.is_estimated, s.reasons) for s in ready.spans_in(low, high)]


def test_readings_in_step_leave_nothing_unmeasured():
    ready = prepared([5, 6, 7, 9])
    assert spans(ready, 0, 3 * P) == []
    assert spans(ready, -P, 4 * P) == [
        (-P, 0, False, ("before_first_reading",)),
        (3 * P, 4 * P, False, ("after_last_reading",)),
    ]


def test_a_gap_gives_its_cause_and_is_estimated():
    assert spans(prepared([5, 6, 7, 9], lost=[2]), 0, 3 * P) == [(P, 3 * P, True, ("gap:timeout",))]


def test_a_bad_value_is_named():
    assert spans(prepared([5, 6, 7, 9], bad=[1]), 0, 3 * P) == [(0, 2 * P, True, ("bad_value",))]


def test_a_false_zero_is_named_and_books_nothing_twice():
    ready = prepared([5, 0, 7, 9])
    assert false_zeros(ready.events) == 1
    assert ready.totals(np.array([0, 3 * P])).total.tolist() == [4]
    assert spans(ready, 0, 3 * P) == [(0, 2 * P, True, ("false_zero",))]


def test_a_fall_is_missing_and_counted():
    ready = prepared([5, 6, 2, 4])
    assert falls(ready.events) == 1
    assert spans(ready, 0, 3 * P) == [(P, 2 * P, False, ("counter_fell",))]


def test_a_fall_that_the_next_count_takes_back_is_a_spike():
    ready = prepared([5, 6, 2, 9])
    assert falls(ready.events) == 0
    assert ready.totals(np.array([0, 3 * P])).total.tolist() == [4]
    assert spans(ready, 0, 3 * P) == [(P, 3 * P, True, ("spike",))]


def test_a_device_without_a_usable_reading_has_nothing():
    ready = prepared([5, 6], bad=[0, 1])
    assert spans(ready, 0, P) == [(0, P, False, ("no_reading",))]
    assert ready.totals(np.array([0, P])).missing_us.tolist() == [P]


def test_a_silence_that_nothing_explains_is_still_named():
    found = history(METER, "energy_wh", [1, 2, 3, 4], period_us=P, lost=[1, 2])
    ready = counted(replace(found, gaps=()), found.profile.points[0])
    assert spans(ready, 0, 3 * P) == [(0, 3 * P, True, ("no_reading",))]


def test_two_causes_in_one_silence_are_both_named():
    found = history(METER, "energy_wh", [1, 2, 3, 4], period_us=P, lost=[1, 2])
    gaps = (found.gaps[0], Gap(METER, 2 * P, 2 * P, 1, "refused"))
    ready = counted(replace(found, gaps=gaps), found.profile.points[0])
    assert spans(ready, 0, 3 * P) == [(0, 3 * P, True, ("gap:refused", "gap:timeout"))]


def meter(energy, lagging, leading, power_factor, *, bad=()):
    n = len(energy)
    good = np.ones(n, np.bool_)
    good[list(bad)] = False
    model = profile("virtual_main_meter")
    found = history(METER, "energy_wh", energy, period_us=QUARTER_US)
    return replace(
        found,
        profile=model,
        counters={
            "energy_wh": np.array(energy),
            "reactive_lagging_varh": np.array(lagging),
            "reactive_leading_varh": np.array(leading),
        },
        gauges={"power_w": np.zeros(n), "power_factor_ratio": np.array(power_factor)},
        good={
            "energy_wh": np.ones(n, np.bool_),
            "reactive_lagging_varh": good,
            "reactive_leading_varh": good,
            "power_factor_ratio": good,
            "power_w": good,
        },
    )


def test_a_meter_that_answers_with_nothing_at_all_was_not_measuring():
    found = meter([5, 9, 9, 12], [1, 2, 2, 3], [0] * 4, [0.9, 0.9, 0.0, 0.9])
    ready = counted(found, found.profile.point("energy_wh"))
    totals = ready.totals(found.slot_us)
    assert totals.total.tolist() == [4, 0, 3]
    assert totals.missing_us.tolist() == [0, QUARTER_US, 0]
    assert [s.reasons for s in ready.spans_in(0, 3 * QUARTER_US)] == [("all_zero",)]


def test_a_plant_that_stands_still_was_measured():
    found = meter([5, 9, 9, 12], [1, 2, 2, 3], [0] * 4, [0.9, 0.9, 0.1, 0.9])
    totals = counted(found, found.profile.point("energy_wh")).totals(found.slot_us)
    assert not totals.missing_us.any()


def test_a_rule_does_not_judge_what_was_not_read():
    found = meter([5, 5, 9, 12], [0] * 4, [0] * 4, [0.0] * 4, bad=[1])
    totals = counted(found, found.profile.point("energy_wh")).totals(found.slot_us)
    assert not totals.missing_us.any()


counters = st.lists(st.sampled_from([0, 0, 3, 9, 40, 41, 77]), min_size=1, max_size=20)


@given(counters, st.data())
def test_the_unmeasured_spans_are_exactly_what_the_kernel_left_uncovered(counter, data):
    slots = st.sets(st.integers(0, len(counter) - 1))
    lost = data.draw(slots)
    bad = data.draw(slots) - lost
    ready = prepared(counter, lost=sorted(lost), bad=sorted(bad))
    cuts = np.array(sorted(data.draw(st.sets(st.integers(-3 * P, 25 * P), min_size=2, max_size=8))))
    totals = ready.totals(cuts)
    for k, (low, high) in enumerate(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)):
        inside = list(ready.spans_in(low, high))
        assert (
            sum(s.end_us - s.start_us for s in inside if s.is_estimated) == totals.estimated_us[k]
        )
        assert (
            sum(s.end_us - s.start_us for s in inside if not s.is_estimated) == totals.missing_us[k]
        )
        assert all(s.reasons for s in inside)


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    """The first call of a kernel compiles it, which no example should pay for."""
    prepared([1, 2]).totals(np.array([0, 1]))
