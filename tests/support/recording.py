"""A recorder over a real outbox for tests, and what an outbox holds, read back from its bytes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.factor import FactorSet
from joulemark_agent.contract.reading import Gap, Reading, grant, signed_grant
from joulemark_agent.contract.signature import (
    Checkpoint,
    parse_checkpoint,
    parse_note,
    public_key,
)
from joulemark_agent.envelope import Carbon
from joulemark_agent.keys import Key
from joulemark_agent.outbox import Outbox, Sealed
from joulemark_agent.recorded import Limits, Observe, Recorded, Wall
from joulemark_agent.recorder import Recorder
from support import evidence

KEY = Key(evidence.KEYS.agent, public_key(evidence.KEYS.agent))
SOFTWARE = "5" * 64


@dataclass
class StoppedWall:
    """Wall time that moves only when a test moves it."""

    now_us: int = evidence.SEALED_US
    mono_s: float = 100.0

    def wall(self) -> Wall:
        """As the recorder wants it."""
        return Wall(lambda: self.now_us, lambda: int(self.mono_s * 1e9))


def recorded(
    site: evidence.Documents,
    device: str = evidence.METER,
    *,
    epoch: int = 1,
    key: Key = KEY,
    factors: Any = None,
) -> Recorded:
    """The device with a grant of the tests' operator."""
    content = grant(
        site=evidence.SITE,
        device=device,
        epoch=epoch,
        clock=site.clock,
        agent=evidence.AGENT,
        agent_key=key.public,
        first_slot_us=site.first_slot_us,
        documents=site.of(device),
    )
    return Recorded(
        profile=site.profile(device),
        period_us=site.period_us(device),
        grant=signed_grant(content, evidence.KEYS.operator),
        documents={
            "profile": site.profiles[device],
            "site": site.site,
            "factors": site.factors,
        },
        carbon=Carbon(
            factors or FactorSet.model_validate(parse_canonical(site.factors)),
            "ESG",
            "KR",
            ZoneInfo("Asia/Seoul"),
        ),
    )


def recorder(
    outbox: Outbox,
    *devices: Recorded,
    slots: int = 96,
    seconds: float = 5.0,
    wall: StoppedWall | None = None,
    key: Key = KEY,
    observe: Observe | None = None,
) -> Recorder:
    """A recorder whose wall time stands still unless the test moves it."""
    return Recorder(
        outbox,
        key,
        devices,
        limits=Limits(slots, seconds),
        software=SOFTWARE,
        observe=observe,
        wall=(wall or StoppedWall()).wall(),
    )


@dataclass
class Kept:
    """Everything an outbox holds of one (device, epoch)."""

    first_seq: int
    leaves: list[bytes] = field(default_factory=list)
    heads: list[Checkpoint] = field(default_factory=list)

    @property
    def contents(self) -> list[dict[str, Any]]:
        """The leaves, parsed."""
        return [parse_canonical(leaf) for leaf in self.leaves]

    def of_type(self, kind: str | None) -> list[dict[str, Any]]:
        """The events of a type; None: the records."""
        return [leaf for leaf in self.contents if leaf.get("type") == kind]


def kept(outbox: Outbox, device: str = evidence.METER, epoch: int = 1) -> Kept:
    """What the outbox holds of a tree, from the wire bytes of its batches and its open leaves."""
    batches = batches_of(outbox, device, epoch)
    tree = next(t for t in outbox.trees() if (t.device, t.epoch) == (device, epoch))
    found = Kept(batches[0].first_seq if batches else tree.sealed.size)
    for batch in batches:
        parsed = parse_batch(batch.payload)
        assert parsed.first_seq == found.first_seq + len(found.leaves), "batches are contiguous"
        found.leaves += parsed.leaves
        found.heads.append(parse_checkpoint(parse_note(parsed.checkpoint)[0]))
    found.leaves += outbox.open_leaves(device, epoch)
    return found


def batches_of(outbox: Outbox, device: str = evidence.METER, epoch: int = 1) -> Sequence[Sealed]:
    """The batches without receipt, in order."""
    found: list[Sealed] = []
    while (batch := outbox.next_batch(device, epoch, found[-1].size if found else 0)) is not None:
        found.append(batch)
    return found


def slots_read(results: Sequence[Reading | Gap]) -> list[int]:
    """The slots of readings."""
    return [result.slot_us for result in results if isinstance(result, Reading)]


def database(box: Outbox) -> sqlite3.Connection:
    """The outbox's own connection, to look and to harm."""
    assert box._files is not None
    assert box._files.file._db is not None
    return box._files.file._db


def slots_of(contents: Sequence[dict[str, Any]], period_us: int) -> list[int]:
    """Every slot that the leaves account for, in their order: records and the slots of gaps."""
    slots: list[int] = []
    for leaf in contents:
        if "type" not in leaf:
            slots.append(int(leaf["slot"]))
        elif leaf["type"] == "gap":
            slots += range(int(leaf["first_slot"]), int(leaf["last_slot"]) + 1, period_us)
    return slots


def state(folder: Path) -> Path:
    """Where tests put the outbox."""
    return folder / "state" / "outbox.db"
