"""The year through sockets, undisturbed and under kills: same totals, same readings, no gap."""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

import joulemark_profiles
from joulemark_agent.contract.document import parse_yaml, validate
from joulemark_agent.contract.factor import FactorSet
from joulemark_agent.contract.signature import decode64
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_agent.kernels.carbon import co2e
from joulemark_agent.kernels.clean import all_zero_steps
from joulemark_agent.kernels.energy import counter_energy
from joulemark_agent.simulate import run as factory
from joulemark_agent.simulate.scenario import load_scenario
from joulemark_gateway.demo.chain import DEVICES
from joulemark_gateway.evidence import history
from joulemark_gateway.measure.project import Project
from joulemark_gateway.measure.run import measure
from system.conftest import KILLS_EACH, VICTIMS, agent_heads, origins

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(420)]

SLOTS = 35_041
QUARTER_US = 900_000_000
HOLE_END_US = 1_541_602_800_000_000  # 2018-11-08 00:00 in Korea
EXPECTED = Path(__file__).with_name("expected_total.py")


def tree_of(run, device):
    return history.parse_tree(run.leaves[f"joulemark/gwangyang/{device}/1"])


def history_of(run, device):
    return history.history_of(tree_of(run, device), run.documents)


def quarters(readings):
    """Wh, covered and missing time of every quarter-hour of the year."""
    rule = readings.profile.rules[0]
    steps = all_zero_steps(
        np.array([readings.counters[name] for name in rule.counters]),
        np.array([readings.gauges[name] for name in rule.gauges]),
    )
    t_us = readings.slot_us
    return counter_energy(
        t_us, readings.counters["energy_wh"], readings.good["energy_wh"], steps, t_us, QUARTER_US
    )


def expected_kwh():
    """The year's total and the injected saving, by a program that imports nothing of ours."""
    done = subprocess.run(
        [sys.executable, "-I", str(EXPECTED)], capture_output=True, text=True, check=True
    )
    total, injected = done.stdout.split()
    return Decimal(total), Decimal(injected)


def measured(run, plan):
    """The project of the demo, measured on the evidence of a run."""
    document = parse_yaml((plan.folder / "project.yaml").read_text("utf-8"), "project.yaml")
    content = {name: value for name, value in document.mapping.items() if name != "collector"}
    histories = {device: history_of(run, device) for device in DEVICES}
    factors = validate(FactorSet, parse_yaml(joulemark_profiles.text("factors", "korea"), "korea"))
    return measure(Project.model_validate(content), histories, factors)


def test_thirty_kills_were_made(killed_year):
    assert killed_year.kills == dict.fromkeys(VICTIMS, KILLS_EACH)


def test_every_slot_has_one_reading_and_no_gap(demo, killed_year):
    for run in (demo, killed_year):
        for origin in origins():
            tree = history.parse_tree(run.leaves[origin])
            history.check_slots(tree, QUARTER_US)

            assert len(tree.records) == SLOTS
            assert not tree.gaps


def test_the_readings_under_kills_are_the_registers_of_the_factory(killed_year, demo):
    """Every raw word, against the tables the servers answered from."""
    for run, scenario in ((killed_year, "unchanged"), (demo, "retrofit")):
        units = factory.factory_of(load_scenario(scenario)).units
        for device, unit in ((DEVICES[0], 1), (DEVICES[1], 2)):
            table = units[unit]["holding"]
            for slot, record in enumerate(tree_of(run, device).records):
                (response,) = record.responses
                words = len(response.data) // 2
                assert response.data == table.read(slot, response.address, words), (device, slot)


def test_agent_collector_and_leaves_give_one_root(killed_year):
    heads = agent_heads(killed_year)
    for device in DEVICES:
        origin = f"joulemark/gwangyang/{device}/1"
        held = killed_year.edges[origin]
        again = append(Edge(), killed_year.leaves[origin])

        assert held == again
        assert heads[device]["size"] == held.size
        assert decode64(heads[device]["root"]) == root(held)


def test_the_unchanged_year_is_exact_to_the_watt_hour(killed_year):
    energy_wh, covered_us, estimated_us, missing_us, fallen = quarters(
        history_of(killed_year, "main-meter")
    )

    assert Decimal(int(energy_wh.sum())) / 1000 == expected_kwh()[0]
    assert int(energy_wh.sum()) == 959_636_710
    assert energy_wh.size == SLOTS - 1
    assert fallen == 0
    assert estimated_us.sum() == 0
    missing = np.flatnonzero(missing_us)
    slots = history_of(killed_year, "main-meter").slot_us
    assert [int(slots[i + 1]) for i in missing] == [HOLE_END_US]
    (hole,) = missing
    assert covered_us[hole - 1] == covered_us[hole + 1] == QUARTER_US
    assert energy_wh[hole] == 0
    assert energy_wh[hole - 1] > 0
    assert energy_wh[hole + 1] > 0


def test_the_check_factor_gives_the_tonnes_that_no_report_may_show(killed_year):
    factors = validate(
        FactorSet, parse_yaml(joulemark_profiles.text("factors", "dataset_check"), "dataset_check")
    )
    energy_wh = quarters(history_of(killed_year, "main-meter"))[0]
    kg, _ = co2e(energy_wh.astype(np.float64), float(factors.factors[0].factor_kg_per_kwh), 0.0)

    assert round(kg / 1000, 3) == 439.993
    assert round(kg / 1000, 4) == 439.9934


def test_rounding_each_row_loses_the_eight_per_cent_we_keep(killed_year):
    """The control: tonnes rounded quarter by quarter, as the recording's own column was."""
    energy_wh = quarters(history_of(killed_year, "main-meter"))[0]
    rounded_t = np.round(energy_wh * 0.4585e-6, 2).sum()

    assert rounded_t < 0.93 * 439.993


def test_the_avoided_energy_differs_by_exactly_what_was_injected(demo, killed_year):
    """The same plan on both years: the same baseline, the same tonnes, another meter from July."""
    unchanged, retrofit = measured(killed_year, demo), measured(demo, demo)
    injected_wh = 1000 * float(expected_kwh()[1])
    difference_wh = retrofit.saving.avoided_wh - unchanged.saving.avoided_wh

    assert abs(difference_wh - injected_wh) <= 1
    assert retrofit.model == unchanged.model
    assert [u.drivers for u in retrofit.units] == [u.drivers for u in unchanged.units]
    for found, truth_wh in ((unchanged, 0.0), (retrofit, injected_wh)):
        saving = found.saving
        assert abs(saving.avoided_wh - truth_wh) <= saving.half_width_wh


def test_where_nothing_was_changed_the_calendar_would_claim_87_megawatt_hours(killed_year, demo):
    found = measured(killed_year, demo)
    (claim,) = found.refused

    assert claim.code == "no_activity_driver"
    assert round(claim.would_have_claimed_wh / 1e5) == 876
    assert not found.saving.is_distinguishable_from_zero
    assert "not_distinguishable_from_zero" in {warned.code for warned in found.warnings}
