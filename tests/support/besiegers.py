"""Hostile devices on real sockets, each case a server of its own, and good ones beside them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from support import bus, hostile_modbus, hostile_opcua, modbus
from support.faulty import Outcome
from support.fuzz.conversations import SPACE
from support.hostile_modbus import HANG_UP, Step, Way
from support.opcua import Change
from support.tcp import serving

GOOD_DEVICES = 8
WORDS, INVERTER, NODES = "words", "inverter", "nodes"
PROFILES = {
    WORDS: """model: words
kind: power_meter
protocol: modbus
source: made up for a test
confidence: bench
points:
  - {name: b_w, table: holding, address: 0x10, type: uint32}
""",
    INVERTER: """model: inverter
kind: pv_inverter
protocol: sunspec
source: made up for a test
confidence: bench
points:
  - {name: ac_power_w, model: 103, point: W}
""",
    NODES: f"""model: nodes
kind: furnace
protocol: opcua
source: made up for a test
confidence: bench
points:
  - {{name: temperature_k, node: "nsu={SPACE};s=temperature", type: float64}}
  - {{name: gas_dm3, node: "nsu={SPACE};s=gas", type: uint64}}
""",
}
TRUTHS: Mapping[str, Mapping[str, Decimal]] = {  # by profile: what the points really are
    WORDS: {"b_w": Decimal(0x00100011)},
    INVERTER: {"ac_power_w": Decimal(1234)},
    NODES: {"temperature_k": Decimal("1273.15"), "gas_dm3": Decimal(7)},
}
_POWER_AT, _FACTOR_AT = 12, 13  # words of model 103 after its length
_MODEL = [0xFFFF] * 50
_MODEL[_POWER_AT], _MODEL[_FACTOR_AT] = 1234, 0
GOOD_MAP = [0x5375, 0x6E53, 103, 50, *_MODEL, 0xFFFF, 0]
_SUNSPEC = "sunspec-tcp"
_RIGHT: Mapping[str, Callable[[bytes], bytes]] = {
    "modbus-tcp": modbus.reply,
    "modbus-rtu-tcp": bus.reply,
    "modbus-ascii-tcp": lambda question: bus.ascii_of(bus.reply(question)),
}


@dataclass
class Device:
    """One machine: where it is, what its slots may be while it is hostile, and what they were."""

    id: str
    case: str
    profile: str
    allowed: frozenset[str] = frozenset()  # empty: it is good from the beginning
    url: str = ""
    found: Mapping[int, Outcome] = field(default_factory=dict)  # by slot [us UTC]


@dataclass
class Siege:
    """All machines, and whether the hostile ones still are."""

    devices: list[Device] = field(default_factory=list)
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)  # somebody was asked
    is_over: bool = False
    over_us: int = 0

    def new(self, case: str, profile: str, allowed: frozenset[str] = frozenset()) -> Device:
        """One more machine."""
        device = Device(f"device-{len(self.devices)}", case, profile, allowed)
        self.devices.append(device)
        return device


@asynccontextmanager
async def besiegers() -> AsyncIterator[Siege]:
    """Every case at a port of its own."""
    siege = Siege()
    async with AsyncExitStack() as stack:
        for case, scheme, way in hostile_modbus.over_modbus():
            device = siege.new(f"{scheme}: {case}", WORDS, way.causes)
            await _open(stack, device, scheme, _Peer(siege, scheme, way).serve)
        for case, (words, code) in hostile_modbus.SUNSPEC.items():
            device = siege.new(f"{_SUNSPEC}: {case}", INVERTER, frozenset({code}))
            await _open(stack, device, _SUNSPEC, _Peer(siege, _SUNSPEC, _shown(words)).serve)
        for name, case_ in hostile_opcua.cases().items():
            device = siege.new(f"opc.tcp: {name}", NODES, case_.outcomes)
            await _open(stack, device, "opc.tcp", _Server(siege, case_.change).serve)
        for number in range(GOOD_DEVICES):
            device = siege.new(f"good {number}", NODES if number % 2 else WORDS)
            scheme = "opc.tcp" if number % 2 else "modbus-tcp"
            nothing = Way(lambda _, answer: [answer], frozenset())
            peer = _Server(siege) if number % 2 else _Peer(siege, scheme, nothing)
            await _open(stack, device, scheme, peer.serve)
        yield siege


async def _open(stack: AsyncExitStack, device: Device, scheme: str, serve: _Serve) -> None:
    port = await stack.enter_async_context(serving(serve))
    device.url = f"{scheme}://127.0.0.1:{port}{'/plant' if scheme == 'opc.tcp' else ''}"


_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@dataclass
class _Peer:
    """A Modbus device."""

    siege: Siege
    scheme: str
    way: Way

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        if not self.siege.is_over and not await play(self.way.greeting, writer):
            return
        while True:
            question = await _asked(reader, self.scheme)
            self.siege.has_begun.set()
            right = self._right(question)
            steps = [right] if self.siege.is_over else self.way.act(question, right)
            if not await play(steps, writer):
                return

    def _right(self, question: bytes) -> bytes:
        return (
            _mapped(GOOD_MAP, question)
            if self.scheme == _SUNSPEC
            else _RIGHT[self.scheme](question)
        )


@dataclass
class _Server(hostile_opcua.Server):
    """An OPC UA server."""

    def __init__(self, siege: Siege, change: Change | None = None) -> None:
        super().__init__(change=self._changed)
        self._siege, self._wrong = siege, change

    def _changed(self, number: int, message: bytes) -> list[bytes] | None:
        if self._siege.is_over or self._wrong is None:
            return [message]
        return self._wrong(number, message)


def _shown(words: Sequence[int]) -> Way:
    """A SunSpec device whose registers from 40000 on are these."""
    return Way(lambda question, _: [_mapped(words, question)], frozenset())


def _mapped(words: Sequence[int], question: bytes) -> bytes:
    *_, address, count = modbus.REQUEST.unpack(question)
    found = words[address - 40_000 :][:count] if address >= 40_000 else []
    if len(found) < count:
        return modbus.refusal(question, 2)
    return modbus.reply(question, struct.pack(f">{count}H", *found))


async def play(steps: Sequence[Step], writer: asyncio.StreamWriter) -> bool:
    """Do it; whether the connection goes on."""
    for step in steps:
        if step is HANG_UP:
            return False
        if isinstance(step, float):
            await asyncio.sleep(step)
        elif step is not None:
            writer.write(step)
            await writer.drain()
    return True


async def _asked(reader: asyncio.StreamReader, scheme: str) -> bytes:
    """The next question; one in ASCII as it would be in RTU."""
    if scheme == "modbus-ascii-tcp":
        return bus.rtu_of(await reader.readuntil(b"\r\n"))
    is_rtu = scheme == "modbus-rtu-tcp"
    return await reader.readexactly(bus.REQUEST_SIZE if is_rtu else modbus.REQUEST.size)
