"""The processes of the demo in one folder: factory and agent of each site, broker and collector.

Each is started with the command a person would use for it alone; the files they need are written
from the templates in `files/`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from string import Template
from typing import IO, TYPE_CHECKING, Any

from joulemark_agent.contract.errors import ConfigError, JoulemarkError, StoreError
from joulemark_agent.contract.signature import encode64, new_private_key, public_key
from joulemark_gateway.children import environment

if TYPE_CHECKING:
    from joulemark_gateway.evidence.base import Head
    from joulemark_gateway.evidence.store import SqliteStore

DEVICES = METER, COUNTER = "main-meter", "production-counter"
COLLECTOR_NAME = "joulemark/collector"
READY_S, STOP_S = 60.0, 15.0
ORDER = ("factory", "broker", "collector", "agent")


@dataclass(frozen=True)
class Place:
    """One site of the demo: a virtual factory and the agent that reads it."""

    site: str
    agent: str
    folder: str
    scenario: str
    devices: tuple[str, ...]
    slots: int  # of all its devices together
    ports: tuple[str, ...] = ("modbus", "control")
    prefix: str = ""  # of the names of its processes and ports
    batch_slots: int = 96  # after which a batch closes

    def site_file(self, folder: Path) -> Path:
        """The agent's site file."""
        return folder / self.folder / "site.yaml"


def steel(scenario: str) -> Place:
    """The steel works: the site of the saving."""
    return Place("gwangyang", "edge-1", "site", scenario, DEVICES, 2 * 35_041)


HALL = Place(
    "equipment-hall",
    "edge-2",
    "hall",
    "equipment_hall",
    ("compressor-a1", "rail-compressor", "pv-inverter", "furnace"),
    11_411 + 1_102 + 481 + 5_761,
    ("modbus", "control", "opcua"),
    "hall-",
)


@dataclass
class Chain:
    """The processes in one folder; tests kill and restart them by name."""

    folder: Path
    places: tuple[Place, ...]  # the first is the one whose saving is measured
    broker_kind: str = "auto"
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    _store: SqliteStore | None = None

    @property
    def order(self) -> tuple[str, ...]:
        """The processes as they are started."""
        factories, agents = ([f"{p.prefix}{kind}" for p in self.places] for kind in ORDER[::3])
        return (*factories, "broker", "collector", *agents)

    @property
    def pages_url(self) -> str:
        """Where the collector shows its pages."""
        return f"http://127.0.0.1:{self.ports['pages']}/"

    @property
    def collector_file(self) -> Path:
        """The collector's settings."""
        return self.folder / "collector" / "collector.yaml"

    @property
    def project_file(self) -> Path:
        """The M&V plan."""
        return self.folder / "project.yaml"

    def prepare(self) -> None:
        """Write keys, site, collector and project files, and enrol the agent.

        Raises:
            ConfigError: the folder holds another run already, or cannot be written.
        """
        try:
            if self.collector_file.exists():
                raise ConfigError(
                    f"{self.folder} already holds a demo.", "Name another folder with --out."
                )
            places = [place.folder for place in self.places]
            for name in (*places, "collector/state", "keys", "logs"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"The demo cannot write to {self.folder}: {error.strerror}.",
                "Name a folder you may write to with --out.",
            ) from error
        names = ["broker", "pages"]
        names += [f"{place.prefix}{port}" for place in self.places for port in place.ports]
        self.ports = dict(zip(names, _free_ports(len(names)), strict=True))
        operator, witness = new_private_key(), new_private_key()
        _write_key(self.folder / "keys" / "operator.key", operator)
        _write_key(self.folder / "collector" / "state" / "witness.key", witness)
        values: dict[str, Any] = {
            "meter": METER,
            "counter": COUNTER,
            "collector_name": COLLECTOR_NAME,
            "collector_key": encode64(public_key(witness)),
            "operator_key": encode64(public_key(operator)),
            "collector": self.collector_file.relative_to(self.folder),
            "broker": self.ports["broker"],
            "pages": self.ports["pages"],
        }
        agents = [self._enroll(place, values) for place in self.places]
        values["agents"] = "\n".join(agents)
        self.collector_file.write_text(_filled("collector.yaml", values), "utf-8")
        self.project_file.write_text(_filled("project.yaml", values | _of(self.places[0])), "utf-8")

    def site_text(self, place: Place, values: dict[str, Any]) -> str:
        """The site file of a place; a test may read its machines otherwise."""
        return _filled(f"{place.folder}.yaml", values)

    def _enroll(self, place: Place, values: dict[str, Any]) -> str:
        """Write the site file and enrol its agent; its line in the collector's file."""
        ports = {port: self.ports[f"{place.prefix}{port}"] for port in place.ports}
        file = place.site_file(self.folder)
        file.write_text(self.site_text(place, values | _of(place) | ports), "utf-8")
        enrolled = self.joulemark(
            "agent", "enroll", "-c", str(file), "--operator-key",
            str(self.folder / "keys" / "operator.key"), "--json",
        )  # fmt: skip
        row = {
            "agent": place.agent,
            "site": place.site,
            "key": json.loads(enrolled)["key"],
            "devices": list(place.devices),
        }
        return f"  - {json.dumps(row)}"

    def command(self, name: str) -> list[str]:
        """The command line of one of the processes."""
        if name == "broker":
            port = str(self.ports["broker"])
            return [*_joulemark(), "broker", "--json", "--kind", self.broker_kind, "--port", port]
        if name == "collector":
            return [*_joulemark(), "collector", "run", "-c", str(self.collector_file)]
        [place] = [p for p in self.places if name in {f"{p.prefix}factory", f"{p.prefix}agent"}]
        if name.endswith("agent"):
            return [*_joulemark(), "agent", "run", "-c", str(place.site_file(self.folder))]
        ports = [
            word
            for port in place.ports
            for word in (f"--{port}-port", str(self.ports[f"{place.prefix}{port}"]))
        ]
        return [*_joulemark(), "agent", "simulate", "-c", place.scenario, "--json", *ports]

    def start(self, name: str) -> None:
        """Start one process; those that say when they are ready are waited for.

        Raises:
            JoulemarkError: it ended, or said nothing in time.
        """
        log = self._log(name)
        process = self.processes[name] = subprocess.Popen(
            self.command(name),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=self.folder,
            env=environment(),  # the chain has no passwords
        )
        log.close()
        if name.endswith(("factory", "broker")) and not _first_line(process):
            raise self._failed(name, "did not get ready")

    def kill(self, name: str) -> None:
        """SIGKILL: no chance to tidy up."""
        process = self.processes.pop(name)
        process.kill()
        process.communicate()

    def stop(self) -> None:
        """SIGTERM to all that run, last started first; SIGKILL to what does not go.

        Interrupted, for one by a second Ctrl-C, it kills at once all that still run.
        """
        try:
            self._stop()
        finally:
            for process in self.processes.values():
                process.kill()
            for process in self.processes.values():
                process.communicate()
            self.processes.clear()

    def _stop(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
        for name in [name for name in reversed(self.order) if name in self.processes]:
            process = self.processes[name]
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            del self.processes[name]

    def wait(self, on_progress: Callable[[int], None], *, poll_s: float = 0.5) -> dict[str, Any]:
        """Wait until every agent has every receipt; their own summaries, by site.

        Raises:
            JoulemarkError: a process ended before that.
        """
        summaries: dict[str, Any] = {}
        agents = {f"{place.prefix}agent": place.site for place in self.places}
        while agents:
            for name in [name for name in self.order if name in self.processes]:
                if self.processes[name].poll() is None:
                    continue
                if name not in agents:
                    raise self._failed(name, "ended early")
                summaries[agents.pop(name)] = self._summary(name)
            on_progress(self.leaves_held())
            with suppress(subprocess.TimeoutExpired):
                for name in agents:
                    self.processes[name].wait(poll_s / len(agents))
        return summaries

    def _summary(self, name: str) -> dict[str, Any]:
        agent = self.processes.pop(name)
        output, _ = agent.communicate()
        if agent.returncode != 0:
            raise self._failed(name, f"ended with {agent.returncode}")
        summary: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
        return summary

    def serve(self) -> None:
        """Go on until a process ends.

        Raises:
            JoulemarkError: the collector ended.
        """
        self.processes["collector"].wait()
        raise self._failed("collector", "ended")

    def slots_held(self) -> int:
        """Leaves held of the device of the steel works of which least are: about the slots."""
        steel_trees = f"joulemark/{self.places[0].site}/"
        sizes = [head.size for head in self._heads() if head.origin.startswith(steel_trees)]
        return min(sizes) if len(sizes) == len(DEVICES) else 0

    def leaves_held(self) -> int:
        """How many leaves the collector holds."""
        return sum(head.size for head in self._heads())

    @property
    def store_file(self) -> Path:
        """Where the collector keeps the evidence."""
        from joulemark_gateway.evidence.store import FILE  # noqa: PLC0415

        return self.collector_file.parent / "state" / FILE

    def _heads(self) -> list[Head]:
        from joulemark_gateway.evidence.store import SqliteStore  # noqa: PLC0415

        path = self.store_file
        if self._store is None and path.exists():
            with suppress(StoreError):  # still being made
                self._store = SqliteStore(path, create=False)
        return self._store.heads() if self._store else []

    def joulemark(self, *arguments: str) -> str:
        """Run a `joulemark` command to its end; what it printed.

        Raises:
            JoulemarkError: it failed; with its own words.
        """
        done = subprocess.run(
            [*_joulemark(), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment(),
        )
        if done.returncode != 0:
            raise JoulemarkError(
                f"`joulemark {' '.join(arguments[:2])}` ended with {done.returncode}: "
                f"{done.stderr.strip()[-600:]}",
                "Mend what it says and run the demo again in another folder.",
                code="demo",
            )
        return done.stdout

    def _log(self, name: str) -> IO[str]:
        return (self.folder / "logs" / f"{name}.log").open("a", encoding="utf-8")

    def _failed(self, name: str, what: str) -> JoulemarkError:
        path = self.folder / "logs" / f"{name}.log"
        return JoulemarkError(
            f"The {name} {what}; its last words: {path.read_text('utf-8').strip()[-600:]!r}.",
            f"Read {path}.",
            code="demo",
        )


def _of(place: Place) -> dict[str, Any]:
    return {"site": place.site, "agent": place.agent, "batch_slots": place.batch_slots}


def _filled(name: str, values: dict[str, Any]) -> str:
    text = resources.files("joulemark_gateway.demo").joinpath("files", name).read_text("utf-8")
    return Template(text).substitute(values)


def _joulemark() -> list[str]:
    return [sys.executable, "-m", "joulemark_agent.cli"]


def _first_line(process: subprocess.Popen[str]) -> str:
    """What the process says when it is ready; empty where it ended or took too long."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    deadline = time.monotonic() + READY_S
    line = b""
    while not line.endswith(b"\n"):
        left_s = max(deadline - time.monotonic(), 0.0)
        if not select.select([descriptor], [], [], left_s)[0]:
            return ""
        part = os.read(descriptor, 4096)
        if not part:
            return ""
        line += part
    return line.decode()


def _free_ports(n: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _write_key(path: Path, key: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(encode64(key) + "\n")
