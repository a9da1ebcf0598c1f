"""Locked OPC UA servers are read by who may, and nothing is said to those who are not proven."""

from __future__ import annotations

import asyncio
import itertools
import os
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua
from asyncua.common.utils import Buffer
from asyncua.crypto.security_policies import SecurityPolicyBasic128Rsa15, SecurityPolicyBasic256
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from joulemark_agent import exchange, opcua_channel, opcua_session
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.drivers import opcua
from joulemark_agent.drivers.base import Request, Subscribe
from joulemark_agent.kernels.datavalue import parse
from joulemark_agent.lines import Line, Lines
from joulemark_agent.opcua_access import Access, make_identity, own_identity
from joulemark_agent.opcua_binary import NULL, Cursor, blob
from joulemark_agent.opcua_security import POLICIES as SECURITY
from joulemark_agent.opcua_security import Mode, Policy, shown
from joulemark_agent.opcua_session import GET_ENDPOINTS
from joulemark_agent.plan import PlannedDevice
from support import certificates
from support.certificates import AGENT_URI, certificate, der, key_pem, pem, written
from support.opcua import CREATED, FIRST_READ, OPENED, URI, Relay, body_of, relayed, with_body
from support.opcua_locked import (
    PASSWORDS,
    POLICIES,
    TICK_MS,
    TYPES,
    VALUE,
    Locked,
    locked_plant,
    node_server,
)

TIMEOUT_S = 5.0
MODES = [Mode.SIGN, Mode.SIGN_AND_ENCRYPT]
VARIABLE = "JOULEMARK_TEST_PASSWORD"
DAY = timedelta(days=1)
RAW = struct.pack(">d", VALUE)


@pytest.fixture(scope="module")
def locked() -> Iterator[Locked]:
    """A foreign server of all policies."""
    with locked_plant() as running:
        yield running


@pytest.fixture
def access(tmp_path: Path, locked: Locked, monkeypatch: pytest.MonkeyPatch) -> Access:
    """What is needed to read it."""
    locked.refused.clear()
    found = certificate("server")
    locked.present(found)
    trust = tmp_path / "trusted"
    trust.mkdir()
    (trust / "server.der").write_bytes(der(found))
    own, key = written(tmp_path, "agent", certificate("agent", uri=AGENT_URI), "agent")
    monkeypatch.setenv(VARIABLE, PASSWORDS["reader"])
    return Access(trust=trust, certificate=own, key=key)


@pytest_asyncio.fixture
async def relay(locked: Locked) -> AsyncIterator[Relay]:
    """A relay before it."""
    async with relayed(locked.port) as running:
        yield running


def logins(folder: Path) -> list[dict[str, Any]]:
    """Nobody, a user with a password, and one with a certificate."""
    user, _ = written(folder, "user", certificate("user"), "user")
    return [{}, {"user": "reader", "password_variable": VARIABLE}, {"user_certificate": user}]


def request(index: int = 0) -> Request:
    return Request("node", index, 1, f"nsu={URI};s=temperature")


def planned(url: str, access: Access | None = None) -> PlannedDevice:
    return PlannedDevice(
        "furnace", url, 0, 1_000_000, (request(),), TIMEOUT_S, security=access
    )  # fmt: skip


async def value(url: str, access: Access) -> bytes:
    """What a connection of its own reads."""
    driver = await opcua.connect(url, timeout_s=TIMEOUT_S, security=access)
    try:
        [response] = await driver.read(0, [request()])
    finally:
        await driver.close()
    found = parse(response.data)
    assert found is not None
    return found.raw


async def refusal(url: str, access: Access, timeout_s: float = TIMEOUT_S) -> DeviceError:
    """Why there is no connection, in one line."""
    with pytest.raises(DeviceError) as caught:
        await opcua.connect(url, timeout_s=timeout_s, security=access)
    assert "\n" not in str(caught.value)
    assert caught.value.do
    return caught.value


async def test_every_policy_reads_asyncua(locked: Locked, access: Access, tmp_path: Path) -> None:
    for way in ways(access, logins(tmp_path)):
        assert await value(locked.url, way) == RAW


@pytest.mark.endurance
async def test_every_policy_reads_node_opcua(
    tmp_path: Path, access: Access, node_opcua: Path
) -> None:
    how = logins(tmp_path)
    long = tmp_path / "long"
    long.write_text(PASSWORDS["verbose"] + "\n")
    long.chmod(0o600)
    how.append({"user": "verbose", "password_file": long})
    stranger, key = written(tmp_path, "stranger", certificate("user", uri=AGENT_URI), "user")
    with trusting(node_opcua, tmp_path, access) as url:
        for way in ways(access, how):
            assert await value(url, way) == RAW
        error = await refusal(url, replace(access, certificate=stranger, key=key))

    assert shown(stranger.read_bytes()) in error.do


@pytest.mark.endurance
async def test_node_opcua_is_read_and_watched_and_nothing_is_lost(
    tmp_path: Path, access: Access, node_opcua: Path
) -> None:
    """Sealed and encrypted: what a password opens, what changed between slots, and what did not."""
    logins(tmp_path)
    long = tmp_path / "long"
    long.write_text(PASSWORDS["verbose"] + "\n")
    long.chmod(0o600)
    names = ("ticking", "temperature")
    subscribe = Subscribe(sampling_ms=TICK_MS // 6, queue=50)
    requests = [Request("node", i, 1, f"nsu={URI};s={n}", subscribe) for i, n in enumerate(names)]
    with trusting(node_opcua, tmp_path, access) as url:
        how = replace(access, user="verbose", password_file=long)
        driver = await opcua.connect(url, timeout_s=TIMEOUT_S, security=how)
        readings = []
        for _ in range(4):
            readings.append(await driver.read(0, requests))
            await asyncio.sleep(0.6)
        await driver.close()

    parsed = [[(r.address, parse(r.data)) for r in reading] for reading in readings]
    seen = [int.from_bytes(v.raw, "big") for reading in parsed for i, v in reading if i == 0 and v]
    assert len(seen) > 2 * len(readings)
    assert seen == list(range(seen[0], seen[0] + len(seen)))
    assert [[v.raw for i, v in reading if i == 1 and v] for reading in parsed] == [[RAW]] * 4


@contextmanager
def trusting(modules: Path, folder: Path, access: Access) -> Iterator[str]:
    """A node-opcua server and we trust each other."""
    agent, user = access.certificate.read_bytes(), (folder / "user.der").read_bytes()
    with node_server(modules, folder, agent, user) as url:
        (access.trust / "server.der").write_bytes((folder / "server.pem").read_bytes())
        yield url


def ways(access: Access, logins: list[dict[str, Any]]) -> list[Access]:
    """Every policy and mode once, and every login: all pairs are read in the night."""
    login = itertools.cycle(logins)
    return [
        replace(access, policy=policy, mode=mode, **next(login))
        for policy in POLICIES
        for mode in MODES
    ]


async def test_a_login_without_security_still_hides_the_password(
    relay: Relay, access: Access, tmp_path: Path
) -> None:
    for login in logins(tmp_path):
        assert await value(relay.url, replace(access, policy="None", **login)) == RAW
    await value(relay.url, replace(access, mode=Mode.SIGN, **logins(tmp_path)[1]))

    assert PASSWORDS["reader"].encode() not in b"".join(relay.asked)


async def test_who_may_not_log_in_is_told(locked: Locked, access: Access, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    secret.chmod(0o644)
    error = await refusal(locked.url, replace(access, user="reader", password_file=secret))
    assert (error.code, f"chmod 600 {secret}" in error.do) == ("login", True)
    secret.chmod(0o600)
    error = await refusal(locked.url, replace(access, user="reader", password_file=secret))
    assert "BadUserAccessDenied" in error.what
    error = await refusal(
        locked.url, replace(access, user="reader", password_variable="JOULEMARK_")
    )
    assert (error.code, "not set" in error.what) == ("login", True)
    stranger, _ = written(tmp_path, "stranger", certificate("stranger"), "stranger")
    error = await refusal(locked.url, replace(access, user_certificate=stranger))
    assert "BadUserAccessDenied" in error.what


async def test_a_server_nobody_trusts_is_read_once_its_file_is_moved(
    relay: Relay, access: Access
) -> None:
    """Without a restart: the same line, some seconds later."""
    [known] = access.trust.iterdir()
    thumbprint = shown(known.read_bytes())
    known.unlink()
    now_s = 0.0
    line = Line(relay.url, timeout_s=TIMEOUT_S, security=access, now_s=lambda: now_s)
    with pytest.raises(DeviceError) as caught:
        await line.read(planned(relay.url))
    assert caught.value.code == "certificate_untrusted"
    assert thumbprint in caught.value.what
    assert GET_ENDPOINTS in relay.services
    assert len(relay.services) == 2  # it opened, asked what there is, and went away
    kept = access.trust.with_name("rejected") / f"127.0.0.1_{relay.port}.der"
    assert f"move {kept} to {access.trust}/" in caught.value.do
    kept.rename(access.trust / kept.name)
    now_s = 100.0
    [response] = await line.read(planned(relay.url))
    await line.close()

    assert RAW in [found.raw for found in [parse(response.data)] if found]


REFUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "expired": ("certificate_expired", "Renew it on the server", {"end": -DAY}),
    "not yet valid": ("certificate_not_yet_valid", "Check this machine's clock", {"begin": DAY}),
    "of another host": ("certificate_host", "'host: NAME'", {"hosts": ("192.0.2.9",)}),
    "of another application": ("certificate_uri", "anew", {"uri": "urn:other"}),
    "short": ("certificate_key", "2048 bits", {"bits": 1024}),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_a_server_whose_certificate_does_not_hold_is_not_spoken_to(
    locked: Locked, relay: Relay, access: Access, kind: str
) -> None:
    code, do, changed = REFUSED[kind]
    now = datetime.now(UTC)
    options: dict[str, Any] = {
        name: now + change if isinstance(change, timedelta) else change
        for name, change in changed.items()
    }
    wrong = certificate("server", **options)
    (access.trust / "server.der").write_bytes(der(wrong))
    locked.present(wrong)
    error = await refusal(relay.url, access)

    assert error.code == code
    assert do in error.do
    assert len(relay.services) == 2


async def test_a_machine_that_has_moved_is_read_by_the_name_it_bears(
    locked: Locked, access: Access
) -> None:
    found = certificate("server", hosts=("furnace-7",))
    (access.trust / "server.der").write_bytes(der(found))
    locked.present(found)

    assert await value(locked.url, replace(access, host="furnace-7")) == RAW


@pytest.mark.parametrize("when", ["the connection is lost", "the keys are renewed"])
async def test_a_server_renews_its_certificate_and_is_read_on(
    locked: Locked, relay: Relay, access: Access, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(opcua_channel, "monotonic", lambda: now_s)
    line = Line(relay.url, timeout_s=TIMEOUT_S, security=access)
    await line.read(planned(relay.url))
    new = certificate("server")
    locked.present(new)
    (access.trust / "next.pem").write_bytes(pem(new))
    if when == "the connection is lost":
        assert line._driver is not None
        await line._driver.close()
    else:
        (access.trust / "server.der").unlink()
        now_s += 3000.0
    await line.read(planned(relay.url))
    await line.close()

    assert relay.connections == 4  # twice: asked what there is, and read


async def test_our_own_certificate_is_renewed_without_a_restart(
    relay: Relay, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(opcua_channel, "monotonic", lambda: now_s)
    line = Line(relay.url, timeout_s=TIMEOUT_S, security=access)
    for _ in range(3):
        await line.read(planned(relay.url))
        now_s += 3000.0
    assert relay.connections == 2  # the keys were renewed, the connection was not
    renewed(access)
    await line.read(planned(relay.url))
    await line.close()

    own = own_identity(access).certificate
    assert relay.connections == 4
    assert own in relay.asked[-6]


def renewed(access: Access, *, now: datetime | None = None) -> bytes:
    """Another certificate of ours, in the same place."""
    make_identity(
        access.certificate, access.key, application_uri=AGENT_URI, host="edge-1",
        now=now or datetime.now(UTC),
    )  # fmt: skip
    return access.certificate.read_bytes()


async def test_our_own_certificate_is_looked_at_before_it_is_shown(
    relay: Relay, access: Access
) -> None:
    access.key.chmod(0o640)
    error = await refusal(relay.url, access)
    assert (error.code, f"chmod 600 {access.key}" in error.do) == ("own_certificate", True)
    access.key.chmod(0o600)
    renewed(access, now=datetime.now(UTC) - 3000 * DAY)
    error = await refusal(relay.url, access)
    assert (error.code, "--renew" in error.do) == ("own_certificate", True)
    access.key.write_bytes(certificates.key_pem("user"))
    error = await refusal(relay.url, access)
    assert (error.code, "key of another one" in error.what) == ("own_certificate", True)
    odd = der(certificate("user", uri=AGENT_URI))
    access.certificate.write_bytes(
        odd.replace(b"\x86\x1e" + AGENT_URI.encode(), b"\x9f\x1e" + AGENT_URI.encode())
    )  # no kind of name
    error = await refusal(relay.url, access)
    assert (error.code, "is unreadable" in error.what) == ("own_certificate", True)
    access.certificate.unlink()
    error = await refusal(relay.url, access)
    assert (error.code, "joulemark agent certificate" in error.do) == ("own_certificate", True)
    assert relay.connections == 0


@pytest.mark.parametrize("what", ["folder", "pipe", "huge", "name too long", "loop"])
async def test_a_path_to_no_such_file_is_told_and_waits_for_nothing(
    locked: Locked, access: Access, tmp_path: Path, what: str
) -> None:
    path = tmp_path / ("x" * 300 if what == "name too long" else "odd")
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path, 0o600)
    elif what == "huge":
        path.write_bytes(access.certificate.read_bytes() + bytes(2 << 20))
        path.chmod(0o600)
    elif what == "loop":
        path.symlink_to(path)
    for odd in (
        {"certificate": path},
        {"key": path},
        {"user": "reader", "password_file": path},
        {"user_certificate": path},
    ):
        error = await refusal(locked.url, replace(access, **odd))
        assert error.code in {"own_certificate", "login"}
        assert f"{path} cannot be used" in error.what
    if what != "name too long":
        path.rename(access.trust / "odd")
        assert (await refusal(locked.url, access)).code == "certificate_trust"


async def test_a_server_that_does_not_trust_us_is_told_whom_to_trust(
    locked: Locked, access: Access
) -> None:
    own = access.certificate.read_bytes()
    locked.refused.append(own)
    error = await refusal(locked.url, access)

    assert "BadCertificateUntrusted" in error.what
    assert shown(own) in error.do


async def test_nothing_weaker_is_taken(relay: Relay, access: Access) -> None:
    """A server, or somebody before it, that offers only less than the site file asks for."""
    wanted = access.policy.encode()
    relay.change = lambda _, message: [message.replace(wanted, b"X" * len(wanted))]
    error = await refusal(relay.url, access)

    assert error.code == "security_required"
    assert "Aes128_Sha256_RsaOaep sign; " in error.what
    assert relay.services == [opcua_channel.OPEN_CHANNEL, GET_ENDPOINTS]


@pytest.mark.filterwarnings("ignore")  # asyncua warns of what it speaks here
async def test_withdrawn_policies_are_not_spoken_whoever_offers_them(
    tmp_path: Path, locked: Locked, access: Access
) -> None:
    """SHA-1 and PKCS #1 v1.5 are withdrawn; the control reads, so they are offered indeed."""
    withdrawn = {"Basic128Rsa15": SecurityPolicyBasic128Rsa15, "Basic256": SecurityPolicyBasic256}
    assert not set(withdrawn) & (set(SECURITY) | set(POLICIES))
    locked.offer(list(withdrawn))
    try:
        locked.present(certificate("server"))
        for policy, mode in itertools.product(POLICIES, MODES):
            error = await refusal(locked.url, replace(access, policy=policy, mode=mode))
            assert error.code == opcua_channel.LOCKED
            assert "Basic128Rsa15" in error.what
        own, key = tmp_path / "old.pem", tmp_path / "old-key.pem"
        own.write_bytes(pem(certificate("agent", uri=AGENT_URI)))
        key.write_bytes(key_pem("agent"))
        for old in withdrawn.values():
            naive = Client(locked.url, timeout=TIMEOUT_S)
            await naive.set_security(old, str(own), str(key), mode=ua.MessageSecurityMode.Sign)
            async with naive:
                index = await naive.get_namespace_index(URI)
                assert await naive.get_node(f"ns={index};s=temperature").read_value() == VALUE
    finally:
        locked.offer(TYPES)


async def test_a_list_of_endpoints_that_somebody_changed_is_found(
    relay: Relay, access: Access
) -> None:
    """He hides that the server would take more, or how a password is to be encrypted."""
    hidden = POLICIES[2].encode()

    def changed(number: int, message: bytes) -> list[bytes]:
        return [message.replace(hidden, b"X" * len(hidden)) if number == CREATED else message]

    relay.change = changed
    error = await refusal(relay.url, access)

    assert error.code == "downgraded"


async def test_somebody_else_with_the_servers_certificate_learns_nothing(
    locked: Locked, relay: Relay, access: Access
) -> None:
    """He shows the trusted certificate and has another key, so he cannot read the question."""
    trusted = x509.load_der_x509_certificate((access.trust / "server.der").read_bytes())
    locked.present(trusted, "user")
    how = replace(access, user="reader", password_variable=VARIABLE)
    error = await refusal(relay.url, how, 0.3)

    assert error.code == "timeout"  # the server says nothing to what it cannot read
    assert "agent's certificate" in error.do
    assert [message[:3] for message in relay.asked] == [b"HEL", b"OPN", b"MSG", b"HEL", b"OPN"]


@pytest.mark.parametrize("hidden", ["the certificate", "the nonce"])
async def test_a_user_signs_nothing_for_who_names_no_server(
    relay: Relay, access: Access, tmp_path: Path, hidden: str
) -> None:
    """Who leaves the certificate out could choose a nonce that holds another server's."""
    [server] = access.trust.iterdir()
    shown_there = server.read_bytes()

    def changed(number: int, message: bytes) -> list[bytes]:
        if number == CREATED and hidden == "the nonce" and relay.connections % 2 == 0:
            answer = struct_from_binary(ua.CreateSessionResponse, Buffer(body_of(message)))
            answer.Parameters.ServerNonce = b"\1" * 31
            return [with_body(message, struct_to_binary(answer))]
        if hidden != "the certificate" or b"MSG" not in message[:3]:
            return [message]
        return [with_body(message, body_of(message).replace(blob(shown_there), NULL))]

    relay.change = changed
    [_, password, user] = logins(tmp_path)
    for login in (user, password):
        error = await refusal(relay.url, replace(access, policy="None", **login))
        wanted = "security_required" if hidden == "the certificate" else "not_authentic"
        assert error.code == wanted
    assert opcua_session.ACTIVATE not in relay.services


async def test_an_opening_costs_our_key_a_few_blocks(
    relay: Relay, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can seal blocks for our certificate, and each takes our key a millisecond."""
    own = own_identity(access)
    block = SECURITY["Basic256Sha256"].encrypt(own.key.public_key(), b"x" * 200)
    opened: list[int] = []
    decrypt = Policy.decrypt

    def counted(policy: Policy, key: Any, data: bytes) -> bytes:
        opened.append(len(data))
        return decrypt(policy, key, data)

    monkeypatch.setattr(Policy, "decrypt", counted)

    def changed(number: int, message: bytes) -> list[bytes]:
        if number != OPENED or relay.connections % 2:
            return [message]
        cursor = Cursor(message, 12)
        cursor.text(), cursor.blob(), cursor.blob()
        head = message[: cursor.at]
        count = (opcua_channel.MAX_CHUNK - len(head)) // len(block)
        size = struct.pack("<I", len(head) + count * len(block))
        return [head[:4] + size + head[8:] + block * count]

    relay.change = changed
    error = await refusal(relay.url, access)

    assert error.code == "bad_reply"
    assert all(size <= opcua_channel.MAX_OPENING for size in opened)


async def test_no_chunk_is_opened_twice(
    relay: Relay, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slowly the bytes of a long answer drip."""
    driver = await opcua.connect(relay.url, timeout_s=TIMEOUT_S, security=access)
    answered, opened = len(relay.answered), []
    whole = opcua_channel.Channel._checked

    def counted(channel: opcua_channel.Channel, kind: bytes, chunk: bytes) -> Any:
        opened.append(len(chunk))
        return whole(channel, kind, chunk)

    def dripping(opened: exchange.Exchange, data: bytes) -> None:
        for at in range(0, len(data), 1000):
            received(opened, data[at : at + 1000])

    received = exchange.Exchange.data_received
    monkeypatch.setattr(exchange.Exchange, "data_received", dripping)
    monkeypatch.setattr(opcua_channel.Channel, "_checked", counted)
    await driver.read(0, [request(i) for i in range(4000)])
    await driver.close()
    chunks = [len(message) for message in relay.answered[answered:]]

    assert opened == chunks[: len(opened)]
    assert len(opened) > 1


@pytest.mark.parametrize("wrong", ["signature", "algorithm", "certificate", "nonce"])
async def test_a_session_is_that_of_who_was_trusted(
    locked: Locked, access: Access, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    parse_created = opcua_session._created

    def changed(cursor: Cursor) -> opcua_session._Created:
        created = parse_created(cursor)
        return replace(created, **{wrong: getattr(created, wrong)[:-1]})

    monkeypatch.setattr(opcua_session, "_created", changed)
    error = await refusal(locked.url, access)

    assert error.code == "not_authentic"


@pytest.mark.parametrize("mode", MODES)
async def test_a_flipped_byte_of_any_answer_is_refused_and_the_next_is_right(
    relay: Relay, access: Access, mode: Mode
) -> None:
    access = replace(access, mode=mode)
    line = Line(relay.url, timeout_s=TIMEOUT_S, security=access)
    await line.read(planned(relay.url))
    size = len(relay.answered[-1])
    flipped = -1

    def change(number: int, message: bytes) -> list[bytes]:
        if number != FIRST_READ or flipped < 0:
            return [message]
        return [message[:flipped] + bytes([message[flipped] ^ 1]) + message[flipped + 1 :]]

    relay.change = change
    for flipped in (0, 3, 8, 12, 16, 24, 60, size - 33, size - 1):
        await line.close()
        with pytest.raises(DeviceError) as caught:
            await line.read(planned(relay.url))
        wanted = "bad_reply" if flipped in {0, 8, 12} else "not_authentic"
        assert caught.value.code == wanted, flipped
    flipped = -1
    [response] = await line.read(planned(relay.url))
    await line.close()
    assert RAW in response.data[::-1]


async def test_without_a_policy_a_flipped_byte_is_a_wrong_value(relay: Relay) -> None:
    """The control."""
    relay.change = lambda number, message: [
        message.replace(RAW[::-1], bytes(6) + RAW[1::-1]) if number == FIRST_READ else message
    ]
    line = Line(relay.url, timeout_s=TIMEOUT_S)
    [response] = await line.read(planned(relay.url))
    await line.close()

    found = parse(response.data)
    assert found is not None
    assert found.raw == RAW[:2] + bytes(6)


async def test_an_opening_that_was_changed_is_refused(relay: Relay, access: Access) -> None:
    places = iter((20, 100, 1000, 1100))

    def change(number: int, message: bytes) -> list[bytes]:
        if number != OPENED or relay.connections % 2:
            return [message]
        at = next(places)
        return [message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]]

    relay.change = change
    for _ in range(4):
        error = await refusal(relay.url, access)
        assert error.code in {"not_authentic", "bad_reply"}


@pytest.mark.parametrize("mode", MODES)
async def test_questions_and_answers_of_many_sealed_chunks_are_whole(
    relay: Relay, access: Access, mode: Mode
) -> None:
    count = 4000
    driver = await opcua.connect(
        relay.url, timeout_s=TIMEOUT_S, security=replace(access, mode=mode)
    )
    asked, answered = len(relay.asked), len(relay.answered)
    responses = await driver.read(0, [request(i) for i in range(count)])
    chunks = len(relay.asked) - asked, len(relay.answered) - answered
    await driver.close()

    assert len(responses) == count
    assert min(chunks) > 1


async def test_nothing_of_an_encrypted_conversation_can_be_read(
    relay: Relay, access: Access
) -> None:
    await value(relay.url, replace(access, mode=Mode.SIGN))
    assert b"temperature" in b"".join(relay.asked)  # the control
    relay.asked.clear()
    relay.answered.clear()
    await value(relay.url, access)

    assert b"temperature" not in b"".join(relay.asked)
    assert RAW[::-1] not in b"".join(relay.answered)


async def test_devices_of_one_server_share_a_session(relay: Relay, access: Access) -> None:
    devices = [planned(relay.url, access), replace(planned(relay.url, access), id="other")]
    lines = Lines(devices)
    for device in devices:
        await lines.of(device).read(device)
    await lines.close()

    assert relay.connections == 2


@pytest.mark.parametrize("kept", [x509.CertificateRevocationList, x509.Certificate])
async def test_the_trust_list_is_files_of_either_form(
    locked: Locked, access: Access, kept: type
) -> None:
    root = certificate("authority", is_authority=True)
    found = certificate("server", issuer="authority")
    locked.present(found)
    (access.trust / "server.der").unlink()
    (access.trust / "authority.pem").write_bytes(pem(root))
    (access.trust / ".hidden").write_bytes(b"no certificate")
    if kept is x509.Certificate:
        assert await value(locked.url, access) == RAW
        (access.trust / "notes.txt").write_bytes(b"no certificate")
        error = await refusal(locked.url, access)
        assert (error.code, "notes.txt" in error.what) == ("certificate_trust", True)
        return
    revoked = certificates.revocations("authority", found, now=datetime.now(UTC))
    (access.trust / "authority.crl").write_bytes(revoked.public_bytes(Encoding.DER))
    assert (await refusal(locked.url, access)).code == "certificate_revoked"
