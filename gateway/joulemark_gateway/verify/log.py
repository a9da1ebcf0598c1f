"""Step 9: the collector's log is whole, signed and witnessed, and says of the trees what they are.

Everything in the bundle stands under the newest head of the log. Whoever rewrites a tree, with the
collector's database and key, makes another log: its witnesses have cosigned the true one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import (
    COSIGNATURE,
    Checkpoint,
    cosigned_at,
    decode64,
    is_log_signed,
    key_id,
    parse_checkpoint,
    parse_note,
)
from joulemark_agent.contract.sparse import extended
from joulemark_agent.contract.topics import parse_origin
from joulemark_agent.contract.tree import Edge, root
from joulemark_gateway.evidence.account import Account, LogFiles
from joulemark_gateway.evidence.bundle import FIRST_FORMAT, TreeFiles
from joulemark_gateway.evidence.entries import APPROVAL, GRANT, grant_content, log_origin
from joulemark_gateway.evidence.history import Tree
from joulemark_gateway.verify.case import Case, readable
from joulemark_gateway.verify.finding import Finding, found
from joulemark_gateway.verify.policy import Policy, Signers

LAYER = "log"


@dataclass(frozen=True)
class _Walked:
    """How many leaves there are, and the roots at the sizes that were asked for."""

    size: int
    roots: Mapping[int, bytes]


def check(case: Case, policy: Policy | None) -> list[Finding]:
    """What the log does not bear out.

    Codes: `log_missing`, `log_origin`, `log_order`, `log_root`, `log_uncovered`, `log_signature`,
    `log_cosignature_missing`, `known_head`, `log_sequence`, `log_head`, `log_epoch`, `log_grant`,
    and those of reading it, `log_entry` among them.
    """
    files, account = case.log, case.account
    if files is None or account is None:
        return _missing(case, policy)
    if isinstance(files, EvidenceError) or isinstance(account, EvidenceError):
        error = account if isinstance(account, EvidenceError) else files
        assert isinstance(error, EvidenceError)
        return [found(error, LAYER)]
    known = policy.heads if policy else []
    try:
        origin = _origin(account)
        seen = [(head.size, decode64(head.root)) for head in known if head.origin == origin]
        sizes = [size for size, _ in seen] + [head.size for head in account.heads]
        walked = _walk(files, sizes)
        _check_heads(account, walked)
        _check_signers(account, policy or case.claimed)
    except EvidenceError as error:
        return [found(error, LAYER)]
    findings = [
        Finding("known_head", f"{origin} was seen with {size} leaves and another root", LAYER)
        if size in walked.roots
        else Finding("known_head", f"the head of {size} leaves of {origin} is not shown", LAYER)
        for size, known_root in seen
        if walked.roots.get(size) != known_root
    ]
    return [*findings, *_check_entries(case, account)]


def _missing(case: Case, policy: Policy | None) -> list[Finding]:
    """The first format has no log, which a policy may not accept."""
    ours = {log_origin(witness.name) for witness in policy.witnesses} if policy else set()
    is_wanted = policy and (
        policy.log_quorum or policy.authorities or ours & {head.origin for head in policy.heads}
    )
    if case.bundle.format == FIRST_FORMAT and not is_wanted:
        return []
    return [Finding("log_missing", "there is no part of the collector's log here", LAYER)]


def _origin(account: Account) -> str:
    origins = sorted({head.origin for head in account.heads})
    if len(origins) != 1:
        raise _bad("log_origin", f"the heads are of {len(origins)} logs, not of one")
    return origins[0]


def _walk(files: LogFiles, wanted: Iterable[int]) -> _Walked:
    sizes, roots, edge = frozenset(wanted), {}, Edge()
    for part in files.parts:
        edge = extended(edge, (part,))
        if edge.size in sizes:
            roots[edge.size] = root(edge)
    return _Walked(edge.size, roots)


def _check_heads(account: Account, walked: _Walked) -> None:
    size = 0
    for head in account.heads:
        if head.size <= size:
            raise _bad("log_order", f"a head of {head.size} leaves follows one of {size}")
        if walked.roots.get(head.size) != head.root:
            raise _bad("log_root", f"the first {head.size} leaves have another root")
        size = head.size
    if size != walked.size:
        raise _bad("log_uncovered", f"the last {walked.size - size} leaves stand under no head")


def _check_signers(account: Account, trusted: Signers | None) -> None:
    """Every head is signed by the collector, the newest cosigned by enough others."""
    if trusted is None:
        return
    origin = account.newest.origin
    keys = [decode64(w.key) for w in trusted.witnesses if log_origin(w.name) == origin]
    if not keys:
        raise _bad("log_origin", f"{origin} is the log of no collector that is trusted")
    for head, note in zip(account.heads, account.notes, strict=True):
        if not any(is_log_signed(note, key) for key in keys):
            raise _bad("log_signature", f"the collector did not sign the head of {head.size}")
    if false := _made_up(account, trusted):
        what = f"the newest head bears a line in the name of {false[0]} that is not the witness's"
        raise _bad("log_cosignature_missing", what)
    seen = witnesses_of(account, trusted)
    if len(seen) < trusted.log_quorum:
        raise _bad(
            "log_cosignature_missing",
            f"{len(seen)} of the {trusted.log_quorum} witnesses needed cosigned the newest head",
        )


def witnesses_of(account: Account, trusted: Signers) -> dict[str, int]:
    """Who of the witnesses of the log cosigned the newest head, and when (POSIX seconds)."""
    note = account.notes[-1]
    times = [
        (item.name, cosigned_at(note, item.name, decode64(item.key)))
        for item in trusted.log_witnesses
    ]
    return {name: time_s for name, time_s in times if time_s is not None}


def _made_up(account: Account, trusted: Signers) -> list[str]:
    """The witnesses of the log whose name stands at the newest head in a line of another key.

    The report prints every line; those of names that nobody here knows the verdict calls unchecked.
    """
    note, rows = account.notes[-1], trusted.log_witnesses
    true = {
        (item.name, key_id(item.name, COSIGNATURE, decode64(item.key)))
        for item in rows
        if cosigned_at(note, item.name, decode64(item.key)) is not None
    }
    names = {item.name for item in rows}
    lines = [line for line in account.cosignatures() if line.name in names]
    return sorted(line.name for line in lines if (line.name, line.key_id) not in true)


def _check_entries(case: Case, account: Account) -> list[Finding]:
    """What was logged, against the trees that are here."""
    trees, files = readable(case.trees), readable(case.files)
    sites = {tree.site for tree in trees.values()}
    for n, entry in enumerate(account.entries):
        if entry.n != n or {entry.site} != sites:
            what = f"leaf {entry.position} is number {entry.n} of {entry.site}, not {n} of the site"
            return [Finding("log_sequence", what, LAYER)]
    approvals = [e.fields for e in account.entries if e.kind == APPROVAL]
    approved = [fields["content"] for fields in approvals if fields["what"] == GRANT]
    last = account.last_heads()
    findings: list[Finding] = []
    for place, tree in trees.items():
        if grant_content(tree.origin, tree.grant) not in approved:
            what = f"the log does not know the grant of {tree.origin}"
            findings.append(Finding("log_grant", what, LAYER))
        findings += _check_tree(account, tree, files[place], last.get(tree.origin))
    epochs = dict(sorted(trees))
    for origin in sorted(last):
        _, device, epoch = parse_origin(origin)
        if epoch > epochs.get(device, epoch):
            what = f"the log knows {origin}, which comes after what is here"
            findings.append(Finding("log_epoch", what, LAYER))
    return findings


def _check_tree(
    account: Account, tree: Tree, files: TreeFiles, last: Checkpoint | None
) -> list[Finding]:
    """Every head that was logged of a tree is one of its own, and the last is its last."""
    try:
        heads = [parse_checkpoint(parse_note(note)[0]) for note in files.checkpoints]
    except EvidenceError:
        return []  # the layer of heads says so
    known = set(heads)
    for entry in account.entries:
        for head in entry.heads:
            if head.origin == tree.origin and head not in known:
                what = f"leaf {entry.position} knows {head.size} leaves of {tree.origin} otherwise"
                return [Finding("log_head", what, LAYER)]
    if not heads or heads[-1] != last:
        size = last.size if last else 0
        what = f"the log names {size} leaves of {tree.origin} last, not those that are here"
        return [Finding("log_head", what, LAYER)]
    return []


def _bad(code: str, what: str) -> EvidenceError:
    return EvidenceError(
        f"The collector's log does not hold: {what}.",
        "Compare with the copy of a witness of the log.",
        code=code,
    )
