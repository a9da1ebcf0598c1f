"""The whole virtual factory over its sockets: in process, and as the command."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.simulate.run import Simulation, factory_of, serve
from joulemark_agent.simulate.scenario import load_any_scenario, load_scenario

FIRST_US, PERIOD_US = 1_514_732_400_000_000, 900_000_000


class Control:
    """The agent's side of the control socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def go(self, committed: int | None, slot: int) -> dict[str, Any]:
        committed_us = None if committed is None else FIRST_US + committed * PERIOD_US
        request = {"committed_us": committed_us, "go_us": FIRST_US + slot * PERIOD_US}
        self.writer.write(json.dumps(request).encode() + b"\n")
        async with asyncio.timeout(5):
            reply: dict[str, Any] = json.loads(await self.reader.readline())
        return reply


async def connected(simulation: Simulation) -> tuple[Control, AsyncModbusTcpClient]:
    assert simulation.control_port is not None
    control = Control(*await asyncio.open_connection("127.0.0.1", simulation.control_port))
    client = AsyncModbusTcpClient("127.0.0.1", port=simulation.modbus_port)
    assert await client.connect()
    return control, client


@pytest.mark.parametrize("name", ["unchanged", "retrofit"])
async def test_pymodbus_reads_the_stepped_registers_of_both_units(name: str) -> None:
    scenario = load_scenario(name)
    factory = factory_of(scenario)
    async with await serve(scenario, modbus_port=0, control_port=0) as simulation:
        control, client = await connected(simulation)
        for slot in (*range(10), *range(9, 300, 10), *range(17_370, 17_500, 10), 29_856, 35_040):
            committed = slot - 1 if slot else None
            assert await control.go(committed, slot) == {"now_us": FIRST_US + slot * PERIOD_US}
            meter = await client.read_holding_registers(0, count=15, device_id=1)
            counter = await client.read_holding_registers(0, count=4, device_id=2)
            for unit, reply in ((1, meter), (2, counter)):
                words = b"".join(word.to_bytes(2, "big") for word in reply.registers)
                expected = factory.units[unit]["holding"].read(slot, 0, len(reply.registers))
                assert words == expected, (unit, slot)
            kw = client.convert_from_registers(meter.registers[4:6], client.DATATYPE.FLOAT32)
            assert isinstance(kw, float)
            assert 0 <= kw < 630
        assert await control.go(35_040, 35_041) == {
            "end": True,
            "last_us": FIRST_US + 35_040 * PERIOD_US,
        }
        client.close()
        control.writer.close()


async def test_before_the_first_step_the_registers_show_the_opening_slot() -> None:
    async with await serve(load_scenario("unchanged"), modbus_port=0, control_port=0) as simulation:
        control, client = await connected(simulation)
        reply = await client.read_holding_registers(0, count=4, device_id=1)
        words = b"".join(word.to_bytes(2, "big") for word in reply.registers)
        assert int.from_bytes(words, "big") == 41_235_000_000
        client.close()
        control.writer.close()


async def test_everything_listens_on_loopback_only_and_closing_leaves_nothing_open() -> None:
    simulation = await serve(load_scenario("unchanged"), modbus_port=0, control_port=0)
    hosts = {one.getsockname()[0] for s in simulation._servers for one in s.sockets}
    control, client = await connected(simulation)
    await simulation.close()

    assert hosts == {"127.0.0.1"}
    assert await control.reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", simulation.modbus_port)
    client.close()
    control.writer.close()


async def test_a_taken_port_is_named_and_nothing_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on .*:{port}: "):
            await serve(load_scenario("unchanged"), modbus_port=port, control_port=0)
    with pytest.raises(ConfigError, match=r"cannot listen on .*:70000: "):
        await serve(load_scenario("unchanged"), modbus_port=70_000, control_port=0)


async def test_in_real_time_there_is_no_control_port_and_the_meter_answers() -> None:
    async with await serve(
        load_scenario("unchanged"), modbus_port=0, control_port=0, is_real_time=True
    ) as simulation:
        assert simulation.control_port is None
        client = AsyncModbusTcpClient("127.0.0.1", port=simulation.modbus_port)
        assert await client.connect()
        reply = await client.read_holding_registers(0, count=4, device_id=1)
        words = b"".join(word.to_bytes(2, "big") for word in reply.registers)
        total_wh = int.from_bytes(words, "big") - 41_235_000_000
        assert 0 <= total_wh <= 959_636_710
        client.close()


async def test_the_hall_has_no_real_time_and_says_why() -> None:
    with pytest.raises(
        ConfigError, match=r"'equipment_hall' has no real time: .* Leave --real-time"
    ):
        await serve(
            load_any_scenario("equipment_hall"), modbus_port=0, control_port=0, is_real_time=True
        )


async def test_a_port_that_is_taken_from_the_furnace_closes_the_rest_of_the_hall() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        socket.create_server(("127.0.0.1", 0)) as free,
    ):
        port, modbus_port = (one.getsockname()[1] for one in (taken, free))
        free.close()
        with pytest.raises(ConfigError, match=f"cannot listen on .*:{port}: "):
            await serve(
                load_any_scenario("equipment_hall"),
                modbus_port=modbus_port,
                control_port=0,
                opcua_port=port,
            )
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", modbus_port)


MAIN = """
import argparse, sys
from joulemark_agent.simulate.command import add_commands
parser = argparse.ArgumentParser()
add_commands(parser.add_subparsers())
args = parser.parse_args()
sys.exit(args.run(args))
"""


def started(*options: str) -> subprocess.Popen[bytes]:
    """The command as a process that turns warnings into errors; its first line says it is ready."""
    command = [sys.executable, "-W", "error", "-c", MAIN, "simulate", "--modbus-port", "0"]
    return subprocess.Popen(
        [*command, "--control-port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_it_listens_and_ends_cleanly_on_a_signal(
    number: signal.Signals,
) -> None:
    with started("-c", "retrofit", "--json") as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", ready["modbus_port"])) as line:
            line.sendall(bytes.fromhex("000100000006020300000004"))
            reply = line.recv(100)
            process.send_signal(number)
            out, err = process.communicate(timeout=10)

    assert int.from_bytes(reply[9:], "big") == 3_512_400_000
    assert (process.returncode, out, err) == (0, b"", b"")
    assert ready["scenario"] == "retrofit"
    assert ready["synthetic_units"] == [2]
    assert ready["control_port"] > 0
    assert ready["opcua_port"] is None


def test_the_command_serves_the_hall_and_says_that_its_furnace_is_synthetic() -> None:
    with started("-c", "equipment_hall", "--opcua-port", "0", "--json") as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", ready["modbus_port"])) as line:
            line.sendall(bytes.fromhex("0001000000060d039c400002"))  # unit 13, register 40000
            reply = line.recv(100)
        with socket.create_connection(("127.0.0.1", ready["opcua_port"])):
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=10)

    assert reply[9:] == b"SunS"
    assert (process.returncode, out, err) == (0, b"", b"")
    assert ready["synthetic_units"] == ["furnace"]
    assert len({ready[f"{name}_port"] for name in ("modbus", "opcua", "control")}) == 3


def test_the_text_for_a_person_says_which_unit_is_synthetic() -> None:
    with started("-c", "unchanged", "--real-time") as process:
        assert process.stdout is not None
        text = process.stdout.readline().decode()
        process.terminate()
        process.communicate(timeout=10)

    assert "unit 2 production counter (SYNTHETIC)" in text
    assert "no control port" in text
    assert process.returncode == 0


def test_the_command_line_can_be_built_without_yaml_or_numpy() -> None:
    """A machine that only verifies has no yaml: building the parser must not need it."""
    code = (
        "import sys; from joulemark_agent.simulate import command;"
        "print(sorted({'yaml', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )

    assert done.stdout.strip() == "[]"
