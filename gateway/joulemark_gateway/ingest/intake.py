"""Takes one message to its answer: judge, cosign, COMMIT, and only then let the answer out.

The cosigned note is committed with the leaves it vouches for, so a batch that is sent again, after
a kill at any moment, gets the receipt it would have had.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.rotation import keys_after
from joulemark_agent.contract.signature import Checkpoint, cosign
from joulemark_agent.contract.sparse import parse_sparse
from joulemark_agent.contract.topics import (
    origin,
    parse_origin,
    parse_topic,
    receipt_topic,
    refusal_topic,
)
from joulemark_gateway.evidence.base import Accepted, EvidenceStore, Head, Quarantined
from joulemark_gateway.evidence.blocks import AWAY, OUTSIDE
from joulemark_gateway.ingest import live
from joulemark_gateway.ingest.early import Early
from joulemark_gateway.ingest.live import LiveBoard
from joulemark_gateway.ingest.raw import judge_raw
from joulemark_gateway.ingest.registered import Registry, Sender, sender_of
from joulemark_gateway.ingest.sparse import AnyBatch
from joulemark_gateway.ingest.tally import Tally
from joulemark_gateway.ingest.verify import (
    FORK,
    HOLE,
    Absorbed,
    Held,
    Refused,
    Verdict,
    check_identity,
    claimed_head,
    held_of,
    judge,
)

HEAD_MOVED = "head_moved"
WENT_BACK = "ledger_went_back"
ALONE = {*OUTSIDE, WENT_BACK}  # the other trees go on
RESEND = "resend"  # no refusal: from the start of this connection on, this collector listens
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
        registry: Callable[[], Registry],
        witness: Witness,
        now_us: Callable[[], int],
        on_accepted: Callable[[Accepted], None] = lambda _: None,
        *,
        board: LiveBoard | None = None,
        tally: Tally | None = None,
    ) -> None:
        """Open the store.

        Args:
            open_store: opens it, now and after a failure.
            registry: who may send, asked with every message.
            witness: who cosigns.
            now_us: wall time, UTC. [us]
            on_accepted: is told of every batch that was committed.
            board: is given what is live and not evidence.
            tally: counts what came.

        Raises:
            StoreError: it cannot be opened.
        """
        self._tally = tally or Tally()
        self._open_store, self._on_accepted = open_store, on_accepted
        self._live = board or LiveBoard()
        self._store = open_store()
        self._registry, self._witness, self._now_us = registry, witness, now_us
        self._sizes: dict[str, int] = {}  # of each tree, as it was seen last
        self._left: set[tuple[str, str]] = set()  # why and whose batches got no receipt: was said
        # A tree's profile, period and interval never change.
        self._known: dict[str, tuple[Profile, int, int | None]] = {}
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
        answer = self._taken(topic, payload, may_wait=False)
        assert not isinstance(answer, Early), "it may not wait"
        return answer

    def take_or_wait(self, topic: str, payload: bytes) -> Answer | Early | None:
        """The same, but a batch whose predecessor is missing is not refused: it came early."""
        return self._taken(topic, payload, may_wait=True)

    def _taken(self, topic: str, payload: bytes, *, may_wait: bool) -> Answer | Early | None:
        now_us = self._now_us()
        self._tally.took(payload)
        for _ in range(_TRIES):
            try:
                return self._take(topic, payload, now_us, may_wait=may_wait)
            except StoreError as error:
                if error.code in ALONE:
                    self._leave(topic, error)
                    return None
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

    def _leave(self, topic: str, error: StoreError) -> None:
        """Give a batch no receipt: its agent keeps it and asks again, the others go on."""
        if (error.code, topic) not in self._left:
            fields = {"topic": topic, "code": error.code, "what": error.what, "do": error.do}
            log.error(error.code, extra=fields)
        self._left.add((error.code, topic))

    def expected(self, agent: str, device: str) -> Answer | None:
        """What an agent is told to send again from, after messages of it were dropped unread."""
        name, size = self._latest(agent, device)
        if not name:
            return None
        what = f"batches were dropped unread; {name} is held up to leaf {size}"
        return _refusal_answer(agent, device, Refused(HOLE, what, name, size))

    def greetings(self) -> list[Answer]:
        """What agents are told when the collector has connected: to send what has no receipt.

        Raises:
            StoreError: the store cannot be read.
        """
        what = "the collector has connected; what was under way to it is to be sent again"
        return [
            _refusal_answer(
                known.agent, device, Refused(RESEND, what, *self._latest(known.agent, device))
            )
            for known in self._registry().agents.values()
            for device in sorted(known.devices)
        ]

    def sizes(self, origins: Collection[str]) -> dict[str, int]:
        """How far these trees are held.

        Raises:
            StoreError: the store cannot be read.
        """
        return self._store.sizes(origins)

    def _take(
        self, topic: str, payload: bytes, now_us: int, *, may_wait: bool
    ) -> Answer | Early | None:
        try:
            sender = sender_of(topic, self._registry())
            if sender.kind == "raw":
                return self._take_raw(topic, payload, sender, now_us)
            if sender.kind in live.KINDS:
                self._show(payload, sender, now_us)
                self._tally.count("live")
                return None
            batch = parse_sparse(payload) if sender.kind == "sparse" else parse_batch(payload)
            verdict = self._verdict(batch, claimed_head(batch), sender, now_us)
        except EvidenceError as error:
            return self._refused(
                topic, payload, self._unread(topic, error.code, error.what), now_us
            )
        if isinstance(verdict, Refused):
            if may_wait and verdict.code == HOLE:
                return Early(verdict.origin, batch.first_seq)
            return self._refused(topic, payload, verdict, now_us)
        agent, device = sender.agent.agent, sender.device
        if isinstance(verdict, Absorbed):
            log.debug("batch_absorbed", extra={"origin": verdict.origin})
            self._tally.count("repeated")
            return Answer(receipt_topic(agent, device), verdict.note.encode())
        note = cosign(
            self._witness.private_key, self._witness.name, batch.checkpoint, now_us // 1_000_000
        )
        self._store.accept(verdict, note=note, received_us=now_us)
        self._sizes[verdict.origin] = verdict.after.size
        self._tally.count("accepted")
        self._say_flags(verdict)
        self._on_accepted(verdict)
        return Answer(receipt_topic(agent, device), note.encode(), has_grown=True)

    def _show(self, payload: bytes, sender: Sender, now_us: int) -> None:
        """Have what is live shown; nothing is kept of it and nobody waits for an answer."""
        registry, agent = self._registry(), sender.agent
        self._live.take(
            sender.kind,
            sender.device,
            payload,
            agent=agent,
            keys=keys_after(agent.key, self._store.rotations()),
            revoked=registry.revoked,
            now_us=now_us,
        )

    def _take_raw(self, topic: str, payload: bytes, sender: Sender, now_us: int) -> Answer | None:
        """Leaves for covers that are held: stored in their place, or refused without an answer."""
        try:
            batch = parse_batch(payload)
            claimed = claimed_head(batch)
            check_identity(claimed, sender)
            head = self._store.head(claimed.origin)
            held = None if head is None else self._held(batch, head)
            is_new = judge_raw(batch, held)
        except EvidenceError as error:
            self._refused(topic, payload, Refused(error.code, error.what, "", 0), now_us)
            return None
        assert held is not None
        if is_new:
            self._store.fill(claimed.origin, batch.first_seq, batch.leaves)
            log.info("raw_records", extra={"origin": claimed.origin, "size": batch.size})
        self._tally.count("raw")
        topic = receipt_topic(sender.agent.agent, sender.device)
        return Answer(topic, (held.note or "").encode())

    def _say_flags(self, batch: Accepted) -> None:
        """Say when a tree's flags change, not with every batch that has them."""
        if batch.flags != self._flags.get(batch.origin, ()):
            fields = {"origin": batch.origin, "size": batch.after.size, "flags": batch.flags}
            log.warning("batches_flagged" if batch.flags else "flags_ended", extra=fields)
        self._flags[batch.origin] = batch.flags

    def _verdict(
        self, batch: AnyBatch, claimed: Checkpoint, sender: Sender, now_us: int
    ) -> Verdict:
        site, device = sender.agent.site, sender.device
        head = None
        if parse_origin(claimed.origin)[:2] == (site, device):
            head = self._store.head(claimed.origin)
            self._check_grown(claimed.origin, 0 if head is None else head.size)
        latest = self._store.latest(site, device) if head is None else head
        return judge(
            batch,
            registry=self._registry(),
            sender=sender,
            held=None if head is None else self._held(batch, head),
            last_epoch=0 if latest is None else latest.epoch,
            now_us=now_us,
            rotations=self._store.rotations(),
        )

    def _check_grown(self, origin: str, size: int) -> None:
        """See that a tree holds what it held: above that, another head may be cosigned already."""
        known = self._sizes.get(origin, 0)
        if size < known:
            raise StoreError(
                f"{origin} has {size} leaves now, and had {known}: the ledger lost what it had"
                " confirmed.",
                "Bring back the ledger that has them; where there is none, start every collector "
                "again and go on as docs/backup.md says of an older copy.",
                code=WENT_BACK,
            )
        if size:
            self._sizes[origin] = size

    def _held(self, batch: AnyBatch, head: Head) -> Held:
        known = self._known.get(head.origin)
        if known is None:
            held = held_of(head, self._store.documents())
            known = (held.profile, held.period_us, held.interval_us)
            self._known[head.origin] = known
        if batch.first_seq >= head.size:
            return Held(head, *known)
        leaves = self._store.parts(head.origin, batch.first_seq, batch.size)
        self._left -= {left for left in self._left if left[0] == AWAY}
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
        known = self._registry().agents.get(agent)
        if known is None or device not in known.devices:
            return "", 0
        head = self._store.latest(known.site, device)
        return (head.origin, head.size) if head else (origin(known.site, device, 1), 0)

    def _refused(self, topic: str, payload: bytes, refused: Refused, now_us: int) -> Answer | None:
        try:
            direction, agent, device, _ = parse_topic(topic)
        except EvidenceError:
            direction, agent, device = "", "", ""
        what, shown = _storable(refused.what), _storable(topic)
        self._tally.count("refused", refused.code)
        if refused.is_kept:
            owner = agent if agent in self._registry().agents else ""
            kept = Quarantined(owner, shown, refused.code, what, payload, now_us)
            self._store.quarantine(kept)
        level = logging.ERROR if refused.code == FORK else logging.WARNING
        log.log(
            level if refused.is_kept else logging.INFO,
            "security_alarm" if refused.code == FORK else "batch_refused",
            extra={"topic": shown, "code": refused.code, "what": what},
        )
        if direction != "up":
            return None
        head = self._store.head(refused.origin) if refused.code == FORK else None
        return _refusal_answer(agent, device, refused, None if head is None else head.note)


def _storable(text: str) -> str:
    """The text as any database takes it: not too long, without halves of characters and NUL."""
    return text[:_WHAT_LENGTH].encode(errors="replace").decode().replace("\0", "\ufffd")


def _refusal_answer(agent: str, device: str, refused: Refused, held: str | None = None) -> Answer:
    """The refusal; with a fork goes the head that is held: its signature tells whose it is."""
    content = {
        **({} if held is None else {"held": held}),
        "code": refused.code,
        "expected_size": str(refused.expected_size),
        "origin": refused.origin,
        "v": 1,
        "what": _storable(refused.what),
    }
    return Answer(refusal_topic(agent, device), canonical_bytes(content))
