"""A collector's ledger in memory: enough to judge one batch after the other, without a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.signature import (
    Checkpoint,
    cosign,
    parse_checkpoint,
    parse_note,
    public_key,
    sign_checkpoint,
)
from joulemark_agent.contract.sparse import Part
from joulemark_agent.contract.topics import batch_topic, origin, parse_origin
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_gateway.evidence.base import Accepted, Head
from joulemark_gateway.ingest.registered import Agent, Registry, sender_of
from joulemark_gateway.ingest.verify import Held, Verdict, held_of, judge
from support.evidence import (
    AGENT,
    COUNTER,
    KEYS,
    METER,
    SEALED_US,
    SITE,
    WITNESS,
    Keys,
    Leaf,
    uncosigned,
)

NOW_US = SEALED_US + 1_000_000


def registry(
    *, accept_simulated: bool = True, devices: Sequence[str] = (METER, COUNTER), owner: Keys = KEYS
) -> Registry:
    """The registry of one agent of this owner."""
    agent = Agent(AGENT, SITE, public_key(owner.agent), frozenset(devices))
    return Registry({AGENT: agent}, frozenset({public_key(owner.operator)}), accept_simulated)


class Book:
    """Heads, leaves and notes of every tree, changed only by accepted batches."""

    def __init__(self, trusted: Registry | None = None) -> None:
        self.registry = registry() if trusted is None else trusted
        self.heads: dict[str, Head] = {}
        self.leaves: dict[str, tuple[Part, ...]] = {}
        self.notes: dict[tuple[str, int], str] = {}
        self.documents: dict[str, bytes] = {}

    @property
    def roots(self) -> dict[str, bytes]:
        """What is held, in 32 bytes a tree."""
        return {name: head.root for name, head in self.heads.items()}

    def offer(self, batch: Batch, *, topic: str | None = None, now_us: int = NOW_US) -> Verdict:
        """The verdict on a batch, after which it is held if it was accepted."""
        batch = uncosigned(batch)
        claimed = parse_checkpoint(parse_note(batch.checkpoint)[0])
        site, device, _ = parse_origin(claimed.origin)
        sender = sender_of(topic or batch_topic(AGENT, device), self.registry)
        epochs = [head.epoch for name, head in self.heads.items() if f"/{device}/" in name]
        verdict = judge(
            batch,
            registry=self.registry,
            sender=sender,
            held=self._held(claimed.origin, batch) if site == SITE else None,
            last_epoch=max(epochs, default=0),
            now_us=now_us,
            rotations=[change for head in self.heads.values() for change in head.rotations],
        )
        if isinstance(verdict, Accepted):
            self._keep(verdict, batch, now_us)
        return verdict

    def accepted(self, batch: Batch, *, now_us: int = NOW_US) -> tuple[Accepted, str]:
        """The verdict on a batch that must be accepted, and the note with which it is held."""
        verdict = self.offer(batch, now_us=now_us)
        assert isinstance(verdict, Accepted), verdict
        return verdict, self.heads[verdict.origin].note

    def offer_all(self, batches: Sequence[Batch], *, now_us: int = NOW_US) -> None:
        """Offer batches that must be accepted."""
        for batch in batches:
            self.accepted(batch, now_us=now_us)

    def _held(self, name: str, batch: Batch) -> Held | None:
        if name not in self.heads:
            return None
        leaves = self.leaves[name][batch.first_seq : batch.size]
        note = self.notes.get((name, batch.size))
        return held_of(self.heads[name], self.documents, leaves, note)

    def _keep(self, new: Accepted, batch: Batch, now_us: int) -> None:
        note = cosign(KEYS.witness, WITNESS, batch.checkpoint, now_us // 1_000_000)
        held = self.heads.get(new.origin)
        self.heads[new.origin] = Head(
            new.origin,
            new.after,
            new.grant,
            new.operator_signature,
            note,
            now_us,
            new.live_us,
            new.next_slot_us,
            rotations=(*(held.rotations if held else ()), *new.rotations),
        )
        self.leaves[new.origin] = self.leaves.get(new.origin, ()) + new.leaves
        self.notes[new.origin, new.after.size] = note
        self.documents |= new.documents


def resigned(
    batch: Batch,
    contents: Sequence[Leaf | bytes],
    before: Edge,
    *,
    owner: Keys = KEYS,
    device: str = METER,
) -> Batch:
    """The batch with other leaves, taken as they are, under a true root and signature."""
    leaves = tuple(c if isinstance(c, bytes) else canonical_bytes(c) for c in contents)
    after = append(before, leaves)
    head = Checkpoint(origin(SITE, device, 1), after.size, root(after))
    return replace(batch, leaves=leaves, checkpoint=sign_checkpoint(owner.agent, head))
