"""Day 4, a PV roof: an inverter that sleeps, a counter with false zeros, a frame as it was sent.

The days of the SunSpec inverter are in `tests/system/test_hall.py`.
"""

import json
from datetime import datetime

import numpy as np
import pytest

from joulemark_agent.kernels.energy import left_hold, power_energy
from joulemark_agent.kernels.stuck import stuck
from support.recorded import HOUR_US, number, rows, us
from support.table_factory import Table

pytestmark = pytest.mark.timeout(420)

SLOT_S, SLOT_US = 300, 300_000_000
ASLEEP = "exception_11"  # a gateway's word for a device that does not answer it
TRIO_KWH, TRIO_ROWS = 199.043, 172
FIRST_US, LAST_US = us("2019-05-12 12:00:00"), us("2019-05-13 05:00:00")
MORNING_US = us("2019-05-13 14:00:00")  # it has woken up again
INVERTER = """\
model: sleeping_inverter
kind: pv_inverter
protocol: modbus
source: "made for a test: the AC power of an inverter that is off at night"
confidence: bench
points:
  - {name: ac_power_w, table: holding, address: 0, type: float32, scale: 1000}
"""
COUNTER = """\
model: yield_counter
kind: pv_inverter
protocol: modbus
source: "made for a test: a cumulative counter in watt-hours"
confidence: bench
points:
  - {name: generated_wh, table: holding, address: 0, type: uint32, counter: true}
"""
# Registers of the DT family: goodwe/dt.py of marcelblijleven/goodwe at 66dfcdd.
GOODWE = """\
model: goodwe_gw50ks_mt
kind: pv_inverter
protocol: modbus
source: "marcelblijleven/goodwe 66dfcdd, goodwe/dt.py: running data from 30100"
confidence: second_hand
points:
  - {name: clock_state, table: holding, address: 30100, type: uint16}
STRINGS
  - {name: ac_power_w, table: holding, address: 30127, type: int32}
  - {name: apparent_va, table: holding, address: 30133, type: int32}
  - {name: reactive_var, table: holding, address: 30135, type: int32}
  - {name: signal_state, table: holding, address: 30172, type: uint16}
""".replace(
    "STRINGS",
    "\n".join(
        f"  - {{name: string_{i}_dc_{kind}, table: holding, address: {30103 + 2 * i - 2 + more},"
        " type: uint16, scale: 0.1}"
        for i in range(1, 5)
        for more, kind in enumerate(("voltage_v", "current_a"))
    ),
)


def published_trio(plant_data):
    return [
        (us(row["ts"]), number(row["meas_val_f"]))
        for row in rows(plant_data / "pv_inverter_abb_trio/ZT162185000441C1203.csv.gz")
    ]


def inverter(published, first_us, last_us):
    """A row where there is one, and silence where there is none."""
    by_time = {at_us: {"ac_power_w": 1000 * value} for at_us, value in published}
    shown = [by_time.get(at_us) for at_us in range(first_us, last_us + 1, SLOT_US)]
    return Table("trio", INVERTER, first_us, SLOT_S, shown)


def on_slots(kept, point):
    """The values at every slot: NaN where the slot stands in a gap."""
    history = kept.history
    spans = [(gap.first_slot_us, gap.last_slot_us) for gap in history.gaps]
    lost = [at for first, last in spans for at in range(first, last + 1, history.period_us)]
    slots = np.concatenate([history.slot_us, np.array(lost, np.int64)])
    values = np.concatenate([history.gauges[point], np.full(len(lost), np.nan)])
    order = np.argsort(slots)
    return slots[order], values[order]


def yield_kwh(slots, power_w, edges):
    """A reading is the mean of the five minutes before it, and of no more."""
    energy_wh, covered_us = power_energy(slots, power_w, edges, SLOT_US)
    return energy_wh[0] / 1000, covered_us[0]


def holes(slots, power_w):
    """How many slots each hole between two readings has."""
    seen = np.flatnonzero(~np.isnan(power_w))
    return (np.diff(slots[seen]) // SLOT_US - 1)[np.diff(slots[seen]) > SLOT_US]


@pytest.fixture(scope="module")
def roof(run, plant_data):
    cumulative = rows(plant_data / "pv_cumulative_counter/cumE2_R23.csv.gz")
    counts = [{"generated_wh": 1000 * number(row["Energy"])} for row in cumulative]
    first_us = us(cumulative[1]["Date"], "%m/%d/%Y %H:%M") - HOUR_US  # of the row without a date
    return run(
        [
            inverter(published_trio(plant_data), FIRST_US, MORNING_US),
            Table("r23", COUNTER, first_us, 3600, counts, unit=2),
        ]
    )


def test_an_inverter_that_sleeps_has_its_yield_and_its_night_is_a_gap_without_energy(roof, told):
    kept, day_us = roof["trio"], np.array([FIRST_US, LAST_US])
    slots, power_w = on_slots(kept, "ac_power_w")
    kwh, covered_us = yield_kwh(slots, power_w, day_us)
    night_us = np.array([us("2019-05-13 03:00:00"), us("2019-05-13 12:50:00")])
    night_kwh, awake_us = yield_kwh(slots, power_w, night_us)
    night = [gap for gap in kept.history.gaps if gap.first_slot_us > night_us[0]
             and gap.last_slot_us <= night_us[1]]  # fmt: skip
    night_slots = sum(gap.slots for gap in night)
    readings, powers = kept.history.slot_us, kept.history.gauges["ac_power_w"]

    assert kwh == pytest.approx(TRIO_KWH, abs=5e-4)
    assert covered_us == TRIO_ROWS * SLOT_US
    assert (night_kwh, awake_us) == (0, 0)
    assert night_slots == (night_us[1] - night_us[0]) // SLOT_US == 118
    assert {gap.cause for gap in kept.history.gaps} == {ASLEEP}
    assert sorted(holes(slots, power_w).tolist()) == [1, night_slots]
    # Control: the last value held until the next one claims the night as measured.
    _, held_us = left_hold(readings, powers, night_us, 2**50)
    assert held_us[0] == night_us[1] - night_us[0]
    told("day 4: TRIO, 2019-05-12 [kWh]", round(kwh, 3), "199.043 from 172 rows")
    told("day 4: TRIO, its night", f"a gap of {night_slots} slots, `{ASLEEP}`", "no energy")


def check_trio(slots, power_w, told):
    """The whole file: only rows have energy, nights and single slots are holes."""
    kwh, covered_us = yield_kwh(slots, power_w, slots[[0, -1]])
    lengths = holes(slots, power_w)
    good = ~np.isnan(power_w)
    naive_wh, held_us = left_hold(slots[good], power_w[good], slots[[0, -1]], 2**50)

    assert kwh == pytest.approx(29_834.0, abs=0.05)
    assert covered_us == good.sum() * SLOT_US
    assert (lengths == 1).sum() == 149
    assert held_us[0] > covered_us * 1.9  # the control claims the nights
    assert naive_wh[0] / 1000 > kwh * 1.002
    told("TRIO file [kWh]", round(kwh, 1), "29,834.0")
    told("TRIO file: single slots, longer holes", f"149, {(lengths > 1).sum()}", "149 single")
    told("TRIO file, last value held (control) [kWh]", round(naive_wh[0] / 1000, 1), "too much")


@pytest.mark.endurance
def test_the_whole_trio_file_has_energy_only_while_it_was_awake(plant_data, told):
    found = dict(published_trio(plant_data))
    slots = np.arange(min(found) - SLOT_US, max(found) + 1, SLOT_US)
    power_w = np.array([1000 * float(found.get(at, "nan")) for at in slots.tolist()])
    check_trio(slots, power_w, told)


@pytest.mark.nightly
def test_the_whole_trio_file_read_over_sockets_is_the_same(run, plant_data, told):
    published = published_trio(plant_data)
    day = run([inverter(published, published[0][0] - SLOT_US, published[-1][0])])
    slots, power_w = on_slots(day["trio"], "ac_power_w")
    check_trio(slots, power_w, told)


def test_zeros_of_a_counter_book_nothing_and_are_flagged(roof, told):
    counter = roof["r23"].counter("generated_wh")
    counts = roof["r23"].history.counters["generated_wh"]
    edges = roof["r23"].history.slot_us[[0, -1]]
    found = counter.totals(edges)
    rises = np.diff(counts)

    assert found.total[0] == 222_295_572
    assert [event.code for event in counter.events] == ["false_zero", "false_zero"]
    assert [event.before for event in counter.events] == [1_000_000, 108_975_536]
    assert rises[rises > 0].sum() == 332_271_108 > found.total[0]  # the control
    told("day 4: counter R23 [kWh]", found.total[0] / 1000, "222,295.572, never 332,271.108")
    told("day 4: counter R23, flagged", "2 x `false_zero`", "2 false zeros")


def test_an_inverters_frame_as_it_was_sent_is_read_with_its_check(run, plant_data, told):
    """A server that answers the one question with the recorded bytes; the agent checks them."""
    folder = plant_data / "modbus_dumps_goodwe"
    frame = bytes.fromhex((folder / "GW50KS-MT_running_data.hex").read_text())[2:]  # without AA55
    expected = {
        row["id"]: float(row["value"])
        for row in json.loads((folder / "expected_values.json").read_text())["GW50KS_MT_Test"][
            "expected"
        ]
        if row["unit"] in {"V", "A", "W", "var", "VA"}
    }
    at_us = int(datetime.fromisoformat("2026-03-29T12:21:00+00:00").timestamp()) * 1_000_000
    day = run([Table("goodwe", GOODWE, at_us, 60, [{}, {}], unit=0x7F, frame=frame)])
    values = {name: found[0] for name, found in day["goodwe"].history.gauges.items()}
    strings_w = [
        round(values[f"string_{i}_dc_voltage_v"] * values[f"string_{i}_dc_current_a"])
        for i in range(1, 5)
    ]

    assert len(day["goodwe"].tree.records) == 2
    assert values["ac_power_w"] == expected["total_inverter_power"] == 47_967
    assert values["reactive_var"] == expected["reactive_power"] == -29_840
    assert values["apparent_va"] == expected["apparent_power"] == 56_464
    assert strings_w == [expected[f"ppv{i}"] for i in range(1, 5)]
    assert sum(strings_w) == expected["ppv"] == 48_409
    told("day 4: GW50KS-MT [W, var, W of the strings]", "47,967, -29,840, 48,409", "the same")


@pytest.fixture(scope="module")
def labelled(plant_data):
    return rows(plant_data / "pv_nrel_rsf2_dc_ac/ac_power_inv_2173_stale_data.csv.gz")


def check_stuck(t_us, power, labelled, told):
    """Precision and recall over the labels; the hours that are believed hardly matter."""
    truth = np.array([row["stale_data_mask"] == "True" for row in labelled])
    step_us = 1_350_000_000
    for hours in (0.5, 1, 2, 4, 6):
        found = stuck(t_us, power, int(hours * HOUR_US), step_us, 0.0, 0.0)
        hits = int((found & truth).sum())
        assert (hits / found.sum(), hits / truth.sum()) == (1.0, 1.0)
    naive = stuck(t_us, power, 2 * HOUR_US, step_us, np.nan, np.nan)
    night = int((naive & ~truth & (power == 0)).sum())

    assert truth.sum() == 245
    assert night == 983 == (naive & ~truth).sum()  # the control: every night is an alarm
    told("stuck values: precision, recall", f"{hits}/{found.sum()}, {hits}/{truth.sum()},"
         " for any patience from 0.5 to 6 h", "reported, of 245 labelled")  # fmt: skip
    told("stuck values: false alarms at night", f"{(found & ~truth & (power == 0)).sum()}"
         f" (without a rule for rest: {night})", "counted apart")  # fmt: skip


def test_samples_that_are_labelled_stuck_are_found_and_the_night_is_no_alarm(labelled, told):
    power = np.array([float(row["value_normalized"] or "nan") for row in labelled])
    check_stuck(np.arange(power.size) * 900_000_000, power, labelled, told)


@pytest.mark.endurance
def test_what_was_stuck_is_found_in_the_evidence_and_told(run, labelled, told):
    """Only float32 registers, that show NaN where the recording has nothing."""
    shown = [
        {"ac_power_w": 1000 * number(row["value_normalized"]) if row["value_normalized"] else None}
        for row in labelled
    ]
    first_us = us("2010-12-29 14:15:00")
    kept = run([Table("inverter", INVERTER, first_us, 900, shown)])["inverter"]
    [finding] = [f for f in kept.analysis.findings if f.code == "power_stuck"]

    assert "245 of 1851" in finding.what
    check_stuck(kept.history.slot_us, kept.history.gauges["ac_power_w"], labelled, told)


def test_unlabelled_recordings_of_other_inverters_raise_no_alarm(plant_data, told):
    """2 h and rest at night; TRIO clips at its rating, but never to the last digit for so long."""
    east = rows(plant_data / "pv_nrel_rsf2_dc_ac/serf_east_15min_ac_power.csv.gz")
    power = np.array([float(row["ac_power"]) for row in east])
    slots = np.arange(power.size) * 900_000_000
    trio = published_trio(plant_data)
    at_us, awake = np.array([t for t, _ in trio]), np.array([float(v) for _, v in trio])

    assert not stuck(slots, power, 2 * HOUR_US, 1_350_000_000, -3.0, 0.0).any()
    assert not stuck(at_us, awake, 2 * HOUR_US, SLOT_US * 3 // 2, 0.0, 0.0).any()
    told("stuck values: false alarms, 42,840 other samples", 0, "")
