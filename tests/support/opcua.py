"""A real, foreign OPC UA server in process, and a relay before it that can say something else."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from typing import Any, TypeVar

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
Served = TypeVar("Served")
TICKING, TICK_S = "ticking", 0.02
CHUNK = struct.Struct("<3scIIIII")  # kind, final, size, channel, token, sequence, request
# Of the server's messages on a connection, each by its place.
ACK, OPENED, CREATED, ACTIVATED, NAMESPACES, FIRST_READ = range(6)


@contextmanager
def plant() -> Iterator[int]:
    """The port of a server of `VARIABLES`, in a thread of its own: it takes seconds to make.

    In the namespace after theirs each of them is 0. `TICKING` counts as long as the server lives.
    """
    with in_a_thread(_serve) as port:
        yield port


@contextmanager
def in_a_thread(
    serve: Callable[[Future[Served], Event], Coroutine[Any, Any, None]],
) -> Iterator[Served]:
    """What a server says of itself once it runs, in a thread of its own."""
    made: Future[Served] = Future()
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(asyncio.run, serve(made, stop))
        try:
            yield made.result()
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
        await add_compressor(server)
        async with server:
            listener: Any = server.bserver
            ports.set_result(listener._server.sockets[0].getsockname()[1])
            ticking = ua.NodeId(TICKING, index)
            await server.nodes.objects.add_variable(ticking, TICKING, ua.UInt64(0))
            count = 0
            while not stop.is_set():
                count += 1
                value = ua.DataValue(ua.Variant(count, Types.UInt64), SourceTimestamp=AT)
                await server.write_attribute_value(ticking, value)
                await asyncio.sleep(TICK_S)
    except Exception as error:
        if ports.done():
            raise
        ports.set_exception(error)


CAS = "http://opcfoundation.org/UA/CAS/"
COMPRESSOR: dict[str, tuple[float, str]] = {  # by path: value and UN/CEFACT code of its unit
    "ElectricalCircuit/Input/Energy": (84728.278, "KWH"),
    "ElectricalCircuit/Input/Power": (106.88, "KWT"),
    "ProcessFluidCircuit/Outlet/AccumulatedVolume": (595275.5, "MTQ"),
    "ProcessFluidCircuit/Outlet/VolumeFlowRate": (12.0, "G53"),
    "ProcessFluidCircuit/Outlet/GaugePressure": (7.1, "BAR"),
    "ProcessFluidCircuit/Outlet/Temperature": (25.0, "CEL"),
    "Operational/SpecificEnergyRequirement": (0.142335, "E46"),
    "Operational/FlowRateRatio": (85.0, ""),
    "Statistics/RunningTime": (12345.0, "HUR"),
}


async def add_compressor(server: Server) -> None:
    """A compressor with the names of OPC 40250-1, a variable that leads back to it, and units."""
    index = await server.register_namespace(CAS)
    machine = await server.nodes.objects.add_object(ua.NodeId("c1", index), f"{index}:Compressor 1")
    places = {"": machine}
    for path, (value, code) in COMPRESSOR.items():
        names, above = path.split("/"), ""
        for name in names[:-1]:
            place = f"{above}/{name}".strip("/")
            if place not in places:
                places[place] = await places[above].add_object(index, name)
            above = place
        variable = await places[above].add_variable(index, names[-1], value)
        if code:
            await variable.add_property(0, "EngineeringUnits", engineering_unit(code))
            await variable.add_property(0, "EURange", ua.Range(0.0, 2.0 * value))
    await places["Statistics"].add_reference(machine, ua.ObjectIds.Organizes)


def engineering_unit(code: str) -> ua.EUInformation:
    """The unit of a UN/CEFACT code."""
    return ua.EUInformation(
        "http://www.opcfoundation.org/UA/units/un/cefact",
        ua.Int32(int.from_bytes(code.encode(), "big")), ua.LocalizedText(code), ua.LocalizedText(),
    )  # fmt: skip


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
