"""Day 3, the compressor house: eight machines in three encodings, stamps cut to the minute.

Four of the eight channels are others reversed in time and edited: load, not machines.
"""

from decimal import Decimal

import numpy as np
import pytest

from joulemark_agent.equipment.base import Samples, held
from joulemark_agent.kernels.stamps import REPEATED_STAMP, stamp_events
from joulemark_gateway.evidence.clocks import clock_events
from support.recorded import MINUTE_US, rows, us
from support.table_factory import Table

pytestmark = [pytest.mark.timeout(420), pytest.mark.endurance]

CHANNELS = {  # the day [kWh]
    "A1": 4_622.3, "B1": 6_641.9, "C1": 8_394.5, "D1": 10_102.4,
    "A2": 7_123.4, "B2": 6_915.1, "C2": 10_126.0, "D2": 10_013.7,
}  # fmt: skip
REAL = ("A1", "B1", "C1", "D1")
SAMPLE_S, PSI_BAR = 59, 0.0689476
MILLI_PSI_PA = Decimal("6.894757293168")  # the step in which the recording counts
FIRST_US, LAST_US = us("2022-05-07 00:00:00"), us("2022-05-08 00:00:00")
ENCODINGS = (
    "{name: power_w, table: holding, address: 0, type: float32, scale: 1000, byte_order: CDAB}",
    "{name: power_w, table: input, address: 0, type: int16, scale: 100}",
    "{name: power_w, table: holding, address: 0, type: uint32}",
)
MACHINE = """\
model: compressor_{i}
kind: air_compressor
protocol: modbus
source: "made for a test: one of three ways in which meters show a power"
confidence: bench
points:
  - {power}
  - {{name: sampled_at_s, table: {table}, address: 2, type: uint32}}
  - {{name: header_gauge_pressure_pa, table: {table}, address: 4, type: int32, scale: {scale}}}
"""


def column(row, channel):
    """The cell of a channel; the published header has a stray blank in one."""
    return row.get(f"Compressor {channel} (kW)") or row[f"Compressor {channel[0]} {channel[1]}(kW)"]


def stamp_us(row):
    return us(row["DateTime"], "%m/%d/%Y %H:%M")


def machine(i, channel, published):
    """Each published row at one slot of the agent."""
    power = ENCODINGS[i % len(ENCODINGS)]
    table = "input" if "input" in power else "holding"
    found = [
        {
            "power_w": 1000 * Decimal(column(row, channel)),
            "sampled_at_s": stamp_us(row) // 1_000_000,
            "header_gauge_pressure_pa": 1000 * MILLI_PSI_PA * Decimal(row["Pressure (psig)"]),
        }
        for row in published
    ]  # fmt: skip
    first_us = FIRST_US // (SAMPLE_S * 1_000_000) * SAMPLE_S * 1_000_000
    text = MACHINE.format(i=i, power=power, table=table, scale=MILLI_PSI_PA)
    return Table(channel.lower(), text, first_us, SAMPLE_S, found, unit=i + 1)


@pytest.fixture(scope="module")
def published(plant_data):
    return rows(plant_data / "compressor_house_8x_1min/data-explorer-example_0501-0508.csv.gz")


@pytest.fixture(scope="module")
def day(published):
    return [row for row in published if FIRST_US <= stamp_us(row) <= LAST_US]


@pytest.fixture(scope="module")
def house(run, day):
    return run([machine(i, channel, day) for i, channel in enumerate(REAL)])


def energy_kwh(house, channel):
    whole = np.array([FIRST_US, LAST_US])
    return held(house[channel.lower()].samples, "power_w", whole).amount[0] / 1000


def test_each_real_machine_has_its_published_energy_in_whatever_encoding(house, told):
    found = {channel: energy_kwh(house, channel) for channel in REAL}

    assert found == pytest.approx({channel: CHANNELS[channel] for channel in REAL}, rel=5e-4)
    assert sum(found.values()) == pytest.approx(29_761.1, rel=5e-4)
    told("day 3: four real machines, 2022-05-07 [kWh]", round(sum(found.values()), 1),
         "29,761.1, within 0.05 %")  # fmt: skip


@pytest.mark.nightly
def test_all_eight_channels_have_their_published_energy(run, day, told):
    house = run([machine(i, channel, day) for i, channel in enumerate(CHANNELS)])
    found = {channel: energy_kwh(house, channel) for channel in CHANNELS}

    assert found == pytest.approx(CHANNELS, rel=5e-4)
    assert sum(found.values()) == pytest.approx(63_939.2, rel=5e-4)
    told("day 3: all eight channels [kWh]", round(sum(found.values()), 1), "63,939.2, 0.05 %")


def test_a_minute_for_every_row_is_more_than_a_hundredth_too_much(house):
    """The control: who believes the truncated stamps and counts rows."""
    rows_w = sum(house[channel.lower()].history.gauges["power_w"][:-1].sum() for channel in REAL)

    assert rows_w / 60_000 == pytest.approx(29_761.1 * 60 / 59, rel=2e-3)
    assert rows_w / 60_000 > 29_761.1 * 1.01


def test_slots_are_the_agents_and_repeated_stamps_are_flagged(house, day):
    kept = house["a1"]
    events = clock_events(kept.tree, kept.history.profile)
    repeats = len(day) - len({row["DateTime"] for row in day})

    assert set(np.diff(kept.history.slot_us)) == {SAMPLE_S * 1_000_000}
    assert [event.code for event in events] == [REPEATED_STAMP] * repeats
    assert repeats > 20


def test_the_pressure_in_psi_is_read_as_bar(house, day, told):
    bar = house["b1"].history.gauges["header_gauge_pressure_pa"] / 1e5
    psig = np.array([float(row["Pressure (psig)"]) for row in day])

    assert bar == pytest.approx(psig * PSI_BAR, rel=1e-6)
    told("day 3: header pressure, mean [bar(g)]", round(bar.mean(), 4), "psig x 0.0689476")


def test_the_whole_file_is_its_published_energy_and_never_rows_by_sixty(published, told):
    stamps = np.array([stamp_us(row) for row in published])
    whole = np.array([stamps[0], stamps[-1]])
    powers = {c: np.array([float(column(row, c)) for row in published]) for c in CHANNELS}
    samples = Samples(stamps, powers, MINUTE_US * 3 // 2)
    found = {channel: held(samples, channel, whole).amount[0] for channel in CHANNELS}
    events = stamp_events(stamps)

    assert sum(found.values()) == pytest.approx(447_481.9, abs=0.05)
    assert sum(found[channel] for channel in REAL) == pytest.approx(228_633.3, abs=0.05)
    assert sum(column.sum() for column in powers.values()) / 60 == pytest.approx(455_151.9, abs=0.1)
    assert len(events) == 191
    told("day 3: whole file [kWh]", round(sum(found.values()), 1), "447,481.9, never 455,151.9")
    told("day 3: repeated stamps flagged, whole file", len(events), "191")
