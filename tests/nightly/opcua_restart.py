"""OPC UA servers killed, restarted, emptied and cut off: how long until they are read again.

A server in a process of its own is behind a wire that can be cut without a word to either end. One
device is polled and one watched by a subscription. Each slot is a reading or a gap; in a round at
least one is a gap of each device; the variables that are left flow on while the others are bad; and
values come again within 5 s of the server's return. The control is asyncua's client as it comes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

from asyncua import Client

from joulemark_agent.clock import SystemClock, next_slot_us
from joulemark_agent.contract.reading import Gap, Reading
from joulemark_agent.drivers.base import Request, Subscribe
from joulemark_agent.kernels.datavalue import is_bad, parse
from joulemark_agent.lines import Lines
from joulemark_agent.plan import PlannedDevice
from joulemark_agent.poll import Poller

CHILD = Path(__file__).parents[1] / "support" / "opcua_child.py"
URI, NAMES = "urn:example:plant", ("energy", "power", "gas")
PERIOD_US, TIMEOUT_S = 500_000, 0.4
RESUMES_S = 5.0
KINDS = ("blackhole", "shrunk", "killed", "stopped")
Found = Reading | Gap


def run(seed: int, *, full: bool) -> dict[str, str]:
    """50 rounds, or one in which the wire is cut: a server takes seconds to start."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # the control complains every second
    return asyncio.run(_run(random.Random(seed), KINDS * 13 if full else KINDS[:1]))


async def _run(chance: random.Random, kinds: Sequence[str]) -> dict[str, str]:
    back_s: dict[str, list[float]] = {kind: [] for kind in KINDS}
    async with (
        _Server() as server,
        _Wire(server.port) as wire,
        _control(wire.url) as control,
        _agent(wire.url) as log,
    ):
        await _until(log, _all_good, 10.0)
        for kind in kinds:
            back_s[kind].append(await _round(kind, server, wire, log, chance))
        heard = control.values
        if server.starts > 1:
            await asyncio.sleep(1.0)
            assert control.values == heard, "the control was not to come back"
    gaps = sum(isinstance(entry, Gap) for entry in log)
    figures = {
        f"{kind}: resumed after (median, longest of {len(found)})": (
            f"{sorted(found)[len(found) // 2]:.2f} s, {max(found):.2f} s"
        )
        for kind, found in back_s.items()
        if found
    }
    return {
        "rounds": str(len(kinds)), **figures,
        "slots of both devices": f"{len(log)}, of them {gaps} gaps",
        **({"control: values in the last second": "0"} if server.starts > 1 else {}),
    }  # fmt: skip


async def _round(
    kind: str, server: _Server, wire: _Wire, log: list[Found], chance: random.Random
) -> float:
    """One outage; how long after the server's return both devices were read again. [s]"""
    if server.names != NAMES:
        await server.stop(is_killed=True)
        await server.start(NAMES)
        await _until(log, _all_good, RESUMES_S)
    begun = len(log)
    if kind == "blackhole":
        wire.is_dark = True
        await asyncio.sleep(2.0 * TIMEOUT_S + chance.random())
        wire.is_dark = False
    else:
        await server.stop(is_killed=kind != "stopped")
        await asyncio.sleep(0.5 + chance.random())
        await server.start(NAMES[:1] if kind == "shrunk" else NAMES)
    returned_s = time.monotonic()
    await _until(log, _some_good if kind == "shrunk" else _all_good, RESUMES_S)
    took_s = time.monotonic() - returned_s
    for device in ("polled", "watched"):
        found = [entry for entry in log[begun:] if entry.device == device]
        assert any(isinstance(entry, Gap) for entry in found), f"{kind}: {device} has no gap"
    return took_s


def _all_good(reading: Reading) -> bool:
    return _bad(reading) == set()


def _some_good(reading: Reading) -> bool:
    return _bad(reading) == {1, 2}


def _bad(reading: Reading) -> set[int]:
    """The points whose last value is bad or not there."""
    last = {response.address: parse(response.data) for response in reading.responses}
    good = {i for i, value in last.items() if value and value.type and not is_bad(value.status)}
    return set(range(len(NAMES))) - good


async def _until(log: list[Found], wanted: Any, limit_s: float) -> None:
    """Wait until both devices have a reading that is as wanted, from now on."""
    missing, seen = {"polled", "watched"}, len(log)
    async with asyncio.timeout(limit_s):
        while missing:
            await asyncio.sleep(0.01)
            for entry in log[seen:]:
                if isinstance(entry, Reading) and wanted(entry):
                    missing.discard(entry.device)
            seen = len(log)


@asynccontextmanager
async def _agent(url: str) -> AsyncIterator[list[Found]]:
    """What is read at every slot, as it comes."""
    clock, log = SystemClock(), list[Found]()
    plans = {"polled": None, "watched": Subscribe(sampling_ms=100, queue=20)}
    devices = [
        PlannedDevice(
            name, url, 0, PERIOD_US,
            tuple(Request("node", i, 1, f"nsu={URI};s={n}", plan) for i, n in enumerate(NAMES)),
            TIMEOUT_S,
        )
        for name, plan in plans.items()
    ]  # fmt: skip
    lines = Lines(devices)
    poller = Poller(devices, lines, clock)

    async def read() -> None:
        while True:
            slot_us = next_slot_us(clock.now_us(), PERIOD_US)
            await clock.until(slot_us, None)
            log.extend(await poller.read_slot(slot_us, list(plans)))

    reading = asyncio.create_task(read())
    try:
        yield log
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        await lines.close()


class _Server:
    """A server in a process of its own, always at the same port."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.names: tuple[str, ...] = ()
        self.starts = 0
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start(NAMES)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop(is_killed=True)

    async def start(self, names: tuple[str, ...]) -> None:
        """Return when it can be read."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, str(CHILD), str(self.port), *names,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        self.names, self.starts = names, self.starts + 1
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"ready\n"

    async def stop(self, *, is_killed: bool) -> None:
        """Return when it is gone."""
        assert self._process is not None
        (self._process.kill if is_killed else self._process.terminate)()
        await self._process.wait()


class _Wire:
    """Hands bytes on in both directions; in the dark it swallows them, and ends no connection."""

    def __init__(self, port: int) -> None:
        self._port, self.is_dark = port, False
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"opc.tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        ways = [self._hand(reader, server_writer), self._hand(server_reader, writer)]
        try:
            await asyncio.gather(*ways)
        except OSError:
            pass
        finally:
            server_writer.transport.abort()
            writer.transport.abort()

    async def _hand(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self.is_dark:
                writer.write(data)
                await writer.drain()
        raise ConnectionResetError  # ends the other way, too


class _Control:
    """What the stock client hears."""

    def __init__(self) -> None:
        self.values = 0
        self.heard = asyncio.Event()

    def datachange_notification(self, *_: object) -> None:
        """Called by the client; the name is asyncua's."""
        self.values += 1
        self.heard.set()


@asynccontextmanager
async def _control(url: str) -> AsyncIterator[_Control]:
    """The stock client with a subscription, as its defaults have it: it does not come back."""
    control, client = _Control(), Client(url, timeout=2)
    await client.connect()
    index = await client.get_namespace_index(URI)
    subscription = await client.create_subscription(100, control)
    await subscription.subscribe_data_change(client.get_node(f"ns={index};s=energy"))
    await control.heard.wait()
    try:
        yield control
    finally:
        with suppress(Exception):
            await client.disconnect()
