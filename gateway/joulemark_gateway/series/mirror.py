"""Keeps the series behind the evidence store: after every commit, in rounds, in its own thread.

Ingest comes first. The mirror reads through a connection of its own, works in short rounds, and
while batches wait it does one round a second and lags; where the series cannot be written, evidence
goes on and the mirror catches up later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from joulemark_agent.contract.errors import JoulemarkError, StoreError
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.topics import parse_origin
from joulemark_gateway.alive import QUIET, Beat
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.base import EvidenceStore, Head
from joulemark_gateway.evidence.blocks import OUTSIDE
from joulemark_gateway.evidence.emission_factors import approved_carbon, factor_on
from joulemark_gateway.series.base import HELD, Carry, Part, Series
from joulemark_gateway.series.project import Known, part_of

LEAVES_A_ROUND = 400  # some 30 ms, in which ingest has to share the interpreter
LEAVES_A_REBUILD_ROUND = 20_000
PACE_S = 1.0
RETRY_S = 10.0
_LAST_ROUNDS_S = 5.0

log = logging.getLogger(__name__)

_Known = dict[str, tuple[Profile, int, ZoneInfo, Known]]  # by tree


def catch_up(
    store: EvidenceStore,
    series: Series,
    *,
    leaves: int = LEAVES_A_REBUILD_ROUND,
    known: _Known | None = None,
    on_lost: Callable[[str, StoreError], None] | None = None,
) -> bool:
    """Project leaves the series does not have yet, those of the tree furthest behind first.

    Args:
        store: the evidence.
        series: the copy.
        leaves: how many at most.
        known: what the documents say of each tree, filled and used again.
        on_lost: told of a tree whose old batches are out of reach; the others go on. None: it is
            an error.

    Returns:
        whether leaves are left for another round.

    Raises:
        StoreError: the evidence or the series cannot be used.
    """
    known = {} if known is None else known
    progress, heads = series.progress(), store.heads()
    starts = {head.origin: progress.get(head.origin, (0, Carry())) for head in heads}
    behind = [head for head in heads if head.size > starts[head.origin][0]]
    behind.sort(key=lambda head: starts[head.origin][0] - head.size)
    parts: list[Part] = []
    left = leaves
    for head in behind:
        start, carry = starts[head.origin]
        end = min(head.size, start + left)
        if end > start:
            try:
                parts.append(_part(store, head, (start, end), carry, known))
            except StoreError as error:
                if on_lost is None or error.code not in OUTSIDE:
                    raise
                on_lost(head.origin, error)
                continue
            left -= end - start
    if parts:
        series.write(parts)
    return left == 0 and sum(head.size - starts[head.origin][0] for head in behind) > leaves


def rebuild(store: EvidenceStore, path: Path, open_series: Callable[[Path], Series]) -> None:
    """Make the series anew beside the old one, and put it in its place when it is whole.

    The old one is held meanwhile: a collector that starts now waits for the new one, and does not
    write into a file, and beside it a log, that are about to be replaced.

    Raises:
        StoreError: the evidence or the new file cannot be used, or a collector holds the old one
            (`series_held`); the old one is untouched.
    """
    with ExitStack() as held:
        try:
            open_series(path).close()  # what a killed process left in the log is now in the file
            held.callback(open_series(path).close)
        except StoreError as error:
            if error.code == HELD:
                raise
        _made_anew(store, path, open_series)


def _made_anew(store: EvidenceStore, path: Path, open_series: Callable[[Path], Series]) -> None:
    part = path.with_name(f"{path.name}.new")
    for file in (part, _log_of(part)):
        file.unlink(missing_ok=True)
    series = open_series(part)
    try:
        while catch_up(store, series):
            pass
    finally:
        series.close()
    _log_of(path).unlink(missing_ok=True)
    part.replace(path)


class OnServer(Series, Protocol):
    """A series that cannot be made beside the old one and put in its place."""

    def reset(self, sites: Iterable[str]) -> None:
        """Forget the progress of these sites, and delete their rows."""


def refill(store: EvidenceStore, series: OnServer) -> None:
    """Delete the rows of every site the evidence has, and project them anew.

    Until it is done, queries find a part of the rows; after a kill the collector goes on with it.

    Raises:
        StoreError: the evidence or the server cannot be used, or a collector holds the series
            (`series_held`), which is then untouched.
    """
    series.reset({parse_origin(head.origin)[0] for head in store.heads()})
    while catch_up(store, series):
        pass


def _log_of(path: Path) -> Path:
    """What a killed process leaves beside a series; it fits no other file."""
    return path.with_name(f"{path.name}.wal")


class Mirror:
    """The thread that keeps a series up to date."""

    def __init__(
        self,
        open_store: Callable[[], EvidenceStore],
        open_series: Callable[[], Series],
        is_busy: Callable[[], bool] = lambda: False,
        beat: Beat = QUIET,
        look_every_s: float | None = None,
    ) -> None:
        """Nothing is opened yet; both are opened, and opened again after a failure, by the thread.

        Args:
            open_store: opens the evidence for reading.
            open_series: opens the series.
            is_busy: whether batches wait to be taken.
            beat: told of every round, and when there is nothing to do.
            look_every_s: how often to look without being told, where others write the evidence too.
        """
        self._look_every_s = look_every_s
        self._open_store, self._open_series = open_store, open_series
        self._is_busy, self._beat = is_busy, beat
        self._lost: set[tuple[str, str]] = set()  # of which trees it was said, and why
        self._poked, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="series", daemon=True)

    def start(self) -> None:
        """Begin with what the series lacks."""
        self._poked.set()
        self._thread.start()

    def poke(self) -> None:
        """There is new evidence."""
        self._poked.set()

    def stop(self) -> None:
        """Catch up, for a few seconds at most, and end."""
        self._stopping.set()
        self._poked.set()
        self._thread.join()

    def _run(self) -> None:
        is_down = False
        while True:
            try:
                self._follow()
            except JoulemarkError as error:
                if not is_down:
                    fields = {"code": error.code, "what": error.what, "do": error.do}
                    log.error("series_down", extra=fields)  # noqa: TRY400 - said in full
                is_down = True
            except Exception:  # a mistake of ours; the copy may stop, evidence goes on
                log.exception("series_failed")
                return
            else:
                return
            finally:
                self._beat.off()
            if self._stopping.wait(RETRY_S):
                return

    def _follow(self) -> None:
        """Project what comes until told to stop.

        Raises:
            StoreError: the evidence or the series cannot be used any longer.
        """
        self._beat.on()
        store = self._open_store()
        try:
            series = self._open_series()
            try:
                self._rounds(store, series)
            finally:
                series.close()
        finally:
            store.close()

    def _rounds(self, store: EvidenceStore, series: Series) -> None:
        known: _Known = {}

        def next_round() -> bool:
            self._beat.on()
            return catch_up(
                store, series, leaves=LEAVES_A_ROUND, known=known, on_lost=self._say_lost
            )

        while not self._stopping.is_set():
            self._beat.off()
            self._poked.wait(self._look_every_s)
            self._poked.clear()
            while next_round() and not self._stopping.is_set():
                if self._is_busy():
                    self._stopping.wait(PACE_S)
            self._stopping.wait(PACE_S)
        until = time.monotonic() + _LAST_ROUNDS_S
        while next_round() and time.monotonic() < until:
            pass

    def _say_lost(self, origin: str, error: StoreError) -> None:
        """Say once that a tree stays behind."""
        if (origin, error.what) not in self._lost:
            fields = {"origin": origin, "code": error.code, "what": error.what, "do": error.do}
            log.error("series_behind", extra=fields)
        self._lost.add((origin, error.what))


def _part(
    store: EvidenceStore, head: Head, span: tuple[int, int], carry: Carry, known: _Known
) -> Part:
    if head.origin not in known:
        tree = history.parse_part((), 0, head.grant, head.operator_signature)
        documents = store.documents()
        period_us = history.step_us_of(tree, documents)
        zone = history.time_zone_of(tree, documents)
        slot_us = None if history.interval_us_of(tree, documents) else period_us
        carbon = approved_carbon(documents, tree.grant["documents"], zone)
        also = Known(partial(factor_on, carbon), slot_us)
        known[head.origin] = (history.profile_of(tree, documents), period_us, zone, also)
    profile, period_us, zone, also = known[head.origin]
    leaves = store.parts(head.origin, *span)
    tree = history.parse_part(leaves, span[0], head.grant, head.operator_signature, profile=profile)
    sizes = [envelope.seq + 1 for envelope in tree.envelopes]
    notes = {size: note for size in sizes if (note := store.note_at(head.origin, size))}
    also = replace(also, notes=notes)
    return part_of(tree, span[1], profile, period_us, zone, carry, also)
