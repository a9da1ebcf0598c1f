"""What a store of evidence holds, takes and gives; each implementation is one file beside this one.

A store is append-only: a leaf that was accepted is never changed or removed. One accepted batch is
one transaction, and the head it extends is compared inside that transaction, so two collectors on
one store cannot make a fork.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from joulemark_agent.contract.rotation import Rotation, key_at
from joulemark_agent.contract.signature import decode64
from joulemark_agent.contract.sparse import Part
from joulemark_agent.contract.topics import parse_origin
from joulemark_agent.contract.tree import Edge, root


@dataclass(frozen=True)
class Head:
    """What is held of one tree, as of its last accepted batch."""

    origin: str
    edge: Edge
    grant: Mapping[str, Any]
    operator_signature: bytes
    note: str  # the last checkpoint, cosigned
    received_us: int  # when the last batch was accepted, wall time
    live_us: int | None  # when a batch last arrived fresh, see `ingest.verify`
    next_slot_us: int | None  # due next; None before the first, UNKNOWN_SLOT after a loss
    rotations: tuple[Rotation, ...] = ()  # changes of the agent's key, in order

    @property
    def size(self) -> int:
        """How many leaves are held."""
        return self.edge.size

    @property
    def root(self) -> bytes:
        """The root over them."""
        return root(self.edge)

    @property
    def epoch(self) -> int:
        """The epoch of the tree."""
        return parse_origin(self.origin)[2]

    @property
    def first_key(self) -> bytes:
        """The agent's key that the grant names."""
        return decode64(self.grant["agent_key"])

    def key_at(self, size: int) -> bytes:
        """The agent's key that signs the head of this size."""
        return key_at(self.first_key, self.rotations, size)


@dataclass(frozen=True)
class Accepted:
    """A batch found good: what it adds to the store, and the head it must be added to."""

    origin: str
    before: Edge
    after: Edge
    leaves: tuple[Part, ...]
    grant: Mapping[str, Any]
    operator_signature: bytes
    documents: Mapping[str, bytes]  # by digest; only with the batch that opens an epoch
    live_us: int | None
    next_slot_us: int | None
    flags: tuple[str, ...] = ()  # accepted all the same, see `ingest.verify`
    rotations: tuple[Rotation, ...] = ()  # changes of key among the leaves


@dataclass(frozen=True)
class StoredBatch:
    """One accepted batch without its leaves."""

    first_seq: int
    size: int  # of the tree after this batch
    note: str  # its checkpoint, cosigned
    received_us: int
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Quarantined:
    """A message that was refused and kept: excluded from everything, shown with its reason."""

    agent: str  # as the topic says; "" where it says none
    topic: str
    code: str
    what: str
    payload: bytes = field(repr=False)
    time_us: int


@dataclass(frozen=True)
class QuarantineCount:
    """How many messages of one agent were refused for one reason, and how many of them are kept."""

    agent: str
    code: str
    messages: int
    kept: int
    last_us: int


class EvidenceStore(Protocol):
    """Keeps accepted batches for ever and refused ones within limits."""

    def head(self, origin: str) -> Head | None:
        """What is held of this tree."""

    def heads(self) -> list[Head]:
        """What is held of every tree, by origin."""

    def sizes(self, origins: Collection[str]) -> dict[str, int]:
        """How many leaves are held of each of these trees; of what is not held nothing is said."""

    def latest(self, site: str, device: str) -> Head | None:
        """The tree of the device's highest epoch."""

    def leaves(self, origin: str, start: int = 0, end: int | None = None) -> list[bytes]:
        """Leaves start .. end - 1 of a tree, as far as they are held.

        Raises:
            EvidenceError: `withheld` where some of them are known by their covers only.
        """

    def parts(self, origin: str, start: int = 0, end: int | None = None) -> list[Part]:
        """The same, with runs of leaves that stay away; a run that is cut has no cover."""

    def fill(self, origin: str, first_seq: int, leaves: Sequence[bytes]) -> None:
        """Put the leaves of one batch in the place of its covers, durably.

        Raises:
            StoreError: `not_these` where they are other leaves, or none are missing there.
        """

    def batches(self, origin: str) -> list[StoredBatch]:
        """The accepted batches of a tree in order."""

    def notes(self, origin: str) -> list[str]:
        """The cosigned checkpoints of a tree in order."""

    def note_at(self, origin: str, size: int) -> str | None:
        """The cosigned checkpoint of the batch that ended at this size."""

    def documents(self) -> dict[str, bytes]:
        """Every approved document by digest."""

    def rotations(self) -> list[Rotation]:
        """Every change of key that was accepted in any tree."""

    def accept(self, batch: Accepted, *, note: str, received_us: int) -> None:
        """Add the batch and its cosigned note durably, or nothing.

        Raises:
            StoreError: `head_moved` where the head is not the one the batch was judged by.
        """

    def quarantine(self, item: Quarantined) -> None:
        """Keep a refused message durably, within the limits; counted in any case."""

    def quarantined(self) -> list[QuarantineCount]:
        """What was refused, by agent and reason."""

    def close(self) -> None:
        """Release the store."""
