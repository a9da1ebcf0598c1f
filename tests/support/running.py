"""A small plant with a lock-step clock, and site files for an agent that reads it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import IO

from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.simulate.control import ControlServer, LockStep
from joulemark_agent.simulate.modbus_server import ModbusConnection
from joulemark_agent.simulate.slots import Slots
from support import evidence
from support.child import search_path

STEP_WH, STEP_KG = 1234, 17
_PROFILES = {
    1: evidence.documents().profile(evidence.METER),
    2: evidence.documents().profile(evidence.COUNTER),
}


class SmallPlant:
    """Unit 1 is a meter that counts 1234 Wh a slot, unit 2 makes 17 kg a slot."""

    def __init__(self, slots: int) -> None:
        self.clock = LockStep([Slots(evidence.START_US, evidence.PERIOD_US, slots)])
        self.control = ControlServer(self.clock)
        self.modbus_port = self.control_port = 0

    def drop_control(self) -> None:
        """Break off with whoever moves the clock."""
        for transport in list(self.control.connections):
            transport.abort()

    def has_unit(self, unit: int) -> bool:
        """Whether somebody answers to this unit."""
        return unit in _PROFILES

    def read(self, unit: int, table: str, address: int, count: int) -> bytes | None:
        """The words of the slot that is shown."""
        slot = self.clock.slot
        values: dict[str, Decimal | int | None] = {
            "energy_wh": slot * STEP_WH,
            "power_w": STEP_WH * 4,
            "power_factor_ratio": Decimal("0.9"),
            "reactive_lagging_varh": slot * 10,
            "reactive_leading_varh": 0,
            "production_kg": slot * STEP_KG,
        }
        data = evidence.respond(_PROFILES[unit], values)[0].data
        part = data[2 * address : 2 * (address + count)]
        return part if table == "holding" and len(part) == 2 * count else None


@asynccontextmanager
async def small_plant(slots: int) -> AsyncIterator[SmallPlant]:
    """The plant, listening on loopback."""
    plant = SmallPlant(slots)
    loop = asyncio.get_running_loop()
    control = plant.control
    clients: set[asyncio.Transport] = set()
    modbus = partial(ModbusConnection, plant, clients)
    servers = [
        await loop.create_server(protocol, "127.0.0.1", 0) for protocol in (modbus, control.connect)
    ]
    plant.modbus_port, plant.control_port = (s.sockets[0].getsockname()[1] for s in servers)
    try:
        yield plant
    finally:
        for server in servers:
            server.close()
        for transport in (*clients, *control.connections):
            transport.abort()
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Site:
    """A site file and how to start the agent on it."""

    path: Path

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.path.parent / "state"

    def command(self, *words: str) -> list[str]:
        """`joulemark agent WORDS -c SITE.yaml` as a process of its own; warnings are errors."""
        base = [sys.executable, "-W", "error", "-m", "joulemark_agent.cli", "agent"]
        return [*base, words[0], "-c", str(self.path), *words[1:]]

    @contextmanager
    def started(
        self, *words: str, stderr: IO[str] | int | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """The command, running; killed at the end of the block if it still runs."""
        process = subprocess.Popen(
            self.command(*words),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, "PYTHONPATH": search_path()},
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def site(
    folder: Path,
    plant: SmallPlant | None,
    broker_url: str,
    *,
    period_s: int = 900,
    modbus_port: int = 0,
    factors: str = "korea",
    slots: int = 96,
) -> Site:
    """The site file; without a plant the agent runs on the system's clock."""
    replay = "clock: system"
    if plant is not None:
        url = f"tcp://127.0.0.1:{plant.control_port}"
        first = "2018-01-01T00:00:00+09:00"
        replay = f'clock: simulated\nreplay: {{url: "{url}", first_slot: "{first}"}}'
        modbus_port = plant.modbus_port
    key = encode64(public_key(evidence.KEYS.witness))
    rule_set = "dataset-check" if factors == "dataset_check" else "ESG"
    modbus = f"modbus-tcp://127.0.0.1:{modbus_port}"
    path = folder / "site.yaml"
    path.write_text(
        f"""\
site: {evidence.SITE}
agent: {evidence.AGENT}
time_zone: Asia/Seoul
{replay}
state_dir: state
factors: {{set: {factors}, rule_set: {rule_set}, jurisdiction: KR}}
uplink: {{url: "{broker_url}", collector_key: "{key}", collector_name: {evidence.WITNESS}}}
batch: {{slots: {slots}, seconds: 5}}
devices:
  - {{id: {evidence.METER}, profile: virtual_main_meter, url: "{modbus}", unit: 1,
     period_s: {period_s}}}
  - {{id: {evidence.COUNTER}, profile: virtual_production_counter, url: "{modbus}", unit: 2,
     period_s: {period_s}}}
""",
        "utf-8",
    )
    return Site(path)
