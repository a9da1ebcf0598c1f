"""Devices on a line that answer reads and the question what they are, made without our own code."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from support.leaving import crc
from support.tcp import serving

TABLES = {3: "holding", 4: "input"}
IDENTIFY = 0x2B


@dataclass
class Device:
    """Registers by table and address; what is not there is refused with exception 2."""

    holding: Mapping[int, int] = field(default_factory=dict)
    input: Mapping[int, int] = field(default_factory=dict)
    says: Mapping[int, bytes] | None = None  # objects; None: exception 1
    most: int = 250  # bytes of objects in one answer

    def answer(self, pdu: bytes) -> bytes:
        """What the device says to a request without its unit."""
        function = pdu[0]
        if function == IDENTIFY:
            return self._identification(pdu)
        if function not in TABLES:
            return bytes((function | 0x80, 1))
        address, count = struct.unpack(">HH", pdu[1:5])
        held = getattr(self, TABLES[function])
        words = [held.get(i) for i in range(address, address + count)]
        if any(word is None for word in words):
            return bytes((function | 0x80, 2))
        return bytes((function, 2 * count)) + struct.pack(f">{count}H", *words)

    def _identification(self, pdu: bytes) -> bytes:
        if self.says is None:
            return bytes((IDENTIFY | 0x80, 1))
        level, first = pdu[2], pdu[3]
        last = {1: 2, 2: 0x7F, 3: 0xFF}[level]
        highest = 1 if max(self.says) <= 2 else 2 if max(self.says) < 0x80 else 3
        due = [number for number in sorted(self.says) if first <= number <= last]
        sent: list[int] = []
        size = 0
        for number in due:
            size += 2 + len(self.says[number])
            if size > self.most and sent:
                break
            sent.append(number)
        rest = due[len(sent) :]
        head = bytes((IDENTIFY, 0x0E, level, highest, 0xFF if rest else 0, rest[0] if rest else 0))
        objects = b"".join(bytes((n, len(self.says[n]))) + self.says[n] for n in sent)
        return head + bytes((len(sent),)) + objects


@dataclass
class Line:
    """Where the devices are, and what was asked: unit and request."""

    port: int = 0
    connections: int = 0
    open: int = 0
    most_open: int = 0  # at a time
    requests: list[tuple[int, bytes]] = field(default_factory=list)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """A connection, for as long as it lives."""
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            yield
        finally:
            self.open -= 1


@asynccontextmanager
async def modbus_tcp(devices: Mapping[int, Device], *, port: int = 0) -> AsyncIterator[Line]:
    """A gateway that is silent for units it does not have."""
    line = Line()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with line.counted():
            while True:
                transaction, _, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                pdu = await reader.readexactly(length - 1)
                line.requests.append((unit, pdu))
                if unit in devices:
                    said = devices[unit].answer(pdu)
                    writer.write(struct.pack(">HHHB", transaction, 0, 1 + len(said), unit) + said)

    async with serving(serve, port) as line.port:
        yield line


@asynccontextmanager
async def rtu_over_tcp(devices: Mapping[int, Device]) -> AsyncIterator[Line]:
    """The same in RTU frames."""
    line = Line()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with line.counted():
            while True:
                head = await reader.readexactly(2)
                rest = await reader.readexactly(5 if head[1] == IDENTIFY else 6)
                unit, pdu = head[0], (head + rest)[1:-2]
                assert crc(head + rest[:-2]) == rest[-2:]
                line.requests.append((unit, pdu))
                if unit in devices:
                    body = bytes((unit,)) + devices[unit].answer(pdu)
                    writer.write(body + crc(body))

    async with serving(serve) as line.port:
        yield line


def floats(values: Mapping[int, float]) -> dict[int, int]:
    """Registers that hold each value as a float32 from its address on."""
    words = {}
    for address, value in values.items():
        words[address], words[address + 1] = struct.unpack(">HH", struct.pack(">f", value))
    return words


def sunspec_map(*models: list[int], base: int = 40_000) -> dict[int, int]:
    """Registers that hold the marker, the models one after another, and the end."""
    words = [0x5375, 0x6E53, *(word for model in models for word in model), 0xFFFF, 0]
    return dict(enumerate(words, base))


def common_model(maker: str, model: str, serial: str = "12345678") -> list[int]:
    """The SunSpec model 1."""
    said = [(maker, 32), (model, 32), ("", 16), ("1.2.3", 16), (serial, 32)]
    data = b"".join(text.encode().ljust(size, b"\0") for text, size in said) + b"\0\1\x80\0"
    return [1, 66, *struct.unpack(">66H", data)]


def inverter_model(held: Mapping[int, int] | None = None) -> list[int]:
    """The SunSpec model 103 of an inverter at work, 0xFFFF where it has nothing."""
    words = {2: 1333, 3: 444, 4: 445, 5: 444, 6: 0xFFFE, 10: 2301, 11: 2302, 12: 2303, 13: 0xFFFF,
             14: 920, 15: 1, 16: 5001, 17: 0xFFFE, 18: 921, 19: 1, 20: 0xFFF0, 21: 1, 24: 1,
             25: 0x86A0, 26: 0, 29: 3600, 30: 0xFFFF, 31: 950, 32: 1, 38: 4}  # fmt: skip
    words |= held or {}
    return [103, 50, *(words.get(i, 0xFFFF) for i in range(2, 52))]
