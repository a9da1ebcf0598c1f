"""Modbus ASCII: `modbus-ascii:///dev/ttyS0?baud=9600&parity=E`, `modbus-ascii-tcp://host`.

Characters have 7 data bits on a wire unless the address says `data_bits=8`.
Source: MODBUS over serial line 1.02, section 2.5.2 and appendix B (LRC).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from joulemark_agent import modbus_line
from joulemark_agent.drivers import modbus
from joulemark_agent.modbus_line import Frame, ModbusLine, bad_reply, difference

SERIAL_SCHEMES = ("modbus-ascii",)
SCHEMES = (*SERIAL_SCHEMES, "modbus-ascii-tcp")
DEFAULT_PORT = modbus.DEFAULT_PORT
HAS_PATH = False

_LONGEST = 513  # characters of a frame
_BEGUN = re.compile(rb":[0-9A-Fa-f]*\r?")
_END = b"\r\n"


async def connect(url: str, *, timeout_s: float) -> ModbusLine:
    """An open line.

    Raises:
        DeviceError: there is none to be had.
    """
    return await modbus_line.connect(url, Ascii(), timeout_s=timeout_s)


class Ascii:
    """Two hexadecimal digits for each byte, between a colon and a new line, and an LRC."""

    def characters(self, size: int) -> int:
        """How many there are on the wire for so many bytes."""
        return 1 + 2 * (size + 1) + len(_END)

    def wrap(self, body: bytes) -> bytes:
        """The frame of unit and request."""
        return b":" + (body + lrc(body)).hex().upper().encode() + _END

    def take(
        self, peer: str, wanted: Sequence[Frame], late: Sequence[Frame], received: bytes
    ) -> bytes | None:
        """The one whole frame that is wanted, after any late ones; None: not all there yet.

        Raises:
            DeviceError: `bad_reply`, with what differs.
        """
        while received:
            text, end, rest = received.partition(_END)
            if len(text) + len(_END) > _LONGEST or not _BEGUN.fullmatch(text):
                raise bad_reply(peer, f"{text[:16]!r}..., which is no frame in hexadecimal digits")
            if not end:
                return None
            body = _body(peer, text)
            try:
                if _is_one_of(wanted, body):
                    if rest:
                        raise bad_reply(peer, f"{len(rest)} characters too many")
                    return body
                if not _is_one_of(late, body):
                    raise bad_reply(peer, difference(wanted, body))
            except ValueError as error:
                raise bad_reply(peer, f"an identification of {error}") from error
            received = rest
        return None


def _body(peer: str, text: bytes) -> bytes:
    digits = text[1:]
    if len(digits) % 2 or len(digits) < 6 or digits.endswith(b"\r"):
        raise bad_reply(peer, f"{len(digits)} hexadecimal digits, which are no frame")
    whole = bytes.fromhex(digits.decode("ascii"))
    body, found = whole[:-1], whole[-1:]
    if found != (due := lrc(body)):
        raise bad_reply(peer, f"LRC 0x{found.hex()} where 0x{due.hex()} was due")
    return body


def _is_one_of(frames: Sequence[Frame], body: bytes) -> bool:
    return any(body.startswith(frame.head) and frame.length(body) == len(body) for frame in frames)


def lrc(data: bytes) -> bytes:
    """The check of a frame: what makes the sum of all bytes 0."""
    return bytes((-sum(data) & 0xFF,))
