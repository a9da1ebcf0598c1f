"""Start a virtual factory: sockets around the pure parts."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable
from functools import lru_cache, partial
from importlib import resources
from types import TracebackType
from typing import TYPE_CHECKING, Self, overload

import joulemark_profiles
from joulemark_agent.contract.document import parse_yaml, validate
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import Profile
from joulemark_agent.simulate.control import ControlServer, LockStep
from joulemark_agent.simulate.equipment_hall.factory import FURNACE, FurnaceValues, Hall, build_hall
from joulemark_agent.simulate.equipment_hall.factory import PROFILES as HALL_PROFILES
from joulemark_agent.simulate.factory import UNITS, Factory, build_factory
from joulemark_agent.simulate.modbus_server import ModbusConnection
from joulemark_agent.simulate.recording import Recording, parse_recording, slot_at
from joulemark_agent.simulate.scenario import AnyScenario, HallScenario, Scenario
from joulemark_agent.simulate.slots import Slots

if TYPE_CHECKING:
    from joulemark_agent.simulate.equipment_hall.opcua_server import FurnaceServer

HOST = "127.0.0.1"  # never another: nothing here asks who is calling


class Simulation:
    """A running virtual factory; `async with` closes it and every connection to it."""

    def __init__(self) -> None:
        self.modbus_port = 0
        self.opcua_port: int | None = None  # None: nothing speaks OPC UA there
        self.control_port: int | None = None  # None: real time, nothing to step
        self._furnace: FurnaceServer | None = None
        self._servers: list[asyncio.Server] = []
        self._connections: list[set[asyncio.Transport]] = []

    async def listen(
        self,
        protocol: Callable[[], asyncio.Protocol],
        connections: set[asyncio.Transport],
        port: int,
    ) -> int:
        """The port that now listens; the connections are closed with the simulation.

        Raises:
            ConfigError: the port is taken or may not be used.
        """
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(protocol, HOST, port)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"The virtual factory cannot listen on {HOST}:{port}: {error}.",
                "Choose another port, or 0 for any free one.",
            ) from error
        self._servers.append(server)
        self._connections.append(connections)
        return int(server.sockets[0].getsockname()[1])

    async def show(self, furnace: FurnaceValues, now_us: Callable[[], int], port: int) -> None:
        """Serve a furnace over OPC UA.

        Raises:
            ConfigError: the port is taken or may not be used, or asyncua is missing.
        """
        # Only here: the steel works needs no OPC UA.
        from joulemark_agent.simulate.equipment_hall.opcua_server import serve_furnace  # noqa: PLC0415

        self._furnace = await serve_furnace(furnace, now_us, HOST, port)
        self.opcua_port = self._furnace.port

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._furnace is not None:
            await self._furnace.close()
        for server in self._servers:
            server.close()
        for transport in [one for some in self._connections for one in some]:
            transport.abort()
        await asyncio.sleep(0)  # lets asyncio tell the protocols; wait_closed does not before 3.12
        for server in self._servers:
            await server.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class _Shown:
    """The registers as they stand now."""

    def __init__(self, factory: Factory | Hall, now_us: Callable[[], int]) -> None:
        self._units, self._schedule = factory.units, factory.schedule
        self._now_us = now_us

    def has_unit(self, unit: int) -> bool:
        return unit in self._units

    def read(self, unit: int, table: str, address: int, count: int) -> bytes | None:
        block = self._units[unit].get(table)
        slot = self._schedule[unit].index(self._now_us())
        return None if block is None else block.read(slot, address, count)


async def serve(
    scenario: AnyScenario,
    *,
    modbus_port: int,
    control_port: int,
    opcua_port: int = 0,
    is_real_time: bool = False,
) -> Simulation:
    """The running factory of a scenario, on loopback; port 0 takes any free one.

    Args:
        scenario: what to replay.
        modbus_port: where the units answer.
        control_port: where an agent moves the clock from slot to slot.
        opcua_port: where the furnace answers, in a scenario that has one.
        is_real_time: show the slot of the recorded year that is now; there is no control port.

    Raises:
        ConfigError: a port cannot be used, the scenario does not fit the registers, or it has no
            real time.
    """
    if is_real_time and isinstance(scenario, HallScenario):
        raise ConfigError(
            f"The scenario {scenario.scenario!r} has no real time: its machines were recorded for"
            " hours and days of different years, not for a year that could be shown today.",
            "Leave --real-time out, or use one of: unchanged, retrofit.",
        )
    factory = factory_of(scenario)
    simulation = Simulation()
    try:
        if is_real_time:
            now_us = _real_time(factory)
        else:
            clock = LockStep(slots_of(factory))
            control = ControlServer(clock)
            simulation.control_port = await simulation.listen(
                control.connect, control.connections, control_port
            )
            now_us = partial(getattr, clock, "now_us")
        clients: set[asyncio.Transport] = set()
        connect = partial(ModbusConnection, _Shown(factory, now_us), clients)
        simulation.modbus_port = await simulation.listen(connect, clients, modbus_port)
        if isinstance(factory, Hall):
            await simulation.show(factory.furnace, now_us, opcua_port)
    except ConfigError:
        await simulation.close()
        raise
    return simulation


def slots_of(factory: Factory | Hall) -> list[Slots]:
    """The slots of every device of a factory."""
    found = list(dict.fromkeys(factory.schedule.values()))
    return [*found, factory.furnace.run.slots] if isinstance(factory, Hall) else found


def _real_time(factory: Factory | Hall) -> Callable[[], int]:
    assert isinstance(factory, Factory)  # the hall was refused
    recording = factory.recording

    def now_us() -> int:
        slot = slot_at(recording, time.time_ns() // 1000)
        return recording.first_us + slot * recording.interval_us

    return now_us


@overload
def factory_of(scenario: Scenario) -> Factory: ...


@overload
def factory_of(scenario: HallScenario) -> Hall: ...


def factory_of(scenario: AnyScenario) -> Factory | Hall:
    """The factory of a scenario, from the files in the package."""
    return _factory_of(scenario)


@lru_cache(maxsize=4)
def _factory_of(scenario: AnyScenario) -> Factory | Hall:
    if isinstance(scenario, HallScenario):
        names = (*HALL_PROFILES.values(), FURNACE)
        return build_hall(scenario, {name: _profile(name) for name in names})
    profiles = {name: _profile(name) for name in UNITS.values()}
    return build_factory(scenario, load_recording(scenario.recording), profiles)


@lru_cache(maxsize=1)
def load_recording(name: str) -> Recording:
    """A recording that is shipped with the package."""
    entry = resources.files(__package__).joinpath("recordings", f"{name}.csv.gz")
    return parse_recording(gzip.decompress(entry.read_bytes()).decode())


def _profile(name: str) -> Profile:
    return validate(Profile, parse_yaml(joulemark_profiles.text("devices", name), f"{name}.yaml"))
