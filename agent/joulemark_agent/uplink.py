"""From the outbox to the collector: batches go out in order, and only its receipt deletes them.

A PUBACK says that the broker has the message in memory, no more; it frees nothing here. Every new
connection starts from the oldest batch without receipt, and so does a receipt that stays away. The
collector takes every batch once however often it comes (unique key device, epoch, seq).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from joulemark_agent.contract.batch import parse_u64
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import EvidenceError, JoulemarkError, StoreError, UplinkError
from joulemark_agent.contract.signature import (
    cosigned_at,
    is_log_signed,
    parse_checkpoint,
    parse_note,
)
from joulemark_agent.contract.topics import all_answers, batch_topic, parse_origin, parse_topic
from joulemark_agent.mqtt import Acked, Connection, Event, Login, Lost, Received
from joulemark_agent.outbox import Outbox, Sealed, check_whole

log = logging.getLogger(__name__)

WINDOW = 20  # batches sent and not confirmed; more costs paho twice the CPU per message
_NOBODY_LISTENS = 0x10
_FIRST_FAILURE = 0x80


@dataclass(frozen=True)
class Timing:
    """How long the uplink waits. [s]"""

    receipt_s: float = 5.0  # from PUBACK to receipt
    puback_s: float = 120.0  # on a line that is alive: a slow one needs time for a large batch
    retry_s: float = 1.0  # after the first failure; doubled up to
    longest_retry_s: float = 4.0  # data flow again within 5 s of the other side's return
    refused_s: float = 60.0  # before a batch that was refused is tried again


@dataclass(frozen=True)
class Collector:
    """Whose receipts count, and for whose heads."""

    site: str
    agent: str
    log_key: bytes  # the agent's own public evidence key
    name: str
    key: bytes  # the collector's public key, pinned in the site file


@dataclass
class _Sent:
    size: int
    mid: int
    sent_s: float
    acked_s: float | None = None


@dataclass
class _Stream:
    """What was sent of one (device, epoch)."""

    next_seq: int = 0
    is_empty: bool = False  # nothing in the outbox at or after `next_seq`
    sent: dict[int, _Sent] = field(default_factory=dict)  # by first seq, in order
    tried_s: float = 0.0
    not_before_s: float = 0.0
    rewound_to: int | None = None  # a hole that is being filled; further news of it are old

    def rewind(self, seq: int = 0) -> None:
        self.next_seq, self.is_empty = seq, False
        self.sent.clear()


class Uplink:
    """Sends what the outbox holds for as long as it runs; all of it in one event loop."""

    def __init__(
        self, login: Login, collector: Collector, outbox: Outbox, timing: Timing | None = None
    ) -> None:
        """Take over what waits in the outbox; nothing is sent before `start`.

        Args:
            login: the broker.
            collector: whose receipts count.
            outbox: where the batches are.
            timing: how long to wait for what.
        """
        self._login, self._collector, self._outbox = login, collector, outbox
        self._timing = timing or Timing()
        waiting = outbox.waiting()
        self._streams = {place: _Stream() for place in waiting}
        self._unconfirmed = sum(waiting.values())
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._drained = asyncio.Event()
        self._window, self._retry_s, self._not_before_s = WINDOW, self._timing.retry_s, 0.0
        self._alarms: dict[str, tuple[str, float]] = {}
        self._task: asyncio.Task[None] | None = None
        self._note_drained()

    @property
    def unconfirmed(self) -> int:
        """How many batches have no receipt yet."""
        return self._unconfirmed

    def start(self) -> asyncio.Task[None]:
        """Begin to send; the task ends only by `close` or with a StoreError."""
        self._task = asyncio.create_task(self._run(), name="uplink")
        return self._task

    def offer(self, batches: Iterable[Sealed]) -> None:
        """Tell of batches that have just been committed to the outbox."""
        for batch in batches:
            stream = self._streams.setdefault((batch.device, batch.epoch), _Stream())
            stream.is_empty = False
            self._unconfirmed += 1
        self._note_drained()
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
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, StoreError):
                await self._task

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
                why = await self._serve(connection)
            finally:
                await connection.close()
            self._alarm(
                "broker",
                UplinkError(
                    f"The connection to the broker {self._login.url} was lost: {why}.",
                    "It is tried again; readings wait in the outbox.",
                    code="lost",
                ),
            )
            await asyncio.sleep(self._longer_retry_s())

    async def _serve(self, connection: Connection) -> str:
        """Send and listen until the connection is lost; why it was."""
        for stream in self._streams.values():
            stream.rewind()
            stream.rewound_to = None
        while True:
            if (why := self._expire()) is not None:
                return why
            self._pump(connection)
            try:  # not wait_for: before 3.12 it may swallow a cancellation
                async with asyncio.timeout(self._next_deadline_s()):
                    event = await self._events.get()
            except TimeoutError:
                continue
            if isinstance(event, Lost):
                return event.why
            if isinstance(event, Acked):
                self._acked(event)
            elif isinstance(event, Received):
                self._received(event)

    # ---------------------------------------------------------------- sending

    def _pump(self, connection: Connection) -> None:
        """Send as long as the window is open and there is something to send."""
        now_s = time.monotonic()
        if now_s < self._not_before_s:
            return
        while sum(len(stream.sent) for stream in self._streams.values()) < self._window:
            ready = [
                (stream.tried_s, len(stream.sent), place)
                for place, stream in self._streams.items()
                if not stream.is_empty and now_s >= stream.not_before_s
            ]
            if not ready:
                return
            device, epoch = min(ready)[2]
            stream = self._streams[device, epoch]
            batch = self._outbox.next_batch(device, epoch, stream.next_seq)
            if batch is None:
                stream.is_empty = True
                continue
            check_whole(batch)
            topic = batch_topic(self._collector.agent, device)
            mid = connection.publish(topic, batch.payload)
            stream.sent[batch.first_seq] = _Sent(batch.size, mid, now_s)
            stream.next_seq, stream.tried_s = batch.size, time.monotonic()

    def _acked(self, event: Acked) -> None:
        found = [
            (place, sent)
            for place, stream in self._streams.items()
            for sent in stream.sent.values()
            if sent.mid == event.mid
        ]
        if not found:
            return  # of something that has its receipt or was given up
        (device, epoch), sent = found[0]
        if event.reason < _FIRST_FAILURE and event.reason != _NOBODY_LISTENS:
            sent.acked_s = time.monotonic()
            return
        if event.reason == _NOBODY_LISTENS:
            what = "no collector is listening"
            do = "Start the collector, or check that it uses this broker."
        else:
            what = f"it refuses {batch_topic(self._collector.agent, device)!r}: {event.name}"
            do = "Correct the broker's access list or limits."
        error = UplinkError(
            f"The broker {self._login.url} took no batch of {device!r}: {what}.",
            f"{do} Nothing is deleted; it is sent again.",
            code="not_taken",
        )
        self._alarm("collector", error)
        self._streams[device, epoch].rewind()
        self._slow_down()

    def _expire(self) -> str | None:
        """Give up waiting where it took too long; why the connection itself must be given up."""
        now_s = time.monotonic()
        for stream in self._streams.values():
            late = [sent for sent in stream.sent.values() if self._patience_ends_s(sent) <= now_s]
            if any(sent.acked_s is None for sent in late):
                return f"no answer to a batch for {self._timing.puback_s:.0f} s"
            if late:
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

    def _patience_ends_s(self, sent: _Sent) -> float:
        if sent.acked_s is None:
            return sent.sent_s + self._timing.puback_s
        return sent.acked_s + self._timing.receipt_s

    def _next_deadline_s(self) -> float | None:
        """Seconds until something is to be done without an event; None: only an event can."""
        now_s = time.monotonic()
        marks = [self._not_before_s]
        for stream in self._streams.values():
            marks += [stream.not_before_s, *map(self._patience_ends_s, stream.sent.values())]
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

    def _received(self, event: Received) -> None:
        try:
            direction, agent, device, kind = parse_topic(event.topic)
            if (direction, agent) != ("down", self._collector.agent):
                return
            if kind == "receipt":
                self._receipt(device, event.payload.decode())
            elif kind == "refusal":
                self._refusal(device, event.payload)
        except (EvidenceError, UnicodeDecodeError) as error:
            self._alarm("answers", _untrusted(event.topic, error))

    def _receipt(self, device: str, note: str) -> None:
        """Delete what the collector has committed, if this is its word about our head.

        Raises:
            EvidenceError: it is not.
        """
        text, _ = parse_note(note)
        head = parse_checkpoint(text)
        site, named, epoch = parse_origin(head.origin)
        if (site, named) != (self._collector.site, device):
            raise _forged(f"it is about {head.origin!r}")
        batch = self._outbox.batch_ending_at(device, epoch, head.size)
        if batch is None:
            return  # confirmed before, or never ours; either way there is nothing to delete
        if parse_note(batch.checkpoint)[0] != text:
            raise _forged(f"its root of size {head.size} is not ours")
        if not is_log_signed(note, self._collector.log_key):
            raise _forged("it does not carry our own signature")
        if cosigned_at(note, self._collector.name, self._collector.key) is None:
            raise _forged(f"{self._collector.name!r} did not sign it with the pinned key")
        try:
            deleted = self._outbox.receipt(device, epoch, head.size)
        except StoreError as error:
            if error.code != "disk_full":
                raise
            self._alarm("outbox", error)  # it is sent again and confirmed again
            return
        self._confirmed(self._streams[device, epoch], head.size, deleted)

    def _confirmed(self, stream: _Stream, size: int, deleted: int) -> None:
        stream.sent = {seq: sent for seq, sent in stream.sent.items() if sent.size > size}
        stream.next_seq = max(stream.next_seq, size)
        stream.rewound_to = None
        self._unconfirmed -= deleted
        self._window, self._retry_s = WINDOW, self._timing.retry_s
        self._not_before_s = 0.0
        for name in ("collector", "outbox"):
            self._settle(name)
        self._note_drained()

    def _refusal(self, device: str, payload: bytes) -> None:
        """Fill the hole that the collector names; leave for later what it refuses.

        Raises:
            EvidenceError: this is no refusal, or none for us.
        """
        content = parse_canonical(payload)
        if not isinstance(content, dict) or not {"origin", "code", "what"} <= set(content):
            raise _forged("it is no refusal")
        site, named, epoch = parse_origin(str(content["origin"]))
        stream = self._streams.get((device, epoch))
        if (site, named) != (self._collector.site, device) or stream is None:
            raise _forged(f"it is about {str(content['origin'])[:80]!r}")
        if content["code"] == "hole":
            expected = parse_u64(content.get("expected_size"), "expected_size")
            if stream.rewound_to == expected:
                return  # an answer to what was sent before the hole was known
            oldest = self._outbox.next_batch(device, epoch, 0)
            wanted = self._outbox.next_batch(device, epoch, expected)
            if oldest is not None and oldest.first_seq <= expected and wanted is not None:
                stream.rewound_to = expected
                stream.rewind(expected)
                return  # anything else is no hole that we can fill
        what = str(content["what"])[:200]
        error = UplinkError(
            f"The collector refuses a batch of {device!r}, epoch {epoch}: {what}"
            f" ({str(content['code'])[:40]}).",
            "Look into the collector's quarantine. The batch stays in the outbox.",
            code="batch_refused",
        )
        self._alarm(f"refusal {device} {epoch}", error)
        stream.rewind()
        stream.not_before_s = time.monotonic() + self._timing.refused_s

    def _note_drained(self) -> None:
        if self._unconfirmed:
            self._drained.clear()
        else:
            self._drained.set()

    # ------------------------------------------------------------------- logs

    def _alarm(self, name: str, error: JoulemarkError) -> None:
        """Say it once, until it is over or changes."""
        code, since_s = self._alarms.get(name, ("", time.monotonic()))
        self._alarms[name] = (error.code, since_s)
        if code != error.code:
            log.error(
                "uplink_trouble", extra={"code": error.code, "what": error.what, "do": error.do}
            )

    def _settle(self, name: str) -> None:
        if (found := self._alarms.pop(name, None)) is not None:
            code, since_s = found
            down_s = round(time.monotonic() - since_s, 3)
            log.info("uplink_recovered", extra={"code": code, "down_s": down_s})


def _forged(why: str) -> EvidenceError:
    return EvidenceError(f"{why}.", "Look for who published it.", code="not_a_receipt")


def _untrusted(topic: str, error: Exception) -> UplinkError:
    why = error.what if isinstance(error, EvidenceError) else "it is not UTF-8"
    return UplinkError(
        f"An answer on {topic[:120]!r} is not the collector's word about our evidence: {why}",
        "Nothing was deleted. Check 'uplink.collector_key' and who may publish on this topic.",
        code="untrusted_answer",
    )
