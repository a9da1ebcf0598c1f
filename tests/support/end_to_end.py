"""From the register to a subscriber, with the real programs: what it costs, and how late it is.

Machines are those of `data/limits/factory.c`: 50 values each, of which one is the instant of the
answer, so a subscriber knows how old what it hears is. CPU is that of the agent's process alone, by
the kernel's account, after it has settled.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from joulemark_agent.contract.batch import Batch, parse_batch
from joulemark_agent.contract.live import parse_live
from joulemark_gateway.demo.chain import Chain, Place
from support.limits import program

VALUES = 50  # of a machine
PERIOD_US = 1_000_000
TAIL_S = 8.0  # in which what was read is heard: a batch is open for six slots
MODEL = "machine_of_50"
UP, LIVE = "joulemark/v1/up/+/+/batch", "joulemark/v1/up/+/+/live"  # all of it; what goes ahead
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


class Heard(NamedTuple):
    """One reading in a message."""

    values: int
    stamp_ns: int  # when it was read, 0 where it does not say [UTC]
    heard_ns: int  # when the message came [UTC]
    size: int  # of the message, at its first reading; else 0 [bytes]


class Ear:
    """A subscriber that counts values; `of` says how many each reading in a message has, and when
    it was read, 0 where that is not in it. [ns UTC]
    """

    def __init__(self, port: int, topic: str, of: Callable[[bytes], list[tuple[int, int]]]) -> None:
        self.port, self.of, self._heard = port, of, list[Heard]()
        self._lock, self._ready = threading.Lock(), threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message
        connect(self._client, port)
        self._client.loop_start()
        assert self._ready.wait(20)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        now_ns, size = time.time_ns(), len(message.payload)
        found = []
        for values, stamp_ns in self.of(bytes(message.payload)):
            found.append(Heard(values, stamp_ns, now_ns, size))
            size = 0
        with self._lock:
            self._heard += found

    def taken(self) -> list[Heard]:
        """What was heard since the last time."""
        with self._lock:
            heard, self._heard = self._heard, []
        return heard

    def close(self) -> None:
        """Stop listening."""
        self._client.disconnect()
        self._client.loop_stop()


def connect(client: Client, port: int) -> None:
    """Connect, without waiting for a full segment before anything is sent."""
    client.connect("127.0.0.1", port)
    cast("socket.socket", client.socket()).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def named(payload: bytes) -> list[tuple[int, int]]:
    """Of a message of named values: how many, and when they were read."""
    try:
        values = json.loads(payload)
    except ValueError:
        return []
    return [(len(values), values["stamp_ns"])] if "stamp_ns" in values else []


def shown(payload: bytes) -> Batch:
    """The batch of a message that went ahead of a backlog."""
    return parse_live(payload)[0].batch


class Batches:
    """What our batches hold, as they come: values, when they were read, and every slot."""

    def __init__(self, batch_of: Callable[[bytes], Batch] = parse_batch) -> None:
        self._batch_of = batch_of
        self.newest_us: dict[str, int] = {}  # the last slot of each tree with values [UTC]
        self.slots: dict[str, set[int]] = {}  # of each tree: those with a reading [us UTC]
        self.gaps: dict[str, set[int]] = {}  # and those with a signed gap [us UTC]
        self.causes: dict[str, int] = {}  # how many gap slots are of which cause

    def __call__(self, payload: bytes) -> list[tuple[int, int]]:
        """How many values each reading of a batch has, and when they were read."""
        batch, found = self._batch_of(payload), []
        tree = batch.checkpoint.partition("\n")[0]
        read, gaps = self.slots.setdefault(tree, set()), self.gaps.setdefault(tree, set())
        for leaf in batch.leaves:
            record = json.loads(leaf)
            if "raw" in record:
                slot_us = int(record["slot"])
                read.add(slot_us)
                self.newest_us[tree] = max(slot_us, self.newest_us.get(tree, 0))
                stamp_ns = int.from_bytes(bytes.fromhex(record["raw"][0][2][:16]))
                found.append((len(record["val"]), stamp_ns))
            elif record.get("type") == "gap":
                first_us, last_us = int(record["first_slot"]), int(record["last_slot"])
                new = set(range(first_us, last_us + 1, PERIOD_US)) - gaps
                gaps |= new
                cause = record["cause"]
                self.causes[cause] = self.causes.get(cause, 0) + len(new)
        return found

    def unaccounted(self) -> int:
        """Slots between the first and the last of a tree that have neither reading nor gap."""
        missing = 0
        for tree, read in self.slots.items():
            known = read | self.gaps[tree]
            missing += (max(known) - min(known)) // PERIOD_US + 1 - len(known) if known else 0
        return missing

    def missed(self) -> int:
        """How many slots have a signed gap."""
        return sum(len(gaps) for gaps in self.gaps.values())


def measured(pid: int, ear: Ear, *, settle_s: float, for_s: float) -> Cost:
    """What a process cost while an ear listened."""
    [found] = beside({"": (pid, ear)}, settle_s=settle_s, for_s=for_s, rounds=1)
    return found[""]


def beside(
    runs: Mapping[str, tuple[int, Ear]],
    *,
    settle_s: float,
    for_s: float,
    rounds: int,
    tail_s: float = TAIL_S,
) -> list[dict[str, Cost]]:
    """What several that run at once cost, by name, in spans that are the same for all.

    A value is of the span in which it was read, however late it is heard.
    """
    time.sleep(settle_s)
    marks = [_mark(runs)]
    for _ in range(rounds):
        time.sleep(for_s)
        marks.append(_mark(runs))
    time.sleep(tail_s)
    heard = {name: ear.taken() for name, (_, ear) in runs.items()}
    return [
        {
            name: _cost(heard[name], (begun_ns, ended_ns), after[name] - before[name], pid)
            for name, (pid, _) in runs.items()
        }
        for (begun_ns, before), (ended_ns, after) in itertools.pairwise(marks)
    ]


def _mark(runs: Mapping[str, tuple[int, Ear]]) -> tuple[int, dict[str, float]]:
    return time.time_ns(), {name: cpu_s(pid) for name, (pid, _) in runs.items()}


def _cost(heard: list[Heard], span: tuple[int, int], spent_s: float, pid: int) -> Cost:
    of_span = [one for one in heard if span[0] <= (one.stamp_ns or one.heard_ns) < span[1]]
    ages_ms = [(one.heard_ns - one.stamp_ns) / 1e6 for one in of_span if one.stamp_ns]
    size = sum(one.size for one in heard if span[0] <= one.heard_ns < span[1])
    values = sum(one.values for one in of_span)
    return Cost((span[1] - span[0]) / 1e9, spent_s, values, peak_mb(pid), np.array(ages_ms), size)


def cpu_s(pid: int) -> float:
    """CPU of a process and its threads so far, those that have ended left out. [s]"""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text("utf-8").split()[0]) for task in tasks) / 1e9


def peak_mb(pid: int) -> float:
    """Most memory a process has had. [MB]"""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    [kib] = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return kib / 1024


@contextmanager
def machines(count: int) -> Iterator[list[int]]:
    """The ports of so many machines."""
    ports = _free_ports(count)
    words = [str(program("factory")), *map(str, ports)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield ports
    finally:
        process.kill()
        process.communicate()


def _free_ports(count: int) -> list[int]:
    """Below those that connections take, so that none is taken before it is listened on."""
    found: list[int] = []
    for port in random.sample(range(15_000, 32_000), 4 * count + 100):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                trial.bind(("127.0.0.1", port))
                found.append(port)
        if len(found) == count:
            break
    return found


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
            f" collector_name: {values['collector_name']}}}\n"
            f"batch: {self._batch}\ndevices:\n{rows}\n"
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
        with unwatched():
            chain.begin()
        yield chain
    finally:
        chain.stop()
        shutil.rmtree(folder / "collector", ignore_errors=True)


@contextmanager
def unwatched() -> Iterator[None]:
    """Without what looks at everything that tests send (`leaving`), which would be measured too."""
    before = os.environ.get("PYTHONPATH")
    hooked = str(Path(__file__).parent / "hooked")
    paths = [path for path in (before or "").split(os.pathsep) if path != hooked]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    try:
        yield
    finally:
        if before is not None:
            os.environ["PYTHONPATH"] = before


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
