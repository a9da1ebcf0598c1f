"""Modbus TCP, and RTU frames over TCP, from devices that may misbehave; reading only.

An answer that is late is sent over the newest connection of its port, as a gateway does that keeps
asking on its serial side when the client has gone: the client that comes next gets it unasked.
Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, section 3.1; MODBUS over Serial Line
1.02, section 2.5.1.
"""

from __future__ import annotations

import asyncio
import struct
from typing import NamedTuple, Protocol

from joulemark_agent.drivers.modbus_rtu import crc
from joulemark_agent.simulate.devices import Shown
from joulemark_agent.simulate.faults import Fault, Injected, segments, spoiled_pdu
from joulemark_agent.simulate.modbus_server import NO_SUCH_UNIT, Patient, reply_pdu

LATE_ANSWER = "late_answer"  # in the record: a late answer has arrived, at this slot
_HEADER = struct.Struct(">HHHB")
_RTU_REQUEST, _RTU_LONGEST = 8, 256


class Question(NamedTuple):
    """A whole request."""

    transaction: int  # 0 in RTU
    unit: int
    pdu: bytes


class Framing(Protocol):
    """How questions and answers are wrapped."""

    is_silent_without_unit: bool

    def take(self, buffer: bytearray) -> Question | None:
        """The next whole question, taken off the buffer; None: not complete yet.

        Raises:
            ValueError: the stream is none of this framing.
        """

    def wrap(self, question: Question, pdu: bytes, kind: str) -> bytes:
        """The answer, with what is wrong with its frame."""


class Tcp:
    """The MBAP header."""

    is_silent_without_unit = False

    def take(self, buffer: bytearray) -> Question | None:
        """The next whole question."""
        if len(buffer) < _HEADER.size:
            return None
        transaction, protocol, length, unit = _HEADER.unpack_from(buffer)
        if protocol or not 2 <= length <= 254:
            raise ValueError("no MBAP header")
        end = _HEADER.size - 1 + length
        if len(buffer) < end:
            return None
        pdu = bytes(buffer[_HEADER.size : end])
        del buffer[:end]
        return Question(transaction, unit, pdu)

    def wrap(self, question: Question, pdu: bytes, kind: str) -> bytes:
        """The answer."""
        transaction = question.transaction + (kind == "wrong_transaction") & 0xFFFF
        return _HEADER.pack(transaction, 0, len(pdu) + 1, _unit(question, kind)) + pdu


class Rtu:
    """Unit, bytes and a CRC."""

    is_silent_without_unit = True

    def take(self, buffer: bytearray) -> Question | None:
        """The next whole question; a line has silence instead of an error, so garbage is dropped.

        Only requests to read have a length that is known; another ends where its CRC fits.
        """
        for end in (_RTU_REQUEST, len(buffer)):
            if 4 <= end <= len(buffer) and crc(bytes(buffer[: end - 2])) == buffer[end - 2 : end]:
                body = bytes(buffer[: end - 2])
                del buffer[:end]
                return Question(0, body[0], body[1:])
        if len(buffer) > _RTU_LONGEST or (len(buffer) >= _RTU_REQUEST and 1 <= buffer[1] <= 4):
            buffer.clear()
        return None

    def wrap(self, question: Question, pdu: bytes, kind: str) -> bytes:
        """The answer."""
        body = bytes((_unit(question, kind),)) + pdu
        check = crc(body)
        return body + (bytes((check[0] ^ 1, check[1])) if kind == "crc" else check)


def _unit(question: Question, kind: str) -> int:
    return question.unit + (kind == "wrong_unit") & 0xFF


class FaultyConnection(Patient):
    """One client."""

    def __init__(
        self, shown: Shown, framing: Framing, connections: dict[asyncio.Transport, None]
    ) -> None:
        self._shown, self._framing, self._connections = shown, framing, connections
        self._buffer = bytearray()
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be the newest."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections[transport] = None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the name is asyncio's
        """Forget the transport."""
        self._connections.pop(self._transport, None)

    def data_received(self, data: bytes) -> None:
        """Answer every whole question."""
        self._buffer += data
        try:
            while (question := self._framing.take(self._buffer)) is not None:
                self._answer(question)
        except ValueError:
            self._transport.close()

    def _answer(self, question: Question) -> None:
        shown, fault = self._shown, self._shown.wire_fault(question.unit)
        kind = "" if fault is None else fault.kind
        if kind == "crc" and not isinstance(self._framing, Rtu):
            fault, kind = None, ""  # there is none to be wrong
        if kind == "wrong_transaction" and not isinstance(self._framing, Tcp):
            fault, kind = None, ""
        pdu = reply_pdu(shown, question.unit, question.pdu)
        if pdu[1] == NO_SUCH_UNIT and pdu[0] & 0x80 and self._framing.is_silent_without_unit:
            return
        if fault is None:
            self._transport.write(self._framing.wrap(question, pdu, ""))
            return
        changed = spoiled_pdu(kind, pdu, fault.code)
        frame = self._framing.wrap(question, changed, kind)
        shown.note(fault, shown.slot)
        if kind == "closed":
            self._transport.close()
        elif kind in {"slow", "late"}:
            self._loop.call_later(float(fault.delay_s), self._send_late, fault, frame)
        elif kind != "dead":
            self._send(list(segments(kind, frame)))

    def _send(self, parts: list[bytes]) -> None:
        """One segment after the other, each in a turn of the loop of its own."""
        if not self._transport.is_closing():
            self._transport.write(parts[0])
            if parts[1:]:
                self._loop.call_soon(self._send, parts[1:])

    def _send_late(self, fault: Fault, frame: bytes) -> None:
        if fault.kind == "slow":
            self._send([frame])
        elif newest := list(self._connections):
            shown = self._shown
            at_us = shown.devices.slots.first_us + shown.slot * shown.devices.slots.period_us
            shown.record.add(Injected(shown.slot, at_us, fault.unit, LATE_ANSWER))
            newest[-1].write(frame)
