"""A Modbus TCP peer that says exactly what a test wants: register n holds the value n."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from support.tcp import serving, turns

REQUEST = struct.Struct(">HHHBBHH")


@dataclass
class Connection:
    """What an answering function may do with the client that asked."""

    writer: asyncio.StreamWriter

    async def say(self, *segments: bytes) -> None:
        """Send each as a segment of its own."""
        for segment in segments:
            self.writer.write(segment)
            await self.writer.drain()
            await turns()  # in which the client takes it

    def close(self) -> None:
        self.writer.close()


@dataclass
class Peer:
    """Where it listens, and what it was asked."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"modbus-tcp://127.0.0.1:{self.port}"


Answer = Callable[[Connection, bytes], Awaitable[None]]


@asynccontextmanager
async def peer(answer: Answer, port: int = 0) -> AsyncIterator[Peer]:
    """Call `answer` for every 12-byte request that arrives."""
    state = Peer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        while True:
            request = await reader.readexactly(REQUEST.size)
            state.requests.append(request)
            await answer(Connection(writer), request)

    async with serving(serve, port) as state.port:
        yield state


async def truth(connection: Connection, request: bytes) -> None:
    """The right answer."""
    await connection.say(reply(request))


def words(request: bytes) -> bytes:
    """What the registers asked for hold: each its own address."""
    *_, address, count = REQUEST.unpack(request)
    return struct.pack(f">{count}H", *range(address, address + count))


def reply(request: bytes, data: bytes | None = None, **changed: int) -> bytes:
    """The answer to a request, with any field changed on purpose."""
    transaction, protocol, _, unit, function, *_ = REQUEST.unpack(request)
    data = words(request) if data is None else data
    fields = {
        "transaction": transaction,
        "protocol": protocol,
        "length": 3 + len(data),
        "unit": unit,
        "function": function,
        "size": len(data),
    } | changed
    return struct.pack(">HHHBBB", *fields.values()) + data


def refusal(request: bytes, number: int) -> bytes:
    """An exception in answer to a request."""
    transaction, _, _, unit, function, *_ = REQUEST.unpack(request)
    return struct.pack(">HHHBBB", transaction, 0, 3, unit, function | 0x80, number)
