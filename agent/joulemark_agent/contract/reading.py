"""A reading and its evidence form, the record; and the events that are leaves beside it.

A leaf is the canonical bytes of one record or one event. `seq` numbers every leaf of a
(device, epoch), so it is the leaf's index in the tree: contiguous means nothing is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from joulemark_agent.contract.canonical import canonical_bytes, written_bytes
from joulemark_agent.contract.signature import encode64, sign

VERSION = 1
SIMULATED, SYSTEM = "simulated", "system"  # the two clocks an epoch can have
_PATIENCE_US = 10_000_000
CLOCK_STEP_US = 500_000  # by so much two clocks part only where one of them was set


class Response(NamedTuple):
    """One checked reply: the data words as bytes, exactly as received."""

    table: str
    address: int
    data: bytes


@dataclass(frozen=True)
class TimeQuality:
    """What the agent knew of its clock: state and estimated error. [us]"""

    sync: str  # 'ntp', 'unsynchronised', 'simulated'
    error_us: int


def patience_us(period_us: int) -> int:
    """How long after its slot a device may still be asked: what comes later is of the next. [us]"""
    return min(_PATIENCE_US, period_us * 9 // 10)


class Instant(NamedTuple):
    """When something was, by both clocks of a computer."""

    boot: int  # monotonic time is comparable inside one boot only
    t_utc_us: int
    t_mono_us: int


def clock_step_us(before: Instant | None, after: Instant | None) -> int:
    """How far the clock was set between two instants; 0: it was not, or nobody can tell. [us]

    Both clocks of a computer run alike, also while a time service makes them faster or slower.
    """
    if before is None or after is None or before.boot != after.boot:
        return 0
    step_us = (after.t_utc_us - before.t_utc_us) - (after.t_mono_us - before.t_mono_us)
    return step_us if abs(step_us) > CLOCK_STEP_US else 0


def instant_of(record: Mapping[str, Any]) -> Instant | None:
    """When the record's reading was; None where its clock is simulated or its boot no number."""
    if record["tq"]["sync"] == SIMULATED or type(record["boot"]) is not int:
        return None
    mono_us = int(record["t_mono_ns"]) // 1000
    return Instant(record["boot"], int(record["t_utc_us"]), mono_us)


@dataclass(frozen=True)
class Reading:
    """What one device answered at one slot."""

    device: str
    slot_us: int  # when the read was due, UTC
    t_utc_us: int  # when it was read
    t_mono_ns: int  # monotonic clock, always wall time
    time_quality: TimeQuality
    responses: tuple[Response, ...]


@dataclass(frozen=True)
class Gap:
    """Slots of a device without a reading, and why."""

    device: str
    first_slot_us: int
    last_slot_us: int
    slots: int
    cause: str


def record_leaf(
    reading: Reading,
    *,
    epoch: int,
    seq: int,
    boot: int,
    values: dict[str, str],
    quality: dict[str, str],
) -> bytes:
    """The canonical bytes of a reading with its decoded values.

    Args:
        reading: the raw answer.
        epoch: epoch of the device's tree.
        seq: index of this leaf.
        boot: boot number of the agent.
        values: decimal text of each good or doubtful point.
        quality: code of each point that is not good.
    """
    return written_bytes(
        {
            "boot": boot,
            "dev": reading.device,
            "epoch": epoch,
            "q": quality,
            "raw": [[r.table, r.address, r.data.hex()] for r in reading.responses],
            "seq": str(seq),
            "slot": str(reading.slot_us),
            "t_mono_ns": str(reading.t_mono_ns),
            "t_utc_us": str(reading.t_utc_us),
            "tq": {
                "err_us": str(reading.time_quality.error_us),
                "sync": reading.time_quality.sync,
            },
            "v": VERSION,
            "val": values,
        }
    )


def event_leaf(kind: str, device: str, *, epoch: int, seq: int, fields: Mapping[str, Any]) -> bytes:
    """The canonical bytes of an event: `type` and the event's own fields beside the common ones."""
    common = {"dev": device, "epoch": epoch, "seq": str(seq), "type": kind, "v": VERSION}
    return canonical_bytes({**fields, **common})


def gap_fields(gap: Gap) -> dict[str, str]:
    """The fields of a `gap` event."""
    return {
        "cause": gap.cause,
        "first_slot": str(gap.first_slot_us),
        "last_slot": str(gap.last_slot_us),
        "slots": str(gap.slots),
    }


def grant(
    *,
    site: str,
    device: str,
    epoch: int,
    clock: str,
    agent: str,
    agent_key: bytes,
    first_slot_us: int | None,
    documents: Mapping[str, str],
) -> dict[str, Any]:
    """What the operator approves by signing: this agent's key may open this epoch of this device.

    Args:
        site: id of the site.
        device: id of the device.
        epoch: number of the epoch, from 1.
        clock: `simulated` or `system`.
        agent: id of the agent.
        agent_key: its public evidence key, 32 bytes.
        first_slot_us: first slot of a simulated epoch; None: the first after the start.
        documents: SHA-256 (hex) of the canonical `profile`, `site` and `factors`.
    """
    return {
        "agent": agent,
        "agent_key": encode64(agent_key),
        "clock": clock,
        "dev": device,
        "documents": dict(documents),
        "epoch": epoch,
        "first_slot": None if first_slot_us is None else str(first_slot_us),
        "site": site,
        "type": "grant",
        "v": VERSION,
    }


def signed_grant(content: Mapping[str, Any], operator_key: bytes) -> dict[str, Any]:
    """The grant with the operator's Ed25519 signature over its canonical bytes."""
    signature = sign(operator_key, canonical_bytes(dict(content)))
    return {"grant": dict(content), "operator_signature": encode64(signature)}


def gaps_merged(gaps: Sequence[Gap], period_us: int) -> list[Gap]:
    """Neighbouring gaps of one cause as one gap each."""
    merged: list[Gap] = []
    for gap in gaps:
        last = merged[-1] if merged else None
        if (
            last
            and (last.device, last.cause) == (gap.device, gap.cause)
            and gap.first_slot_us == last.last_slot_us + period_us
        ):
            merged[-1] = Gap(
                gap.device, last.first_slot_us, gap.last_slot_us, last.slots + gap.slots, gap.cause
            )
        else:
            merged.append(gap)
    return merged
