"""Tests that pass while a write is about to leave: the control of `agent/test_reads_only.py`."""

import asyncio
import subprocess
import sys
from contextlib import suppress

from joulemark_agent import exchange
from joulemark_agent.contract.errors import DeviceError
from support.tcp import serving

WRITE = bytes.fromhex("000100000006010600000001")


async def plant() -> None:
    async with serving(lambda *_: asyncio.sleep(60)) as port:
        opened = await exchange.connect("127.0.0.1", port, timeout_s=5.0)
        with suppress(DeviceError, AssertionError):
            await opened.ask(WRITE, lambda answer: answer, timeout_s=0.5)
        await opened.close()


async def test_in_a_test() -> None:
    await plant()


def test_in_a_process() -> None:
    """It inherits the environment, and is told nothing."""
    code = f"import sys; sys.path[:] = {sys.path}\n"
    code += f"import asyncio, runpy; asyncio.run(runpy.run_path({__file__!r})['plant']())"
    subprocess.run([sys.executable, "-c", code], check=True)
