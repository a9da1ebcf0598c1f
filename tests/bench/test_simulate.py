"""What the virtual factory may cost: printed against its limits, asserted nowhere."""

import gzip
import json
import resource
import socket
import subprocess
import sys
import time
from importlib import resources

import pytest

import joulemark_profiles
from joulemark_agent.contract.document import parse_yaml, validate
from joulemark_agent.contract.profile import Profile
from joulemark_agent.simulate.factory import UNITS, build_factory
from joulemark_agent.simulate.recording import parse_recording
from joulemark_agent.simulate.scenario import load_scenario

pytestmark = pytest.mark.bench

FIRST_US, PERIOD_US, SLOTS = 1_514_732_400_000_000, 900_000_000, 3000
MAIN = """
import argparse, sys
from joulemark_agent.simulate.command import add_commands
parser = argparse.ArgumentParser()
add_commands(parser.add_subparsers())
args = parser.parse_args(["simulate", "-c", "unchanged", "--json", *sys.argv[1:]])
sys.exit(args.run(args))
"""


def test_building_a_scenario_against_its_limit_of_1_5_s() -> None:
    folder = resources.files("joulemark_agent.simulate").joinpath("recordings")
    packed = folder.joinpath("steel_gwangyang_2018.csv.gz").read_bytes()
    profiles = {
        name: validate(Profile, parse_yaml(joulemark_profiles.text("devices", name), name))
        for name in UNITS.values()
    }
    begun_s = time.process_time()
    recording = parse_recording(gzip.decompress(packed).decode())
    build_factory(load_scenario("retrofit"), recording, profiles)
    spent_s = time.process_time() - begun_s

    sys.stdout.write(f"recording and scenario: {spent_s:.3f} s CPU, {spent_s / 1.5:.0%} of 1.5 s\n")


def test_serving_a_slot_against_its_limit_of_half_a_millisecond() -> None:
    """Control and two reads of a process of its own; its CPU time is known when it has ended."""
    idle_s = cpu_of_a_run(0)
    ms = (cpu_of_a_run(SLOTS) - idle_s) / SLOTS * 1e3

    sys.stdout.write(f"one slot: {ms:.3f} ms CPU of the simulator, {ms / 0.5:.0%} of 0.5 ms\n")


def cpu_of_a_run(slots: int) -> float:
    """CPU of a simulator that serves so many slots, start included. [s]"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "--modbus-port", "0", "--control-port", "0"],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    with process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        step_through(ready["control_port"], ready["modbus_port"], slots)
        process.terminate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def step_through(control_port: int, modbus_port: int, slots: int) -> None:
    """Go to every slot in turn and read both units."""
    with (
        socket.create_connection(("127.0.0.1", control_port)) as control,
        socket.create_connection(("127.0.0.1", modbus_port)) as modbus,
        control.makefile("rb") as answers,
        modbus.makefile("rb") as replies,
    ):
        for slot in range(slots):
            committed_us = FIRST_US + (slot - 1) * PERIOD_US if slot else None
            request = {"committed_us": committed_us, "go_us": FIRST_US + slot * PERIOD_US}
            control.sendall(json.dumps(request).encode() + b"\n")
            assert json.loads(answers.readline()) == {"now_us": request["go_us"]}
            for unit, count in ((1, 15), (2, 4)):
                modbus.sendall(bytes([0, 1, 0, 0, 0, 6, unit, 3, 0, 0, 0, count]))
                assert len(replies.read(9 + 2 * count)) == 9 + 2 * count
