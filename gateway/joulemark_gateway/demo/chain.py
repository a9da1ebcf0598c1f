"""The four processes of the demo in one folder: factory, broker, collector and agent.

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

if TYPE_CHECKING:
    from joulemark_gateway.evidence.store import SqliteStore

SITE, AGENT = "gwangyang", "edge-1"
DEVICES = METER, COUNTER = "main-meter", "production-counter"
COLLECTOR_NAME = "joulemark/collector"
READY_S, STOP_S = 60.0, 15.0
ORDER = ("factory", "broker", "collector", "agent")


@dataclass
class Chain:
    """The four processes in one folder; tests kill and restart them by name."""

    folder: Path
    scenario: str = "retrofit"
    broker_kind: str = "auto"
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    _store: SqliteStore | None = None

    @property
    def site_file(self) -> Path:
        """The agent's site file."""
        return self.folder / "site" / "site.yaml"

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
        if self.site_file.exists():
            raise ConfigError(
                f"{self.folder} already holds a demo.", "Name another folder with --out."
            )
        try:
            for name in ("site", "collector/state", "keys", "logs"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"The demo cannot write to {self.folder}: {error.strerror}.",
                "Name a folder you may write to with --out.",
            ) from error
        self.ports = dict(zip(("modbus", "control", "broker"), _free_ports(3), strict=True))
        operator, witness = new_private_key(), new_private_key()
        _write_key(self.folder / "keys" / "operator.key", operator)
        _write_key(self.folder / "collector" / "state" / "witness.key", witness)
        names: dict[str, Any] = {
            "site": SITE,
            "agent": AGENT,
            "meter": METER,
            "counter": COUNTER,
            "collector_name": COLLECTOR_NAME,
            "collector_key": encode64(public_key(witness)),
            "operator_key": encode64(public_key(operator)),
            "collector": self.collector_file.relative_to(self.folder),
            **self.ports,
        }
        self.site_file.write_text(_filled("site.yaml", names), "utf-8")
        enrolled = self.joulemark(
            "agent", "enroll", "-c", str(self.site_file), "--operator-key",
            str(self.folder / "keys" / "operator.key"), "--json",
        )  # fmt: skip
        names["agent_key"] = json.loads(enrolled)["key"]
        self.collector_file.write_text(_filled("collector.yaml", names), "utf-8")
        self.project_file.write_text(_filled("project.yaml", names), "utf-8")

    def command(self, name: str) -> list[str]:
        """The command line of one of the four processes."""
        ports = self.ports
        arguments = {
            "factory": [
                "agent", "simulate", "-c", self.scenario, "--json",
                "--modbus-port", str(ports["modbus"]), "--control-port", str(ports["control"]),
            ],
            "broker": [
                "broker", "--json", "--kind", self.broker_kind, "--port", str(ports["broker"]),
            ],
            "collector": ["collector", "run", "-c", str(self.collector_file)],
            "agent": ["agent", "run", "-c", str(self.site_file)],
        }  # fmt: skip
        return [*_joulemark(), *arguments[name]]

    def start(self, name: str) -> None:
        """Start one process; those that say when they are ready are waited for.

        Raises:
            JoulemarkError: it ended, or said nothing in time.
        """
        log = self._log(name)
        process = subprocess.Popen(
            self.command(name), stdout=subprocess.PIPE, stderr=log, text=True, cwd=self.folder
        )
        log.close()
        self.processes[name] = process
        if name in {"factory", "broker"} and not _first_line(process):
            raise self._failed(name, "did not get ready")

    def kill(self, name: str) -> None:
        """SIGKILL: no chance to tidy up."""
        process = self.processes.pop(name)
        process.kill()
        process.communicate()

    def stop(self) -> None:
        """SIGTERM to all that run, last started first; SIGKILL to what does not go."""
        if self._store is not None:
            self._store.close()
            self._store = None
        for name in reversed(ORDER):
            process = self.processes.pop(name, None)
            if process is None:
                continue
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def wait(self, on_progress: Callable[[int], None], *, poll_s: float = 0.5) -> dict[str, Any]:
        """Wait until the agent has every receipt; its own summary.

        Raises:
            JoulemarkError: a process ended before that.
        """
        while self.processes["agent"].poll() is None:
            for name in ORDER[:-1]:
                if self.processes[name].poll() is not None:
                    raise self._failed(name, "ended early")
            on_progress(self.slots_held())
            with suppress(subprocess.TimeoutExpired):
                self.processes["agent"].wait(poll_s)
        agent = self.processes.pop("agent")
        output, _ = agent.communicate()
        if agent.returncode != 0:
            raise self._failed("agent", f"ended with {agent.returncode}")
        on_progress(self.slots_held())
        summary: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
        return summary

    def slots_held(self) -> int:
        """How many leaves the collector holds of the device it holds least of: about the slots."""
        from joulemark_gateway.evidence.store import FILE, SqliteStore  # noqa: PLC0415

        path = self.collector_file.parent / "state" / FILE
        if self._store is None and path.exists():
            with suppress(StoreError):  # still being made
                self._store = SqliteStore(path, create=False)
        heads = self._store.heads() if self._store else []
        return min(head.size for head in heads) if len(heads) == len(DEVICES) else 0

    def joulemark(self, *arguments: str) -> str:
        """Run a `joulemark` command to its end; what it printed.

        Raises:
            JoulemarkError: it failed; with its own words.
        """
        done = subprocess.run(
            [*_joulemark(), *arguments], capture_output=True, text=True, check=False
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
