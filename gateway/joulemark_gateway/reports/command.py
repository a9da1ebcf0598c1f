"""`joulemark measure` and `joulemark report`: from a project file and the evidence to figures.

Adding the commands imports nothing heavy: what they need is imported when they run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from joulemark_agent.contract.errors import ConfigError


def add_command(subparsers: Any) -> None:
    """Add `joulemark measure` and `joulemark report`."""
    measure = subparsers.add_parser("measure", help="baseline, avoided energy, tCO2e, creditable")
    measure.add_argument("project", type=Path, metavar="PROJECT.yaml")
    measure.add_argument("--json", action="store_true", help="print one JSON document")
    measure.set_defaults(run=run_measure)
    report = subparsers.add_parser(
        "report",
        help="report.html, report.pdf, report.json, bundle.zip and policy.json",
        description="Writes report.html and report.pdf, the same in Korean as report.ko.html and "
        "report.ko.pdf, and report.json, bundle.zip and policy.json.",
    )
    report.add_argument("project", type=Path, metavar="PROJECT.yaml")
    report.add_argument(
        "--out", required=True, metavar="DIR", help="a folder, or an address of fsspec (s3://...)"
    )
    report.set_defaults(run=run_report)


def run_measure(args: argparse.Namespace) -> int:
    """Print the measurement; 1 where the baseline proves nothing."""
    from joulemark_gateway.reports.project_file import gather, load_project  # noqa: PLC0415
    from joulemark_gateway.reports.publish import issued_of  # noqa: PLC0415
    from joulemark_gateway.reports.text import lines  # noqa: PLC0415

    project = load_project(args.project)
    issued = issued_of(gather(project), _now())
    if args.json:
        print(issued.report_json.decode())
    else:
        print("\n".join(lines(issued.report)))
    return 0 if issued.report["saving"] else 1


def run_report(args: argparse.Namespace) -> int:
    """Write the files of the report, or none of them where its own verifier would object."""
    from joulemark_gateway.evidence.account import read_account  # noqa: PLC0415
    from joulemark_gateway.reports.project_file import gather, load_project  # noqa: PLC0415
    from joulemark_gateway.reports.publish import POLICY, files_of, issued_of  # noqa: PLC0415
    from joulemark_gateway.reports.standing import mark_shown  # noqa: PLC0415
    from joulemark_gateway.reports.text import lines  # noqa: PLC0415

    project = load_project(args.project)
    signing = project.signing()  # a missing key is told before the work
    write = _writer(args.out)  # as is a missing package
    material = gather(project)
    issued = issued_of(material, _now())
    files = files_of(material, issued, signing)
    write(files)
    mark_shown(material.store, read_account(material.log).newest.size)
    print("\n".join(lines(issued.report)))
    print(f"\nwritten to {args.out}")
    for name, data in files.items():
        print(f"  {name:<14} {len(data):>12,} bytes")
    print(f"Give {POLICY} to the verifier by another way than the bundle.")
    return 0


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _writer(place: str) -> Callable[[Mapping[str, bytes]], None]:
    """What keeps the files of a report there."""
    if "://" not in place:
        return partial(_write, Path(place))
    from joulemark_gateway.reports.stored import open_place, publish  # noqa: PLC0415 - [gateway]

    return partial(publish, open_place(place))


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Each file whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            part = folder / f".{name}.part"
            part.write_bytes(data)
            part.replace(folder / name)
    except OSError as error:
        raise ConfigError(
            f"The report cannot be written to {folder}: {error.strerror}.",
            "Check the folder, who may write to it, and the free space.",
        ) from error
