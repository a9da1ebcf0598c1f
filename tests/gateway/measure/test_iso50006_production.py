"""The policy over data themselves; over facts of metered counters see `test_sufficiency.py`."""

from dataclasses import replace

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.linear import fit
from joulemark_gateway.measure.sufficiency import ISO50006_PRODUCTION, POLICIES, Case
from support.unit_data import changed, days, hours, plant_days

NAN = float("nan")
KG = "production_kg"


def judged(baseline, **case):
    return ISO50006_PRODUCTION.judge_data(Case(baseline, **{"production_cycle_days": 7, **case}))


def failed(baseline, **case):
    return judged(baseline, **case).failed


def test_the_policy_is_found_by_its_name():
    assert POLICIES["iso50006-production"] is ISO50006_PRODUCTION


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize(("n", "codes"), [(59, ("too_few_days",)), (60, ())])
def test_sixty_local_days_are_enough(n, codes, zone):
    found = judged(plant_days(n, zone=zone))
    assert found.failed == codes
    (told,) = [one for one in found.findings if one.code == "too_few_days"]
    assert (told.seen, told.at_least) == (n, 60)


@pytest.mark.parametrize(("n", "codes"), [(59, ("too_few_days",)), (60, ())])
def test_hours_make_days(n, codes):
    whole = hours(n)
    assert failed(whole) == codes
    one_less = changed(whole, at=[7], to=NAN)
    assert failed(one_less) == ("too_few_days",)


def test_a_day_without_a_value_is_no_day_of_the_baseline():
    assert failed(changed(plant_days(60), at=[9], to=NAN)) == ("too_few_days",)
    assert failed(changed(plant_days(60), KG, at=[9], to=NAN)) == ("too_few_days",)


@pytest.mark.parametrize(("cycle", "codes"), [(30, ()), (31, ("too_few_cycles",))])
def test_sixty_days_with_less_than_two_cycles_are_refused(cycle, codes):
    assert failed(plant_days(60), production_cycle_days=cycle) == codes


@pytest.mark.parametrize("cycle", [None, 0, -7])
def test_a_cycle_is_declared_and_not_guessed(cycle):
    with pytest.raises(MeasureError) as refused:
        judged(plant_days(60), production_cycle_days=cycle)
    assert refused.value.code == "no_production_cycle"


@pytest.mark.parametrize(("r2", "codes"), [(0.499, ("low_adjusted_r2",)), (0.5, ())])
def test_half_of_the_variance_is_explained(r2, codes):
    assert failed(plant_days(60), adjusted_r2=r2) == codes


def test_the_adjusted_r2_of_a_model_is_judged():
    plant = plant_days(90)
    model = fit(plant.drivers[KG][:, None], plant.energy_wh, plant.position)
    assert model.adjusted_r2 > 0.9
    assert failed(plant, adjusted_r2=model.adjusted_r2) == ()
    noise = np.random.default_rng(2).permutation(plant.energy_wh)
    model = fit(plant.drivers[KG][:, None], noise, plant.position)
    assert failed(plant, adjusted_r2=model.adjusted_r2) == ("low_adjusted_r2",)


def test_weather_alone_is_no_activity():
    assert failed(days(60)) == ("no_activity_driver",)
    both = plant_days(60)
    with_weather = {**both.drivers, **days(60).drivers}
    assert failed(replace(both, drivers=with_weather)) == ()
    assert failed(replace(both, drivers={})) == ("no_activity_driver",)


def extremes(spike):
    """Where the baseline's driver is even, and where a spike lies beyond three sd."""
    column = 5000 + 100 * (np.arange(90) % 11)
    if spike:
        column[30] = 50_000
    return replace(plant_days(90), drivers={KG: column.astype(float)})


@pytest.mark.parametrize("spike", [False, True])
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(("step", "codes"), [(-1, ()), (1, ("driver_out_of_range",))])
def test_a_mean_is_in_range_inside_min_max_or_three_sd(spike, side, step, codes):
    plant = extremes(spike)
    column = plant.drivers[KG]
    mean, sd = column.mean(), column.std(ddof=1)
    inner = (column.max() if side > 0 else column.min(), mean + side * 3 * sd)
    edge = max(inner) if side > 0 else min(inner)
    reached = edge + side * step * 1e-6
    later = changed(plant_days(20), KG, at=slice(None), to=reached)
    assert failed(plant, reporting=later) == codes


def test_without_a_reporting_period_no_range_is_judged():
    nothing = changed(plant_days(20), KG, at=slice(None), to=NAN)
    assert failed(plant_days(60), reporting=nothing) == ()


def test_both_periods_have_the_same_drivers():
    with pytest.raises(MeasureError) as refused:
        judged(plant_days(60), reporting=days(20))
    assert refused.value.code == "other_drivers"
