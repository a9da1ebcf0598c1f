"""`joulemark demo`: from recorded plant data to a checked bundle, on one machine."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from joulemark_gateway.demo.chain import HALL, Chain, steel

SCENARIOS = ("retrofit", "unchanged")


def add_command(subparsers: Any) -> None:
    """Add `joulemark demo`."""
    parser = subparsers.add_parser("demo", help="the whole chain on one machine, on recorded data")
    parser.add_argument("--out", type=Path, default=Path("joulemark-demo"), metavar="DIR")
    parser.add_argument("--scenario", choices=SCENARIOS, default="retrofit")
    parser.add_argument("--broker", choices=("auto", "embedded", "mosquitto"), default="auto")
    parser.add_argument("--no-serve", action="store_true", help="end when all is done")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run every stage, print what came out and where it lies, and serve it unless told not to.

    Ended in whatever stage, by Ctrl-C or SIGTERM, it leaves no process behind.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)
    out = args.out.resolve()
    chain = Chain(out / "run", (steel(args.scenario), HALL), args.broker)
    stages = Stages()
    print(f"Joulemark demo, scenario '{args.scenario}', in {args.out}")
    print(
        "A recorded year of a Korean steel works, and a hall with compressors, a PV inverter and a"
    )
    print("furnace, go through Modbus, SunSpec, OPC UA and MQTT into a signed ledger.")
    try:
        with stages.timed("prepare keys, files, enrolment"):
            chain.prepare()
        with stages.timed("start factories, broker, collector, agents"):
            for name in chain.order:
                chain.start(name)
        with stages.timed("read, sign, send and accept both sites"):
            summaries = chain.wait(partial(_progress, sum(place.slots for place in chain.places)))
            if sys.stdout.isatty():
                print()
        with stages.timed("measure and report"):
            said = chain.joulemark("report", str(chain.project_file), "--out", str(out))
        with stages.timed("verify the bundle offline"):
            verdict = chain.joulemark(
                "verify", str(out / "bundle.zip"), "--policy", str(out / "policy.json")
            )
        with stages.timed("what the machines of the hall showed"):
            from joulemark_gateway.demo import hall  # noqa: PLC0415 - brings numba

            machines = hall.shown(chain.store_file, HALL.site)
        print(said.rstrip(), verdict.rstrip(), machines, sep="\n\n")
        print()
        for site, summary in summaries.items():
            counts = f"{summary['slots']} slots, {summary['records']} readings"
            print(f"{site}: {counts}, {summary['gaps']} gaps")
        stages.show()
        print(f"\nOpen {args.out / 'report.html'}; check {args.out / 'bundle.zip'} anywhere with")
        print(f"  joulemark verify {args.out / 'bundle.zip'} --policy {args.out / 'policy.json'}")
        if not args.no_serve:
            shown = "without log-in, on this machine only; Ctrl-C ends"
            print(f"\n{chain.pages_url}   ({shown})", flush=True)
            with suppress(KeyboardInterrupt):
                chain.serve()
    finally:
        chain.stop()
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


def _progress(slots: int, leaves: int) -> None:
    if sys.stdout.isatty():
        print(f"\r  {min(leaves, slots):>6} of {slots} readings in the ledger", end="", flush=True)


def _terminated(number: int, _: object) -> None:
    """As Ctrl-C: what was started is stopped on the way out."""
    raise SystemExit(128 + number)
