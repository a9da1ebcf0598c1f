"""The newest releases of what we depend on: what stands behind one file still behaves as it did.

Everything is installed anew without the exact versions of constraints.txt, and the tests of the
files that a library stands behind are run; of those that the agent needs, also in an environment
without pymodbus, which only tests use.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
WATCHED = ("asyncua", "cryptography", "duckdb", "fastapi", "h11", "numba", "numpy", "paho-mqtt",
           "pydantic", "pymodbus", "pysunspec2")  # fmt: skip
CONTRACTS = (
    "tests/agent/drivers", "tests/agent/test_uplink.py", "tests/agent/test_http.py",
    "tests/agent/simulate", "tests/agent/kernels", "tests/gateway/ingest", "tests/gateway/series",
    "tests/gateway/measure",
)  # fmt: skip
READS = """
import asyncio, importlib.util, sys
from pathlib import Path
from joulemark_agent.drivers import modbus
from joulemark_agent.drivers.base import Request
assert importlib.util.find_spec("pymodbus") is None
async def read():
    driver = await modbus.connect(sys.argv[1], timeout_s=5.0)
    [found] = await driver.read(1, [Request("input", 0, 4)])
    await driver.close()
    return len(found.data)
print(asyncio.run(read()))
"""


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Install and test; there is no shorter form of it."""
    del seed, full
    with tempfile.TemporaryDirectory() as name:
        everything = environment(Path(name) / "all", ".[all,test]")
        tested = call(everything, "-m", "pytest", "-q", "-n", "2", *CONTRACTS)
        listed = json.loads(call(everything, "-m", "pip", "list", "--format=json"))
        found = {row["name"].lower(): row["version"] for row in listed}
        bare = environment(Path(name) / "bare", ".[agent]")
        words = read_by(everything, bare)
    return {
        **{package: found[package] for package in WATCHED},
        "tests": tested.strip().splitlines()[-1],
        "the agent alone, without pymodbus": f"read {words} bytes over Modbus TCP",
    }


def environment(folder: Path, wanted: str) -> Path:
    """The Python of a new environment with the newest releases of what is wanted."""
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    call(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wanted)
    return python


def read_by(serving: Path, reading: Path) -> int:
    """How many bytes one environment reads of the virtual factory of the other."""
    command = [str(serving), "-m", "joulemark_agent.cli", "agent", "simulate", "-c", "faults",
               "--real-time", "--json"]  # fmt: skip
    factory = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert factory.stdout is not None
        port = json.loads(factory.stdout.readline())["modbus_port"]
        return int(call(reading, "-c", READS, f"modbus-tcp://127.0.0.1:{port}"))
    finally:
        factory.terminate()
        factory.communicate()


def call(python: Path, *words: str) -> str:
    """What a command says.

    Raises:
        AssertionError: it fails.
    """
    settings = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [python, *words], cwd=ROOT, env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (words, done.stdout[-3000:], done.stderr[-2000:])
    return done.stdout
