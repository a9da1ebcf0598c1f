"""A factory that misbehaves on purpose, and what the agent signs of it.

The factory's process deals out faults by slot from a seed and says which were met; the agent's
process reads it in lock step, and its signed records are compared with that one to one. The control
reads the same registers of the same factory with a stock client and is given wrong values. The
short form has factory and reading side in one process.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from decimal import Decimal
from pathlib import Path

from pymodbus import FramerType, ModbusException
from pymodbus.client import ModbusTcpClient

from joulemark_agent.contract.reading import Response
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.plan import plan_requests
from joulemark_agent.simulate.devices import Devices
from joulemark_agent.simulate.faults import Fault, Faults
from joulemark_agent.simulate.run import Simulation, factory_of, serve
from joulemark_agent.simulate.scenario import DevicesScenario, load_any_scenario
from support import faulty

SHORT, LONG = Decimal("0.15"), Decimal(34)  # times 300 slots: 45, and more than 10^4


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Compare a whole run; `full` has more than 10^4 slots."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenario = faulty.variant(folder, seed=seed, times=LONG if full else SHORT)
        done = asyncio.run((faulty.replay if full else faulty.read)(folder, scenario))
        verdict = faulty.judge(done)
        events = faulty.judge_counters(verdict, done) if full else {}
        verdict.check()
        done.heard.check()
        planned = {fault.kind for fault in done.scenario.faults.plan}
        assert planned <= set(verdict.faults), f"never met: {planned - set(verdict.faults)}"
        figures = {
            "slots of the factory": f"{done.scenario.count:,}, {len(done.leaves)} devices",
            "slots compared": f"{verdict.slots:,}",
            "values compared": f"{verdict.values:,}",
            "wrong values": str(len(verdict.wrong)),
            "faults met": f"{verdict.faults.total():,} of {len(verdict.faults)} kinds",
            "faults not recorded with their code": str(len(verdict.unflagged)),
            "gaps without a fault": str(len(verdict.unexplained)),
            "slots at which a line rested after a fault": f"{verdict.rested:,}",
            "messages to devices, none but reading": f"{done.heard.said.total():,}",
        }
        wrong, values = asyncio.run(naive(for_control(scenario, seed)))
    assert wrong, "the control was given no wrong value: it proves nothing"
    if events:
        figures["events of counters"] = ", ".join(f"{n} {code}" for code, n in events.items())
    return figures | {"control (pymodbus): wrong values": f"{wrong:,} of {values:,}"}


def for_control(path: Path, seed: int) -> DevicesScenario:
    """A meter and a furnace controller of the scenario, with faults a stock client believes."""
    scenario = load_any_scenario(str(path))
    assert isinstance(scenario, DevicesScenario)
    plan = tuple(
        Fault(unit=unit, kind=kind, first=first, **more)
        for unit, kind, first, more in (
            (10, "late", 3, {"delay_s": faulty.LATE_S}),
            (10, "late", 8, {"delay_s": faulty.LATE_S}),
            (1, "short", 5, {}),
        )
    )
    devices = tuple(device for device in scenario.devices if device.unit in {1, 10})
    few = {"devices": devices, "furnace": None, "faults": Faults(seed=seed, plan=plan)}
    return scenario.model_copy(update={"count": 12, **few})


async def naive(scenario: DevicesScenario) -> tuple[int, int]:
    """Wrong values, and all, that stock pymodbus hands over; its time-out and framing are ours."""
    devices = factory_of(scenario)
    async with await serve(scenario, modbus_port=0, control_port=0) as simulation:
        reader, writer = await asyncio.open_connection("127.0.0.1", simulation.control_port)
        clients = await asyncio.to_thread(_clients, simulation)
        wrong = values = 0
        for slot, slot_us in enumerate(devices.slots.all_us()):
            done_us = None if slot == 0 else slot_us - devices.slots.period_us
            line = json.dumps({"committed_us": done_us, "go_us": slot_us})
            writer.write(line.encode() + b"\n")
            assert "now_us" in json.loads(await reader.readline())
            for unit in devices.units:
                more = await asyncio.to_thread(
                    _read, clients[unit in faulty.OVER_RTU], devices, unit
                )
                truth = devices.shown(unit, slot).values
                values += len(more)
                wrong += sum(truth.get(name) != Decimal(text) for name, text in more.items())
        for client in clients.values():
            client.close()
        writer.close()
        await writer.wait_closed()
    return wrong, values


def _clients(simulation: Simulation) -> dict[bool, ModbusTcpClient]:
    found = {}
    for is_rtu, port in ((True, simulation.rtu_port), (False, simulation.modbus_port)):
        assert port is not None
        framer = FramerType.RTU if is_rtu else FramerType.SOCKET
        found[is_rtu] = ModbusTcpClient(
            "127.0.0.1", port=port, framer=framer, timeout=faulty.TIMEOUT_S, retries=0
        )
        found[is_rtu].connect()
    return found


def _read(client: ModbusTcpClient, devices: Devices, unit: int) -> dict[str, str]:
    """The values that the client's answers decode to."""
    profile = devices.profiles[unit]
    responses = []
    if profile.protocol == "sunspec":
        return {}
    for request in plan_requests(profile):
        read = (
            client.read_input_registers
            if request.table == "input"
            else client.read_holding_registers
        )
        try:
            reply = read(request.address, count=request.count, device_id=unit)
        except ModbusException:
            client.connect()
            continue
        if not reply.isError():
            data = b"".join(word.to_bytes(2, "big") for word in reply.registers)
            responses.append(Response(request.table, request.address, data))
    return decode_responses(profile, responses)[0]
