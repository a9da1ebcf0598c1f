"""Whose key signed a batch, and whether it may sign at this place. Pure.

The agent's key is the registered one or one that it was changed for in a tree that is held here; a
tree that is held goes on with the key that its grant and its own changes of key name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from joulemark_agent.contract.revocation import Revoked, objection
from joulemark_agent.contract.rotation import (
    Rotation,
    keys_after,
    keys_of,
    linked_keys,
    rotations_in,
    signer_of,
)
from joulemark_agent.contract.signature import parse_note
from joulemark_agent.contract.sparse import Withheld
from joulemark_gateway.evidence.base import Head
from joulemark_gateway.ingest.registered import Agent, refusal
from joulemark_gateway.ingest.sparse import AnyBatch, parts_of


@dataclass(frozen=True)
class Signed:
    """What the signature of a batch says; whether it stands at its place is seen later."""

    key: bytes | None  # of the agent, which alone signed; None: no key of the agent did
    changes: tuple[Rotation, ...]  # the change of key that stands right before the envelope

    def check_revoked(self, revoked: Collection[Revoked], origin: str, size: int) -> None:
        """Refuse what a revoked key signed above its size: the head, or a change of key.

        Raises:
            EvidenceError: `revoked`.
        """
        signed = [(change.old_key, change.seq + 1) for change in self.changes]
        for key, at in [*signed, (self.key, size)]:
            if key is not None and (why := objection(revoked, key, origin, at)) is not None:
                raise refusal("revoked", why)


def signature_of(
    batch: AnyBatch, head: Head | None, agent: Agent, rotations: Iterable[Rotation]
) -> Signed:
    """Which key of the agent signed a batch of a tree of which this head is held, if any is.

    Raises:
        EvidenceError: `bad_rotation`.
    """
    last = [leaf for leaf in parts_of(batch)[-2:-1] if not isinstance(leaf, Withheld)]
    own = rotations_in([(batch.size - 2, leaf) for leaf in last], agent.site)
    known, key = [*rotations, *own], None
    first = agent.key if head is None else head.first_key
    is_alone = len(parse_note(batch.checkpoint)[1]) == 1
    # A tree of another key was opened before the agent was registered with this one.
    if is_alone and first in linked_keys(agent.key, known):
        key = signer_of(batch.checkpoint, keys_after(first, known))
    return Signed(key, tuple(own))


def check_place(signed: Signed, changes: Sequence[Rotation], head: Head) -> None:
    """Refuse a batch whose signer is not the last in the row of keys of its tree.

    Args:
        signed: what its signature says.
        changes: every change of key among its leaves.
        head: the head that it extends.

    Raises:
        EvidenceError: `bad_rotation` or `bad_signature`.
    """
    if tuple(changes) != signed.changes:
        raise refusal("bad_rotation", "a change of key does not stand right before the envelope")
    if keys_of(head.first_key, [*head.rotations, *changes])[-1] != signed.key:
        raise refusal("bad_signature", "the checkpoint is signed by a key that was replaced")
