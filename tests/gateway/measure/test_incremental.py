"""A running saving, against that of all units at once."""

import json
import math
from dataclasses import replace
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure import Baseline, Data, Plan, avoided_energy
from joulemark_gateway.measure.adjustments import Adjustment
from joulemark_gateway.measure.calendar import US_PER_HOUR
from joulemark_gateway.measure.cusum import cumulative
from joulemark_gateway.measure.families import Mean, Production, Temperature, TimeOfWeek
from joulemark_gateway.measure.incremental import RunningSaving
from joulemark_gateway.measure.models.production import activity
from joulemark_gateway.measure.models.shapes import Shape
from joulemark_gateway.measure.running_state import State
from joulemark_gateway.measure.verdict import Override
from support.five_parameters import ar1
from support.held import Held
from support.plants import DAY_US, FIRST_US, days
from support.present import present
from support.temperature_meters import made

N, M = 365, 100
MADE = Production((activity("production_kg", "kg"), activity("scrap_kg", "kg")))
BERLIN = ZoneInfo("Europe/Berlin")


def plan(model=MADE, policy="iso50006-production", **more) -> Plan:
    return Plan(policy, "art-trees-eq11", model=model, production_cycle_days=7, **more)


def plant(seed=1, holes=()):
    draw = np.random.default_rng(seed)
    made_kg, scrap_kg = draw.uniform(5e3, 3e4, N + M), draw.uniform(50, 400, N + M)
    energy_wh = 2e6 + 100 * made_kg + 900 * scrap_kg + 8e4 * ar1(draw, N + M, 0.6)
    energy_wh[N:] *= 0.9
    data = days(energy_wh, production_kg=made_kg, scrap_kg=scrap_kg)
    return data.where(~np.isin(data.position, holes))


def first(data):
    return data.where(data.position < N)


def some(units, low=0, high=None):
    return units.where(np.arange(units.n)[low:high])


def after(data):
    return data.where(data.position >= N)


def with_blanks(data):
    """The same with two units without energy, one of them the first, and one without a driver."""
    energy_wh, scrap_kg = data.energy_wh.copy(), data.driver("scrap_kg").copy()
    energy_wh[data.position == N] = energy_wh[data.position == N + 30] = math.nan
    scrap_kg[data.position == N + 41] = math.nan
    return replace(data, energy_wh=energy_wh, drivers={**data.drivers, "scrap_kg": scrap_kg})


def part_measured():
    """Days in Berlin, of which less and more was measured."""
    data = made(np.random.default_rng(3), n=N + M)
    hours = np.random.default_rng(4).integers(13, 25, N + M)
    return replace(
        data,
        start_us=data.start_us - US_PER_HOUR,
        energy_wh=data.energy_wh * hours / 24,
        measured_us=hours * US_PER_HOUR,
        zone=BERLIN,
    )


CASES = {
    "production": (plant(), plan()),
    "holes": (with_blanks(plant(holes=(N + 1, N + 2, N + 50))), plan()),
    "five parameters": (part_measured(), plan(Held(Shape("5p", 14.0, 20.0)), "caltrack-daily-2.0")),
    "mean": (made(np.random.default_rng(2), n=N + M), plan(Mean(), "caltrack-daily-2.0")),
}  # fmt: skip


@cache
def following(case):
    """The follower, its units, and the saving of all of them at once."""
    data, asked = CASES[case]
    baseline = Baseline.fit(first(data), asked)
    return RunningSaving.of(baseline), after(data), avoided_energy(baseline, after(data)).amounts


def run(follower, blocks):
    """The last state, and the saving with its u after each unit."""
    state, saved_wh, u_wh = follower.begin(), [], []
    for block in blocks:
        state, so_far = follower.add(state, block)
        saved_wh += so_far.saved_wh.tolist()
        u_wh += so_far.u_wh.tolist()
    return state, saved_wh, u_wh


def refusal(call, *arguments):
    with pytest.raises(MeasureError) as refused:
        call(*arguments)
    return refused.value.code


@settings(max_examples=30)
@given(case=st.sampled_from(sorted(CASES)), data=st.data())
def test_blocks_of_any_sizes_give_the_bits_of_all_units_at_once(case, data):
    follower, units, _ = following(case)
    cuts = data.draw(st.lists(st.integers(0, units.n), max_size=6).map(sorted))
    ends = zip([0, *cuts], [*cuts, units.n], strict=True)
    state, saved_wh, u_wh = run(follower, (some(units, *of) for of in ends))
    whole = units.where(units.is_whole)
    full = cumulative(follower.estimate, whole)
    assert saved_wh == full.saved_wh.tolist()
    assert u_wh == full.u_wh.tolist()
    once, _ = follower.add(follower.begin(), units)
    assert state.document() == once.document()
    assert present(state.seen).missing == units.n - whole.n


@pytest.mark.parametrize("case", CASES)
def test_day_by_day_it_becomes_the_avoided_energy_and_its_months(case):
    follower, units, full = following(case)
    state, _, _ = run(follower, (some(units, k, k + 1) for k in range(units.n)))
    so_far, process = follower.so_far(state), follower.estimate.process
    assert so_far.value == pytest.approx(full.saving.value, rel=1e-12)
    assert so_far.u == pytest.approx(full.saving.u, rel=1e-12)
    half_wh = process.half_width(1.0, 0.9) * full.saving.u
    assert so_far.half_width(0.9) == pytest.approx(half_wh, rel=1e-12)
    months = follower.months(state)
    assert [(one.label, one.kept) for one in months] == [(m.label, m.kept) for m in full.months]
    for ours, theirs in zip(months, full.months, strict=True):
        assert ours.saving.value == pytest.approx(theirs.saving.value, rel=1e-9)
        assert ours.saving.u == pytest.approx(theirs.saving.u, rel=1e-9)


def test_months_add_up_with_their_covariance_and_not_without():
    follower, units, full = following("production")
    state, _ = follower.add(follower.begin(), units)
    covariance = follower.covariance(state)
    assert np.sqrt(covariance.sum()) == pytest.approx(full.saving.u, rel=1e-9)
    months = follower.months(state)
    assert math.fsum(one.saving.value for one in months) == pytest.approx(
        full.saving.value, rel=1e-12
    )
    assert math.sqrt(np.diag(covariance).sum()) < 0.98 * full.saving.u, "as if they were apart"
    days_u_wh = [follower.so_far(follower.add(follower.begin(), units.where([k]))[0]).u
                 for k in range(units.n)]  # fmt: skip
    assert math.fsum(days_u_wh) > 2 * full.saving.u, "half-widths of days are no sum"
    assert math.sqrt(math.fsum(u * u for u in days_u_wh)) < 0.8 * full.saving.u, "nor in squares"


@pytest.mark.parametrize("kept", [0, 1, 57])
def test_a_state_that_was_written_goes_on_without_losing_a_bit(kept):
    follower, units, _ = following("holes")
    state, _ = follower.add(follower.begin(), some(units, 0, kept))
    written = json.dumps(state.document(), allow_nan=False)
    read = follower.resumed(json.loads(written))
    assert canonical_bytes(read.document()) == canonical_bytes(state.document())
    rest = some(units, kept)
    assert follower.add(read, rest)[0].document() == follower.add(state, rest)[0].document()


def test_a_baseline_fitted_again_knows_its_states_and_another_does_not():
    units, asked = CASES["production"]
    follower, later, _ = following("production")
    state, _ = follower.add(follower.begin(), some(later, 0, 9))
    again = RunningSaving.of(Baseline.fit(first(units), asked))
    assert again.resumed(state.document()).document() == state.document()
    touched = units.energy_wh.copy()
    touched[17] = np.nextafter(touched[17], math.inf)
    others = [
        (replace(units, energy_wh=touched), asked),
        (units, replace(asked, adjustments=(event(),))),
        (units, replace(asked, sufficiency_policy="caltrack-daily-2.0")),
        (replace(units, zone=ZoneInfo("Asia/Seoul")), asked),
    ]
    for data, other in others:
        foreign = RunningSaving.of(Baseline.fit(first(data), other))
        assert refusal(foreign.resumed, state.document()) == "state_of_another_model"
        assert refusal(foreign.add, state, later) == "state_of_another_model"
        assert refusal(foreign.so_far, state) == "state_of_another_model"


def document(**changed):
    follower, units, _ = following("production")
    return follower.add(follower.begin(), some(units, 1, 41))[0].document() | changed


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"format": "running-saving-0"},
        document(format="running-saving-2"),
        document(kept=[1]),
        document(kept=[31.0, 9.0]),
        document(months=["2025-01"]),
        document(seen=[1, 2, 3]),
        document(seen=[1, 2, 3, 0]),
        document(seen=[2**70, 2, 2, 0]),
        document(carried=["0x1p0", "nan", "0x1p0"]),
        document(carried="0x1p0"),
        document(own=[["0x1p0"]] * 3),
        document(own=[["0x1p0"], ["0x1p0", "-0x1p0"], ["0x1p0"] * 3]),
        document(pulled=[]),
        document(pulled=[["0x1p0"], ["0x1p0", "0x1p0"], ["0x1p0"]]),
        document(saved_wh=[1.0, 2.0, 3.0]),
        document(sha256=None),
    ],
)
def test_what_is_no_state_is_refused(damaged):
    assert refusal(State.of, damaged) == "bad_state"


def test_a_state_of_another_width_is_refused():
    narrow = document(pulled=[["0x1p0"]] * 3)
    assert refusal(following("production")[0].resumed, narrow) == "state_of_another_model"


@pytest.mark.parametrize(
    ("again", "code"),
    [
        (lambda units: some(units, 19, 25), "duplicate_stamp"),
        (lambda units: some(units, 3, 4), "stamps_out_of_order"),
        (lambda units: units.where([25, 22]), "stamps_out_of_order"),
        (lambda units: units.where([25, 25]), "duplicate_stamp"),
        (lambda units: some(replace(units, position=units.position - N), 20, 21),
         "shared_place"),
        (lambda units: some(replace(units, zone=BERLIN), 20, 21), "other_zone"),
        (lambda units: replace(units, drivers={}), "missing_driver"),
    ],
)  # fmt: skip
def test_units_that_do_not_go_on_are_refused_and_the_state_is_still_good(again, code):
    follower, units, full = following("production")
    state, _ = follower.add(follower.begin(), some(units, 0, 20))
    before = state.document()
    assert refusal(follower.add, state, again(units)) == code
    assert state.document() == before
    ended, _ = follower.add(state, some(units, 20))
    assert follower.so_far(ended).value == pytest.approx(full.saving.value, rel=1e-12)


def test_blocks_that_are_each_numbered_from_zero_are_refused_and_not_mixed_up():
    follower, units, _ = following("production")

    def numbered(block):
        columns = {"start": block.start_us, "energy_wh": block.energy_wh, **block.drivers}
        return Data.of(columns, drivers=list(block.drivers), unit_us=DAY_US, zone="UTC")

    state, _ = follower.add(follower.begin(), numbered(some(units, 0, 10)))
    assert refusal(follower.add, state, numbered(some(units, 10, 20))) == "shared_place"


def event():
    return Adjustment(
        id="fire", start_us=FIRST_US + (N + 20) * DAY_US, end_us=FIRST_US + (N + 23) * DAY_US,
        method="exclude", cause="a fire in the hall", evidence_sha256="0" * 64, author="J. Kim",
        approval="A. Park",
    )  # fmt: skip


def test_what_is_missing_or_left_out_is_not_zero():
    units = with_blanks(plant())
    baseline = Baseline.fit(first(units), plan(adjustments=(event(),)))
    follower = RunningSaving.of(baseline)
    state, _ = follower.add(follower.begin(), after(units))
    full = avoided_energy(baseline, after(units))
    amounts = present(full.amounts)
    assert present(state.seen).missing == 6
    assert sum(state.kept) == full.coverage.kept == M - 6
    assert follower.so_far(state).value == pytest.approx(amounts.saving.value, rel=1e-12)
    assert follower.so_far(state).u == pytest.approx(amounts.saving.u, rel=1e-12)
    as_zero = replace(after(units), energy_wh=np.nan_to_num(after(units).energy_wh))
    naive, _ = follower.add(follower.begin(), as_zero)
    assert follower.so_far(naive).value > follower.so_far(state).value + 2e6


def test_before_anything_counts_there_is_no_saving_and_no_width():
    follower, units, _ = following("production")
    blank = some(replace(units, energy_wh=np.full(units.n, math.nan)), 0, 3)
    state, so_far = follower.add(follower.begin(), blank)
    assert so_far.saved_wh.size == so_far.u_wh.size == 0
    assert (follower.so_far(state).value, follower.so_far(state).u) == (0.0, 0.0)
    assert follower.months(state) == ()
    assert follower.add(state, some(units, 0, 0))[0] is state


def test_zeros_that_the_policy_calls_missing_are_missing():
    units = made(np.random.default_rng(2), n=N + M)
    energy_wh = units.energy_wh.copy()
    energy_wh[N + 4] = 0.0
    baseline = Baseline.fit(first(units), plan(Mean(), "caltrack-daily-2.0"))
    follower = RunningSaving.of(baseline)
    state, _ = follower.add(follower.begin(), after(replace(units, energy_wh=energy_wh)))
    assert present(state.seen).missing == 1
    assert follower.policy.id == "caltrack-daily-2.0"


def test_a_baseline_that_its_policy_refuses_is_not_followed():
    short = some(plant(), N - 50, N)
    assert refusal(RunningSaving.of, Baseline.fit(short, plan())) == "too_few_days"
    decided = Override("J. Kim", "an interim figure for the board", frozenset({"too_few_days"}))
    assert RunningSaving.of(Baseline.fit(short, plan(override=decided))).policy.version


def test_a_blend_has_no_running_saving():
    blend = TimeOfWeek(blend="by-distance")
    baseline = Baseline.fit(made(np.random.default_rng(1)), plan(blend, "caltrack-daily-2.0"))
    assert refusal(RunningSaving.of, baseline) == "not_one_line"


def test_a_saving_that_overflows_is_refused_and_the_state_is_still_good():
    units = plant()
    tiny = replace(units, drivers={name: 1e-99 * kg for name, kg in units.drivers.items()})
    follower = RunningSaving.of(Baseline.fit(first(tiny), plan()))
    state, _ = follower.add(follower.begin(), some(after(tiny), 0, 5))
    huge = replace(units, drivers={name: 1e90 * kg for name, kg in units.drivers.items()})
    assert refusal(follower.add, state, some(after(huge), 5, 6)) == "not_finite"
    state, so_far = follower.add(state, some(after(tiny), 5, 6))
    assert np.isfinite(so_far.u_wh).all()


def test_searched_models_are_followed_with_what_the_search_costs():
    units = made(np.random.default_rng(7), n=N + M)
    family = Temperature(kinds=("5p",), divided=False)
    baseline = Baseline.fit(first(units), plan(family, "caltrack-daily-2.0"))
    follower = RunningSaving.of(baseline)
    state, _ = follower.add(follower.begin(), after(units))
    assert state.pulled.shape[1] == 5
    full = present(avoided_energy(baseline, after(units)).amounts).saving
    assert follower.so_far(state).u == pytest.approx(full.u, rel=1e-12)
