"""After damage: the files of an outbox brought together again, with what they still prove.

Three places know of a tree: the outbox file (its state, and what waits), the backlog (what has
waited long) and the index of heads (what was signed). At every opening they are compared, and:

- what is damaged is set aside, never deleted;
- a tree goes on after the last head that any of them knows, so none is signed twice;
- a batch that is whole anywhere is sent; a run that is not is stood for by its cover, and a leaf
  will tell of it (`losses`);
- a tree of which not even that is known has ended (`ended`): only another epoch can go on.
"""

from __future__ import annotations

import logging
import sqlite3
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from joulemark_agent import outbox_tables as tables
from joulemark_agent.backlog import Backlog, Group, keep_aside, set_aside
from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.signature import MAX_SIZE
from joulemark_agent.contract.tree import append, root
from joulemark_agent.covers import SPARSE, Covers, Loss, Run, Span, Tree, merged, run_of
from joulemark_agent.outbox_tables import FORM, Ended, Row
from joulemark_agent.remains import Remains, read_remains
from joulemark_agent.sqlite_file import SUFFIXES, SqliteFile

log = logging.getLogger(__name__)

STORE_DAMAGED = "store_damaged"  # cause of slots that were read and not kept
TREE_LOST = "tree_lost"
_MOST_COVERS = 128 * 1024  # bytes of those that stand side by side in one message
_MOST_ROWS = 2000  # whose covers are computed at one opening
_Place = tuple[str, int]
_Unit = Row | Group
Opened = TypeVar("Opened")
Placed = TypeVar("Placed", Span, _Unit)


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


def open_files(path: Path, aside: Path | None = None) -> Files:
    """Open the files of an outbox, made where there are none, and bring them together.

    Args:
        path: of the outbox file.
        aside: where a damaged one is that it takes the place of.

    Raises:
        StoreError: in use, foreign, read-only, or no space.
    """
    covers_path = path.with_name(f"{path.stem}-covers.db")
    is_ours = covers_path.exists()  # whoever has the one has the other
    file, found = _open_or_replace(path, lambda at: _checked(SqliteFile(at, FORM)), is_ours)
    remains = found or aside
    try:
        is_ours = is_ours and (remains is not None or bool(tables.trees(file)))
        covers, lost = _open_or_replace(covers_path, Covers, is_ours)
    except BaseException:
        file.close()
        raise
    backlog = Backlog(path.with_name(f"{path.stem}-backlog"))
    files = Files(file, covers, backlog, path.parent)
    try:
        is_forgotten = remains is not None and (lost is not None or not covers.trees())
        bring_together(files, read_remains(remains), is_forgotten=is_forgotten)
    except StoreError as error:
        files.close()
        if remains is not None or error.code != "damaged":
            raise
        aside = _replaced(path, error)  # damage that shows only when something is written
    except BaseException:
        files.close()
        raise
    else:
        return files
    return open_files(path, aside)


def _open_or_replace(
    path: Path, open_at: Callable[[Path], Opened], is_ours: bool
) -> tuple[Opened, Path | None]:
    """The file; or a new one, and where the damaged one is that it takes the place of.

    Args:
        path: of the file.
        open_at: opens it there, made where there is none, and checks it whole.
        is_ours: whether a file that does not even look like one of ours is damaged, not foreign.
    """
    try:
        return open_at(path), None
    except StoreError as error:
        if error.code != "damaged" and not (error.code == "foreign" and is_ours):
            raise
        aside = _replaced(path, error)
    return open_at(path), aside


def _replaced(path: Path, error: StoreError) -> Path:
    """Move a damaged database away; where it is now."""
    there = [Path(f"{path}{suffix}") for suffix in SUFFIXES]
    moved = set_aside(path.parent, [one for one in there if one.exists()], str(error))
    fields = {"file": str(path), "aside": str(moved[0]), "what": error.what, "do": error.do}
    log.error("store_damaged", extra=fields)
    return moved[0]


def _checked(file: SqliteFile) -> SqliteFile:
    """The outbox file, if what it holds can be understood."""
    try:
        tables.check(file)
    except BaseException:
        file.close()
        raise
    return file


def bring_together(files: Files, remains: Remains, *, is_forgotten: bool) -> None:
    """Compare what the files know and mend what does not fit.

    Args:
        files: the open files.
        remains: what can be read of an outbox file that was set aside.
        is_forgotten: nothing tells any more what was signed last.
    """
    known = _known_trees(files.covers)
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
        work = _Work(*at, spans[place], partial(files.covers.runs, *place))
        work.decide(units.pop(place, []), leaves.get(place, []))
        works.append(work)
    strays = [unit for those in units.values() for unit, is_held in those if not is_held]

    def write(db: sqlite3.Connection) -> None:
        for work in works:
            work.write(db)
        _write_units(db, strays)
        if is_forgotten:
            db.execute("UPDATE agent SET forgotten = 1")

    known_losses = files.covers.losses()
    for work in works:
        work.put_away(files)
        work.losses = [loss for loss in known_losses if loss.place == work.place]
    if new := [loss for work in works for loss in work.new_losses]:
        files.covers.keep_losses(new)
    if is_forgotten or strays or any(work.has_changes for work in works):
        files.file.transact(write)
    _cover_rows(files, {work.tree: spans[work.place] for work in works if work.tree is not None})
    noted = set(files.covers.losses())
    if new := [one for one in tables.losses(files.file, told_too=True) if one not in noted]:
        files.covers.keep_losses(new)
    for work in works:
        work.say()


def mend(files: Files, unit: _Unit, why: str) -> None:
    """Set a damaged batch or group aside; from now on its cover stands for it.

    Raises:
        StoreError: `tree_lost` where no cover is known: the tree cannot go on.
    """
    place = (unit.device, unit.epoch)
    _put_away(files, unit, why)
    runs = files.covers.runs(*place, unit.first_seq, unit.size)
    is_tiled = bool(runs) and (runs[0].first_seq, runs[-1].size) == (unit.first_seq, unit.size)
    if not is_tiled:
        what = f"leaves {unit.first_seq} to {unit.size - 1} are lost and so is their cover: {why}"
        tree = next((t for t in tables.trees(files.file) if t.place == place), None)
        end_tree(files, place, tree, what)
    run = runs[0] if len(runs) == 1 else merged(runs)
    if run.payload is None:
        files.covers.keep_losses([tables.loss_of(run, why)])
    files.file.transact(lambda db: tables.write_loss(db, run, why))
    _say_loss(run, why)


def end_tree(files: Files, place: _Place, tree: Tree | None, why: str) -> None:
    """Remember that a tree cannot be gone on with.

    Raises:
        StoreError: always, `tree_lost`: who goes on must open another epoch.
    """
    files.file.transact(lambda db: tables.write_ended(db, _ended(place, tree, why)))
    raise StoreError(
        f"The evidence of {place[0]!r}, epoch {place[1]}, cannot be gone on with: {why[:300]}.",
        "At the next start the reserve grant opens the next epoch; what was sealed and is whole is"
        " still sent. Then run 'joulemark agent enroll' for a new reserve.",
        code=TREE_LOST,
    )


@dataclass
class _Work:
    """What is to be done for one tree."""

    place: _Place
    held: Tree | None  # as the outbox file has it, or one that was set aside
    known: Tree | None  # as it was at its last head
    confirmed: int | None  # None: the outbox file does not have the tree
    spans: Sequence[Span]  # of the runs whose covers are known
    runs: Callable[[int, int], list[Run]]
    tree: Tree | None = None  # that is gone on with; None: it has ended
    new_leaves: Sequence[bytes] = ()
    lost_leaves: Sequence[bytes] = ()
    start: int = 0  # of what waits
    new: list[_Unit] = field(default_factory=list)  # whole, and not in the outbox file yet
    lost: list[Run] = field(default_factory=list)
    broken: list[_Unit] = field(default_factory=list)
    losses: Sequence[Loss] = ()  # that the index of heads knows of
    why: str = ""

    @property
    def new_losses(self) -> list[Loss]:
        """What is to be told of the runs that are lost now."""
        return [tables.loss_of(run, self.reason) for run in self.lost if run.payload is None]

    @property
    def reason(self) -> str:
        """Why something is lost."""
        return self.why or "the disk lost it"

    @property
    def has_changes(self) -> bool:
        """Whether anything is to be written."""
        is_same = self.tree is self.held and self.confirmed is not None
        return not is_same or bool(self.new or self.lost)

    def decide(self, units: Sequence[tuple[_Unit, bool]], leaves: Sequence[bytes]) -> None:
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

    def _tile(self, units: Sequence[_Unit]) -> None:
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
            if span is None:
                self.why = f"leaf {at} and those after it are lost, and so is their cover"
                self.tree = None
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

    def put_away(self, files: Files) -> None:
        """Keep what is damaged where nobody takes it for whole."""
        for unit in self.broken:
            _put_away(files, unit, self.why or "a part of its run was lost")
        if self.lost_leaves:
            name = f"{self.place[0]}.{self.place[1]}.leaves"
            keep_aside(files.folder, name, b"\n".join(self.lost_leaves), self.why)

    def write(self, db: sqlite3.Connection) -> None:
        """Have the outbox file say what was decided."""
        _write_units(db, self.new)
        if self.tree is None:
            tables.write_ended(db, _ended(self.place, self.held or self.known, self.why))
            return
        if not self.has_changes:
            return
        if self.lost_leaves:
            tables.forget_leaves(db, self.place)
        tables.write_tree(db, self.tree)
        tables.write_leaves(db, self.place, self.tree.sealed.size, self.new_leaves)
        start = (self.start, *self.place)
        db.execute("UPDATE trees SET confirmed = ? WHERE device = ? AND epoch = ?", start)
        if self.tree is not self.held or self.confirmed is None:  # what was told may be lost too
            tables.write_losses(db, self.losses)
            tables.tell_again(db, self.place, 0, MAX_SIZE)
        for run in self.lost:
            tables.write_loss(db, run, self.reason)

    def say(self) -> None:
        """Tell the log what was found."""
        if self.tree is None:
            device, epoch = self.place
            do = "The next epoch is opened with the reserve grant. Look for errors of the disk."
            fields = {"device": device, "epoch": epoch, "what": f"{self.why}.", "do": do}
            log.error("evidence_ended", extra=fields)
        for run in self.lost:
            _say_loss(run, self.reason)


def _at(left: deque[Placed], leaf: int) -> Placed | None:
    """The one that holds a leaf; those that end before it are taken away."""
    while left and left[0].size <= leaf:
        left.popleft()
    return left[0] if left and left[0].first_seq <= leaf else None


def _units(
    files: Files,
    remains: Remains,
    confirmed: Mapping[_Place, int],
) -> dict[_Place, list[tuple[_Unit, bool]]]:
    """What waits of each tree, in order, and whether the outbox file holds it.

    A file of the backlog that the outbox does not name was left by a kill: before its batches were
    taken out, or after the collector had them. Then they are elsewhere, and the file goes.
    """
    found: defaultdict[_Place, list[tuple[_Unit, bool]]] = defaultdict(list)
    there = files.backlog.files()
    for group in tables.groups(files.file):
        if there.pop(group.file, None) == group.file_bytes:
            found[group.place].append((group, True))
        else:
            files.backlog.set_aside(group, "its file is cut short")
    query = "SELECT device, epoch, first_seq, size, checkpoint, kind FROM batches"
    for device, epoch, first_seq, size, note, kind in files.file.rows(query):
        row = Row(device, epoch, first_seq, size, note, b"", kind)
        found[device, epoch].append((row, True))
    for row in remains.rows.values():
        if row.kind == SPARSE:
            continue  # it stood for a loss, which is to be told once more
        runs = files.covers.runs(*row.place, row.first_seq, row.size)
        if not runs or [_run_of(row)] == runs:
            found[row.place].append((row, False))
    for those in found.values():
        those.sort(key=lambda item: item[0].first_seq)
    for stray in filter(None, map(files.backlog.group, sorted(there))):
        others = found[stray.place]
        after = bisect_left(others, stray.size, key=lambda item: item[0].first_seq)
        overlaps = after > 0 and others[after - 1][0].size > stray.first_seq
        if overlaps or stray.size <= confirmed.get(stray.place, 0):
            files.backlog.remove([stray.file])
        else:
            others.insert(after, (stray, False))
    return found


def _write_units(db: sqlite3.Connection, units: Sequence[_Unit]) -> None:
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


def _known_trees(covers: Covers) -> dict[_Place, Tree]:
    return {tree.place: tree for tree in covers.trees() if tree.is_sound}


def _run_of(row: Row) -> Run | None:
    try:
        return run_of((row.device, row.epoch), row.kind, row.payload)
    except EvidenceError:
        return None


def _put_away(files: Files, unit: _Unit, why: str) -> None:
    if isinstance(unit, Group):
        files.backlog.set_aside(unit, why)
        return
    condition = "device = ? AND epoch = ? AND size = ?"
    for row in tables.rows(files.file, condition, unit.device, unit.epoch, unit.size):
        name = f"{unit.device}.{unit.epoch}.{unit.first_seq}.{unit.size}.batch"
        keep_aside(files.folder, name, row.payload, why)


def _ended(place: _Place, tree: Tree | None, why: str) -> Ended:
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
