"""An agent that reads many devices once a second, and devices that answer, or do not."""

import asyncio
import contextlib
import io
import logging
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from joulemark_agent import agent, app, cli, foundation
from joulemark_agent.clock import SystemClock
from joulemark_agent.contract.reading import Reading
from joulemark_agent.settings import load_site
from support import bus, modbus
from support.tcp import serving

PERIOD_US = 1_000_000
ANSWER_S = 0.005
SITE = """site: hall
agent: edge-1
time_zone: UTC
factors: {set: korea, rule_set: ESG, jurisdiction: KR}
uplink: {url: "mqtt://127.0.0.1:9", collector_name: joulemark/collector,
         collector_key: "WxhFr3X+pUJSoC1zlt0/Ywi8pq84zt0LXz0B8tO4xkk="}
devices:
"""
PROFILE = """model: small
kind: power_meter
protocol: modbus
source: made up for a test
confidence: bench
points:
  - {name: a_w, table: holding, address: 10, type: uint16}
  - {name: b_w, table: holding, address: 40, type: uint32}
  - {name: c_w, table: input, address: 10, type: uint16}
"""
Units = Mapping[str, tuple[str, int]]  # by id: url and unit


@dataclass
class Bus:
    """Some units behind one port; `dead` ones say nothing."""

    scheme: str
    port: int = 0
    dead: set[int] = field(default_factory=set)
    held_s: float = 0.0  # for how long silence kept the line waiting

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_tcp = self.scheme == "modbus-tcp"
        size, reply = (12, modbus.reply) if is_tcp else (bus.REQUEST_SIZE, bus.reply)
        while True:
            request = await reader.readexactly(size)
            asked_s = asyncio.get_running_loop().time()
            if request[6 if is_tcp else 0] in self.dead:
                await reader.read(1)  # until the client gives up and hangs up
                self.held_s += asyncio.get_running_loop().time() - asked_s
                return
            await asyncio.sleep(ANSWER_S)
            writer.write(reply(request))


@asynccontextmanager
async def bus_of(scheme: str, dead: Sequence[int] = ()) -> AsyncIterator[Bus]:
    """Any unit, at a free port."""
    served = Bus(scheme, dead=set(dead))
    async with serving(served.serve) as served.port:
        yield served


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port whose SYNs are dropped: its queue of connections is full."""
    with socket.socket() as deaf, contextlib.ExitStack() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        place = deaf.getsockname()
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(place)
        yield place[1]


class VirtualClock(SystemClock):
    """UTC that goes with the event loop."""

    begun_us = 1_800_000_000_500_000

    def now_us(self) -> int:
        return self.begun_us + self.mono_ns() // 1000

    def mono_ns(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e9)


class Readings:
    """Every reading of an agent's run: slot and delay by device. [us]"""

    def __init__(self) -> None:
        self.delays_us: dict[str, dict[int, int]] = {}

    def take(self, *observed: Any) -> None:
        reading: Reading = observed[-3]  # before its values and quality
        delay_us = reading.t_utc_us - reading.slot_us
        self.delays_us.setdefault(reading.device, {})[reading.slot_us] = delay_us

    def of(self, device: str) -> dict[int, int]:
        return self.delays_us.get(device, {})


async def watched(
    units: Units, during: Coroutine[Any, Any, None], *, timeout_s: float, is_virtual: bool = True
) -> Readings:
    """What the agent reads, once a second, until `during` has ended."""
    readings = Readings()
    clock: Callable[[], SystemClock] = VirtualClock if is_virtual else SystemClock
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as patched:
        path = Path(folder) / "site.yaml"
        (path.parent / "small.yaml").write_text(PROFILE)
        rows = [
            f'  - {{id: {name}, profile: small.yaml, url: "{url}", unit: {unit}, period_s: 1,'
            f" timeout_s: {timeout_s:g}}}\n"
            for name, (url, unit) in units.items()
        ]
        path.write_text(SITE + "".join(rows))
        key = str(path.parent / "operator.key")
        with contextlib.redirect_stdout(io.StringIO()):
            enroll = ["agent", "enroll", "-c", str(path), "--operator-key", key]
            assert cli.main([*enroll, "--create-operator-key"]) == 0
        logging.disable(logging.CRITICAL)  # it says of every dead device that it is down
        patched.callback(logging.disable, logging.NOTSET)
        patched.enter_context(mock.patch.object(agent, "SystemClock", clock))
        patched.enter_context(mock.patch.object(foundation, "_observe", readings.take))
        running = asyncio.create_task(app.run(load_site(path)))
        await asyncio.wait(
            [running, asyncio.create_task(during)], return_when=asyncio.FIRST_COMPLETED
        )
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return readings
