"""The machines of the equipment hall, from their registers through the sockets to their figures."""

import random
import time
from pathlib import Path

import numpy as np
import pytest

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.equipment import air_compressor, held
from joulemark_agent.equipment.readings import of_records
from joulemark_agent.settings import load_site, site_document
from joulemark_agent.simulate.equipment_hall.furnace import simulate
from joulemark_agent.simulate.scenario import HallScenario, load_any_scenario
from joulemark_gateway.demo.chain import HALL, Chain
from joulemark_gateway.demo.hall import analyses
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.claims import check_figures
from joulemark_gateway.evidence.store import FILE, SqliteStore
from system.conftest import Run, kill_once

pytestmark = [pytest.mark.endurance, pytest.mark.timeout(420)]

DAY_US = 86_400_000_000
MAY_7_US = 1_651_881_600_000_000  # 2022-05-07 00:00 UTC
A1_KWH = 4_622.288  # of that day: left hold over the stamps of the published file
LEAKS_BAR_MIN = (-0.0558, -0.0564, -0.0566, -0.0562, -0.0562)
TILES = ("batch", "no_batch", "open_batch")  # of the furnace's time, with no time between them
AC_WH = (330_564.1, 326_005.9, 421_994.2, 377_322.5, 0.0)


@pytest.fixture(scope="module")
def shown(demo):
    """What every machine showed, by device."""
    with SqliteStore(demo.folder / "collector/state" / FILE, create=False) as store:
        return {device: analysis for device, _, analysis in analyses(store, HALL.site)}


@pytest.fixture(scope="module")
def killed_hall(tmp_path_factory):
    """The hall alone, with twelve seeded SIGKILLs over its agent, broker and collector."""
    chain, chance = Chain(tmp_path_factory.mktemp("hall"), (HALL,)), random.Random(20220507)
    victims = 4 * ["hall-agent", "broker", "collector"]
    chance.shuffle(victims)
    places = sorted(chance.sample(range(300, 17_000), len(victims)))
    chain.prepare()
    try:
        for name in chain.order:
            chain.start(name)
        for place, victim in zip(places, victims, strict=True):
            while chain.leaves_held() < place:
                assert chain.processes["hall-agent"].poll() is None, "it ended before the last kill"
                time.sleep(0.02)
            kill_once(chain, victim, chance)
        summary = chain.wait(lambda _: None)[HALL.site]
    finally:
        chain.stop()
    return Run(chain.folder, summary).load()


def tree_of(demo, device):
    return history.parse_tree(demo.leaves[f"joulemark/{HALL.site}/{device}/1"])


def test_every_slot_of_every_device_has_one_reading_and_no_gap(demo):
    for device in HALL.devices:
        tree = tree_of(demo, device)
        period_us = history.period_us_of(tree, demo.documents)
        slots_us = np.array([record.slot_us for record in tree.records])
        [window] = [
            row
            for row in parse_canonical(demo.documents[tree.grant["documents"]["site"]])["devices"]
            if row["id"] == device
        ]

        assert not tree.gaps
        assert slots_us[0] == int(window["first_slot"])
        assert slots_us[-1] == int(window["last_slot"])
        assert set(np.diff(slots_us)) == {period_us}


def test_kills_of_agent_broker_and_collector_leave_the_same_readings_and_no_gap(demo, killed_hall):
    for device in HALL.devices:
        calm, killed = tree_of(demo, device), tree_of(killed_hall, device)

        assert not killed.gaps
        check_figures(killed, killed_hall.documents)
        assert [shown_at(r) for r in killed.records] == [shown_at(r) for r in calm.records]
        head = killed_hall.summary["heads"][device]
        assert head["size"] == len(killed_hall.leaves[f"joulemark/{HALL.site}/{device}/1"])


def shown_at(record):
    return record.slot_us, record.values, record.quality


def test_what_the_agent_states_of_its_machines_is_computed_again(demo):
    for device in ("compressor-a1", "rail-compressor", "pv-inverter", "furnace"):
        tree = tree_of(demo, device)
        assert len(tree.figures) > 3
        assert any(event.fields["figures"] for event in tree.figures)
        check_figures(tree, demo.documents)


def test_the_hours_that_the_agent_states_add_up_to_the_whole(demo, shown):
    stated = [
        event.fields["figures"]["energy_wh"] for event in tree_of(demo, "compressor-a1").figures
    ]
    hours_wh = sum(float(figure["value"]) for figure in stated)
    whole = shown["compressor-a1"].figure("energy_wh")

    # The agent states whole windows: those at both ends of the recording are not.
    assert 0.98 * whole.value < hours_wh <= whole.value * (1 + 1e-9)


def test_the_site_of_the_demo_is_the_worked_example(demo):
    example = load_site(Path(__file__).parents[2] / "configs/sites/equipment-hall.yaml")
    tree = tree_of(demo, "furnace")

    assert demo.documents[tree.grant["documents"]["site"]] == site_document(example)


def test_the_day_of_compressor_a1_is_the_published_one(demo):
    tree = tree_of(demo, "compressor-a1")
    samples = of_records(tree.records, ["power_w", "sampled_at_s"], 59_000_000)
    day = held(samples, "power_w", np.array([MAY_7_US, MAY_7_US + DAY_US]))
    naive = [r for r in tree.records if MAY_7_US <= r.slot_us < MAY_7_US + DAY_US]

    assert day.amount[0] / 1000 == pytest.approx(A1_KWH, rel=5e-4)
    assert day.missing_us[0] == 0
    # Control: a minute for every row, as who believes the truncated stamps.
    by_minute = sum(float(r.values["power_w"]) for r in naive) / 60 / 1000
    assert by_minute != pytest.approx(A1_KWH, rel=5e-3)


def test_the_rail_compressor_leaks_five_times_at_the_published_rates(shown):
    leaks = shown["rail-compressor"].spans_of("leak")
    rates = [
        next(figure.value for figure in span.figures if figure.name == "leak_pa_s")
        for span in leaks
    ]

    in_bar_min = [rate / air_compressor.PA_S_PER_BAR_MIN for rate in rates]
    assert in_bar_min == pytest.approx(LEAKS_BAR_MIN, abs=1e-3)


def test_the_inverters_days_are_the_published_ones_and_the_dark_one_is_flagged(shown):
    analysis = shown["pv-inverter"]
    days = [
        next(figure.value for figure in span.figures if figure.name == "generated_wh")
        for span in analysis.spans_of("day")
    ]

    assert days[:5] == pytest.approx(AC_WH, abs=1.0)
    alarms = [finding for finding in analysis.findings if finding.code == "sun_without_ac"]
    assert [alarm.start_us // DAY_US for alarm in alarms] == [18_998]  # 2022-01-06
    assert not [f for f in analysis.findings if f.code == "dc_not_v_times_i"]


def test_the_furnaces_batches_are_those_that_were_simulated(shown):
    scenario = load_any_scenario(HALL.scenario)
    assert isinstance(scenario, HallScenario)
    truth = simulate(scenario.furnace.first_slot_us, scenario.furnace.seed)
    batches = shown["furnace"].spans_of("batch")
    tiles = [span for kind in TILES for span in shown["furnace"].spans_of(kind)]
    parts_wh = [f.value for span in tiles for f in span.figures if f.name == "total_wh"]

    assert len(batches) == len(truth.batches) == 8
    assert [b.start_us for b in batches] == [b.starts_us for b in truth.batches]
    assert sum(parts_wh) == pytest.approx(shown["furnace"].figure("total_wh").value, rel=1e-9)


def test_a_furnace_value_without_a_unit_is_refused_as_energy_and_co2e(shown):
    [finding] = [f for f in shown["furnace"].findings if f.code == "unit_unstated"]

    assert "no CO2e" in finding.what
    assert "manual" in finding.do


def test_the_demo_says_what_is_synthetic_and_what_the_machines_showed(demo):
    assert "furnace (SYNTHETIC)" in demo.output
    assert "sun_without_ac" in demo.output
    assert "unit_unstated" in demo.output
