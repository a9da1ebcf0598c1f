"""The year through sockets, undisturbed and under kills: same totals, same readings, no gap."""

import csv
import gzip
import io
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from system.conftest import KILLS_EACH, VICTIMS, agent_heads, origins

from joulemark_agent.contract.document import parse_yaml, validate
from joulemark_agent.contract.factor import FactorSet
from joulemark_agent.contract.signature import decode64
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_agent.kernels.carbon import co2e
from joulemark_agent.kernels.clean import all_zero_steps
from joulemark_agent.kernels.energy import counter_energy
from joulemark_agent.simulate import run as factory
from joulemark_agent.simulate.scenario import load_scenario
from joulemark_gateway.evidence import history
import joulemark_profiles

pytestmark = pytest.mark.timeout(420)

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
    """The year's total from the recording, by a program that imports nothing of ours."""
    done = subprocess.run(
        [sys.executable, "-I", str(EXPECTED)], capture_output=True, text=True, check=True
    )
    return Decimal(done.stdout.strip())


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
        for device, unit in (("main-meter", 1), ("production-counter", 2)):
            table = units[unit]["holding"]
            for slot, record in enumerate(tree_of(run, device).records):
                (response,) = record.responses
                words = len(response.data) // 2
                assert response.data == table.read(slot, response.address, words), (device, slot)


def test_agent_collector_and_leaves_give_one_root(killed_year):
    heads = agent_heads(killed_year)
    for device in ("main-meter", "production-counter"):
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

    assert Decimal(int(energy_wh.sum())) / 1000 == expected_kwh() == Decimal("959636.71")
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
    factor = np.full(energy_wh.size, float(factors.factors[0].factor_kg_per_kwh))
    kg, _ = co2e(energy_wh.astype(np.float64), factor, 0.0)

    assert round(kg / 1000, 3) == 439.993
    assert round(kg / 1000, 4) == 439.9934


def test_rounding_each_row_loses_the_eight_per_cent_we_keep(killed_year):
    """The control: the recording's own rounded column."""
    text = (Path(factory.__file__).parent / "recordings/steel_gwangyang_2018.csv.gz").read_bytes()
    rows = list(csv.reader(io.StringIO(gzip.decompress(text).decode())))
    assert len(rows) > SLOTS - 2
    energy_wh = quarters(history_of(killed_year, "main-meter"))[0]
    rounded_t = np.round(energy_wh * 0.4585e-6, 2).sum()

    assert rounded_t < 0.93 * 439.993


def test_the_avoided_energy_differs_by_exactly_what_was_injected(demo, killed_year):
    """Measured July to December: the same baseline, the same tonnes, another meter."""
    before, after = (history_of(run, "main-meter") for run in (killed_year, demo))
    first, end = 1_530_370_800_000_000, 1_546_268_400_000_000  # 1 July 2018 and 1 January 2019

    def second_half(readings):
        at = {int(t): int(c) for t, c in zip(readings.slot_us, readings.counters["energy_wh"])}
        return at[end] - at[first], at[first] - int(readings.counters["energy_wh"][0])

    reporting, baseline = second_half(before)
    reporting_after, baseline_after = second_half(after)
    assert baseline == baseline_after
    assert abs(reporting - reporting_after - 30_862_120) <= 1
    np.testing.assert_array_equal(
        history_of(demo, "production-counter").counters["production_kg"],
        history_of(killed_year, "production-counter").counters["production_kg"],
    )
