"""`joulemark demo`: the whole chain on one machine, from recorded plant data to a checked bundle.

Factory, broker, collector and agent are four processes, each started with the command a person
would use for it alone; the demo only writes their files, waits, and then measures and verifies.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from joulemark_agent.contract.errors import ConfigError, JoulemarkError
from joulemark_agent.contract.signature import encode64, new_private_key, public_key

SITE, AGENT = "gwangyang", "edge-1"
METER, COUNTER = "main-meter", "production-counter"
SLOTS = 35_041  # every quarter-hour of 2018 and the opening read
COLLECTOR_NAME = "joulemark/collector"
READY_S, STOP_S = 60.0, 15.0
ORDER = ("factory", "broker", "collector", "agent")
SCENARIOS = ("retrofit", "unchanged")

SITE_YAML = """\
# Written by `joulemark demo`; configs/sites/gwangyang.yaml is the commented example.
site: {site}
agent: {agent}
time_zone: Asia/Seoul
clock: simulated
replay: {{url: "tcp://127.0.0.1:{control}", first_slot: "2018-01-01T00:00:00+09:00"}}
state_dir: state
factors: {{set: korea, rule_set: ESG, jurisdiction: KR}}
uplink:
  url: "mqtt://127.0.0.1:{broker}"
  collector_key: "{collector_key}"
  collector_name: {collector_name}
batch: {{slots: 96, seconds: 5}}
devices:
  - {{id: {meter}, profile: virtual_main_meter, url: "modbus-tcp://127.0.0.1:{modbus}", unit: 1, period_s: 900}}
  - {{id: {counter}, profile: virtual_production_counter, url: "modbus-tcp://127.0.0.1:{modbus}", unit: 2, period_s: 900}}
"""

COLLECTOR_YAML = """\
# Written by `joulemark demo`.
name: {collector_name}
state_dir: state
broker: {{url: "mqtt://127.0.0.1:{broker}"}}
accept_simulated: true   # this is a replay; a collector of a real plant leaves it out
agents:
  - {{agent: {agent}, site: {site}, key: "{agent_key}", devices: [{meter}, {counter}]}}
operators: ["{operator_key}"]
"""

PROJECT_YAML = """\
# The measurement and verification plan of the demo: what is compared with what, by which rules.
id: coil-line-day-shift
title: "Day-shift retrofit of a steel coil line, Gwangyang 2018 (replayed data)"
site: {site}
measure:
  name: "Day-shift retrofit"
  description: "A change said to cut the plant's electricity by day from July 2018. What it cut is what this plan measures."
  implemented: 2018-07-01
time_zone: Asia/Seoul
energy: {{device: {meter}, point: energy_wh}}
drivers:
  - {{device: {counter}, point: production_kg, name: "Production (synthetic)", synthetic: true}}
baseline: {{from: 2018-01-01, to: 2018-07-01}}
reporting: {{from: 2018-07-01, to: 2019-01-01}}
unit: day
production_cycle_days: 7
sufficiency_policy: iso50006-production
confidence: 0.9
creditable_policy: {creditable}
factors: {{set: korea, rule_set: ESG, jurisdiction: KR}}
collector: {collector}
"""


@dataclass
class Chain:
    """The four processes in one folder; tests kill and restart them by name."""

    folder: Path
    scenario: str = "retrofit"
    broker_kind: str = "auto"
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

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
            ConfigError: the folder holds another run already.
        """
        if self.site_file.exists():
            raise ConfigError(
                f"{self.folder} already holds a demo.", "Name another folder with --out."
            )
        for name in ("site", "collector/state", "keys", "logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
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
            "creditable": "lower-bound-one-sided-95",
            "collector": self.collector_file.relative_to(self.folder),
            **self.ports,
        }
        self.site_file.write_text(SITE_YAML.format(**names), "utf-8")
        enrolled = self._run(
            "agent", "enroll", "-c", str(self.site_file), "--operator-key",
            str(self.folder / "keys" / "operator.key"), "--json",
        )  # fmt: skip
        names["agent_key"] = json.loads(enrolled)["key"]
        self.collector_file.write_text(COLLECTOR_YAML.format(**names), "utf-8")
        self.project_file.write_text(PROJECT_YAML.format(**names), "utf-8")

    def command(self, name: str) -> list[str]:
        """The command line of one of the four processes."""
        ports = self.ports
        arguments = {
            "factory": [
                "agent", "simulate", "-c", self.scenario, "--json",
                "--modbus-port", str(ports["modbus"]), "--control-port", str(ports["control"]),
            ],
            "broker": ["broker", "--kind", self.broker_kind, "--port", str(ports["broker"]), "--json"],
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
        """About how many slots the collector holds of every device (its leaves over devices)."""
        from joulemark_gateway.evidence.store import EvidenceStore  # noqa: PLC0415

        path = self.collector_file.parent / "state" / "evidence.sqlite"
        if not path.exists():
            return 0
        with EvidenceStore.read_only(path) as store:
            heads = store.heads()
        return min((head.size for head in heads), default=0) if len(heads) > 1 else 0

    def report(self, out: Path) -> str:
        """Run `joulemark report`; its words for the terminal."""
        return self._run("report", str(self.project_file), "--out", str(out))

    def _run(self, *arguments: str) -> str:
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


def add_command(subparsers: Any) -> None:
    """Add `joulemark demo`."""
    parser = subparsers.add_parser("demo", help="the whole chain on one machine, on recorded data")
    parser.add_argument("--out", type=Path, default=Path("joulemark-demo"), metavar="DIR")
    parser.add_argument("--scenario", choices=SCENARIOS, default="retrofit")
    parser.add_argument("--broker", choices=("auto", "embedded", "mosquitto"), default="auto")
    parser.add_argument("--no-serve", action="store_true", help="do not serve the report")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run every stage, print what came out and where it lies, and serve it unless told not to."""
    out = args.out.resolve()
    chain = Chain(out / "run", args.scenario, args.broker)
    stages = Stages()
    print(f"Joulemark demo, scenario '{args.scenario}', in {args.out}")
    print("A recorded year of a Korean steel works goes through Modbus, MQTT and a signed ledger.")
    try:
        with stages.timed("prepare keys, files, enrolment"):
            chain.prepare()
        with stages.timed("start factory, broker, collector, agent"):
            for name in ORDER:
                chain.start(name)
        with stages.timed("read, sign, send and accept the year"):
            summary = chain.wait(_progress)
        with stages.timed("stop"):
            chain.stop()
        with stages.timed("measure and report"):
            said = chain.report(out)
        with stages.timed("verify the bundle offline"):
            verdict = chain._run(  # noqa: SLF001
                "verify", str(out / "bundle.zip"), "--policy", str(out / "policy.json")
            )
    finally:
        chain.stop()
    print(said.rstrip(), verdict.rstrip(), sep="\n\n")
    print(f"\n{summary['slots']} slots, {summary['records']} readings, {summary['gaps']} gaps")
    stages.show()
    print(f"\nOpen {args.out / 'report.html'}; check {args.out / 'bundle.zip'} anywhere with")
    print(f"  joulemark verify {args.out / 'bundle.zip'} --policy {args.out / 'policy.json'}")
    if not args.no_serve:
        serve(out)
    return 0


class Stages:
    """Wall time by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time spent inside to the stage."""
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start

    def show(self) -> None:
        """Print the table."""
        print("\nwall time by stage")
        for name, seconds in self.seconds.items():
            print(f"  {name:<42} {seconds:7.1f} s")
        print(f"  {'total':<42} {sum(self.seconds.values()):7.1f} s")


def serve(out: Path) -> None:
    """Serve the report's own files on this machine until Ctrl-C."""
    handler = functools.partial(_ReportFiles, directory=str(out))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        print(f"\nhttp://127.0.0.1:{server.server_port}/report.html   (Ctrl-C ends)", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


class _ReportFiles(http.server.SimpleHTTPRequestHandler):
    """The four files of a report and nothing else of the folder."""

    FILES = ("report.html", "report.json", "bundle.zip", "policy.json")

    def send_head(self) -> Any:
        name = self.path.partition("?")[0].strip("/") or "report.html"
        if name not in self.FILES:
            self.send_error(http.HTTPStatus.NOT_FOUND, "Only the report is served")
            return None
        self.path = f"/{name}"
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


def _progress(slots: int) -> None:
    if sys.stdout.isatty():
        print(f"\r  {min(slots, SLOTS):>6} of {SLOTS} slots in the ledger", end="", flush=True)
        if slots >= SLOTS:
            print()


def _joulemark() -> list[str]:
    return [sys.executable, "-m", "joulemark_agent.cli"]


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    timer = time.monotonic() + READY_S
    os.set_blocking(process.stdout.fileno(), False)
    line = ""
    while time.monotonic() < timer and process.poll() is None and "\n" not in line:
        line += process.stdout.read() or ""
        time.sleep(0.02)
    os.set_blocking(process.stdout.fileno(), True)
    return line


def _free_ports(n: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _write_key(path: Path, key: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(encode64(key) + "\n")
