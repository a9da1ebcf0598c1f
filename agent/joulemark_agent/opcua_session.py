"""A session on an OPC UA server: who asks, which namespaces there are, and what a variable holds.

What a server put into a DataValue is stepped over, never built, so that no claimed length can cost
memory. Read is the only service of the address space in this file.

What a locked server offers is asked on a channel of its own, which nothing secures: so it is used
for two things, to find the server's certificate, which must be trusted, and to be compared with
what the server says of itself over the secured channel. What the site file asks for is spoken, or
nothing is.
Source: OPC UA specification (1.05), part 4, sections 5.4.4, 5.7, 5.11.2 and 6.1.4.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from joulemark_agent import exchange, opcua_access, opcua_binary, opcua_certificate
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.opcua_access import Access
from joulemark_agent.opcua_binary import NULL, Cursor, MalformedError, Variable, blob, text
from joulemark_agent.opcua_channel import (
    LOCKED,
    MAX_MESSAGE,
    NOT_AUTHENTIC,
    POLICY,
    SAID,
    Channel,
    Secure,
)
from joulemark_agent.opcua_endpoint import (
    ANONYMOUS,
    CERTIFICATE,
    USER_NAME,
    Endpoint,
    Token,
    are_same,
    choose,
    endpoints,
)
from joulemark_agent.opcua_security import (
    BY_URI,
    NONCE_BYTES,
    POLICIES,
    URI,
    Mode,
    NotAuthenticError,
    Policy,
    encrypted_secret,
)

DEFAULT_PORT = 4840
# In place of a namespace the server does not have: it says itself that it has not.
UNKNOWN_NAMESPACE = 0xFFFF
MAX_NONCE_BYTES = 128  # part 4, section 5.7.2.2

# Numbers of the messages' binary encodings: part 6, annex A (NodeIds.csv).
GET_ENDPOINTS, CREATE, ACTIVATE, CLOSE, READ = 428, 461, 467, 473, 631
TOKENS = {ANONYMOUS: 321, USER_NAME: 324, CERTIFICATE: 327}
_SERVER_NAMESPACES = opcua_binary.node_id(0, "i=2255")
VALUE, DATA_TYPE = 13, 14  # attributes
BOTH_TIMES = 2  # the source's and the server's
_SESSION_MS = 120_000
_CLOSE_S = 1.0  # a server that is asked to forget the session may take so long

_U32, _I32, _F64 = (struct.Struct(form) for form in ("<I", "<i", "<d"))


@dataclass(frozen=True)
class Terms:
    """On what terms a server is spoken to."""

    access: Access
    endpoint: Endpoint
    offered: tuple[Endpoint, ...]  # as they were found without security
    server_key: RSAPublicKey | None  # None: nothing is encrypted or verified
    secure: Secure | None  # None: security policy None


async def open_session(url: str, *, timeout_s: float, security: Access | None = None) -> Session:
    """An open session at `opc.tcp://HOST[:PORT][/PATH]`.

    Args:
        url: the server's.
        timeout_s: for connecting, and for each answer. [s]
        security: what the site file says of it; None: no security, and nobody logs in.

    Raises:
        DeviceError: there is none to be had.
    """
    terms = None
    if security is not None and (security.is_secured or security.has_user):
        terms = await _terms(url, security, timeout_s)
    opened = await _connected(url, timeout_s)
    secure = None if terms is None else terms.secure
    session = Session(Channel(opened, url, timeout_s=timeout_s, secure=secure), terms)
    try:
        await session.open()
    except BaseException:
        await opened.close()
        raise
    return session


async def get_endpoints(url: str, *, timeout_s: float) -> tuple[Endpoint, ...]:
    """What the server offers, asked without security: nothing of it is proven.

    Raises:
        DeviceError: no answer.
    """
    opened = await _connected(url, timeout_s)
    channel = Channel(opened, url, timeout_s=timeout_s)
    try:
        await channel.open()
        return await channel.ask(GET_ENDPOINTS, text(url) + NULL * 2, endpoints, timeout_s)
    finally:
        await channel.close()


async def _connected(url: str, timeout_s: float) -> exchange.Exchange:
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORT
    return await exchange.connect(parts.hostname or "", port, timeout_s=timeout_s)


async def _terms(url: str, access: Access, timeout_s: float) -> Terms:
    """The endpoint that is what the site file asks for, of a server that may be trusted."""
    parts = urlsplit(url)
    host, peer = parts.hostname or "", f"{parts.hostname}:{parts.port or DEFAULT_PORT}"
    own = opcua_access.own_identity(access) if access.is_secured else None
    if own is not None:
        opcua_access.require_valid(own, access, datetime.now(UTC))
    offered = await get_endpoints(url, timeout_s=timeout_s)
    mode = access.mode if access.is_secured else Mode.NONE
    endpoint = choose(offered, URI + access.policy, mode, url)
    if endpoint is None:
        known = "; ".join(sorted({end.shown for end in offered}))
        raise DeviceError(
            f"{peer} does not offer {access.policy} {access.mode.name.lower()}"
            f" (it offers: {known[:SAID]!r}).",
            "Switch it on there; nothing weaker is taken in its place.",
            code=LOCKED,
        )

    def key() -> RSAPublicKey:
        return opcua_access.server_key(
            access,
            endpoint.certificate,
            application_uri=endpoint.application_uri,
            peer=peer,
            host=host,
            now=datetime.now(UTC),
        )

    def still_holds() -> bool:
        try:
            return own == opcua_access.own_identity(access) and bool(key())
        except DeviceError:
            return False

    if own is None:
        is_encrypted = endpoint.certificate and any(token.policy for token in endpoint.tokens)
        return Terms(access, endpoint, offered, key() if is_encrypted else None, None)
    server_key = key()
    server = opcua_certificate.der(opcua_certificate.parsed(endpoint.certificate)[0])
    policy = POLICIES[access.policy]
    secure = Secure(policy, mode, own, server, server_key, still_holds)
    return Terms(access, endpoint, offered, server_key, secure)


@dataclass(frozen=True)
class _Created:
    """The answer to CreateSession."""

    token: bytes
    nonce: bytes
    certificate: bytes
    offered: tuple[Endpoint, ...]
    algorithm: str
    signature: bytes


class Session:
    """A session in a channel of its own."""

    def __init__(self, channel: Channel, terms: Terms | None = None) -> None:
        """Nothing is asked yet.

        Args:
            channel: sealed as the terms say.
            terms: None: without security.
        """
        self.channel = channel
        self.namespaces: dict[str, int] = {}  # by URI
        self._terms = terms

    @property
    def is_open(self) -> bool:
        """Whether another question may be tried."""
        return self.channel.is_open

    async def open(self) -> None:
        """Open channel and session, and ask which namespace has which index."""
        await self.channel.open()
        created = await self._create()
        await self._activate(created, self._endpoint(created.offered))
        self.namespaces = await self._read_namespaces()

    async def read(
        self, nodes: Sequence[bytes], timeout_s: float, *, attribute: int = VALUE
    ) -> Sequence[Variable]:
        """An attribute of those nodes, as DataValues.

        Args:
            nodes: as `node_id` gives them.
            timeout_s: for the answer. [s]
            attribute: its number.

        Raises:
            DeviceError: as `Channel.ask`.
        """
        each = _U32.pack(attribute) + NULL + b"\0\0" + NULL
        want = struct.pack("<dii", 0.0, BOTH_TIMES, len(nodes))
        want += b"".join(node + each for node in nodes)
        return await self.channel.ask(READ, want, partial(variables, len(nodes)), timeout_s)

    def node_id(self, name: str) -> bytes:
        """The NodeId of `nsu=URI;IDENTIFIER`, in the server's present numbers."""
        uri, _, identifier = name.removeprefix("nsu=").partition(";")
        return opcua_binary.node_id(self.namespaces.get(uri, UNKNOWN_NAMESPACE), identifier)

    async def close(self) -> None:
        """Give session and connection back."""
        channel = self.channel
        if channel.is_connected and len(channel.session) > 2:
            with suppress(DeviceError):  # it forgets the session by itself, only later
                await channel.ask(CLOSE, b"\x01", nothing, min(channel.timeout_s, _CLOSE_S))
        await channel.close()

    async def _create(self) -> _Created:
        channel, secure = self.channel, self.channel.secure
        uri = "urn:joulemark:agent" if secure is None else secure.own.application_uri
        client = text(uri) + text("urn:joulemark") + b"\x02" + text("Joulemark")
        client += _I32.pack(1) + NULL * 3  # a client, reached by nobody
        nonce = secrets.token_bytes(NONCE_BYTES)
        own = None if secure is None else secure.own.certificate
        want = client + NULL + text(channel.url) + text("Joulemark agent")
        want += blob(nonce) + blob(own) + _F64.pack(_SESSION_MS) + _U32.pack(MAX_MESSAGE)
        created = await channel.ask(CREATE, want, _created, channel.timeout_s)
        channel.session = created.token
        if secure is not None:
            self._check_server(secure, created, nonce)
        return created

    def _check_server(self, secure: Secure, created: _Created, nonce: bytes) -> None:
        """Whether it is the server whose certificate was trusted, and offers what it seemed to."""
        try:
            signed = secure.own.certificate + nonce
            secure.policy.verify(secure.server_key, signed, created.signature)
            is_server = created.algorithm == secure.policy.signature_uri
        except NotAuthenticError:
            is_server = False
        if not (
            is_server and created.certificate.startswith(secure.server) and _is_nonce(created.nonce)
        ):
            raise self._unproven()
        assert self._terms is not None
        if not are_same(created.offered, self._terms.offered):
            raise DeviceError(
                f"{self.channel.peer} offers other security than somebody before it said.",
                "Somebody on this network, or a relay, changes what the server says: find it.",
                code="downgraded",
            )

    def _endpoint(self, offered: tuple[Endpoint, ...]) -> Endpoint | None:
        """That of this session; None: a server without security names none."""
        if self._terms is not None:
            return self._terms.endpoint
        found = choose(offered, POLICY, Mode.NONE, self.channel.url)
        if found is None and offered:
            asked = ", ".join(sorted({end.shown for end in offered}))
            raise self.channel.locked(f"security policy {asked[:SAID]!r}")
        return found

    async def _activate(self, created: _Created, endpoint: Endpoint | None) -> None:
        secure = self.channel.secure
        proof = NULL * 2
        if secure is not None:
            proof = _signature(secure.policy, secure.own.key, secure.server + created.nonce)
        user, user_proof = self._user(created, endpoint)
        want = proof + NULL * 2 + user + user_proof
        await self.channel.ask(ACTIVATE, want, nothing, self.channel.timeout_s)

    def _user(self, created: _Created, endpoint: Endpoint | None) -> tuple[bytes, bytes]:
        """The token of whoever logs in, and the proof that goes with it."""
        access = None if self._terms is None else self._terms.access
        if access is None or not access.has_user:
            token = Token("", ANONYMOUS, "")
            if endpoint is not None:
                token, _ = self._token(endpoint, ANONYMOUS)
            return _user(token, b""), NULL * 2
        assert endpoint is not None
        assert self._terms is not None
        if not _is_nonce(created.nonce):
            raise self._unproven()
        if access.user_certificate is not None:
            token, policy = self._token(endpoint, CERTIFICATE)
            # Without a server's name in it, whoever chose the nonce could use it on any other.
            if policy is None or self._terms.server_key is None:
                raise self._unsafe("a user's certificate")
            user = opcua_access.user_identity(access.user_certificate, access.user_key)
            signed = self._server_certificate() + created.nonce
            return _user(token, blob(user.certificate)), _signature(policy, user.key, signed)
        token, policy = self._token(endpoint, USER_NAME)
        secret = opcua_access.password(access)
        if policy is not None and self._terms.server_key is not None:
            sealed = encrypted_secret(policy, self._terms.server_key, secret, created.nonce)
            return _user(
                token, text(access.user) + blob(sealed) + text(policy.secret_uri)
            ), NULL * 2
        if endpoint.mode != Mode.SIGN_AND_ENCRYPT:
            raise self._unsafe("a password")
        return _user(token, text(access.user) + blob(secret) + NULL), NULL * 2

    def _token(self, endpoint: Endpoint, kind: int) -> tuple[Token, Policy | None]:
        """The endpoint's way to log in so, and the policy that protects it if there is one."""
        fitting = [token for token in endpoint.tokens if token.kind == kind]
        if not fitting:
            known = {ANONYMOUS: "anonymous", USER_NAME: "user and password", CERTIFICATE: "user"}
            names = sorted({known.get(token.kind, "?") for token in endpoint.tokens})
            if kind == ANONYMOUS:
                raise self.channel.locked("a user's name or certificate")
            raise DeviceError(
                f"{self.channel.peer} lets nobody log in by {known[kind]} ({', '.join(names)}).",
                "Allow it on the server for this endpoint, or write another way under 'security'.",
                code=LOCKED,
            )
        found = {token.policy or endpoint.policy: token for token in reversed(fitting)}
        for uri, token in found.items():
            if uri in BY_URI:
                return token, BY_URI[uri]
        if kind != ANONYMOUS and POLICY not in found:
            raise self.channel.locked(f"a log-in by {', '.join(sorted(found))[:SAID]!r}")
        return fitting[0] if kind == ANONYMOUS else found[POLICY], None

    def _server_certificate(self) -> bytes:
        assert self._terms is not None
        blobs = self._terms.endpoint.certificate
        return opcua_certificate.der(opcua_certificate.parsed(blobs)[0]) if blobs else b""

    def _unproven(self) -> DeviceError:
        return DeviceError(
            f"{self.channel.peer} has not proven that its certificate is its own.",
            "Look who answers there; if it is the machine, its software needs an update.",
            code=NOT_AUTHENTIC,
        )

    def _unsafe(self, what: str) -> DeviceError:
        return DeviceError(
            f"{self.channel.peer} would have {what} sent unprotected.",
            "Write a 'policy' and 'mode: sign_and_encrypt' under 'security'.",
            code=LOCKED,
        )

    async def _read_namespaces(self) -> dict[str, int]:
        [variable] = await self.read([_SERVER_NAMESPACES], self.channel.timeout_s)
        try:
            cursor = Cursor(variable.data, 1)
            if not variable.data[0] & 1 or cursor.u8() != 0x80 | 12:
                raise MalformedError("no array of strings")  # noqa: TRY301 - one way to say it
            uris = [cursor.text() for _ in cursor.elements()]
        except MalformedError as error:
            raise await self.channel.bad(f"no table of namespaces: {error}") from error
        return {uri: index for index, uri in reversed(list(enumerate(uris)))}


def four_bytes(number: int) -> bytes:
    """The NodeId of a number in namespace 0."""
    return b"\x01\x00" + struct.pack("<H", number)


def nothing(cursor: Cursor) -> None:
    """Whatever is left of an answer that holds no more than its status."""
    cursor.rest()


def variables(wanted: int, cursor: Cursor) -> list[Variable]:
    """The DataValues of a Read."""
    found = [cursor.variable() for _ in cursor.elements()]
    if len(found) != wanted:
        raise MalformedError(f"{len(found)} values where {wanted} were due")
    for _ in cursor.elements():
        cursor.skip_diagnostic()
    return found


def _user(token: Token, fields: bytes) -> bytes:
    """A user's token: part 4, section 7.40."""
    body = text(token.name or None) + fields
    return four_bytes(TOKENS[token.kind]) + b"\x01" + blob(body)


def _is_nonce(nonce: bytes) -> bool:
    return NONCE_BYTES <= len(nonce) <= MAX_NONCE_BYTES


def _signature(policy: Policy, key: RSAPrivateKey, data: bytes) -> bytes:
    """A SignatureData."""
    return text(policy.signature_uri) + blob(policy.sign(key, data))


def _created(cursor: Cursor) -> _Created:
    cursor.node_id()
    token = cursor.node_id()
    cursor.take(8)  # the session's timeout
    nonce, certificate = cursor.blob() or b"", cursor.blob() or b""
    offered = endpoints(cursor)
    for _ in cursor.elements():
        cursor.blob(), cursor.blob()  # software certificates
    algorithm, signature = cursor.text(), cursor.blob() or b""
    cursor.take(4)  # the largest request
    return _Created(token, nonce, certificate, offered, algorithm, signature)
