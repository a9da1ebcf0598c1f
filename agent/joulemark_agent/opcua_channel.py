"""The secure channel to an OPC UA server: questions out, and nothing in but right answers.

Each answer is checked as it arrives: that the server's key sealed it, before anything in it is
looked at, then channel, token, sequence, request and handle. One request is under way at a time,
and there is no task: keys that have grown old are renewed before the next question.
Source: OPC UA specification (1.05), part 6, sections 6.7 and 7.1; part 4, section 5.6.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, time_ns
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.exchange import BAD_REPLY, CLOSED, TIMEOUT, Exchange
from joulemark_agent.kernels import datavalue
from joulemark_agent.opcua_binary import NULL, Cursor, MalformedError, blob, text
from joulemark_agent.opcua_security import (
    NONCE_BYTES,
    NONE,
    UNSEALED,
    URI,
    Identity,
    Mode,
    NotAuthenticError,
    Policy,
    conversation,
    handshake,
    shown,
    thumbprint,
)

MAX_CHUNK, MAX_CHUNKS, MAX_MESSAGE = 65_536, 16, 1 << 20  # bytes, chunks and bytes of one answer
# Sealed bytes of the answer that opens a channel: each block takes our key a millisecond or more,
# before anything is proven.
MAX_OPENING = 4096
POLICY = URI + NONE
LOCKED, NOT_AUTHENTIC = "security_required", "not_authentic"
SAID = 200  # characters of a server's own words in a message

# Numbers of the messages' binary encodings: part 6, annex A (NodeIds.csv).
OPEN_CHANNEL = 446  # an answer's is 3 more, as that of every service
_CHANNEL_MS = 3_600_000  # what is asked for; of a longer life no use is made
_LAST_NUMBER = 0xFFFFFFFF - 1024  # from this sequence number on another channel is opened
_ISSUE, _RENEW = 0, 1

_CHUNK = struct.Struct("<3scI")  # kind of message, chunk or final, size
_HEAD = struct.Struct("<3scIII")  # ..., channel, token
_PLACE = struct.Struct("<II")  # sequence number, request: they are sealed with what follows
_U32 = struct.Struct("<I")
_ACK = struct.Struct("<IIIII")  # version, receive and send buffers, largest message, chunks
_TOKEN = struct.Struct("<IIIqI")  # server's version, channel, token, created, lifetime
_EPOCH_TICKS = 116_444_736_000_000_000  # 1601-01-01 to 1970-01-01 in 100 ns
T = TypeVar("T")

# Statuses that mean: this session is no more. Part 6, annex A (StatusCode.csv).
_GONE = {0x80220000, 0x80250000, 0x80260000, 0x80270000, 0x80860000, 0x80870000}
_ALLOW = "Allow it on the server, or write what it allows under 'security' (docs/opcua.md)."
_WHO = (
    "Check the user and the password or certificate under 'security', and the user's rights on the"
    " server; without a user, allow anonymous reading there."
)
_STATUSES = {
    0x800E0000: ("BadServerHalted", "Start the server."),
    0x80100000: ("BadTooManyOperations", "The server reads fewer at once: split the profile."),
    0x80560000: ("BadTooManySessions", "Close other clients, or allow more sessions."),
    0x80540000: ("BadSecurityModeRejected", _ALLOW),
    0x80550000: ("BadSecurityPolicyRejected", _ALLOW),
    0x80200000: ("BadIdentityTokenInvalid", _WHO),
    0x80210000: ("BadIdentityTokenRejected", _WHO),
    0x801F0000: ("BadUserAccessDenied", _WHO),
    0x80830000: ("BadTcpEndpointUrlInvalid", "Write the path of the 'url' as the server has it."),
    0x800B0000: ("BadServiceUnsupported", "Look at the server's own log."),
}  # fmt: skip


# Statuses that mean: the agent's own certificate is not taken.
_OURS = {
    0x80120000: "BadCertificateInvalid",
    0x80130000: "BadSecurityChecksFailed",
    0x80140000: "BadCertificateTimeInvalid",
    0x80160000: "BadCertificateHostNameInvalid",
    0x80170000: "BadCertificateUriInvalid",
    0x80180000: "BadCertificateUseNotAllowed",
    0x801A0000: "BadCertificateUntrusted",
    0x801B0000: "BadCertificateRevocationUnknown",
    0x801C0000: "BadCertificateIssuerRevocationUnknown",
    0x801D0000: "BadCertificateRevoked",
    0x810D0000: "BadCertificateChainIncomplete",
}


@dataclass(frozen=True)
class Secure:
    """Whose keys seal a channel, and how."""

    policy: Policy
    mode: Mode
    own: Identity
    server: bytes  # its certificate, DER
    server_key: RSAPublicKey = field(repr=False)
    still_holds: Callable[[], bool] = field(repr=False)  # asked before the keys are renewed


@dataclass
class _Arrived:
    """What was checked of an answer so far: no chunk is opened twice."""

    last: int | None  # sequence number
    at: int = 0
    parts: list[bytes] = field(default_factory=list)


class RefusedError(Exception):
    """The server's answer is a status."""

    def __init__(self, status: int) -> None:
        super().__init__(hex(status))
        self.status = status


class Channel:
    """A channel over an open connection, for questions in turn."""

    def __init__(
        self, opened: Exchange, url: str, *, timeout_s: float, secure: Secure | None = None
    ) -> None:
        """Nothing is said yet.

        Args:
            opened: the connection; it is the channel's from now on.
            url: the server's, as it is told to it.
            timeout_s: for each answer of opening. [s]
            secure: how it is sealed; None: it is not.
        """
        self.url, self.timeout_s, self.secure = url, timeout_s, secure
        self.session = b"\0\0"  # the authentication token; null: there is no session yet
        self._exchange = opened
        self._id = self._token = 0
        self._last = 0  # the last sequence number that was used
        self._received: int | None = None  # the last that was seen
        self._chunk_bytes = 8192  # that the server takes
        self._renew_at_s = self._good_until_s = float("inf")  # monotonic
        self._handshake = self._sealed = UNSEALED
        if secure is not None:
            self._handshake = handshake(secure.policy, secure.own.key, secure.server_key)

    @property
    def is_open(self) -> bool:
        """Whether another question may be tried: the server is there and its keys still hold."""
        is_young = monotonic() < self._good_until_s and self._last < _LAST_NUMBER
        return self.is_connected and is_young

    @property
    def is_connected(self) -> bool:
        """Whether the server is there."""
        return self._exchange.is_open

    @property
    def peer(self) -> str:
        """What to call the server in a message."""
        return self._exchange.peer

    async def open(self) -> None:
        """Agree with the server on sizes, and on a channel."""
        await self._hello()
        try:
            await self._agree(_ISSUE)
        except DeviceError as error:
            if error.code not in {CLOSED, TIMEOUT} or self.secure is None:
                raise
            raise DeviceError(error.what, self._how_to_be_trusted(), code=error.code) from error

    async def ask(
        self,
        number: int,
        fields: bytes,
        parse: Callable[[Cursor], T],
        timeout_s: float,
        *,
        kind: bytes = b"MSG",
    ) -> T:
        """What the answer to one service request holds.

        Args:
            number: of the service's request.
            fields: what follows its header.
            parse: reads what follows the answer's header; raises `MalformedError`.
            timeout_s: for the whole answer. [s]
            kind: of message.

        Raises:
            DeviceError: `timeout`, `closed`, `bad_reply` (the connection is gone) or
                `status_XXXXXXXX` (the server says no; the connection stays).
        """
        if kind == b"MSG" and monotonic() >= self._renew_at_s:
            await self._renew()
        request = self._last + 1
        message = (
            b"\x01\x00" + struct.pack("<H", number) + self._header(request, timeout_s) + fields
        )
        answer = await self._exchange.ask(
            self._chunks(kind, request, message),
            partial(self._whole, kind, request, _Arrived(self._received)),
            timeout_s=timeout_s,
        )
        try:
            return fields_of(answer, number, request, parse)
        except MalformedError as error:
            raise await self.bad(f"what is no answer to the request: {error}") from error
        except RefusedError as error:
            if error.status in _GONE:
                await self.close()
            raise self._refusal(error.status) from error

    async def close(self) -> None:
        """Drop the connection."""
        await self._exchange.close()

    async def bad(self, what: str) -> DeviceError:
        """The error of an answer that is wrong; the connection is gone."""
        await self.close()
        return self._wrong(what)

    def locked(self, what: str) -> DeviceError:
        """The error of a server that asks for more than the site file says."""
        return DeviceError(
            f"{self.peer} asks for {what}.",
            "Write it under 'security' of the device in the site file (docs/opcua.md).",
            code=LOCKED,
        )

    async def _hello(self) -> None:
        sizes = struct.pack("<IIIII", 0, MAX_CHUNK, MAX_CHUNK, MAX_MESSAGE, MAX_CHUNKS)
        hello = sizes + text(self.url)
        question = _CHUNK.pack(b"HEL", b"F", _CHUNK.size + len(hello)) + hello
        body = await self._exchange.ask(question, self._acknowledge, timeout_s=self.timeout_s)
        _, takes, *_ = _ACK.unpack(body)
        self._chunk_bytes = min(takes, MAX_CHUNK)
        if takes < 8192:  # the least that part 6, table 53 allows
            raise await self.bad(f"a receive buffer of {takes} bytes")

    async def _agree(self, how: int) -> None:
        """Get keys for the channel, its first or its next."""
        mode, nonce, fresh = Mode.NONE, NULL, b""
        if self.secure is not None:
            mode, fresh = self.secure.mode, secrets.token_bytes(NONCE_BYTES)
            nonce = blob(fresh)
        want = struct.pack("<Iii", 0, how, mode) + nonce + _U32.pack(_CHANNEL_MS)
        channel, self._token, lifetime_ms, theirs = await self.ask(
            OPEN_CHANNEL, want, _opened, self.timeout_s, kind=b"OPN"
        )
        if how == _RENEW and channel != self._id:
            raise await self.bad(f"channel {channel} where {self._id} was to be renewed")
        if self.secure is not None:
            if len(theirs) != NONCE_BYTES or theirs == fresh:
                raise await self.bad(f"a nonce of {len(theirs)} bytes, or ours")
            self._sealed = conversation(self.secure.policy, mode, fresh, theirs)
        self._id = channel
        now_s = monotonic()
        self._renew_at_s, self._good_until_s = (
            now_s + min(lifetime_ms, _CHANNEL_MS) * share * 1e-3 for share in (0.75, 1.0)
        )

    async def _renew(self) -> None:
        """Get new keys; a server that is to be looked at anew is left for another connection."""
        if self.secure is not None and not self.secure.still_holds():
            await self.close()
            raise DeviceError(
                f"A certificate, or what {self.peer} is trusted by, has changed.",
                "The connection is opened again.",
                code=CLOSED,
            )
        try:
            await self._agree(_RENEW)
        except DeviceError as error:
            await self.close()
            raise DeviceError(
                f"{self.peer} renewed no keys: {error.what}",
                "The connection is opened again.",
                code=CLOSED,
            ) from error

    def _header(self, handle: int, timeout_s: float) -> bytes:
        now = time_ns() // 100 + _EPOCH_TICKS
        fixed = struct.pack("<qII", now, handle, 0) + NULL + _U32.pack(int(timeout_s * 1000))
        return self.session + fixed + b"\0\0\0"

    def _chunks(self, kind: bytes, request: int, message: bytes) -> bytes:
        """The message in chunks that the server takes; what opens a channel is one chunk."""
        if kind == b"OPN":
            return self._opening(request, message)
        sealer = self._sealed.out
        room = sealer.room(self._chunk_bytes - _HEAD.size) - _PLACE.size
        parts = [message[at : at + room] for at in range(0, len(message), room)]
        chunks: list[bytes] = []
        for part in parts:
            self._last += 1
            final = b"C" if len(chunks) < len(parts) - 1 else b"F"
            body = _PLACE.pack(self._last, request) + part
            size = _HEAD.size + sealer.size(len(body))
            head = _HEAD.pack(kind, final, size, self._id, self._token)
            chunks.append(head + sealer.seal(head, body))
        return b"".join(chunks)

    def _opening(self, request: int, message: bytes) -> bytes:
        self._last += 1
        sealer, secure = self._handshake.out, self.secure
        who = text(POLICY) + NULL * 2
        if secure is not None:
            who = text(secure.policy.uri) + blob(secure.own.certificate)
            who += blob(thumbprint(secure.server))
        body = _PLACE.pack(self._last, request) + message
        size = _CHUNK.size + _U32.size + len(who) + sealer.size(len(body))
        head = _CHUNK.pack(b"OPN", b"F", size) + _U32.pack(self._id) + who
        return head + sealer.seal(head, body)

    def _acknowledge(self, received: bytes) -> bytes | None:
        """The body of the answer to the first message."""
        kind, size = self._peek(received, 0)
        if kind is None:
            return None
        if kind != b"ACK" or size != _CHUNK.size + _ACK.size:
            raise self._wrong(f"{kind!r} of {size} bytes where b'ACK' was due")
        return self._exactly(received, size)

    def _whole(
        self, wanted: bytes, request: int, arrived: _Arrived, received: bytes
    ) -> bytes | None:
        """The body of the whole answer; None while it is only the beginning of a right one."""
        while len(arrived.parts) < MAX_CHUNKS:
            at = arrived.at
            kind, size = self._peek(received, at)
            if kind is None:
                return None
            if kind != wanted:
                raise self._wrong(f"{kind!r} where {wanted!r} was due")
            if len(received) - at < size:
                return None
            chunk, last = received[at : at + size], arrived.last
            found, part = self._checked(wanted, chunk)
            if found[1] != request:
                raise self._wrong(f"request {found[1]} where {request} was due")
            if last is not None and not _follows(last, found[0]):
                raise self._wrong(f"sequence number {found[0]} after {last}")
            arrived.last, arrived.at = found[0], at + size
            arrived.parts.append(part)
            if chunk[3:4] == b"F":
                if arrived.at != len(received):
                    raise self._wrong(f"{len(received) - arrived.at} bytes too many")
                self._received = arrived.last
                return b"".join(arrived.parts)
            if chunk[3:4] != b"C" or wanted == b"OPN":
                raise self._wrong("an answer given up, or opened in parts")
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
        try:
            cursor = Cursor(chunk, _CHUNK.size)
            channel = cursor.u32()
            if kind == b"OPN":
                opener = self._handshake.back
                self._check_who(cursor)
                if self.secure is not None and len(chunk) - cursor.at > MAX_OPENING:
                    raise self._wrong(f"{len(chunk) - cursor.at} bytes that open a channel")
            else:
                opener = self._sealed.back
                if channel != self._id:
                    raise self._wrong(f"channel {channel} where {self._id} was due")
                if (token := cursor.u32()) != self._token:
                    raise self._wrong(f"token {token} where {self._token} was due")
            body = opener.open(chunk[: cursor.at], chunk[cursor.at :])
            inner = Cursor(body)
            return (inner.u32(), inner.u32()), body[_PLACE.size :]
        except MalformedError as error:
            raise self._wrong(f"a chunk cut short: {error}") from error
        except NotAuthenticError as error:
            raise self._forged() from error

    def _check_who(self, cursor: Cursor) -> None:
        """Whether a channel's opening says that it is from the server, to us."""
        policy, certificate, to = cursor.text(), cursor.blob() or b"", cursor.blob() or b""
        secure = self.secure
        if policy != (POLICY if secure is None else secure.policy.uri):
            raise self._wrong(f"security policy {policy[:SAID]!r}")
        if secure is None:
            return
        if not certificate.startswith(secure.server):  # those who signed it may follow
            raise DeviceError(
                f"{self.peer} has another certificate than it showed before:"
                f" {shown(certificate)} where {shown(secure.server)} was due.",
                "If it was just renewed, the next attempt finds it; else look who answers there.",
                code=NOT_AUTHENTIC,
            )
        if to != thumbprint(secure.own.certificate):
            raise self._forged()

    def _exactly(self, received: bytes, size: int) -> bytes | None:
        if len(received) > size:
            raise self._wrong(f"{len(received) - size} bytes too many")
        return received[_CHUNK.size :] if len(received) == size else None

    def _wrong(self, what: str) -> DeviceError:
        return DeviceError(
            f"{self.peer} answered with {what}.",
            "The connection was closed. If it happens again, this is no OPC UA server, or one that"
            " needs an update.",
            code=BAD_REPLY,
        )

    def _forged(self) -> DeviceError:
        return DeviceError(
            f"{self.peer} answered with bytes that its key has not sealed.",
            "The connection was closed. If it happens again, look who else is on this network.",
            code=NOT_AUTHENTIC,
        )

    def _how_to_be_trusted(self) -> str:
        own = b"" if self.secure is None else self.secure.own.certificate
        return (
            f"Have the server trust the agent's certificate, thumbprint {shown(own)}"
            " ('joulemark agent certificate' says where its file is)."
        )

    def _refusal(self, status: int) -> DeviceError:
        name, do = _STATUSES.get(status, ("", "Look the status up in the server's manual or log."))
        if status in _OURS and self.secure is not None:
            name, do = _OURS[status], self._how_to_be_trusted()
        is_gone = status in _GONE
        return DeviceError(
            f"{self.peer} refuses with status 0x{status:08X}{name and f' ({name})'}.",
            "The session is opened again." if is_gone else do,
            code=CLOSED if is_gone else f"status_{status:08x}",
        )


def fields_of(answer: bytes, number: int, handle: int, parse: Callable[[Cursor], T]) -> T:
    """What a service's answer holds after its header.

    Raises:
        MalformedError: it is no answer to that request.
        RefusedError: the server says no.
    """
    cursor = Cursor(answer)
    kind = standard_id(cursor.node_id())
    cursor.take(8)  # its time
    found, status = cursor.u32(), cursor.u32()
    cursor.skip_diagnostic()
    for _ in cursor.elements():
        cursor.blob()
    cursor.skip_extension()
    if found != handle:
        raise MalformedError(f"handle {found} where {handle} was due")
    if datavalue.is_bad(status):
        raise RefusedError(status)
    if kind != number + 3:
        raise MalformedError(f"message {kind} where {number + 3} was due")
    fields = parse(cursor)
    if cursor.at != len(answer):
        raise MalformedError(f"{len(answer) - cursor.at} bytes too many")
    return fields


def standard_id(node_id: bytes) -> int | None:
    """The identifier of a numeric NodeId of namespace 0."""
    if node_id[0] == 0:
        return node_id[1]
    is_ours = node_id[:2] == b"\1\0" or node_id[:3] == b"\2\0\0"
    return int.from_bytes(node_id[2 if node_id[0] == 1 else 3 :], "little") if is_ours else None


def _opened(cursor: Cursor) -> tuple[int, int, int, bytes]:
    """Channel, token, lifetime [ms] and the server's nonce."""
    _, channel, token, _, lifetime_ms = _TOKEN.unpack(cursor.take(_TOKEN.size))
    return channel, token, lifetime_ms, cursor.blob() or b""


def _follows(last: int, found: int) -> bool:
    """Sequence numbers count up by one and begin anew below 1024: part 6, section 6.7.2.4."""
    return found == last + 1 or (last >= 0xFFFFFFFF - 1024 and found < 1024)
