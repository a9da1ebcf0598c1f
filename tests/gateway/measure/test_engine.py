"""The public engine: a baseline under a plan, and what may be said of savings."""
# mypy: disable-error-code="union-attr, operator, arg-type, type-var, misc"
# (None where a value is looked at ends the test all the same)

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure import (
    Baseline,
    Data,
    Plan,
    avoided_energy,
    minimum_detectable_saving,
    normalised_savings,
    portfolio,
)
from joulemark_gateway.measure.adjustments import Adjustment
from joulemark_gateway.measure.families import (
    Automatic,
    Mean,
    Production,
    ProductionTemperature,
    Temperature,
    TimeOfWeek,
)
from joulemark_gateway.measure.meter_error import MeterClass, of_saving
from joulemark_gateway.measure.models.production import activity
from joulemark_gateway.measure.verdict import Override
from support.plants import DAY_US, FIRST_US, days

N, M = 120, 90
MADE = Production((activity("production_kg", "kg"),))


def plan(**more) -> Plan:
    asked = {"model": MADE, "production_cycle_days": 7, **more}
    return Plan("iso50006-production", "lower-bound-one-sided-95", **asked)


def plant(seed=0, *, saved_ratio=0.1, n=N, m=M):
    """Days before and after a measure that saves this share."""
    draw = np.random.default_rng(seed)
    made = draw.uniform(5_000, 30_000, n + m)
    energy_wh = 2e6 + 100 * made + 5e4 * draw.standard_normal(n + m)
    energy_wh[n:] *= 1 - saved_ratio
    data = days(energy_wh, production_kg=made)
    return data.where(data.position < n), data.where(data.position >= n)


def test_a_saving_carries_all_that_must_stand_beside_it():
    before, after = plant()
    baseline = Baseline.fit(before, plan())
    saving = avoided_energy(baseline, after)
    half = saving.half_width_wh
    assert saving.method == "avoided-energy/production"
    assert saving.policy.id == "iso50006-production"
    assert saving.coverage.ratio == 1.0
    assert saving.disqualifications == ()
    assert saving.value_wh == pytest.approx(0.1 / 0.9 * after.energy_wh.sum(), rel=0.05)
    assert 0 < half < 0.1 * saving.value_wh
    told = saving.document()
    assert told["figures"]["total_wh"] == saving.value_wh
    assert told["figures"]["creditable_wh"] == pytest.approx(
        saving.value_wh - told["figures"]["half_width_90_wh"], rel=1e-12
    )
    assert told["policy"]["version"]
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_more_confidence_is_wider_for_every_family():
    draw = np.random.default_rng(1)
    t_c = 12 + 10 * np.sin(np.arange(700) / 58) + draw.normal(0, 2, 700)
    energy = 5e5 + 2e4 * np.maximum(15 - t_c, 0) + 3e4 * draw.standard_normal(700)
    data = days(energy, temperature_c=t_c)
    before, after = data.where(data.position < 365), data.where(data.position >= 365)
    for family in (Mean(), Temperature(), TimeOfWeek(), TimeOfWeek(blend="by-distance")):
        widths = []
        for confidence in (0.8, 0.9, 0.95):
            asked = Plan(
                "caltrack-daily-2.0", "art-trees-eq11", model=family, confidence=confidence
            )
            saving = avoided_energy(Baseline.fit(before, asked), after)
            assert saving.disqualifications == (), family
            widths.append(saving.half_width_wh)
        assert widths[0] < widths[1] < widths[2]


def test_months_add_up_and_a_hole_is_in_neither_sum():
    before, after = plant()
    energy_wh = after.energy_wh.copy()
    energy_wh[10] = math.nan
    holed = days(energy_wh, first=N, production_kg=after.driver("production_kg"))
    saving = avoided_energy(Baseline.fit(before, plan()), holed)
    amounts = saving.amounts
    whole = after.where(after.position != N + 10)
    assert saving.coverage.kept == M - 1
    assert amounts.measured_wh == pytest.approx(whole.energy_wh.sum(), rel=1e-12)
    assert math.fsum(month.saving.value for month in amounts.months) == pytest.approx(
        amounts.saving.value, rel=1e-12
    )
    assert sum(month.kept for month in amounts.months) == M - 1


def test_what_a_policy_refuses_has_no_figure_and_an_override_is_told_everywhere():
    before, after = plant(n=40)
    refused = avoided_energy(Baseline.fit(before, plan()), after)
    assert (refused.amounts, refused.value_wh, refused.half_width_wh) == (None, None, None)
    assert refused.document()["figures"] is None
    assert refused.document()["refused_by"] == ["too_few_days"]
    decided = Override("J. Kim", "an interim figure for the board", frozenset({"too_few_days"}))
    allowed = avoided_energy(Baseline.fit(before, plan(override=decided)), after)
    assert allowed.value_wh is not None
    assert [one.code for one in allowed.disqualifications] == ["too_few_days"]
    assert allowed.document()["override"]["author"] == "J. Kim"
    assert allowed.document()["disqualified"] is True


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda d: days(np.zeros(d.n), production_kg=d.driver("production_kg")), "no_load"),
        (lambda d: days(np.full(d.n, 5.0), production_kg=d.driver("production_kg")),
         "constant_load"),
        (lambda d: days(d.energy_wh, production_kg=np.full(d.n, 5.0)), "constant_driver"),
        (lambda d: d.where(d.position < 2), "too_few_units"),
        (lambda d: d.where(d.position < 0), "too_few_units"),
    ],
)  # fmt: skip
def test_data_that_carry_no_model_give_a_baseline_that_refuses(spoil, code):
    before, after = plant()
    baseline = Baseline.fit(spoil(before), plan())
    saving = avoided_energy(baseline, after)
    assert code in saving.document()["refused_by"]
    assert saving.amounts is None
    assert baseline.method == "none"
    with pytest.raises(MeasureError) as refused:
        baseline.predict(after)
    assert refused.value.code == "no_model"


def test_a_period_without_a_whole_unit_is_refused():
    before, after = plant()
    blank = days(np.full(M, math.nan), first=N, production_kg=after.driver("production_kg"))
    saving = avoided_energy(Baseline.fit(before, plan()), blank)
    assert "no_reporting_units" in saving.document()["refused_by"]
    one = avoided_energy(Baseline.fit(before, plan()), after.where(after.position == N))
    assert one.value_wh is not None


def test_events_and_the_meter_stand_in_the_total_and_not_in_the_models_saving():
    before, after = plant()
    start_us = FIRST_US + (N + 20) * DAY_US
    common = {
        "evidence_sha256": "0" * 64, "author": "J. Kim", "approval": "A. Park",
        "cause": "a second shift was tried out",
    }  # fmt: skip
    out = Adjustment(
        id="fire", start_us=start_us, end_us=start_us + 5 * DAY_US, method="exclude", **common
    )
    shift = Adjustment(
        id="shift", start_us=start_us + 10 * DAY_US, end_us=start_us + 20 * DAY_US,
        method="engineering-estimate", value_wh=1e6, u_wh=2e5, sign=1, **common,
    )  # fmt: skip
    meter = MeterClass(0.01)
    plain = avoided_energy(Baseline.fit(before, plan()), after).amounts
    asked = plan(adjustments=(out, shift), meter=meter)
    saving = avoided_energy(Baseline.fit(before, asked), after)
    amounts = saving.amounts
    kept = after.where((after.position < N + 20) | (after.position >= N + 25))
    assert saving.coverage.kept == M - 5
    assert amounts.adjusted.unmasked_wh == pytest.approx(plain.saving.value, rel=1e-12)
    assert amounts.total.value == pytest.approx(amounts.saving.value + 1e6, rel=1e-12)
    predicted = Baseline.fit(before, asked).predict(kept).energy_wh
    error = of_saving(predicted, kept.energy_wh, meter)
    u_wh = math.sqrt(amounts.saving.u**2 + error.u_wh**2 + 2e5**2)
    assert amounts.total.u == pytest.approx(u_wh, rel=1e-9)
    assert [event["id"] for event in saving.document()["adjustments"]] == ["fire", "shift"]


def test_a_backcast_asks_the_later_model_of_the_time_before():
    before, after = plant(m=100)
    saving = avoided_energy(Baseline.fit(after, plan()), before, form="backcast")
    model = Baseline.fit(after, plan()).predict(before)
    assert saving.value_wh == pytest.approx(before.energy_wh.sum() - model.total_wh, rel=1e-12)
    assert saving.value_wh == pytest.approx(0.1 * before.energy_wh.sum(), rel=0.1)


def test_a_normal_year_compares_two_models_without_its_own_noise():
    before, after = plant(m=100)
    first, second = Baseline.fit(before, plan()), Baseline.fit(after, plan())
    saving = normalised_savings(first, second, before)
    one, other = (of.predict(before) for of in (first, second))
    assert saving.value_wh == pytest.approx(one.total_wh - other.total_wh, rel=1e-12)
    u_wh = math.hypot(
        *(
            of.half_width_wh / model.estimate.process.half_width(1.0, 0.9)
            for of, model in ((one, first), (other, second))
        )
    )
    assert saving.amounts.total.u == pytest.approx(u_wh, rel=1e-9)
    narrow = avoided_energy(first, after).amounts.total.u
    assert saving.amounts.total.u < narrow * 2
    assert saving.amounts.measured_wh is None
    assert "measured_wh" not in saving.document()["figures"]


def test_the_least_that_can_be_shown_is_the_half_width_of_no_saving():
    before, after = plant(saved_ratio=0.0)
    baseline = Baseline.fit(before, plan())
    least = minimum_detectable_saving(baseline, after)
    saving = avoided_energy(baseline, after)
    ratio = saving.half_width_wh / saving.amounts.predicted_wh
    assert least.ratio[-1] == pytest.approx(ratio, rel=1e-9)


def test_a_portfolio_is_wider_than_independent_sites_and_no_site_may_be_without_a_saving():
    savings = {}
    for seed in range(3):
        before, after = plant(seed)
        savings[f"site-{seed}"] = avoided_energy(Baseline.fit(before, plan()), after)
    together = portfolio(savings)
    total = math.fsum(one.value_wh for one in savings.values())
    assert together.total.value == pytest.approx(total, rel=1e-12)
    assert together.rss.u <= together.total.u <= together.linear.u
    before, after = plant(9, n=40)
    savings["short"] = avoided_energy(Baseline.fit(before, plan()), after)
    with pytest.raises(MeasureError) as refused:
        portfolio(savings)
    assert refused.value.code == "site_without_saving"


def test_the_family_follows_from_units_and_drivers():
    before, _ = plant()
    t_c = np.linspace(-5, 30, N)
    of = Automatic().family
    assert isinstance(of(before), Production)
    assert isinstance(of(days(before.energy_wh, temperature_c=t_c)), Temperature)
    assert isinstance(of(days(before.energy_wh)), Mean)
    both = days(before.energy_wh, production_kg=before.driver("production_kg"), temperature_c=t_c)
    assert isinstance(of(both), ProductionTemperature)
    chosen = Baseline.fit(before, plan(model=Automatic()))
    assert chosen.method == "production"
    assert chosen.metrics.adjusted_r2 > 0.9


def test_columns_of_any_kind_will_do():
    before, _ = plant()
    stamps = before.start_us.astype("datetime64[us]")
    columns = {
        "start": stamps,
        "energy_wh": before.energy_wh,
        "production_kg": before.driver("production_kg"),
    }
    data = Data.of(columns, drivers=["production_kg"], unit_us=DAY_US, zone="UTC")
    assert Baseline.fit(data, plan()).metrics == Baseline.fit(before, plan()).metrics


@pytest.mark.parametrize(
    ("choice", "code"),
    [
        ({"confidence": 1.0}, "bad_confidence"),
        ({"confidence": math.nan}, "bad_confidence"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(choice, code):
    with pytest.raises(MeasureError) as refused:
        plan(**choice)
    assert refused.value.code == code


def test_policies_are_named_or_refused():
    for names in (("none", "art-trees-eq11"), ("caltrack-daily-2.0", "none")):
        with pytest.raises(MeasureError, match="There is no policy 'none'"):
            Plan(*names)


def test_importing_the_package_loads_no_model_and_the_engine_needs_numpy_and_numba_alone():
    code = (
        "import sys, joulemark_gateway.measure as m; "
        "assert not any('models' in name or name == 'numba' for name in sys.modules); "
        "m.Baseline, m.avoided_energy; "
        "assert 'joulemark_gateway.measure.plan' in sys.modules; "
        "assert not {'pydantic', 'pandas', 'cryptography'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
