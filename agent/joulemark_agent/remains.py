"""What can still be read of an outbox file that was set aside: each part, as far as it goes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.topics import is_id
from joulemark_agent.covers import Tree, edge_of, run_of
from joulemark_agent.outbox_tables import Row

_TREES = (
    "SELECT device, epoch, opening, size, edge, sealed, sealed_edge, head, last_slot_us, records,"
    " gap_slots, anchor, cause FROM trees"
)
_NUMBER, _TEXT, _BYTES = (int, NoneType), (str, NoneType), (bytes, NoneType)
# Of the opening, the head and what follows it.
_KINDS: tuple[Any, ...] = (bytes, _TEXT, _NUMBER, int, int, _BYTES, _TEXT)
_LEAVES = "SELECT leaf FROM leaves WHERE device = ? AND epoch = ? ORDER BY seq"
_BATCHES = "SELECT device, epoch, first_seq, size, checkpoint, payload, kind FROM batches"
_WALKS = ("rowid", "rowid DESC")  # a damaged page ends a walk; there are two ends to begin from


@dataclass
class Remains:
    """Trees with their open leaves, and whole batches."""

    trees: dict[tuple[str, int], Tree] = field(default_factory=dict)
    leaves: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)
    rows: dict[tuple[str, int, int], Row] = field(default_factory=dict)  # with the size


def read_remains(path: Path | None) -> Remains:
    """What the file holds; nothing of it is changed. None: there is no such file."""
    found = Remains()
    if path is None:
        return found
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        for tree in _trees(db):
            found.trees[tree.place] = tree
            found.leaves[tree.place] = [row[0] for row in _rows(db, _LEAVES, *tree.place)]
        for order in _WALKS:
            for values in _rows(db, f"{_BATCHES} ORDER BY {order}"):
                row = Row(*values)
                if _is_whole(row):
                    found.rows[row.device, row.epoch, row.size] = row
    return found


def _trees(db: sqlite3.Connection) -> list[Tree]:
    found = []
    for device, epoch, opening, size, edge, sealed, sealed_edge, *rest in _rows(db, _TREES):
        if not (isinstance(device, str) and is_id(device) and type(epoch) is int):
            continue
        values = zip((opening, *rest), _KINDS, strict=True)
        if not all(isinstance(value, kind) for value, kind in values):
            continue
        try:
            edges = edge_of(size, edge), edge_of(sealed, sealed_edge)
        except (StoreError, TypeError):
            continue
        found.append(Tree(device, epoch, opening, *edges, *rest))
    return found


def _is_whole(row: Row) -> bool:
    if not (isinstance(row.device, str) and is_id(row.device) and type(row.epoch) is int):
        return False
    try:
        run = run_of(row.place, row.kind, row.payload)
    except (EvidenceError, TypeError, AttributeError):  # of a damaged row any value may be anything
        return False
    return (run.first_seq, run.size, run.checkpoint) == (row.first_seq, row.size, row.checkpoint)


def _rows(db: sqlite3.Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a query up to the first that cannot be read."""
    found: list[tuple[Any, ...]] = []
    try:
        for row in db.execute(query, values):
            found.append(row)  # noqa: PERF402 - what came before an error counts
    except sqlite3.Error:
        pass
    return found
