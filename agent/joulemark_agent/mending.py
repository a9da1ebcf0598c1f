"""After damage: the files of an outbox brought together again, with what they still prove.

Three places know of a tree: the outbox file (its state, and what waits), the backlog (what has
waited long) and the index of heads (what was signed). At every opening they are compared, and:

- what is damaged is set aside, never deleted;
- a tree goes on after the last head that any of them knows, so none is signed twice;
- a batch that is whole anywhere is sent; a run that is not is stood for by its cover, and a leaf
  will tell of it (`losses`);
- a tree of which not even that is known has ended (`ended`): only another epoch can go on. What
  comes after such a hole nobody can take any more; it is set aside.
"""

from __future__ import annotations

import logging
import sqlite3
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from joulemark_agent import outbox_tables as tables
from joulemark_agent.backlog import Backlog, Group, keep_aside
from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.signature import MAX_SIZE
from joulemark_agent.contract.tree import root
from joulemark_agent.covers import SPARSE, Covers, Loss, Run, Span, Tree, loss_of, run_of
from joulemark_agent.mended_tree import MendedTree, Place
from joulemark_agent.outbox_tables import Ended, Row
from joulemark_agent.remains import Remains
from joulemark_agent.sqlite_file import SqliteFile
from joulemark_agent.units import Unit, is_tiled, one_of

log = logging.getLogger(__name__)

TREE_LOST = "tree_lost"
_MOST_ROWS = 2000  # whose covers are computed at one opening


@dataclass(frozen=True)
class Files:
    """The open files of one outbox."""

    file: SqliteFile
    covers: Covers
    backlog: Backlog
    folder: Path

    def close(self) -> None:
        """Give them back."""
        self.file.close()
        self.covers.close()


def bring_together(files: Files, remains: Remains, *, is_forgotten: bool) -> None:
    """Compare what the files know and mend what does not fit.

    Args:
        files: the open files.
        remains: what can be read of an outbox file that was set aside.
        is_forgotten: nothing tells any more what was signed last.
    """
    known, noted = _known_trees(files.covers), files.covers.confirmed()
    confirmed = tables.confirmed(files.file)
    held = {tree.place: tree for tree in tables.trees(files.file)}
    leaves = {place: tables.open_leaves(files.file, *place) for place in held}
    if not is_forgotten:
        held |= {place: tree for place, tree in remains.trees.items() if place not in held}
        leaves |= {place: those for place, those in remains.leaves.items() if place not in leaves}
    over = {(item.device, item.epoch) for item in tables.ended(files.file)}
    places = sorted((known.keys() | held.keys() | remains.trees.keys()) - over)
    spans = {place: files.covers.spans(*place, confirmed.get(place, 0)) for place in places}
    units = _units(files, remains, confirmed)
    works = []
    for place in places:
        at = (place, held.get(place), known.get(place), confirmed.get(place))
        covered = spans[place], partial(files.covers.runs, *place), noted.get(place, 0)
        work = MendedTree(*at, *covered)
        work.decide(units.pop(place, []), leaves.get(place, []))
        works.append(work)
    strays = [unit for those in units.values() for unit, is_held in those if not is_held]
    unknown = {unit.place for unit in strays} - over

    def write(db: sqlite3.Connection) -> None:
        for work in works:
            _write(db, work)
        _write_units(db, strays)
        for place in unknown:
            tables.write_ended(db, _ended(place, None, "of its tree only batches are left"))
        if is_forgotten:
            db.execute("UPDATE agent SET forgotten = 1")

    known_losses = files.covers.losses()
    for work in works:
        _put_parts_away(files, work)
        work.losses = [loss for loss in known_losses if loss.place == work.place]
    if new := [loss for work in works for loss in work.new_losses]:
        files.covers.keep_losses(new)
    if is_forgotten or strays or any(work.has_changes for work in works):
        files.file.transact(write)
    _cover_rows(files, {work.tree: spans[work.place] for work in works if work.tree is not None})
    there = set(files.covers.losses())
    if new := [one for one in tables.losses(files.file, told_too=True) if one not in there]:
        files.covers.keep_losses(new)
    for work in works:
        _say(work)


def mend(files: Files, unit: Unit, why: str) -> None:
    """Set a damaged batch or group aside; from now on its cover stands for it.

    Raises:
        StoreError: `tree_lost` where no cover is known: the tree cannot go on, and had not ended.
    """
    runs = files.covers.runs(*unit.place, unit.first_seq, unit.size)
    if not is_tiled(runs, unit):
        if unit.size <= files.covers.confirmed().get(unit.place, 0):
            _drop(files, [unit], "the collector has it")
        else:
            _cut_off(files, unit, why)
        return
    _put_away(files, [unit], why)
    run = one_of(runs)
    if run.payload is None:
        files.covers.keep_losses([loss_of(run, why)])
    files.file.transact(lambda db: tables.write_loss(db, run, why))
    _say_loss(run, why)


def _cut_off(files: Files, unit: Unit, why: str) -> None:
    """End the tree of a unit that nothing stands for, and set aside what comes after it.

    Raises:
        StoreError: `tree_lost`, unless the tree had ended before: then another epoch goes on.
    """
    place = unit.place
    tree = next((tree for tree in tables.trees(files.file) if tree.place == place), None)
    has_ended = any((item.device, item.epoch) == place for item in tables.ended(files.file))
    what = f"leaf {unit.first_seq} and those after it are lost, and so is their cover: {why}"
    condition = "device = ? AND epoch = ? AND size > ?"
    after = *place, unit.first_seq
    units: list[Unit] = [*tables.rows(files.file, condition, *after)]
    units += tables.groups(files.file, condition, *after)
    files.file.transact(lambda db: tables.write_ended(db, _ended(place, tree, what)))
    _drop(files, units, what)
    if has_ended:
        return
    raise StoreError(
        f"The evidence of {place[0]!r}, epoch {place[1]}, cannot be gone on with: {what[:300]}.",
        "At the next start the reserve grant opens the next epoch; what was sealed before that leaf"
        " is still sent. Then run 'joulemark agent enroll' for a new reserve.",
        code=TREE_LOST,
    )


def _drop(files: Files, units: Sequence[Unit], why: str) -> None:
    """Set units aside that are not to be sent any more."""
    _put_away(files, units, why)

    def write(db: sqlite3.Connection) -> None:
        for unit in units:
            tables.forget_unit(db, unit.place, unit.size)

    files.file.transact(write)


def _put_parts_away(files: Files, work: MendedTree) -> None:
    """Keep what is damaged where nobody takes it for whole."""
    _put_away(files, work.broken, work.why or "a part of its run was lost")
    if work.lost_leaves:
        name = f"{work.place[0]}.{work.place[1]}.leaves"
        keep_aside(files.folder, name, b"\n".join(work.lost_leaves), work.why)


def _write(db: sqlite3.Connection, work: MendedTree) -> None:
    """Have the outbox file say what was decided."""
    _write_units(db, work.new)
    if work.tree is None:
        tables.write_ended(db, _ended(work.place, work.held or work.known, work.why))
        for unit in work.cut_off:
            tables.forget_unit(db, unit.place, unit.size)
    elif work.has_changes:
        _write_tree(db, work, work.tree)
    for run in work.lost:
        tables.write_loss(db, run, work.reason)


def _write_tree(db: sqlite3.Connection, work: MendedTree, tree: Tree) -> None:
    """Have the outbox file say where a tree stands that is gone on with."""
    if work.lost_leaves:
        tables.forget_leaves(db, work.place)
    tables.write_tree(db, tree)
    tables.write_leaves(db, work.place, tree.sealed.size, work.new_leaves)
    start = (work.start, *work.place)
    db.execute("UPDATE trees SET confirmed = ? WHERE device = ? AND epoch = ?", start)
    if tree is not work.held or work.confirmed is None:  # what was told may be lost too
        tables.write_losses(db, work.losses)
        tables.tell_again(db, work.place, 0, MAX_SIZE)


def _say(work: MendedTree) -> None:
    """Tell the log what was found."""
    if work.tree is None:
        device, epoch = work.place
        do = "The next epoch is opened with the reserve grant. Look for errors of the disk."
        fields = {"device": device, "epoch": epoch, "what": f"{work.why}.", "do": do}
        log.error("evidence_ended", extra=fields)
    for run in work.lost:
        _say_loss(run, work.reason)


def _units(
    files: Files,
    remains: Remains,
    confirmed: Mapping[Place, int],
) -> dict[Place, list[tuple[Unit, bool]]]:
    """What waits of each tree, in order, and whether the outbox file holds it.

    A file of the backlog that the outbox does not name was left by a kill: before its batches were
    taken out, or after the collector had them. Then they are elsewhere, and the file goes.
    """
    found: defaultdict[Place, list[tuple[Unit, bool]]] = defaultdict(list)
    there = files.backlog.files()
    for group in tables.groups(files.file):
        if there.pop(group.file, None) == group.file_bytes:
            found[group.place].append((group, True))
        else:
            files.backlog.set_aside([group], "its file is cut short")
    query = "SELECT device, epoch, first_seq, size, checkpoint, kind FROM batches"
    for device, epoch, first_seq, size, note, kind in files.file.rows(query):
        row = Row(device, epoch, first_seq, size, note, b"", kind)
        found[device, epoch].append((row, True))
    for those in found.values():
        those.sort(key=lambda item: item[0].first_seq)
    for row in remains.rows.values():
        if row.kind == SPARSE:
            continue  # it stood for a loss, which is to be told once more
        runs = files.covers.runs(*row.place, row.first_seq, row.size)
        if not runs or [_run_of(row)] == runs:
            _add(found[row.place], row, confirmed)
    for stray in filter(None, map(files.backlog.group, sorted(there))):
        if not _add(found[stray.place], stray, confirmed):
            files.backlog.remove([stray.file])
    return found


def _add(those: list[tuple[Unit, bool]], unit: Unit, confirmed: Mapping[Place, int]) -> bool:
    """Add a unit that the outbox file does not hold, unless its leaves are there or confirmed."""
    after = bisect_left(those, unit.size, key=lambda item: item[0].first_seq)
    overlaps = after > 0 and those[after - 1][0].size > unit.first_seq
    if overlaps or unit.size <= confirmed.get(unit.place, 0):
        return False
    those.insert(after, (unit, False))
    return True


def _write_units(db: sqlite3.Connection, units: Sequence[Unit]) -> None:
    tables.write_rows(db, [unit for unit in units if isinstance(unit, Row)])
    for unit in units:
        if isinstance(unit, Group):
            tables.write_group(db, unit)


def _cover_rows(files: Files, trees: Mapping[Tree, Sequence[Span]]) -> None:
    """Have the index of heads know what the outbox file holds and it does not."""
    known = _known_trees(files.covers)
    losses = {(*one.place, one.first_seq): one for one in tables.losses(files.file, told_too=True)}
    left = _MOST_ROWS
    for tree, spans in trees.items():
        there = set(spans)
        place = "device = ? AND epoch = ?"
        query = f"SELECT first_seq, size FROM batches WHERE {place} ORDER BY size DESC LIMIT ?"
        new = []
        for first_seq, size in files.file.rows(query, *tree.place, left):
            if (first_seq, size) not in there:
                (row,) = tables.rows(files.file, f"{place} AND size = ?", *tree.place, size)
                if (run := _run_of(row)) is not None:
                    new.append(_with_slots(run, losses.get((*row.place, row.first_seq))))
        left -= len(new)
        last = known.get(tree.place)
        state = None
        if last is None or last.sealed.size < tree.sealed.size:
            state = _at_head(tree, [run for run in new if run.size == tree.sealed.size])
        if new or state is not None:
            new.sort(key=lambda run: run.size)
            files.covers.keep([] if state is None else [state], new)


def _with_slots(run: Run, loss: Loss | None) -> Run:
    """The run with the slots that were lost with it: its covers alone do not tell them."""
    if loss is None or loss.last_seq != run.size - 1:
        return run
    first_us, last_us = loss.first_slot_us, loss.last_slot_us
    return replace(run, first_slot_us=first_us, last_slot_us=last_us, slots=loss.slots)


def _at_head(tree: Tree, ends: Sequence[Run]) -> Tree | None:
    """Where a tree stood at its last head; None: what came after it hides the last slot."""
    if tree.edge.size == tree.sealed.size:
        return tree
    if not ends or ends[0].last_slot_us is None:
        return None
    return replace(tree, edge=tree.sealed, last_slot_us=ends[0].last_slot_us)


def _known_trees(covers: Covers) -> dict[Place, Tree]:
    return {tree.place: tree for tree in covers.trees() if tree.is_sound}


def _run_of(row: Row) -> Run | None:
    try:
        return run_of((row.device, row.epoch), row.kind, row.payload)
    except EvidenceError:
        return None


def _put_away(files: Files, units: Iterable[Unit], why: str) -> None:
    """Keep what is damaged, or follows on what is, where nobody takes it for evidence to send."""
    files.backlog.set_aside([unit for unit in units if isinstance(unit, Group)], why)
    condition = "device = ? AND epoch = ? AND size = ?"
    for unit in units:
        if isinstance(unit, Group):
            continue
        for row in tables.rows(files.file, condition, unit.device, unit.epoch, unit.size):
            name = f"{unit.device}.{unit.epoch}.{unit.first_seq}.{unit.size}.batch"
            keep_aside(files.folder, name, row.payload, why)


def _ended(place: Place, tree: Tree | None, why: str) -> Ended:
    if tree is None:
        return Ended(*place, None, None, None, why[:500])
    return Ended(*place, tree.sealed.size, root(tree.sealed), tree.last_slot_us, why[:500])


def _say_loss(run: Run, why: str) -> None:
    if run.payload is not None:
        return
    what = f"Leaves {run.first_seq} to {run.size - 1}, {run.slots} slots, are lost: {why[:300]}."
    do = "Their cover is sent in their place and a leaf tells of it. Look for errors of the disk."
    fields = {"device": run.device, "epoch": run.epoch, "what": what, "do": do}
    log.error("evidence_lost", extra=fields)
