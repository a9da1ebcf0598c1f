"""Hostile Modbus and OPC UA devices, all at once, before a whole agent; what stock clients take.

Each case is a server of its own. None of their answers may become a value, each is recorded as what
it was, good devices beside them keep their slots, and all are read again soon after they are good.
The heaviest answers of an OPC UA server within the client's limits are measured in a process of
their own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, cast

from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient

from support import hostile_modbus, virtual_time
from support.besieged import besieged, judged
from support.besiegers import play
from support.bus import REQUEST_SIZE
from support.child import search_path
from support.hostile_modbus import Way
from support.modbus import REQUEST
from support.tcp import serving

MOST_MB, MOST_MS = 16.0, 500.0  # of one answer
LEAST_ACCEPTED = 5


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Figures of both, and of the controls; `full` runs in the machine's own time, too."""
    del seed  # nothing is drawn: every case is there every time
    figures = judged(virtual_time.run(besieged()))
    if full:
        found = judged(asyncio.run(besieged(is_virtual=False)), is_virtual=False)
        figures |= {f"{what}, in real time": text for what, text in found.items()}
    return figures | _heaviest() | asyncio.run(_stock())


def _heaviest() -> dict[str, str]:
    """Memory and computing of the heaviest answers: all that a cap would have to hold."""
    words = [sys.executable, "-m", "support.heavy_opcua"]
    environment = {**os.environ, "PYTHONPATH": search_path()}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    found: Mapping[str, Mapping[str, Any]] = json.loads(done.stdout)
    figures = {}
    for what, most in (("mb", MOST_MB), ("ms", MOST_MS)):
        name = max(found, key=lambda name, what=what: found[name][what])  # type: ignore[misc]
        taken = found[name][what]
        assert taken <= most, f"{name} took {taken:.0f} {what.upper()}"
        unit = "MB" if what == "mb" else "ms of computing"
        figures[f"heaviest OPC UA answer, {unit}"] = f"{taken:.1f} ({name}; of {len(found)})"
    return figures


async def _stock() -> dict[str, str]:
    """The control: what pymodbus takes of the same answers for good."""
    logging.disable(logging.CRITICAL)
    figures = {}
    for scheme, framer, size in (
        ("modbus-tcp", FramerType.SOCKET, REQUEST.size),
        ("modbus-rtu-tcp", FramerType.RTU, REQUEST_SIZE),
    ):
        cases = {name: way for name, wire, way in hostile_modbus.over_modbus() if wire == scheme}
        taken = [name for name, way in cases.items() if await _takes(way, framer, size)]
        assert len(taken) >= (LEAST_ACCEPTED if scheme == "modbus-tcp" else 1), "it must fail"
        figures[f"control, pymodbus over {scheme}"] = (
            f"takes {len(taken)} of {len(cases)}: {'; '.join(taken)}"
        )
    logging.disable(logging.NOTSET)
    return figures


async def _takes(way: Way, framer: FramerType, size: int) -> bool:
    """Whether the answer is handed over as if it were one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.readexactly(size)
        await play(way.act(question, b""), writer)
        await reader.read()

    async with serving(serve) as port:
        client = AsyncModbusTcpClient(
            "127.0.0.1", port=port, framer=framer, retries=0, timeout=0.1, reconnect_delay=0
        )
        try:
            await client.connect()
            answer = await client.read_holding_registers(0x10, count=2)
            return not answer.isError()
        except Exception:  # noqa: BLE001 - however it refuses
            return False
        finally:
            cast("Any", client).close()
