"""`joulemark witness run | keys | status | countersign`.

Adding the commands imports nothing heavy: what they need is imported when they run.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.signature import encode64

MOST_BYTES = 1024 * 1024


def add_command(subparsers: Any) -> None:
    """Add `joulemark witness`."""
    parser = subparsers.add_parser("witness", help="cosign the heads of collectors' logs")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="the service")
    _add_config(run, _run)
    keys = commands.add_parser("keys", help="the name and key that collectors and verifiers need")
    keys.add_argument("--json", action="store_true", help="one JSON document")
    _add_config(keys, _keys)
    status = commands.add_parser("status", help="what was cosigned, and what speaks against a log")
    status.add_argument("--json", action="store_true", help="one JSON document")
    _add_config(status, _status)
    countersign = commands.add_parser(
        "countersign",
        help="cosign a head that came as a file",
        description="Takes the file that 'joulemark collector head --out FILE' wrote and writes "
        "the cosigned head, which 'joulemark collector cosigned FILE' takes back.",
    )
    countersign.add_argument("request", type=Path, metavar="FILE")
    countersign.add_argument("--out", type=Path, required=True, metavar="FILE")
    _add_config(countersign, _countersign)


def _add_config(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument(
        "-c", "--config", type=Path, required=True, metavar="WITNESS.yaml",
        help="the witness's file",
    )  # fmt: skip
    parser.set_defaults(run=run)


def _run(args: argparse.Namespace) -> int:
    from joulemark_agent.log import start_logging  # noqa: PLC0415 - as above
    from joulemark_gateway.witness.server import run  # noqa: PLC0415
    from joulemark_gateway.witness.settings import load_witness  # noqa: PLC0415

    settings = load_witness(args.config)
    start_logging()
    run(settings)
    return 0


def _keys(args: argparse.Namespace) -> int:
    from joulemark_gateway.witness.settings import load_witness  # noqa: PLC0415

    settings = load_witness(args.config)
    key = settings.key()
    if args.json:
        print(json.dumps({"name": settings.name, "key": encode64(key.public)}))
    else:
        print(f"{settings.name}  {encode64(key.public)}  fingerprint {key.fingerprint}")
    return 0


def _status(args: argparse.Namespace) -> int:
    from joulemark_gateway.witness.settings import load_witness  # noqa: PLC0415
    from joulemark_gateway.witness.store import FILE, WitnessStore  # noqa: PLC0415

    settings = load_witness(args.config)
    with WitnessStore(settings.state_dir / FILE) as store:
        held, forks = store.all(), store.forks()
    logs: list[dict[str, Any]] = [
        {"origin": item.head.origin, "size": item.head.size, "root": encode64(item.head.root),
         "time": _utc(item.time_s)}
        for item in held
    ]  # fmt: skip
    against = [
        {"origin": fork.origin, "why": fork.why, "time": _utc(fork.time_s), "note": fork.note}
        for fork in forks
    ]
    if args.json:
        print(json.dumps({"logs": logs, "forks": against}))
    else:
        for row in logs:
            print(f"{row['origin']}  {row['size']} leaves, root {row['root']}, {row['time']}")
        for row in against:
            print(f"SPEAKS AGAINST {row['origin']}: {row['why']}, {row['time']}\n{row['note']}")
        if not logs:
            print("Nothing was cosigned yet.")
    return 1 if against else 0


def _countersign(args: argparse.Namespace) -> int:
    from time import time  # noqa: PLC0415

    from joulemark_gateway.witness.cosigner import Cosigner  # noqa: PLC0415
    from joulemark_gateway.witness.exchange import (  # noqa: PLC0415
        CONFLICT,
        OK,
        parse_request,
    )
    from joulemark_gateway.witness.settings import load_witness  # noqa: PLC0415
    from joulemark_gateway.witness.store import FILE, WitnessStore  # noqa: PLC0415

    settings, data = load_witness(args.config), _read(args.request)
    request = parse_request(data)
    with WitnessStore(settings.state_dir / FILE) as store:
        last = store.last(request.head.origin)
        if last is not None and last.head == request.head:  # the answer was lost
            return _written(args.out, last.note, settings.name)
        answer = Cosigner(store, settings.identity(), lambda: int(time())).answer(data)
    said = answer.body.strip()
    if answer.status == CONFLICT:
        raise EvidenceError(
            f"{settings.name} does not cosign this head: it cosigned {said} leaves last, with "
            "another root or from another size on.",
            f"Let the collector write the file with '--old {said}'. If that is refused as well, "
            "the log was rewritten: keep both files.",
            code="not_cosigned",
        )
    if answer.status != OK:
        raise EvidenceError(
            f"{settings.name} does not cosign this head: {said}.",
            "Compare origin and key with 'joulemark collector keys' of the other site.",
            code="not_cosigned",
        )
    return _written(args.out, request.note + answer.body, settings.name)


def _written(path: Path, note: str, name: str) -> int:
    try:
        path.write_text(note, "utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.",
            "Name another file and run the command again: the same head is cosigned again.",
        ) from error
    print(f"cosigned by {name}: {path}")
    return 0


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and who may read it."
        ) from error


def _utc(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")
