"""`joulemark agent archive`: what the gateway kept, handed out by whoever it belongs to."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from joulemark_agent.archive import ALLOWED, DENIED, FILE, Archive, Asked
from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.raw import instant_us, raw_file
from joulemark_agent.settings import load_site


def add_commands(subparsers: Any) -> None:
    """Add `joulemark agent archive` and what it can do."""
    parser = subparsers.add_parser("archive", help="raw records that stay at this gateway")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    held = commands.add_parser("list", help="what there is of every device")
    _add_common(held, _list)
    export = commands.add_parser("export", help="write raw records to a file for a verifier")
    export.add_argument("--device", required=True, metavar="ID")
    for name, what in (("from", "first instant"), ("to", "instant after the last")):
        export.add_argument(f"--{name}", required=True, metavar="TIME", help=what, dest=f"{name}_")
    export.add_argument("--out", type=Path, required=True, metavar="FILE")
    _add_common(export, _export)
    requests = commands.add_parser("requests", help="who asked for what, and what became of it")
    _add_common(requests, _requests)
    answer = commands.add_parser("answer", help="decide on a request that waits")
    answer.add_argument("--id", required=True, metavar="ID", help="as 'requests' shows it")
    choice = answer.add_mutually_exclusive_group(required=True)
    choice.add_argument("--allow", dest="state", action="store_const", const=ALLOWED)
    choice.add_argument("--deny", dest="state", action="store_const", const=DENIED)
    _add_common(answer, _answer)


def _add_common(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument(
        "-c", "--config", type=Path, required=True, metavar="SITE.yaml", help="the site file"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(run=run)


def _list(args: argparse.Namespace) -> int:
    with _archive(args.config) as archive:
        held = archive.held()
    if args.json:
        _say(json.dumps(held))
        return 0
    for row in held:
        _say(
            f"{row['device']}  epoch {row['epoch']}  leaves {row['first_seq']} to "
            f"{row['last_seq']}  {_utc(row['first_us'])} to {_utc(row['last_us'])}  "
            f"{row['batches']} batches"
        )
    if not held:
        _say("Nothing is archived yet: batches come here when the collector has confirmed them.")
    return 0


def _export(args: argparse.Namespace) -> int:
    from_us, to_us = instant_us(args.from_), instant_us(args.to_)
    with _archive(args.config) as archive:
        batches = [parse_batch(one.payload) for one in archive.between(args.device, from_us, to_us)]
    if not batches:
        raise ConfigError(
            f"There are no raw records of {args.device!r} from {args.from_} to {args.to_} here.",
            "Run 'joulemark agent archive list': it shows what there is.",
        )
    try:
        args.out.write_bytes(raw_file(batches))
    except OSError as error:
        raise ConfigError(
            f"{args.out} cannot be written: {error.strerror}.", "Check the folder and free space."
        ) from error
    told = {"file": str(args.out), "batches": len(batches), "leaves": _leaves(batches)}
    if args.json:
        _say(json.dumps(told))
    else:
        _say(f"{told['file']}: {told['leaves']} leaves in {told['batches']} batches")
        _say("A verifier checks it with: joulemark verify BUNDLE --policy FILE --raw FILE")
    return 0


def _requests(args: argparse.Namespace) -> int:
    with _archive(args.config) as archive:
        rows = [_row(asked) for asked in archive.requests()]
    if args.json:
        _say(json.dumps(rows))
        return 0
    for row in rows:
        _say(f"{row['id']}  {row['answer']}  {row['origin']}  {row['from']} to {row['to']}")
        _say(f"  asked by {row['by']}, arrived {row['arrived']}")
    if not rows:
        _say("Nobody has asked.")
    return 0


def _answer(args: argparse.Namespace) -> int:
    with _archive(args.config) as archive:
        if not archive.decide(args.id, args.state):
            raise ConfigError(
                f"No request {args.id[:40]!r} waits for a decision.",
                "Run 'joulemark agent archive requests': it shows which do.",
            )
    told = {"id": args.id, "answer": args.state}
    _say(json.dumps(told) if args.json else f"{args.id}: {args.state}; the running agent does it.")
    return 0


@contextmanager
def _archive(config: Path) -> Iterator[Archive]:
    settings = load_site(config)
    path = settings.state_dir / FILE
    if not path.exists():
        raise ConfigError(
            f"There is no archive in {settings.state_dir}.",
            "There is one where the site file says 'evidence: committed' and the agent has run.",
        )
    with closing(Archive(path, None, is_ours=False)) as archive:
        yield archive


def _row(asked: Asked) -> dict[str, str]:
    request = parse_canonical(asked.payload)["request"]
    return {
        "answer": asked.state,
        "arrived": _utc(asked.arrived_us),
        "by": request["by"],
        "first_seq": request["first_seq"],
        "from": _utc(int(request["from_us"])),
        "id": asked.id,
        "last_seq": request["last_seq"],
        "origin": request["origin"],
        "to": _utc(int(request["to_us"])),
    }


def _leaves(batches: Any) -> int:
    return sum(len(batch.leaves) for batch in batches)


def _utc(time_us: int | None) -> str:
    if time_us is None:
        return "-"
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="seconds")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
