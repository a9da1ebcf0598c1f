"""A real, foreign OPC UA server in process, and a relay before it that can say something else."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from typing import Any

from asyncua import Server, ua
from asyncua.ua.ua_binary import struct_to_binary

from support.tcp import serving

URI = "urn:example:furnace"
OTHER_URI = "urn:example:boilers"  # as long, so that the two can change places
AT = datetime(2022, 5, 9, 12, 0, 30, tzinfo=UTC)
UNCERTAIN, BAD_SENSOR = 0x40920000, 0x808C0000
Types = ua.VariantType
VARIABLES = {
    "temperature": ua.DataValue(ua.Variant(1273.15, Types.Double), SourceTimestamp=AT),
    "uncertain": ua.DataValue(
        ua.Variant(1.5, Types.Double), ua.StatusCode(UNCERTAIN), SourceTimestamp=AT
    ),
    "bad": ua.DataValue(
        ua.Variant(1.5, Types.Double), ua.StatusCode(BAD_SENSOR), SourceTimestamp=AT
    ),
    "single": ua.Variant(0.1, Types.Float),
    "array": ua.Variant([1.0, 2.0], Types.Double),
    "text": ua.Variant("1273.15", Types.String),
    "door": ua.Variant(True, Types.Boolean),
    "gas": ua.Variant(2**64 - 1, Types.UInt64),
    "signed": ua.Variant(-(2**63), Types.Int64),
    "tiny": ua.Variant(-7, Types.SByte),
}
CHUNK = struct.Struct("<3scIIIII")  # kind, final, size, channel, token, sequence, request
# Of the server's messages on a connection, each by its place.
ACK, OPENED, CREATED, ACTIVATED, NAMESPACES, FIRST_READ = range(6)


@contextmanager
def plant() -> Iterator[int]:
    """The port of a server of `VARIABLES`, in a thread of its own: it takes seconds to make.

    In the namespace after theirs each of them is 0.
    """
    ports: Future[int] = Future()
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(asyncio.run, _serve(ports, stop))
        try:
            yield ports.result()
        finally:
            stop.set()
            ending.result()


async def _serve(ports: Future[int], stop: Event) -> None:
    try:
        server = Server()
        await server.init()
        server.set_endpoint("opc.tcp://127.0.0.1:0/plant")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index, other = [await server.register_namespace(uri) for uri in (URI, OTHER_URI)]
        for name, held in VARIABLES.items():
            value = held.Value if isinstance(held, ua.DataValue) else held
            node = await server.nodes.objects.add_variable(ua.NodeId(name, index), name, value)
            if isinstance(held, ua.DataValue):
                await server.write_attribute_value(node.nodeid, held)
            await server.nodes.objects.add_variable(ua.NodeId(name, other), name, 0.0)
        async with server:
            listener: Any = server.bserver
            ports.set_result(listener._server.sockets[0].getsockname()[1])
            await asyncio.to_thread(stop.wait)
    except Exception as error:
        if ports.done():
            raise
        ports.set_exception(error)


Change = Callable[[int, bytes], list[bytes] | None]


@dataclass
class Relay:
    """What a relay has seen, and what it does to the server's messages."""

    port: int = 0
    change: Change = lambda _, message: [message]
    connections: int = 0
    asked: list[bytes] = field(default_factory=list)  # the client's messages
    answered: list[bytes] = field(default_factory=list)  # the server's

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/plant"

    @property
    def services(self) -> list[int]:
        """The numbers of the services that were asked for, in order."""
        return [service_of(message) for message in self.asked if message[:3] in {b"MSG", b"OPN"}]


def service_of(message: bytes) -> int:
    """The number of a message's binary encoding."""
    body = message[CHUNK.size :]
    if message[:3] == b"OPN":  # channel, policy, two certificates that are not there, two numbers
        body = message[12 + 4 + message[12] + 8 + 8 :]
    assert body[:2] == b"\x01\x00"
    return int.from_bytes(body[2:4], "little")


@asynccontextmanager
async def relayed(server_port: int, port: int = 0) -> AsyncIterator[Relay]:
    """Hand messages on, changed; None is silence, and an empty list the end of the connection."""
    relay = Relay()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay.connections += 1
        up, down = await asyncio.open_connection("127.0.0.1", server_port)
        asking = asyncio.create_task(ask(reader, down))
        try:
            number = 0
            while True:
                answer = await message_of(up)
                relay.answered.append(answer)
                said = relay.change(number, answer)
                number += 1
                if said == []:
                    return
                for part in said or []:
                    writer.write(part)
                    await writer.drain()
        finally:
            asking.cancel()
            down.close()
            with suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
                await asking

    async def ask(reader: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        try:
            while True:
                question = await message_of(reader)
                relay.asked.append(question)
                down.write(question)
                await down.drain()
        finally:
            down.close()

    async with serving(serve, port) as relay.port:
        yield relay


async def message_of(reader: asyncio.StreamReader) -> bytes:
    """The next chunk."""
    head = await reader.readexactly(8)
    return head + await reader.readexactly(int.from_bytes(head[4:], "little") - 8)


def body_of(message: bytes) -> bytes:
    """What stands in a chunk after its headers."""
    return message[CHUNK.size :]


def with_body(message: bytes, body: bytes) -> bytes:
    """The chunk with another body."""
    kind, final, _, *rest = CHUNK.unpack_from(message)
    return CHUNK.pack(kind, final, CHUNK.size + len(body), *rest) + body


def with_head(message: bytes, **changed: Any) -> bytes:
    """The chunk with any field of its headers changed on purpose."""
    names = ("kind", "final", "size", "channel", "token", "sequence", "request")
    fields = dict(zip(names, CHUNK.unpack_from(message), strict=True))
    for name, change in changed.items():
        fields[name] = change(fields[name]) if callable(change) else change
    return CHUNK.pack(*fields.values()) + body_of(message)


def fault(message: bytes, status: int) -> bytes:
    """A ServiceFault in place of that answer."""
    answer = ua.ServiceFault()
    answer.ResponseHeader.RequestHandle = handle_of(message)
    answer.ResponseHeader.ServiceResult = ua.StatusCode(status)
    return with_body(message, struct_to_binary(answer))


def handle_of(message: bytes) -> ua.UInt32:
    """The request handle in an answer."""
    return ua.UInt32(int.from_bytes(body_of(message)[12:16], "little"))
