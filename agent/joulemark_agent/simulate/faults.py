"""Faults as data: when a device of the virtual factory misbehaves, and how; drawn from a seed.

What each kind does, and what an agent should say of it: docs/simulator.md.
Nothing here opens anything: a fault is a function of its data, the seed and where the clock stands.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from joulemark_agent.contract.profile import Exact

WireKind = Literal[
    "dead", "slow", "late", "short", "long", "wrong_function", "wrong_unit", "wrong_transaction",
    "crc", "drip_fed", "two_answers", "garbage_prefix", "exception", "closed",
]  # fmt: skip
ValueKind = Literal["sentinel", "false_zero", "counter_reset", "rollover"]
OpcUaKind = Literal["clock_step", "opcua_restart", "shrunk"]
WIRE, VALUE, OPCUA = (set(get_args(kind)) for kind in (WireKind, ValueKind, OpcUaKind))
FOR_GOOD = {"counter_reset", "rollover"}
_DELAYED = {"slow", "late"}

Number = Annotated[int, Field(ge=0, le=10**9)]


class Fault(BaseModel):
    """One line of a scenario's `faults`: what happens to one device, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: WireKind | ValueKind | OpcUaKind
    unit: int | None = Field(default=None, ge=1, le=247)  # none: the furnace, over OPC UA
    by: Literal["slot", "second"] = "slot"  # what is counted; seconds since serving began
    first: Number
    count: int = Field(default=1, ge=1, le=10**9)
    probability: Exact = Field(default=Decimal(1), gt=0, le=1)  # of each of them
    point: str = ""
    code: int = Field(default=0, ge=0, le=255)
    delay_s: Exact = Field(default=Decimal(0), ge=0, le=60)
    step_s: int = 0

    @model_validator(mode="after")
    def _makes_sense(self) -> Fault:
        for key, is_wanted in (
            ("point", self.kind in VALUE or self.kind == "shrunk"),
            ("code", self.kind == "exception"),
            ("delay_s", self.kind in _DELAYED),
            ("step_s", self.kind == "clock_step"),
        ):
            if bool(getattr(self, key)) != is_wanted:
                raise ValueError(f"{self.kind} {'needs' if is_wanted else 'has no'} '{key}'")
        if (self.unit is None) != (self.kind in OPCUA):
            raise ValueError(f"{self.kind} is of {'the furnace' if self.unit else 'a unit'}")
        if self.kind in FOR_GOOD and (self.count != 1 or self.probability != 1):
            raise ValueError(f"{self.kind} happens once, at 'first', and stays")
        if self.kind in FOR_GOOD | OPCUA and self.by == "second":
            raise ValueError(f"{self.kind} is counted by slot")
        return self

    def holds(self, seed: int, at: int) -> bool:
        """Whether it is so at this slot, or second."""
        if not self.first <= at < self.first + self.count:
            return False
        # Python promises this stream for ever, from a text as well.
        draw = random.Random(f"{seed}/{self.unit}/{self.kind}/{self.first}/{at}")
        return self.probability == 1 or draw.random() < self.probability


class Faults(BaseModel):
    """The `faults` of a scenario."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(ge=0, lt=2**32)
    plan: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Injected:
    """A fault that a client has really met."""

    slot: int
    slot_us: int
    unit: int | None
    kind: str
    point: str = ""
    code: int = 0


class Record:
    """What was injected, each once a slot; a test compares it with what the agent recorded."""

    def __init__(self) -> None:
        self._seen: dict[Injected, None] = {}

    def add(self, injected: Injected) -> None:
        """It has happened."""
        self._seen[injected] = None

    def all(self) -> list[dict[str, Any]]:
        """In the order in which they happened; what does not apply is left out."""
        return [
            {key: value for key, value in asdict(one).items() if value not in ("", 0, None)}
            | {"slot": one.slot}
            for one in self._seen
        ]


def wire_fault(faults: Faults, unit: int, *, slot: int, second: int) -> Fault | None:
    """What is wrong with a unit's answers now; the first of several."""
    here = (fault for fault in faults.plan if fault.unit == unit and fault.kind in WIRE)
    return next(_now(here, faults.seed, slot, second), None)


def value_faults(faults: Faults, unit: int, *, slot: int, second: int) -> list[Fault]:
    """What is wrong with a unit's values now; what is for good since its first slot."""
    here = [fault for fault in faults.plan if fault.unit == unit and fault.kind in VALUE]
    lasting = [fault for fault in here if fault.kind in FOR_GOOD]
    passing = [fault for fault in here if fault.kind not in FOR_GOOD]
    return lasting + list(_now(passing, faults.seed, slot, second))


def opcua_faults(faults: Faults, *, slot: int) -> list[Fault]:
    """What is wrong with the furnace now."""
    here = (fault for fault in faults.plan if fault.kind in OPCUA)
    return list(_now(here, faults.seed, slot, 0))


def _now(plan: Iterable[Fault], seed: int, slot: int, second: int) -> Iterator[Fault]:
    return (fault for fault in plan if fault.holds(seed, slot if fault.by == "slot" else second))


def spoiled_pdu(kind: str, pdu: bytes, code: int = 0) -> bytes:
    """A reply with its fault inside; a refusal stays what it is."""
    function, data = pdu[0], pdu[2:]
    if kind == "exception":
        return bytes((function | 0x80, code))
    if function & 0x80:
        return pdu
    if kind == "short":
        data = data[:-2]
    elif kind == "long":
        data += b"\0\7"
    elif kind == "wrong_function":
        function = {1: 2, 2: 1, 3: 4, 4: 3}[function]
    return bytes((function, len(data))) + data


def segments(kind: str, frame: bytes) -> Sequence[bytes]:
    """The pieces in which a frame is sent."""
    if kind == "drip_fed":
        return [frame[i : i + 1] for i in range(len(frame))]
    if kind == "two_answers":
        return [frame * 2]
    return [b"\xde\xad" + frame] if kind == "garbage_prefix" else [frame]
