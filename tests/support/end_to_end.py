"""From the register to a subscriber, with the real programs: what it costs, and how late it is.

Machines are those of `data/limits/factory.c`: 50 values each, of which one is the instant of the
answer, so a subscriber knows how old what it hears is. CPU is that of the agent's process alone, by
the kernel's account, after it has settled.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from joulemark_agent.contract.batch import parse_batch
from joulemark_gateway.demo.chain import Chain, Place
from support.limits import program
from support.servers import free_port

VALUES = 50  # of a machine
MODEL = "machine_of_50"
_TICKS = os.sysconf("SC_CLK_TCK")
_FLOATS = VALUES - 2


@dataclass
class Cost:
    """What a process used, and what a subscriber heard of it, in one span."""

    seconds: float
    cpu_s: float
    values: int
    peak_mb: float
    late_ms: np.ndarray = field(repr=False)  # of every value set heard, shape (n,)
    bytes_heard: int = 0

    @property
    def cpu_s_per_million(self) -> float:
        """CPU seconds a million values."""
        return self.cpu_s / self.values * 1e6 if self.values else float("nan")

    def late(self, share: float) -> float:
        """A quantile of how late values were heard. [ms]"""
        return float(np.quantile(self.late_ms, share)) if self.late_ms.size else float("nan")


class Ear:
    """A subscriber that counts values and their age; `of` says the stamps in a message. [ns]"""

    def __init__(self, port: int, topic: str, of: Callable[[bytes], list[tuple[int, int]]]) -> None:
        self._of, self.heard, self.bytes_heard = of, list[tuple[int, int]](), 0
        self._lock, self._ready = threading.Lock(), threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(20)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        now_ns = time.time_ns()
        found = self._of(message.payload)
        with self._lock:
            self.bytes_heard += len(message.payload)
            self.heard += [(count, now_ns - stamp_ns) for count, stamp_ns in found]

    def taken(self) -> tuple[list[tuple[int, int]], int]:
        """What was heard since the last time: (values, age in ns) a set; and bytes."""
        with self._lock:
            heard, size = self.heard, self.bytes_heard
            self.heard, self.bytes_heard = [], 0
        return heard, size

    def close(self) -> None:
        """Stop listening."""
        self._client.disconnect()
        self._client.loop_stop()


def named(payload: bytes) -> list[tuple[int, int]]:
    """Of a message of named values: how many, and when they were read."""
    try:
        values = json.loads(payload)
    except ValueError:
        return []
    return [(len(values), values["stamp_ns"])] if "stamp_ns" in values else []


def batched(payload: bytes) -> list[tuple[int, int]]:
    """Of a batch of ours: how many values each reading has, and when they were read."""
    found = []
    for leaf in parse_batch(payload).leaves:
        record = json.loads(leaf)
        if "raw" in record:
            stamp_ns = int.from_bytes(bytes.fromhex(record["raw"][0][2][:16]))
            found.append((len(record["val"]), stamp_ns))
    return found


def measured(pid: int, ear: Ear, *, settle_s: float, for_s: float) -> Cost:
    """What a process cost while an ear listened."""
    time.sleep(settle_s)
    ear.taken()
    begun_s, before_s = time.monotonic(), cpu_s(pid)
    time.sleep(for_s)
    heard, size = ear.taken()
    spent_s, took_s = cpu_s(pid) - before_s, time.monotonic() - begun_s
    ages = np.array([age for _, age in heard], dtype=np.float64) / 1e6
    return Cost(took_s, spent_s, sum(n for n, _ in heard), peak_mb(pid), ages, size)


def cpu_s(pid: int) -> float:
    """CPU of a process and its threads so far. [s]"""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_mb(pid: int) -> float:
    """Most memory a process has had. [MB]"""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    [kib] = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return kib / 1024


@contextmanager
def machines(count: int) -> Iterator[list[int]]:
    """The ports of so many machines."""
    ports = [free_port() for _ in range(count)]
    words = [str(program("factory")), *map(str, ports)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield ports
    finally:
        process.kill()
        process.communicate()


@contextmanager
def limit_agent(broker: int, period_s: float, ports: list[int]) -> Iterator[int]:
    """The pid of the least an agent can do."""
    words = [str(program("agent")), str(broker), str(round(period_s * 1e6)), *map(str, ports)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


class PlainChain(Chain):
    """Our agent, mosquitto and our collector before machines that stand elsewhere."""

    def __init__(self, folder: Path, ports: list[int], *, batch: str, units: int = 1) -> None:
        self._machines = [(port, unit) for unit in range(1, units + 1) for port in ports]
        self._batch = batch
        names = tuple(f"machine-{n:04}" for n in range(len(self._machines)))
        super().__init__(folder, (Place("plant", "edge-1", "site", "", names, 0, ()),), "mosquitto")

    def site_text(self, place: Place, values: dict[str, Any]) -> str:
        """A device a machine, in real time."""
        (self.folder / place.folder / "machine.yaml").write_text(json.dumps(profile()), "utf-8")
        rows = "\n".join(
            f'  - {{id: {name}, profile: machine.yaml, url: "modbus-tcp://127.0.0.1:{port}",'
            f" unit: {unit}, period_s: 1}}"
            for name, (port, unit) in zip(place.devices, self._machines, strict=True)
        )
        return (
            f"site: plant\nagent: edge-1\ntime_zone: Asia/Seoul\nstate_dir: state\n"
            "factors: {set: korea, rule_set: ESG, jurisdiction: KR}\n"
            f'uplink: {{url: "mqtt://127.0.0.1:{values["broker"]}",'
            f' collector_key: "{values["collector_key"]}",'
            f' collector_name: {values["collector_name"]}}}\nbatch: {self._batch}\ndevices:\n{rows}\n'
        )

    def begin(self) -> None:
        """Start broker, collector, and then the agent."""
        for name in ("broker", "collector", "agent"):
            self.start(name)


@contextmanager
def our_chain(folder: Path, ports: list[int], *, batch: str, units: int = 1) -> Iterator[Chain]:
    """Our own processes, running."""
    chain = PlainChain(folder, ports, batch=batch, units=units)
    try:
        chain.prepare()
        chain.begin()
        yield chain
    finally:
        chain.stop()
        shutil.rmtree(folder / "collector", ignore_errors=True)


def profile() -> dict[str, Any]:
    """The register table of `factory.c`."""
    rows: list[dict[str, Any]] = [
        {"name": "stamp_s", "table": "holding", "address": 0, "type": "uint64", "scale": 1e-9},
        {"name": "energy_wh", "table": "holding", "address": 4, "type": "uint32", "counter": True},
    ]
    rows += [
        {"name": f"p{k}_w", "table": "holding", "address": 6 + 2 * k, "type": "float32"}
        for k in range(_FLOATS)
    ]
    return {
        "model": MODEL, "kind": "power_meter", "protocol": "modbus", "points": rows,
        "source": "tests/data/limits/factory.c", "confidence": "bench",
        "golden": [{"point": "energy_wh", "words": [0, 1], "value": 1}],
    }  # fmt: skip
