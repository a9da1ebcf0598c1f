"""`joulemark collector backup FOLDER`: a copy of the stores, also beside a running collector."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Add = Callable[[argparse.ArgumentParser, Callable[[argparse.Namespace], int]], None]


def add_command(commands: Any, add_config: Add) -> None:
    """Add the command to those of `joulemark collector`; `add_config` gives it its file."""
    parser = commands.add_parser(
        "backup",
        help="copy what the collector keeps, while it runs",
        description="Makes a folder in FOLDER, named by the time. Private keys are not in it: keep"
        " them elsewhere. With --check, looks whether a copy is still as it was made.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--check", action="store_true", help="FOLDER is a copy: is it whole?")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    add_config(parser, _run)


def _run(args: argparse.Namespace) -> int:
    from joulemark_gateway.backup import back_up, check  # noqa: PLC0415 - when it runs
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415 - as above

    settings = load_collector(args.config)
    if args.check:
        made = check(args.folder)
    else:
        made = back_up(settings.state_dir, args.folder, datetime.now(UTC), settings.evidence)
    if args.json:
        told = {
            "files": made.files,
            "folder": str(made.folder),
            "heads": made.heads,
            "not_in_it": [settings.evidence.where] if settings.evidence.is_shared else [],
        }
        sys.stdout.write(json.dumps(told) + "\n")
        return 0
    lines = [f"{made.folder}: {len(made.files)} files, as they {'were' if args.check else 'are'}."]
    for name, head in {**made.heads["trees"], **made.heads["log"]}.items():
        lines.append(f"  {name}  {head['size']} leaves, root {head['root']}")
    if settings.evidence.is_shared:
        lines.append(
            f"The evidence is NOT in it: it is in {settings.evidence.where}. Copy the database with"
            " pg_dump; the heads above must stand in that copy (docs/backup.md)."
        )
    if not args.check:
        lines.append("Private keys are not in it; keep a copy of them elsewhere (docs/backup.md).")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
