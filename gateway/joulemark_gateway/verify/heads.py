"""Step 3: the leaves hash to every head; each head is signed, cosigned and after the last."""

from __future__ import annotations

from typing import Any

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import (
    Checkpoint,
    cosigned_at,
    decode64,
    encode64,
    is_log_signed,
    parse_checkpoint,
    parse_note,
)
from joulemark_agent.contract.topics import origin
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_gateway.evidence.bundle import TreeFiles
from joulemark_gateway.evidence.history import grant_of, parse_leaf
from joulemark_gateway.verify.case import Case, Place, readable
from joulemark_gateway.verify.finding import Finding, found
from joulemark_gateway.verify.policy import Policy

LAYER = "heads"


def check(case: Case, policy: Policy | None) -> list[Finding]:
    """Heads that the leaves, the agent, the witness or the statement do not bear out.

    Codes: `bad_note`, `head_origin`, `head_order`, `root_mismatch`, `head_signature`,
    `cosignature_missing`, `tail_uncovered`, `envelope_head`, `statement_heads`.

    The first finding of a tree ends its examination: what follows a wrong head proves nothing.
    """
    trusted = policy or case.claimed
    findings: list[Finding] = []
    heads = []
    for place, files in readable(case.files).items():
        try:
            last = _follow(place, files, trusted)
        except EvidenceError as error:
            findings.append(found(error, LAYER))
        else:
            size, text = str(last.size), encode64(last.root)
            heads.append({"origin": last.origin, "root": text, "size": size})
    if not findings and not isinstance(case.statement, EvidenceError):
        claimed = case.statement.predicate.get("heads")
        if claimed != sorted(heads, key=lambda head: head["origin"]):
            findings.append(
                Finding("statement_heads", "the statement names other heads than these", LAYER)
            )
    return findings


def _follow(place: Place, files: TreeFiles, trusted: Policy | None) -> Checkpoint:
    """The last head, after every one before it was found good."""
    name = f"{place[0]}/{place[1]}"
    grant, _ = grant_of(files.leaves[0])
    key, log = decode64(grant["agent_key"]), origin(grant["site"], *place)
    edge, last = Edge(), Checkpoint(log, 0, root(Edge()))
    for note in files.checkpoints:
        head = parse_checkpoint(parse_note(note)[0])
        if head.origin != log:
            raise _bad("head_origin", f"a head of {name} is of {head.origin}, not {log}")
        if not edge.size < head.size <= len(files.leaves):
            raise _bad("head_order", f"a head of {head.size} leaves follows {edge.size} in {name}")
        envelope = files.leaves[head.size - 1]
        edge = append(edge, files.leaves[edge.size : head.size])
        if root(edge) != head.root:
            raise _bad("root_mismatch", f"the first {head.size} leaves of {name} have another root")
        if not is_log_signed(note, key):
            raise _bad("head_signature", f"the agent did not sign the head {head.size} of {name}")
        if trusted is not None:
            _check_witnesses(note, trusted, f"{head.size} of {name}")
        _check_envelope(envelope, last, name)
        last = head
    if edge.size != len(files.leaves):
        more = len(files.leaves) - edge.size
        raise _bad("tail_uncovered", f"{more} leaves of {name} stand under no head")
    return last


def _check_witnesses(note: str, trusted: Policy, name: str) -> None:
    seen = {
        witness.name
        for witness in trusted.witnesses
        if cosigned_at(note, witness.name, decode64(witness.key)) is not None
    }
    if len(seen) < trusted.quorum:
        raise _bad(
            "cosignature_missing",
            f"{len(seen)} of the {trusted.quorum} witnesses needed cosigned the head {name}",
        )


def _check_envelope(leaf: bytes, before: Checkpoint, name: str) -> None:
    """The last leaf under a head is the envelope of its batch, which starts at the head before."""
    content: dict[str, Any] = parse_leaf(leaf)
    previous, first_seq = content.get("previous"), content.get("first_seq")
    wanted = {"root": encode64(before.root), "size": str(before.size)}
    is_next = (previous, first_seq) == (wanted, str(before.size))
    if content.get("type") != "batch" or not is_next:
        raise _bad("envelope_head", f"the envelope after {before.size} leaves of {name} is wrong")


def _bad(code: str, what: str) -> EvidenceError:
    return EvidenceError(what, "Compare with the witness's copy.", code=code)
