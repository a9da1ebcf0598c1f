"""Start the virtual factory: sockets around the pure parts."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable
from functools import lru_cache, partial
from importlib import resources
from types import TracebackType
from typing import Self

import joulemark_profiles
from joulemark_agent.contract.document import parse_yaml, validate
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import Profile
from joulemark_agent.simulate.control import ControlServer, LockStep
from joulemark_agent.simulate.factory import UNITS, Factory, build_factory
from joulemark_agent.simulate.modbus_server import ModbusConnection
from joulemark_agent.simulate.recording import Recording, parse_recording, slot_at
from joulemark_agent.simulate.scenario import Scenario

HOST = "127.0.0.1"  # never another: nothing here asks who is calling


class Simulation:
    """A running virtual factory; `async with` closes it and every connection to it."""

    def __init__(self, factory: Factory) -> None:
        self.factory = factory
        self.modbus_port = 0
        self.control_port: int | None = None  # None: real time, nothing to step
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

    async def close(self) -> None:
        """Stop listening and drop every connection."""
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

    def __init__(self, factory: Factory, slot: Callable[[], int]) -> None:
        self._units, self._slot = factory.units, slot

    def has_unit(self, unit: int) -> bool:
        return unit in self._units

    def read(self, unit: int, table: str, address: int, count: int) -> bytes | None:
        block = self._units[unit].get(table)
        return None if block is None else block.read(self._slot(), address, count)


async def serve(
    scenario: Scenario, *, modbus_port: int, control_port: int, is_real_time: bool = False
) -> Simulation:
    """The running factory of a scenario, on loopback; port 0 takes any free one.

    Args:
        scenario: what to replay.
        modbus_port: where the units answer.
        control_port: where an agent moves the clock from slot to slot.
        is_real_time: show the slot of the recorded year that is now; there is no control port.

    Raises:
        ConfigError: a port cannot be used, or the scenario does not fit the registers.
    """
    factory = factory_of(scenario)
    recording = factory.recording
    simulation = Simulation(factory)
    try:
        if is_real_time:
            shown = _Shown(factory, lambda: slot_at(recording, time.time_ns() // 1000))
        else:
            clock = LockStep(
                first_us=recording.first_us,
                interval_us=recording.interval_us,
                slots=recording.slots,
            )
            control = ControlServer(clock)
            simulation.control_port = await simulation.listen(
                control.connect, control.connections, control_port
            )
            shown = _Shown(factory, lambda: clock.slot)
        clients: set[asyncio.Transport] = set()
        connect = partial(ModbusConnection, shown, clients)
        simulation.modbus_port = await simulation.listen(connect, clients, modbus_port)
    except ConfigError:
        await simulation.close()
        raise
    return simulation


@lru_cache(maxsize=4)
def factory_of(scenario: Scenario) -> Factory:
    """The factory of a scenario, from the files in the package."""
    profiles = {name: _profile(name) for name in UNITS.values()}
    return build_factory(scenario, load_recording(scenario.recording), profiles)


@lru_cache(maxsize=1)
def load_recording(name: str) -> Recording:
    """A recording that is shipped with the package."""
    entry = resources.files(__package__).joinpath("recordings", f"{name}.csv.gz")
    return parse_recording(gzip.decompress(entry.read_bytes()).decode())


def _profile(name: str) -> Profile:
    return validate(Profile, parse_yaml(joulemark_profiles.text("devices", name), f"{name}.yaml"))
