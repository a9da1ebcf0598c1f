"""Modbus TCP, reading only: function codes 1 to 4 and the identification (43/14) are all it knows.

Every answer must be exactly the one that was asked for: transaction, protocol, length, unit,
function and byte count are compared byte by byte as they arrive, and the first that differs ends
the connection. Transaction numbers start at random and count up over all connections, so that an
answer to one connection's question that a gateway hands to the next one is told apart.
Source: MODBUS Messaging on TCP/IP Implementation Guide 1.0b, section 3.1; application protocol
1.1b3, sections 6.1 to 6.4 and 7.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import struct
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from joulemark_agent import exchange, identification
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers.base import Request
from joulemark_agent.exchange import BAD_REPLY, Exchange

SCHEMES = ("modbus-tcp",)
DEFAULT_PORT = 502
HAS_PATH = False
FUNCTIONS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}

_MBAP = struct.Struct(">HH")  # transaction, protocol
_HEAD = struct.Struct(">HHHBBB")  # transaction, protocol, length, unit, function, byte count
_REQUEST = struct.Struct(">HHHBBHH")  # ..., function, address, count
_REFUSAL_SIZE = 9  # of the frame of an exception; a good answer has at least one byte more
_FIELDS = (
    ("transaction id", 0, 2),
    ("protocol id", 2, 4),
    ("length", 4, 6),
    ("unit", 6, 7),
    ("function code", 7, 8),
    ("byte count", 8, 9),
)
_EXCEPTIONS = {
    1: ("illegal function", "Set the point's 'table' as the device's manual says."),
    2: ("illegal data address", "Check 'table' and 'address' of the points in the profile."),
    3: ("illegal data value", "Set 'max_words' in the profile to what the device allows."),
    4: ("device failure", "Look at the device's own display or log."),
    5: ("acknowledge: still working", "Read less often: raise 'period_s'."),
    6: ("busy", "Read less often: raise 'period_s' or 'pause_ms'."),
    10: ("gateway path unavailable", "Check the gateway's settings for this unit."),
    11: ("gateway got no answer", "Check the unit's number, power and wiring behind the gateway."),
}
BUSY = {5, 6}  # exceptions of a device that may answer when it is asked once more
BUSY_PAUSE_S = 0.1  # before that

_transactions = itertools.count(secrets.randbelow(0x10000))


async def connect(url: str, *, timeout_s: float) -> ModbusTcp:
    """An open connection to `modbus-tcp://HOST[:PORT]`.

    Raises:
        DeviceError: there is none to be had.
    """
    parts = urlsplit(url)
    opened = await exchange.connect(
        parts.hostname or "", parts.port or DEFAULT_PORT, timeout_s=timeout_s
    )
    return ModbusTcp(opened, timeout_s=timeout_s)


class ModbusTcp:
    """A Modbus TCP client that believes nothing; one request is under way at a time."""

    def __init__(self, opened: Exchange, *, timeout_s: float) -> None:
        self._exchange = opened
        self._timeout_s = timeout_s

    @property
    def peer(self) -> str:
        """Host and port, for messages."""
        return self._exchange.peer

    @property
    def is_open(self) -> bool:
        """Whether another read may be tried; after a late or wrong answer it may not."""
        return self._exchange.is_open

    async def read(
        self, unit: int, requests: Sequence[Request], *, timeout_s: float | None = None
    ) -> tuple[Response, ...]:
        """One checked response per request; coils and discrete inputs as one word each, 0 or 1.

        Raises:
            DeviceError: `timeout`, `closed`, `bad_reply` (the connection is gone) or
                `exception_NN` (the device says no; the connection stays).
        """
        wait_s = self._timeout_s if timeout_s is None else timeout_s
        responses = []
        for request in requests:
            responses.append(await self._read(unit, request, wait_s))  # noqa: PERF401 - a coroutine less a read
        return tuple(responses)

    def pace(self, pause_s: float) -> None:
        """Keep so long quiet before each question from now on. [s]"""
        self._exchange.pause_s = pause_s

    async def identification(
        self, unit: int, level: int, first: int, *, timeout_s: float | None = None
    ) -> bytes:
        """What the device says of itself, from the answer's function code on.

        Raises:
            DeviceError: as `read` does.
        """
        transaction = next(_transactions) & 0xFFFF
        said = bytes((unit,)) + identification.question(level, first)
        wanted = _MBAP.pack(transaction, 0), bytes((unit,)) + identification.head(level)
        answer = await self._exchange.ask(
            _MBAP.pack(transaction, 0) + len(said).to_bytes(2, "big") + said,
            partial(_identified, self._exchange.peer, *wanted),
            timeout_s=self._timeout_s if timeout_s is None else timeout_s,
        )
        if answer[7] & 0x80:
            raise identification.refused(self._exchange.peer, unit, answer[8])
        return answer[7:]

    async def close(self) -> None:
        """Give the connection back."""
        await self._exchange.close()

    async def _read(self, unit: int, request: Request, timeout_s: float) -> Response:
        answer = await self._ask(unit, request, timeout_s)
        if len(answer) == _REFUSAL_SIZE and answer[8] in BUSY:
            await asyncio.sleep(BUSY_PAUSE_S)
            answer = await self._ask(unit, request, timeout_s)
        if len(answer) == _REFUSAL_SIZE:
            raise exception_error(self._exchange.peer, unit, request, answer[8])
        data = answer[9:]
        if FUNCTIONS[request.table] <= 2:
            data = bit_words(data, request.count)
        return Response(request.table, request.address, data)

    def _ask(self, unit: int, request: Request, timeout_s: float) -> Coroutine[Any, Any, bytes]:
        """The whole frame: of the words, or of an exception."""
        function = FUNCTIONS[request.table]
        size = (request.count + 7) // 8 if function <= 2 else 2 * request.count
        transaction = next(_transactions) & 0xFFFF
        question = _REQUEST.pack(transaction, 0, 6, unit, function, request.address, request.count)
        wanted = _HEAD.pack(transaction, 0, 3 + size, unit, function, size)
        check = partial(_checked, self._exchange.peer, wanted, size)
        return self._exchange.ask(question, check, timeout_s=timeout_s)


def _checked(peer: str, wanted: bytes, size: int, received: bytes) -> bytes | None:
    """The whole answer; None while it is only the beginning of a right one."""
    extra = len(received) - 9 - size
    if received.startswith(wanted):
        if extra == 0:
            return received
        if extra < 0:
            return None
        raise _bad(peer, f"{extra} bytes too many")
    refusal = wanted[:4] + b"\x00\x03" + wanted[6:7] + bytes([wanted[7] | 0x80])
    if len(received) == _REFUSAL_SIZE and received.startswith(refusal):
        return received
    if wanted.startswith(received) or refusal.startswith(received):
        return None
    pattern = refusal if received.startswith(refusal[:6]) else wanted
    for name, start, end in _FIELDS:
        found, due = received[start:end], pattern[start:end]
        if not due:
            raise _bad(peer, f"{len(received) - 9} bytes too many after an exception")
        if not due.startswith(found):
            raise _bad(peer, f"{name} 0x{found.hex()} where 0x{due.hex()} was due")
    raise AssertionError("a reply that differs nowhere was not accepted")


def _identified(peer: str, start: bytes, head: bytes, received: bytes) -> bytes | None:
    """The whole identification, whose length its own head says, or an exception."""
    found, said = received[:4], received[6:]
    if not start.startswith(found):
        raise _bad(peer, f"transaction and protocol 0x{found.hex()} where 0x{start.hex()} was due")
    refusal = head[:1] + bytes((head[1] | 0x80,))
    is_refusal = said[:2] == refusal
    if not (is_refusal or head.startswith(said[:4])):
        raise _bad(peer, f"0x{said[:4].hex()} where 0x{head.hex()} was due")
    if len(received) < 6:
        return None
    due = int.from_bytes(received[4:6], "big")
    if not 3 <= due <= 1 + identification.MAX_PDU or (is_refusal and due != 3):
        raise _bad(peer, f"an identification of {due} bytes")
    if len(said) > due:
        raise _bad(peer, f"{len(said) - due} bytes too many")
    return received if len(said) == due else None


def bit_words(bits: bytes, count: int) -> bytes:
    """One word per bit, so that an address is a word in every table."""
    return b"".join(bytes((0, bits[i >> 3] >> (i & 7) & 1)) for i in range(count))


def _bad(peer: str, what: str) -> DeviceError:
    return DeviceError(
        f"{peer} answered with {what}.",
        "The connection was closed. If it happens again, the device or a gateway before it mixes"
        " answers up: update it, or let nothing else use it.",
        code=BAD_REPLY,
    )


def exception_error(peer: str, unit: int, request: Request, number: int) -> DeviceError:
    """What a device or a gateway says instead of an answer, in words."""
    name, do = _EXCEPTIONS.get(number, ("unknown", "Look the number up in the device's manual."))
    last = request.address + request.count - 1
    return DeviceError(
        f"Unit {unit} at {peer} answered exception {number} ({name}) to {request.table}"
        f" {request.address} to {last} (0x{request.address:04X} to 0x{last:04X}).",
        do,
        code=f"exception_{number:02d}",
    )
