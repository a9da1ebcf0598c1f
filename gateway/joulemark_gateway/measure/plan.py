"""What a baseline is to be and what it must prove, before the engine sees a reporting period."""

from __future__ import annotations

from dataclasses import dataclass, field

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.adjustments import Adjustment
from joulemark_gateway.measure.creditable import CREDITABLE_POLICIES, CreditablePolicy
from joulemark_gateway.measure.families import Automatic, Family
from joulemark_gateway.measure.finding import named
from joulemark_gateway.measure.meter_error import MeterClass
from joulemark_gateway.measure.sufficiency import POLICIES, Carrier, Policy
from joulemark_gateway.measure.verdict import Override

LEAST_CONFIDENCE, MOST_CONFIDENCE = 0.5, 0.999


@dataclass(frozen=True)
class Plan:
    """The choices of a measurement; every policy by its name, none by default.

    `meter` is the accuracy of the meter of both periods, and `baseline_meter` that of the baseline
    where it was another one; without them the interval holds no error of a meter.
    """

    sufficiency_policy: str
    creditable_policy: str
    model: Family = field(default_factory=Automatic)
    confidence: float = 0.9
    carrier: Carrier = "electricity"
    production_cycle_days: int | None = None
    adjustments: tuple[Adjustment, ...] = ()
    meter: MeterClass | None = None
    baseline_meter: MeterClass | None = None
    override: Override | None = None

    def __post_init__(self) -> None:
        if not LEAST_CONFIDENCE < self.confidence <= MOST_CONFIDENCE:
            raise MeasureError(
                f"The confidence is {self.confidence}.",
                f"Give one above {LEAST_CONFIDENCE} and up to {MOST_CONFIDENCE}, like 0.9.",
                code="bad_confidence",
            )
        _ = self.sufficiency, self.creditable

    @property
    def sufficiency(self) -> Policy:
        """The policy that says whether the baseline proves anything.

        Raises:
            MeasureError: `unknown_sufficiency_policy`.
        """
        return named(POLICIES, self.sufficiency_policy, "unknown_sufficiency_policy")

    @property
    def creditable(self) -> CreditablePolicy:
        """The policy that says how much of a saving is creditable.

        Raises:
            MeasureError: `unknown_creditable_policy`.
        """
        return named(CREDITABLE_POLICIES, self.creditable_policy, "unknown_creditable_policy")
