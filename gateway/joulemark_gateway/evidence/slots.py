"""The account of a device's slots: each was read, or is missing for a stated cause. Pure.

| a slot is | what stands behind it |
|---|---|
| received | a record; or one that stays at the gateway, whose batch counts it |
| missing, by cause | a gap that the agent signed; `store_damaged`: a disk lost its leaf |
| unaccounted | nothing, though later slots have arrived: nobody says why |
| outstanding | it lies after the last that has arrived: the agent is away, or sends its backlog |

What is expected is counted from the grid of slots alone, and the rest from the leaves alone, so the
sums say something: expected = received + missing + unaccounted + outstanding - twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from joulemark_gateway.evidence.history import Record, Tree
from joulemark_gateway.evidence.withheld import lost_slots, withheld_slots

RECEIVED, AT_GATEWAY, UNACCOUNTED = "received", "at_gateway", "unaccounted"
STORE_DAMAGED = "store_damaged"
_NO_CAUSES = {RECEIVED, AT_GATEWAY, UNACCOUNTED}
GOOD, ABSENT = "good", "absent"  # of a point in a record: neither value nor code is absent


class Stretch(NamedTuple):
    """Consecutive slots of one kind. [us UTC]"""

    first_us: int
    last_us: int
    kind: str  # RECEIVED, AT_GATEWAY, UNACCOUNTED or the cause of a gap


@dataclass(frozen=True)
class Account:
    """The slots of one device in one window, and what its points said at those received."""

    start_us: int
    end_us: int  # the first instant after the window
    expected: int = 0
    received: int = 0
    at_gateway: int = 0  # of those received: their values are not here
    missing: Mapping[str, int] = field(default_factory=dict)  # by cause
    unaccounted: int = 0
    outstanding: int = 0
    twice: int = 0  # read or said to be missing once more than once
    points: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by point and quality

    @property
    def missing_slots(self) -> int:
        """Whatever the cause."""
        return sum(self.missing.values())

    @property
    def reconciles(self) -> bool:
        """Whether what was counted from the grid and what was counted from the leaves agree."""
        held = self.received + self.missing_slots + self.unaccounted + self.outstanding - self.twice
        here = self.received - self.at_gateway
        return held == self.expected and all(
            sum(codes.values()) == here for codes in self.points.values()
        )


@dataclass(frozen=True)
class Held:
    """What is held of one epoch of a device around a window."""

    tree: Tree  # or a part of it, from a batch's first leaf on
    period_us: int
    points: Sequence[str]
    due_us: int | None = None  # the slot that had to come first; None: the first that did
    until_us: int | None = None  # slots before this are expected; None: up to the last that is held


def account(held: Held, start_us: int, end_us: int) -> Account:
    """The account of a window.

    Args:
        held: what is held of the epoch.
        start_us: where the window starts. [us UTC]
        end_us: the first instant after it. [us UTC]
    """
    stretches, overlaps = _walked(held)
    if not stretches:
        return Account(start_us, end_us)

    def within(stretch: Stretch) -> int:
        return _within(stretch, held.period_us, start_us, end_us)

    kinds: Counter[str] = Counter()
    for stretch in stretches:
        kinds[stretch.kind] += within(stretch)
    next_us = stretches[-1].last_us + held.period_us
    until_us = _until_us(held, stretches)
    records = [one for one in held.tree.records if start_us <= one.slot_us < end_us]
    return Account(
        start_us,
        end_us,
        expected=within(Stretch(stretches[0].first_us, until_us - 1, "")),
        received=kinds[RECEIVED] + kinds[AT_GATEWAY],
        at_gateway=kinds[AT_GATEWAY],
        missing={kind: n for kind, n in sorted(kinds.items()) if n and kind not in _NO_CAUSES},
        unaccounted=kinds[UNACCOUNTED],
        outstanding=within(Stretch(next_us, until_us - 1, "")),
        twice=sum(map(within, overlaps)),
        points={name: _qualities(records, name) for name in held.points},
    )


def of_epochs(epochs: Sequence[Held], start_us: int, end_us: int) -> Account:
    """The account of a device's epochs in a window; a slot that two of them have is there twice.

    Args:
        epochs: what is held of each.
        start_us: where the window starts. [us UTC]
        end_us: the first instant after it. [us UTC]
    """
    taken: list[tuple[int, int]] = []  # times that epochs before have
    shared = 0
    for held in epochs:
        if (span := _span_of(held)) is None:
            continue
        slots = Stretch(span[0], span[1] - 1, "")
        for first_us, after_us in taken:
            inside_us = max(first_us, start_us), min(after_us, end_us)
            shared += _within(slots, held.period_us, *inside_us)
        taken = _merged([*taken, span])
    found = total([Account(start_us, end_us), *(account(one, start_us, end_us) for one in epochs)])
    return replace(found, expected=found.expected - shared, twice=found.twice + shared)


def total(parts: Sequence[Account]) -> Account:
    """The account of several windows together, which do not overlap."""
    missing: Counter[str] = Counter()
    points: dict[str, Counter[str]] = {}
    for one in parts:
        missing.update(one.missing)
        for name, codes in one.points.items():
            points.setdefault(name, Counter()).update(codes)
    return Account(
        min(one.start_us for one in parts),
        max(one.end_us for one in parts),
        expected=sum(one.expected for one in parts),
        received=sum(one.received for one in parts),
        at_gateway=sum(one.at_gateway for one in parts),
        missing=dict(sorted(missing.items())),
        unaccounted=sum(one.unaccounted for one in parts),
        outstanding=sum(one.outstanding for one in parts),
        twice=sum(one.twice for one in parts),
        points={name: dict(sorted(codes.items())) for name, codes in points.items()},
    )


def _span_of(held: Held) -> tuple[int, int] | None:
    """The slots that are expected of an epoch: the first, and the instant after the last."""
    stretches, _ = _walked(held)
    return (stretches[0].first_us, _until_us(held, stretches)) if stretches else None


def _until_us(held: Held, stretches: Sequence[Stretch]) -> int:
    next_us = stretches[-1].last_us + held.period_us
    return next_us if held.until_us is None else max(held.until_us, next_us)


def _merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same times without overlaps."""
    found: list[tuple[int, int]] = []
    for first_us, after_us in sorted(spans):
        if found and first_us <= found[-1][1]:
            found[-1] = found[-1][0], max(after_us, found[-1][1])
        else:
            found.append((first_us, after_us))
    return found


def _walked(held: Held) -> tuple[list[Stretch], list[Stretch]]:
    """What the leaves say, slot after slot with what is missing between, and what is said twice."""
    tree, period_us = held.tree, held.period_us
    due_us = held.due_us
    found: list[Stretch] = []
    overlaps: list[Stretch] = []
    for stretch in sorted(_said(tree, period_us)):
        first_us, last_us, _ = stretch
        if due_us is not None and first_us > due_us:
            found.append(Stretch(due_us, first_us - period_us, UNACCOUNTED))
        if due_us is not None and first_us < due_us:
            overlaps.append(Stretch(first_us, min(last_us, due_us - period_us), ""))
        last = found[-1] if found else None
        if last and (last.kind, last.last_us + period_us) == (stretch.kind, first_us):
            found[-1] = last._replace(last_us=last_us)
        else:
            found.append(stretch)
        due_us = last_us + period_us if due_us is None else max(due_us, last_us + period_us)
    return found, overlaps


def _said(tree: Tree, period_us: int) -> Iterator[Stretch]:
    for record in tree.records:
        yield Stretch(record.slot_us, record.slot_us, RECEIVED)
    for _, gap in tree.gaps:
        yield Stretch(gap.first_slot_us, gap.last_slot_us, gap.cause)
    for run in withheld_slots(tree, period_us):
        yield Stretch(run.first_us, run.last_us, AT_GATEWAY)
    for run in lost_slots(tree):
        yield Stretch(run.first_us, run.last_us, STORE_DAMAGED)


def _within(stretch: Stretch, period_us: int, start_us: int, end_us: int) -> int:
    """How many slots of a stretch lie in a window."""
    first_us, last_us = stretch.first_us, stretch.last_us
    skipped = max(-(-(start_us - first_us) // period_us), 0)
    return max((min(last_us, end_us - 1) - first_us) // period_us - skipped + 1, 0)


def _qualities(records: Sequence[Record], point: str) -> dict[str, int]:
    """How often the point was good, or had which code."""
    codes = (one.quality.get(point, GOOD if point in one.values else ABSENT) for one in records)
    return dict(sorted(Counter(codes).items()))
