"""What a running project has saved so far, as it is kept and shown: the report's own figures.

Every figure is the text that a report on the same days prints. A day that is left out has neither
prediction nor sum; nothing stands in for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from joulemark_agent.contract.errors import EvidenceError, JoulemarkError

FORMAT = "joulemark-saving/1"
MOST_DAYS = 3700
# Before anything was found; while the baseline runs; before the first whole day that is reported.
State = Literal["pending", "baseline", "waiting", "measured", "refused", "failed"]

Decimal_ = Annotated[str, Field(pattern=r"^-?[0-9]{1,24}(\.[0-9]{1,12})?$")]
Text = str  # may be a plan's, which is as long as its author likes
Name = Annotated[str, Field(max_length=200)]
Id = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlanDates(_Part):
    """A period of the plan, in local days."""

    first: date
    last_day: date


class Policy(_Part):
    """The rules that the saving was judged by."""

    id: Name
    version: Name
    text: Text
    source: Text


class SavingHeadline(_Part):
    """The saving so far and its band, with the policies it stands under."""

    avoided_kwh: Decimal_
    half_width_kwh: Decimal_
    avoided_percent: Decimal_
    avoided_t: Decimal_
    half_width_t: Decimal_
    confidence_percent: Decimal_
    distinguishable_from_zero: bool
    creditable_kwh: Decimal_
    creditable_t: Decimal_
    sufficiency_policy: Name
    creditable_policy: Name


class SavingMonth(_Part):
    """One local month; its sum and band are the model's alone."""

    month: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}$")]
    kept: Decimal_
    masked: Decimal_
    measured_kwh: Decimal_
    predicted_kwh: Decimal_
    avoided_kwh: Decimal_
    half_width_kwh: Decimal_


class SavingDay(_Part):
    """One local day of the reporting period; sums run from its first day, the model's alone."""

    day: date
    state: Literal["measured", "estimated", "missing"]
    reasons: tuple[Text, ...] = Field(description="why it is left out, or counts in part")
    measured_kwh: Decimal_
    predicted_kwh: Decimal_ | None = Field(description="null: the day is left out")
    cumulative_kwh: Decimal_ | None
    half_width_kwh: Decimal_ | None
    cumulative_t: Decimal_ | None = Field(description="CO2e")


class SavingRule(_Part):
    """One rule of the policy and what was seen."""

    code: Name
    subject: Text
    rule: Text
    seen: Name | None
    at_least: Name | None
    at_most: Name | None
    unit: Name
    passed: bool


class SavingWarning(_Part):
    """What a reader must know that does not refuse."""

    code: Name
    text: Text


class Trouble(_Part):
    """What went wrong at the last attempt, and what to do."""

    code: Name
    what: Text
    do: Text


class SoFar(_Part):
    """A running project."""

    format: Literal["joulemark-saving/1"] = "joulemark-saving/1"
    id: Id
    title: Text
    site: Id
    time_zone: Name
    measure: Text
    implemented: date
    baseline: PlanDates
    reporting: PlanDates
    unit: Literal["day", "hour"]
    policy_id: Name = Field(description="the sufficiency policy that the plan names")
    plan_sha256: Name
    state: State
    computed: Name = Field(description="when this was found, UTC")
    simulated: bool | None = Field(description="of the clock; null: nothing was read yet")
    stands_to: date | None = Field(description="the last day that is in the saving")
    is_final: bool = Field(description="the reporting period is over")
    baseline_days: int = Field(description="whole days of the baseline that have passed", ge=0)
    baseline_days_in_all: int = Field(ge=0)
    policy: Policy | None
    refused_because: tuple[Name, ...]
    headline: SavingHeadline | None
    months: tuple[SavingMonth, ...]
    findings: tuple[SavingRule, ...]
    warnings: tuple[SavingWarning, ...]
    days: tuple[SavingDay, ...] = Field(max_length=MOST_DAYS)
    trouble: Trouble | None = Field(description="the figures are those of before it")

    @property
    def is_more_than_the_model(self) -> bool:
        """Whether meter or events stand in the headline and not in the running sum."""
        head, last = self.headline, next((d for d in reversed(self.days) if d.cumulative_kwh), None)
        if head is None or last is None:
            return False
        own = (float(last.cumulative_kwh or 0), float(last.half_width_kwh or 0))
        told = (float(head.avoided_kwh), float(head.half_width_kwh))
        return any(abs(a - b) > 1e-3 * max(abs(a), abs(b)) for a, b in zip(own, told, strict=True))


@dataclass(frozen=True)
class Unfollowed:
    """A file that names no project that can be followed."""

    path: Path
    what: str
    do: str


@dataclass
class Board:
    """The running projects as they stand now: one thread writes, every request reads."""

    _projects: dict[str, SoFar] = field(default_factory=dict)
    _unfollowed: tuple[Unfollowed, ...] = ()
    _turn: Lock = field(default_factory=Lock)

    def show(self, projects: Mapping[str, SoFar], unfollowed: Sequence[Unfollowed]) -> None:
        """Show these, by id, and nothing else."""
        with self._turn:
            self._projects, self._unfollowed = dict(projects), tuple(unfollowed)

    @property
    def projects(self) -> dict[str, SoFar]:
        """By id."""
        with self._turn:
            return dict(self._projects)

    @property
    def unfollowed(self) -> tuple[Unfollowed, ...]:
        """Files that cannot be followed."""
        with self._turn:
            return self._unfollowed


def so_far_of(content: Any) -> SoFar:
    """The running project in a value that was kept or handed over.

    Raises:
        EvidenceError: `bad_saving` where it is none.
    """
    try:
        return SoFar.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EvidenceError(
            f"This is no running saving: {where}: {first['msg']}.",
            "It is found again by itself; the evidence is not affected.",
            code="bad_saving",
        ) from error


def trouble_of(error: JoulemarkError) -> Trouble:
    """An error as it is shown."""
    return Trouble(code=error.code[:200], what=error.what[:4000], do=error.do[:4000])
