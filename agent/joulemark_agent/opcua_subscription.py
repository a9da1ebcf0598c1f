"""A subscription on an OPC UA session, asked for what it has when a slot comes.

A server keeps what changes in a queue for each variable until it is asked by Publish. It is asked
at the slot and answers at once, since the subscription's keep-alive is due at every publishing
interval: with values, or with a keep-alive that proves that nothing has changed. So there is one
question and one answer here too, no task, and nothing arrives that was not asked for.

A value is taken again only while the subscription is proven alive. Messages are numbered; one that
is missing is asked for again, and if the server no longer has it the subscription is given up.
Source: OPC UA specification (1.05), part 4, sections 5.13 (MonitoredItem) and 5.14 (Subscription).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import NODE
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers.base import MAX_VALUES, Request, Subscribe
from joulemark_agent.holes import LOST
from joulemark_agent.kernels import datavalue
from joulemark_agent.opcua_binary import NULL, Cursor, MalformedError, Variable
from joulemark_agent.opcua_channel import standard_id
from joulemark_agent.opcua_session import BOTH_TIMES, VALUE, Session, nothing

TOO_MUCH = "too_much"  # gap: more values than a reading may hold
KEEP_ALIVE = "keep_alive"  # gap: the server proves it is alive too seldom
MAX_MISSED = 10  # messages that are asked for again
RETRY_S = 4.0  # between attempts to find a variable the server did not have

# Numbers of the messages' binary encodings: part 6, annex A (NodeIds.csv).
CREATE_ITEMS, DELETE_ITEMS, CREATE_SUBSCRIPTION, PUBLISH, REPUBLISH = 751, 781, 787, 826, 832
DATA_CHANGE, STATUS_CHANGE = 811, 820
NOT_KNOWN = (0x80330000, 0x80340000)  # BadNodeIdInvalid, BadNodeIdUnknown
_REPORTING = 2
_NO_FILTER = b"\0\0\0"
_LEAST_PUBLISHING_MS = 100.0
_LIFETIME_MS = 120_000.0  # how long the server keeps a subscription that nobody asks
_LAST_NUMBER = 0xFFFFFFFF

_CREATED = struct.Struct("<IdII")  # id, publishing interval, lifetime and keep-alive counts
_MADE = struct.Struct("<IIdI")  # status, number, sampling interval, size of the queue


@dataclass(frozen=True)
class Message:
    """One notification message; without changes it is a keep-alive."""

    number: int  # of a keep-alive: that of the message which will follow
    changes: tuple[tuple[int, Variable], ...] = ()  # by the number we gave the variable, in order
    ended: int | None = None  # the status with which the server ended the subscription
    is_keep_alive: bool = True


@dataclass
class _Item:
    """A variable that is followed."""

    request: Request
    latest: bytes | None = None  # its last DataValue; None: none has come yet
    arrived: list[bytes] = field(default_factory=list)  # since the last slot
    is_known: bool = False  # whether the server has the variable
    number: int | None = None  # by which the server calls it; None: it watches no such variable

    def take(self, data: bytes) -> None:
        """A DataValue has come."""
        self.latest = data
        self.arrived.append(data)
        self.is_known = datavalue.status_of(data) not in NOT_KNOWN


@dataclass
class _Device:
    """What one device asked for."""

    items: list[_Item]
    heard: int = 0  # messages of the subscription when it was last collected
    is_too_much: bool = False  # more came than a reading holds, and was dropped

    def check(self) -> None:
        """Drop what is more than a reading holds; where none came, one is there again."""
        if sum(max(1, len(item.arrived)) for item in self.items) > MAX_VALUES:
            self.is_too_much = True
            for item in self.items:
                item.arrived.clear()


class Subscription:
    """One subscription; devices on the same server share it."""

    def __init__(self, session: Session, *, timeout_s: float) -> None:
        """Nothing is said yet.

        Args:
            session: where it lives; a subscription that fails is to be closed with its session.
            timeout_s: for each answer. [s]
        """
        self._session, self._timeout_s = session, timeout_s
        self._id = 0
        self._keep_alive_s = 0.0
        self._alive_until_s = 0.0  # monotonic
        self._next = 1  # number of the message that comes next
        self._received: list[int] = []  # numbers to acknowledge
        self._items: list[_Item] = []  # the place of each is its number
        self._devices: dict[tuple[Request, ...], _Device] = {}
        self._heard = 0  # messages
        self._retry_s = 0.0  # monotonic

    async def open(self, subscribe: Subscribe) -> None:
        """Have the server make it.

        Raises:
            DeviceError: as `Channel.ask`, or `keep_alive`.
        """
        publishing_ms = min(max(_LEAST_PUBLISHING_MS, subscribe.sampling_ms), self._timeout_s * 500)
        lifetime = math.ceil(_LIFETIME_MS / publishing_ms)
        want = struct.pack("<dIII?B", publishing_ms, lifetime, 1, MAX_VALUES, True, 0)
        self._id, self._keep_alive_s = await self._session.channel.ask(
            CREATE_SUBSCRIPTION, want, _created, self._timeout_s
        )
        if not 0.0 < self._keep_alive_s <= self._timeout_s:
            raise DeviceError(
                f"{self._session.channel.url} says only every {self._keep_alive_s:g} s that a"
                " subscription is alive.",
                "Raise 'timeout_s' to that, or remove 'subscribe': then the device is polled.",
                code=KEEP_ALIVE,
            )

    async def collect(
        self, requests: tuple[Request, ...], timeout_s: float
    ) -> tuple[Response, ...]:
        """Every DataValue that came for each variable since it was last collected, in order.

        Where none came it is the last one again; one that never came is left out.

        Args:
            requests: of one device.
            timeout_s: for all of it, or longer where the server needs it to prove that it is alive.
                [s]

        Raises:
            DeviceError: the subscription is not proven alive, or values of it are lost; after
                `too_much` it goes on.
        """
        patience_s = min(2.0 * self._keep_alive_s, self._timeout_s)
        until_s = monotonic() + max(timeout_s, patience_s)
        device = self._devices.get(requests) or await self._follow(requests)
        await self._find(device.items)
        # What came while another device was collected is as good as what comes now.
        is_more = self._heard == device.heard or monotonic() >= self._alive_until_s
        while is_more and (left_s := until_s - monotonic()) > 0:
            is_more = await self._publish(left_s, device.items)
        if monotonic() >= self._alive_until_s:
            raise self._lost("was not heard of in time")
        device.heard = self._heard
        if device.is_too_much:
            device.is_too_much = False
            raise DeviceError(
                f"{self._session.channel.url} sent more than {MAX_VALUES} values for one slot.",
                "Raise 'sampling_ms' or lower 'queue' under 'subscribe', or 'period_s'.",
                code=TOO_MUCH,
            )
        return tuple(response for item in device.items for response in _responses(item))

    async def _follow(self, requests: tuple[Request, ...]) -> _Device:
        first = len(self._items)
        device = _Device([_Item(request) for request in requests], self._heard)
        self._items += device.items
        await self._create_items(range(first, len(self._items)))
        self._devices[requests] = device
        return device

    async def _find(self, items: Sequence[_Item]) -> None:
        """Ask again for variables that the server did not have, from time to time."""
        if all(item.is_known for item in items) or monotonic() < self._retry_s:
            return
        missing = [i for i, item in enumerate(self._items) if not item.is_known]
        await self._create_items(missing)

    async def _create_items(self, numbers: Sequence[int]) -> None:
        self._retry_s = monotonic() + RETRY_S
        await self._delete_items([item for i in numbers if (item := self._items[i]).number])
        want = struct.pack("<Iii", self._id, BOTH_TIMES, len(numbers)) + b"".join(
            _wanted(self._session, self._items[i].request, i) for i in numbers
        )
        found = await self._session.channel.ask(
            CREATE_ITEMS, want, partial(_made, len(numbers)), self._timeout_s
        )
        for i, (status, number) in zip(numbers, found, strict=True):
            item = self._items[i]
            item.is_known = not datavalue.is_bad(status)
            item.number = number if item.is_known else None
            if not item.is_known:  # as a Read would have answered
                item.latest = datavalue.encode(datavalue.DataValue(None, b"", status))

    async def _delete_items(self, items: Sequence[_Item]) -> None:
        """Have the server watch them no more, or each value would come twice."""
        if not items:
            return
        want = struct.pack("<Ii", self._id, len(items))
        want += b"".join(struct.pack("<I", item.number) for item in items)
        await self._session.channel.ask(DELETE_ITEMS, want, nothing, self._timeout_s)

    async def _publish(self, timeout_s: float, items: Sequence[_Item]) -> bool:
        """Take one message; whether to ask for another at once."""
        acknowledged, self._received = self._received, []
        want = struct.pack("<i", len(acknowledged)) + b"".join(
            struct.pack("<II", self._id, number) for number in acknowledged
        )
        channel = self._session.channel
        is_more, message = await channel.ask(PUBLISH, want, partial(published, self._id), timeout_s)
        await self._take(message)
        self._heard += 1
        self._alive_until_s = monotonic() + self._keep_alive_s
        return is_more or (not message.is_keep_alive and any(item.latest is None for item in items))

    async def _take(self, message: Message) -> None:
        """Take a message, after those before it that did not come."""
        missed = (message.number - self._next) % _LAST_NUMBER
        if missed > MAX_MISSED:
            raise self._lost(f"sent message {message.number} where {self._next} was due")
        for _ in range(missed):
            want = struct.pack("<II", self._id, self._next)
            again = await self._session.channel.ask(REPUBLISH, want, message_of, self._timeout_s)
            if again.number != self._next or again.is_keep_alive:
                raise self._lost(f"no longer has message {self._next}")
            self._keep(again)
        if not message.is_keep_alive:
            self._keep(message)

    def _keep(self, message: Message) -> None:
        if message.ended is not None:
            raise self._lost(f"was ended with status 0x{message.ended:08X}")
        self._received.append(message.number)
        self._next = message.number % _LAST_NUMBER + 1
        for number, variable in message.changes:
            if number >= len(self._items):
                raise self._lost(f"sent a value of variable {number}, which is none")
            self._items[number].take(numeric(variable))
        for device in self._devices.values():
            device.check()

    def _lost(self, what: str) -> DeviceError:
        return DeviceError(
            f"The subscription at {self._session.channel.url} {what}.",
            "It is made again; this slot is a gap, since values before it may be missing.",
            code=LOST,
        )


def numeric(variable: Variable) -> bytes:
    """The DataValue as it was received, without its value where that is no number."""
    return variable.data if variable.is_number else variable.without_value


def _responses(item: _Item) -> list[Response]:
    found, item.arrived = item.arrived, []
    if not found and item.latest is not None:
        found = [item.latest]
    address = item.request.address
    return [Response(NODE, address, data) for data in found]


def _wanted(session: Session, request: Request, number: int) -> bytes:
    """A MonitoredItemCreateRequest."""
    assert request.subscribe is not None
    value = struct.pack("<I", VALUE) + NULL + b"\0\0" + NULL
    how = struct.pack("<iId", _REPORTING, number, request.subscribe.sampling_ms) + _NO_FILTER
    queue = struct.pack("<I?", request.subscribe.queue, True)  # full, it drops the oldest
    return session.node_id(request.node) + value + how + queue


def _created(cursor: Cursor) -> tuple[int, float]:
    """Id of the subscription, and how often it proves to be alive. [s]"""
    number, publishing_ms, _, keep_alives = _CREATED.unpack(cursor.take(_CREATED.size))
    return number, publishing_ms * keep_alives / 1000


def _made(wanted: int, cursor: Cursor) -> list[tuple[int, int]]:
    """StatusCode and number of each item of a CreateMonitoredItems."""
    found = []
    for _ in cursor.elements():
        status, number, _, _ = _MADE.unpack(cursor.take(_MADE.size))
        found.append((status, number))
        cursor.skip_extension()
    if len(found) != wanted:
        raise MalformedError(f"{len(found)} items where {wanted} were due")
    for _ in cursor.elements():
        cursor.skip_diagnostic()
    return found


def published(subscription: int, cursor: Cursor) -> tuple[bool, Message]:
    """Whether more waits to be published, and the message."""
    if (found := cursor.u32()) != subscription:
        raise MalformedError(f"subscription {found} where {subscription} was due")
    cursor.take(4 * cursor.count())  # numbers that can be asked for again
    is_more, message = bool(cursor.u8()), message_of(cursor)
    cursor.take(4 * cursor.count())  # whether our acknowledgements were welcome
    for _ in cursor.elements():
        cursor.skip_diagnostic()
    return is_more, message


def message_of(cursor: Cursor) -> Message:
    """The next NotificationMessage; one with anything that was not asked for is refused."""
    number = cursor.u32()
    cursor.take(8)  # its time
    changes: list[tuple[int, Variable]] = []
    ended, is_keep_alive = None, True
    for _ in cursor.elements():
        is_keep_alive = False
        kind, body = standard_id(cursor.node_id()), cursor.blob() if cursor.u8() else None
        if kind == DATA_CHANGE and body is not None:
            changes += _changes(Cursor(body))
        elif kind == STATUS_CHANGE and body is not None:
            ended = Cursor(body).u32()
        else:
            raise MalformedError(f"a notification of kind {kind}")
        if len(changes) > MAX_VALUES:
            raise MalformedError(f"more than {MAX_VALUES} values in one message")
    return Message(number, tuple(changes), ended, is_keep_alive)


def _changes(cursor: Cursor) -> list[tuple[int, Variable]]:
    """What a DataChangeNotification holds."""
    count = cursor.count()
    if count > MAX_VALUES:
        raise MalformedError(f"{count} values in one message; {MAX_VALUES} are the most")
    found = [(cursor.u32(), cursor.variable()) for _ in range(count)]
    for _ in cursor.elements():
        cursor.skip_diagnostic()
    if left := len(cursor.rest()):
        raise MalformedError(f"{left} bytes after the values of a message")
    return found
