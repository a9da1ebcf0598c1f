"""From the outbox to the collector: batches go out in order, and only its receipt deletes them.

A PUBACK says that the broker has the message in memory, no more; it frees nothing here. Every new
connection starts from the oldest batch without receipt, and so does a receipt that stays away. The
collector takes every batch once however often it comes (unique key device, epoch, seq).

While a backlog drains, the newest batch of a device is also sent ahead of it (`contract.live`), and
no more of the backlog is let onto the line than it takes in about a second (`pace`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from joulemark_agent.ahead import Ahead
from joulemark_agent.answers import (
    FORK,
    HOLE,
    RESEND,
    Collector,
    Receipt,
    Refusal,
    check_receipt,
    own_head,
    parse_receipt,
    parse_refusal,
)
from joulemark_agent.contract.batch import parse_batch, plain_of, text_bytes
from joulemark_agent.contract.committed import committed
from joulemark_agent.contract.errors import EvidenceError, JoulemarkError, StoreError, UplinkError
from joulemark_agent.contract.live import live_around
from joulemark_agent.contract.signature import Checkpoint
from joulemark_agent.contract.sparse import sparse_bytes
from joulemark_agent.contract.topics import (
    all_answers,
    batch_topic,
    live_topic,
    parse_topic,
    sparse_topic,
)
from joulemark_agent.covers import SPARSE
from joulemark_agent.mending import TREE_LOST
from joulemark_agent.mqtt import Acked, Connection, Event, Login, Lost, Received
from joulemark_agent.mqtt_reasons import NO_SUBSCRIBERS, is_alarm, meaning, what_to_do
from joulemark_agent.newest import Newest
from joulemark_agent.outbox import Outbox, Sealed
from joulemark_agent.pace import Pace
from joulemark_agent.raw_queue import RawQueue
from joulemark_agent.store_thread import StoreThread
from joulemark_agent.streams import Sent, Stream, Streams, Timing

log = logging.getLogger(__name__)

WINDOW = 20  # batches sent and not confirmed; more costs paho twice the CPU per message
_STORE_RETRY_S = 1.0

OnRequest = Callable[[str, bytes], None]  # of a device, for raw records; EvidenceError: it is none


class Uplink:
    """Sends what the outbox holds for as long as it runs; all of it in one event loop."""

    def __init__(
        self,
        login: Login,
        collector: Collector,
        outbox: Outbox,
        timing: Timing | None = None,
        *,
        on_request: OnRequest | None = None,
        withholds: Callable[[str, int], bool] | None = None,
        store: StoreThread | None = None,
    ) -> None:
        """Take over what waits in the outbox; nothing is sent before `start`.

        Args:
            login: the broker.
            collector: whose receipts count.
            outbox: where the batches are.
            timing: how long to wait for what.
            on_request: takes requests for raw records; None: there are none to be asked for.
            withholds: whether the raw records of a device's epoch stay here, and so are sent only
                when they are asked for; None: every batch is sent whole.
            store: the thread that uses the outbox; None: nobody else does.
        """
        self._login, self._collector, self._outbox = login, collector, outbox
        self._timing = timing or Timing()
        self._on_request, self._withholds, self._raw = on_request, withholds, RawQueue()
        self._store, self._newest, self._pace = store or StoreThread(), Newest(), Pace()
        self._owns_store = store is None
        self._streams = Streams(self._timing)
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._drained = asyncio.Event()
        self._window, self._retry_s, self._not_before_s = WINDOW, self._timing.retry_s, 0.0
        self._alarms: dict[str, tuple[JoulemarkError, float]] = {}
        self._ahead = Ahead()
        self._takes_columns = False  # the collector, as its last answer on this connection says
        self._task: asyncio.Task[None] | None = None
        self._deletable: dict[tuple[str, int], int] = {}  # up to which size, of each tree
        self._deleting: asyncio.Task[None] | None = None
        self._offers = 0  # batches, so far
        self._note(self._outbox.waiting())

    @property
    def unconfirmed(self) -> int:
        """How many batches have no receipt yet."""
        return self._unconfirmed

    @property
    def troubles(self) -> list[tuple[JoulemarkError, float]]:
        """What stands in the way, and since when by the monotonic clock. [s]"""
        return list(self._alarms.values())

    def know(self, own_key: bytes) -> None:
        """Take heads that this public key signed for ours, too."""
        keys = (own_key, *self._collector.own_keys)
        self._collector = replace(self._collector, own_keys=keys)

    def start(self) -> asyncio.Task[None]:
        """Begin to send; the task ends only by `close` or with a StoreError."""
        self._task = asyncio.create_task(self._run(), name="uplink")
        return self._task

    async def take_stock(self) -> None:
        """Count what waits in the outbox, which was opened anew, and send it again.

        Raises:
            StoreError: it cannot be read.
        """
        await self._count()
        for stream in self._streams.values():
            stream.rewind()
        self._events.put_nowait(None)

    def offer(self, batches: Iterable[Sealed]) -> None:
        """Tell of batches that have just been committed to the outbox."""
        for batch in batches:
            place = (batch.device, batch.epoch)
            self._streams.setdefault(place, Stream()).offer(batch)
            self._unconfirmed += 1
            self._offers += 1
            self._ahead.put(batch)
        self._note_drained()
        self._events.put_nowait(None)

    def send_raw(self, device: str, payloads: Iterator[bytes]) -> None:
        """Send whole batches that were asked for, one after the other, beside the evidence."""
        self._raw.add(device, payloads)
        self._events.put_nowait(None)

    def tell(self, topic: str, payload: bytes) -> None:
        """Publish the newest state of something; what it was before is of no interest any more."""
        self._newest.put(topic, payload)
        self._events.put_nowait(None)

    async def wait_drained(self) -> None:
        """Return when every batch has its receipt.

        Raises:
            StoreError: the uplink ended because the outbox cannot be read.
        """
        waiting = asyncio.create_task(self._drained.wait())
        tasks = {waiting} | ({self._task} if self._task else set())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._task is not None and self._task.done():
                self._task.result()
        finally:
            waiting.cancel()

    async def close(self) -> None:
        """Stop sending and disconnect; what has no receipt stays in the outbox."""
        for task in (self._task, self._deleting):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, StoreError):
                    await task
        if self._owns_store:
            self._store.close()

    # ------------------------------------------------------------- connection

    async def _run(self) -> None:
        while True:
            self._events = asyncio.Queue()
            connection = Connection(self._login, self._events.put_nowait)
            try:
                await connection.open(all_answers(self._collector.agent))
            except UplinkError as error:
                self._alarm("broker", error)
                await asyncio.sleep(self._longer_retry_s())
                continue
            self._settle("broker")
            try:
                lost = await self._serve(connection)
            finally:
                await connection.close()
            do = "It is tried again; readings wait in the outbox."
            self._alarm(
                "broker",
                UplinkError(
                    f"The connection to the broker {self._login.url} was lost: {lost.why}.",
                    f"{what_to_do(lost.reason)} {do}" if is_alarm(lost.reason) else do,
                    code="lost",
                ),
            )
            await asyncio.sleep(self._longer_retry_s())

    async def _serve(self, connection: Connection) -> Lost:
        """Send and listen until the connection is lost; why it was."""
        for stream in self._streams.values():
            stream.resume()
        self._raw.rewind()
        self._newest.rewind()
        self._takes_columns = False
        while True:
            if (why := self._expire()) is not None:
                return Lost(why)
            try:
                await self._pump(connection)
                is_deleted = self._deleting is None or self._deleting.done()
                if self._unconfirmed and is_deleted and self._streams.has_sent_all:
                    await self._count()  # what was counted twice, or made one, by mending
            except StoreError as error:
                await self._wait_for_store(error)
                continue
            self._raw.pump(connection, self._collector.agent, self._form)
            self._send_live()
            self._newest.pump(connection)
            try:  # not wait_for: before 3.12 it may swallow a cancellation
                async with asyncio.timeout(self._next_deadline_s()):
                    events = [await self._events.get()]
            except TimeoutError:
                continue
            while not self._events.empty():
                events.append(self._events.get_nowait())
            if (lost := await self._take(events)) is not None:
                return lost

    async def _take(self, events: Iterable[Event | None]) -> Lost | None:
        """Take what has come; receipts of one tree together, as the last covers them all."""
        receipts: dict[tuple[str, int], Receipt] = {}
        lost = None
        for event in events:
            if isinstance(event, Lost):
                lost = lost or event
            elif isinstance(event, Acked):
                self._acked(event)
            elif isinstance(event, Received):
                self._takes_columns = event.takes_columns
                await self._received(event, receipts)
        for place, receipt in receipts.items():
            self._confirmed(self._streams[place], place, receipt.head.size)
        return lost

    async def _wait_for_store(self, error: StoreError) -> None:
        """Say what is wrong with the disk and try again; what ends a tree ends this too."""
        if error.code == TREE_LOST:
            raise error
        self._alarm("outbox", error)
        await asyncio.sleep(_STORE_RETRY_S)

    # ---------------------------------------------------------------- sending

    async def _pump(self, connection: Connection) -> None:
        """Send as long as the window is open and there is something to send."""
        now_s = time.monotonic()
        if now_s < self._not_before_s:
            return
        while self._has_room():
            places = self._streams.next(now_s, self._window)
            if not places:
                return
            if not self._is_ready(self._streams[places[0]]):
                await self._read([p for p in places if not self._is_ready(self._streams[p])])
            for place in places:
                if self._has_room() and self._is_ready(self._streams[place]):
                    self._send(connection, self._streams[place])

    def _is_ready(self, stream: Stream) -> bool:
        """Whether its next batch is in memory and may leave."""
        return bool(stream.ready) and self._outbox.has_shown(stream.ready[0])

    async def _read(self, places: Collection[tuple[str, int]]) -> None:
        """Have the next batches of these trees in memory, as many as the window takes."""
        most = max(self._window // len(places), 1)
        asked = {place: (self._streams[place].next_seq, self._streams[place].offered)
                 for place in places}  # fmt: skip
        from_seqs = {place: seq for place, (seq, _) in asked.items()}
        found = await self._store.run(partial(_next_batches, self._outbox, from_seqs, most))
        for place, batches in found.items():
            stream, (seq, offered) = self._streams[place], asked[place]
            if stream.next_seq == seq:  # else it was rewound meanwhile
                is_end = len(batches) < most and stream.offered == offered
                stream.take(batches, are_all=is_end)
        if self._mended != self._outbox.mended:  # several batches may now be one
            await self._count()
        self._settle("outbox")

    def _has_room(self) -> bool:
        """Whether the window is open, and the line not full."""
        sent = [sent for _, sent in self._streams.under_way()]
        waiting = [one.bytes for one in sent if one.acked_s is None]
        return len(sent) < self._window and sum(waiting) < self._pace.allowed_bytes

    def _send(self, connection: Connection, stream: Stream) -> None:
        batch = stream.ready[0]
        topic, payload = self._message(batch)
        now_s = time.monotonic()
        mid = connection.publish(topic, payload)
        sent = Sent(batch.size, mid, now_s, batch.checkpoint, len(payload))
        stream.went(sent, batch.first_seq)

    def _message(self, batch: Sealed) -> tuple[str, bytes]:
        """Topic and payload: without the records that stay here."""
        agent, device = self._collector.agent, batch.device
        if batch.kind == SPARSE:
            return sparse_topic(agent, device), batch.payload
        if self._withholds is None or not self._withholds(device, batch.epoch):
            return batch_topic(agent, device), self._form(batch.payload)
        return sparse_topic(agent, device), sparse_bytes(committed(parse_batch(batch.payload)))

    def _form(self, payload: bytes) -> bytes:
        """A batch as the collector takes it; an earlier one takes text only."""
        return payload if self._takes_columns else text_bytes(payload)

    def _send_live(self) -> None:
        """Send the newest batches ahead of those that wait, unless raw records stay here."""
        for batch in self._ahead.due(time.monotonic(), self._is_ahead):
            assert batch.closing is not None
            plain = plain_of(batch.payload)  # without documents: it is not the first
            payload = live_around(plain, batch.closing.before)
            self._newest.put(live_topic(self._collector.agent, batch.device), payload)

    def _is_ahead(self, batch: Sealed) -> bool:
        """Whether others wait before it, and it may leave."""
        if batch.first_seq <= self._streams[batch.place].next_seq or batch.closing is None:
            return False
        stays = self._withholds is not None and self._withholds(*batch.place)
        return not stays and self._outbox.has_shown(batch)

    def _acked(self, event: Acked) -> None:
        self._raw.acked(event.mid)
        self._newest.acked(event.mid)
        under_way = self._streams.under_way()
        found = next(((place, sent) for place, sent in under_way if sent.mid == event.mid), None)
        if found is None:
            return  # of something that has its receipt or was given up
        (device, epoch), sent = found
        if not is_alarm(event.reason):
            sent.acked_s = time.monotonic()
            self._pace.answered(sent.acked_s - sent.sent_s, sent.bytes)
            return
        what = meaning(event.reason)
        if event.reason != NO_SUBSCRIBERS:
            what = (
                f"it refuses {batch_topic(self._collector.agent, device)!r}: {event.name}, {what}"
            )
        error = UplinkError(
            f"The broker {self._login.url} took no batch of {device!r}: {what}.",
            f"{what_to_do(event.reason)} Nothing is deleted; it is sent again.",
            code="not_taken",
        )
        self._alarm("collector", error)
        self._streams[device, epoch].rewind()
        self._slow_down()

    def _expire(self) -> str | None:
        """Give up waiting where it took too long; why the connection itself must be given up."""
        for stream, late in self._streams.late(time.monotonic()):
            if any(sent.acked_s is None for sent in late):
                return f"no answer to a batch for {self._timing.puback_s:.0f} s"
            error = UplinkError(
                "The collector has not confirmed a batch that the broker took"
                f" {self._timing.receipt_s:.0f} s ago.",
                "Check that it runs, uses this broker and knows this agent's key. Nothing is"
                " deleted; it is sent again.",
                code="no_receipt",
            )
            self._alarm("collector", error)
            stream.rewind()
            self._window = 1
        return None

    def _next_deadline_s(self) -> float | None:
        """Seconds until something is to be done without an event; None: only an event can."""
        now_s = time.monotonic()
        marks = [self._not_before_s, self._ahead.next_s or 0.0, *self._streams.marks_s()]
        return min((mark - now_s for mark in marks if mark > now_s), default=None)

    def _slow_down(self) -> None:
        """One batch at a time, and not at once, until a receipt comes."""
        self._window = 1
        self._not_before_s = time.monotonic() + self._longer_retry_s()

    def _longer_retry_s(self) -> float:
        retry_s = self._retry_s
        self._retry_s = min(2 * retry_s, self._timing.longest_retry_s)
        return retry_s

    # ---------------------------------------------------------------- answers

    async def _received(self, event: Received, receipts: dict[tuple[str, int], Receipt]) -> None:
        try:
            direction, agent, device, kind = parse_topic(event.topic)
            if (direction, agent) != ("down", self._collector.agent):
                return
            if kind == "receipt":
                receipt = parse_receipt(device, event.payload.decode(), self._collector)
                await self._check(receipt, receipts)
            elif kind == "refusal":
                await self._refusal(device, event.payload)
            elif kind == "request" and self._on_request is not None:
                self._on_request(device, event.payload)
        except (EvidenceError, UnicodeDecodeError) as error:
            self._alarm("answers", _untrusted(event.topic, error))

    async def _check(self, receipt: Receipt, receipts: dict[tuple[str, int], Receipt]) -> None:
        """Add what the collector has committed, if this is its word about our head.

        Raises:
            EvidenceError: it is not.
        """
        place, size = (receipt.device, receipt.epoch), receipt.head.size
        stream = self._streams.get(place)
        sent = stream.sent.values() if stream is not None else ()
        checkpoint = next((one.checkpoint for one in sent if one.size == size), None)
        if checkpoint is None:
            work = partial(self._outbox.batch_ending_at, *place, size)
            try:
                batch = await self._store.run(work)
            except StoreError as error:
                self._alarm("outbox", error)  # it is sent again and confirmed again
                return
            if batch is None:
                return  # confirmed before, or never ours; either way there is nothing to delete
            checkpoint = batch.checkpoint
        check_receipt(receipt, checkpoint, self._collector)
        known = receipts.get(place)
        if known is None or known.head.size < size:
            receipts[place] = receipt

    def _confirmed(self, stream: Stream, place: tuple[str, int], size: int) -> None:
        """Go on behind what the collector has committed, and have it deleted."""
        stream.confirm(size)
        self._window, self._retry_s = WINDOW, self._timing.retry_s
        self._not_before_s = 0.0
        self._settle("collector")
        self._deletable[place] = max(size, self._deletable.get(place, 0))
        if self._deleting is None or self._deleting.done():
            self._deleting = asyncio.create_task(self._delete(), name="delete")

    async def _delete(self) -> None:
        """Delete what is confirmed, with all that is confirmed meanwhile in the next transaction.

        Nothing waits for it: what is confirmed and not deleted is not sent again, except on a new
        connection, and then it is confirmed again.
        """
        while sizes := self._deletable:
            self._deletable = {}
            try:
                deleted = await self._store.run(partial(self._outbox.receipts, sizes))
            except StoreError as error:
                self._alarm("outbox", error)
                self._deletable = {**sizes, **self._deletable}
                await asyncio.sleep(_STORE_RETRY_S)
                continue
            self._unconfirmed -= sum(deleted.values())
            self._ahead.confirmed(sum(deleted.values()))
            self._settle("outbox")
            self._note_drained()
        self._events.put_nowait(None)

    async def _refusal(self, device: str, payload: bytes) -> None:
        """Fill the hole that the collector names; leave for later what it refuses.

        Raises:
            EvidenceError: this is no refusal, or none for us.
        """
        refusal = parse_refusal(device, payload, self._collector)
        if refusal.code == RESEND:
            self._resend(device)
            return
        stream = self._streams.get((device, refusal.epoch))
        if stream is None:
            raise EvidenceError(
                f"it is about epoch {refusal.epoch}.",
                "Look for who published it.",
                code="not_a_receipt",
            )
        if refusal.code == HOLE and await self._fill(device, refusal, stream):
            return
        if refusal.code == FORK:
            await self._look_back(device, refusal)
        error = UplinkError(
            f"The collector refuses a batch of {device!r}, epoch {refusal.epoch}: {refusal.what}"
            f" ({refusal.code}).",
            "Look into the collector's quarantine. The batch stays in the outbox.",
            code="batch_refused",
        )
        self._alarm(f"refusal {device} {refusal.epoch}", error)
        stream.rewind()
        stream.not_before_s = time.monotonic() + self._timing.refused_s

    async def _fill(self, device: str, refusal: Refusal, stream: Stream) -> bool:
        """Send again from where the collector misses something, if it waits here."""
        expected = refusal.expected_size
        if expected is None:
            return False
        if stream.rewound_to == expected:
            return True  # an answer to what was sent before the hole was known
        place = (device, refusal.epoch)
        try:
            oldest = await self._store.run(partial(self._outbox.next_batch, *place, 0))
            wanted = await self._store.run(partial(self._outbox.next_batch, *place, expected))
        except StoreError as error:
            self._alarm("outbox", error)
            return True
        if oldest is None or oldest.first_seq > expected or wanted is None:
            return False
        stream.rewound_to = expected
        stream.rewind(expected)
        return True

    async def _look_back(self, device: str, refusal: Refusal) -> None:
        """End a tree whose head the collector holds with our signature, and we know nothing of.

        Then the disk went back to an earlier state, and what was signed since would be a second
        history. Nobody but us can make such a note, so it cannot be used to end trees at will.
        """
        if refusal.held is None:
            return
        place = (device, refusal.epoch)
        head = own_head(refusal.held, *place, self._collector)
        if head is None:
            return
        if not await self._store.run(partial(self._knows, place, head)):
            why = f"the collector holds our head of {head.size} leaves, which this disk has lost"
            await self._store.run(partial(self._outbox.end, *place, why))
            raise StoreError(
                f"The outbox went back to an earlier state: {why} ({device}, epoch {place[1]}).",
                "The reserve grant opens the next epoch. Look into the system log for errors of"
                " the disk, and whether a copy of the state folder was put back.",
                code=TREE_LOST,
            )

    def _knows(self, place: tuple[str, int], head: Checkpoint) -> bool:
        """Whether a head is one of those that this outbox knows to have been signed."""
        tree = next((tree for tree in self._outbox.trees() if tree.place == place), None)
        if tree is None or head.size > tree.sealed.size:
            return False
        return self._outbox.is_known(*place, head.size, head.root)

    def _resend(self, device: str) -> None:
        """Send at once what has no receipt: what was under way has no other answer."""
        for (named, _), stream in self._streams.items():
            if named == device:
                stream.resume()
        self._not_before_s, self._retry_s = 0.0, self._timing.retry_s

    async def _count(self) -> None:
        offers = -1
        while offers != self._offers:  # else what was offered meanwhile would be missed
            offers = self._offers
            waiting = await self._store.run(self._outbox.waiting)
        self._note(waiting)

    def _note(self, waiting: Mapping[tuple[str, int], int]) -> None:
        """Know how many batches of which trees wait."""
        self._mended = self._outbox.mended
        self._unconfirmed = sum(waiting.values())
        for place in waiting:
            self._streams.setdefault(place, Stream())
        self._note_drained()

    def _note_drained(self) -> None:
        if self._unconfirmed:
            self._drained.clear()
        else:
            self._drained.set()

    # ------------------------------------------------------------------- logs

    def _alarm(self, name: str, error: JoulemarkError) -> None:
        """Say it once, until it is over or changes."""
        known, since_s = self._alarms.get(name, (None, time.monotonic()))
        self._alarms[name] = (error, since_s)
        if known is None or known.code != error.code:
            log.error(
                "uplink_trouble", extra={"code": error.code, "what": error.what, "do": error.do}
            )

    def _settle(self, name: str) -> None:
        if (found := self._alarms.pop(name, None)) is not None:
            error, since_s = found
            down_s = round(time.monotonic() - since_s, 3)
            log.info("uplink_recovered", extra={"code": error.code, "down_s": down_s})


def _next_batches(
    outbox: Outbox, from_seqs: Mapping[tuple[str, int], int], most: int
) -> dict[tuple[str, int], list[Sealed]]:
    """Of each tree the batches that wait from a leaf on, at most so many.

    Raises:
        StoreError: none can be read; else those before the first that cannot are given.
    """
    found: dict[tuple[str, int], list[Sealed]] = {}
    for place, seq in from_seqs.items():
        batches = found[place] = []
        while len(batches) < most:
            try:
                batch = outbox.next_batch(*place, batches[-1].size if batches else seq)
            except StoreError:
                if not any(found.values()):
                    raise
                return {known: those for known, those in found.items() if those}
            if batch is None:
                break
            batches.append(batch)
    return found


def _untrusted(topic: str, error: Exception) -> UplinkError:
    why = error.what if isinstance(error, EvidenceError) else "it is not UTF-8"
    return UplinkError(
        f"An answer on {topic[:120]!r} is not the collector's word about our evidence: {why}",
        "Nothing was deleted. Check 'uplink.collector_key' and who may publish on this topic.",
        code="untrusted_answer",
    )


__all__ = ["RESEND", "WINDOW", "Collector", "OnRequest", "Timing", "Uplink"]
