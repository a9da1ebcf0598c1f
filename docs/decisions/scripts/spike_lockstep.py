"""Lock-step replay, measured: milliseconds per slot by stage, and what ten kills of the agent do.

    python spike_lockstep.py                           # all variants, ten kills; under two minutes
    python spike_lockstep.py --slots 35041 --rounds 1  # a year of 15-minute slots
    python spike_lockstep.py --rounds 0 --kills 100    # kills only

Three processes: this one, the simulator (owns the clock) and the agent (reads, hashes, commits).

Control protocol, JSON lines over loopback TCP, one request and one reply at a time:

    agent      {"committed_us": X | null, "go_us": T}
    simulator  {"now_us": T}                 the registers now show slot T and stay there
               {"end": true}                 T lies past the last slot
               {"refused": reason, ...}      nothing changed; see `LockStep.answer` for the reasons

Needs `rfc8785`, and `pymodbus` 3.16 for the variant that has it as the peer.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import random
import signal
import socket
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

import rfc8785

FIRST_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
INTERVAL_US = 900_000_000  # 15 minutes
MAX_AHEAD = 10  # slots that may be served and not yet committed
TIMEOUT_S = 5.0
YEAR_SLOTS = 35_041  # 365 days of 15 minutes, both ends
STAGES = ("control", "read meter", "read counter", "encode", "commit")


class Device(NamedTuple):
    """One block of registers of one unit."""

    name: str
    unit: int
    table: str
    function: int
    address: int
    registers: int
    layout: struct.Struct
    points: tuple[str, ...]


METER = Device(
    "main-meter", 1, "holding", 3, 0, 15, struct.Struct(">7IH"),
    ("energy_wh", "power_w", "reactive_var", "v1_mv", "v2_mv", "v3_mv", "i1_ma", "freq_mhz"),
)  # fmt: skip
COUNTER = Device("counter-01", 2, "input", 4, 100, 4, struct.Struct(">Q"), ("energy_wh",))
DEVICES = (METER, COUNTER)


def words_at(device: Device, slot_us: int) -> bytes:
    """The device's registers at a slot: unlike those of every other slot, so a mix-up shows."""
    return hashlib.sha256(f"{device.unit}:{slot_us}".encode()).digest()[: 2 * device.registers]


# ---------------------------------------------------------------- simulator


class LockStep:
    """The simulated clock and the rule by which it moves."""

    def __init__(self, slots: int) -> None:
        self.last_us = FIRST_US + (slots - 1) * INTERVAL_US
        self.now_us = FIRST_US
        self.committed_us = FIRST_US - INTERVAL_US
        self.served = self.went_back = self.refused = 0
        self.image = {d.unit: words_at(d, self.now_us) for d in DEVICES}

    def answer(self, line: bytes) -> dict[str, Any]:
        """The reply to one control line; the clock moves only when the reply is `now_us`."""
        try:
            request = json.loads(line)
            committed_us, go_us = request["committed_us"], request["go_us"]
        except (ValueError, KeyError, TypeError):
            return self._refuse("malformed")
        if committed_us is None:
            committed_us = FIRST_US - INTERVAL_US
        if not (isinstance(committed_us, int) and isinstance(go_us, int)):
            return self._refuse("malformed")
        if (committed_us - FIRST_US) % INTERVAL_US or (go_us - FIRST_US) % INTERVAL_US:
            return self._refuse("not_a_slot")
        if not self.committed_us <= committed_us <= self.last_us:
            return self._refuse("committed_wrong")  # a commit was lost, or another run's queue
        if go_us <= committed_us:
            return self._refuse("committed_already")
        if go_us > committed_us + MAX_AHEAD * INTERVAL_US:
            return self._refuse("ahead")
        self.committed_us = committed_us
        if go_us > self.last_us:
            return {"end": True}
        self.served += 1
        self.went_back += go_us < self.now_us
        self.now_us = go_us
        self.image = {d.unit: words_at(d, go_us) for d in DEVICES}
        return {"now_us": go_us}

    def _refuse(self, reason: str) -> dict[str, Any]:
        self.refused += 1
        return {"refused": reason, "committed_us": self.committed_us, "now_us": self.now_us}


class ControlServer:
    """Only the newest connection moves the clock: a dead agent's last line may still wait."""

    def __init__(self, clock: LockStep) -> None:
        self.clock = clock
        self.owner: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one agent until it goes away or another one comes."""
        if self.owner is not None:
            self.owner.close()
        self.owner = writer
        try:
            while (line := await reader.readline()) and self.owner is writer:
                writer.write(json.dumps(self.clock.answer(line)).encode() + b"\n")
        except ConnectionError:
            pass  # how a killed agent goes away
        writer.close()


class ModbusServer(asyncio.Protocol):
    """Modbus TCP, function codes 3 and 4, from the image of the current slot."""

    def __init__(self, clock: LockStep) -> None:
        self.clock = clock
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request; hang up on a head that no read request has."""
        self.buffer += data
        while len(self.buffer) >= 12:
            request, self.buffer = self.buffer[:12], self.buffer[12:]
            tid, protocol, length, unit, function, address, count = struct.unpack(
                ">HHHBBHH", request
            )
            if (protocol, length) != (0, 6):
                self.transport.close()
                return
            pdu = self.reply(unit, function, address, count)
            self.transport.write(struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu)

    def reply(self, unit: int, function: int, address: int, count: int) -> bytes:
        """The response PDU: data, or exception 1, 2 or 11."""
        device = next((d for d in DEVICES if d.unit == unit), None)
        if device is None:
            return bytes((function | 0x80, 11))
        if function != device.function:
            return bytes((function | 0x80, 1))
        start = address - device.address
        if start < 0 or count < 1 or start + count > device.registers:
            return bytes((function | 0x80, 2))
        words = self.clock.image[unit][2 * start : 2 * (start + count)]
        return bytes((function, len(words))) + words


async def pymodbus_port(clock: LockStep) -> int:
    """The same registers behind a pymodbus server."""
    # Imported here: one variant needs it, and the simulators of the others are charged by CPU time.
    from pymodbus.server import ModbusTcpServer  # noqa: PLC0415
    from pymodbus.simulator import DataType, SimData, SimDevice  # noqa: PLC0415

    def device(d: Device) -> SimDevice:
        async def show_slot(
            _function: int, start: int, _address: int, _count: int, registers: list[int], _: object
        ) -> None:
            at = d.address - start
            registers[at : at + d.registers] = struct.unpack(
                f">{d.registers}H", clock.image[d.unit]
            )

        block = SimData(d.address, values=[0] * d.registers, datatype=DataType.REGISTERS)
        return SimDevice(d.unit, [block], action=show_slot)

    server = ModbusTcpServer([device(d) for d in DEVICES], address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    listener = cast(asyncio.Server, server.transport)
    return int(listener.sockets[0].getsockname()[1])


async def run_simulator(slots: int, peer: str) -> None:
    """Serve until SIGTERM; first line out: the ports, last line: what was served."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    clock = LockStep(slots)
    control = await asyncio.start_server(ControlServer(clock).serve, "127.0.0.1", 0)
    if peer == "pymodbus":
        modbus_port = await pymodbus_port(clock)
    else:
        modbus = await loop.create_server(lambda: ModbusServer(clock), "127.0.0.1", 0)
        modbus_port = modbus.sockets[0].getsockname()[1]
    ports = {"control": control.sockets[0].getsockname()[1], "modbus": modbus_port}
    print(json.dumps(ports), flush=True)
    await stop.wait()
    counts = {n: getattr(clock, n) for n in ("served", "went_back", "refused", "committed_us")}
    print(json.dumps(counts | {"cpu_s": time.process_time()}), flush=True)


# ---------------------------------------------------------------- agent


class Line(Protocol):
    """A byte stream to one peer."""

    def write(self, data: bytes) -> None:
        """Send the bytes."""

    async def read_exactly(self, count: int) -> bytes:
        """The next `count` bytes; an error where the peer closes before."""

    async def read_line(self) -> bytes:
        """The bytes up to the end of the line, or of the stream."""


class AsyncLine:
    """asyncio streams, with a deadline on every read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> AsyncLine:
        """A line to this port of the machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def write(self, data: bytes) -> None:
        """Hand the bytes to the event loop, which sends them."""
        self.writer.write(data)

    async def read_exactly(self, count: int) -> bytes:
        """The next `count` bytes; TimeoutError where they take longer than TIMEOUT_S."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.readexactly(count)

    async def read_line(self) -> bytes:
        """The bytes up to the end of the line, under the same deadline."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.readline()


class BlockingLine:
    """A blocking socket behind the same methods; nothing in it ever suspends."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file: BinaryIO = self.socket.makefile("rb")

    def write(self, data: bytes) -> None:
        """Return when the kernel has taken the bytes."""
        self.socket.sendall(data)

    async def read_exactly(self, count: int) -> bytes:
        """The next `count` bytes; blocks up to TIMEOUT_S for each piece of them."""
        data = self.file.read(count)
        if len(data) != count:
            raise ConnectionError(f"The peer closed after {len(data)} of {count} bytes.")
        return data

    async def read_line(self) -> bytes:
        """The bytes up to the end of the line; blocks as `read_exactly` does."""
        return self.file.readline()


class FrameError(Exception):
    """A reply that does not answer the request; the line must be closed."""


class ModbusClient:
    """Reads registers and accepts only the exact answer to the request."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.tid = 0

    async def read(self, unit: int, function: int, address: int, count: int) -> bytes:
        """The words as sent, 2 * count bytes."""
        self.tid = tid = self.tid % 0xFFFF + 1
        self.line.write(struct.pack(">HHHBBHH", tid, 0, 6, unit, function, address, count))
        head = await self.line.read_exactly(9)  # MBAP and two bytes: the shortest PDU
        got = struct.unpack(">HHHBBB", head)
        if got == (tid, 0, 3, unit, function | 0x80, head[8]):
            raise FrameError(f"Unit {unit} answered exception {head[8]}.")
        want = (tid, 0, 3 + 2 * count, unit, function, 2 * count)
        if got != want:
            raise FrameError(
                f"Received {got}, not {want} (tid, protocol, length, unit, fc, bytes)."
            )
        return await self.line.read_exactly(2 * count)


@dataclass(frozen=True)
class Record:
    """One device at one slot: the canonical bytes and their leaf hash."""

    device: str
    seq: int
    slot_us: int
    body: bytes
    leaf: bytes


def encode(device: Device, seq: int, slot_us: int, now_us: int, words: bytes) -> Record:
    """One record in canonical bytes and its RFC 6962 leaf hash."""
    values = zip(device.points, device.layout.unpack(words), strict=True)
    body = rfc8785.dumps(
        {
            "v": 1,
            "dev": device.name,
            "epoch": 1,
            "boot": 1,
            "seq": str(seq),
            "slot": str(slot_us),
            "raw": [[device.table, device.address, words.hex()]],
            "val": {name: str(value) for name, value in values},
            "q": {},
            "t_utc_us": str(now_us),
            "t_mono_ns": str(time.monotonic_ns()),
            "tq": {"err_us": "0", "sync": "simulated"},
        }
    )
    return Record(device.name, seq, slot_us, body, hashlib.sha256(b"\x00" + body).digest())


class Outbox:
    """Records on disk; a group of slots is one transaction, so a kill cuts between groups."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS record (device TEXT, seq INTEGER, slot_us INTEGER,"
            " body BLOB, leaf BLOB, PRIMARY KEY (device, seq), UNIQUE (device, slot_us))"
        )

    def last(self) -> tuple[int, int] | None:
        """(seq, slot) of the last committed slot, None when nothing is committed."""
        seq, slot_us = self.db.execute("SELECT MAX(seq), MAX(slot_us) FROM record").fetchone()
        return None if seq is None else (seq, slot_us)

    def commit(self, records: list[Record]) -> None:
        """All of them, durably, or none."""
        self.db.execute("BEGIN IMMEDIATE")
        rows = [(r.device, r.seq, r.slot_us, r.body, r.leaf) for r in records]
        self.db.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", rows)
        self.db.execute("COMMIT")


async def go(control: Line, committed_us: int | None, go_us: int) -> int | None:
    """Ask for a slot; its instant, or None past the last one."""
    request = {"committed_us": committed_us, "go_us": go_us}
    control.write(json.dumps(request).encode() + b"\n")
    reply = json.loads(await control.read_line())
    if "refused" in reply:
        raise RuntimeError(f"The simulator refused {request}: {reply}.")
    now_us: int | None = reply.get("now_us")
    if now_us is not None and now_us != go_us:
        raise RuntimeError(f"The simulator stands at {now_us}, not {go_us}.")
    return now_us


async def run_agent(control: Line, modbus: Line, path: Path, group: int) -> dict[str, Any]:
    """Read every slot after the last committed one; times per slot by stage. [ms]"""
    outbox = Outbox(path)
    client = ModbusClient(modbus)
    seq, committed_us = outbox.last() or (-1, None)
    slot_us = FIRST_US if committed_us is None else committed_us + INTERVAL_US
    spent_ns: dict[str, list[int]] = {stage: [] for stage in STAGES}
    pending: list[Record] = []
    begun_ns, cpu_s = time.perf_counter_ns(), time.process_time()

    def commit() -> None:
        nonlocal committed_us
        t_ns = time.perf_counter_ns()
        outbox.commit(pending)
        spent_ns["commit"].append(time.perf_counter_ns() - t_ns)
        committed_us = pending[-1].slot_us
        pending.clear()

    while True:
        marks_ns = [time.perf_counter_ns()]
        now_us = await go(control, committed_us, slot_us)
        if now_us is None:
            break
        marks_ns.append(time.perf_counter_ns())
        words = []
        for device in DEVICES:
            words.append(
                await client.read(device.unit, device.function, device.address, device.registers)
            )
            marks_ns.append(time.perf_counter_ns())
        seq += 1
        for device, raw in zip(DEVICES, words, strict=True):
            pending.append(encode(device, seq, slot_us, now_us, raw))
        marks_ns.append(time.perf_counter_ns())
        for stage, (start, end) in zip(STAGES, itertools.pairwise(marks_ns), strict=False):
            spent_ns[stage].append(end - start)
        if len(pending) == group * len(DEVICES):
            commit()
        slot_us += INTERVAL_US
    if pending:
        commit()
        await go(control, committed_us, slot_us)  # so that the simulator knows all of it is kept
    slots = len(spent_ns["encode"])
    result: dict[str, Any] = {
        "slots": slots,
        "total_ms": (time.perf_counter_ns() - begun_ns) / slots / 1e6,
        "cpu_ms": (time.process_time() - cpu_s) / slots * 1e3,
        "one_commit_ms": statistics.median(spent_ns["commit"]) / 1e6,
    }
    for stage, times_ns in spent_ns.items():
        result[stage] = statistics.median(times_ns) / 1e6 / (group if stage == "commit" else 1)
    return result


async def agent_main(args: argparse.Namespace) -> None:
    """Connect both lines and run; one JSON line out when all slots are committed."""
    control: Line
    modbus: Line
    if args.client == "blocking":
        control, modbus = BlockingLine(args.control_port), BlockingLine(args.modbus_port)
    else:
        control = await AsyncLine.connect(args.control_port)
        modbus = await AsyncLine.connect(args.modbus_port)
    print(json.dumps(await run_agent(control, modbus, args.path, args.group)), flush=True)


# ---------------------------------------------------------------- measurement


@dataclass(frozen=True)
class Variant:
    """One way to run the chain: the agent's client, the Modbus peer and the slots per commit."""

    name: str
    client: str = "asyncio"
    peer: str = "own"
    group: int = MAX_AHEAD


VARIANTS = (
    Variant("asyncio, 10 per commit"),
    Variant("asyncio, 1 per commit", group=1),
    Variant("blocking, 10 per commit", client="blocking"),
    Variant("asyncio, 10, pymodbus peer", peer="pymodbus"),
)


def spawn(*words: object) -> subprocess.Popen[bytes]:
    """This script with these arguments as a process of its own, its output on a pipe."""
    command = [sys.executable, __file__, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def next_line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The JSON object on the process's next line; RuntimeError where it ended without one."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended with status {process.wait()} and said nothing.")
    result: dict[str, Any] = json.loads(line)
    return result


@contextmanager
def simulator(slots: int, peer: str) -> Iterator[tuple[dict[str, int], dict[str, Any]]]:
    """Its ports, and what it counted (filled when it has stopped)."""
    process = spawn("--role", "simulator", "--slots", slots, "--peer", peer)
    counted: dict[str, Any] = {}
    try:
        yield next_line(process), counted
    finally:
        process.terminate()
        counted.update(next_line(process))
        process.wait()


def spawn_agent(ports: dict[str, int], variant: Variant, path: Path) -> subprocess.Popen[bytes]:
    """The agent of this variant, on the simulator's ports and the outbox at this path."""
    return spawn(
        "--role", "agent", "--client", variant.client, "--group", variant.group, "--path", path,
        "--control-port", ports["control"], "--modbus-port", ports["modbus"],
    )  # fmt: skip


def measure(variant: Variant, slots: int, path: Path) -> dict[str, Any]:
    """One undisturbed run."""
    with simulator(slots, variant.peer) as (ports, counted):
        agent = spawn_agent(ports, variant, path)
        result = next_line(agent)
        agent.wait()
    check(path, slots)
    return result | {"simulator_cpu_ms": counted["cpu_s"] / slots * 1e3}


def check(path: Path, slots: int) -> str:
    """Digest over (device, seq, slot, raw words) of a complete outbox; raises on any difference."""
    digest = hashlib.sha256()
    db = sqlite3.connect(path)
    for device in DEVICES:
        query = "SELECT seq, slot_us, body, leaf FROM record WHERE device = ? ORDER BY seq"
        rows = db.execute(query, (device.name,)).fetchall()
        if len(rows) != slots:
            raise AssertionError(f"{device.name}: {len(rows)} records for {slots} slots.")
        for n, (seq, slot_us, body, leaf) in enumerate(rows):
            record = json.loads(body)
            want_us = FIRST_US + n * INTERVAL_US
            raw = [[device.table, device.address, words_at(device, want_us).hex()]]
            got = (seq, slot_us, record["seq"], record["slot"], record["raw"])
            if got != (n, want_us, str(n), str(want_us), raw):
                raise AssertionError(f"{device.name}, slot {n}: {got}.")
            if leaf != hashlib.sha256(b"\x00" + body).digest():
                raise AssertionError(f"{device.name}, slot {n}: leaf hash.")
            digest.update(json.dumps([device.name, seq, slot_us, raw]).encode())
    db.close()
    return digest.hexdigest()


def committed_slots(path: Path) -> int:
    """How many slots the outbox holds by now; 0 before it has its table."""
    if not path.exists():
        return 0
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return int(db.execute("SELECT COUNT(DISTINCT slot_us) FROM record").fetchone()[0])
    except sqlite3.OperationalError:  # the agent has not made its table yet
        return 0
    finally:
        db.close()


def run_with_kills(slots: int, kills: int, seed: int, path: Path) -> dict[str, Any]:
    """Kill the agent at seeded random slots, and within the group at seeded random moments."""
    rng = random.Random(seed)
    marks = sorted(rng.sample(range(slots - 10 * MAX_AHEAD), kills))
    variant = VARIANTS[0]
    begun_s = time.perf_counter()
    with simulator(slots, variant.peer) as (ports, counted):
        for mark in marks:
            before = committed_slots(path)
            agent = spawn_agent(ports, variant, path)
            # Wait for progress too: two near marks must still be two kills of a working agent.
            while committed_slots(path) <= max(mark, before):
                if agent.poll() is not None:
                    raise RuntimeError("The agent ended before it was killed.")
                time.sleep(0.0005)
            time.sleep(rng.uniform(0.0, 0.010))
            agent.kill()
            if agent.wait() != -signal.SIGKILL:
                raise RuntimeError("The agent ended before it was killed.")
        agent = spawn_agent(ports, variant, path)
        next_line(agent)
        agent.wait()
    last_us = FIRST_US + (slots - 1) * INTERVAL_US
    if counted["committed_us"] != last_us or counted["refused"]:
        raise AssertionError(f"The simulator counted {counted}.")
    return counted | {"wall_s": time.perf_counter() - begun_s, "digest": check(path, slots)}


def check_refusals() -> None:
    """Every way to ask wrongly is refused and leaves the clock alone."""
    clock = LockStep(100)

    def ask(committed: int | None, go: float) -> dict[str, Any]:
        committed_us = None if committed is None else FIRST_US + committed * INTERVAL_US
        go_us = int(FIRST_US + go * INTERVAL_US)
        return clock.answer(json.dumps({"committed_us": committed_us, "go_us": go_us}).encode())

    assert ask(None, 9) == {"now_us": FIRST_US + 9 * INTERVAL_US}
    assert ask(4, 5) == {"now_us": FIRST_US + 5 * INTERVAL_US}  # back, but after the committed one
    for committed, slot, reason in (
        (4, 15, "ahead"), (4, 4, "committed_already"), (3, 5, "committed_wrong"),
        (None, 5, "committed_wrong"), (100, 101, "committed_wrong"), (4, 5.5, "not_a_slot"),
    ):  # fmt: skip
        assert ask(committed, slot)["refused"] == reason, (committed, slot, reason)
    assert clock.answer(b"{}\n")["refused"] == "malformed"
    assert clock.now_us == FIRST_US + 5 * INTERVAL_US
    assert ask(95, 100) == {"end": True}


def print_table(results: dict[str, list[dict[str, Any]]]) -> None:
    """Print a row a variant: medians over its runs, and its total beside that of the first."""
    columns = (*STAGES, "total_ms", "cpu_ms", "simulator_cpu_ms", "one_commit_ms")
    print(f"{'milliseconds per slot (medians)':32}" + "".join(f"{c[:12]:>13}" for c in columns))
    base_ms = 0.0
    for name, runs in results.items():
        row = {c: statistics.median(r[c] for r in runs) for c in columns}
        base_ms = base_ms or row["total_ms"]
        print(
            f"{name:32}" + "".join(f"{row[c]:13.3f}" for c in columns)
            + f"   x{row['total_ms'] / base_ms:.2f}"
            + f"   year of {YEAR_SLOTS:,} slots: {row['total_ms'] * YEAR_SLOTS / 1e3:.0f} s"
        )  # fmt: skip


def main() -> None:
    """Measure and kill as the arguments say; exit status 1 where the words differ after kills."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--slots", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    inner = parser.add_argument_group("set by the script for its own children")
    inner.add_argument("--role", choices=("simulator", "agent"))
    inner.add_argument("--peer", default="own")
    inner.add_argument("--client", default="asyncio")
    inner.add_argument("--group", type=int, default=MAX_AHEAD)
    inner.add_argument("--path", type=Path)
    inner.add_argument("--control-port", type=int)
    inner.add_argument("--modbus-port", type=int)
    args = parser.parse_args()
    if args.role == "simulator":
        asyncio.run(run_simulator(args.slots, args.peer))
        return
    if args.role == "agent":
        asyncio.run(agent_main(args))
        return

    check_refusals()
    with tempfile.TemporaryDirectory() as folder:
        results: dict[str, list[dict[str, Any]]] = {v.name: [] for v in VARIANTS}
        for n in range(args.rounds):  # interleaved, so that a busy minute touches every variant
            for m, variant in enumerate(VARIANTS):
                run = measure(variant, args.slots, Path(folder) / f"run-{n}-{m}.db")
                results[variant.name].append(run)
        if args.rounds:
            print_table(results)
        if args.kills:
            reference = Path(folder) / "reference.db"
            measure(VARIANTS[0], args.slots, reference)
            killed = run_with_kills(args.slots, args.kills, args.seed, Path(folder) / "killed.db")
            same = killed["digest"] == check(reference, args.slots)
            again = killed["served"] - args.slots
            print(
                f"{args.kills} kills (seed {args.seed}): {args.slots} slots,"
                f" {len(DEVICES)} devices, nothing missing, nothing twice,"
                f" words {'equal' if same else 'DIFFERENT'}; {again} slots served again,"
                f" {killed['went_back']} times back, {killed['refused']} refused,"
                f" {killed['wall_s']:.1f} s"
            )
            sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
