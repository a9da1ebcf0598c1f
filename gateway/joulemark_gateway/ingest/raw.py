"""Raw records that come later: leaves for which covers stand in the store. Pure.

They are those of the tree if, after whatever edge stood before them, they give the edge that their
covers gave: then they stand under the head that was cosigned at the time. Whoever sends them, only
that counts. What they say is checked as if they had come then; what does not hold is quarantined,
and is proof of it: the head binds the agent to them.

| code | what does not hold |
|---|---|
| `raw_unknown` | no batch of these leaves is held |
| `raw_mismatch` | they are not the leaves that the cosigned head stands for |
"""

from __future__ import annotations

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.sparse import Withheld, is_same_tree, leaves_in
from joulemark_gateway.evidence import history
from joulemark_gateway.ingest.verify import Held


def judge_raw(batch: Batch, held: Held | None) -> bool:
    """Whether the leaves are new here; False: they are held already.

    Args:
        batch: as parsed from the wire.
        held: what the store holds of the batch's tree, and of its leaves; None: no such tree.

    Raises:
        EvidenceError: `raw_unknown`, `raw_mismatch`, or what does not hold of the leaves.
    """
    is_batch = held is not None and held.note is not None
    if held is None or not is_batch or leaves_in(held.leaves) != len(batch.leaves):
        what = f"no batch is held that has the leaves {batch.first_seq} to {batch.size - 1}"
        raise _refusal("raw_unknown", what)
    head, runs = held.head, [part for part in held.leaves if isinstance(part, Withheld)]
    if not all(run.hashes for run in runs):
        what = f"no batch of {head.origin} begins at leaf {batch.first_seq}"
        raise _refusal("raw_unknown", what)
    if not is_same_tree(batch.leaves, held.leaves, batch.first_seq):
        what = f"these are not the leaves from {batch.first_seq} on that {head.origin} stands for"
        raise _refusal("raw_mismatch", what)
    tree = history.parse_part(
        batch.leaves, batch.first_seq, head.grant, head.operator_signature, profile=held.profile
    )
    history.check_envelopes(tree)
    history.check_named_documents(tree)
    history.check_decode(tree, held.profile)
    return bool(runs)


def _refusal(code: str, what: str) -> EvidenceError:
    return EvidenceError(
        f"The raw records are refused: {what}.", "They are kept in quarantine.", code=code
    )
