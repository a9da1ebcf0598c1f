"""`joulemark collector head | cosigned | correct`: the collector's log, for people.

Adding the commands imports nothing heavy: what they need is imported when they run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import encode64, parse_checkpoint, parse_note

if TYPE_CHECKING:
    from joulemark_gateway.evidence.log_store import LogHead, LogTables
    from joulemark_gateway.settings import CollectorSettings

Add = Callable[[argparse.ArgumentParser, Callable[[argparse.Namespace], int]], None]
MOST_BYTES = 1024 * 1024


def add_commands(commands: Any, add_config: Add) -> None:
    """Add the commands to `joulemark collector`.

    Args:
        commands: its subparsers.
        add_config: adds the collector's file and what to run.
    """
    head = commands.add_parser(
        "head",
        help="the newest head of the collector's log, as text and QR code",
        description="Prints what to keep elsewhere: whoever has it can tell whether the log was "
        "rewritten later. With --out, writes the file that a second site countersigns.",
    )
    head.add_argument("--json", action="store_true", help="one JSON document")
    head.add_argument("--out", type=Path, metavar="FILE", help="write what a witness is asked")
    head.add_argument("--witness", metavar="NAME", help="for whom")
    head.add_argument("--old", type=int, metavar="SIZE", help="what that witness cosigned last")
    add_config(head, _head)
    cosigned = commands.add_parser(
        "cosigned",
        help="take back a head that a witness countersigned",
        description="Takes the file that 'joulemark witness countersign' wrote.",
    )
    cosigned.add_argument("file", type=Path, metavar="FILE")
    add_config(cosigned, _cosigned)
    correct = commands.add_parser(
        "correct",
        help="state values of readings better than the device did",
        description="Logs an operator's correction. Nothing is edited: reports list it, and give "
        "their totals with it and without.",
    )
    correct.add_argument("file", type=Path, metavar="CORRECTION.yaml")
    correct.add_argument("--operator-key", type=Path, required=True, metavar="FILE")
    add_config(correct, _correct)


def _head(args: argparse.Namespace) -> int:
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415 - as above

    settings = load_collector(args.config)
    with settings.evidence.log(write=False) as store:
        head = newest(store)
        if args.out is not None:
            old = _old_size(args, settings, store)
            _write(args.out, _request(store, head, old))
            print(f"{args.out}: head of {head.size} leaves, proof from {old}")
            return 0
    if args.json:
        print(json.dumps(_content(head)))
    else:
        from joulemark_gateway.qr_code import terminal  # noqa: PLC0415

        text = parse_note(head.note)[0]
        print(text)
        for name in sorted(head.cosignatures):
            print(f"cosigned by {name}")
        print(terminal(text))
    return 0


def _cosigned(args: argparse.Namespace) -> int:
    from joulemark_gateway.bookkeeping.start import peers_of  # noqa: PLC0415 - as above
    from joulemark_gateway.bookkeeping.witnesses import keep  # noqa: PLC0415
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415

    settings = load_collector(args.config)
    with settings.evidence.log() as store:
        kept = keep(store, peers_of(settings.log), _text(args.file))
    print(f"kept: cosigned by {', '.join(kept)}")
    return 0


def _correct(args: argparse.Namespace) -> int:
    from joulemark_agent.keys import load_key  # noqa: PLC0415 - as above
    from joulemark_gateway.bookkeeping.correct import correct, load_correction  # noqa: PLC0415
    from joulemark_gateway.bookkeeping.start import open_log  # noqa: PLC0415
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415

    settings, wanted = load_collector(args.config), load_correction(args.file)
    operator = load_key(args.operator_key)
    if encode64(operator.public) not in settings.operators:
        raise ConfigError(
            f"The key {operator.fingerprint} is no operator's of this collector.",
            "Let an operator of its section 'operators' sign the correction.",
        )
    with settings.evidence.reader() as evidence:
        book = open_log(settings)
        try:
            done, head = correct(book, evidence, wanted, operator, time.time_ns() // 1000)
        finally:
            book.store.close()
    print(f"{done.treatment}: {done.point} of leaves {done.first_seq} to {done.last_seq} of "
          f"{done.origin}")  # fmt: skip
    print(f"digest {done.digest}, under the log's head of {head.size} leaves")
    return 0


def newest(store: LogTables) -> LogHead:
    """The newest signed head.

    Raises:
        ConfigError: nothing was logged yet.
    """
    heads = store.heads()
    if not heads:
        raise ConfigError(
            "The collector's log has no head yet.",
            "Start the collector: its log is closed at the start and every hour.",
        )
    return heads[-1]


def _content(head: LogHead) -> dict[str, Any]:
    found = parse_checkpoint(parse_note(head.note)[0])
    return {
        "origin": found.origin,
        "size": found.size,
        "root": encode64(found.root),
        "note": head.cosigned,
        "cosigned_by": sorted(head.cosignatures),
    }


def _old_size(args: argparse.Namespace, settings: CollectorSettings, store: LogTables) -> int:
    """The size that the witness is taken to have cosigned last."""
    if args.old is not None:
        return int(args.old)
    known = {item.name: item.url for item in settings.log.witnesses}
    by_file = [name for name, url in known.items() if url is None]
    name = args.witness or (by_file[0] if len(by_file) == 1 else None)
    if name is None and not known:
        return 0
    if name not in known:
        raise ConfigError(
            f"For which witness? {name or 'None'} is not one of: {', '.join(known)}.",
            "Name one with --witness, or say with --old what it cosigned last.",
        )
    return store.cosigned_size(name)


def _request(store: LogTables, head: LogHead, old: int) -> str:
    from joulemark_gateway.bookkeeping.witnesses import request_for  # noqa: PLC0415 - as above

    return request_for(store, head, old).text()


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES).decode()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and who may read it."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text.", "Take it from the witness again."
        ) from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.", "Name another file."
        ) from error
