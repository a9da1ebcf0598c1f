"""Replayed web interfaces of compressor controllers, and what an agent sends to them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from joulemark_agent.drivers import elektronikon, sigma_control
from joulemark_agent.simulate.controllers.compressor import Compressor
from joulemark_agent.simulate.controllers.elektronikon import Elektronikon
from joulemark_agent.simulate.controllers.sigma_control import SigmaControl
from joulemark_agent.simulate.controllers.web import serving
from support import tcp

USER, PASSWORD, VARIABLE = "joulemark", "only to see", "JOULEMARK_COMPRESSOR_PASSWORD"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def an_elektronikon(
    clock: Clock, *, seed: int = 1, ends_connections: bool = False
) -> AsyncIterator[tuple[int, Elektronikon]]:
    """Port and controller."""
    controller = Elektronikon(Compressor(seed), clock, ends_connections=ends_connections)
    async with serving(controller.respond) as port:
        yield port, controller


@asynccontextmanager
async def a_sigma_control(
    clock: Clock, *, seed: int = 1, units: tuple[str, str] = ("bar", "°C")
) -> AsyncIterator[tuple[int, SigmaControl]]:
    """Port and controller."""
    controller = SigmaControl(Compressor(seed), clock, user=USER, password=PASSWORD, units=units)
    async with serving(controller.respond) as port:
        yield port, controller


@asynccontextmanager
async def captured(port: int, sent: bytearray) -> AsyncIterator[int]:
    """A port before another that keeps what clients send, as it comes from the socket."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, ahead = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as group:
                back = group.create_task(_copied(behind, writer, None))
                await _copied(reader, ahead, sent)
                back.cancel()
        finally:
            ahead.close()

    async with tcp.serving(serve) as front:
        yield front


async def _copied(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray | None
) -> None:
    while data := await reader.read(65_536):
        if kept is not None:
            kept += data
        writer.write(data)
        await writer.drain()


_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n(.*?)\r\n\r\n", re.DOTALL)
_LENGTH = re.compile(rb"(?i)content-length: *(\d+)")


def requests(sent: bytes) -> list[tuple[str, str, bytes]]:
    """Method, target and body of each request of a capture; nothing may be between them."""
    found, at = [], 0
    while at < len(sent):
        head = _REQUEST.match(sent, at)
        assert head is not None, sent[at : at + 80]
        length = _LENGTH.search(head[3])
        end = head.end() + (int(length[1]) if length else 0)
        found.append((head[1].decode(), head[2].decode(), sent[head.end() : end]))
        at = end
    return found


def only_questions(sent: bytes) -> bool:
    """Whether a capture holds nothing but the questions that the two drivers may ask."""
    forms = [
        elektronikon.QUESTION,
        *(
            getattr(sigma_control, name)
            for name in ("LOGIN", "INFO", "LIGHTS", "OBJECTS", "LOGOUT")
        ),
    ]
    lists = {elektronikon.QUESTION: rb"([0-9a-f]{6})+", sigma_control.OBJECTS: rb"\d+(,\d+)*"}
    patterns = [
        (*form[:2], re.escape(form[2]).replace(rb"%b", lists.get(form, b""))) for form in forms
    ]
    return all(
        any(
            (method, target) == (a_method, a_target) and re.fullmatch(pattern, body)
            for a_method, a_target, pattern in patterns
        )
        for method, target, body in requests(sent)
    )
