"""What a subscription brings is whole and in order, and an old value is never passed off as new."""

import asyncio
import struct
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent import opcua_subscription
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import Golden, NodePoint, Profile
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers.base import MAX_VALUES, Request, Subscribe
from joulemark_agent.kernels.datavalue import DataValue, encode, parse
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.lines import Line, Lines
from joulemark_agent.opcua_binary import Cursor, MalformedError
from joulemark_agent.opcua_subscription import MAX_MISSED, Message, message_of, published
from joulemark_agent.plan import PlannedDevice
from support.opcua import (
    BAD_SENSOR,
    FIRST_READ,
    TICKING,
    UNCERTAIN,
    URI,
    Relay,
    body_of,
    fault,
    relayed,
    with_body,
)

TIMEOUT_S = 2.0
SUBSCRIBE = Subscribe(sampling_ms=100, queue=100)
FIRST_PUBLISH = FIRST_READ + 2  # after the subscription and its variables
NAMES = ("temperature", "uncertain", "bad", "array", "no such variable", "gas")


def asked(*names: str, subscribe: Subscribe | None = SUBSCRIBE) -> tuple[Request, ...]:
    return tuple(
        Request("node", i, 1, f"nsu={URI};s={name}", subscribe) for i, name in enumerate(names)
    )


def planned(url: str, *names: str, device: str = "furnace") -> PlannedDevice:
    return PlannedDevice(device, url, 0, 1_000_000, asked(*names), TIMEOUT_S)


@pytest_asyncio.fixture
async def relay(opcua_plant: int) -> AsyncIterator[Relay]:
    """A relay before the furnace."""
    async with relayed(opcua_plant) as running:
        yield running


@pytest_asyncio.fixture
async def line(relay: Relay) -> AsyncIterator[Line]:
    """A line to it that never rests: the test has no time."""
    opened = Line(relay.url, timeout_s=TIMEOUT_S, now_s=lambda: 0.0)
    yield opened
    await opened.close()


def counts(responses: tuple[Response, ...]) -> list[int]:
    found = [parse(response.data) for response in responses]
    return [int.from_bytes(value.raw, "big") for value in found if value]


async def test_all_that_changed_between_two_slots_is_in_the_reading_in_order(
    relay: Relay, line: Line
) -> None:
    device = planned(relay.url, TICKING)
    readings = []
    for _ in range(4):
        readings.append(await line.read(device))
        await asyncio.sleep(0.15)
    seen = [count for reading in readings for count in counts(reading)]
    polled = replace(device, requests=asked(TICKING, subscribe=None))
    [one] = await line.read(polled)

    assert all(len(reading) >= 3 for reading in readings[1:])
    assert seen == list(range(seen[0], seen[0] + len(seen)))
    assert counts((one,))[0] > seen[-1]  # the control: polled, the values in between are not there
    point = NodePoint(name="ticks_count", node=f"nsu={URI};s={TICKING}", type="uint64")
    profile = Profile(
        model="any", kind="furnace", protocol="opcua", source="made up by a test",
        confidence="bench", points=(point,),
        golden=(Golden(point="ticks_count", data="01090100000000000000", value="1"),),
    )  # fmt: skip
    assert decode_responses(profile, readings[2]) == (
        {"ticks_count": str(counts(readings[2])[-1])},
        {},
    )


async def test_what_has_not_changed_is_there_again_and_a_missing_variable_is_bad_alone(
    relay: Relay, line: Line
) -> None:
    device = planned(relay.url, *NAMES)
    first = await line.read(device)
    second = await line.read(device)

    assert first == second
    assert [response.address for response in first] == list(range(len(NAMES)))
    statuses = [found.status for response in first if (found := parse(response.data))]
    assert statuses == [0, UNCERTAIN, BAD_SENSOR, 0, ua.StatusCodes.BadNodeIdUnknown, 0]
    assert relay.services.count(opcua_subscription.PUBLISH) == 2


async def test_a_variable_that_comes_back_is_found_again(
    relay: Relay, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opcua_subscription, "RETRY_S", 0.0)

    def missing(number: int, message: bytes) -> list[bytes]:
        if number != FIRST_READ + 1:
            return [message]
        answer = struct_from_binary(ua.CreateMonitoredItemsResponse, Buffer(body_of(message)))
        answer.Results[1].StatusCode = ua.StatusCode(ua.StatusCodes.BadNodeIdUnknown)
        return [with_body(message, struct_to_binary(answer))]

    relay.change = missing
    device = planned(relay.url, "temperature", "gas")
    await line.read(device)
    relay.change = lambda _, message: [message]
    _, gas = await line.read(device)

    assert counts((gas,)) == [2**64 - 1]
    assert relay.services.count(opcua_subscription.CREATE_ITEMS) == 2


async def test_a_silent_server_gives_a_gap_and_no_old_value(relay: Relay, line: Line) -> None:
    device = replace(planned(relay.url, "temperature"), timeout_s=0.3)
    await line.read(device)
    relay.change = lambda _, __: None
    with pytest.raises(DeviceError) as caught:
        await line.read(device)
    assert caught.value.code == "timeout"
    relay.change = lambda _, message: [message]
    [value] = await line.read(device)

    assert parse(value.data) is not None
    assert relay.connections == 2


@pytest.mark.parametrize("when", ["between two slots", "at a slot"])
async def test_a_subscription_that_ended_with_its_connection_costs_one_slot_and_says_so(
    opcua_plant: int, when: str
) -> None:
    async with relayed(opcua_plant) as relay:
        line = Line(relay.url, timeout_s=TIMEOUT_S)
        device, other = planned(relay.url, "temperature"), planned(relay.url, "gas", device="other")
        polled = replace(device, id="polled", requests=asked("temperature", subscribe=None))
        for each in (device, other, polled):
            await line.read(each)
        if when == "at a slot":
            relay.change = lambda _, message: [] if relay.connections == 1 else [message]
        else:
            assert line._driver is not None
            await line._driver._session.channel.close()  # type: ignore[attr-defined]
            await line.read(polled)  # has lost nothing
        for each in (other, device):
            with pytest.raises(DeviceError) as caught:
                await line.read(each)
            assert caught.value.code == "subscription_lost"
        for each in (device, other, polled):
            await line.read(each)
        await line.close()

    assert relay.connections == 2


async def test_a_subscription_that_ended_with_its_line_costs_one_slot_and_says_so(
    relay: Relay,
) -> None:
    """As when the site file was read again, with another device on the same server."""
    device = planned(relay.url, "temperature")
    polled = replace(device, id="polled", requests=asked("temperature", subscribe=None))
    before = Lines([device, polled])
    for each in (device, polled):
        await before.of(each).read(each)
    await before.close()
    after = Lines([device, polled], lost=before.untold)
    await after.of(polled).read(polled)
    with pytest.raises(DeviceError) as caught:
        await after.of(device).read(device)
    assert caught.value.code == "subscription_lost"
    await after.of(device).read(device)
    await after.close()


async def test_a_line_that_waits_for_nobody_long_waits_for_a_proof_of_life(
    relay: Relay, line: Line
) -> None:
    """A shared line soon asks for answers within a quarter of a second."""
    device = planned(relay.url, "temperature")
    request = replace(device.requests[0], subscribe=Subscribe(sampling_ms=600, queue=5))
    slow = replace(device, requests=(request,), timeout_s=0.25)
    for _ in range(2):
        [value] = await line.read(slow)
        assert counts((value,))


def change_at(
    first: int, change: Callable[[bytes], bytes | list[bytes]]
) -> Callable[[int, bytes], list[bytes]]:
    """Change one message of the first connection only."""
    done = False

    def changed(number: int, message: bytes) -> list[bytes]:
        nonlocal done
        if number != first or done:
            return [message]
        done = True
        found = change(message)
        return found if isinstance(found, list) else [found]

    return changed


def publishing(message: bytes, **fields: object) -> bytes:
    """The Publish answer with other fields."""
    answer = struct_from_binary(ua.PublishResponse, Buffer(body_of(message)))
    for name, value in fields.items():
        place = answer.Parameters if hasattr(answer.Parameters, name) else None
        setattr(place or answer.Parameters.NotificationMessage, name, value)
    return with_body(message, struct_to_binary(answer))


async def test_a_message_that_is_missing_is_asked_for_again(relay: Relay, line: Line) -> None:
    """The relay makes a keep-alive of it, so the next one has a number too many."""
    device = planned(relay.url, TICKING)
    relay.change = change_at(FIRST_PUBLISH + 1, lambda m: publishing(m, NotificationData=[]))
    seen = []
    for _ in range(4):
        seen += counts(await line.read(device))
        await asyncio.sleep(0.15)

    assert relay.services.count(opcua_subscription.REPUBLISH) == 1
    assert sorted(set(seen)) == list(range(seen[0], seen[-1] + 1))
    assert sorted(seen) == seen  # the slot of the keep-alive has the last value again


async def test_another_message_in_place_of_the_missing_one_ends_the_subscription(
    relay: Relay, line: Line
) -> None:
    def other(message: bytes) -> bytes:
        answer = struct_from_binary(ua.RepublishResponse, Buffer(body_of(message)))
        answer.NotificationMessage.SequenceNumber += 1
        return with_body(message, struct_to_binary(answer))

    device = planned(relay.url, TICKING)
    relay.change = lambda number, message: [
        other(message) if relay.services[-1:] == [opcua_subscription.REPUBLISH]
        else publishing(message, NotificationData=[]) if number == FIRST_PUBLISH + 1
        else message
    ]  # fmt: skip
    await line.read(device)
    codes = []
    for _ in range(3):
        await asyncio.sleep(0.15)
        try:
            await line.read(device)
        except DeviceError as error:
            codes.append(error.code)
    assert codes[:1] == ["subscription_lost"]


WRONG: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "another subscription": ("bad_reply", lambda m: publishing(m, SubscriptionId=1)),
    "a message the server no longer has": (
        "subscription_lost", lambda m: publishing(m, SequenceNumber=4),
    ),
    "a message of long ago": ("subscription_lost", lambda m: publishing(m, SequenceNumber=2**31)),
    "many messages at once": (
        "subscription_lost", lambda m: publishing(m, SequenceNumber=MAX_MISSED + 2),
    ),
    "the end of it": (
        "subscription_lost",
        lambda m: publishing(m, NotificationData=[
            ua.StatusChangeNotification(Status=ua.StatusCode(ua.StatusCodes.BadTimeout))
        ]),
    ),
    "a variable nobody asked for": (
        "subscription_lost",
        lambda m: publishing(m, NotificationData=[changes((7, b"\x01\x01\x01"))]),
    ),
    "too many values": (
        "bad_reply",
        lambda m: publishing(m, NotificationData=[changes(*[(0, b"\x00")] * (MAX_VALUES + 1))]),
    ),
    "no such subscription": (
        "status_80280000", lambda m: fault(m, ua.StatusCodes.BadSubscriptionIdInvalid),
    ),
    "2^31 - 1 changes": ("bad_reply", lambda m: publishing(m, NotificationData=[
        ua.ExtensionObject(ua.NodeId(opcua_subscription.DATA_CHANGE), b"\xff\xff\xff\x7f")
    ])),
    "what is no change of data": ("bad_reply", lambda m: publishing(m, NotificationData=[
        ua.ExtensionObject(ua.NodeId(916), b"\0\0\0\0")
    ])),
    "more than its values": ("bad_reply", lambda m: publishing(m, NotificationData=[
        ua.ExtensionObject(ua.NodeId(opcua_subscription.DATA_CHANGE), bytes(9))
    ])),
    "cut short": ("bad_reply", lambda m: with_body(m, body_of(m)[:-9])),
    "values in values": (
        "bad_reply",
        lambda m: publishing(m, NotificationData=[changes((0, b"\x01" + b"\x18" * 10 + b"\1\1"))]),
    ),
}  # fmt: skip


def changes(*found: tuple[int, bytes]) -> ua.ExtensionObject:
    """A DataChangeNotification of DataValues in their bytes."""
    body = struct.pack("<i", len(found)) + b"".join(struct.pack("<I", n) + d for n, d in found)
    return ua.ExtensionObject(ua.NodeId(opcua_subscription.DATA_CHANGE), body + b"\xff" * 4)


async def test_a_wrong_message_is_named_and_the_slot_after_it_is_read(opcua_plant: int) -> None:
    for name, (code, change) in WRONG.items():
        async with relayed(opcua_plant) as relay:
            line = Line(relay.url, timeout_s=TIMEOUT_S)
            device = planned(relay.url, "temperature", "gas")
            await line.read(device)
            relay.change = change_at(FIRST_PUBLISH + 1, change)
            with pytest.raises(DeviceError) as caught:
                await line.read(device)
            assert caught.value.code == code, name
            temperature, _ = await line.read(device)
            found = parse(temperature.data)
            assert found is not None, name
            assert found.raw == struct.pack(">d", 1273.15), name
            await line.close()


ODD = (
    b"\x01\x80\0\0\0\x08",  # an array of 2^27 nothings
    b"\x01\x80\xff\xff\xff\x7f",  # and of 2^31 - 1
    b"\x01" + b"\x18" * 7 + b"\x01\x01",  # a value in values
    b"\x01\x8c\x02\0\0\0\x01\0\0\0a\x01\0\0\0b",  # texts
)


async def test_what_is_no_number_costs_only_itself(relay: Relay, line: Line) -> None:
    device = planned(relay.url, "temperature", "gas")
    await line.read(device)
    odd = [(0, data) for data in ODD] * (MAX_VALUES // len(ODD) // 2)
    overflow = encode(DataValue("float64", bytes(8), status=0x480))
    relay.change = change_at(
        FIRST_PUBLISH + 1,
        lambda m: publishing(m, NotificationData=[changes(*odd, (1, overflow))], SequenceNumber=2),
    )
    tracemalloc.start()
    responses = await line.read(device)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [response.data for response in responses] == [b"\0"] * len(odd) + [overflow]
    assert peak < 2 << 20


async def test_a_server_that_is_seldom_heard_of_is_told_to_be_polled(
    relay: Relay, line: Line
) -> None:
    def seldom(message: bytes) -> bytes:
        answer = struct_from_binary(ua.CreateSubscriptionResponse, Buffer(body_of(message)))
        answer.Parameters.RevisedMaxKeepAliveCount = 100
        return with_body(message, struct_to_binary(answer))

    relay.change = change_at(FIRST_READ, seldom)
    with pytest.raises(DeviceError, match=r"only every 10 s.*polled") as caught:
        await line.read(planned(relay.url, "temperature"))
    assert caught.value.code == "keep_alive"


async def test_more_values_than_a_reading_holds_are_a_gap_of_that_device_alone(
    relay: Relay, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is read often and one seldom: what comes for both comes in the same messages."""
    monkeypatch.setattr(opcua_subscription, "MAX_VALUES", 14)
    often, seldom = planned(relay.url, TICKING), planned(relay.url, "gas", TICKING, device="other")
    seen = counts(await line.read(often))
    await line.read(seldom)
    first = seen[-1]
    while seen[-1] <= first + 2 * 14:  # subscribing takes some time
        await asyncio.sleep(0.11)
        seen += counts(await line.read(often))
    with pytest.raises(DeviceError, match="Raise 'sampling_ms'") as caught:
        await line.read(seldom)
    assert caught.value.code == "too_much"
    seen += counts(await line.read(often))
    gas, *ticks = await line.read(seldom)

    assert sorted(set(seen)) == list(range(seen[0], seen[-1] + 1))
    assert counts((gas,)) == [2**64 - 1]
    assert counts(tuple(ticks))[-1] >= seen[-1]
    assert relay.connections == 1


async def test_a_variable_that_is_watched_anew_is_watched_once(
    relay: Relay, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server says that it has it no more, and goes on."""
    monkeypatch.setattr(opcua_subscription, "RETRY_S", 0.0)
    unknown = encode(DataValue(None, b"", ua.StatusCodes.BadNodeIdUnknown))
    relay.change = change_at(
        FIRST_PUBLISH + 1,
        lambda m: publishing(m, NotificationData=[changes((0, unknown))], SequenceNumber=2),
    )
    device = planned(relay.url, TICKING)
    await line.read(device)
    await asyncio.sleep(0.15)
    [gone] = await line.read(device)
    seen = []
    for _ in range(3):
        await asyncio.sleep(0.15)
        seen += counts(await line.read(device))

    assert gone.data == unknown
    assert sorted(set(seen)) == list(range(seen[0], seen[-1] + 1))
    assert len(seen) - len(set(seen)) <= 1  # the first value of the second watch
    assert relay.services.count(opcua_subscription.CREATE_ITEMS) == 2
    assert relay.services.count(opcua_subscription.DELETE_ITEMS) == 1


@given(st.binary(max_size=120))
def test_no_bytes_of_a_message_raise_anything_else(data: bytes) -> None:
    for parse_it in (message_of, lambda cursor: published(7, cursor)):
        try:
            parse_it(Cursor(data))
        except MalformedError:
            continue


@given(
    number=st.integers(1, 2**32 - 1),
    values=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.floats(allow_nan=False)), max_size=20),
    is_more=st.booleans(),
)
def test_a_message_is_read_as_a_foreign_encoder_wrote_it(
    number: int, values: list[tuple[int, float]], is_more: bool
) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    items = [
        ua.MonitoredItemNotification(
            ua.UInt32(handle),
            ua.DataValue(ua.Variant(value, ua.VariantType.Double)),
        )
        for handle, value in values
    ]
    result = ua.PublishResult(
        SubscriptionId=ua.UInt32(7), AvailableSequenceNumbers=[ua.UInt32(number)],
        MoreNotifications=is_more,
        NotificationMessage=ua.NotificationMessage(
            ua.UInt32(number), at, [ua.DataChangeNotification(items)] if items else []
        ),
    )  # fmt: skip
    found = published(7, Cursor(struct_to_binary(result)))

    assert found[0] is is_more
    assert found[1] == Message(number, found[1].changes, None, not items)
    assert [
        (handle, struct.unpack("<d", variable.data[2:10])[0])
        for handle, variable in found[1].changes
    ] == values


async def test_only_reading_leaves_the_agent(relay: Relay, line: Line) -> None:
    device = planned(relay.url, "temperature")
    for _ in range(2):
        await line.read(device)

    ids = ua.ObjectIds
    allowed = {
        getattr(ids, f"{name}Request_Encoding_DefaultBinary")
        for name in (
            "OpenSecureChannel", "CreateSession", "ActivateSession", "CloseSession", "Read",
            "CreateSubscription", "CreateMonitoredItems", "DeleteMonitoredItems", "Publish",
            "Republish",
        )
    }  # fmt: skip
    assert set(relay.services) < allowed
    numbers = opcua_subscription
    assert [
        ids.CreateSubscriptionRequest_Encoding_DefaultBinary,
        ids.CreateMonitoredItemsRequest_Encoding_DefaultBinary,
        ids.DeleteMonitoredItemsRequest_Encoding_DefaultBinary,
        ids.PublishRequest_Encoding_DefaultBinary,
        ids.RepublishRequest_Encoding_DefaultBinary,
        ids.DataChangeNotification_Encoding_DefaultBinary,
        ids.StatusChangeNotification_Encoding_DefaultBinary,
    ] == [
        numbers.CREATE_SUBSCRIPTION, numbers.CREATE_ITEMS, numbers.DELETE_ITEMS,
        numbers.PUBLISH, numbers.REPUBLISH, numbers.DATA_CHANGE, numbers.STATUS_CHANGE,
    ]  # fmt: skip
