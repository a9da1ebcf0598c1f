"""SunSpec against pysunspec2, another implementation; and over lines without transaction ids."""

import asyncio
import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sunspec2.modbus.client import (  # type: ignore[import-untyped]
    SunSpecModbusClientDeviceTCP,
)

from joulemark_agent.contract.document import parse_yaml
from joulemark_agent.contract.profile import Profile
from joulemark_agent.documents import checked_profile, load_profile
from joulemark_agent.drivers.base import Request
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.lines import Line, line_of
from joulemark_agent.plan import PlannedDevice, plan_requests
from joulemark_agent.simulate.equipment_hall.inverter import BASE, registers
from joulemark_agent.simulate.equipment_hall.recordings import INVERTER, load
from support import bus
from support.units import Device, common_model, inverter_model, modbus_tcp, sunspec_map

UNIT = 13
NAMED = """
model: by_name
kind: pv_inverter
protocol: sunspec
source: "SunSpec Information Models, by their points' names"
confidence: manual
points:
  - {name: ac_current_a, model: 103, point: A}
  - {name: voltage_l1_v, model: 103, point: PhVphA}
  - {name: ac_power_w, model: 103, point: W}
  - {name: frequency_hz, model: 103, point: Hz}
  - {name: apparent_va, model: 103, point: VA}
  - {name: reactive_var, model: 103, point: VAr}
  - {name: generated_wh, model: 103, point: WH, counter: true}
  - {name: dc_current_a, model: 103, point: DCA}
  - {name: dc_voltage_v, model: 103, point: DCV}
  - {name: dc_power_w, model: 103, point: DCW}
  - {name: operating_state, model: 103, point: St}
golden:
  - {point: operating_state, words: [4], value: 4}
"""
PROFILE, _ = checked_profile(parse_yaml(NAMED, "by_name.yaml"))
NAMES = {"ac_current_a": "A", "voltage_l1_v": "PhVphA", "ac_power_w": "W", "frequency_hz": "Hz",
         "apparent_va": "VA", "reactive_var": "VAr", "generated_wh": "WH", "dc_current_a": "DCA",
         "dc_voltage_v": "DCV", "dc_power_w": "DCW", "operating_state": "St"}  # fmt: skip


async def read(url: str, profile: Profile) -> tuple[dict[str, str], dict[str, str]]:
    line = Line(line_of(url), timeout_s=5.0)
    device = PlannedDevice("inverter", url, UNIT, 900_000_000, plan_requests(profile), 5.0)
    responses = await line.read(device)
    await line.close()
    return decode_responses(profile, responses)


def foreign(port: int) -> Any:
    """What pysunspec2 makes of the unit, by model and point."""
    client = SunSpecModbusClientDeviceTCP(slave_id=UNIT, ipaddr="127.0.0.1", ipport=port, timeout=5)
    client.scan()
    client.close()
    return client


@pytest.mark.parametrize("row", [1, 48, 200])
async def test_the_virtual_inverter_is_read_alike_by_pysunspec2(row: int) -> None:
    _, words = registers(load(INVERTER).values, 412_345_678)
    held = dict(enumerate(map(int, words[row]), BASE))
    async with modbus_tcp({UNIT: Device(holding=held)}) as served:
        client = await asyncio.to_thread(foreign, served.port)
        values, quality = await read(f"sunspec-tcp://127.0.0.1:{served.port}", PROFILE)

    assert set(client.models) >= {1, 103, 160}
    [model] = client.models[103]
    theirs = {name: getattr(model, point).cvalue for name, point in NAMES.items()}
    assert {name for name, value in theirs.items() if value is None} == set(quality)
    for name, text in values.items():
        assert float(text) == pytest.approx(theirs[name], rel=1e-12)
    assert len(values) >= 4


@pytest.mark.parametrize(
    ("held", "point"),
    [({15: 0x8000}, "ac_power_w"), ({26: 0x8000}, "generated_wh"), ({17: 0x8000}, "frequency_hz")],
)
async def test_without_its_scale_factor_a_value_is_none(
    held: Mapping[int, int], point: str
) -> None:
    """The control: pysunspec2 hands over the raw number, ten or a hundred times wrong."""
    device = Device(holding=sunspec_map(common_model("Acme", "Sun 10"), inverter_model(held)))
    async with modbus_tcp({UNIT: device}) as served:
        client = await asyncio.to_thread(foreign, served.port)
        values, quality = await read(f"sunspec-tcp://127.0.0.1:{served.port}", PROFILE)

    assert point not in values
    assert quality[point] == "scale"
    naive = getattr(client.models[103][0], NAMES[point]).cvalue
    assert naive is not None, "the control handed over nothing"


def on_a_line(held: Mapping[int, int]) -> Callable[[bytes], list[bytes]]:
    def respond(request: bytes) -> list[bytes]:
        unit, _, address, count = bus.asked(request)
        words = [held.get(i) for i in range(address, address + count)]
        if unit != UNIT:
            return []
        if any(word is None for word in words):
            return [bus.refusal(request, 2)]
        return [bus.reply(request, struct.pack(f">{count}H", *words))]

    return respond


@pytest.mark.parametrize("over", bus.LINES)
@pytest.mark.parametrize("base", [40_000, 0, 50_000])
async def test_an_inverter_on_a_serial_line_is_found_and_read(over: Any, base: int) -> None:
    held = sunspec_map(common_model("Acme", "Sun 10"), inverter_model(), base=base)
    async with over(on_a_line(held)) as served:
        url = served.url.replace("modbus", "sunspec")
        values, quality = await read(url, PROFILE)

    assert values["ac_power_w"] == "9200"
    assert values["generated_wh"] == "100000"
    assert values["frequency_hz"] == "50.01"
    assert quality == {"dc_current_a": "sentinel"}


async def test_plain_registers_are_read_over_the_same_serial_line() -> None:
    held = sunspec_map(common_model("Acme", "Sun 10"), inverter_model()) | {7: 42}
    async with bus.over_wire(on_a_line(held)) as served:
        url = served.url.replace("modbus", "sunspec")
        line = Line(line_of(url), timeout_s=5.0)
        asked = (Request("holding", 7, 1), Request("sunspec", 103, 16))
        plain, model = await line.read(PlannedDevice("x", url, UNIT, 1_000_000, asked, 5.0))
        await line.close()

    assert plain.data == b"\0\x2a"
    assert model.data[:2] == b"\0\x67"


def test_names_and_offsets_of_the_shipped_inverter_are_the_same_places() -> None:
    shipped, document = load_profile("sunspec_inverter")
    assert b'"point":"ac_power_w"' in document
    assert all("point" not in point for point in json.loads(document)["points"])
    for point in shipped.points:
        same = [other for other in PROFILE.points if other.name == point.name]
        for other in same:
            assert (other.offset, other.type, other.scale_offset) == (  # type: ignore[union-attr]
                point.offset, point.type, point.scale_offset,  # type: ignore[union-attr]
            )  # fmt: skip
