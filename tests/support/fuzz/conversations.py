"""What true servers answered, question by question: the beginnings of everything that is not true.

`python -m support.fuzz.conversations` asks them anew and writes tests/data/conversations.json.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from joulemark_agent import opcua_browse, opcua_session
from joulemark_agent.documents import load_profile
from joulemark_agent.drivers import elektronikon, opcua, sigma_control
from joulemark_agent.drivers.base import Driver, Request, Subscribe
from joulemark_agent.exchange import Exchange
from joulemark_agent.http_login import Login
from joulemark_agent.plan import plan_requests
from joulemark_agent.simulate.controllers.compressor import Compressor
from joulemark_agent.simulate.controllers.elektronikon import Elektronikon
from joulemark_agent.simulate.controllers.sigma_control import SigmaControl
from joulemark_agent.simulate.controllers.web import serving

FILE = Path(__file__).parents[2] / "data/conversations.json"
TIMEOUT_S = 5.0
USER, PASSWORD, VARIABLE = "joulemark", "only to see", "JOULEMARK_FUZZED_PASSWORD"
SPACE = "urn:example:furnace"
NAMES = ("temperature", "uncertain", "bad", "array", "text", "gas", "no such variable")
WATCHED = Subscribe(sampling_ms=100, queue=20)
SELECTORS = plan_requests(load_profile("atlas_copco_elektronikon_mkv")[0])
ELEMENTS = plan_requests(load_profile("kaeser_sigma_control_2")[0])


@cache
def conversations() -> Mapping[str, tuple[bytes, ...]]:
    """By name: each answer of the server, in order."""
    found = json.loads(FILE.read_text())
    return {name: tuple(map(bytes.fromhex, answers)) for name, answers in found.items()}


def joined(answers: Sequence[bytes]) -> bytes:
    """The answers as one input, each with its length."""
    return b"".join(struct.pack(">I", len(answer)) + answer for answer in answers)


def parts(data: bytes) -> list[bytes]:
    """The answers of `joined`; a length that does not fit takes what there is."""
    found, at = [], 0
    while at + 4 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def variables(subscribe: Subscribe | None) -> list[Request]:
    """What is read of the furnace."""
    return [
        Request("node", i, 1, f"nsu={SPACE};s={name}", subscribe) for i, name in enumerate(NAMES)
    ]


async def polled(url: str) -> Any:
    """Open a session and read."""
    return await _read(await opcua.connect(url, timeout_s=TIMEOUT_S), variables(None))


async def watched(url: str) -> Any:
    """Open a session, subscribe, and take what came twice."""
    driver = await opcua.connect(url, timeout_s=TIMEOUT_S)
    await driver.read(0, variables(WATCHED))
    return await _read(driver, variables(WATCHED))


async def browsed(url: str) -> Any:
    """Open a session and look at all there is."""
    session = await opcua_session.open_session(url, timeout_s=TIMEOUT_S)
    found = await opcua_browse.browse(session, timeout_s=TIMEOUT_S)
    await session.close()
    return found


async def offered(url: str) -> Any:
    """Ask how one may connect."""
    return await opcua_session.get_endpoints(url, timeout_s=TIMEOUT_S)


async def selected(url: str) -> Any:
    """Ask an Elektronikon."""
    return await _read(await elektronikon.connect(url, timeout_s=TIMEOUT_S), SELECTORS)


async def logged_in(url: str) -> Any:
    """Log in at a Sigma Control and ask it."""
    login = Login(USER, VARIABLE)
    driver = await sigma_control.connect(url, timeout_s=TIMEOUT_S, security=login)
    return await _read(driver, ELEMENTS)


async def _read(driver: Driver, requests: Sequence[Request]) -> Any:
    found = await driver.read(0, requests)
    await driver.close()
    return found


Conversation = Callable[[str], Awaitable[Any]]
ON_OPCUA: Mapping[str, Conversation] = {
    "opcua_polled": polled,
    "opcua_watched": watched,
    "opcua_browsed": browsed,
    "opcua_offered": offered,
}


@contextmanager
def _recorded() -> Iterator[list[bytes]]:
    """The bytes of every answer that was taken."""
    answers: list[bytes] = []
    ask = Exchange.ask

    async def recording(self: Exchange, *args: Any, **options: Any) -> bytes:
        found = await ask(self, *args, **options)
        answers.append(self._buffer)
        return found

    with mock.patch.object(Exchange, "ask", recording):
        yield answers


async def _record() -> dict[str, list[bytes]]:
    from support.opcua import plant  # noqa: PLC0415 - asyncua is there where this is made anew

    found: dict[str, list[bytes]] = {}
    with plant() as port:
        for name, converse in ON_OPCUA.items():
            with _recorded() as found[name]:
                await converse(f"opc.tcp://127.0.0.1:{port}/plant")
    clock = lambda: 1000.0  # noqa: E731 - of both controllers
    web = {
        "elektronikon": (Elektronikon(Compressor(1), clock).respond, selected),
        "sigma_control": (
            SigmaControl(Compressor(1), clock, user=USER, password=PASSWORD).respond,
            logged_in,
        ),
    }
    for name, (respond, converse) in web.items():
        async with serving(respond) as port:
            with _recorded() as found[name], mock.patch.dict("os.environ", {VARIABLE: PASSWORD}):
                scheme = name.replace("_", "-")
                await converse(f"{scheme}-http://127.0.0.1:{port}")
    return found


if __name__ == "__main__":
    made = asyncio.run(_record())
    listed = {name: [answer.hex() for answer in answers] for name, answers in made.items()}
    FILE.write_text(json.dumps(listed, indent=0) + "\n")
