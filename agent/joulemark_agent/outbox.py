"""The durable queue between the devices and the collector.

What a call here returned for is on disk; what raised is not, not even in part. A batch leaves only
by `receipt`; nothing else deletes evidence. Batches that wait long move together into files of the
backlog (`upkeep`); what was signed stands in a second file before it can leave (`covers`); damage
is set aside and stood for (`mending`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from joulemark_agent import outbox_tables as tables
from joulemark_agent.backlog import MOST_BATCHES, MOST_PLAIN_BYTES, Group, list_of
from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.signature import parse_checkpoint, parse_note
from joulemark_agent.covers import BATCH, Loss, Tree
from joulemark_agent.mending import Files, mend
from joulemark_agent.opening import open_files
from joulemark_agent.outbox_tables import APPLICATION_ID, Ended, Row
from joulemark_agent.sqlite_file import SICK, store_error
from joulemark_agent.units import (
    Closing,
    Sealed,
    Unit,
    batch_of,
    first_unit,
    is_tiled,
    of_row,
    one_of,
    plain_of,
    run_of_batch,
    runs_of,
    unit_after,
)

_LOOSE = 2 * MOST_BATCHES  # batches of a tree that wait by themselves before some move together
_PLACE = "device = ? AND epoch = ?"


@dataclass(frozen=True)
class Change:
    """One tree's part of a commit: its new state, the batches closed, the leaves still in none."""

    tree: Tree
    first_seq: int  # of `leaves`
    leaves: Sequence[bytes]  # only those not kept before
    sealed: Sequence[Sealed] = ()
    told: Sequence[tuple[int, int]] = ()  # first leaf of a loss, and the leaf that tells of it
    told_epochs: Sequence[int] = ()  # of the ended trees that leaves tell of now


class Outbox:
    """The queue in a folder; only one process has it, and within it one call at a time."""

    def __init__(self, path: Path) -> None:
        """Open the files, made where there are none, check them and mend what is damaged.

        Args:
            path: of the outbox file; its companions lie beside it.

        Raises:
            StoreError: in use, foreign, read-only, or no space.
        """
        self._path, self._alone = path, threading.RLock()
        self._files: Files | None = None
        self._is_sick = False
        self.mended = 0  # batches and groups, since the start
        self._unshown: list[Sealed] = []  # closed, and the index of heads does not know yet
        self._tidied: set[tuple[str, int, int]] = set()  # confirmed, and the index knows
        self._scrubbed = ("", 0, 0)  # device, epoch and size of what was read last
        self._confirmed: dict[tuple[str, int], int] = {}  # up to which size, of each tree
        self._group_bytes = 0
        self._lock: int | None = _lock(path)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the files back; every commit is on disk already."""
        with self._alone:
            if self._files is not None:
                self._files.close()
            self._files = None
            if self._lock is not None:
                os.close(self._lock)
            self._lock = None

    def reopen(self) -> None:
        """Give the files up and open them with all checks: after an error of the disk or damage.

        Raises:
            StoreError: that is not possible now; call it again.
        """
        with self._alone:
            if self._files is not None:
                self._files.close()
            self._files = None
            self._open()

    @property
    def needs_reopening(self) -> bool:
        """Whether an error of the disk or damage was met since the files were opened."""
        return self._is_sick or self._files is None

    # ------------------------------------------------------------------ state

    def boots(self) -> int:
        """How often the agent was started with this outbox."""
        with self._use() as files:
            return int(files.file.rows("SELECT boots FROM agent")[0][0])

    def trees(self) -> list[Tree]:
        """Every tree, devices in order, epochs ascending."""
        with self._use() as files:
            return tables.trees(files.file)

    def open_leaves(self, device: str, epoch: int) -> list[bytes]:
        """The leaves that no batch holds yet, in order."""
        with self._use() as files:
            return tables.open_leaves(files.file, device, epoch)

    def losses(self, device: str, epoch: int) -> list[Loss]:
        """What the disk lost of a tree and no leaf tells of yet, in order."""
        with self._use() as files:
            return [loss for loss in tables.losses(files.file) if loss.place == (device, epoch)]

    def ended(self) -> list[Ended]:
        """The trees that cannot be gone on with."""
        with self._use() as files:
            return tables.ended(files.file)

    def end_forgotten(self, granted: Iterable[tuple[str, int]]) -> None:
        """End the granted trees that nothing is known of, where the disk lost all that was.

        Args:
            granted: device and epoch of every grant.
        """
        why = "the outbox and the index of heads were damaged"
        with self._use() as files:
            if not files.file.rows("SELECT forgotten FROM agent")[0][0]:
                return
            known = {tree.place for tree in tables.trees(files.file)}
            lost = [Ended(*place, None, None, None, why) for place in granted if place not in known]

            def write(db: sqlite3.Connection) -> None:
                for item in lost:
                    tables.write_ended(db, item)
                db.execute("UPDATE agent SET forgotten = 0")

            files.file.transact(write)

    def end(self, device: str, epoch: int, why: str) -> None:
        """Remember that a tree cannot be gone on with: the next start opens another epoch."""
        with self._use() as files:
            lost = Ended(device, epoch, None, None, None, why[:500])
            files.file.transact(lambda db: tables.write_ended(db, lost))

    def commit(self, changes: Sequence[Change], *, boots: int | None = None) -> None:
        """Keep the changes, all of them or none, on disk when this returns.

        Raises:
            StoreError: nothing of it was kept (`disk_full`: free space, then commit again).
        """

        def write(db: sqlite3.Connection) -> None:
            if boots is not None:
                db.execute("UPDATE agent SET boots = ?", (boots,))
            for change in changes:
                _write(db, change)

        with self._use() as files:
            files.file.transact(write)
            self._unshown += [batch for change in changes for batch in change.sealed]
            with contextlib.suppress(StoreError):  # tried again before any of them can leave
                self._show()

    # ---------------------------------------------------------------- sending

    def next_batch(self, device: str, epoch: int, from_seq: int) -> Sealed | None:
        """The batch without receipt that holds leaf `from_seq`, or the first one after it.

        What was damaged is set aside, and what stands for it is given instead.

        Raises:
            StoreError: it cannot be read or shown, or (`tree_lost`) nothing is left of its tree.
        """
        with self._use() as files:
            start = max(from_seq, self._confirmed.get((device, epoch), 0))
            while (unit := first_unit(files.file, device, epoch, start)) is not None:
                if any(one.place == unit.place and one.size <= unit.size for one in self._unshown):
                    self._show()
                try:
                    return batch_of(unit, files.backlog, start)
                except StoreError as error:
                    if error.code != "damaged":
                        raise
                    self._mend(unit, error.what)
            return None

    def has_shown(self, batch: Sealed) -> bool:
        """Whether the index of heads knows a batch: before that it must not leave."""
        return not any(one is batch for one in self._unshown)

    def batch_ending_at(self, device: str, epoch: int, size: int) -> Sealed | None:
        """The batch without receipt after which the tree has this size."""
        with self._use() as files:
            start = max(size - 1, self._confirmed.get((device, epoch), 0))
            unit = first_unit(files.file, device, epoch, start)
            if unit is None or size not in (unit.ends if isinstance(unit, Group) else (unit.size,)):
                return None
            return batch_of(unit, files.backlog, start)

    def is_known(self, device: str, epoch: int, size: int, head_root: bytes) -> bool:
        """Whether the head of a size is one that was signed here, as far as it can be told."""
        with self._use():
            if size <= self._confirmed.get((device, epoch), 0):
                return True  # of what the collector confirmed nothing is kept
            batch = self.batch_ending_at(device, epoch, size)
            if batch is None:
                return False
            return parse_checkpoint(parse_note(batch.checkpoint)[0]).root == head_root

    def waiting(self) -> dict[tuple[str, int], int]:
        """How many batches without receipt each (device, epoch) has, old epochs first."""
        with self._use() as files:
            query = "SELECT device, epoch, count(*) FROM batches GROUP BY device, epoch"
            counts = {(device, epoch): n for device, epoch, n in files.file.rows(query)}
            for group in tables.groups(files.file):
                done = self._confirmed.get(group.place, 0)
                is_whole = done <= group.first_seq
                left = group.batches if is_whole else sum(end > done for end in group.ends)
                counts[group.place] = counts.get(group.place, 0) + left
            return dict(sorted(counts.items(), key=lambda item: (item[0][1], item[0][0])))

    def receipt(self, device: str, epoch: int, size: int) -> int:
        """`receipts` of one tree: how many batches were deleted."""
        return self.receipts({(device, epoch): size})[device, epoch]

    def receipts(self, sizes: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        """Delete the batches that heads of these sizes cover: the collector has committed them.

        Args:
            sizes: by device and epoch.

        Returns:
            how many batches of each were deleted.

        Raises:
            StoreError: nothing was deleted.
        """
        with self._use() as files:
            done = {place: self._confirmed.get(place, 0) for place in sizes}
            new = {place: size for place, size in sizes.items() if size > done[place]}
            touched = {
                place: tables.groups(files.file, f"{_PLACE} AND first_seq < ?", *place, size)
                for place, size in new.items()
            }

            def write(db: sqlite3.Connection) -> dict[tuple[str, int], int]:
                return {place: _forget(db, place, size) for place, size in new.items()}

            deleted = dict.fromkeys(sizes, 0) | (files.file.transact(write) if new else {})
            self._confirmed |= new
            whole = [g for groups in touched.values() for g in groups if g.size <= new[g.place]]
            files.backlog.remove([group.file for group in whole])
            self._group_bytes -= sum(group.file_bytes for group in whole)
            for place, groups in touched.items():
                ends = done[place], new[place]
                deleted[place] += sum(_between(group, *ends) for group in groups)
            return deleted

    # ------------------------------------------------------------------- care

    def bytes_used(self) -> int:
        """How much of the disk the evidence that waits needs."""
        with self._use() as files:
            both = (files.file, files.covers.file)
            return self._group_bytes + sum(f.bytes_held() - f.bytes_free() for f in both)

    def bytes_held(self) -> int:
        """How much of the disk is taken, what may be used again included."""
        with self._use() as files:
            both = (files.file, files.covers.file)
            return self._group_bytes + sum(f.bytes_held() for f in both)

    def touch(self) -> None:
        """Write without changing anything.

        Raises:
            StoreError: the disk does not take it.
        """
        with self._use() as files:
            files.file.transact(lambda db: db.execute("UPDATE agent SET boots = boots"))

    def upkeep(self) -> bool:
        """Do one piece of housekeeping; whether there may be more of it.

        Batches of a tree that wait by themselves, all but the newest, move together into one file.
        """
        with self._use() as files:
            self._show()
            # A cover stays by itself: without the loss that it stands for it would tell nothing.
            query = "SELECT device, epoch FROM batches WHERE kind = ? GROUP BY device, epoch"
            places = files.file.rows(f"{query} HAVING count(*) >= ?", BATCH, _LOOSE)
            for device, epoch in places:
                self._move_together(device, epoch)
            done = {(*place, size) for place, size in self._confirmed.items()}
            if changed := done - self._tidied:
                files.covers.confirm(changed)
                if files.covers.losses():
                    files.covers.keep_losses(tables.losses(files.file, told_too=True), only=True)
                self._tidied = done
            return bool(places)

    def scrub(self) -> bool:
        """Read the next batch or group that waits and compare it with its cover; mend damage.

        Returns:
            whether there is more to read in this round.
        """
        with self._use() as files:
            unit = unit_after(files.file, *self._scrubbed)
            if unit is None:
                self._scrubbed = ("", 0, 0)
                return False
            self._scrubbed = (*unit.place, unit.size)
            try:
                runs = runs_of(unit, files.backlog)
            except StoreError as error:
                if error.code != "damaged":
                    raise
                self._mend(unit, error.what)
                return True
            known = files.covers.runs(*unit.place, unit.first_seq, unit.size)
            if not is_tiled(known, unit):
                files.covers.keep([], [one_of(runs)])
            elif one_of(known).covers != one_of(runs).covers:
                self._mend(unit, "its leaves are not those that were signed")
            return True

    # ---------------------------------------------------------------- private

    def _open(self) -> None:
        self._files = open_files(self._path)
        self._is_sick, self._unshown, self._tidied = False, [], set()
        self._confirmed = tables.confirmed(self._files.file)
        self._group_bytes = tables.group_bytes(self._files.file)

    @contextlib.contextmanager
    def _use(self) -> Iterator[Files]:
        with self._alone:
            if self._files is None:
                raise StoreError("The outbox is closed.", "Open it again.", code="closed")
            try:
                yield self._files
            except StoreError as error:
                self._is_sick = self._is_sick or error.code in SICK
                raise

    def _show(self) -> None:
        """Have the index of heads know what was closed; nothing leaves before."""
        if not self._unshown:
            return
        assert self._files is not None
        states: dict[tuple[str, int], Tree] = {}
        runs = []
        for batch in self._unshown:
            closing = batch.closing
            if closing is None:
                runs.append(run_of_batch(batch))
                continue
            runs.append(closing.run)
            states[batch.device, batch.epoch] = closing.after
        self._files.covers.keep(states.values(), runs)
        self._unshown = []

    def _mend(self, unit: Unit, why: str) -> None:
        assert self._files is not None
        self.mended += 1
        try:
            mend(self._files, unit, why)
        finally:
            self._group_bytes = tables.group_bytes(self._files.file)

    def _move_together(self, device: str, epoch: int) -> None:
        """Move the oldest batches of a tree that are side by side into one file."""
        assert self._files is not None
        files = self._files
        condition = f"{_PLACE} AND kind = '{BATCH}' AND first_seq > 0 ORDER BY size LIMIT ?"
        rows: list[Row] = []
        plains: list[bytes] = []
        for row in tables.rows(files.file, condition, device, epoch, MOST_BATCHES):
            is_next = not rows or row.first_seq == rows[-1].size
            try:
                plain = plain_of(row)
            except StoreError as error:
                self._mend(row, error.what)
                break
            if not is_next or (rows and sum(map(len, plains)) + len(plain) > MOST_PLAIN_BYTES):
                break
            rows.append(row)
            plains.append(plain)
        if not rows:
            return
        listed = list_of([row.size for row in rows])
        group = Group(device, epoch, rows[0].first_seq, rows[-1].size, listed)
        group = replace(group, file_bytes=files.backlog.write(group, plains))
        files.file.transact(lambda db: tables.write_group(db, group))
        self._group_bytes += group.file_bytes
        runs = files.covers.runs(*group.place, group.first_seq, group.size)
        if not is_tiled(runs, group):
            runs = [run_of_batch(of_row(row)) for row in rows]
        files.covers.keep([], [one_of(runs)])


def _write(db: sqlite3.Connection, change: Change) -> None:
    tree = change.tree
    tables.write_tree(db, tree)
    if change.sealed:
        tables.forget_leaves(db, tree.place)
    tables.write_rows(
        db,
        [
            Row(b.device, b.epoch, b.first_seq, b.size, b.checkpoint, b.payload, b.kind)
            for b in change.sealed
        ],
    )
    tables.write_leaves(db, tree.place, change.first_seq, change.leaves)
    for first_seq, told_at in change.told:
        told = f"UPDATE losses SET told_at = ? WHERE {_PLACE} AND first_seq = ?"
        db.execute(told, (told_at, *tree.place, first_seq))
    for epoch in change.told_epochs:
        db.execute(f"UPDATE ended SET told = 1 WHERE {_PLACE}", (tree.device, epoch))


def _forget(db: sqlite3.Connection, place: tuple[str, int], size: int) -> int:
    """Delete what a head of this size covers; how many batches that were by themselves."""
    delete = f"DELETE FROM {{}} WHERE {_PLACE} AND size <= ?"
    deleted = db.execute(delete.format("batches"), (*place, size)).rowcount
    db.execute(delete.format("groups"), (*place, size))
    db.execute(f"DELETE FROM losses WHERE {_PLACE} AND told_at < ?", (*place, size))
    db.execute(f"UPDATE trees SET confirmed = ? WHERE {_PLACE}", (size, *place))
    return deleted


def _between(group: Group, done: int, size: int) -> int:
    """How many batches of a group end after one size and no later than another."""
    if done <= group.first_seq and group.size <= size:
        return group.batches
    return sum(done < end <= size for end in group.ends)


def _lock(path: Path) -> int:
    what = f"The outbox {path}"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = path.with_name(f"{path.name}.lock")
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise store_error(what, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StoreError(
            f"{what} is in use by another agent.",
            "Stop that one first: two agents with one key would fork the evidence.",
            code="in_use",
        ) from error
    return descriptor


__all__ = ["APPLICATION_ID", "MOST_BATCHES", "Change", "Closing", "Outbox", "Sealed", "Tree"]
