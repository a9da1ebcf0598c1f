"""Start a virtual factory: sockets around the pure parts."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from importlib import resources
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self, overload

import joulemark_profiles
from joulemark_agent.contract.document import parse_yaml, validate
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import Profile
from joulemark_agent.simulate.control import ControlServer, LockStep
from joulemark_agent.simulate.devices import Devices, Shown, build_devices
from joulemark_agent.simulate.equipment_hall.factory import FURNACE, FurnaceValues, Hall, build_hall
from joulemark_agent.simulate.equipment_hall.factory import PROFILES as HALL_PROFILES
from joulemark_agent.simulate.equipment_hall.furnace import simulate
from joulemark_agent.simulate.factory import UNITS, Factory, build_factory
from joulemark_agent.simulate.faults import Fault, Record, opcua_faults
from joulemark_agent.simulate.faulty_server import FaultyConnection, Rtu, Tcp
from joulemark_agent.simulate.modbus_server import ModbusConnection
from joulemark_agent.simulate.recording import Recording, parse_recording, slot_at
from joulemark_agent.simulate.scenario import (
    AnyScenario,
    DevicesScenario,
    HallScenario,
    Scenario,
)
from joulemark_agent.simulate.slots import Slots

if TYPE_CHECKING:
    from joulemark_agent.simulate.equipment_hall.opcua_server import FurnaceServer

HOST = "127.0.0.1"  # never another: nothing here asks who is calling
_WATCH_S = 0.2


class Ports(NamedTuple):
    """Where to listen; 0 takes any free one."""

    modbus: int = 0
    rtu: int = 0
    opcua: int = 0


class Simulation:
    """A running virtual factory; `async with` closes it and every connection to it."""

    def __init__(self) -> None:
        self.modbus_port = 0
        self.rtu_port: int | None = None  # RTU frames over TCP; None: nothing speaks them
        self.opcua_port: int | None = None  # None: nothing speaks OPC UA there
        self.control_port: int | None = None  # None: real time, nothing to step
        self.record = Record()  # of what was injected
        self._furnace: FurnaceServer | None = None
        self._servers: list[asyncio.Server] = []
        self._connections: list[Iterable[asyncio.Transport]] = []
        self._furnace_faults: Callable[[], list[Fault]] | None = None
        self._watching: asyncio.Task[None] | None = None

    async def listen(
        self,
        protocol: Callable[[], asyncio.Protocol],
        connections: Iterable[asyncio.Transport],
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

    async def serve_devices(
        self,
        devices: Devices,
        furnace: FurnaceValues | None,
        now_us: Callable[[], int],
        ports: Ports,
    ) -> None:
        """Serve any devices, with their faults.

        Raises:
            ConfigError: a port is taken or may not be used, or asyncua is missing.
        """
        shown = Shown(devices, now_us, self.record)
        for name, framing in (("modbus", Tcp()), ("rtu", Rtu())):
            clients: dict[asyncio.Transport, None] = {}
            connect = partial(FaultyConnection, shown, framing, clients)
            port = await self.listen(connect, clients, getattr(ports, name))
            setattr(self, f"{name}_port", port)
        if furnace is not None:
            await self.show(furnace, now_us, ports.opcua)
            self._furnace_faults = partial(_furnace_faults, shown)

    async def moved(self) -> None:
        """Give the furnace the faults of the slot that is shown now."""
        if self._furnace is not None and self._furnace_faults is not None:
            await self._furnace.suffer(self._furnace_faults())

    def watch(self) -> None:
        """Do so again and again, where nobody steps the clock."""

        async def watching() -> None:
            while True:
                await self.moved()
                await asyncio.sleep(_WATCH_S)

        self._watching = asyncio.create_task(watching())

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
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
    rtu_port: int = 0,
    is_real_time: bool = False,
) -> Simulation:
    """The running factory of a scenario, on loopback; port 0 takes any free one.

    Args:
        scenario: what to replay.
        modbus_port: where the units answer.
        control_port: where an agent moves the clock from slot to slot.
        opcua_port: where the furnace answers, in a scenario that has one.
        rtu_port: where `kind: devices` answers in RTU frames over TCP as well.
        is_real_time: show what is now, without a control port: the slot of the recorded year, or
            of `kind: devices` the first slot now and the others from here on.

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
            factory, now_us = _real_time(factory)
        else:
            clock = LockStep(slots_of(factory))
            moved = simulation.moved if isinstance(factory, Devices) else None
            control = ControlServer(clock, moved)
            simulation.control_port = await simulation.listen(
                control.connect, control.connections, control_port
            )
            now_us = partial(getattr, clock, "now_us")
        if isinstance(factory, Devices):
            assert isinstance(scenario, DevicesScenario)
            ports = Ports(modbus_port, rtu_port, opcua_port)
            await simulation.serve_devices(factory, furnace_of(scenario), now_us, ports)
            if is_real_time:
                simulation.watch()
            return simulation
        clients: set[asyncio.Transport] = set()
        connect = partial(ModbusConnection, _Shown(factory, now_us), clients)
        simulation.modbus_port = await simulation.listen(connect, clients, modbus_port)
        if isinstance(factory, Hall):
            await simulation.show(factory.furnace, now_us, opcua_port)
    except ConfigError:
        await simulation.close()
        raise
    return simulation


def _furnace_faults(shown: Shown) -> list[Fault]:
    """Those of now, noted: who reads the furnace meets them."""
    found = opcua_faults(shown.devices.faults, slot=shown.slot)
    for fault in found:
        shown.note(fault, shown.slot)
    return found


def slots_of(factory: Factory | Hall | Devices) -> list[Slots]:
    """The slots of every device of a factory."""
    if isinstance(factory, Devices):
        return [factory.slots]
    found = list(dict.fromkeys(factory.schedule.values()))
    return [*found, factory.furnace.run.slots] if isinstance(factory, Hall) else found


_Any = Factory | Hall | Devices


def _real_time(factory: _Any) -> tuple[_Any, Callable[[], int]]:
    """The factory, and what time it is there."""

    def wall_us() -> int:
        return time.time_ns() // 1000

    if isinstance(factory, Devices):
        slots = factory.slots
        first_us = wall_us() // slots.period_us * slots.period_us
        return replace(factory, slots=replace(slots, first_us=first_us)), wall_us
    assert isinstance(factory, Factory)  # the hall was refused
    recording = factory.recording

    def now_us() -> int:
        return recording.first_us + slot_at(recording, wall_us()) * recording.interval_us

    return factory, now_us


@overload
def factory_of(scenario: Scenario) -> Factory: ...


@overload
def factory_of(scenario: HallScenario) -> Hall: ...


@overload
def factory_of(scenario: DevicesScenario) -> Devices: ...


def factory_of(scenario: AnyScenario) -> Factory | Hall | Devices:
    """The factory of a scenario, from the files in the package."""
    return _factory_of(scenario)


@lru_cache(maxsize=4)
def _factory_of(scenario: AnyScenario) -> Factory | Hall | Devices:
    if isinstance(scenario, DevicesScenario):
        return build_devices(scenario, _profile)
    if isinstance(scenario, HallScenario):
        names = (*HALL_PROFILES.values(), FURNACE)
        return build_hall(scenario, {name: _profile(name) for name in names})
    profiles = {name: _profile(name) for name in UNITS.values()}
    return build_factory(scenario, load_recording(scenario.recording), profiles)


@lru_cache(maxsize=2)
def furnace_of(scenario: DevicesScenario) -> FurnaceValues | None:
    """The furnace of a scenario, where it has one."""
    run = scenario.furnace
    if run is None:
        return None
    state = simulate(run.first_slot_us, run.seed)
    return FurnaceValues(_profile(FURNACE), state, run.opening)


@lru_cache(maxsize=1)
def load_recording(name: str) -> Recording:
    """A recording that is shipped with the package."""
    entry = resources.files(__package__).joinpath("recordings", f"{name}.csv.gz")
    return parse_recording(gzip.decompress(entry.read_bytes()).decode())


def _profile(name: str) -> Profile:
    if name not in joulemark_profiles.names("devices"):
        raise ConfigError(
            f"There is no device profile called {name!r}.", "See 'joulemark agent profiles'."
        )
    text = joulemark_profiles.text("devices", name)
    return validate(Profile, parse_yaml(text, f"{name}.yaml", is_shipped=True))
