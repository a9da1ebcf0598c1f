"""Targets: what machines answer. Each runs a whole driver over an answer that was changed."""

from __future__ import annotations

import asyncio
import os
import random
import struct
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from joulemark_agent import exchange, identification, modbus_line
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.reading import Response
from joulemark_agent.documents import load_profile
from joulemark_agent.drivers import modbus
from joulemark_agent.drivers.base import Request
from joulemark_agent.drivers.modbus import ModbusTcp
from joulemark_agent.drivers.modbus_ascii import Ascii
from joulemark_agent.drivers.modbus_rtu import Rtu
from joulemark_agent.drivers.sunspec import Sunspec
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.modbus_line import Framing, ModbusLine
from joulemark_agent.plan import plan_requests
from support import bus
from support.fuzz import conversations
from support.fuzz.canned import Canned, always
from support.fuzz.conversations import joined, parts
from support.fuzz.harness import Target
from support.fuzz.mutate import octets

HOST = "192.0.2.1"
TRANSACTION, UNIT, LATE_UNIT = 0x1234, 1, 2
ASKED = (Request("holding", 0x10, 2), Request("coil", 3, 13))
_INVERTER = load_profile("sunspec_inverter")[0]


# ------------------------------------------------------------------------------------------ Modbus


def _on_tcp(request: Request) -> Callable[[bytes], Awaitable[None]]:
    async def run(data: bytes) -> None:
        with (
            mock.patch.object(modbus, "_transactions", always(TRANSACTION)),
            mock.patch.object(modbus, "BUSY_PAUSE_S", 0.0),
        ):
            [response] = await ModbusTcp(Canned(data), timeout_s=1.0).read(UNIT, [request])  # type: ignore[arg-type]
        head = _head(request)
        assert data.startswith(head), "the answer to another question"
        assert response.data == _held(request, data[9 : 9 + head[-1]]), "not what it held"

    return run


def _held(request: Request, data: bytes) -> bytes:
    return data if request.table == "holding" else modbus.bit_words(data, request.count)


def _head(request: Request) -> bytes:
    size = 2 * request.count if request.table == "holding" else (request.count + 7) // 8
    function = modbus.FUNCTIONS[request.table]
    return struct.pack(">HHHBBB", TRANSACTION, 0, 3 + size, UNIT, function, size)


def _tcp_corpus(request: Request) -> Callable[[], Sequence[bytes]]:
    head = _head(request)
    good = head + bytes(range(head[-1]))
    refusal = head[:4] + b"\0\3" + bytes((UNIT, head[7] | 0x80))
    return lambda: [good, refusal + b"\2", refusal + b"\6", good * 2]


_IDENTIFIED = bytes((0x2B, 0x0E, 1, 1, 0, 0, 2, 0, 4)) + b"ACME" + bytes((1, 2)) + b"X1"
_IN_PARTS = bytes((0x2B, 0x0E, 1, 0x82, 0xFF, 1, 1, 0, 1)) + b"A"


async def _identification(data: bytes) -> None:
    driver = ModbusTcp(Canned(data), timeout_s=1.0)  # type: ignore[arg-type]
    with mock.patch.object(modbus, "_transactions", always(TRANSACTION)):
        found = await identification.identify(driver, UNIT, timeout_s=1.0)
    assert all(identification.text(value).isprintable() for value in found.values())


def _identifications() -> list[bytes]:
    wrapped = [
        struct.pack(">HHHB", TRANSACTION, 0, 1 + len(pdu), UNIT) + pdu
        for pdu in (_IDENTIFIED, _IN_PARTS)
    ]
    return [*wrapped, struct.pack(">HHHBBB", TRANSACTION, 0, 3, UNIT, 0xAB, 1)]


def _on_line(framing: Framing) -> Callable[[bytes], Awaitable[None]]:
    async def run(data: bytes) -> None:
        modbus_line._owed.clear()
        canned = Canned(data)
        line = ModbusLine(canned, framing, timeout_s=1.0)  # type: ignore[arg-type]
        late = modbus_line._question(LATE_UNIT, ASKED[0])  # whose answer may still come
        line._owed.until_s[late] = asyncio.get_running_loop().time() + 9.0
        with mock.patch.object(modbus_line, "BUSY_PAUSE_S", 0.0):
            [response] = await line.read(UNIT, ASKED[:1])
        whole = bus.rtu(UNIT, 3, 4, response.data)
        wanted = whole if isinstance(framing, Rtu) else bus.ascii_of(whole)
        assert wanted in (data if isinstance(framing, Rtu) else data.upper()), "in no frame"

    return run


def _frames() -> list[bytes]:
    good, late = bus.rtu(UNIT, 3, 4, b"\0\1\2\3"), bus.rtu(LATE_UNIT, 3, 4, b"\7\7\7\7")
    return [good, late + good, late * 3 + good, bus.rtu(UNIT, 0x83, 2), bus.rtu(UNIT, 0x83, 6)]


def _ascii_frames() -> list[bytes]:
    good, late = bus.rtu(UNIT, 3, 4, b"\0\1\2\3"), bus.rtu(LATE_UNIT, 3, 4, b"\7\7\7\7")
    return [bus.ascii_of(good), bus.ascii_of(late) + bus.ascii_of(good), bus.ascii_of(good).lower()]


class _Registers:
    """A unit whose words from 40000 on are these; there is nothing else."""

    peer = "192.0.2.1:9"
    is_open = True

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, unit: int, requests: Sequence[Request], *, timeout_s: float | None) -> Any:
        """The words, or the exception of an address that is not there."""
        del unit, timeout_s
        found = []
        for request in requests:
            at = 2 * (request.address - 40_000)
            words = self._data[at : at + 2 * request.count] if at >= 0 else b""
            if len(words) < 2 * request.count:
                raise DeviceError("No such address.", "", code="exception_02")
            found.append(Response(request.table, request.address, words))
        return tuple(found)


async def _sunspec(data: bytes) -> None:
    asked = plan_requests(_INVERTER)
    responses = await Sunspec(_Registers(data)).read(UNIT, asked)  # type: ignore[arg-type]
    decode_responses(_INVERTER, responses)


def _maps() -> list[bytes]:
    rng = random.Random(1)
    lengths = {1: 66, 103: 50, 160: 48}
    models = [struct.pack(">HH", n, words) + rng.randbytes(2 * words)
              for n, words in lengths.items()]  # fmt: skip
    whole = b"SunS" + b"".join(models) + b"\xff\xff\0\0"
    return [whole, b"SunS" + b"".join(reversed(models)), b"SunS" + b"\0\7\0\0" * 300 + whole[4:]]


# ------------------------------------------------------------------------- OPC UA and HTTP, whole


@contextmanager
def scripted(data: bytes, asked: list[bytes] | None = None) -> Iterator[None]:
    """Whoever connects gets these answers one after the other, and then none.

    Args:
        data: the answers, as `joined` gives them.
        asked: where the questions are kept.
    """
    answers = iter(parts(data))

    def answer(question: bytes) -> bytes:
        if asked is not None:
            asked.append(question)
        return next(answers, b"")

    canned = Canned(answer)

    async def connect(host: str, *_: object, **__: object) -> Canned:
        assert host == HOST, "sent elsewhere by an answer"
        return canned

    environment = {conversations.VARIABLE: conversations.PASSWORD}
    with mock.patch.object(exchange, "connect", connect), mock.patch.dict(os.environ, environment):
        yield


def _conversation(converse: conversations.Conversation, scheme: str) -> Any:
    async def run(data: bytes) -> None:
        with scripted(data):
            await converse(f"{scheme}://192.0.2.1/plant"[: None if scheme == "opc.tcp" else -6])

    return run


def _of_true(name: str) -> Callable[[], Sequence[bytes]]:
    return lambda: [joined(conversations.conversations()[name])]


def one_answer(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """One answer of a conversation changed."""
    answers = parts(data)
    at = rng.randrange(len(answers))
    answers[at] = octets(rng, answers[at], [answer for one in corpus for answer in parts(one)])
    return joined(answers)


def one_chunk(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """One answer's body changed, and its chunk says its new size; now and then all of it."""
    answers = parts(data)
    at = rng.randrange(1, len(answers))
    answer, others = answers[at], [other for one in corpus for other in parts(one)]
    if rng.random() < 0.15:
        answers[at] = octets(rng, answer, others)
    else:
        body = octets(rng, answer[24:], [other[24:] for other in others if len(other) > 24])
        answers[at] = answer[:4] + struct.pack("<I", 24 + len(body)) + answer[8:24] + body
    return joined(answers)


DEVICES = (
    *(Target(f"modbus_tcp_{r.table}", _tcp_corpus(r), _on_tcp(r)) for r in ASKED),
    Target("modbus_identification", _identifications, _identification),
    Target("modbus_rtu", _frames, _on_line(Rtu())),
    Target("modbus_ascii", _ascii_frames, _on_line(Ascii())),
    Target("sunspec_walk", _maps, _sunspec),
    *(
        Target(name, _of_true(name), _conversation(converse, "opc.tcp"), one_chunk)
        for name, converse in conversations.ON_OPCUA.items()
    ),
    Target("elektronikon", _of_true("elektronikon"),
           _conversation(conversations.selected, "elektronikon-http"), one_answer),
    Target("sigma_control", _of_true("sigma_control"),
           _conversation(conversations.logged_in, "sigma-control-http"), one_answer),
)  # fmt: skip
