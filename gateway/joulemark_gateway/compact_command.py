"""`joulemark collector compact`: old batches into blocks now, also beside a running collector."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from joulemark_agent.contract.errors import StoreError

Add = Callable[[argparse.ArgumentParser, Callable[[argparse.Namespace], int]], None]


def add_command(commands: Any, add_config: Add) -> None:
    """Add the command to those of `joulemark collector`; `add_config` gives it its file."""
    parser = commands.add_parser(
        "compact",
        help="pack what is held more tightly, now; a running collector does it by itself",
        description="Moves all batches but the newest of each tree into blocks; no leaf, signature"
        " or note is changed. The room that becomes free is used by what comes next.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    add_config(parser, _run)


def _run(args: argparse.Namespace) -> int:
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415 - when it runs

    settings = load_collector(args.config)
    with settings.evidence.compactor() as compactor:
        if not compactor.may_begin():
            raise StoreError(
                f"Another collector compacts {settings.evidence.where} at this moment.",
                "Run the command again later; what it does is done by that one.",
                code="store_busy",
            )
        before = compactor.bytes_used()
        moved = list(compactor.moves(time.time_ns() // 1000, all_of_it=True))
        after = compactor.bytes_used()
    found = {
        "blocks": len(moved),
        "batches": sum(one.batches for one in moved),
        "bytes_before": before,
        "bytes_after": after,
    }
    text = f"{found['batches']} batches in {found['blocks']} blocks: {before:,} B, now {after:,} B."
    sys.stdout.write((json.dumps(found) if args.json else text) + "\n")
    return 0
