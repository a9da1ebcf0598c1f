"""Step 3: the leaves hash to every head; each head is signed, cosigned and after the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.leaf import parse_leaf
from joulemark_agent.contract.revocation import Revoked, objection
from joulemark_agent.contract.rotation import Rotation, keys_of, rotations_in
from joulemark_agent.contract.signature import (
    Checkpoint,
    cosigned_at,
    decode64,
    encode64,
    is_log_signed,
    parse_checkpoint,
    parse_note,
)
from joulemark_agent.contract.sparse import Reel, Withheld, extended, present
from joulemark_agent.contract.topics import origin
from joulemark_agent.contract.tree import Edge, root
from joulemark_gateway.evidence.bundle import TreeFiles
from joulemark_gateway.evidence.history import grant_of
from joulemark_gateway.verify.case import Case, Place, readable
from joulemark_gateway.verify.finding import Finding, found
from joulemark_gateway.verify.policy import Policy, Signers

LAYER = "heads"


def check(case: Case, policy: Policy | None) -> list[Finding]:
    """Heads that the leaves, the agent, the witness or the statement do not bear out.

    Codes: `bad_note`, `head_origin`, `head_order`, `root_mismatch`, `bad_rotation`,
    `head_signature`, `revoked_key`, `cosignature_missing`, `tail_uncovered`, `envelope_head`,
    `known_head`, `statement_heads`.

    The first finding of a tree ends its examination: what follows a wrong head proves nothing. The
    heads that the verifier has seen before are compared in any case.
    """
    trusted = policy or case.claimed
    findings: list[Finding] = []
    heads = []
    for place, files in readable(case.files).items():
        if policy is not None:
            findings += _known(place, files, policy)
        try:
            last = _follow(place, files, trusted, policy.limits if policy else [])
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


def _follow(
    place: Place, files: TreeFiles, trusted: Signers | None, limits: Sequence[Revoked]
) -> Checkpoint:
    """The last head, after every one before it was found good."""
    name = f"{place[0]}/{place[1]}"
    grant, _ = grant_of(_first(files))
    keys, log = [decode64(grant["agent_key"])], origin(grant["site"], *place)
    rotations: list[Rotation] = []
    edge, last, reel = Edge(), Checkpoint(log, 0, root(Edge())), Reel(files.parts)
    for note in files.checkpoints:
        head = parse_checkpoint(parse_note(note)[0])
        if head.origin != log:
            raise _bad("head_origin", f"a head of {name} is of {head.origin}, not {log}")
        if not edge.size < head.size <= files.size:
            raise _bad("head_order", f"a head of {head.size} leaves follows {edge.size} in {name}")
        parts, start = reel.take(head.size), edge.size
        edge = extended(edge, parts)
        if root(edge) != head.root:
            raise _bad("root_mismatch", f"the first {head.size} leaves of {name} have another root")
        changes = rotations_in(present(parts, start), grant["site"])
        rotations += changes
        keys = keys_of(keys[0], rotations)
        if not is_log_signed(note, keys[-1]):
            raise _bad("head_signature", f"the agent did not sign the head {head.size} of {name}")
        signed = [(change.old_key, change.seq + 1) for change in changes]
        for key, size in (*signed, (keys[-1], head.size)):
            if (why := objection(limits, key, log, size)) is not None:
                raise _bad("revoked_key", why)
        if trusted is not None:
            _check_witnesses(note, trusted, f"{head.size} of {name}")
        if not isinstance(parts[-1], Withheld):  # the envelope of a lost batch is lost, too
            _check_envelope(parts[-1], last, name)
        last = head
    if edge.size != files.size:
        more = files.size - edge.size
        raise _bad("tail_uncovered", f"{more} leaves of {name} stand under no head")
    return last


def _first(files: TreeFiles) -> bytes:
    """The leaf that opens the tree.

    Raises:
        EvidenceError: `bad_sequence`: it is not here.
    """
    first = files.parts[0]
    if isinstance(first, Withheld):
        raise _bad("bad_sequence", f"the first leaf of {files.folder} is not here")
    return first


def _known(place: Place, files: TreeFiles, policy: Policy) -> list[Finding]:
    """The heads seen before that this tree does not contain; it may have grown since."""
    try:
        log = origin(grant_of(_first(files))[0]["site"], *place)
    except EvidenceError:
        return []  # the layer of records says so
    findings: list[Finding] = []
    edge, reel = Edge(), Reel(files.parts)
    seen = [head for head in policy.heads if head.origin == log]
    for head in sorted(seen, key=lambda head: head.size):
        try:
            edge = extended(edge, reel.take(head.size))
        except EvidenceError as error:
            return [*findings, found(error, LAYER)]
        if edge.size < head.size:
            what = f"{log} was seen with {head.size} leaves, and {edge.size} are here"
        elif encode64(root(edge)) != head.root:
            what = f"the first {head.size} leaves of {log} were seen with another root"
        else:
            continue
        findings.append(Finding("known_head", what, LAYER))
    return findings


def _check_witnesses(note: str, trusted: Signers, name: str) -> None:
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
