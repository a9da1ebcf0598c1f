"""Under which head of the collector's log a report stands: the newest that enough others saw."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from joulemark_agent.contract.errors import ConfigError, StoreError
from joulemark_gateway.evidence.ledger import Ledger
from joulemark_gateway.evidence.log_store import LogHead, LogTables

if TYPE_CHECKING:
    from joulemark_gateway.settings import CollectorSettings


def close_log(settings: CollectorSettings) -> None:
    """Log what has grown since, and show the head to whoever can be reached now.

    Where this user may only read the store, what was logged before is used.

    Raises:
        ConfigError: a key or a certificate of the collector cannot be used.
    """
    from joulemark_gateway.bookkeeping.start import open_bookkeeper  # noqa: PLC0415 - [gateway]
    from joulemark_gateway.registry import read_added  # noqa: PLC0415 - as above

    registry = read_added(settings.state_dir).to(settings.registry)
    try:
        keeper = open_bookkeeper(settings, lambda: registry)
        try:
            keeper.turn(time.time_ns() // 1000, is_last=True)
        finally:
            keeper.close()
    except StoreError as error:
        if error.code not in {"store_io", "store_busy"}:
            raise


def head_for(book: LogTables, witnesses: Collection[str], quorum: int) -> LogHead:
    """The newest head that enough of these witnesses cosigned.

    Raises:
        ConfigError: there is none.
    """
    heads = book.heads()
    if not heads:
        raise ConfigError(
            "The evidence store has no collector's log yet: a report stands under a head of it.",
            "Start the collector once, or name the collector's file in the project.",
        )
    seen = [head for head in heads if len({*head.cosignatures} & {*witnesses}) >= quorum]
    if not seen:
        raise ConfigError(
            f"None of the {len(heads)} heads of the collector's log was cosigned by {quorum} of "
            f"{', '.join(sorted(witnesses)) or 'no witnesses'}.",
            "Start the witness, or bring its countersigned file back with 'joulemark collector"
            " cosigned'; or ask for fewer in the section 'log'.",
        )
    return seen[-1]


def mark_shown(ledger: Ledger, size: int) -> None:
    """Remember that a head went out with a report: every later bundle shows it, too."""
    try:
        with ledger.log() as book:
            book.mark_shown(size)
    except StoreError as error:
        if error.code not in {"store_io", "store_busy"}:
            raise
