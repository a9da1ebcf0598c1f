"""What waits for its receipt, read and checked: batches by themselves and in groups.

A *unit* is either: a row of the outbox file that holds one batch, or a group of the backlog.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from joulemark_agent import outbox_tables as tables
from joulemark_agent.backlog import Backlog, Group
from joulemark_agent.contract import batch as form
from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.frame import is_packed
from joulemark_agent.contract.signature import MAX_NOTE_BYTES, parse_checkpoint, parse_note
from joulemark_agent.contract.topics import parse_origin
from joulemark_agent.contract.tree import Edge
from joulemark_agent.covers import BATCH, Run, Span, Tree, merged, run_of
from joulemark_agent.outbox_tables import Row
from joulemark_agent.sqlite_file import SqliteFile

Unit = Row | Group
_CHECKPOINT = '{"checkpoint":'  # how the canonical JSON of every batch begins
_PLACE = "device = ? AND epoch = ?"


@dataclass(frozen=True)
class Closing:
    """What is known of a batch when it is closed, besides its bytes."""

    before: Edge  # after the batch before it
    after: Tree
    run: Run


@dataclass(frozen=True)
class Sealed:
    """A batch that was closed: its place, its signed checkpoint and its wire bytes."""

    device: str
    epoch: int
    first_seq: int
    size: int
    checkpoint: str
    payload: bytes
    kind: str = BATCH
    closing: Closing | None = field(default=None, compare=False, repr=False)

    @property
    def place(self) -> tuple[str, int]:
        """Device and epoch."""
        return self.device, self.epoch


def first_unit(file: SqliteFile, device: str, epoch: int, start: int) -> Unit | None:
    """The unit of a tree that holds this leaf, or the first one after it."""
    condition = f"{_PLACE} AND size > ? ORDER BY size LIMIT 1"
    found: list[Unit] = [*tables.rows(file, condition, device, epoch, start)]
    within = f"{_PLACE} AND size = (SELECT min(size) FROM groups WHERE {_PLACE} AND size > ?)"
    found += tables.groups(file, within, device, epoch, device, epoch, start)
    return min(found, key=lambda unit: unit.size, default=None)


def unit_after(file: SqliteFile, *last: object) -> Unit | None:
    """What waits, one after the other: by device, epoch and size."""
    order = "(device, epoch, size) > (?, ?, ?)"
    rows = tables.rows(file, f"{order} ORDER BY device, epoch, size LIMIT 1", *last)
    query = f"SELECT device, epoch, size FROM groups WHERE {order}"
    places = file.rows(f"{query} ORDER BY device, epoch, size LIMIT 1", *last)
    found: list[Unit] = [*rows]
    for place in places:
        found += tables.groups(file, f"{_PLACE} AND size = ?", *place)
    return min(found, key=lambda unit: (*unit.place, unit.size), default=None)


def batch_of(unit: Unit, backlog: Backlog, leaf: int) -> Sealed:
    """The batch of a unit that holds a leaf, or the first one after it.

    Raises:
        StoreError: `damaged`: the disk gave back other bytes than it was given.
    """
    if isinstance(unit, Row):
        return of_row(unit)
    return _of_group(unit, backlog, next(i for i, end in enumerate(unit.ends) if end > leaf))


def of_row(row: Row) -> Sealed:
    """The batch of a row; its note is the one in its bytes.

    Raises:
        StoreError: `damaged`.
    """
    if is_packed(row.payload):
        try:
            note = _own(form.parse_batch(row.payload).checkpoint, row.place, row.size)
        except EvidenceError as error:
            raise _damaged(row.place, row.size, error.what) from error
    else:
        note = _note_in(plain_of(row), row.place, row.size)
    return Sealed(*row.place, row.first_seq, row.size, note, row.payload, row.kind)


def plain_of(row: Row) -> bytes:
    """The plain text of the batch of a row.

    Raises:
        StoreError: `damaged`: found here, where it can be mended, and not at the collector.
    """
    try:
        return form.plain_of(row.payload)
    except EvidenceError as error:
        raise _damaged(row.place, row.size, error.what) from error


def runs_of(unit: Unit, backlog: Backlog) -> list[Run]:
    """What stands for each batch of a unit.

    Raises:
        StoreError: `damaged`.
    """
    if isinstance(unit, Row):
        return [run_of_batch(of_row(unit))]
    return [run_of_batch(_of_group(unit, backlog, index)) for index in range(unit.batches)]


def run_of_batch(batch: Sealed) -> Run:
    """What stands for a batch.

    Raises:
        StoreError: `damaged`: it is not what was written.
    """
    try:
        return run_of(batch.place, batch.kind, batch.payload)
    except EvidenceError as error:
        raise _damaged(batch.place, batch.size, error.what) from error


def is_tiled(runs: Sequence[Run], unit: Unit | Span) -> bool:
    """Whether the runs are those of a unit from its first leaf to its last, none missing."""
    ends = [unit.first_seq, *(run.size for run in runs)]
    starts = [*(run.first_seq for run in runs), unit.size]
    return ends == starts


def one_of(runs: Sequence[Run]) -> Run:
    """One run for consecutive ones."""
    return runs[0] if len(runs) == 1 else merged(runs)


def _of_group(group: Group, backlog: Backlog, index: int) -> Sealed:
    plain, size = backlog.read(group)[index], group.ends[index]
    note = _note_in(plain, group.place, size)
    try:
        payload = form.sealed_bytes(form.batch_of(plain))
    except EvidenceError as error:
        raise _damaged(group.place, size, error.what) from error
    return Sealed(*group.place, group.start(index), size, note, payload)


def _note_in(plain: bytes, place: tuple[str, int], size: int) -> str:
    """The note that the plain text of a batch begins with, if it is that of this batch."""
    text = plain[: 2 * MAX_NOTE_BYTES].decode(errors="replace")  # escaped it may be twice as long
    try:
        note = str(json.JSONDecoder().raw_decode(text, len(_CHECKPOINT))[0])
    except ValueError as error:
        raise _damaged(place, size, "it begins with no note") from error
    return _own(note, place, size)


def _own(note: str, place: tuple[str, int], size: int) -> str:
    """The note, if it is that of this batch."""
    try:
        head = parse_checkpoint(parse_note(note)[0])
        found = (*parse_origin(head.origin)[1:], head.size)
    except (ValueError, EvidenceError) as error:
        raise _damaged(place, size, "it begins with no note") from error
    if found != (*place, size):
        raise _damaged(place, size, f"its note is that of {found}")
    return note


def _damaged(place: tuple[str, int], size: int, why: str) -> StoreError:
    what = f"The batch of {place[0]}, epoch {place[1]}, that ends at {size} leaves"
    do = "It is set aside, and its cover is sent."
    return StoreError(f"{what} is damaged on the disk: {why}", do, code="damaged")
