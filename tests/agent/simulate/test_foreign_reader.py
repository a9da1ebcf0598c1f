"""The virtual factory as an engineer's own tool sees it: mbpoll, on libmodbus."""

import asyncio
import re

import pytest

from conftest import service
from joulemark_agent.simulate.run import factory_of, serve
from joulemark_agent.simulate.scenario import load_scenario


@pytest.mark.service
async def test_mbpoll_reads_the_words_that_the_factory_holds() -> None:
    mbpoll = service("mbpoll", "mbpoll")
    scenario = load_scenario("unchanged")
    held = factory_of(scenario)
    async with await serve(scenario, modbus_port=0, control_port=0) as simulation:
        for unit, count in ((1, 15), (2, 4)):
            options = (
                f"-m tcp -p {simulation.modbus_port} -a {unit} -0 -r 0 -c {count} -t 4:hex -1 -q"
            )
            child = await asyncio.create_subprocess_exec(
                mbpoll, *options.split(), "127.0.0.1", stdout=asyncio.subprocess.PIPE
            )
            async with asyncio.timeout(10):
                said, _ = await child.communicate()
            words = re.findall(rb"^\[\d+\]:\s+0x([0-9A-F]{4})", said, re.MULTILINE)

            assert child.returncode == 0, said
            assert bytes.fromhex(b"".join(words).decode()) == held.units[unit]["holding"].read(
                0, 0, count
            )
