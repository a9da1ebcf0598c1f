"""The recorded year with its synthetic counter, 200 seeds: what the stated interval is worth.

The registers of the virtual factory are read slot by slot as arrays; sockets, outbox and broker
are the matter of other tests. Seed 1 is the shipped one by rule and not by choice.
"""

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.simulate.scenario import load_scenario
from joulemark_agent.simulate.synthetic import production_kg
from joulemark_gateway.measure.run import measure
from support.histories import (
    COUNTER,
    METER,
    factor_set,
    factory_histories,
    recorded_year,
    steel_plan,
)
from support.present import present

SEEDS = range(1, 201)
JULY, PER_DAY = 181 * 96, 96


@pytest.fixture(scope="module")
def recording():
    return recorded_year()


@pytest.fixture(scope="module")
def factories(recording):
    return {
        name: factory_histories(load_scenario(name), recording)
        for name in ("unchanged", "retrofit")
    }


@pytest.fixture(scope="module")
def injected_wh(recording):
    """8 % of every quarter-hour from 08:00 to before 20:00 from July on: all of it is claimed."""
    energy_wh = 10 * recording.energy_10wh
    quarter = np.arange(energy_wh.size)
    is_cut = (quarter >= JULY) & (quarter % PER_DAY >= 32) & (quarter % PER_DAY < 80)
    return float(0.08 * energy_wh[is_cut].sum())


@pytest.fixture(scope="module")
def two_hundred(recording, factories):
    """Per seed and variant: avoided energy, half-width and counterfactual. [Wh]"""
    production = load_scenario("unchanged").production
    opening_kg = load_scenario("unchanged").opening.production_kg
    project, factors = steel_plan(), factor_set()
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in factories}
    for seed in SEEDS:
        noise = production.noise.model_copy(update={"seed": seed})
        seeded = production.model_copy(update={"noise": noise})
        kg = opening_kg + production_kg(recording.energy_10wh, seeded)
        for name, devices in factories.items():
            devices[COUNTER].counters["production_kg"][:] = kg
            saving = present(measure(project, devices, factors).saving)
            found[name].append((saving.avoided_wh, saving.half_width_wh, saving.counterfactual_wh))
    return {name: np.array(rows).T for name, rows in found.items()}


@pytest.mark.endurance
@pytest.mark.parametrize("name", ["unchanged", "retrofit"])
def test_the_interval_contains_the_truth_as_often_as_it_says(two_hundred, injected_wh, name):
    avoided, half_width, counterfactual = two_hundred[name]
    error = avoided - (injected_wh if name == "retrofit" else 0.0)
    coverage = np.mean(np.abs(error) <= half_width)
    print(  # noqa: T201 -- the figures are wanted with -s
        f"{name}: coverage {coverage:.1%}, median half-width "
        f"{np.median(half_width / counterfactual):.3%}, mean bias "
        f"{np.mean(error / counterfactual):+.3%} of the counterfactual"
    )
    assert 0.80 <= coverage <= 0.94
    assert np.median(half_width / counterfactual) <= 0.01
    assert abs(np.mean(error / counterfactual)) <= 0.003


@pytest.mark.endurance
def test_the_two_variants_differ_by_the_injected_energy_for_every_seed(two_hundred, injected_wh):
    difference = two_hundred["retrofit"][0] - two_hundred["unchanged"][0]
    assert np.max(np.abs(difference - injected_wh)) <= 1.0
    assert two_hundred["retrofit"][1] == pytest.approx(two_hundred["unchanged"][1], rel=1e-12)


def seed_one(factories, recording, name):
    shipped = load_scenario(name)
    assert shipped.production.noise.seed == 1
    kg = shipped.opening.production_kg + production_kg(recording.energy_10wh, shipped.production)
    factories[name][COUNTER].counters["production_kg"][:] = kg
    return measure(steel_plan(), factories[name], factor_set())


@pytest.mark.parametrize(("name", "avoided_kwh"), [("unchanged", -52), ("retrofit", 30_810)])
def test_the_shipped_seed_gives_the_figures_of_the_decision(
    factories, recording, name, avoided_kwh
):
    found = seed_one(factories, recording, name)
    assert round(found.saving.avoided_wh / 1000) == avoided_kwh
    assert round(found.saving.half_width_wh / 1000) == 1852
    assert found.saving.is_distinguishable_from_zero == (name == "retrofit")
    assert {"simulated_clock", "synthetic_driver"} <= {warned.code for warned in found.warnings}
    assert not [unit for unit in found.units if unit.masked]
    (partly,) = [unit for unit in found.units if unit.reasons]
    assert partly.label == "2018-11-07"
    assert partly.reasons == ("main-meter/energy_wh: all_zero",)
    assert partly.missing_us == recording.interval_us
    (hole,) = found.missing
    assert (hole.intervals, hole.end_us) == (1, 1_541_602_800_000_000)  # 2018-11-08 00:00 +09:00


def test_the_year_adds_up_to_the_recording_to_the_watt_hour(factories, recording):
    found = seed_one(factories, recording, "unchanged")
    assert found.baseline.energy_wh + found.reporting.energy_wh == 959_636_710
    assert found.baseline.missing_us + found.reporting.missing_us == recording.interval_us


def test_the_calendar_claims_88_megawatt_hours_where_nothing_was_changed(factories):
    devices = {METER: factories["unchanged"][METER]}
    found = measure(steel_plan(drivers=[]), devices, factor_set())
    (claim,) = found.refused
    assert round(claim.predicted_wh / 1000) == 526_012
    assert round(claim.measured_wh / 1000) == 438_437
    assert round(claim.would_have_claimed_wh / 1e5) == 876
    assert round(100 * claim.would_have_claimed_ratio, 2) == 16.65
    assert claim.code == "no_activity_driver"
    assert found.codes == ("no_activity_driver",)
    assert found.saving is None


def test_the_factor_of_the_recording_itself_is_refused(factories):
    own = {"set": "dataset_check", "rule_set": "dataset-check", "jurisdiction": "KR"}
    with pytest.raises(MeasureError) as refused:
        measure(steel_plan(factors=own), factories["unchanged"], factor_set("dataset_check"))
    assert refused.value.code == "dataset_check_factor"
