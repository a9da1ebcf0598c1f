"""Day 1, a coil line: the hole of 2018-11-07, a rail compressor as a small plant has it, a furnace.

The other day of the line, 2018-05-15, is in `tests/system/test_days.py`.
"""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest

from joulemark_agent.equipment import air_compressor
from joulemark_agent.equipment.base import held
from joulemark_agent.kernels.stamps import CLOCK_STEP, REPEATED_STAMP
from joulemark_agent.simulate.equipment_hall.recordings import RAIL, load
from joulemark_agent.simulate.recording import KST
from joulemark_agent.simulate.run import load_recording
from joulemark_gateway.evidence.clocks import clock_events
from support.recorded import HOUR_US, rows, us
from support.table_factory import Row, Table

pytestmark = pytest.mark.timeout(420)

QUARTER_US, DAY_S = 900_000_000, 86_400
LEAKS_BAR_MIN = (-0.0558, -0.0564, -0.0566, -0.0562, -0.0562)
CHARGE_AH = 3.0912
COMPRESSOR = """\
model: small_compressor
kind: air_compressor
protocol: modbus
source: "made for a test: current and pressures in hundredths, as small controllers have them"
confidence: bench
points:
  - {name: motor_current_a, table: holding, address: 0, type: int16, scale: 0.01}
  - {name: outlet_gauge_pressure_pa, table: holding, address: 1, type: int16, scale: 1000}
  - {name: reservoir_gauge_pressure_pa, table: holding, address: 2, type: int16, scale: 1000}
  - {name: sampled_at_s, table: holding, address: 3, type: uint32}
"""
TEMPERATURE = """\
model: machine_temperature
kind: furnace
protocol: opcua
source: "made for a test; the recording names no unit, degrees Fahrenheit are presumed"
confidence: bench
points:
  - {name: temperature_unstated, node: "nsu=urn:test:machine;s=Machine.Temperature", type: float64}
"""
STEP_US = us("2014-01-07 02:00:00")  # the stamp that the machine's clock went back to


def midnight_us(day: str) -> int:
    """Of a Korean day."""
    return int(datetime.fromisoformat(day).replace(tzinfo=KST).astimezone(UTC).timestamp()) * 10**6


def meter(day: str, end: str) -> Table:
    """The main meter from one midnight to a later slot."""
    recording = load_recording("steel_gwangyang_2018")
    start, stop = (
        (midnight_us(day) - recording.first_us) // QUARTER_US,
        (us(end) - 9 * HOUR_US - recording.first_us) // QUARTER_US,
    )
    counts = {
        "energy_wh": 41_235_000_000 + 10 * np.cumsum(recording.energy_10wh),
        "reactive_lagging_varh": 10 * np.cumsum(recording.lagging_10varh),
        "reactive_leading_varh": 10 * np.cumsum(recording.leading_10varh),
    }
    found: list[Row] = []
    for slot in range(start, stop + 1):  # a slot shows the interval that ends there
        leads = recording.leading_10varh[slot - 1] > recording.lagging_10varh[slot - 1]
        factor = recording.leading_pf_1e4 if leads else recording.lagging_pf_1e4
        found.append(
            {
                **{name: int(count[slot - 1]) for name, count in counts.items()},
                "power_w": 40 * int(recording.energy_10wh[slot - 1]),
                "power_factor_ratio": Decimal(int(factor[slot - 1]) * (-1 if leads else 1))
                / 10_000,
            }
        )
    return Table("main-meter", "virtual_main_meter", midnight_us(day), 900, found)


def compressor() -> Table:
    """Every row of the rail compressor at one slot, in hundredths."""
    recording = load(RAIL)
    first_us = int(recording.at_us[0]) // 10_000_000 * 10_000_000
    current, outlet, reservoir = (
        recording.values[name] for name in ("motor_current_a", "tp2_bar", "reservoirs_bar")
    )
    found: list[Row] = [
        {
            "motor_current_a": Decimal(int(current[i])) / 10_000,
            "outlet_gauge_pressure_pa": 100 * int(outlet[i]),
            "reservoir_gauge_pressure_pa": 100 * int(reservoir[i]),
            "sampled_at_s": int(recording.stamp_us[i]) // 1_000_000,
        }
        for i in range(recording.at_us.size)
    ]
    section = "{current: motor_current_a, pressure: reservoir_gauge_pressure_pa, only_source: true}"
    return Table("compressor", COMPRESSOR, first_us, 10, found, unit=2, equipment=section)


def temperature(published: list[dict[str, str]]) -> Table:
    """Rows of the machine at slots five minutes apart; its own stamps beside them."""
    stamps = [us(row["timestamp"]) for row in published]
    found = [{"temperature_unstated": Decimal(row["value"])} for row in published]
    ranges = {"temperature_unstated": (0.0, 150.0)}
    own_us = {"temperature_unstated": stamps}
    return Table("machine", TEMPERATURE, stamps[0], 300, found, source_us=own_us, ranges=ranges)


@pytest.fixture(scope="module")
def day(run):
    return run([meter("2018-11-07", "2018-11-08 03:00:00"), compressor()])


def published_temperature(plant_data):
    return rows(plant_data / "machine_temperature_5min/machine_temperature_system_failure.csv.gz")


def test_the_day_with_the_hole_has_its_published_energy(day, told):
    edges_us = midnight_us("2018-11-07") + np.array([0, DAY_S * 1_000_000])
    found = day["main-meter"].counter("energy_wh").totals(edges_us)

    assert found.total[0] == 2_640_300  # to the watt-hour, though a quarter-hour is missing
    told("day 1: main meter, 2018-11-07 [kWh]", found.total[0] / 1000, "2,640.30, to 1 Wh")


def test_exactly_the_quarter_hour_before_midnight_is_missing_and_both_neighbours_are_whole(
    day, told
):
    kept = day["main-meter"]
    edges_us = np.arange(midnight_us("2018-11-07"), midnight_us("2018-11-08") + 3 * HOUR_US + 1,
                         QUARTER_US)  # fmt: skip
    found = kept.counter("energy_wh").totals(edges_us)
    hole = int(np.flatnonzero(edges_us == midnight_us("2018-11-08"))[0]) - 1
    [span] = kept.counter("energy_wh").spans_in(edges_us[0], edges_us[-1])

    assert np.flatnonzero(found.missing_us).tolist() == [hole]
    assert found.covered_us[hole - 1] == found.covered_us[hole + 1] == QUARTER_US
    assert found.total[hole] == 0
    assert (span.start_us, span.end_us) == (edges_us[hole], edges_us[hole + 1])
    assert span.reasons == ("all_zero",)
    assert not kept.tree.gaps, "the meter answered: there is a reading, and no gap"
    # Control: whoever only takes differences calls the hole a quarter-hour without load.
    counts = kept.history.counters["energy_wh"]
    assert np.diff(counts)[hole] == 0
    assert kept.history.good["energy_wh"].all()
    told("day 1: missing quarter-hours, 2018-11-07", 1, "1: ends 2018-11-08 00:00, `all_zero`")


def test_the_compressor_in_hundredths_has_its_five_cycles_leaks_and_charge(day, told):
    shown = day["compressor"].analysis
    leaks = [
        next(f.value for f in span.figures if f.name == "leak_pa_s")
        / air_compressor.PA_S_PER_BAR_MIN
        for span in shown.spans_of("leak")
    ]
    samples = day["compressor"].samples
    whole = np.array([samples.t_us[0], samples.t_us[-1]])
    charge_ah = held(samples, "motor_current_a", whole).amount[0]

    assert leaks == pytest.approx(LEAKS_BAR_MIN, abs=1e-3)
    assert np.mean(leaks) == pytest.approx(-0.056, abs=1e-3)
    assert charge_ah == pytest.approx(CHARGE_AH, rel=0.01)
    assert shown.figure("load_count").value == 5
    # Control: the slots' own ten seconds instead of the machine's stamps.
    by_slot = float(np.nansum(samples.values["motor_current_a"])) * 10 / 3600
    assert abs(by_slot - CHARGE_AH) > abs(charge_ah - CHARGE_AH)
    told("MetroPT: cycles", 5, "5")
    told("MetroPT: leaks [bar/min]", ", ".join(f"{leak:.4f}" for leak in leaks),
         "-0.0558, -0.0564, -0.0566, -0.0562, -0.0562, within 0.001")  # fmt: skip
    told("MetroPT: charge [A*h]", round(charge_ah, 4), "3.0912, within 1 %")


def check_temperature(kept, published):
    """What the readings hold, and what the machine's own clock did."""
    values = kept.history.gauges["temperature_unstated"]
    assert values.tolist() == [float(row["value"]) for row in published]
    events = clock_events(kept.tree, kept.history.profile)
    [step] = [event for event in events if event.code == CLOCK_STEP]
    repeated = [event for event in events if event.code == REPEATED_STAMP]
    assert (step.before_us, step.after_us) == (STEP_US + 55 * 60_000_000, STEP_US)
    assert step.step_us == -55 * 60_000_000
    assert {event.point for event in events} == {"temperature_unstated"}
    assert kept.history.slot_us[np.searchsorted(kept.history.sources, step.seq)] == step.slot_us
    assert len(repeated) == 12
    assert (np.diff(kept.history.slot_us) == 300_000_000).all(), "the slots are the agent's"
    assert (np.diff(kept.samples.t_us) > 0).all()
    # Control: durations from the machine's own stamps.
    assert np.diff([us(row["timestamp"]) for row in published]).min() == step.step_us < 0


def test_a_clock_that_goes_back_is_flagged_and_gives_no_negative_duration(run, plant_data, told):
    published = published_temperature(plant_data)[10_148 - 60 : 10_148 + 60]
    check_temperature(run([temperature(published)])["machine"], published)
    told("NAB: repeated stamps flagged", 12, "12")
    told("NAB: steps of the clock flagged [min]", "-55 at 2014-01-07 02:00", "-55")


@pytest.mark.nightly
def test_all_of_the_machines_temperature_is_read_and_its_one_step_found(run, plant_data):
    published = published_temperature(plant_data)
    check_temperature(run([temperature(published)])["machine"], published)
