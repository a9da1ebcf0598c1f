"""A baseline that grows, against the fit of all units at once and against certified values."""

import json
import math
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure import Baseline, Plan
from joulemark_gateway.measure.adjustments import Adjustment
from joulemark_gateway.measure.arrivals import line_of
from joulemark_gateway.measure.calendar import US_PER_HOUR
from joulemark_gateway.measure.families import Mean, Production, Temperature, TimeOfWeek
from joulemark_gateway.measure.finding import named
from joulemark_gateway.measure.growing import RENEWAL_POLICIES, Growing
from joulemark_gateway.measure.models.production import activity
from joulemark_gateway.measure.models.shapes import Shape
from support.five_parameters import ar1
from support.held import Held
from support.plants import DAY_US, FIRST_US, days
from support.temperature_meters import made

N, M = 180, 60
POLICY = RENEWAL_POLICIES["renew-grown-or-changed"]
NAMES = tuple(f"line_{k}_kg" for k in range(7))
WARM = Held(Shape("5p", 14.0, 20.0))


def plan(model, **more) -> Plan:
    return Plan("caltrack-daily-2.0", "art-trees-eq11", model=model, **more)


def plant(n=N + M, names=NAMES, seed=1, holes=()):
    """A plant of some lines of very unlike output, whose noise remembers the day before."""
    draw = np.random.default_rng(seed)
    lines = {name: draw.uniform(1, 2, n) * 10.0 ** (k % 4 + 2) for k, name in enumerate(names)}
    energy_wh = 1e5 + sum(lines.values()) + 500 * ar1(draw, n, 0.5)
    data = days(energy_wh, **lines)
    return data.where(~np.isin(data.position, holes))


def of(names=NAMES) -> Production:
    return Production(tuple(activity(name, "kg") for name in names))


def warm(n=N + M):
    return made(np.random.default_rng(5), n=n)


CASES = {
    "eight terms": (plant(), plan(of())),
    "eight terms, holes": (plant(holes=(3, 4, 90, N - 1, N, N + 7, N + 8)), plan(of())),
    "five parameters": (warm(), plan(WARM)),
    "two free slopes": (warm(), plan(Held(Shape("4p", 16.0)))),
    "heating": (warm(), plan(Held(Shape("3ph", 14.0)))),
    "mean": (warm(), plan(Mean())),
}


def first(data, n=N):
    return data.where(data.position < n)


def some(units, low=0, high=None):
    return units.where(np.arange(units.n)[low:high])


def after(data, n=N):
    return data.where(data.position >= n)


def grown_over(units, asked):
    return Growing.of(Baseline.fit(first(units), asked)).add(after(units))


def assert_same(grown, full, later, rel=1e-8):
    ours, theirs = grown.fitted.linear, full.fitted.linear
    assert ours.beta == pytest.approx(theirs.beta, rel=rel)
    assert (ours.sse, ours.sst) == pytest.approx((theirs.sse, theirs.sst), rel=rel)
    assert ours.inverse == pytest.approx(theirs.inverse, rel=rel, abs=1e-300)
    assert ours.adjusted_r2 == pytest.approx(theirs.adjusted_r2, rel=rel, abs=1e-9)
    assert grown.rho == pytest.approx(full.rho, rel=rel)
    assert tuple(grown.process) == pytest.approx(tuple(full.process), rel=rel)
    weights = np.ones((1, later.n))
    assert grown.covariance(later, weights) == pytest.approx(
        full.covariance(later, weights), rel=rel
    )
    assert grown.predict_wh(later) == pytest.approx(full.predict_wh(later), rel=rel)


@cache
def fits(case):
    """The growing baseline of the first units, and the full fit of all."""
    units, asked = CASES[case]
    return Growing.of(Baseline.fit(first(units), asked)), line_of(Baseline.fit(units, asked))


@settings(max_examples=15)
@given(case=st.sampled_from(sorted(CASES)), data=st.data())
def test_steps_of_any_sizes_give_the_fit_of_all_units_at_once(case, data):
    units, (start, full) = CASES[case][0], fits(case)
    later = after(units)
    cuts = data.draw(st.lists(st.integers(0, later.n), max_size=5).map(sorted))
    grown = start
    for low, high in zip([0, *cuts], [*cuts, later.n], strict=True):
        grown = grown.add(some(later, low, high))
    once = start.add(later)
    assert np.array_equal(grown.triangle, once.triangle)
    assert np.array_equal(grown.estimate.fitted.linear.beta, once.estimate.fitted.linear.beta)
    assert_same(grown.estimate, full, later)
    assert grown.n == units.n
    assert start.n == first(units).n, "the one that was added to stays as it is"


@pytest.mark.parametrize(
    ("family", "data"),
    [
        (of(), plant()),
        (Temperature(), warm(365)),
        (Temperature(kinds=("4p",), divided=False), warm(365)),
        (TimeOfWeek(), warm(365)),
        (Mean(), warm(365)),
    ],
    ids=["production", "temperature", "4p", "time-of-week", "mean"],
)
def test_before_anything_is_added_it_is_the_baseline_itself(family, data):
    baseline = Baseline.fit(data, plan(family))
    assert_same(Growing.of(baseline).estimate, line_of(baseline), data)


def test_day_by_day_over_a_year_stays_at_the_full_fit():
    units, asked = warm(730), plan(WARM)
    grown = Growing.of(Baseline.fit(first(units, 365), asked))
    for k in range(365, 730):
        grown = grown.add(some(units, k, k + 1))
    assert_same(grown.estimate, line_of(Baseline.fit(units, asked)), units, rel=1e-11)


def test_units_of_which_less_was_measured_weigh_less_as_in_the_full_fit():
    units = warm()
    hours = np.random.default_rng(3).integers(13, 25, units.n)
    part = replace(units, measured_us=hours * US_PER_HOUR, energy_wh=units.energy_wh * hours / 24)
    asked = plan(WARM)
    grown = grown_over(part, asked).estimate
    assert_same(grown, line_of(Baseline.fit(part, asked)), after(part))


def test_a_direction_that_follows_from_the_others_counts_but_adds_nothing():
    """With both points in one place, cold and warm together are the base."""
    units, asked = warm(), plan(Held(Shape("5p", 16.0, 16.0)))
    full = line_of(Baseline.fit(units, asked))
    grown = grown_over(units, asked).estimate
    assert np.count_nonzero(np.diag(grown.noise.model.basis)) == 4
    assert np.count_nonzero(np.diag(full.noise.model.basis)) == 4
    assert_same(grown, full, after(units))


@pytest.mark.parametrize(("name", "limit"), [("large_offset", 1e-9), ("weekly_collinear", 1e-9),
    ("poly7_filip_like", 1e-6), ("daily_5p_fixed_cp_60_66F", 1e-9)])  # fmt: skip
def test_certified_coefficients_are_kept_while_it_grows(plant_data, name, limit):
    cases = json.loads((plant_data / "mv/exact_ols_shared.json").read_text("utf-8"))["cases"]
    case = next(one for one in cases if one["name"] == name)
    x = np.array([[float(Fraction(v)) for v in row] for row in case["X"]])
    y = np.array([float(Fraction(v)) for v in case["y"]])
    true = np.array([float(v) for v in case["certified"]["beta"]])
    names = [f"x{k}_kg" for k in range(1, x.shape[1])]
    units = days(y, **dict(zip(names, x[:, 1:].T, strict=True)))
    begun = units.n * 2 // 3
    grown = Growing.of(Baseline.fit(first(units, begun), plan(of(names))))
    for k in range(begun, units.n):
        grown = grown.add(some(units, k, k + 1))
    ours = grown.estimate.fitted.linear
    assert ours.beta == pytest.approx(true, rel=limit)
    assert ours.sse == pytest.approx(float(case["certified"]["sse"]), rel=limit)


def test_sums_of_products_lose_what_the_rotations_keep():
    """The control: uncentred normal equations, of drivers that vary little around a large value."""
    draw = np.random.default_rng(2)
    counter = 1e7 + draw.uniform(0, 50, N + M)
    units = days(5e5 + 20 * (counter - 1e7) + draw.normal(0, 5, N + M), count_kg=counter)
    asked = plan(of(["count_kg"]))
    full = line_of(Baseline.fit(units, asked)).fitted.linear
    grown = grown_over(units, asked).estimate.fitted.linear
    assert grown.beta == pytest.approx(full.beta, rel=1e-8)
    assert grown.sse == pytest.approx(full.sse, rel=1e-8)
    products, sums, squares = np.zeros((2, 2)), np.zeros(2), 0.0
    for row, value in zip(full.x, full.y, strict=True):
        products += np.outer(row, row)
        sums += row * value
        squares += value * value
    naive = np.linalg.solve(products, sums)
    assert naive != pytest.approx(full.beta, rel=1e-6)
    assert squares - naive @ sums != pytest.approx(full.sse, rel=1e-6)


def test_what_is_missing_or_left_out_is_a_hole_and_not_zero():
    units = plant()
    energy_wh = units.energy_wh.copy()
    energy_wh[N + 5] = math.nan
    line = units.driver(NAMES[2]).copy()
    line[N + 9] = math.nan
    holed = replace(units, energy_wh=energy_wh, drivers={**units.drivers, NAMES[2]: line})
    out = Adjustment(
        id="fire", start_us=FIRST_US + (N + 20) * DAY_US, end_us=FIRST_US + (N + 23) * DAY_US,
        method="exclude", cause="a fire in the hall", evidence_sha256="0" * 64, author="J. Kim",
        approval="A. Park",
    )  # fmt: skip
    asked = plan(of(), adjustments=(out,))
    grown = Growing.of(Baseline.fit(first(units), asked)).add(after(holed))
    assert grown.n == N + M - 5
    assert grown.seen.missing == 5
    assert_same(grown.estimate, line_of(Baseline.fit(holed, asked)), after(units))
    assert grown.add(some(units, 0, 0)) is grown


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda later: some(later, 0, 1), "duplicate_stamp"),
        (lambda later: replace(later, start_us=later.start_us - 2 * DAY_US), "stamps_out_of_order"),
        (lambda later: some(replace(later, position=later.position - N), 1),
         "shared_place"),
        (lambda later: replace(later, drivers={}), "missing_driver"),
    ],
)  # fmt: skip
def test_units_that_do_not_go_on_are_refused_and_nothing_is_lost(spoil, code):
    units = plant()
    grown = Growing.of(Baseline.fit(first(units), plan(of()))).add(after(units).where([0]))
    with pytest.raises(MeasureError) as refused:
        grown.add(spoil(after(units)))
    assert refused.value.code == code
    assert grown.add(some(after(units), 1)).n == N + M


def test_a_value_beside_which_a_driver_says_nothing_is_refused():
    units = plant(names=NAMES[:2])
    lines = {
        name: np.where(units.position == N, 1e30, column) for name, column in units.drivers.items()
    }
    wild = replace(units, drivers=lines)
    grown = Growing.of(Baseline.fit(first(units), plan(of(NAMES[:2])))).add(after(wild))
    with pytest.raises(MeasureError) as refused:
        _ = grown.estimate
    assert refused.value.code == "collinear_drivers"


def test_residuals_that_become_too_alike_have_no_interval():
    units = plant(names=NAMES[:2])
    energy_wh = units.energy_wh.copy()
    energy_wh[N:] += 1e7
    grown = Growing.of(Baseline.fit(first(units), plan(of(NAMES[:2]))))
    grown = grown.add(after(replace(units, energy_wh=energy_wh)))
    with pytest.raises(MeasureError) as refused:
        _ = grown.estimate
    assert refused.value.code == "residuals_too_correlated"


def test_a_blend_does_not_grow():
    blend = Baseline.fit(warm(365), plan(TimeOfWeek(blend="by-distance")))
    with pytest.raises(MeasureError) as refused:
        Growing.of(blend)
    assert refused.value.code == "not_one_line"


def test_a_new_search_is_due_when_it_grew_by_a_tenth_or_its_residuals_changed():
    units, asked = plant(n=400), plan(of())
    start = Growing.of(Baseline.fit(first(units, 300), asked))

    def told(grown):
        return {one.code: one.passed for one in grown.findings(POLICY)}

    assert told(start) == {"grown_since_search": True}
    assert told(start.add(some(units, 300, 329))) == {"grown_since_search": True}
    assert told(start.add(some(units, 300, 330))) == {
        "grown_since_search": True, "residuals_changed": True,
    }  # fmt: skip
    assert told(start.add(some(units, 300, 331)))["grown_since_search"] is False
    noise = np.where(np.arange(400) < 300, 0.0, 2000 * np.random.default_rng(1).normal(size=400))
    louder = replace(units, energy_wh=units.energy_wh + noise)
    grown = start.add(some(louder, 300, 330))
    assert told(grown) == {"grown_since_search": True, "residuals_changed": False}
    assert {one.by for one in grown.findings(POLICY)} == {POLICY.id}
    assert named(RENEWAL_POLICIES, POLICY.id, "unknown_renewal_policy") is POLICY
