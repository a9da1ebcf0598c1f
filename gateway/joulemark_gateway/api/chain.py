"""The way from one record to those who vouch for it: leaf, path, signed head, witness, log.

Everything that is said to hold is computed here from the bytes that are shown, and a reader can
compute it again from the downloads. Whose the keys are, nobody learns here.
"""

from __future__ import annotations

from dataclasses import dataclass

from joulemark_agent.contract.signature import (
    decode64,
    fingerprint,
    is_log_signed,
    parse_checkpoint,
    parse_note,
)
from joulemark_agent.contract.tree import leaf_hash
from joulemark_gateway.api import models, records
from joulemark_gateway.api.answers import Open, head_of, leaf_answer
from joulemark_gateway.evidence.base import Head
from joulemark_gateway.evidence.entries import parse_entry
from joulemark_gateway.evidence.log_store import LogHead
from joulemark_gateway.evidence.proof import Joined, joined_up, root_of_path


@dataclass(frozen=True)
class InLog:
    """Where the collector's own log names a head, and who has seen that."""

    origin: str
    position: int  # of the leaf that names it
    logged_us: int
    named_size: int  # of the tree, as the log names it
    head: LogHead | None  # the first signed head over that leaf; None: not closed yet
    witnesses: tuple[str, ...]
    stamps: tuple[str, ...]  # authorities whose time stamp is over the head


@dataclass(frozen=True)
class Chain:
    """One record with all that stands above it."""

    proof: models.Proof
    leaf: models.Leaf
    size_bytes: int
    hash_holds: bool
    steps: tuple[Joined, ...]  # none where the path fits no tree of that size
    root_hex: str  # of the signed head
    root_holds: bool  # the steps end in it
    agent_fingerprint: str
    agent_holds: bool
    cosigned_s: int | None  # by this collector
    others: tuple[str, ...]  # names of further signatures, which are not checked here
    log: InLog | None


def chain_of(read: Open, site: str, name: str, seq: int, epoch: int | None) -> Chain:
    """The chain of one leaf.

    Raises:
        Problem: there is no such device, epoch or leaf.
        EvidenceError: the tree is too long for a proof, or the leaf is not here.
    """
    head = head_of(read, site, name, seq, epoch)
    given = models.Proof(**records.proof_of(read.store, head, seq, read.witness))
    data = given.leaf.encode()
    path = [bytes.fromhex(text) for text in given.path_sha256]
    steps = joined_up(data, seq, given.tree_size, path)
    text, signatures = parse_note(given.checkpoint)
    checkpoint = parse_checkpoint(text)
    key = decode64(given.agent_key)
    over = records.checkpoint_over(read.store, head, seq, read.witness)
    root = root_of_path(data, seq, given.tree_size, path)
    is_named = (checkpoint.origin, checkpoint.size) == (given.origin, given.tree_size)
    known = {given.origin, read.sources.name}
    return Chain(
        proof=given,
        leaf=leaf_answer(site, name, head.epoch, records.leaf_of(data, seq)),
        size_bytes=len(data),
        hash_holds=leaf_hash(data).hex() == given.leaf_sha256,
        steps=tuple(steps or ()),
        root_hex=checkpoint.root.hex(),
        root_holds=is_named and root == checkpoint.root,
        agent_fingerprint=fingerprint(key),
        agent_holds=is_log_signed(given.checkpoint, key),
        cosigned_s=over.cosigned_s,
        others=tuple(sorted({one.name for one in signatures} - known)),
        log=in_log(read, head, given.tree_size),
    )


def in_log(read: Open, head: Head, size: int) -> InLog | None:
    """Where the collector's log names the tree at this size or larger first; None: nowhere."""
    with read.sources.evidence.log(write=False) as log:
        origin = log.origin
        if origin is None:
            return None
        for position, data in log.of_site(str(head.grant["site"])):
            entry = parse_entry(data, position)
            named = [one for one in entry.heads if one.origin == head.origin and one.size >= size]
            if not named:
                continue
            over = next((one for one in log.heads(position + 1) if one.size > position), None)
            tokens = log.tokens() if over is not None else []
            return InLog(
                origin,
                position,
                entry.time_us,
                named[0].size,
                over,
                tuple(sorted(over.cosignatures)) if over is not None else (),
                tuple(one.authority for one in tokens if over and one.size == over.size),
            )
    return None
