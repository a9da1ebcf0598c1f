"""The virtual factory as an engineer's own tool sees it: mbpoll, on libmodbus."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from joulemark_agent.simulate.faults import Fault, Faults
from joulemark_agent.simulate.run import factory_of, serve
from joulemark_agent.simulate.scenario import DevicesScenario, load_any_scenario, load_scenario
from support.bus import terminal
from support.needed import service


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


WORD = re.compile(rb"^\[\d+\]:\s+0x([0-9A-F]{4})", re.MULTILINE)


async def polled(options: str, place: str) -> tuple[int | None, bytes]:
    """mbpoll's exit code, and what it says."""
    child = await asyncio.create_subprocess_exec(
        service("mbpoll", "mbpoll"), *options.split(), place,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(10):
        said, _ = await child.communicate()
    return child.returncode, said


def misbehaving(**fault: Any) -> DevicesScenario:
    """One meter of the shipped scenario, with one fault at the slot that is shown, or none."""
    shipped = load_any_scenario("faults")
    assert isinstance(shipped, DevicesScenario)
    plan = (Fault(unit=2, first=0, **fault),) if fault else ()
    [meter] = [device for device in shipped.devices if device.unit == 2]
    few = {"devices": (meter,), "furnace": None, "faults": Faults(seed=1, plan=plan)}
    return shipped.model_copy(update=few)


@asynccontextmanager
async def by_wire(port: int) -> AsyncIterator[str]:
    """The device file of a serial line whose other end is a TCP port."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with terminal() as (master, path):
        loop.add_reader(master, lambda: writer.write(os.read(master, 4096)))

        async def back() -> None:
            while data := await reader.read(4096):
                os.write(master, data)

        answering = asyncio.create_task(back())
        try:
            yield path
        finally:
            loop.remove_reader(master)
            answering.cancel()
            writer.close()
            await writer.wait_closed()


ENERGY = "-a 2 -0 -r 3203 -c 4 -t 4:hex -1 -q -o 1"


@pytest.mark.service
@pytest.mark.parametrize("is_serial", [False, True])
async def test_mbpoll_reads_any_device_over_tcp_and_over_a_serial_line(is_serial: bool) -> None:
    scenario = misbehaving()
    held = factory_of(scenario).shown(2, 0)
    async with await serve(scenario, modbus_port=0, control_port=0) as simulation:
        if is_serial:
            assert simulation.rtu_port is not None
            async with by_wire(simulation.rtu_port) as path:
                code, said = await polled(f"-m rtu -b 115200 -P none {ENERGY}", path)
        else:
            code, said = await polled(f"-m tcp -p {simulation.modbus_port} {ENERGY}", "127.0.0.1")

    assert code == 0, said
    data = bytes.fromhex(b"".join(WORD.findall(said)).decode())
    assert int.from_bytes(data, "big") == held.values["energy_wh"]


@pytest.mark.service
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"kind": "dead"}, b"timed out"),
        ({"kind": "exception", "code": 6}, b"busy"),
        ({"kind": "wrong_unit"}, b""),
        ({"kind": "crc"}, b"CRC"),
    ],
)
async def test_mbpoll_gets_the_fault_that_was_planted(fault: dict[str, Any], why: bytes) -> None:
    """What our faults are is seen by a program that knows nothing of us."""
    scenario = misbehaving(**fault)
    async with await serve(scenario, modbus_port=0, control_port=0) as simulation:
        assert simulation.rtu_port is not None
        async with by_wire(simulation.rtu_port) as path:
            code, said = await polled(f"-m rtu -b 115200 -P none {ENERGY}", path)
        met = [one["kind"] for one in simulation.record.all()]

    assert set(met) == {fault["kind"]}
    assert code != 0
    assert not WORD.findall(said)
    assert why.lower() in said.lower(), said
