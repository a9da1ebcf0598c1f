"""`joulemark agent sets fetch | publish`: factor and profile sets, from somebody or for others."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from joulemark_agent.contract.canonical import digest_hex
from joulemark_agent.contract.errors import ConfigError


def add_commands(subparsers: Any) -> None:
    """Add `sets` to the commands of `joulemark agent`."""
    parser = subparsers.add_parser("sets", help="fetch or publish factor and profile sets (TUF)")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    fetch = commands.add_parser("fetch", help="bring a folder to the newest sets of a publisher")
    fetch.add_argument("source", metavar="FOLDER|URL", help="what the publisher hands out")
    fetch.add_argument("--into", type=Path, required=True, metavar="FOLDER", help="where they go")
    fetch.add_argument(
        "--root", type=Path, metavar="FILE", help="whose sets are trusted; the first time only"
    )
    fetch.set_defaults(run=_fetch)
    publish = commands.add_parser("publish", help="sign the sets of a folder, or renew them")
    publish.add_argument("sets", type=Path, metavar="FOLDER", help="devices/*.yaml, factors/*.yaml")
    publish.add_argument("--keys", type=Path, required=True, metavar="FOLDER")
    publish.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    publish.add_argument("--replace-key", choices=("root", "targets", "online"))
    publish.set_defaults(run=_publish)


def _fetch(args: argparse.Namespace) -> int:
    from joulemark_agent.sets.fetch import fetch  # noqa: PLC0415 - needs the extra [sets]

    try:
        root = None if args.root is None else args.root.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"The root {args.root} cannot be read: {error.strerror}.", "Check the path."
        ) from error
    if root is not None:
        _say(f"root        {digest_hex(root)}  compare it with what the publisher told you")
    done = fetch(args.source, root, args.into)
    _say(f"version     {done.version}, good until {done.expires}")
    for name in done.names:
        _say(f"{'changed' if name in done.changed else 'unchanged':<11} {args.into / name}")
    if done.changed:
        _say("A site file names a set by its path; the operator approves a changed one by a grant.")
    return 0


def _publish(args: argparse.Namespace) -> int:
    from joulemark_agent.sets.publish import publish  # noqa: PLC0415 - needs the extra [sets]

    done = publish(args.sets, args.keys, args.out, datetime.now(UTC), replaced=args.replace_key)
    root = args.out / "metadata" / f"{done.root_version}.root.json"
    _say(f"version     {done.version} of {len(done.names)} sets in {args.out}")
    _say(f"root        {digest_hex(root.read_bytes())}  {root}")
    _say("Hand the root out to people; publish again within 14 days, or readers see a freeze.")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
