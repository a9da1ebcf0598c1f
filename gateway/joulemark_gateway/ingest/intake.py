"""Takes one message to its answer: judge, cosign, COMMIT, and only then let the answer out.

The cosigned note is committed with the leaves it vouches for, so a batch that is sent again, after
a kill at any moment, gets the receipt it would have had.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from joulemark_agent.contract.batch import Batch, parse_batch
from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.signature import Checkpoint, cosign
from joulemark_agent.contract.topics import (
    origin,
    parse_origin,
    parse_topic,
    receipt_topic,
    refusal_topic,
)
from joulemark_gateway.evidence.base import Accepted, EvidenceStore, Head, Quarantined
from joulemark_gateway.ingest.verify import (
    FORK,
    HOLE,
    Absorbed,
    Held,
    Refused,
    Registry,
    Sender,
    Verdict,
    claimed_head,
    held_of,
    judge,
    sender_of,
)

HEAD_MOVED = "head_moved"
_WHAT_LENGTH = 400
_TRIES = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Witness:
    """Who cosigns: the name agents know, and the private key."""

    name: str
    private_key: bytes


@dataclass(frozen=True)
class Answer:
    """What is published to the agent, and whether the store has grown."""

    topic: str
    payload: bytes
    has_grown: bool = False


class Intake:
    """Judges and keeps what arrives; one thread at a time."""

    def __init__(
        self,
        open_store: Callable[[], EvidenceStore],
        registry: Registry,
        witness: Witness,
        now_us: Callable[[], int],
    ) -> None:
        """Open the store.

        Args:
            open_store: opens it, now and after a failure.
            registry: who may send.
            witness: who cosigns.
            now_us: wall time, UTC. [us]

        Raises:
            StoreError: it cannot be opened.
        """
        self._open_store = open_store
        self._store = open_store()
        self._registry, self._witness, self._now_us = registry, witness, now_us
        self._known: dict[str, tuple[Profile, int]] = {}  # a tree's profile and period never change
        self._flags: dict[str, tuple[str, ...]] = {}  # of each tree's last batch

    def reopen(self) -> None:
        """Give the store up and open it again, with all its checks: after a failed write.

        Raises:
            StoreError: it cannot be opened.
        """
        self._store.close()
        self._store = self._open_store()

    def close(self) -> None:
        """Release the store."""
        self._store.close()

    def take(self, topic: str, payload: bytes) -> Answer | None:
        """Judge and keep one message; the answer is safe to publish, None where nobody can hear it.

        Raises:
            StoreError: nothing was kept and nothing may be acknowledged.
        """
        now_us = self._now_us()
        for _ in range(_TRIES):
            try:
                return self._take(topic, payload, now_us)
            except StoreError as error:
                if error.code != HEAD_MOVED:
                    raise
            except Exception as error:  # a mistake of ours must not stop the queue
                log.exception("judge_failed", extra={"topic": topic})
                what = f"the collector failed: {type(error).__name__}"
                return self._refused(topic, payload, self._unread(topic, "internal", what), now_us)
        raise StoreError(
            "Another collector keeps extending the same tree.",
            "Let one collector serve an agent.",
            code=HEAD_MOVED,
        )

    def expected(self, agent: str, device: str) -> Answer | None:
        """What an agent is told to send again from, after messages of it were dropped unread."""
        name, size = self._latest(agent, device)
        if not name:
            return None
        what = f"batches were dropped unread; {name} is held up to leaf {size}"
        return _refusal_answer(agent, device, Refused(HOLE, what, name, size))

    def _take(self, topic: str, payload: bytes, now_us: int) -> Answer | None:
        try:
            sender = sender_of(topic, self._registry)
            batch = parse_batch(payload)
            verdict = self._verdict(batch, claimed_head(batch), sender, now_us)
        except EvidenceError as error:
            return self._refused(
                topic, payload, self._unread(topic, error.code, error.what), now_us
            )
        if isinstance(verdict, Refused):
            return self._refused(topic, payload, verdict, now_us)
        agent, device = sender.agent.agent, sender.device
        if isinstance(verdict, Absorbed):
            log.debug("batch_absorbed", extra={"origin": verdict.origin})
            return Answer(receipt_topic(agent, device), verdict.note.encode())
        note = cosign(
            self._witness.private_key, self._witness.name, batch.checkpoint, now_us // 1_000_000
        )
        self._store.accept(verdict, note=note, received_us=now_us)
        self._say_flags(verdict)
        return Answer(receipt_topic(agent, device), note.encode(), has_grown=True)

    def _say_flags(self, batch: Accepted) -> None:
        """Say when a tree's flags change, not with every batch that has them."""
        if batch.flags != self._flags.get(batch.origin, ()):
            fields = {"origin": batch.origin, "size": batch.after.size, "flags": batch.flags}
            log.warning("batches_flagged" if batch.flags else "flags_ended", extra=fields)
        self._flags[batch.origin] = batch.flags

    def _verdict(self, batch: Batch, claimed: Checkpoint, sender: Sender, now_us: int) -> Verdict:
        site, device = sender.agent.site, sender.device
        head = None
        if parse_origin(claimed.origin)[:2] == (site, device):
            head = self._store.head(claimed.origin)
        latest = self._store.latest(site, device) if head is None else head
        return judge(
            batch,
            registry=self._registry,
            sender=sender,
            held=None if head is None else self._held(batch, head),
            last_epoch=0 if latest is None else latest.epoch,
            now_us=now_us,
        )

    def _held(self, batch: Batch, head: Head) -> Held:
        known = self._known.get(head.origin)
        if known is None:
            held = held_of(head, self._store.documents())
            self._known[head.origin] = known = (held.profile, held.period_us)
        if batch.first_seq >= head.size:
            return Held(head, *known)
        leaves = self._store.leaves(head.origin, batch.first_seq, batch.size)
        return Held(head, *known, tuple(leaves), self._store.note_at(head.origin, batch.size))

    def _unread(self, topic: str, code: str, what: str) -> Refused:
        """The refusal of a message that does not say which tree it is of: its device's latest."""
        try:
            _, agent, device, _ = parse_topic(topic)
        except EvidenceError:
            return Refused(code, what, "", 0)
        return Refused(code, what, *self._latest(agent, device))

    def _latest(self, agent: str, device: str) -> tuple[str, int]:
        """Name and size of the device's latest tree; no name where nobody such is registered."""
        known = self._registry.agents.get(agent)
        if known is None or device not in known.devices:
            return "", 0
        head = self._store.latest(known.site, device)
        return (head.origin, head.size) if head else (origin(known.site, device, 1), 0)

    def _refused(self, topic: str, payload: bytes, refused: Refused, now_us: int) -> Answer | None:
        try:
            direction, agent, device, _ = parse_topic(topic)
        except EvidenceError:
            direction, agent, device = "", "", ""
        what = refused.what[:_WHAT_LENGTH]
        if refused.is_kept:
            owner = agent if agent in self._registry.agents else ""
            kept = Quarantined(owner, topic[:_WHAT_LENGTH], refused.code, what, payload, now_us)
            self._store.quarantine(kept)
        level = logging.ERROR if refused.code == FORK else logging.WARNING
        log.log(
            level if refused.is_kept else logging.INFO,
            "security_alarm" if refused.code == FORK else "batch_refused",
            extra={"topic": topic, "code": refused.code, "what": what},
        )
        return _refusal_answer(agent, device, refused) if direction == "up" else None


def _refusal_answer(agent: str, device: str, refused: Refused) -> Answer:
    content = {
        "code": refused.code,
        "expected_size": str(refused.expected_size),
        "origin": refused.origin,
        "v": 1,
        "what": refused.what[:_WHAT_LENGTH],
    }
    return Answer(refusal_topic(agent, device), canonical_bytes(content))
