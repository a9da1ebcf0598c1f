"""Locked OPC UA servers: every policy, mode and log-in, every flipped byte, certificates renewed.

Against asyncua in process and node-opcua as a process. Every byte of an answer of each mode is
flipped once on the wire, each on a connection of its own; the control is the same without a policy.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import struct
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.drivers import opcua
from joulemark_agent.drivers.base import Request
from joulemark_agent.kernels.datavalue import parse
from joulemark_agent.opcua_access import Access
from joulemark_agent.opcua_security import Mode
from support import servers
from support.certificates import AGENT_URI, certificate, der, pem, written
from support.opcua import FIRST_READ, URI, relayed
from support.opcua_locked import PASSWORDS, POLICIES, VALUE, Locked, locked_plant, node_server

MODES = (Mode.SIGN, Mode.SIGN_AND_ENCRYPT)
VARIABLE = "JOULEMARK_NIGHTLY_PASSWORD"
RAW = struct.pack(">d", VALUE)
TIMEOUT_S = 10.0


def run(seed: int, *, full: bool) -> dict[str, str]:
    """The figures; AssertionError where something does not hold."""
    os.environ[VARIABLE] = PASSWORDS["reader"]
    with TemporaryDirectory() as folder, locked_plant() as locked:
        figures = asyncio.run(_asyncua(Path(folder), locked, random.Random(seed), full=full))
        modules = servers.node_modules("node-opcua")
        if modules is not None:
            figures |= asyncio.run(_node(Path(folder), modules))
    return figures


def _access(folder: Path, server: bytes) -> Access:
    trust = folder / "trusted"
    trust.mkdir(exist_ok=True)
    (trust / "server.pem").write_bytes(server)
    own, key = written(folder, "agent", certificate("agent", uri=AGENT_URI), "agent")
    return Access(trust=trust, certificate=own, key=key)


def _ways(access: Access, folder: Path) -> list[Access]:
    """Every policy and mode with every way to log in; policy None has one mode."""
    user, _ = written(folder, "user", certificate("user"), "user")
    logins: list[dict[str, Any]] = [
        {},
        {"user": "reader", "password_variable": VARIABLE},
        {"user_certificate": user},
    ]
    return [
        replace(access, policy=policy, mode=mode, **login)
        for policy, mode, login in itertools.product(("None", *POLICIES), MODES, logins)
        if policy != "None" or mode == MODES[0]
    ]


async def _read(url: str, access: Access | None, timeout_s: float = TIMEOUT_S) -> bytes | None:
    """What a connection of its own reads."""
    driver = await opcua.connect(url, timeout_s=timeout_s, security=access)
    try:
        asked = Request("node", 0, 1, f"nsu={URI};s=temperature")
        [response] = await driver.read(0, [asked], timeout_s=timeout_s)
    finally:
        await driver.close()
    found = parse(response.data)
    return None if found is None else found.raw


async def _all(url: str, ways: list[Access]) -> str:
    begun_s = time.monotonic()
    for way in ways:
        assert await _read(url, way) == RAW, way
    each_ms = (time.monotonic() - begun_s) / len(ways) * 1000
    return f"{len(ways)} of {len(ways)} read, {each_ms:.0f} ms each with both connections"


async def _node(folder: Path, modules: Path) -> dict[str, str]:
    own = folder / "node"
    own.mkdir()
    agent, user = certificate("agent", uri=AGENT_URI), certificate("user")
    with node_server(modules, own, der(agent), der(user)) as url:
        access = _access(folder, (own / "server.pem").read_bytes())
        ways = _ways(access, folder)
        access.certificate.write_bytes(der(agent))
        (folder / "user.der").write_bytes(der(user))
        return {"node-opcua: policies x modes x log-ins": await _all(url, ways)}


async def _asyncua(
    folder: Path, locked: Locked, rng: random.Random, *, full: bool
) -> dict[str, str]:
    found = certificate("server")
    await asyncio.to_thread(locked.present, found)
    access = _access(folder, pem(found))
    ways = _ways(access, folder)
    figures = {"asyncua: policies x modes x log-ins": await _all(locked.url, ways)}
    for mode in MODES:
        refused, size = await _flipped(locked, replace(access, mode=mode), rng, full=full)
        figures[f"bytes flipped in an answer, {mode.name.lower()}"] = (
            f"{refused} of {refused} refused (answer of {size} bytes)"
        )
    wrong = await _unsigned(locked)
    assert wrong > 0
    figures["control: other values taken without a policy"] = f"{wrong} of 8"
    figures["certificate of the server renewed"] = await _renewed(locked, access, 20 if full else 2)
    return figures


async def _flipped(
    locked: Locked, access: Access, rng: random.Random, *, full: bool
) -> tuple[int, int]:
    """How many flipped bytes were tried, all of which were refused, and the size of an answer."""
    at = -1

    def change(number: int, message: bytes) -> list[bytes]:
        if number != FIRST_READ or at < 0:
            return [message]
        flipped = message[at] ^ rng.randrange(1, 256)
        return [message[:at] + bytes([flipped]) + message[at + 1 :]]

    async with relayed(locked.port) as relay:
        relay.change = change
        assert await _read(relay.url, access) == RAW
        size = len(relay.answered[FIRST_READ + 3])  # after the three that tell what there is
        places = range(size) if full else sorted(rng.sample(range(size), 6))
        for at in places:
            try:
                # a larger size is waited for
                got = await _read(relay.url, access, 0.5 if 4 <= at < 8 else TIMEOUT_S)
            except DeviceError:
                continue
            raise AssertionError(f"byte {at} flipped: {got!r} was taken")
    return len(places), size


async def _unsigned(locked: Locked) -> int:
    """How often a flipped byte of the value was taken."""
    wrong = 0
    for i in range(8):
        bad = bytes(byte ^ (j == i) for j, byte in enumerate(RAW[::-1]))

        def change(number: int, message: bytes, bad: bytes = bad) -> list[bytes]:
            return [message.replace(RAW[::-1], bad) if number == FIRST_READ else message]

        async with relayed(locked.port) as relay:
            relay.change = change
            wrong += await _read(relay.url, None) != RAW
    return wrong


async def _renewed(locked: Locked, access: Access, rounds: int) -> str:
    for _ in range(rounds):
        new = certificate("server")
        await asyncio.to_thread(locked.present, new)
        try:
            await _read(locked.url, access)
        except DeviceError as error:
            assert error.code == "certificate_untrusted", error  # noqa: PT017
        else:
            raise AssertionError("a certificate nobody trusts was taken")
        kept = access.trust.with_name("rejected") / f"127.0.0.1_{locked.port}.der"
        kept.replace(access.trust / "server.pem")
        assert await _read(locked.url, access) == RAW
    return f"{rounds} of {rounds} refused, and read once the file was moved"
