"""What the agent says to machines, captured from the socket: reading, and nothing else.

A relay before every port of a misbehaving factory takes down each message: only the Modbus
functions 1 to 4 and 43/14, and the OPC UA services that read, may be among them. The control sends
planted writes and a method call through the same relays, and the same check must refuse each.
JOULEMARK_SOAK_S says for how many seconds the agent's process is watched; 600 if nothing is said.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from asyncua import Client, ua
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient

from joulemark_agent.simulate.run import Simulation, serve
from joulemark_agent.simulate.scenario import load_any_scenario
from support import faulty
from support.capture import TAKES, Heard, NotReadingError, tapped

SOAK_S = 600.0
Plant = Callable[[int], Awaitable[None]]


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Watch an agent; `full` watches its process in real time, else what reads for 5 slots."""
    seconds = float(os.environ.get("JOULEMARK_SOAK_S", SOAK_S))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if full:
            times = Decimal(seconds) / 300 + 1
            path = faulty.variant(folder, seed=seed, times=times, period_s=1)
            done = asyncio.run(faulty.soak(folder, path, seconds))
        else:
            path = faulty.variant(folder, seed=seed, times=Decimal("0.017"))
            done = asyncio.run(faulty.read(folder, path))
        heard = done.heard
        heard.check()
        refused = asyncio.run(controls(path))
    assert {"Modbus 3", "Modbus 4", "OPC UA Read"} <= set(heard.said), heard
    return {
        "watched": f"{seconds:,.0f} s, the agent's process" if full else "5 slots, in process",
        "messages": f"{heard.said.total():,} over {heard.connections:,} connections",
        "of them": ", ".join(f"{name} {count:,}" for name, count in sorted(heard.said.items())),
        "not reading": str(len(heard.wrong)),
        "faults met meanwhile": f"{len(done.injected):,}",
        "controls refused": ", ".join(refused),
    }


def modbus_writes() -> dict[str, Callable[[Any], Awaitable[Any]]]:
    """What a stock client may do to a register or coil, by function."""
    return {
        "5": lambda client: client.write_coil(0, True, device_id=1),
        "6": lambda client: client.write_register(0, 1, device_id=1),
        "15": lambda client: client.write_coils(0, [True], device_id=1),
        "16": lambda client: client.write_registers(0, [1], device_id=1),
        "22": lambda client: client.mask_write_register(address=0, device_id=1),
        "23": lambda client: client.readwrite_registers(
            read_address=0, read_count=1, address=0, values=[1], device_id=1
        ),
    }


async def controls(path: Path) -> list[str]:
    """Plant each write; what the check refused.

    Raises:
        AssertionError: it let one pass.
    """
    refused = []
    async with await serve(load_any_scenario(str(path)), modbus_port=0, control_port=0) as hall:
        for name, framer in (("modbus", FramerType.SOCKET), ("rtu", FramerType.RTU)):
            for function, write in modbus_writes().items():
                heard = await planted(hall, name, lambda port: _modbus(port, framer, write))  # noqa: B023
                _must_refuse(heard, f"Modbus {function}")
                refused.append(f"{name} {function}")
        for service, call in (("WriteRequest", _opcua_write), ("CallRequest", _opcua_call)):
            heard = await planted(hall, "opcua", call)
            _must_refuse(
                heard, {"WriteRequest": "OPC UA 673", "CallRequest": "OPC UA 712"}[service]
            )
            refused.append(f"opcua {service}")
    return refused


async def planted(hall: Simulation, name: str, plant: Plant) -> Heard:
    """What was heard of a client that does more than read."""
    heard = Heard()
    async with tapped(getattr(hall, f"{name}_port"), TAKES[name], heard) as port:
        await plant(port)
    return heard


def _must_refuse(heard: Heard, what: str) -> None:
    said = ""
    try:
        heard.check()
    except NotReadingError as error:
        said = str(error)
    assert what in said, f"{what} was planted and not refused: {said or heard.said}"


async def _modbus(port: int, framer: FramerType, write: Callable[[Any], Awaitable[Any]]) -> None:
    client = AsyncModbusTcpClient("127.0.0.1", port=port, framer=framer, retries=0, timeout=0.5)
    assert await client.connect()
    reply = await write(client)
    assert reply.isError(), "the factory took a write"
    client.close()


async def _opcua_write(port: int) -> None:
    await _refused_by_server(port, lambda client: client.nodes.server_state.write_value(0))


async def _opcua_call(port: int) -> None:
    await _refused_by_server(
        port,
        lambda client: client.nodes.server.call_method(
            ua.NodeId(ua.ObjectIds.Server_GetMonitoredItems), 1
        ),
    )


async def _refused_by_server(port: int, act: Callable[[Any], Awaitable[Any]]) -> None:
    async with Client(f"opc.tcp://127.0.0.1:{port}") as client:
        try:
            await act(client)
        except (ua.UaError, ConnectionError, TimeoutError):
            return
    raise AssertionError("the furnace took a write")
