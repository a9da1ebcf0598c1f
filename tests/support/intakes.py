"""A collector's intake over a real store, with a clock of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from joulemark_gateway.evidence.base import Accepted
from joulemark_gateway.evidence.store import SqliteStore
from joulemark_gateway.evidence.tables import QUARANTINE_MESSAGES
from joulemark_gateway.ingest.intake import Intake, Witness
from joulemark_gateway.ingest.registered import Registry
from support.book import NOW_US, registry
from support.evidence import KEYS, WITNESS


def new_intake(
    path: Path,
    trusted: Registry | Callable[[], Registry] | None = None,
    *,
    step_us: int = 1_000_000,
    quarantine_messages: int = QUARANTINE_MESSAGES,
    on_accepted: Callable[[Accepted], None] = lambda _: None,
) -> Intake:
    """An intake whose clock starts at NOW_US and goes a step each time it is looked at."""
    ticks = itertools.count(NOW_US, step_us)
    return Intake(
        lambda: SqliteStore(path, quarantine_messages=quarantine_messages),
        trusted if callable(trusted) else lambda: trusted or registry(),
        Witness(WITNESS, KEYS.witness),
        lambda: next(ticks),
        on_accepted,
    )
