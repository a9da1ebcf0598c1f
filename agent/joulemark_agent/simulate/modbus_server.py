"""A Modbus TCP server that reads registers and nothing else: several units, functions 1 to 4.

Source: MODBUS Application Protocol V1.1b3, sections 6.1 to 6.4 and 7; MODBUS Messaging on TCP/IP
Implementation Guide V1.0b, section 3.1 (MBAP header).
"""

from __future__ import annotations

import asyncio
import struct
from typing import Protocol

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, NO_SUCH_UNIT = 0x01, 0x02, 0x03, 0x0B
TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
MAX_WORDS, MAX_BITS = 125, 2000
_HEADER = struct.Struct(">HHHB")  # transaction, protocol, length from the unit on, unit
_REQUEST = struct.Struct(">BHH")
_MIN_LENGTH, _MAX_LENGTH = 2, 254


class Registers(Protocol):
    """What the server shows; asked at every request, so it can change between two."""

    def has_unit(self, unit: int) -> bool:
        """Whether a device answers under this unit number."""

    def read(self, unit: int, table: str, address: int, count: int) -> bytes | None:
        """2 * count bytes in transmission order; None where a register does not exist.

        A coil or discrete input is a register that holds 0 or 1.
        """


class Patient(asyncio.Protocol):
    """A server's side of a connection that takes no more questions than it can answer."""

    _transport: asyncio.Transport

    def pause_writing(self) -> None:
        """Read no more from a client that does not take its replies."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on when it has taken them."""
        self._transport.resume_reading()


class ModbusConnection(Patient):
    """One client. A stream that is not Modbus is closed: where it goes on cannot be known."""

    def __init__(self, registers: Registers, connections: set[asyncio.Transport]) -> None:
        self._registers, self._connections = registers, connections
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the name is asyncio's
        """Forget the transport, whatever ended it."""
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Answer every whole request; the rest waits for more bytes."""
        self._buffer += data
        start = 0
        replies: list[bytes] = []
        while len(self._buffer) - start >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(self._buffer, start)
            if protocol != 0 or not _MIN_LENGTH <= length <= _MAX_LENGTH:
                self._transport.write(b"".join(replies))
                self._transport.close()
                return
            end = start + _HEADER.size - 1 + length
            if len(self._buffer) < end:
                break
            pdu = reply_pdu(self._registers, unit, bytes(self._buffer[start + _HEADER.size : end]))
            replies.append(_HEADER.pack(transaction, 0, len(pdu) + 1, unit) + pdu)
            start = end
        del self._buffer[:start]
        if replies:
            self._transport.write(b"".join(replies))


def reply_pdu(registers: Registers, unit: int, pdu: bytes) -> bytes:
    """The reply to one request: data words, or an exception."""
    function = pdu[0]
    if not registers.has_unit(unit):
        return _exception(function, NO_SUCH_UNIT)
    if function not in TABLES:
        return _exception(function, ILLEGAL_FUNCTION)
    if len(pdu) != _REQUEST.size:
        return _exception(function, ILLEGAL_VALUE)
    _, address, count = _REQUEST.unpack(pdu)
    is_bits = function <= 2
    if not 1 <= count <= (MAX_BITS if is_bits else MAX_WORDS):
        return _exception(function, ILLEGAL_VALUE)
    data = registers.read(unit, TABLES[function], address, count)
    if data is None:
        return _exception(function, ILLEGAL_ADDRESS)
    if is_bits:
        packed = sum((data[2 * i + 1] & 1) << i for i in range(count))
        data = packed.to_bytes((count + 7) // 8, "little")
    return bytes((function, len(data))) + data


def _exception(function: int, code: int) -> bytes:
    return bytes((function | 0x80, code))
