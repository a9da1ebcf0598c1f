"""The hall over its sockets: read by the agent's own drivers, slot after slot, against truths."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from joulemark_agent import equipment
from joulemark_agent.clock import ReplayClock
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers import modbus, opcua, sunspec
from joulemark_agent.drivers.base import Driver
from joulemark_agent.equipment.base import Analysis, at_device_time
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.plan import PlannedDevice
from joulemark_agent.settings import SiteSettings, load_site
from joulemark_agent.simulate.equipment_hall.factory import Hall
from joulemark_agent.simulate.equipment_hall.recordings import COMPRESSOR, RAIL, load
from joulemark_agent.simulate.run import factory_of, serve, slots_of
from joulemark_agent.simulate.scenario import HallScenario, load_any_scenario

SITE = Path(__file__).parents[4] / "configs/sites/equipment-hall.yaml"
A1, RAIL_ID, PV, FURNACE = "compressor-a1", "rail-compressor", "pv-inverter", "furnace"
EVERY_NTH_FURNACE_SLOT = 12  # each takes a millisecond; all of them are read without sockets below


@cache
def site() -> SiteSettings:
    return load_site(SITE)


@cache
def hall() -> Hall:
    scenario = load_any_scenario("equipment_hall")
    assert isinstance(scenario, HallScenario)
    return factory_of(scenario)


def profile(device: str) -> Profile:
    [found] = [site().profile(one)[0] for one in site().devices if one.id == device]
    return found


@dataclass(frozen=True)
class Reads:
    """What one device answered at each slot, decoded as the agent decodes it."""

    slots_us: Sequence[int]
    values: Sequence[dict[str, str]]
    quality: Sequence[dict[str, str]]

    def column(self, point: str) -> list[Decimal]:
        return [Decimal(values[point]) for values in self.values]


def slots_us(device: PlannedDevice) -> list[int]:
    """Of compressor A1 a day and the slots around it; of the furnace some and the last."""
    assert device.first_us is not None
    assert device.last_us is not None
    every = list(range(device.first_us, device.last_us + 1, device.period_us))
    if device.id == A1:
        day = [datetime.fromisoformat(f"2022-05-0{d}T00:00:00+00:00").timestamp() for d in (7, 8)]
        return [at for at in every if day[0] - 120 <= at / 1e6 <= day[1] + 120]
    if device.id == FURNACE:
        return [*every[::EVERY_NTH_FURNACE_SLOT], every[-1]]
    return every


async def read_all() -> dict[str, Reads]:
    scenario = load_any_scenario("equipment_hall")
    async with await serve(scenario, modbus_port=0, control_port=0) as simulation:
        words = f"127.0.0.1:{simulation.modbus_port}"
        plain = await modbus.connect(f"modbus-tcp://{words}", timeout_s=5)
        drivers: dict[str, Driver] = {
            A1: plain,
            RAIL_ID: plain,
            PV: await sunspec.connect(f"sunspec-tcp://{words}", timeout_s=5),
            FURNACE: await opcua.connect(
                f"opc.tcp://127.0.0.1:{simulation.opcua_port}", timeout_s=5
            ),
        }
        clock = ReplayClock(f"tcp://127.0.0.1:{simulation.control_port}")
        every_us = sorted({at for slots in slots_of(hall()) for at in slots.all_us()})
        before_us = dict(zip(every_us[1:], every_us, strict=False))
        devices = sorted(site().planned_devices(), key=lambda device: device.first_us or 0)
        found = {}
        for device in devices:
            answers: list[tuple[Response, ...]] = []
            for slot_us in slots_us(device):
                assert await clock.until(slot_us, before_us.get(slot_us))
                answers.append(await drivers[device.id].read(device.unit, device.requests))
            decoded = [decode_responses(profile(device.id), answer) for answer in answers]
            found[device.id] = Reads(
                slots_us(device), [values for values, _ in decoded], [bad for _, bad in decoded]
            )
        assert not await clock.until(every_us[-1] + 30_000_000, every_us[-1])
        for driver in drivers.values():
            await driver.close()
        await clock.close()
    return found


@pytest.fixture(scope="module")
def reads() -> dict[str, Reads]:
    return asyncio.run(read_all())


def test_a_day_of_compressor_a1_is_4622_288_kwh_left_hold_over_its_own_stamps(
    reads: dict[str, Reads],
) -> None:
    """From 2022-05-07 00:00 to 05-08 00:00, both stamps of rows."""
    stamps, power = reads[A1].column("sampled_at_s"), reads[A1].column("power_w")
    first = Decimal(datetime.fromisoformat("2022-05-07T00:00:00+00:00").timestamp())
    kwh = sum(
        power[i] * (after - at)
        for i, (at, after) in enumerate(pairwise(stamps))
        if first <= at < first + 86_400
    ) / Decimal(3_600_000)

    assert kwh.quantize(Decimal("0.001")) == Decimal("4622.288")


def test_sixty_seconds_a_row_would_give_another_day(reads: dict[str, Reads]) -> None:
    """The control: the period that the stamps suggest counts 1.7 % too much."""
    first = datetime.fromisoformat("2022-05-07T00:00:00+00:00").timestamp()
    rows = [
        power
        for at, power in zip(
            reads[A1].column("sampled_at_s"), reads[A1].column("power_w"), strict=True
        )
        if first <= at < first + 86_400
    ]

    assert float(sum(rows)) / 60_000 == pytest.approx(4622.288 * 1.017, rel=2e-3)


def test_a1_is_served_row_by_row_none_twice_and_none_left_out(reads: dict[str, Reads]) -> None:
    recording = load(COMPRESSOR)
    rows = recording.newest(np.array(reads[A1].slots_us))

    assert np.all(np.diff(rows) == 1)
    assert hall().schedule[11].count == recording.at_us.size
    assert [int(value) for value in reads[A1].column("power_w")] == (
        recording.values["power_kw"][rows] * 100
    ).tolist()
    psi = [
        value / Decimal("6894.757293168") for value in reads[A1].column("header_gauge_pressure_pa")
    ]
    assert [int((value * 1000).to_integral_value()) for value in psi] == (
        recording.values["header_psig"][rows].tolist()
    )


def test_every_row_of_the_rail_compressor_is_seen(reads: dict[str, Reads]) -> None:
    recording = load(RAIL)
    stamps = reads[RAIL_ID].column("sampled_at_s")

    assert [int(at) for at in dict.fromkeys(stamps)] == (recording.stamp_us // 10**6).tolist()
    seen = dict(zip(stamps, reads[RAIL_ID].values, strict=True))
    for i, values in enumerate(seen.values()):
        amperes = Decimal(values["motor_current_a"])
        assert amperes * 10_000 == int(recording.values["motor_current_a"][i])
        pascals = Decimal(values["reservoir_gauge_pressure_pa"])
        assert pascals / 100 == int(recording.values["reservoirs_bar"][i])
        assert values["intake_valve_state"] == str(recording.values["comp"][i])


def test_slots_every_ten_seconds_would_miss_rows_of_the_rail_compressor() -> None:
    """The control: why its period is 9 s."""
    recording = load(RAIL)
    every_10_s = np.arange(recording.at_us[0], recording.at_us[-1] + 10**7, 10**7)

    assert recording.at_us.size - np.unique(recording.newest(every_10_s)).size == 8


def test_the_days_of_the_inverter_add_up_to_the_published_energies(reads: dict[str, Reads]) -> None:
    total_wh = reads[PV].column("generated_wh")
    days = [float(b - a) for a, b in pairwise(total_wh[::96])]

    assert len(total_wh) == 481
    assert np.abs(np.array(days) - [330_564.1, 326_005.9, 421_994.2, 377_322.5, 0]).max() < 1


def test_what_the_inverter_does_not_have_is_no_value_and_all_else_is_good(
    reads: dict[str, Reads],
) -> None:
    absent = {"frequency_hz": "sentinel", "operating_state": "sentinel"}

    assert all(quality == absent for quality in reads[PV].quality)
    assert not any(
        quality for device in (A1, RAIL_ID, FURNACE) for quality in reads[device].quality
    )


def test_the_furnace_answers_what_was_simulated_for_the_slot(reads: dict[str, Reads]) -> None:
    furnace = hall().furnace
    for slot_us, values in zip(reads[FURNACE].slots_us, reads[FURNACE].values, strict=True):
        slot = furnace.run.slots.index(slot_us)
        expected = {point.name: furnace.value(point.name, slot) for point in furnace.points}
        assert {name: float(text) for name, text in values.items()} == expected


def test_the_counters_of_the_furnace_never_fall_and_open_above_0(reads: dict[str, Reads]) -> None:
    for point in ("gas_dm3", "energy_wh"):
        total = reads[FURNACE].column(point)
        assert total[0] > 0
        assert all(before <= after for before, after in pairwise(total))
        assert total[-1] > total[0]


def test_the_windows_of_the_site_file_are_those_of_the_factory() -> None:
    planned = {device.id: device for device in site().planned_devices()}
    schedule = hall().schedule
    expected = dict(zip((A1, RAIL_ID, PV), (schedule[11], schedule[12], schedule[13]), strict=True))
    expected[FURNACE] = hall().furnace.run.slots

    for name, slots in expected.items():
        device = planned[name]
        assert (device.first_us, device.last_us) == (slots.first_us, slots.last_us)
        assert device.period_us == slots.period_us


def analysed(device: str, slots: Sequence[int], values: Sequence[dict[str, float]]) -> Analysis:
    """What the equipment model of the site file makes of the values."""
    [settings] = [one for one in site().devices if one.id == device]
    columns = {
        point.name: np.array([row.get(point.name, np.nan) for row in values])
        for point in profile(device).points
    }
    samples = at_device_time(np.array(slots), columns, 3 * settings.period_us)
    kind = profile(device).kind
    assert settings.equipment is not None
    parameters = equipment.parameters_of(kind, settings.equipment)
    found = equipment.analyse(kind, parameters, samples)
    assert found is not None
    return found


def floats(reads: Reads) -> list[dict[str, float]]:
    return [{name: float(text) for name, text in values.items()} for values in reads.values]


def test_the_five_leaks_of_the_rail_compressor_come_out_of_what_was_read(
    reads: dict[str, Reads],
) -> None:
    found = analysed(RAIL_ID, reads[RAIL_ID].slots_us, floats(reads[RAIL_ID]))
    rates = [
        figure.value * 60 / 1e5
        for span in found.spans_of("leak")
        for figure in span.figures
        if figure.name == "leak_pa_s" and figure.value is not None
    ]

    assert np.abs(np.abs(rates) - [0.0558, 0.0564, 0.0566, 0.0562, 0.0562]).max() < 0.001


def test_the_day_of_sun_without_ac_power_comes_out_of_what_was_read(
    reads: dict[str, Reads],
) -> None:
    [day] = analysed(PV, reads[PV].slots_us, floats(reads[PV])).spans_of("sun_without_ac")

    assert day.start_us == reads[PV].slots_us[4 * 96]


def test_the_batches_of_the_furnace_are_those_of_its_truth_with_their_energy() -> None:
    furnace = hall().furnace
    run, slots = furnace.run, furnace.run.slots
    values = [
        {point.name: float(furnace.value(point.name, slot)) for point in furnace.points}
        for slot in range(slots.count)
    ]
    found = analysed(FURNACE, slots.all_us(), values).spans_of("batch")
    starts = [batch.starts_us for batch in run.batches]
    ends = [*starts[1:], run.batches[-1].leaves_us]

    assert [(span.start_us, span.end_us) for span in found] == list(zip(starts, ends, strict=True))
    for span in found:
        first, last = (run.states[slots.index(at)] for at in (span.start_us, span.end_us))
        figures = {figure.name: figure.value for figure in span.figures}
        gas_wh = (last.gas_cm3 - first.gas_cm3) * 38.9 / 3600
        assert figures["gas_wh"] == pytest.approx(gas_wh, abs=38.9 / 3.6)  # 1 dm3
        assert figures["electricity_wh"] == pytest.approx(
            (last.electricity_j - first.electricity_j) / 3600, abs=1
        )
