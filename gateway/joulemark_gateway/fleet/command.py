"""`joulemark fleet measure`: from meters in Parquet files to their savings."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulemark_agent.contract.errors import ConfigError

if TYPE_CHECKING:
    from joulemark_gateway.fleet.cluster import Tls
    from joulemark_gateway.fleet.plan_file import FleetPlan
    from joulemark_gateway.measure.fleet import Measured, Meter

_UNITS = 100_000  # of a batch: some 4 MB, or a hundred meters with two years of days


def add_command(subparsers: Any) -> None:
    """Add `joulemark fleet`."""
    fleet = subparsers.add_parser("fleet", help="the same measurement over many meters")
    commands = fleet.add_subparsers(metavar="COMMAND", required=True)
    measure = commands.add_parser(
        "measure",
        help="the avoided energy of every meter of some Parquet files",
        description="Measures every meter under one plan and writes savings.parquet, a row for "
        "each, and savings.jsonl, all that is said of each. Needs the extra: pip install "
        "'joulemark[fleet]'.",
    )
    measure.add_argument("--plan", type=Path, required=True, metavar="PLAN.yaml")
    measure.add_argument("--data", type=Path, required=True, nargs="+", metavar="METERS.parquet")
    measure.add_argument("--out", type=Path, required=True, metavar="DIR")
    where = measure.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=int, default=1, metavar="N",
        help="processes of this machine; 1: this one, without Dask",
    )  # fmt: skip
    where.add_argument(
        "--scheduler", metavar="ADDRESS", help="a Dask scheduler: tls://HOST:PORT, tcp://127.0.0.1"
    )
    for name, what in (("ca", "its authority"), ("cert", "own certificate"), ("key", "own key")):
        measure.add_argument(f"--tls-{name}", type=Path, metavar="FILE", help=what)
    measure.add_argument(
        "--plain-tcp", action="store_true", help="let another machine's scheduler go without TLS"
    )
    measure.set_defaults(run=run_measure)


def run_measure(args: argparse.Namespace) -> int:
    """Write the results; 1 where no meter has a saving."""
    if args.workers < 1:
        raise ConfigError(f"--workers is {args.workers}.", "Give 1 or more.")
    try:
        from joulemark_gateway.fleet.parquet import read_meters, write_results  # noqa: PLC0415
        from joulemark_gateway.fleet.plan_file import load_plan  # noqa: PLC0415

        plan = load_plan(args.plan)
        found = _measured(args, read_meters(args.data, plan), plan)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("joulemark"):
            raise
        raise ConfigError(
            f"This command needs the package {error.name!r}, which is not installed.",
            "Run: pip install 'joulemark[fleet]'",
        ) from error
    found.sort(key=lambda one: one.name)
    paths = write_results(found, args.out)
    print("\n".join([*_summary(found), f"written: {', '.join(map(str, paths))}"]))
    return 0 if any(one.figures for one in found) else 1


def batches(meters: Iterator[Meter], units: int = _UNITS) -> Iterator[list[Meter]]:
    """Meters with so many units together, or one that has more, in their order."""
    batch: list[Meter] = []
    size = 0
    for meter in meters:
        batch.append(meter)
        size += meter.baseline.n + meter.reporting.n
        if size >= units:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _measured(args: argparse.Namespace, meters: Iterator[Meter], plan: FleetPlan) -> list[Measured]:
    from joulemark_gateway.measure.fleet import measure_many  # noqa: PLC0415 - the model families

    if args.scheduler is None and args.workers == 1:
        return list(
            chain.from_iterable(measure_many(batch, plan.plan) for batch in batches(meters))
        )
    from joulemark_gateway.fleet import cluster  # noqa: PLC0415 - a second of imports

    reached = (
        cluster.local_workers(args.workers)
        if args.scheduler is None
        else cluster.scheduler_at(args.scheduler, tls=_tls(args), plain_tcp=args.plain_tcp)
    )
    with reached as client:
        return cluster.measure_on(client, batches(meters), plan.plan)


def _tls(args: argparse.Namespace) -> Tls | None:
    from joulemark_gateway.fleet.cluster import Tls  # noqa: PLC0415 - as above

    files = (args.tls_ca, args.tls_cert, args.tls_key)
    if all(path is None for path in files):
        return None
    if any(path is None for path in files):
        raise ConfigError("Only some of the files for TLS are named.", "Name all three, or none.")
    return Tls(*files)


def _summary(found: Sequence[Measured]) -> list[str]:
    """How many meters have a saving, and why the others have none."""
    codes: dict[str, int] = {}
    for one in found:
        for code in one.refused_by:
            codes[code] = codes.get(code, 0) + 1
    measured = sum(one.figures is not None for one in found)
    return [
        f"{len(found)} meters: {measured} with a saving, {len(found) - measured} refused",
        *(f"  {count} x {code}" for code, count in sorted(codes.items())),
    ]
