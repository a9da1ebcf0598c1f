"""Figures of windows, computed before the commit that states them: no line waits for a model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from joulemark_agent.contract.reading import Reading
from joulemark_agent.figures import Subject, Taken, end_of, failed, stated, step
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.outbox import Tree
from joulemark_agent.tree_book import TreeBook

log = logging.getLogger(__name__)
_Window = tuple[int, int, int, int]  # epoch, first and last slot, how many readings


class Foreseen:
    """The figures of windows that end, computed before they are stated, or then; any thread."""

    def __init__(self) -> None:
        self.is_lean = False  # whether figures are left out, for room on the disk
        self._found: dict[str, tuple[_Window, dict[str, Any]]] = {}  # by device

    def work(self, book: TreeBook, reading: Reading) -> Callable[[], None] | None:
        """What this reading will make due: figures of the window it closes; None: none is."""
        subject = book.recorded.figures if book.recorded else None
        if subject is None or not book.window or self.is_lean:
            return None
        if reading.slot_us < end_of(book.window[0].slot_us, subject.every_us):
            return None
        shown = decode_responses(subject.profile, reading.responses)
        new = Taken(book.window[-1].seq + 1, reading.slot_us, reading.t_utc_us, *shown)
        closed = step(book.window, new, subject.every_us, subject.period_us).closed
        return partial(self._compute, book.tree, subject, closed) if closed else None

    def fields(self, tree: Tree, subject: Subject, closed: tuple[Taken, ...]) -> dict[str, Any]:
        """The fields of the leaf that states the figures of a window."""
        name, window = tree.device, _window(tree, closed)
        if self.is_lean:
            self._found[name] = (window, failed(subject, closed))
        elif name not in self._found or self._found[name][0] != window:
            self._compute(tree, subject, closed)
        _, found = self._found[name]
        seqs = {"first_seq": str(closed[0].seq), "last_seq": str(closed[-1].seq)}
        return {**found, **seqs}

    def _compute(self, tree: Tree, subject: Subject, closed: tuple[Taken, ...]) -> None:
        """Keep the figures of a window for when it is stated."""
        try:
            fields = stated(subject, closed)
        except Exception:  # a model's mistake; what was read is evidence all the same
            log.exception("figures_failed", extra={"device": tree.device})
            fields = failed(subject, closed)
        self._found[tree.device] = (_window(tree, closed), fields)


def taken_of(content: Mapping[str, Any]) -> Taken:
    """What figures need of a record's content."""
    seq, slot_us, t_utc_us = (int(content[name]) for name in ("seq", "slot", "t_utc_us"))
    return Taken(seq, slot_us, t_utc_us, content["val"], content["q"])


def _window(tree: Tree, closed: Sequence[Taken]) -> _Window:
    return tree.epoch, closed[0].slot_us, closed[-1].slot_us, len(closed)
