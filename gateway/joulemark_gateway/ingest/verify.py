"""Judges a batch by what is registered and what is held. Pure: no I/O, no clock.

Refused, kept in quarantine and answered with one of these codes:

| code | what does not hold |
|---|---|
| `bad_topic` `unknown_agent` `unknown_device` | the topic names nobody who is registered |
| `bad_batch` `not_canonical` `bad_leaf` `bad_note` `bad_origin` `bad_base64` | the form |
| `wrong_identity` | origin, topic and registry are not one agent, site and device |
| `bad_signature` | the checkpoint is not signed by the agent's key of this place alone |
| `bad_rotation` | a change of key that both keys did not sign, or one at another place |
| `revoked` | the key is revoked, and the head is above the size up to which it may sign |
| `unknown_version` | a leaf is of another major version |
| `bad_grant` `unknown_operator` | the epoch's grant is another's, or nobody registered signed it |
| `simulated_refused` `clock_mismatch` | a replay that is not allowed, or one that is not marked |
| `document_missing` `document_unexpected` `document_changed` `bad_document` | the documents |
| `bad_sequence` `bad_envelope` | leaves missing, repeated, foreign or miscounted |
| `decode_mismatch` | the raw words do not decode to the values beside them |
| `bad_root` | the leaves, appended to those held, do not give the signed root |
| `withheld_refused` `interval_record_missing` | leaves stay away that must not, see `sparse` |
| `fork` | the key signed two histories: same place, other bytes. A security alarm |

Answered only: `hole` (leaves before these are missing; send again from `expected_size`). It is
answered before the signature is known to be good: the leaves that are missing may change the key.

Accepted all the same, because the statement is the agent's own and refusing would destroy it, but
flagged for ever:

| flag | what was seen |
|---|---|
| `future` | a claimed time later than the receipt, by more than EPSILON_US |
| `spooled` | claimed times older than the receipt, but all later than the last fresh arrival |
| `back_dated` | claimed times before the last fresh arrival, or with none before: unexplained |
| `slot_missing` `slot_twice` `slot_unaligned` | slots are not readings + gaps, each once |
| `off_slot` | a reading was taken more than a period and 300 s away from its slot |
| `lost` | no leaf is left, only covers: a `discontinuity` must explain it |
| `epoch_skipped` | of epochs between the latest and this one nothing has arrived |
| `epoch_late` | a later epoch arrived before this one began to |

A batch arrives fresh if nothing it claims is older than EPSILON_US at its receipt; the time of the
last fresh arrival bounds how far an outage can explain late delivery (spec: the bound is [time of
the previous head - epsilon, receive time + epsilon]). In a simulated epoch only the sealing time,
which is wall time, is bounded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from joulemark_agent.contract.batch import parse_u64
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.factor import FactorSet
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import SIMULATED
from joulemark_agent.contract.rotation import (
    Rotation,
    keys_after,
)
from joulemark_agent.contract.signature import (
    Checkpoint,
    encode64,
    is_signed_by,
    parse_checkpoint,
    parse_note,
)
from joulemark_agent.contract.sparse import Part, Withheld, extended
from joulemark_agent.contract.topics import parse_origin
from joulemark_agent.contract.tree import Edge, root
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.base import Accepted, Head
from joulemark_gateway.evidence.withheld import UNKNOWN_SLOT, check_approved
from joulemark_gateway.ingest.registered import Registry, Sender, refusal
from joulemark_gateway.ingest.signing import Signed, check_place, signature_of
from joulemark_gateway.ingest.sparse import LOST, AnyBatch, agree, beyond, is_lost, parts_of

EPSILON_US = 300 * 1_000_000
HOLE, FORK = "hole", "fork"


@dataclass(frozen=True)
class Held:
    """What the store holds of the batch's tree."""

    head: Head
    profile: Profile
    period_us: int
    interval_us: int | None = None  # of committed evidence
    leaves: tuple[Part, ...] = ()  # those held from the batch's first leaf to its last
    note: str | None = None  # the cosigned note of the batch that ended where this one ends


@dataclass(frozen=True)
class Absorbed:
    """A batch that is held already, byte for byte: its receipt is the note given before."""

    origin: str
    note: str


@dataclass(frozen=True)
class Refused:
    """Why a batch is not taken, and how many leaves of its tree are held."""

    code: str
    what: str
    origin: str
    expected_size: int

    @property
    def is_kept(self) -> bool:
        """Whether the message goes to quarantine; a hole is ordinary and is not kept."""
        return self.code != HOLE


Verdict = Accepted | Absorbed | Refused


def claimed_head(batch: AnyBatch) -> Checkpoint:
    """The head a batch says it ends at; nothing of it is checked yet but its form.

    Raises:
        EvidenceError: `bad_note`, `bad_base64` or `bad_origin`.
    """
    claimed = parse_checkpoint(parse_note(batch.checkpoint)[0])
    parse_origin(claimed.origin)
    return claimed


def judge(
    batch: AnyBatch,
    *,
    registry: Registry,
    sender: Sender,
    held: Held | None,
    last_epoch: int,
    now_us: int,
    rotations: Collection[Rotation] = (),
) -> Verdict:
    """What to do with a batch.

    Args:
        batch: as parsed from the wire.
        registry: who may send.
        sender: who sent it according to the topic.
        held: what the store holds of the batch's tree; None where it holds nothing.
        last_epoch: the device's highest epoch held, 0 for none.
        now_us: wall time of the receipt, UTC. [us]
        rotations: every change of key that is held, of whatever tree.
    """
    origin, size = "", held.head.size if held else 0
    try:
        claimed = claimed_head(batch)
        origin = claimed.origin
        check_identity(claimed, sender)
        signed = signature_of(batch, held.head if held else None, sender.agent, rotations)
        signed.check_revoked(registry.revoked, origin, batch.size)
        if batch.first_seq > size:
            what = f"{origin} is held up to leaf {size}; the batch starts at {batch.first_seq}"
            return Refused(HOLE, what, origin, size)
        if signed.key is None:
            who = f"the key of {sender.agent.agent!r} alone"
            raise refusal("bad_signature", f"the checkpoint is not signed by {who}")
        if claimed.size != batch.size:
            what = f"the checkpoint is of {claimed.size} leaves, the batch ends at {batch.size}"
            raise refusal("bad_envelope", what)
        if held is None:
            keys = keys_after(sender.agent.key, rotations)
            held = _opened(batch, claimed, registry, sender, keys)
        elif (rest := beyond(batch, held.leaves, size)) is not None:
            batch = rest
        elif batch.first_seq < size:
            return _absorbed(batch, claimed, held)
        elif batch.documents:
            raise refusal("document_unexpected", "only the batch that opens an epoch carries any")
        _check_clock(held.head, registry)
        accepted = _accepted(batch, claimed, held, signed, now_us)
    except EvidenceError as error:
        return Refused(error.code, error.what, origin, size)
    if size == 0:
        flags = accepted.flags + _epoch_flags(held.head.epoch, last_epoch)
        return replace(accepted, flags=flags)
    return accepted


def held_of(
    head: Head,
    documents: Mapping[str, bytes],
    leaves: tuple[Part, ...] = (),
    note: str | None = None,
) -> Held:
    """A tree with the profile, period and interval its documents give it.

    Raises:
        EvidenceError: `bad_document` or `document_missing`.
    """
    tree = history.parse_part((), 0, head.grant, head.operator_signature)
    profile = history.profile_of(tree, documents)
    interval_us = history.interval_us_of(tree, documents)
    return Held(head, profile, history.period_us_of(tree, documents), interval_us, leaves, note)


def check_identity(claimed: Checkpoint, sender: Sender) -> None:
    """The head is of a tree of the device that the topic names.

    Raises:
        EvidenceError: `wrong_identity`.
    """
    agent = sender.agent
    site, device, _ = parse_origin(claimed.origin)
    if (site, device) != (agent.site, sender.device):
        raise refusal(
            "wrong_identity",
            f"the checkpoint is of {claimed.origin!r}, the topic of {sender.device!r} of agent "
            f"{agent.agent!r} at site {agent.site!r}",
        )


def _epoch_flags(epoch: int, last_epoch: int) -> tuple[str, ...]:
    """What is seen of the order of epochs; each is operator-signed, so none is refused for it."""
    if epoch == last_epoch + 1:
        return ()
    return ("epoch_skipped",) if epoch > last_epoch else ("epoch_late",)


def _check_clock(head: Head, registry: Registry) -> None:
    if head.grant["clock"] == SIMULATED and not registry.accept_simulated:
        what = "the epoch is a replay and accept_simulated is not true"
        raise refusal("simulated_refused", what)


def _absorbed(batch: AnyBatch, claimed: Checkpoint, held: Held) -> Verdict:
    """The verdict on a batch that starts before the end of its tree."""
    origin, size = held.head.origin, held.head.size
    if not agree(parts_of(batch), held.leaves, batch.first_seq):
        what = f"{origin} is held with other bytes at leaf {batch.first_seq} or after it"
        raise _fork(what)
    if batch.size > size or held.note is None:
        raise refusal("bad_envelope", "the batch does not start where the one before it ended")
    if parse_checkpoint(parse_note(held.note)[0]) != claimed:
        raise _fork(f"{origin} is held with another root at {batch.size} leaves")
    return Absorbed(origin, held.note)


def _opened(
    batch: AnyBatch,
    claimed: Checkpoint,
    registry: Registry,
    sender: Sender,
    keys: Collection[bytes],
) -> Held:
    """An empty tree whose grant was found good."""
    first = parts_of(batch)[0]
    if isinstance(first, Withheld):
        raise refusal("bad_sequence", "the leaf that opens the epoch is not here")
    grant, operator_signature = history.grant_of(first)
    agent = sender.agent
    site, device, epoch = parse_origin(claimed.origin)
    wanted = {
        "agent": agent.agent,
        "dev": device,
        "epoch": epoch,
        "site": site,
        "type": "grant",
        "v": 1,
    }
    wrong = [name for name, value in wanted.items() if grant[name] != value]
    if grant["agent_key"] not in map(encode64, keys):
        wrong.append("agent_key")
    if wrong:
        raise refusal("bad_grant", f"the grant is for another {' and '.join(wrong)}")
    signed = canonical_bytes(grant)
    if not any(is_signed_by(key, signed, operator_signature) for key in registry.operators):
        raise refusal("unknown_operator", "no registered operator signed the grant")
    tree = history.parse_part((), 0, grant, operator_signature)
    history.check_documents(tree, batch.documents)
    if surplus := set(batch.documents) - set(grant["documents"].values()):
        raise refusal("document_unexpected", f"the grant does not name {sorted(surplus)}")
    try:
        FactorSet.model_validate(parse_canonical(batch.documents[grant["documents"]["factors"]]))
    except ValueError as error:
        raise refusal("bad_document", f"the factors are none: {error}") from error
    head = Head(claimed.origin, Edge(), grant, operator_signature, "", 0, None, None)
    return held_of(head, batch.documents)


def _accepted(
    batch: AnyBatch,
    claimed: Checkpoint,
    held: Held,
    signed: Signed,
    now_us: int,
) -> Accepted:
    """The verdict on a batch that starts where its tree ends; it is good if nothing is raised."""
    head, parts = held.head, parts_of(batch)
    tree = history.parse_part(
        parts, head.size, head.grant, head.operator_signature, profile=held.profile
    )
    envelope = None if is_lost(batch) else _envelope(tree, batch, head)
    check_place(signed, tree.rotations, head)
    check_approved(tree, held.interval_us)
    history.check_envelopes(tree)
    history.check_named_documents(tree)
    history.check_decode(tree, held.profile)
    if tree.clock != SIMULATED and SIMULATED in tree.columns.sync:
        raise refusal("clock_mismatch", "a reading of simulated time in an epoch of real time")
    after = extended(head.edge, parts)
    if root(after) != claimed.root:
        raise refusal("bad_root", "the leaves held and these do not give the signed root")
    flags: tuple[str, ...] = (LOST,)
    live_us = head.live_us
    next_slot_us: int | None = UNKNOWN_SLOT
    if envelope is not None:
        time_flags, live_us = _times(tree, envelope, head, now_us)
        slot_flags, next_slot_us = _slots(tree, envelope, held)
        flags = time_flags + slot_flags
    return Accepted(
        origin=head.origin,
        before=head.edge,
        after=after,
        leaves=parts,
        grant=head.grant,
        operator_signature=head.operator_signature,
        documents=batch.documents,
        live_us=live_us,
        next_slot_us=next_slot_us,
        flags=flags,
        rotations=tree.rotations,
    )


def _envelope(tree: history.Tree, batch: AnyBatch, head: Head) -> Mapping[str, Any]:
    """The fields of the one envelope, which is the last leaf and names the head held."""
    if [envelope.seq for envelope in tree.envelopes] != [batch.size - 1]:
        raise refusal("bad_envelope", "the batch must hold one envelope, as its last leaf")
    fields = tree.envelopes[0].fields
    previous = fields.get("previous")
    if not isinstance(previous, dict) or previous.get("size") != str(head.size):
        raise refusal("bad_envelope", f"the envelope does not follow a head of {head.size} leaves")
    if previous.get("root") != encode64(head.root):
        raise _fork(f"the envelope names another head of {head.size} leaves than the one held")
    return fields


def _times(
    tree: history.Tree, envelope: Mapping[str, Any], head: Head, now_us: int
) -> tuple[tuple[str, ...], int | None]:
    """The flags of the times claimed, and the time of the last fresh arrival."""
    try:
        sealed_us = parse_u64(envelope.get("sealed_us"), "sealed_us")
    except EvidenceError as error:
        raise refusal("bad_envelope", "the envelope does not say when it was sealed") from error
    claimed_us, gap_ends_us = [sealed_us], [sealed_us]
    if tree.clock != SIMULATED:
        claimed_us += [*tree.columns.t_utc_us.tolist(), *tree.columns.slot_us.tolist()]
        gap_ends_us += [gap.last_slot_us for _, gap in tree.gaps]
    flags: tuple[str, ...] = ()
    if max(claimed_us + gap_ends_us) > now_us + EPSILON_US:
        flags = ("future",)
    oldest_us = min(claimed_us)
    if oldest_us >= now_us - EPSILON_US:
        return flags, now_us
    if head.live_us is not None and oldest_us >= head.live_us - EPSILON_US:
        return (*flags, "spooled"), head.live_us
    return (*flags, "back_dated"), head.live_us


def _slots(
    tree: history.Tree, envelope: Mapping[str, Any], held: Held
) -> tuple[tuple[str, ...], int | None]:
    """The flag of the slots that are not accounted for, and the slot due next."""
    due_us, last_slot = held.head.next_slot_us, envelope["last_slot"]
    try:
        history.check_slots(tree, held.period_us, due_us)
    except EvidenceError as error:
        flags: tuple[str, ...] = (error.code,)
    else:
        flags = ()
    return flags, due_us if last_slot is None else int(last_slot) + held.period_us


def _fork(what: str) -> EvidenceError:
    return refusal(FORK, what)
