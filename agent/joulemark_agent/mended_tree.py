"""One tree after damage: the state to go on from, and what of what waits is whole. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from joulemark_agent.contract.tree import append
from joulemark_agent.covers import Loss, Run, Span, Tree, loss_of, merged
from joulemark_agent.units import Unit

STORE_DAMAGED = "store_damaged"  # cause of slots that were read and not kept
_MOST_COVERS = 128 * 1024  # bytes of those that stand side by side in one message
Place = tuple[str, int]  # device and epoch
Placed = TypeVar("Placed", Span, Unit)


@dataclass
class MendedTree:
    """What is to be done for one tree."""

    place: Place
    held: Tree | None  # as the outbox file has it, or one that was set aside
    known: Tree | None  # as it was at its last head
    confirmed: int | None  # None: the outbox file does not have the tree
    spans: Sequence[Span]  # of the runs whose covers are known
    runs: Callable[[int, int], list[Run]]
    noted: int  # what is confirmed according to the index of heads
    tree: Tree | None = None  # that is gone on with; None: it has ended
    new_leaves: Sequence[bytes] = ()
    lost_leaves: Sequence[bytes] = ()
    start: int = 0  # of what waits
    new: list[Unit] = field(default_factory=list)  # whole, and not in the outbox file yet
    lost: list[Run] = field(default_factory=list)
    broken: list[Unit] = field(default_factory=list)
    cut_off: Sequence[Unit] = ()  # after a hole that nothing stands for
    losses: Sequence[Loss] = ()  # that the index of heads knows of
    why: str = ""

    @property
    def new_losses(self) -> list[Loss]:
        """What is to be told of the runs that are lost now."""
        return [loss_of(run, self.reason) for run in self.lost if run.payload is None]

    @property
    def reason(self) -> str:
        """Why something is lost."""
        return self.why or "the disk lost it"

    @property
    def has_changes(self) -> bool:
        """Whether anything is to be written."""
        is_same = self.tree is self.held and self.confirmed is not None
        return not is_same or bool(self.new or self.lost)

    def decide(self, units: Sequence[tuple[Unit, bool]], leaves: Sequence[bytes]) -> None:
        """Choose the state to go on from, and find what of the waiting batches is whole.

        Args:
            units: what waits, and whether the outbox file holds it.
            leaves: those that no batch holds.
        """
        self.new = [unit for unit, is_held in units if not is_held]
        self._choose(leaves)
        if self.tree is not None:
            self._tile([unit for unit, _ in units])

    def _choose(self, leaves: Sequence[bytes]) -> None:
        held = self.held if self.held is not None and self.held.is_sound else None
        known = self.known
        if held is None and known is None:
            self.why = "neither its state nor its last head is known"
        elif held is not None and (known is None or held.sealed.size >= known.sealed.size):
            if known is None or held.sealed.size > known.sealed.size or held.sealed == known.sealed:
                self._hold(held, leaves)
            else:
                self.why = "two heads of one size are known"
        else:
            assert known is not None
            self.tree, self.lost_leaves = replace(known, cause=STORE_DAMAGED), leaves
            self.why = "the outbox went back to an earlier state" if held else "its state was lost"

    def _hold(self, held: Tree, leaves: Sequence[bytes]) -> None:
        """Go on with the state of the outbox file, if its open leaves are those it hashed."""
        if append(held.sealed, leaves) == held.edge:
            self.tree = held
            self.new_leaves = leaves if self.confirmed is None else ()
            return
        self.why, self.lost_leaves = "leaves that no batch held were damaged", leaves
        if self.known is not None and self.known.sealed == held.sealed:
            self.tree = replace(self.known, cause=STORE_DAMAGED, anchor=held.anchor)

    def _tile(self, units: Sequence[Unit]) -> None:
        """From what is confirmed to the last head, every leaf is in a batch or under a cover."""
        assert self.tree is not None
        size = self.tree.sealed.size
        whole, covers = deque(units), deque(self.spans)
        firsts = [left[0].first_seq for left in (whole, covers) if left]
        at = self.start = self.confirmed if self.confirmed is not None else min([*firsts, size])
        while at < size:
            unit = _at(whole, at)
            if unit is not None:
                at = unit.size
                continue
            span = _at(covers, at)
            if span is None and at < self.noted:  # the collector has it, and so its cover is gone
                at = self.noted
                continue
            if span is None:
                self.why = f"leaf {at} and those after it are lost, and so is their cover"
                self.tree, self.cut_off = None, [unit for unit in units if unit.first_seq >= at]
                self.broken += self.cut_off
                self.new = [unit for unit in self.new if unit not in self.cut_off]
                return
            (run,) = self.runs(*span)
            inside = [unit for unit in units if run.first_seq <= unit.first_seq < run.size]
            self.broken += inside
            self.new = [unit for unit in self.new if unit not in inside]
            self._lose(run)
            at = run.size

    def _lose(self, run: Run) -> None:
        """Have a cover stand for a run; neighbours are one."""
        last = self.lost[-1] if self.lost else None
        is_next = last is not None and last.size == run.first_seq and last.payload is None
        if last is not None and is_next and len(last.covers) < _MOST_COVERS:
            self.lost[-1] = merged([last, run])
        else:
            self.lost.append(run)


def _at(left: deque[Placed], leaf: int) -> Placed | None:
    """The one that holds a leaf; those that end before it are taken away."""
    while left and left[0].size <= leaf:
        left.popleft()
    return left[0] if left and left[0].first_seq <= leaf else None
