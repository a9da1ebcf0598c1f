"""From readings and gaps to leaves, heads and batches on disk.

One commit is one transaction: all devices of a group of slots, with the batches it closes. A head
is on disk before anybody can see it, so two different heads of one size are never signed. What a
commit could not keep is forgotten in memory too: the state is read back from the outbox.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from joulemark_agent.contract.batch import MAX_LEAVES
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.committed import interval_end_us
from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.reading import (
    Gap,
    Reading,
    event_leaf,
    gap_fields,
    gaps_merged,
    patience_us,
    record_leaf,
)
from joulemark_agent.contract.rotation import KEY_ROTATION, rotation_fields
from joulemark_agent.contract.signature import encode64
from joulemark_agent.contract.tree import append, root
from joulemark_agent.envelope import Tally
from joulemark_agent.epochs import check_epoch, check_grant, has_ended, is_headed_by, tree_of
from joulemark_agent.figures import EVENT, Subject, Taken, step
from joulemark_agent.foreseen import Foreseen, taken_of
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.keys import Key
from joulemark_agent.mended_tree import STORE_DAMAGED
from joulemark_agent.mending import TREE_LOST
from joulemark_agent.outbox import Outbox, Sealed, Tree
from joulemark_agent.poll import OVERRUN
from joulemark_agent.recorded import Limits, Observe, Recorded, Wall
from joulemark_agent.tree_book import TreeBook, seal

log = logging.getLogger(__name__)

AGENT_DOWN = "agent_down"  # cause of slots before the first result after a start
NOT_CONFIGURED = "not_configured"  # cause of slots while the site file did not have the device
DISCONTINUITY = "discontinuity"
MAX_OPEN_LEAVES = MAX_LEAVES - 1  # the envelope is a leaf too
EARLY_RATIO, MOST_EARLY_S = 0.05, 0.25  # of its time, at most: a commit closes a batch with it
MAX_OPEN_BYTES = 512 * 1024  # plain; escaped and compressed it stays below the wire's limit


class Recorder:
    """Writes the leaves of every device of a site; one thread uses it."""

    def __init__(
        self,
        outbox: Outbox,
        key: Key,
        devices: Sequence[Recorded],
        *,
        limits: Limits,
        software: str,
        wall: Wall | None = None,
        observe: Observe | None = None,
    ) -> None:
        """Open the granted epochs or go on with them, and write the boot leaf of each.

        Args:
            outbox: the durable queue.
            key: the agent's evidence key.
            devices: what is recorded, one per device.
            limits: when a batch closes.
            software: SHA-256 (hex) of the agent's own code.
            wall: wall time.
            observe: is shown every reading that is kept with what was decoded of it: values and
                quality.

        Raises:
            ConfigError: a grant that does not fit the key, the documents or the epochs so far.
            StoreError: the outbox is damaged or cannot be written.
        """
        self._outbox, self._key, self._devices = outbox, key, tuple(devices)
        self._limits, self._software, self._wall = limits, software, wall or Wall()
        self._observe = observe
        self._decoded: list[tuple[Reading, Mapping[str, str], Mapping[str, str]]] = []
        self._by_name = {device.device: device for device in self._devices}
        self.check(self._devices)
        self._books: dict[str, TreeBook] = {}
        self._boot = outbox.boots() + 1
        self._causes = dict.fromkeys(self._by_name, AGENT_DOWN)
        self._foreseen = Foreseen()
        self._start()

    def committed_us(self, device: str) -> int | None:
        """The last slot of the device that is accounted for on disk. [us UTC]"""
        return self._books[device].tree.last_slot_us

    def summary(self) -> dict[str, Any]:
        """Per device: epoch, slots, records and gap slots since it began, size and root."""
        return {
            name: {
                "epoch": book.tree.epoch,
                "slots": book.tree.records + book.tree.gap_slots,
                "records": book.tree.records,
                "gap_slots": book.tree.gap_slots,
                "size": book.tree.edge.size,
                "root": encode64(root(book.tree.edge)),
            }
            for name, book in self._books.items()
        }

    def blame(self, cause: str, devices: Iterable[str] | None = None) -> None:
        """Give this cause to the slots that devices, or all, miss until their next result."""
        self._causes |= dict.fromkeys(self._by_name if devices is None else devices, cause)

    def stop(self, cause: str, now_us: int) -> list[Sealed]:
        """Record that nothing is read any more: the slots that have passed are gaps of this cause.

        So are those that pass until the next result, whatever becomes of the agent until then.

        Args:
            cause: why.
            now_us: the time by the clock of the slots, UTC. [us]

        Raises:
            StoreError: nothing was kept.
        """
        with self._all_or_nothing():
            for name, book in self._books.items():
                last_us, period_us = book.tree.last_slot_us, self._by_name[name].period_us
                slots = self._missed(name, now_us)
                if last_us is not None and slots:
                    ends_us = last_us + period_us, last_us + slots * period_us
                    self._gaps(book, [Gap(name, *ends_us, slots, cause)])
                book.tree, book.is_stopped = replace(book.tree, cause=cause), True
            sealed = self._keep()
        self.blame(cause)
        return sealed

    def missed(self, now_us: int) -> frozenset[str]:
        """The devices of which a slot has passed without a result."""
        return frozenset(name for name in self._books if self._missed(name, now_us))

    def _missed(self, name: str, now_us: int) -> int:
        """How many slots of a device have passed without a result."""
        last_us, period_us = self._books[name].tree.last_slot_us, self._by_name[name].period_us
        if last_us is None:
            return 0
        return max((now_us - patience_us(period_us) - last_us) // period_us, 0)

    def resume(self) -> list[Sealed]:
        """Take the state from an outbox that was opened anew, and say so in every tree.

        Raises:
            StoreError: it cannot be read or written, or (`tree_lost`) a tree has ended.
        """
        latest = {tree.device: tree for tree in self._outbox.trees()}
        ended = {(item.device, item.epoch) for item in self._outbox.ended()}
        for device in self._devices:
            place = (device.device, device.epoch)
            tree = latest.get(device.device)
            if place in ended or tree is None or tree.place != place:
                raise StoreError(
                    f"The evidence of {place[0]!r}, epoch {place[1]}, has ended.",
                    "The reserve grant opens the next epoch.",
                    code=TREE_LOST,
                )
        self._books = {
            device.device: self._open_book(device, latest[device.device], is_start=True)
            for device in self._devices
        }
        return self._keep()

    def tell_losses(self) -> list[Sealed]:
        """Write a leaf for every run of leaves that the disk lost and no leaf tells of yet.

        Raises:
            StoreError: nothing was kept; call it again.
        """
        with self._all_or_nothing():
            for book in self._books.values():
                self._tell_losses(book)
            return self._keep()

    def commit(self, results: Sequence[Reading | Gap]) -> list[Sealed]:
        """Record what was read and what was not, in one transaction.

        Slots of a device that were skipped since its last result become a gap: `agent_down` for
        those before the first result after the start, else `overrun` or what was blamed. Batches
        that are full or due are closed, those that are due very soon too: in this transaction.

        Args:
            results: readings and gaps; of one device in the order of its slots.

        Returns:
            the batches that were closed.

        Raises:
            StoreError: nothing was kept; commit the same results again when there is room.
            EvidenceError: a slot that is recorded already, or off the device's grid.
        """
        self._decoded = []
        with self._all_or_nothing():
            by_device: dict[str, list[Reading | Gap]] = {}
            for result in results:
                by_device.setdefault(result.device, []).append(result)
            for name, items in by_device.items():
                self._record(name, items, self._causes.get(name, OVERRUN))
            self._seal_due(early_s=min(EARLY_RATIO * self._limits.seconds, MOST_EARLY_S))
            sealed = self._keep()
        for name in by_device:
            self._causes.pop(name, None)
        if self._observe is not None:
            for decoded in self._decoded:
                self._observe(*decoded)
        return sealed

    @property
    def is_lean(self) -> bool:
        """Whether figures are left out, for room on the disk."""
        return self._foreseen.is_lean

    @is_lean.setter
    def is_lean(self, is_lean: bool) -> None:
        self._foreseen.is_lean = is_lean

    def foresee(self, result: Reading | Gap) -> Callable[[], None] | None:
        """Work that this result will make due: figures of the window it closes; None: none is.

        Any thread may do it before the result is committed, so that the commit need not.
        """
        book = self._books.get(result.device)
        if book is None or isinstance(result, Gap):
            return None
        return self._foreseen.work(book, result)

    def seal_due(self) -> list[Sealed]:
        """Close and return the batches that have been open long enough.

        Raises:
            StoreError: none was closed; call it again when there is room.
        """
        with self._all_or_nothing():
            self._seal_due()
            return self._keep()

    def seal_all(self) -> list[Sealed]:
        """Close and return every open batch, at the end.

        Raises:
            StoreError: none was closed; call it again when there is room.
        """
        with self._all_or_nothing():
            for book in self._books.values():
                if book.open:
                    self._seal(book)
            return self._keep()

    def check(self, devices: Sequence[Recorded]) -> dict[str, Tree]:
        """Refuse what `change` would; the tree of the last epoch of each device there is.

        Raises:
            ConfigError: a grant that does not fit the key, the documents or the epochs so far.
        """
        latest = {tree.device: tree for tree in self._outbox.trees()}
        ended = {(item.device, item.epoch): item.why for item in self._outbox.ended()}
        for device in devices:
            if (why := ended.get((device.device, device.epoch))) is not None:
                raise has_ended(device, why)
            tree = tree_of(device, latest.get(device.device), self._wall.utc_us())
            check_grant(device, tree, self._key)
            check_epoch(device, tree)
        return latest

    def change(self, devices: Sequence[Recorded]) -> list[Sealed]:
        """Record these devices from now on: those that are as they were go on undisturbed.

        The last batch of a device that is gone, or has a new epoch, is closed; a granted epoch is
        opened. It is one transaction.

        Returns:
            the batches that were closed.

        Raises:
            ConfigError: a grant that does not fit; nothing has changed.
            StoreError: nothing was kept, and nothing has changed.
        """
        latest = self.check(devices)
        books: dict[str, TreeBook] = {}
        with self._all_or_nothing():
            for device in devices:
                name = device.device
                books[name] = (
                    self._books[name]
                    if self._by_name.get(name) == device
                    else self._open_book(device, latest.get(name), is_start=False)
                )
            ended = [b for name, b in self._books.items() if books.get(name) is not b and b.open]
            for book in ended:
                self._seal(book)
            opened = [name for name, book in books.items() if self._books.get(name) is not book]
            changed = [*ended, *(books[name] for name in opened)]
            self._outbox.commit([book.change() for book in changed])
        sealed = [batch for book in changed for batch in book.sealed]
        for book in changed:
            book.note_kept()
        self._devices, self._books = tuple(devices), books
        self._by_name = {device.device: device for device in devices}
        self._causes |= dict.fromkeys(opened, NOT_CONFIGURED)
        return sealed

    def note(self, device: str, kind: str, fields: Mapping[str, Any]) -> list[Sealed]:
        """Keep an event in the tree of a device, or of another where that one is not recorded.

        Returns:
            the batches that were closed.

        Raises:
            StoreError: nothing was kept; call it again when there is room.
        """
        with self._all_or_nothing():
            first = next(iter(self._books.values()))
            self._event(self._books.get(device, first), kind, fields)
            return self._keep()

    def rotate(self, new: Key) -> list[Sealed]:
        """Go on with another key: both sign a leaf in every tree, and the new one its head.

        It is one transaction. The batches so far stay signed by the old key.

        Returns:
            the batches that were closed.

        Raises:
            StoreError: nothing was kept, and the old key goes on; call it again.
        """
        old = self._key
        try:
            with self._all_or_nothing():
                self._key = new  # whatever closes from here on covers the leaf
                for book in self._books.values():
                    self._rotate(book, old)
                return self._keep()
        except StoreError:
            self._key = old
            raise

    def due_in_s(self) -> float | None:
        """Until the next batch must close; None where none is open. [s]"""
        opened = [b.opened_ns for b in self._books.values() if b.opened_ns is not None]
        if not opened or self._limits.interval_us is not None:
            return None
        return max(self._limits.seconds - (self._wall.mono_ns() - min(opened)) / 1e9, 0.0)

    # ------------------------------------------------------------------ start

    def _start(self) -> None:
        trees = self._outbox.trees()
        latest = {tree.device: tree for tree in trees}
        granted = {device.device: device.epoch for device in self._devices}
        ended = {(item.device, item.epoch) for item in self._outbox.ended()}
        for tree in trees:
            is_past = tree.epoch != granted.get(tree.device) and tree.place not in ended
            is_open = tree.edge.size > tree.sealed.size or self._outbox.losses(*tree.place)
            if is_past and is_open:
                self._end_epoch(tree)
        for device in self._devices:
            old = latest.get(device.device)
            self._books[device.device] = self._open_book(device, old, is_start=True)
        self._outbox.commit([book.change() for book in self._books.values()], boots=self._boot)
        for book in self._books.values():
            book.note_kept()

    def _open_book(self, device: Recorded, old: Tree | None, *, is_start: bool) -> TreeBook:
        """The book of the granted epoch: opened now, or gone on with."""
        tree = tree_of(device, old, self._wall.utc_us())
        is_new = tree is not old
        check_epoch(device, tree)
        book = self._read_book(device.grant, device, tree)
        if is_new:
            fields = {**device.grant, "t_utc_us": str(self._wall.utc_us())}
            self._event(book, "epoch_start", fields)
        # Who came back to the site file is not in memory either, as after a start.
        if is_new or is_start or device.figures is not None:
            fields = {"boot": self._boot, "t_mono_ns": str(self._wall.mono_ns())}
            self._event(book, "boot", {**fields, "t_utc_us": str(self._wall.utc_us())})
        if is_new:
            self._tell_ended(book)
        self._tell_losses(book)
        if book.tree.cause is not None:
            self._causes[device.device] = book.tree.cause
        if is_new:  # with it the documents are on disk in the same transaction
            self._seal(book)
        return book

    def _end_epoch(self, tree: Tree) -> None:
        """Close the last batch of an epoch of the past, so that all of it can leave."""
        grant = parse_canonical(tree.opening)
        if not is_headed_by(tree, self._key):
            log.warning(
                "epoch_without_key",
                extra={
                    "device": tree.device,
                    "epoch": tree.epoch,
                    "what": f"{tree.edge.size - tree.sealed.size} leaves were never signed.",
                    "do": "Keep the state folder: only the key of that epoch can sign them.",
                },
            )
            return
        book = self._read_book(grant, None, tree)
        self._tell_losses(book)
        self._seal(book)
        self._outbox.commit([book.change()])

    def _tell_losses(self, book: TreeBook) -> None:
        """Say which leaves of the tree a disk lost; their cover stands where they stood."""
        for loss in self._outbox.losses(*book.tree.place):
            slots_us = loss.first_slot_us, loss.last_slot_us
            first, last = (None if at_us is None else str(at_us) for at_us in slots_us)
            fields = {
                "first_seq": str(loss.first_seq),
                "first_slot": first,
                "last_seq": str(loss.last_seq),
                "last_slot": last,
                "slots": str(loss.slots),
                "why": loss.why,
            }
            book.told.append((loss.first_seq, book.tree.edge.size))
            self._event(book, DISCONTINUITY, fields)

    def _tell_ended(self, book: TreeBook) -> None:
        """Say of which trees of the device nothing could be gone on with."""
        device, epoch = book.tree.place
        for item in self._outbox.ended():
            if item.device != device or item.epoch >= epoch or item.is_told:
                continue
            head = None
            if item.size is not None and item.root is not None:
                head = {"root": encode64(item.root), "size": str(item.size)}
            book.told_epochs.append(item.epoch)
            book.tree = replace(book.tree, cause=STORE_DAMAGED)
            fields = {"head": head, "old_epoch": item.epoch, "why": item.why}
            self._event(book, DISCONTINUITY, fields)

    def _read_book(
        self, grant: Mapping[str, Any], recorded: Recorded | None, tree: Tree
    ) -> TreeBook:
        """The book of a tree as the outbox has it, its open leaves checked against its edge."""
        leaves = self._outbox.open_leaves(tree.device, tree.epoch)
        if append(tree.sealed, leaves) != tree.edge:
            raise StoreError(
                f"The {len(leaves)} unsent leaves of {tree.device}, epoch {tree.epoch}, are not"
                " those that were hashed when they were written.",
                "Copy the state folder before anything else, move it away, and enroll again.",
                code="damaged",
            )
        tally, records = Tally(), []
        window: tuple[Taken, ...] = ()
        subject = recorded.figures if recorded else None
        for leaf in leaves:
            content = parse_canonical(leaf)
            tally.take_leaf(content)
            tally.leaf_bytes += len(leaf)
            if "type" not in content:
                records.append(leaf)
                if subject is not None:
                    window = step(
                        window, taken_of(content), subject.every_us, subject.period_us
                    ).rest
        opened_ns = self._wall.mono_ns() if leaves else None
        return TreeBook(
            grant, recorded, tree, leaves, len(leaves), tally, opened_ns, records, window
        )

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Take the state back from the outbox where a commit failed."""
        windows = {name: book.window for name, book in self._books.items()}
        try:
            yield
        except (StoreError, EvidenceError):
            trees = {(tree.device, tree.epoch): tree for tree in self._outbox.trees()}
            for device in self._devices:
                tree = trees[device.device, device.epoch]
                book = self._read_book(device.grant, device, tree)
                book.window = windows.get(device.device, book.window)
                self._books[device.device] = book
            raise

    def _keep(self) -> list[Sealed]:
        """Commit what changed; the batches that were closed."""
        books = [book for book in self._books.values() if book.has_changed]
        if books:
            self._outbox.commit([book.change() for book in books])
        sealed = [batch for book in books for batch in book.sealed]
        for book in books:
            book.note_kept()
        return sealed

    # ----------------------------------------------------------------- leaves

    def _record(self, name: str, items: Iterable[Reading | Gap], cause: str) -> None:
        book, device = self._books[name], self._by_name[name]
        waiting: list[Gap] = []
        for item in items:
            first_us = item.slot_us if isinstance(item, Reading) else item.first_slot_us
            last_us = waiting[-1].last_slot_us if waiting else book.tree.last_slot_us
            if (skipped := _skipped(device, last_us, first_us, cause)) is not None:
                waiting.append(skipped)
            if isinstance(item, Gap):
                waiting.append(item)
                continue
            self._gaps(book, gaps_merged(waiting, device.period_us))
            waiting = []
            self._reading(book, device, item)
        self._gaps(book, gaps_merged(waiting, device.period_us))

    def _reading(self, book: TreeBook, device: Recorded, reading: Reading) -> None:
        tree = book.tree
        values, quality = decode_responses(device.profile, reading.responses)
        leaf = record_leaf(
            reading,
            epoch=tree.epoch,
            seq=tree.edge.size,
            boot=self._boot,
            values=values,
            quality=quality,
        )
        book.tally.take_reading(reading, self._boot, values, quality)
        self._decoded.append((reading, values, quality))
        book.records.append(leaf)
        records = tree.records + 1
        self._add(book, leaf, last_slot_us=reading.slot_us, records=records, cause=None)
        if device.figures is not None:
            seq = tree.edge.size
            new = Taken(seq, reading.slot_us, reading.t_utc_us, values, quality)
            self._figures(book, device.figures, new)

    def _figures(self, book: TreeBook, subject: Subject, new: Taken) -> None:
        """State the figures of the window that a reading closes."""
        closed, book.window = step(book.window, new, subject.every_us, subject.period_us)
        if closed:
            self._event(book, EVENT, self._foreseen.fields(book.tree, subject, closed))

    def _gaps(self, book: TreeBook, gaps: Sequence[Gap]) -> None:
        for gap in gaps:
            tree = book.tree
            leaf = event_leaf(
                "gap", tree.device, epoch=tree.epoch, seq=tree.edge.size, fields=gap_fields(gap)
            )
            book.tally.take_gap(gap)
            slots = tree.gap_slots + gap.slots
            self._add(book, leaf, last_slot_us=gap.last_slot_us, gap_slots=slots, cause=None)

    def _event(self, book: TreeBook, kind: str, fields: Mapping[str, Any]) -> None:
        tree = book.tree
        leaf = event_leaf(kind, tree.device, epoch=tree.epoch, seq=tree.edge.size, fields=fields)
        self._add(book, leaf)

    def _rotate(self, book: TreeBook, old: Key) -> None:
        place = {
            "site": book.grant["grant"]["site"],
            "device": book.tree.device,
            "epoch": book.tree.epoch,
            "seq": book.tree.edge.size,
        }
        self._event(book, KEY_ROTATION, rotation_fields(old.private, self._key.private, **place))
        if book.open:  # unless the leaf has filled the batch
            self._seal(book)

    def _add(self, book: TreeBook, leaf: bytes, **changes: Any) -> None:
        book.tree = replace(book.tree, edge=append(book.tree.edge, (leaf,)), **changes)
        book.open.append(leaf)
        book.tally.leaf_bytes += len(leaf)
        if book.opened_ns is None:
            book.opened_ns = self._wall.mono_ns()
        if (
            self._is_full(book.tally)
            or len(book.open) >= MAX_OPEN_LEAVES
            or book.tally.leaf_bytes >= MAX_OPEN_BYTES
        ):
            self._seal(book)

    # ---------------------------------------------------------------- batches

    def _is_full(self, tally: Tally) -> bool:
        """Whether the slots of the open batch are all it may have."""
        interval_us, first_us, last_us = (
            self._limits.interval_us, tally.first_slot_us, tally.last_slot_us,
        )  # fmt: skip
        if interval_us is None:
            return tally.slots >= self._limits.slots
        if first_us is None or last_us is None:
            return False
        return last_us >= interval_end_us(first_us, interval_us)

    def _seal_due(self, *, early_s: float = 0.0) -> None:
        if self._limits.interval_us is not None:
            return
        now_ns, open_ns = self._wall.mono_ns(), (self._limits.seconds - early_s) * 1e9
        for book in self._books.values():
            opened_ns = book.opened_ns
            if opened_ns is not None and now_ns - opened_ns >= open_ns:
                self._seal(book)

    def _seal(self, book: TreeBook) -> None:
        """Close the open batch."""
        seal(book, self._key, self._software, self._wall.utc_us())


def _skipped(device: Recorded, last_us: int | None, first_us: int, cause: str) -> Gap | None:
    """The slots between the last result of a device and the next, as a gap.

    Raises:
        EvidenceError: the next result is not later than the last, or off the grid.
    """
    if last_us is None:
        return None
    due_us = last_us + device.period_us
    slots, rest = divmod(first_us - due_us, device.period_us)
    if slots < 0 or rest:
        raise EvidenceError(
            f"Slot {first_us} of {device.device} came after slot {last_us}; the next is {due_us}.",
            "Nothing was recorded; this is a fault of the program: report it.",
            code="slot_order",
        )
    last_missing_us = first_us - device.period_us
    return Gap(device.device, due_us, last_missing_us, slots, cause) if slots else None
