"""The OPC UA client believes nothing, and carries what a server says of each of its values."""

import asyncio
import struct
import tracemalloc
from collections.abc import AsyncIterator, Callable
from itertools import product
from unittest.mock import patch

import pytest
import pytest_asyncio
from asyncua import Client, ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary, variant_from_binary
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent import exchange, opcua_binary, opcua_channel, opcua_session
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import Golden, NodePoint, NodeType, Profile
from joulemark_agent.drivers import opcua
from joulemark_agent.drivers.base import Request
from joulemark_agent.kernels.datavalue import parse
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.lines import IDLE_S, LONGEST_WAIT_S, Line
from joulemark_agent.opcua_binary import MAX_ELEMENTS, Cursor, MalformedError
from joulemark_agent.opcua_subscription import numeric
from joulemark_agent.plan import PlannedDevice, plan_requests
from support.hostile_opcua import GOOD, HOSTILE, ODD, variants
from support.opcua import (
    ACK,
    ACTIVATED,
    BAD_SENSOR,
    CREATED,
    FIRST_READ,
    NAMESPACES,
    OPENED,
    OTHER_URI,
    UNCERTAIN,
    URI,
    VARIABLES,
    Relay,
    body_of,
    fault,
    relayed,
    with_body,
)
from support.tcp import serving, turns

TIMEOUT_S = 5.0
AT_US = 1_652_097_630_000_000


def request(name: str, index: int = 0, uri: str = URI) -> Request:
    return Request("node", index, 1, f"nsu={uri};s={name}")


def planned(url: str, *requests: Request, timeout_s: float = TIMEOUT_S) -> PlannedDevice:
    asked = requests or (request("temperature"),)
    return PlannedDevice("furnace", url, 0, 1_000_000, asked, timeout_s)


def point(name: str, kind: NodeType, node: str) -> NodePoint:
    return NodePoint(name=name, node=f"nsu={URI};s={node}", type=kind)


@pytest_asyncio.fixture
async def relay(opcua_plant: int) -> AsyncIterator[Relay]:
    """A relay before the furnace."""
    async with relayed(opcua_plant) as running:
        yield running


async def test_every_value_comes_with_what_the_server_says_of_it(relay: Relay) -> None:
    points = (
        point("good_k", "float64", "temperature"),
        point("uncertain_k", "float64", "uncertain"),
        point("bad_k", "float64", "bad"),
        point("single_k", "float32", "single"),
        point("array_k", "float64", "array"),
        point("text_k", "float64", "text"),
        point("door_state", "bool", "door"),
        point("gas_dm3", "uint64", "gas"),
        point("signed_unstated", "int64", "signed"),
        point("tiny_unstated", "int8", "tiny"),
        point("narrow_unstated", "int32", "signed"),
        point("missing_k", "float64", "no such variable"),
        NodePoint(name="elsewhere_k", node="nsu=urn:not:here;s=temperature", type="float64"),
        NodePoint(name="level_count", node="nsu=http://opcfoundation.org/UA/;i=2267", type="uint8"),
    )
    profile = Profile(
        model="any", kind="furnace", protocol="opcua", source="made up by a test",
        confidence="bench", points=points,
        golden=(Golden(point="good_k", data="01010a", value=None),) ,
    )  # fmt: skip
    driver = await opcua.connect(relay.url, timeout_s=TIMEOUT_S)
    before = len(relay.asked)
    responses = await driver.read(0, plan_requests(profile))
    questions = len(relay.asked) - before
    await driver.close()

    values, quality = decode_responses(profile, responses)
    assert values == {
        "good_k": "1273.15",
        "uncertain_k": "1.5",
        "single_k": "0.1",
        "door_state": "1",
        "gas_dm3": "18446744073709551615",
        "signed_unstated": "-9223372036854775808",
        "tiny_unstated": "-7",
        "level_count": "255",
    }
    assert quality == {
        "uncertain_k": "uncertain",
        "bad_k": "bad_status",
        "array_k": "type",
        "text_k": "type",
        "narrow_unstated": "type",
        "missing_k": "bad_status",
        "elsewhere_k": "bad_status",
    }
    assert questions == 1
    found = [parse(response.data) for response in responses]
    assert [value.status for value in found[:3] if value] == [0, UNCERTAIN, BAD_SENSOR]
    assert [value.source_time_us for value in found[:3] if value] == [AT_US] * 3
    assert [(response.table, response.address) for response in responses] == [
        ("node", i) for i in range(len(points))
    ]


async def test_the_bytes_are_those_that_were_received(relay: Relay) -> None:
    driver = await opcua.connect(relay.url, timeout_s=TIMEOUT_S)
    responses = await driver.read(0, [request("temperature"), request("bad", 1), request("gas", 2)])
    await driver.close()
    received = b"".join(response.data for response in responses)

    assert relay.answered[FIRST_READ].endswith(struct.pack("<i", 3) + received + bytes(4))


async def test_the_usual_calls_lose_what_the_server_says(relay: Relay) -> None:
    """The control: a bad value is None and an uncertain one as good as any."""
    async with Client(relay.url, timeout=TIMEOUT_S) as client:
        index = await client.get_namespace_index(URI)
        nodes = [client.get_node(f"ns={index};s={name}") for name in ("temperature", "uncertain")]
        good, uncertain = await client.read_values(nodes)

    assert (type(good), type(uncertain)) == (float, float)


async def test_a_server_may_number_its_namespaces_anew(opcua_plant: int) -> None:
    """By index, the same question would be about another variable after a restart."""

    def swapped(number: int, message: bytes) -> list[bytes]:
        if number != NAMESPACES:
            return [message]
        one, other = URI.encode(), OTHER_URI.encode()
        assert message.count(one + struct.pack("<i", len(other)) + other) == 1
        return [
            message.replace(one, b"?" * len(one))
            .replace(other, one)
            .replace(b"?" * len(one), other)
        ]

    async with relayed(opcua_plant) as relay:
        line = Line(relay.url, timeout_s=TIMEOUT_S)
        [first] = await line.read(planned(relay.url))
        port, relay.change = relay.port, swapped
    async with relayed(opcua_plant, port) as relay:
        relay.change = swapped
        [second] = await line.read(planned(relay.url))
        await line.close()

    assert [parse(r.data).raw for r in (first, second)] == [  # type: ignore[union-attr]
        struct.pack(">d", 1273.15),
        struct.pack(">d", 0.0),
    ]


class Time:
    """Monotonic time that a test moves."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_server_that_was_away_is_read_again_when_it_is_back(opcua_plant: int) -> None:
    now_s = Time()
    async with relayed(opcua_plant) as relay:
        line = Line(relay.url, timeout_s=TIMEOUT_S, now_s=now_s)
        await line.read(planned(relay.url))
        assert line._driver is not None
        assert line._driver.is_open
    await turns(10)
    assert not line._driver.is_open
    for _ in range(3):
        with pytest.raises(DeviceError, match="no service listens there") as caught:
            await line.read(planned(relay.url))
        assert caught.value.code == "refused"
    async with relayed(opcua_plant, relay.port):
        now_s.now_s += LONGEST_WAIT_S
        [response] = await line.read(planned(relay.url))
        await line.close()

    assert parse(response.data).source_time_us == AT_US


@pytest.mark.parametrize("stage", [ACK, OPENED, CREATED, ACTIVATED, NAMESPACES, FIRST_READ])
async def test_a_server_that_falls_silent_costs_one_timeout(opcua_plant: int, stage: int) -> None:
    async with relayed(opcua_plant) as relay:
        relay.change = lambda number, message: None if number >= stage else [message]
        line = Line(relay.url, timeout_s=0.05)
        with pytest.raises(DeviceError, match=r"no bytes of an answer within 0\.05 s") as caught:
            await line.read(planned(relay.url, timeout_s=0.05))
        assert caught.value.code == "timeout"
        assert line._driver is None or not line._driver.is_open
        await line.close()
    await turns(10)

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_silent_device_does_not_rest_another_of_the_same_server(opcua_plant: int) -> None:
    """One device's variables hang behind a slow gateway; both devices have unit 0."""
    async with relayed(opcua_plant) as relay:
        is_slow = True
        relay.change = lambda number, message: (
            None if number >= FIRST_READ and is_slow else [message]
        )
        line = Line(relay.url, timeout_s=TIMEOUT_S, now_s=Time())
        slow = planned(relay.url, timeout_s=0.05)
        for _ in range(3):
            with pytest.raises(DeviceError, match="no bytes of an answer"):
                await line.read(slow)
        is_slow = False
        other = PlannedDevice("other", relay.url, 0, 1_000_000, (request("gas"),), TIMEOUT_S)
        await line.read(other)
        with pytest.raises(DeviceError, match="no bytes of an answer"):
            await line.read(slow)  # it is left alone: not asked, and with its own cause
        await line.close()

    assert relay.connections == 3  # two of the slow device's, one of the other's


async def test_a_wrong_answer_is_named_and_the_next_question_gets_its_value(
    opcua_plant: int,
) -> None:
    async with relayed(opcua_plant) as relay:
        for name, change in HOSTILE.items():
            is_hostile = True

            def changed(
                number: int, message: bytes, change: Callable[[bytes], list[bytes]] = change
            ) -> list[bytes]:
                nonlocal is_hostile
                if number < FIRST_READ or not is_hostile:
                    return [message]
                is_hostile = False
                return change(message)

            relay.change = changed
            line = Line(relay.url, timeout_s=TIMEOUT_S)
            two = (request("temperature"), request("gas", 1))
            with pytest.raises(DeviceError) as caught:
                await line.read(planned(relay.url, *two))
            assert caught.value.code == "bad_reply", name
            assert line._driver is not None
            assert not line._driver.is_open, name
            first, second = await line.read(planned(relay.url, *two))
            assert parse(first.data).raw == struct.pack(">d", 1273.15), name  # type: ignore[union-attr]
            assert parse(second.data).raw == b"\xff" * 8, name  # type: ignore[union-attr]
            await line.close()


async def test_what_is_no_number_costs_only_itself(opcua_plant: int) -> None:
    said = list(ODD.values())
    async with relayed(opcua_plant) as relay:
        relay.change = lambda number, message: [
            variants(message, GOOD, *said, GOOD) if number == FIRST_READ else message
        ]
        driver = await opcua.connect(relay.url, timeout_s=TIMEOUT_S)
        count = len(said) + 2
        tracemalloc.start()
        responses = await driver.read(0, [request("temperature", i) for i in range(count)])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await driver.close()

    assert [response.data for response in responses] == [GOOD, *[b"\0"] * len(said), GOOD]
    assert peak < 1 << 20


def test_the_stock_decoder_builds_what_five_bytes_claim() -> None:
    """The control, with a length that costs seconds and gigabytes only when it is 2^27."""
    claimed = 1 << 18
    found = variant_from_binary(Buffer(b"\x80" + struct.pack("<i", claimed)))

    assert len(found.Value) == claimed


@given(st.integers(0, 10_000), st.integers(1, 255), st.integers(0, 10_000))
def test_no_bytes_of_an_answer_raise_anything_else(place: int, mask: int, cut: int) -> None:
    """Any flipped byte, any cut: an answer, a refusal, or MalformedError."""
    answer = ua.ReadResponse()
    answer.ResponseHeader.RequestHandle = ua.UInt32(7)
    values = [value for value in VARIABLES.values() if isinstance(value, ua.DataValue)]
    answer.Results = [*values, ua.DataValue(VARIABLES["text"]), ua.DataValue(VARIABLES["array"])]
    body = bytearray(struct_to_binary(answer))
    body[place % len(body)] ^= mask
    try:
        found = opcua_channel.fields_of(
            bytes(body[: len(body) - cut % 40 * (cut % 2)]),
            opcua_session.READ,
            7,
            lambda cursor: opcua_session.variables(5, cursor),
        )
    except (MalformedError, opcua_channel.RefusedError):
        return
    for variable in found:
        assert parse(numeric(variable)) is not None


def stepped(data: bytes) -> tuple[bytes, int, int] | str:
    """What a cursor finds where a DataValue begins."""
    cursor = Cursor(data)
    try:
        found = cursor.variable()
    except MalformedError as error:
        return str(error)
    return found.data, found.value_end, cursor.at


def test_a_number_is_stepped_over_at_once_as_it_is_part_by_part() -> None:
    """Every mask and every type that has a number, and some that have none, of every length."""
    kinds = (*range(14), 24, 31, 0x4B, 0x8B)
    masks = (*range(64), 64, 129)
    texts = [
        bytes((mask, kind, *range(1, size)))
        for mask, kind, size in product(masks, kinds, range(1, 38, 3))
    ]
    at_once = [stepped(data) for data in texts]
    with patch.object(opcua_binary, "shape_at", lambda *_: None):
        assert [stepped(data) for data in texts] == at_once


@given(st.binary(max_size=200))
def test_a_cursor_ends_where_its_bytes_do(data: bytes) -> None:
    cursor = Cursor(data)
    try:
        variable = cursor.variable()
    except MalformedError:
        return
    assert cursor.at <= len(data)
    assert variable.data == data[: cursor.at]


def test_elements_of_one_message_are_limited() -> None:
    texts = struct.pack("<i", MAX_ELEMENTS + 1) + b"\xff" * 4 * (MAX_ELEMENTS + 1)

    with pytest.raises(MalformedError, match="more than"):
        Cursor(b"\x01\x8c" + texts).variable()


async def test_a_session_the_server_has_forgotten_is_opened_again_without_a_gap(
    opcua_plant: int,
) -> None:
    async with relayed(opcua_plant) as relay:
        line = Line(relay.url, timeout_s=TIMEOUT_S)
        await line.read(planned(relay.url))
        relay.change = lambda number, message: [
            fault(message, 0x80250000) if number > FIRST_READ else message
        ]
        await line.read(planned(relay.url))
        await line.close()

    assert relay.connections == 2


async def test_a_refusal_is_told_and_the_connection_stays(opcua_plant: int) -> None:
    async with relayed(opcua_plant) as relay:
        relay.change = lambda number, message: [
            fault(message, 0x80100000) if number == FIRST_READ else message
        ]
        line = Line(relay.url, timeout_s=TIMEOUT_S)
        with pytest.raises(DeviceError, match=r"BadTooManyOperations.*split the profile") as caught:
            await line.read(planned(relay.url))
        assert caught.value.code == "status_80100000"
        await line.read(planned(relay.url))
        await line.close()

    assert relay.connections == 1


@pytest.mark.parametrize("what", ["policy", "user"])
async def test_a_server_that_asks_for_security_is_told_with_what_to_do(
    opcua_plant: int, what: str
) -> None:
    def locked(number: int, message: bytes) -> list[bytes]:
        if number != CREATED:
            return [message]
        answer = struct_from_binary(ua.CreateSessionResponse, Buffer(body_of(message)))
        for endpoint in answer.Parameters.ServerEndpoints:
            if what == "policy":
                endpoint.SecurityPolicyUri = "\x1b[2J#Other" * 1000
            for token in endpoint.UserIdentityTokens:
                token.TokenType = ua.UserTokenType.UserName
        return [with_body(message, struct_to_binary(answer))]

    async with relayed(opcua_plant) as relay:
        relay.change = locked
        line = Line(relay.url, timeout_s=TIMEOUT_S)
        with pytest.raises(DeviceError, match="under 'security' of the device") as caught:
            await line.read(planned(relay.url))
        await line.close()

    assert caught.value.code == "security_required"
    assert caught.value.what.isprintable()  # it is shown on terminals
    assert len(caught.value.what) < 400


async def test_an_attempt_that_failed_leaves_no_connection(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    async def connect(host: str, port: int, *, timeout_s: float) -> exchange.Exchange:
        opened.append(await actual(host, port, timeout_s=timeout_s))
        return opened[-1]

    actual = exchange.connect
    monkeypatch.setattr(exchange, "connect", connect)
    relay.change = lambda number, message: [
        fault(message, 0x80550000) if number == CREATED else message
    ]
    with pytest.raises(DeviceError, match=r"BadSecurityPolicyRejected.*Allow it on the server"):
        await opcua.connect(relay.url, timeout_s=TIMEOUT_S)

    assert [found.is_open for found in opened] == [False]


async def test_an_error_message_is_told_by_its_status(opcua_plant: int) -> None:
    said = struct.pack("<Ii", 0x80830000, -1)
    async with relayed(opcua_plant) as relay:
        relay.change = lambda *_: [struct.pack("<4sI", b"ERRF", 8 + len(said)) + said]
        with pytest.raises(DeviceError, match=r"BadTcpEndpointUrlInvalid.*path") as caught:
            await opcua.connect(relay.url, timeout_s=TIMEOUT_S)

    assert caught.value.code == "status_80830000"


async def test_questions_and_answers_of_many_chunks_are_whole(opcua_plant: int) -> None:
    count = 4000
    async with relayed(opcua_plant) as relay:
        driver = await opcua.connect(relay.url, timeout_s=TIMEOUT_S)
        asked, answered = len(relay.asked), len(relay.answered)
        responses = await driver.read(0, [request("temperature", i) for i in range(count)])
        chunks = len(relay.asked) - asked, len(relay.answered) - answered
        await driver.close()

    assert len(responses) == count
    assert len({response.data[:10] for response in responses}) == 1
    assert min(chunks) > 1


async def test_a_channel_that_grows_old_is_renewed(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = Time()
    monkeypatch.setattr(opcua_channel, "monotonic", now_s)
    line = Line(relay.url, timeout_s=TIMEOUT_S, now_s=now_s)
    for _ in range(3600 // int(IDLE_S)):
        await line.read(planned(relay.url))
        now_s.now_s += IDLE_S
    await line.close()

    assert relay.connections == 1
    assert relay.services.count(opcua_channel.OPEN_CHANNEL) == 2


async def test_keys_are_renewed_however_long_the_server_would_keep_them(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every renewal certificates are looked at again; 2^32 - 1 ms are seven weeks."""
    now_s = Time()
    monkeypatch.setattr(opcua_channel, "monotonic", now_s)
    relay.change = lambda number, message: [
        message[:-8] + b"\xff" * 4 + message[-4:] if number == OPENED else message
    ]
    driver = await opcua.connect(relay.url, timeout_s=TIMEOUT_S)
    now_s.now_s += 3000
    await driver.read(0, [request("temperature")])
    await driver.close()

    assert relay.services.count(opcua_channel.OPEN_CHANNEL) == 2


async def test_a_channel_whose_numbers_run_out_is_left_for_another(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weeks of a thousand questions a second: they have 32 bits."""
    line = Line(relay.url, timeout_s=TIMEOUT_S)
    await line.read(planned(relay.url))
    assert line._driver is not None
    monkeypatch.setattr(opcua_session, "_CLOSE_S", 0.05)  # the server finds them wrong
    line._driver._session.channel._last = 0xFFFFFFFF - 2  # type: ignore[attr-defined]
    await line.read(planned(relay.url))
    await line.close()

    assert relay.connections == 2


async def test_a_server_that_renews_nothing_is_left_for_another_connection_without_a_gap(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = Time()
    monkeypatch.setattr(opcua_channel, "monotonic", now_s)
    line = Line(relay.url, timeout_s=TIMEOUT_S)
    await line.read(planned(relay.url))
    relay.change = lambda number, message: [
        fault(message, 0x80530000) if number == FIRST_READ + 1 else message
    ]
    now_s.now_s += 3000
    await line.read(planned(relay.url))
    await line.close()

    assert relay.connections == 2


async def test_only_reading_leaves_the_agent(relay: Relay) -> None:
    """Captured from the socket; the control, one planted write, is seen by the same capture."""
    session = opcua_session
    allowed = {
        opcua_channel.OPEN_CHANNEL,
        session.CREATE,
        session.ACTIVATE,
        session.READ,
        session.CLOSE,
    }
    line = Line(relay.url, timeout_s=TIMEOUT_S)
    for _ in range(3):
        await line.read(planned(relay.url))
    await line.close()

    assert set(relay.services) == allowed
    assert relay.services[-1] == opcua_session.CLOSE  # a server's sessions are few
    relay.asked.clear()
    async with Client(relay.url, timeout=TIMEOUT_S) as client:
        node = client.get_node(f"ns={await client.get_namespace_index(URI)};s=temperature")
        with pytest.raises(ua.UaStatusCodeError):
            await node.write_value(1.0)
    assert set(relay.services) - allowed == {ua.ObjectIds.WriteRequest_Encoding_DefaultBinary}


async def test_a_server_that_does_not_answer_a_goodbye_is_left_all_the_same(
    opcua_plant: int,
) -> None:
    async with relayed(opcua_plant) as relay:
        driver = await opcua.connect(relay.url, timeout_s=0.05)
        relay.change = lambda *_: None
        await driver.close()

    assert not driver.is_open


async def test_a_read_that_is_cancelled_ends_the_connection(opcua_plant: int) -> None:
    async with relayed(opcua_plant) as relay:
        driver = await opcua.connect(relay.url, timeout_s=TIMEOUT_S)
        relay.change = lambda *_: None
        reading = asyncio.create_task(driver.read(0, [request("temperature")]))
        await turns()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert not driver.is_open
        await driver.close()


async def test_what_is_no_opc_ua_server_is_told() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await reader.read()

    async with serving(serve) as port:
        with pytest.raises(DeviceError, match="no OPC UA server") as caught:
            await opcua.connect(f"opc.tcp://127.0.0.1:{port}", timeout_s=TIMEOUT_S)

    assert caught.value.code == "bad_reply"


def test_the_numbers_are_those_of_the_specification() -> None:
    for name, number in (
        ("OpenSecureChannel", opcua_channel.OPEN_CHANNEL),
        ("CreateSession", opcua_session.CREATE),
        ("ActivateSession", opcua_session.ACTIVATE),
        ("CloseSession", opcua_session.CLOSE),
        ("Read", opcua_session.READ),
    ):
        ids = ua.ObjectIds
        assert number == getattr(ids, f"{name}Request_Encoding_DefaultBinary")
        assert number + 3 == getattr(ids, f"{name}Response_Encoding_DefaultBinary")
    assert ua.ObjectIds.AnonymousIdentityToken_Encoding_DefaultBinary == opcua_session.TOKENS[0]
    for status, (name, _) in opcua_channel._STATUSES.items():
        assert ua.StatusCode(status).name == name
    for status in opcua_channel._GONE:
        assert any(word in ua.StatusCode(status).name for word in ("Session", "SecureChannel"))


@pytest.mark.parametrize(
    ("identifier", "node"),
    [
        ("i=4294967295", ua.NodeId(2**32 - 1, 7)),
        ("s=a;b=c", ua.NodeId("a;b=c", 7)),
        ("g=09087e75-8e5e-499b-954f-f2a9603db28a", ua.NodeId.from_string(
            "ns=7;g=09087e75-8e5e-499b-954f-f2a9603db28a")),
        ("b=AQID", ua.NodeId(b"\x01\x02\x03", 7, ua.NodeIdType.ByteString)),
    ],
)  # fmt: skip
def test_a_node_id_has_the_bytes_a_foreign_encoder_gives_it(
    identifier: str, node: ua.NodeId
) -> None:
    from asyncua.ua.ua_binary import nodeid_from_binary  # noqa: PLC0415

    from joulemark_agent.opcua_binary import node_id  # noqa: PLC0415

    assert nodeid_from_binary(Buffer(node_id(7, identifier))) == node
