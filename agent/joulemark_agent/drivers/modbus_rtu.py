"""Modbus RTU: `modbus-rtu:///dev/ttyUSB0?baud=9600&parity=N&stop_bits=1`, `modbus-rtu-tcp://host`.

The second is what most gateways to an RS-485 line speak: the same frames inside a TCP connection.
Source: MODBUS over serial line 1.02, section 2.5.1 and appendix B (CRC).
"""

from __future__ import annotations

from collections.abc import Sequence

from joulemark_agent import modbus_line
from joulemark_agent.drivers import modbus
from joulemark_agent.modbus_line import Frame, ModbusLine, bad_reply, difference

SERIAL_SCHEMES = ("modbus-rtu",)
SCHEMES = (*SERIAL_SCHEMES, "modbus-rtu-tcp")
DEFAULT_PORT = modbus.DEFAULT_PORT
HAS_PATH = False
CHECK_SIZE = 2


async def connect(url: str, *, timeout_s: float) -> ModbusLine:
    """An open line.

    Raises:
        DeviceError: there is none to be had.
    """
    return await modbus_line.connect(url, Rtu(), timeout_s=timeout_s)


class Rtu:
    """Bytes as they are, and a CRC."""

    def characters(self, size: int) -> int:
        """How many there are on the wire for so many bytes."""
        return size + CHECK_SIZE

    def wrap(self, body: bytes) -> bytes:
        """The frame of unit and request."""
        return body + crc(body)

    def take(
        self, peer: str, wanted: Sequence[Frame], late: Sequence[Frame], received: bytes
    ) -> bytes | None:
        """The one whole frame that is wanted, after any late ones; None: not all there yet.

        Raises:
            DeviceError: `bad_reply`, with what differs.
        """
        while received:
            frame = _begun(wanted, received) or _begun(late, received)
            if frame is None:
                raise bad_reply(peer, difference(wanted, received))
            try:
                size = frame.length(received)
            except ValueError as error:
                raise bad_reply(peer, f"an identification of {error}") from error
            if size is None or len(received) < (end := size + CHECK_SIZE):
                return None
            body, found, rest = received[:size], received[size:end], received[end:]
            if found != (due := crc(body)):
                raise bad_reply(peer, f"CRC 0x{found.hex()} where 0x{due.hex()} was due")
            if frame in wanted:
                if rest:
                    raise bad_reply(peer, f"{len(rest)} bytes too many")
                return body
            received = rest
        return None


def _begun(frames: Sequence[Frame], received: bytes) -> Frame | None:
    return next((f for f in frames if f.head.startswith(received[: len(f.head)])), None)


def crc(data: bytes) -> bytes:
    """The check of a frame, low byte first."""
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value.to_bytes(2, "little")


def _of_byte(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


_TABLE = tuple(map(_of_byte, range(256)))
