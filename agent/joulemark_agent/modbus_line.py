"""Modbus without transaction numbers, reading only: RTU and ASCII frames, by wire or over TCP.

An answer shows unit, function and byte count, but not which question it is for. So a question that
got no answer is remembered for as long as its answer may still come, over all connections to the
same place, and a unit is then asked first for something no such answer can look like: fewer words,
or a word of another table. A unit answers in turn; when it has answered that, it owes nothing more,
and only then is it asked for values again. Late answers that come meanwhile are known by their
frames and skipped; every other byte that was not asked for refuses the answer it came with.
Source: MODBUS over serial line 1.02, sections 2.2 to 2.5; application protocol 1.1b3, section 7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

from joulemark_agent import exchange, identification, serial_port
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers.base import Request
from joulemark_agent.drivers.modbus import (
    BUSY,
    BUSY_PAUSE_S,
    DEFAULT_PORT,
    FUNCTIONS,
    bit_words,
    exception_error,
)
from joulemark_agent.exchange import BAD_REPLY, TIMEOUT, Exchange
from joulemark_agent.serial_port import SerialExchange

NO_UNIT = "no_unit"
BROADCAST = 0  # a unit number that every device hears and none answers
PATIENCE_S = 10.0  # after its time-out an answer may still come for so long
MAX_BYTES = 8192  # of an answer with all late ones before it
_GATEWAY = 10  # exceptions from this number on are a gateway's: the device may still answer


@dataclass(frozen=True)
class Frame:
    """How an answer begins, and how long it is without its check bytes."""

    head: bytes
    size: int

    def length(self, received: bytes) -> int | None:
        """Of the answer that begins so, without its check bytes; None: not to be seen yet."""
        del received
        return self.size


@dataclass(frozen=True)
class GrowingFrame(Frame):
    """An identification: its own bytes say how long it is."""

    def length(self, received: bytes) -> int | None:
        """As above.

        Raises:
            ValueError: it would be longer than an answer can be.
        """
        found = identification.size(received[1:])
        return None if found is None else 1 + found


class Framing(Protocol):
    """How an answer is wrapped: one of these for each of RTU and ASCII."""

    def characters(self, size: int) -> int:
        """How many there are on the wire for so many bytes."""

    def wrap(self, body: bytes) -> bytes:
        """The frame of unit and request."""

    def take(
        self, peer: str, wanted: Sequence[Frame], late: Sequence[Frame], received: bytes
    ) -> bytes | None:
        """The one whole frame that is wanted, unwrapped, after any late ones; None: not all yet.

        Raises:
            DeviceError: `bad_reply`, with what differs.
        """


@dataclass(frozen=True)
class _Question:
    """All that its answer will show of it."""

    unit: int
    function: int
    size: int  # bytes of data; of an identification its level

    @property
    def answers(self) -> tuple[Frame, Frame]:
        """The good one, and an exception."""
        good = Frame(bytes((self.unit, self.function, self.size)), 3 + self.size)
        if self.function == identification.FUNCTION:
            head = identification.head(self.size)
            good = GrowingFrame(bytes((self.unit,)) + head, identification.MAX_PDU)
        return good, Frame(bytes((self.unit, self.function | 0x80)), 3)


@dataclass
class _Owed:
    """The questions at one place whose answers may still come, and until when."""

    until_s: dict[_Question, float] = field(default_factory=dict)

    def at(self, now_s: float) -> list[_Question]:
        """Those that are not forgotten yet."""
        if self.until_s:
            self.until_s = {q: end_s for q, end_s in self.until_s.items() if end_s > now_s}
        return list(self.until_s)

    def forget(self, unit: int) -> None:
        """The unit has answered all."""
        self.until_s = {q: end_s for q, end_s in self.until_s.items() if q.unit != unit}


_owed: dict[str, _Owed] = {}  # by host:port or device file: a gateway may outlive a connection


async def connect(url: str, framing: Framing, *, timeout_s: float) -> ModbusLine:
    """An open line to `modbus-KIND-tcp://HOST[:PORT]` or `modbus-KIND:///dev/NAME?...`.

    Raises:
        DeviceError: there is none to be had.
    """
    parts = urlsplit(url)
    if not parts.scheme.endswith("-tcp"):
        settings = serial_port.settings_of(url)
        port = await serial_port.connect(settings)
        return ModbusLine(port, framing, timeout_s=timeout_s, byte_s=settings.byte_s)
    opened = await exchange.connect(
        parts.hostname or "", parts.port or DEFAULT_PORT, timeout_s=timeout_s
    )
    return ModbusLine(opened, framing, timeout_s=timeout_s)


class ModbusLine:
    """A Modbus client that believes nothing; one request is under way at a time."""

    def __init__(
        self,
        opened: Exchange | SerialExchange,
        framing: Framing,
        *,
        timeout_s: float,
        byte_s: float = 0.0,
    ) -> None:
        """Over an open line.

        Args:
            opened: where to ask.
            framing: RTU or ASCII.
            timeout_s: for an answer, beside the time its characters take. [s]
            byte_s: of one character; 0: not known. [s]
        """
        self._asked, self._framing = opened, framing
        self._timeout_s, self._byte_s = timeout_s, byte_s
        self._owed = _owed.setdefault(opened.peer, _Owed())
        self._now_s = asyncio.get_running_loop().time

    @property
    def peer(self) -> str:
        """Host and port or the device file, for messages."""
        return self._asked.peer

    @property
    def is_open(self) -> bool:
        """Whether another read may be tried."""
        return self._asked.is_open

    async def read(
        self, unit: int, requests: Sequence[Request], *, timeout_s: float | None = None
    ) -> tuple[Response, ...]:
        """One checked response per request; coils and discrete inputs as one word each, 0 or 1.

        Raises:
            DeviceError: `timeout`, `closed`, `bad_reply`, `no_unit` or `exception_NN`.
        """
        if unit == BROADCAST:
            raise DeviceError(
                f"Unit 0 at {self.peer} is every device at once, and none answers.",
                "Set 'unit' to the device's own number, 1 to 247.",
                code=NO_UNIT,
            )
        wait_s = self._timeout_s if timeout_s is None else timeout_s
        return tuple([await self._read(unit, request, wait_s) for request in requests])

    def pace(self, pause_s: float) -> None:
        """Keep so long quiet before each question from now on. [s]"""
        self._asked.pause_s = pause_s

    async def identification(
        self, unit: int, level: int, first: int, *, timeout_s: float | None = None
    ) -> bytes:
        """What the device says of itself, from the answer's function code on.

        Raises:
            DeviceError: as `read` does.
        """
        wait_s = self._timeout_s if timeout_s is None else timeout_s
        await self._settle(unit, Request("holding", 0, 1), wait_s)
        question = _Question(unit, identification.FUNCTION, level)
        body = await self._exchange(question, identification.question(level, first), wait_s)
        if body[1] & 0x80:
            raise identification.refused(self.peer, unit, body[2])
        return body[1:]

    async def close(self) -> None:
        """Give the line back."""
        await self._asked.close()

    async def _read(self, unit: int, request: Request, wait_s: float) -> Response:
        await self._settle(unit, request, wait_s)
        answer = await self._ask(unit, request, wait_s)
        if isinstance(answer, int) and answer in BUSY:
            await asyncio.sleep(BUSY_PAUSE_S)
            answer = await self._ask(unit, request, wait_s)
        if isinstance(answer, int):
            raise exception_error(self.peer, unit, request, answer)
        return Response(request.table, request.address, answer)

    async def _settle(self, unit: int, request: Request, wait_s: float) -> None:
        """Ask for other things until the unit owes nothing."""
        while owed := [q for q in self._owed.at(self._now_s()) if q.unit == unit]:
            other = next((r for r in _others(request) if _question(unit, r) not in owed), None)
            if other is None:
                raise DeviceError(
                    f"Unit {unit} at {self.peer} owes answers to {len(owed)} questions: one that"
                    " comes now could be for any of them.",
                    f"It is asked again after {PATIENCE_S:g} s. Raise 'timeout_s' above what the"
                    " device takes, or check its wiring.",
                    code=TIMEOUT,
                )
            answer = await self._ask(unit, other, wait_s)
            if isinstance(answer, int) and answer >= _GATEWAY:
                raise exception_error(self.peer, unit, other, answer)

    async def _ask(self, unit: int, request: Request, wait_s: float) -> bytes | int:
        """The words, or the number of an exception."""
        question = _question(unit, request)
        where = request.address.to_bytes(2, "big") + request.count.to_bytes(2, "big")
        body = await self._exchange(question, bytes((question.function,)) + where, wait_s)
        if body[1] & 0x80:
            return body[2]
        data = body[3:]
        return bit_words(data, request.count) if question.function <= 2 else data

    async def _exchange(self, question: _Question, said: bytes, wait_s: float) -> bytes:
        """The frame that answers it, an exception too; what it owes is kept account of."""
        unit = question.unit
        now_s, late = self._now_s(), self._owed.at(self._now_s())
        # Owed until answered, whatever ends the waiting: time-out, a bad frame, being cancelled.
        total_s = wait_s + self._wire_s(question)
        self._owed.until_s[question] = now_s + total_s + PATIENCE_S
        body = await self._asked.ask(
            self._framing.wrap(bytes((unit,)) + said),
            partial(self._take, question.answers, [frame for q in late for frame in q.answers]),
            timeout_s=total_s,
        )
        if body[1] & 0x80:
            is_settled = not any((q.unit, q.function) == (unit, question.function) for q in late)
            if is_settled and body[2] < _GATEWAY:
                self._owed.forget(unit)
        else:
            self._owed.forget(unit)
        return body

    def _take(
        self, wanted: Sequence[Frame], late: Sequence[Frame], received: bytes
    ) -> bytes | None:
        if len(received) > MAX_BYTES:
            raise bad_reply(self.peer, f"{len(received)} bytes and no end")
        return self._framing.take(self.peer, wanted, late, received)

    def _wire_s(self, question: _Question) -> float:
        """How long the characters of question and answer take. [s]"""
        size = question.answers[0].size
        both = self._framing.characters(6) + self._framing.characters(size)
        return both * self._byte_s


def _question(unit: int, request: Request) -> _Question:
    function = FUNCTIONS[request.table]
    size = (request.count + 7) // 8 if function <= 2 else 2 * request.count
    return _Question(unit, function, size)


def _others(request: Request) -> Iterator[Request]:
    """What a unit may be asked for instead, the most likely to be readable first."""
    if request.count > 1:
        yield Request(request.table, request.address, request.count // 2)
    for table in ("holding", "input", "discrete", "coil"):
        if table != request.table:
            yield Request(table, request.address, 1)


def difference(wanted: Sequence[Frame], body: bytes) -> str:
    """What of an answer that begins like none of the wanted ones is not as it should be."""
    good, refusal = wanted
    pattern = refusal if body.startswith(refusal.head) else good
    for i, name in enumerate(("unit", "function code", "byte count")):
        found, due = body[i : i + 1], pattern.head[i : i + 1]
        if due and found and found != due:
            return f"{name} 0x{found.hex()} where 0x{due.hex()} was due"
    return f"{len(body)} bytes where {pattern.size} were due"


def bad_reply(peer: str, what: str) -> DeviceError:
    """The error for an answer that is none."""
    return DeviceError(
        f"{peer} answered with {what}.",
        "Nothing of it was used. If it happens again, check wiring, termination and baud, that no"
        " two devices have one unit number, and that nothing else asks on this line.",
        code=BAD_REPLY,
    )
