"""What the agent takes: memory by profile, time to the first value, and a share of a core.

An agent of its own process reads 50 devices with 1,000 points over Modbus TCP and a furnace with
ten over OPC UA once a second, signs and keeps what they say, with CO2e, and sends it to a broker
over TLS; with compiled kernels and without numba. Beside it stands what each part adds to a bare
process. No collector acknowledges anything, so everything that is sent stays in the outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from joulemark_agent import cli
from support import certificates, servers
from support.child import search_path
from support.fleet import SITE, bus_of
from support.opcua import OTHER_URI, VARIABLES, plant

LINES, UNITS, POINTS = 10, 5, 20
DEVICES = LINES * UNITS + 1
GOAL_MB, PLAIN_GOAL_MB, START_GOAL_S = 260, 90, 5.0
PARTS = {
    "bare Python": "",
    "numpy": "import numpy",
    "the agent, nothing compiled": "import joulemark_agent.service",
    "the agent and numba": "import joulemark_agent.service, numba",
    "the agent and every kernel": "import joulemark_agent.service\n"
    "from joulemark_agent.kernels.warm import warm_up\n"
    "from joulemark_agent.documents import load_profile\n"
    "assert not warm_up(load_profile('virtual_main_meter')[0]).waiting",
}
_TELL = "\nprint(next(row.split()[1] for row in open('/proc/self/status') if 'VmRSS' in row))"


class Taken(NamedTuple):
    """What an agent took."""

    started_s: float  # until the first value was kept
    started_cpu_s: float
    first_mb: float
    last_mb: float
    share: float  # of a core


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Every profile; `full` watches for a minute each."""
    del seed
    figures = {f"memory of {name}": f"{_part_mb(code):.0f} MB" for name, code in PARTS.items()}
    seconds = 60.0 if full else 3.0
    with tempfile.TemporaryDirectory() as empty:
        cold = {cli.KERNELS: "compiled", "NUMBA_CACHE_DIR": empty}
        profiles: dict[str, tuple[dict[str, str], int | None, float]] = {
            "compiled": ({cli.KERNELS: "compiled"}, GOAL_MB, seconds),
            "compiled by the agent itself": (cold, None, 3.0),  # a compiler gives nothing back
            "plain": ({cli.KERNELS: "plain"}, PLAIN_GOAL_MB, seconds),
        }
        for name, (environment, goal_mb, watched_s) in profiles.items():
            taken = asyncio.run(_agent(environment, watched_s))
            figures |= {
                f"{name}: memory": f"{taken.last_mb:.0f} MB"
                + (f" of {goal_mb} MB" if goal_mb else "")
                + f", {taken.last_mb - taken.first_mb:+.1f} MB in {watched_s:.0f} s",
                f"{name}: start to the first kept value": f"{taken.started_s:.1f} s,"
                f" {taken.started_cpu_s:.1f} s of CPU",
                f"{name}: {DEVICES} devices a second": f"{taken.share:.1%} of one core",
            }
            if goal_mb is not None:
                assert taken.last_mb <= goal_mb, f"{name}: {taken.last_mb:.0f} MB"
                assert taken.started_cpu_s <= START_GOAL_S, f"{name}: {taken.started_cpu_s:.1f} s"
    return figures


def _part_mb(code: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code + _TELL],
        env={**os.environ, "PYTHONPATH": search_path()},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout) / 1024


async def _agent(environment: dict[str, str], seconds: float) -> Taken:
    """Start an agent and watch it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with AsyncExitStack() as stack:
            lines = [await stack.enter_async_context(bus_of("modbus-tcp")) for _ in range(LINES)]
            port, broker = stack.enter_context(plant()), stack.enter_context(_broker(folder))
            path = _site(folder, [line.url for line in lines], port, broker)
            environment = {**environment, "SSL_CERT_FILE": str(folder / "broker.pem")}
            begun_s = time.monotonic()
            with _started(path, environment) as process:
                while not _records(folder):
                    assert process.poll() is None, "the agent ended"
                    assert time.monotonic() - begun_s < 60, "it keeps nothing"
                    await asyncio.sleep(0.01)
                started_s, started_cpu_s = time.monotonic() - begun_s, _cpu_s(process.pid)
                await asyncio.sleep(3.0)  # until batches close and every kernel was called
                first_mb, first_s, since_s = _mb(process.pid), _cpu_s(process.pid), time.monotonic()
                await asyncio.sleep(seconds)
                share = (_cpu_s(process.pid) - first_s) / (time.monotonic() - since_s)
                last_mb, records = _mb(process.pid), _records(folder)
                assert "New client connected" in (folder / "broker.log").read_text()
    assert records >= 0.9 * DEVICES * seconds, f"only {records} records"
    return Taken(started_s, started_cpu_s, first_mb, last_mb, share)


@contextmanager
def _broker(folder: Path) -> Iterator[int]:
    """The port of a mosquitto that speaks TLS."""
    found = certificates.certificate("broker")
    (folder / "broker.pem").write_bytes(certificates.pem(found))
    (folder / "broker.key").write_bytes(certificates.key_pem("broker"))
    port, program = servers.free_port(), servers.program("mosquitto")
    assert program is not None, "mosquitto is not installed"
    (folder / "broker.conf").write_text(
        f"listener {port} 127.0.0.1\ncertfile {folder}/broker.pem\nkeyfile {folder}/broker.key\n"
        f"allow_anonymous true\nuser root\nlog_dest file {folder}/broker.log\n"
    )
    process = subprocess.Popen([program, "-c", str(folder / "broker.conf")])
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def _site(folder: Path, urls: list[str], opcua_port: int, broker_port: int) -> Path:
    """Devices of 20 points, of meters one the counter whose energy every batch states."""
    rows = [
        f"  - {{name: a{k}_w, table: holding, address: {k}, type: uint16}}\n"
        for k in range(POINTS - 1)
    ]
    profile = (
        "model: meter\nkind: power_meter\nprotocol: modbus\nsource: made up for a test\n"
        "confidence: bench\npoints:\n  - {name: energy_wh, table: holding, address: 40,"
        " type: uint32, counter: true}\n" + "".join(rows)
    )
    (folder / "meter.yaml").write_text(profile)
    nodes = [
        f'  - {{name: {name}_k, node: "nsu={OTHER_URI};s={name}", type: float64}}\n'
        for name in VARIABLES
    ]
    (folder / "furnace.yaml").write_text(
        "model: furnace\nkind: furnace\nprotocol: opcua\nsource: made up for a test\n"
        "confidence: bench\npoints:\n" + "".join(nodes)
    )
    devices = [
        f'  - {{id: d{line}-{unit}, profile: meter.yaml, url: "{url}", unit: {unit},'
        " period_s: 1}\n"
        for line, url in enumerate(urls)
        for unit in range(1, UNITS + 1)
    ]
    path = folder / "site.yaml"
    devices.append(
        f'  - {{id: furnace, profile: furnace.yaml, url: "opc.tcp://127.0.0.1:{opcua_port}",'
        " period_s: 1}\n"
    )
    head = SITE.replace("mqtt://127.0.0.1:9", f"mqtts://127.0.0.1:{broker_port}")
    path.write_text(head + "".join(devices) + "batch: {slots: 96, seconds: 1}\n")
    words = ["agent", "enroll", "-c", str(path), "--operator-key", str(folder / "operator.key")]
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main([*words, "--create-operator-key"]) == 0
    return path


@contextmanager
def _started(path: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "joulemark_agent.cli", "agent", "run", "-c", str(path)],
        env={**os.environ, "PYTHONPATH": search_path(), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _records(folder: Path) -> int:
    """How many readings the agent has kept."""
    place = folder / "state" / "outbox.db"
    if not place.exists():
        return 0
    with closing(sqlite3.connect(f"file:{place}?mode=ro", uri=True)) as box:
        try:
            (count,) = box.execute("SELECT coalesce(sum(records), 0) FROM trees").fetchone()
        except sqlite3.OperationalError:  # not made yet, or just being written
            return 0
    return int(count)


def _mb(pid: int) -> float:
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(row.split()[1] for row in rows if row.startswith("VmRSS"))) / 1024


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
