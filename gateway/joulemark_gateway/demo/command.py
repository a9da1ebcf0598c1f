"""`joulemark demo`: from recorded plant data to a checked bundle, on one machine."""

from __future__ import annotations

import argparse
import functools
import http.server
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from joulemark_gateway.demo.chain import ORDER, Chain

SLOTS = 35_041  # every quarter-hour of 2018 and the opening read
SCENARIOS = ("retrofit", "unchanged")


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
            said = chain.joulemark("report", str(chain.project_file), "--out", str(out))
        with stages.timed("verify the bundle offline"):
            verdict = chain.joulemark(
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
