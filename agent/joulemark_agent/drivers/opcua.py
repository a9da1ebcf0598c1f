"""OPC UA over TCP, reading only: Read is the only service of the address space in this file.

Each answer is checked as it arrives (channel, token, sequence, request, handle), and what a server
put into a DataValue is stepped over, never built, so that no claimed length can cost memory. A
connection has one session and no task; when its channel has grown old, `is_open` turns false and
the line opens another.
Security policies other than None are not spoken yet: a server that asks for one is named, not read.
Source: OPC UA specification (1.05), part 6, sections 6.7 and 7.1; part 4, sections 5.6, 5.7 and
5.11.2.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, time_ns
from typing import TypeVar
from urllib.parse import urlsplit

from joulemark_agent import exchange, opcua_binary
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import NODE
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers.base import Request
from joulemark_agent.exchange import BAD_REPLY, CLOSED, Exchange
from joulemark_agent.kernels import datavalue
from joulemark_agent.opcua_binary import NULL, Cursor, MalformedError, blob, text

SCHEMES = ("opc.tcp",)
DEFAULT_PORT = 4840
HAS_PATH = True
MAX_CHUNK, MAX_CHUNKS, MAX_MESSAGE = 65_536, 16, 1 << 20  # bytes, chunks and bytes of one answer
POLICY = "http://opcfoundation.org/UA/SecurityPolicy#None"
UNKNOWN_NAMESPACE = (
    0xFFFF  # in place of one the server does not have: it says itself that it has not
)
LOCKED = "security_required"

# Numbers of the messages' binary encodings: part 6, annex A (NodeIds.csv).
FAULT = 397
OPEN_CHANNEL, CREATE, ACTIVATE, CLOSE, READ = 446, 461, 467, 473, 631  # an answer's is 3 more
ANONYMOUS = 321
_SERVER_NAMESPACES = opcua_binary.node_id(0, "i=2255")
_ATTRIBUTE_VALUE = 13
_SOURCE_TIME_ONLY = 0
_CHANNEL_MS, _SESSION_MS = 3_600_000, 120_000
_SAID = 200  # characters of a server's own words in a message
_CLOSE_S = 1.0  # a server that is asked to forget the session may take so long

_CHUNK = struct.Struct("<3scI")  # kind of message, chunk or final, size
_CHANNEL = struct.Struct("<3scIIIII")  # ..., channel, token, sequence number, request
_U32, _I32, _F64 = (struct.Struct(form) for form in ("<I", "<i", "<d"))
_ACK = struct.Struct("<IIIII")  # version, receive and send buffers, largest message, chunks
_TOKEN = struct.Struct("<IIIqI")  # server's version, channel, token, created, lifetime
_EPOCH_TICKS = 116_444_736_000_000_000  # 1601-01-01 to 1970-01-01 in 100 ns
T = TypeVar("T")

# Statuses that mean: this session is no more. Part 6, annex A (StatusCode.csv).
_GONE = {0x80220000, 0x80250000, 0x80260000, 0x80270000, 0x80860000, 0x80870000}
_STATUSES = {
    0x800E0000: ("BadServerHalted", "Start the server."),
    0x80100000: ("BadTooManyOperations", "The server reads fewer at once: split the profile."),
    0x80560000: ("BadTooManySessions", "Close other clients, or allow more sessions."),
    0x80540000: ("BadSecurityModeRejected", "Allow security policy None for reading."),
    0x80550000: ("BadSecurityPolicyRejected", "Allow security policy None for reading."),
    0x80200000: ("BadIdentityTokenInvalid", "Allow anonymous reading on the server."),
    0x80210000: ("BadIdentityTokenRejected", "Allow anonymous reading on the server."),
    0x801F0000: ("BadUserAccessDenied", "Allow anonymous reading on the server."),
    0x80830000: ("BadTcpEndpointUrlInvalid", "Write the path of the 'url' as the server has it."),
    0x800B0000: ("BadServiceUnsupported", "Look at the server's own log."),
}  # fmt: skip


async def connect(url: str, *, timeout_s: float) -> OpcUaTcp:
    """An open, anonymous session at `opc.tcp://HOST[:PORT][/PATH]`.

    Raises:
        DeviceError: there is none to be had.
    """
    parts = urlsplit(url)
    opened = await exchange.connect(
        parts.hostname or "", parts.port or DEFAULT_PORT, timeout_s=timeout_s
    )
    driver = OpcUaTcp(opened, url, timeout_s=timeout_s)
    try:
        await driver.start()
    except BaseException:
        await opened.close()
        raise
    return driver


@dataclass
class _Channel:
    """What the secure channel numbers its messages with."""

    id: int = 0
    token: int = 0
    last: int = 0  # the last sequence number that was used
    received: int | None = None  # the last that was seen
    chunk_bytes: int = 8192  # that the server takes
    good_until_s: float = float("inf")  # monotonic
    session: bytes = field(default=b"\0\0", repr=False)  # the authentication token


class OpcUaTcp:
    """An OPC UA client that believes nothing; one request is under way at a time."""

    def __init__(self, opened: Exchange, url: str, *, timeout_s: float) -> None:
        self._exchange, self._url, self._timeout_s = opened, url, timeout_s
        self._channel = _Channel()
        self._namespaces: dict[str, int] = {}

    @property
    def is_open(self) -> bool:
        """Whether another read may be tried: the server is there and the channel not too old."""
        return self._exchange.is_open and monotonic() < self._channel.good_until_s

    async def start(self) -> None:
        """Open channel and session, and ask which namespace has which index."""
        await self._hello()
        await self._open_channel()
        policy = await self._create_session()
        await self._activate_session(policy)
        self._namespaces = await self._read_namespaces()

    async def read(
        self, unit: int, requests: Sequence[Request], *, timeout_s: float | None = None
    ) -> tuple[Response, ...]:
        """One DataValue per request, of one Read; a value that is no number is left out of it.

        Raises:
            DeviceError: `timeout`, `closed`, `bad_reply` (the connection is gone) or
                `status_XXXXXXXX` (the server says no to all; the connection stays).
        """
        del unit  # an OPC UA server has none
        nodes = [self._node_id(request.node) for request in requests]
        wait_s = self._timeout_s if timeout_s is None else timeout_s
        found = await self._read(nodes, wait_s)
        return tuple(
            Response(NODE, request.address, _numeric(variable))
            for request, variable in zip(requests, found, strict=True)
        )

    async def close(self) -> None:
        """Give session and connection back."""
        if self._exchange.is_open and len(self._channel.session) > 2:
            with suppress(DeviceError):  # it forgets the session by itself, only later
                await self._ask(CLOSE, b"\x01", _nothing, min(self._timeout_s, _CLOSE_S))
        await self._exchange.close()

    def _node_id(self, name: str) -> bytes:
        uri, _, identifier = name.removeprefix("nsu=").partition(";")
        return opcua_binary.node_id(self._namespaces.get(uri, UNKNOWN_NAMESPACE), identifier)

    async def _hello(self) -> None:
        sizes = struct.pack("<IIIII", 0, MAX_CHUNK, MAX_CHUNK, MAX_MESSAGE, MAX_CHUNKS)
        hello = sizes + text(self._url)
        question = _CHUNK.pack(b"HEL", b"F", _CHUNK.size + len(hello)) + hello
        body = await self._exchange.ask(question, self._acknowledge, timeout_s=self._timeout_s)
        _, takes, *_ = _ACK.unpack(body)
        self._channel.chunk_bytes = min(takes, MAX_CHUNK)
        if takes < 8192:  # the least that part 6, table 53 allows
            raise await self._bad(f"a receive buffer of {takes} bytes")

    async def _open_channel(self) -> None:
        want = struct.pack("<Iii", 0, 0, 1) + NULL + _U32.pack(_CHANNEL_MS)
        channel, token, lifetime_ms = await self._ask(
            OPEN_CHANNEL, want, _token, self._timeout_s, kind=b"OPN"
        )
        self._channel.id, self._channel.token = channel, token
        # a quarter of it is left to read in, as clients that renew have
        self._channel.good_until_s = monotonic() + lifetime_ms * 0.75e-3

    async def _create_session(self) -> str | None:
        """Returns the server's name for anonymous users."""
        client = text("urn:joulemark:agent") + text("urn:joulemark") + b"\x02" + text("Joulemark")
        client += _I32.pack(1) + NULL * 3  # a client, reached by nobody
        want = client + NULL + text(self._url) + text("Joulemark agent")
        want += blob(secrets.token_bytes(32)) + NULL + _F64.pack(_SESSION_MS)
        token, endpoints = await self._ask(
            CREATE, want + _U32.pack(MAX_MESSAGE), _session, self._timeout_s
        )
        self._channel.session = token
        if POLICY not in endpoints and endpoints:
            asked = ", ".join(sorted(endpoints))
            raise self._locked(f"security policy {asked[:_SAID]!r}")
        users = endpoints.get(POLICY, [None])
        if not users:
            raise self._locked("a user's name or certificate")
        return users[0]

    async def _activate_session(self, policy: str | None) -> None:
        user = _four_bytes(ANONYMOUS) + b"\x01" + blob(text(policy))
        await self._ask(ACTIVATE, NULL * 4 + user + NULL * 2, _nothing, self._timeout_s)

    async def _read_namespaces(self) -> dict[str, int]:
        [variable] = await self._read([_SERVER_NAMESPACES], self._timeout_s)
        try:
            cursor = Cursor(variable.data, 1)
            if not variable.data[0] & 1 or cursor.u8() != 0x80 | 12:
                raise MalformedError("no array of strings")  # noqa: TRY301 - one way to say it
            uris = [cursor.text() for _ in cursor.elements()]
        except MalformedError as error:
            raise await self._bad(f"no table of namespaces: {error}") from error
        return {uri: index for index, uri in reversed(list(enumerate(uris)))}

    async def _read(
        self, nodes: Sequence[bytes], timeout_s: float
    ) -> Sequence[opcua_binary.Variable]:
        each = _U32.pack(_ATTRIBUTE_VALUE) + NULL + b"\0\0" + NULL
        want = struct.pack("<dii", 0.0, _SOURCE_TIME_ONLY, len(nodes))
        want += b"".join(node + each for node in nodes)
        return await self._ask(READ, want, partial(_variables, len(nodes)), timeout_s)

    async def _ask(
        self,
        number: int,
        fields: bytes,
        parse: Callable[[Cursor], T],
        timeout_s: float,
        *,
        kind: bytes = b"MSG",
    ) -> T:
        """What the answer to one service request holds."""
        request = self._channel.last + 1
        message = (
            b"\x01\x00" + struct.pack("<H", number) + self._header(request, timeout_s) + fields
        )
        answer = await self._exchange.ask(
            self._chunks(kind, request, message),
            partial(self._whole, kind, request),
            timeout_s=timeout_s,
        )
        try:
            return _fields(answer, number, request, parse)
        except MalformedError as error:
            raise await self._bad(f"what is no answer to the request: {error}") from error
        except _RefusedError as error:
            if error.status in _GONE:
                await self._exchange.close()
            raise self._refusal(error.status) from error

    def _header(self, handle: int, timeout_s: float) -> bytes:
        now = time_ns() // 100 + _EPOCH_TICKS
        fixed = struct.pack("<qII", now, handle, 0) + NULL + _U32.pack(int(timeout_s * 1000))
        return self._channel.session + fixed + b"\0\0\0"

    def _chunks(self, kind: bytes, request: int, message: bytes) -> bytes:
        """The message in chunks that the server takes; the first request of all is one chunk."""
        channel = self._channel
        if kind == b"OPN":
            channel.last += 1
            head = text(POLICY) + NULL * 2 + struct.pack("<II", channel.last, request)
            size = _CHUNK.size + 4 + len(head) + len(message)
            return _CHUNK.pack(kind, b"F", size) + _U32.pack(0) + head + message
        room = channel.chunk_bytes - _CHANNEL.size
        parts = [message[at : at + room] for at in range(0, len(message), room)]
        chunks: list[bytes] = []
        for part in parts:
            channel.last += 1
            final = b"C" if len(chunks) < len(parts) - 1 else b"F"
            size = _CHANNEL.size + len(part)
            chunks.append(
                _CHANNEL.pack(kind, final, size, channel.id, channel.token, channel.last, request)
                + part
            )
        return b"".join(chunks)

    def _acknowledge(self, received: bytes) -> bytes | None:
        """The body of the answer to the first message."""
        kind, size = self._peek(received, 0)
        if kind is None:
            return None
        if kind != b"ACK" or size != _CHUNK.size + _ACK.size:
            raise self._wrong(f"{kind!r} of {size} bytes where b'ACK' was due")
        return self._exactly(received, size)

    def _whole(self, wanted: bytes, request: int, received: bytes) -> bytes | None:
        """The body of the whole answer; None while it is only the beginning of a right one."""
        body, at, last = b"", 0, self._channel.received
        for _ in range(MAX_CHUNKS):
            kind, size = self._peek(received, at)
            if kind is None:
                return None
            if kind != wanted:
                raise self._wrong(f"{kind!r} where {wanted!r} was due")
            if len(received) - at < size:
                return None
            chunk = received[at : at + size]
            found, part = self._checked(wanted, chunk)
            if found[1] != request:
                raise self._wrong(f"request {found[1]} where {request} was due")
            if last is not None and not _follows(last, found[0]):
                raise self._wrong(f"sequence number {found[0]} after {last}")
            last, at, body = found[0], at + size, body + part
            if chunk[3:4] == b"F":
                if at != len(received):
                    raise self._wrong(f"{len(received) - at} bytes too many")
                self._channel.received = last
                return body
            if chunk[3:4] != b"C" or len(body) > MAX_MESSAGE:
                raise self._wrong("an answer given up, or of too many bytes")
        raise self._wrong(f"more than {MAX_CHUNKS} chunks")

    def _peek(self, received: bytes, at: int) -> tuple[bytes | None, int]:
        """Kind and size of the chunk that begins there; None: not there yet."""
        if len(received) - at < _CHUNK.size:
            return None, 0
        kind, _, size = _CHUNK.unpack_from(received, at)
        if not _CHUNK.size <= size <= MAX_CHUNK:
            raise self._wrong(f"a chunk of {size} bytes")
        if kind != b"ERR":
            return kind, size
        if len(received) - at < size:
            return None, 0
        if size < _CHUNK.size + 4:
            raise self._wrong("an error without a number")
        raise self._refusal(_U32.unpack_from(received, at + _CHUNK.size)[0])

    def _checked(self, kind: bytes, chunk: bytes) -> tuple[tuple[int, int], bytes]:
        """Sequence number and request of a chunk, and its part of the body."""
        channel = self._channel
        try:
            cursor = Cursor(chunk, _CHUNK.size)
            if (found := cursor.u32()) != channel.id and kind != b"OPN":
                raise self._wrong(f"channel {found} where {channel.id} was due")
            if kind == b"OPN":
                if (policy := cursor.text()) != POLICY:
                    raise self._wrong(f"security policy {policy[:_SAID]!r}")
                cursor.blob(), cursor.blob()
            elif (found := cursor.u32()) != channel.token:
                raise self._wrong(f"token {found} where {channel.token} was due")
            return (cursor.u32(), cursor.u32()), chunk[cursor.at :]
        except MalformedError as error:
            raise self._wrong(f"a chunk cut short: {error}") from error

    def _exactly(self, received: bytes, size: int) -> bytes | None:
        if len(received) > size:
            raise self._wrong(f"{len(received) - size} bytes too many")
        return received[_CHUNK.size :] if len(received) == size else None

    async def _bad(self, what: str) -> DeviceError:
        await self._exchange.close()
        return self._wrong(what)

    def _wrong(self, what: str) -> DeviceError:
        return DeviceError(
            f"{self._exchange.peer} answered with {what}.",
            "The connection was closed. If it happens again, this is no OPC UA server, or one that"
            " needs an update.",
            code=BAD_REPLY,
        )

    def _refusal(self, status: int) -> DeviceError:
        name, do = _STATUSES.get(status, ("", "Look the status up in the server's manual or log."))
        is_gone = status in _GONE
        return DeviceError(
            f"{self._exchange.peer} refuses with status 0x{status:08X}{name and f' ({name})'}.",
            "The session is opened again." if is_gone else do,
            code=CLOSED if is_gone else f"status_{status:08x}",
        )

    def _locked(self, what: str) -> DeviceError:
        return DeviceError(
            f"{self._exchange.peer} asks for {what}.",
            "Allow anonymous reading with security policy None on the server, at best on an address"
            " that only this agent reaches.",
            code=LOCKED,
        )


class _RefusedError(Exception):
    """The server's answer is a status."""

    def __init__(self, status: int) -> None:
        super().__init__(hex(status))
        self.status = status


def _fields(answer: bytes, number: int, handle: int, parse: Callable[[Cursor], T]) -> T:
    """What a service's answer holds after its header."""
    cursor = Cursor(answer)
    kind = _number(cursor.node_id())
    cursor.take(8)  # its time
    found, status = cursor.u32(), cursor.u32()
    cursor.skip_diagnostic()
    for _ in cursor.elements():
        cursor.blob()
    cursor.skip_extension()
    if found != handle:
        raise MalformedError(f"handle {found} where {handle} was due")
    if datavalue.is_bad(status):
        raise _RefusedError(status)
    if kind != number + 3:
        raise MalformedError(f"message {kind} where {number + 3} was due")
    fields = parse(cursor)
    if cursor.at != len(answer):
        raise MalformedError(f"{len(answer) - cursor.at} bytes too many")
    return fields


def _four_bytes(number: int) -> bytes:
    """The NodeId of a number in namespace 0."""
    return b"\x01\x00" + struct.pack("<H", number)


def _number(node_id: bytes) -> int | None:
    """The identifier of a numeric NodeId of namespace 0."""
    if node_id[0] == 0:
        return node_id[1]
    is_ours = node_id[:2] == b"\1\0" or node_id[:3] == b"\2\0\0"
    return int.from_bytes(node_id[2 if node_id[0] == 1 else 3 :], "little") if is_ours else None


def _token(cursor: Cursor) -> tuple[int, int, int]:
    """Channel, token and lifetime. [ms]"""
    _, channel, token, _, lifetime_ms = _TOKEN.unpack(cursor.take(_TOKEN.size))
    cursor.blob()  # the server's nonce
    return channel, token, lifetime_ms


def _session(cursor: Cursor) -> tuple[bytes, dict[str, list[str | None]]]:
    """The authentication token, and by policy the names of anonymous users."""
    cursor.node_id()
    token = cursor.node_id()
    cursor.take(8)  # the session's timeout
    cursor.blob(), cursor.blob()  # nonce, certificate
    endpoints: dict[str, list[str | None]] = {}
    for _ in cursor.elements():
        policy, users = _endpoint(cursor)
        endpoints.setdefault(policy, []).extend(users)
    for _ in cursor.elements():
        cursor.blob(), cursor.blob()  # software certificates
    cursor.blob(), cursor.blob()  # the server's signature
    cursor.take(4)  # the largest request
    return token, endpoints


def _endpoint(cursor: Cursor) -> tuple[str, list[str | None]]:
    """The policy of one endpoint, and its names of anonymous users."""
    for _ in range(3):
        cursor.blob()  # address; the server's URI and product
    cursor.skip_localized()
    cursor.take(4)  # kind of application
    cursor.blob(), cursor.blob()
    for _ in cursor.elements():
        cursor.blob()  # addresses
    cursor.blob()  # certificate
    cursor.take(4)  # mode: policy None has only one
    policy = cursor.text()
    users: list[str | None] = []
    for _ in cursor.elements():
        name, kind = cursor.text(), cursor.u32()
        cursor.blob(), cursor.blob(), cursor.blob()
        users += [name] if kind == 0 else []
    cursor.blob()  # transport
    cursor.take(1)  # level
    return policy, users


def _nothing(cursor: Cursor) -> None:
    """Whatever is left of an answer that holds no more than its status."""
    cursor.rest()


def _variables(wanted: int, cursor: Cursor) -> list[opcua_binary.Variable]:
    """The DataValues of a Read."""
    found = [cursor.variable() for _ in cursor.elements()]
    if len(found) != wanted:
        raise MalformedError(f"{len(found)} values where {wanted} were due")
    for _ in cursor.elements():
        cursor.skip_diagnostic()
    return found


def _numeric(variable: opcua_binary.Variable) -> bytes:
    """The DataValue as it was received, without its value where that is no number."""
    return variable.without_value if datavalue.parse(variable.data) is None else variable.data


def _follows(last: int, found: int) -> bool:
    """Sequence numbers count up by one and begin anew below 1024: part 6, section 6.7.2.4."""
    return found == last + 1 or (last >= 0xFFFFFFFF - 1024 and found < 1024)
