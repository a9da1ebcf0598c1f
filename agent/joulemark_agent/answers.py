"""What the collector says to an agent, and whether it is the collector's word. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from joulemark_agent.contract.batch import parse_u64
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import (
    MAX_SIZE,
    Checkpoint,
    cosigned_at,
    is_log_signed,
    parse_checkpoint,
    parse_note,
)
from joulemark_agent.contract.topics import parse_origin

HOLE, FORK = "hole", "fork"
RESEND = "resend"  # from a collector that has just connected


@dataclass(frozen=True)
class Collector:
    """Whose receipts count, and for whose heads."""

    site: str
    agent: str
    name: str
    key: bytes  # the collector's public key, pinned in the site file
    own_keys: tuple[bytes, ...] = ()  # the agent's public keys, of now and of former days


@dataclass(frozen=True)
class Receipt:
    """A note about a head of ours; who signed it is to be checked against the batch."""

    device: str
    head: Checkpoint
    epoch: int
    note: str


@dataclass(frozen=True)
class Refusal:
    """Why a batch is not taken, and from where to go on."""

    epoch: int
    code: str
    what: str
    expected_size: int | None
    held: str | None  # the cosigned note of the head that the collector holds, with a fork


def parse_receipt(device: str, note: str, collector: Collector) -> Receipt:
    """The receipt on a device's topic.

    Raises:
        EvidenceError: it is none, or about another site or device.
    """
    head = parse_checkpoint(parse_note(note)[0])
    site, named, epoch = parse_origin(head.origin)
    if (site, named) != (collector.site, device):
        raise forged(f"it is about {head.origin!r}")
    return Receipt(device, head, epoch, note)


def check_receipt(receipt: Receipt, checkpoint: str, collector: Collector) -> None:
    """Refuse a receipt that is not the collector's for this checkpoint of ours.

    Raises:
        EvidenceError: it is not.
    """
    (ours, our_signatures), (text, signatures) = parse_note(checkpoint), parse_note(receipt.note)
    if ours != text:
        raise forged(f"its root of size {receipt.head.size} is not ours")
    if not set(our_signatures) <= set(signatures):  # whichever of our keys it was that signed
        raise forged("it does not carry our own signature")
    _check_cosigned(receipt.note, collector)


def parse_refusal(device: str, payload: bytes, collector: Collector) -> Refusal:
    """The refusal on a device's topic.

    Raises:
        EvidenceError: it is none, or about another site or device.
    """
    content = parse_canonical(payload)
    if not isinstance(content, dict) or not {"origin", "code", "what"} <= set(content):
        raise forged("it is no refusal")
    site, named, epoch = parse_origin(str(content["origin"]))
    if (site, named) != (collector.site, device):
        raise forged(f"it is about {str(content['origin'])[:80]!r}")
    code, held = str(content["code"])[:40], content.get("held")
    expected = content.get("expected_size") if code == HOLE else None
    return Refusal(
        epoch,
        code,
        str(content["what"])[:200],
        None if expected is None else min(parse_u64(expected, "expected_size"), MAX_SIZE),
        held if isinstance(held, str) else None,
    )


def own_head(held: str, device: str, epoch: int, collector: Collector) -> Checkpoint | None:
    """The head of a note that the collector holds, if a key of ours signed it; None: it did not.

    Raises:
        EvidenceError: it is no note of this tree that the collector has cosigned.
    """
    receipt = parse_receipt(device, held, collector)
    if receipt.epoch != epoch:
        raise forged("it is about another epoch")
    _check_cosigned(held, collector)
    is_ours = any(is_log_signed(held, key) for key in collector.own_keys)
    return receipt.head if is_ours else None


def forged(why: str) -> EvidenceError:
    """What came is not the collector's word."""
    return EvidenceError(f"{why}.", "Look for who published it.", code="not_a_receipt")


def _check_cosigned(note: str, collector: Collector) -> None:
    if cosigned_at(note, collector.name, collector.key) is None:
        raise forged(f"{collector.name!r} did not sign it with the pinned key")
