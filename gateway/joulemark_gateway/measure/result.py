"""What a measurement says: everything a report prints, as typed values in full precision.

Nothing is rounded here. A disqualified measurement has `saving`, `split` and every prediction of
the reporting period None: there is no number that a careless reader could take for a saving. What
an unfit model would have claimed stands apart, in `refused`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from joulemark_agent.contract.factor import Factor
from joulemark_agent.kernels.carbon import WH_PER_KWH
from joulemark_agent.kernels.counter import Event
from joulemark_gateway.measure.finding import Finding, PolicyUsed
from joulemark_gateway.measure.meter_error import MeterError
from joulemark_gateway.measure.project import Project

Period = Literal["baseline", "reporting"]


@dataclass(frozen=True)
class Warned:
    """Something a reader must know that does not disqualify; `code` is stable."""

    code: str
    text: str


@dataclass(frozen=True)
class Stream:
    """One counter over both periods: energy or a driver."""

    role: Literal["energy", "driver"]
    device: str
    epoch: int
    point: str
    name: str
    unit: str
    synthetic: bool
    readings: int
    gap_slots: int
    unsynchronised: int
    fallen: int
    false_zeros: int
    covered_us: int
    estimated_us: int
    missing_us: int
    total: int = 0  # counted in both periods
    unsynchronised_total: int = 0  # of that, from or to a reading whose clock was not set
    withheld: int = 0  # slots whose record stays at the gateway
    lost: int = 0  # slots whose leaves were lost


@dataclass(frozen=True)
class CounterEvent:
    """What a counter did besides counting, in one of the periods, and what was booked for it."""

    device: str
    point: str
    event: Event


@dataclass(frozen=True)
class MissingSpan:
    """Neighbouring intervals of the grid that are not wholly measured, for the same reasons."""

    device: str
    point: str
    start_us: int
    end_us: int
    intervals: int
    is_estimated: bool  # only the sum over the span is known
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Unit:
    """One local day or hour; energy and drivers over the time that all streams measured.

    A unit of which too little was measured is masked, not filled; one that is kept and has reasons
    is kept with its measured part only.
    `covered_us`, `estimated_us` and `missing_us` are those of the worst stream (least covered).
    Predictions are None where the unit is masked or the measurement disqualified; `avoided_wh`,
    `cumulative_wh` and its half-width exist in the reporting period only.
    """

    period: Period
    label: str
    start_us: int
    end_us: int
    energy_wh: int
    drivers: tuple[int, ...]
    covered_us: int
    estimated_us: int
    missing_us: int
    masked: bool
    reasons: tuple[str, ...]
    predicted_wh: float | None
    avoided_wh: float | None
    cumulative_wh: float | None
    cumulative_half_width_wh: float | None


@dataclass(frozen=True)
class PeriodSummary:
    """One period: its length in units, what is left after masking, and the sums over both."""

    period: Period
    first: date
    end: date  # exclusive
    start_us: int
    end_us: int
    units: int
    kept: int
    masked: int
    energy_wh: int  # every step that was booked, masked units included
    kept_energy_wh: int
    kept_drivers: tuple[int, ...]
    covered_us: int  # of the energy meter
    estimated_us: int
    missing_us: int


@dataclass(frozen=True)
class Coefficient:
    """One term of the baseline model; `vif` is None for the intercept."""

    name: str
    unit: str
    value: float
    standard_error: float
    t_value: float | None  # None where the fit is exact
    p_value: float | None
    vif: float | None


@dataclass(frozen=True)
class DriverRange:
    """Where a driver was in the baseline, where it is now, and how far beyond."""

    name: str
    unit: str
    baseline_min: float
    baseline_max: float
    baseline_mean: float
    baseline_sd: float
    reporting_mean: float | None
    outside_ratio: float  # share of reporting units beyond min or max by over 5 % of the range


@dataclass(frozen=True)
class Model:
    """The baseline model and how well it fits. Divisors: n - p for CV(RMSE) and NMBE.

    `facts` are what a search found, like change points; `cells` how many levels there are of a
    model that has one for each time of the week, which are no coefficients here.
    """

    kind: str
    unit: Literal["day", "hour"]
    n: int
    p: float
    coefficients: tuple[Coefficient, ...]
    drivers: tuple[DriverRange, ...]
    sse_wh2: float
    residual_sd_wh: float
    r2: float
    adjusted_r2: float
    press_r2: float | None  # predicted leaving one out; None where a unit fixes its own fit
    cv_rmse: float | None
    nmbe: float | None
    rho: float  # lag-1 correlation of the residuals
    rho_used: float  # bias-corrected, from 0 to 0.99
    effective_n: float
    high_leverage_ratio: float  # share of reporting units with leverage above 2 p / n
    facts: Mapping[str, float] = field(default_factory=dict)
    cells: int = 0


@dataclass(frozen=True)
class SubPeriod:
    """One calendar month of the reporting period."""

    label: str
    kept: int
    masked: int
    measured_wh: float
    predicted_wh: float
    avoided_wh: float
    half_width_wh: float


@dataclass(frozen=True)
class FactorUse:
    """One emission factor and the units it applies to, by day of activity."""

    factor: Factor
    first_day: date
    last_day: date
    kept: int
    avoided_wh: float
    avoided_kg: float


@dataclass(frozen=True)
class CarbonSaving:
    """CO2e avoided, with the energy's and the factor's part of the uncertainty. [kg CO2e]

    The two standard uncertainties add in quadrature; the factor's own error is common to all
    units and stands once. The half-width has the Welch-Satterthwaite degrees of freedom.
    """

    avoided_kg: float
    from_energy_kg: float  # of model, meter and events together
    from_model_kg: float
    from_meter_kg: float
    from_events_kg: float
    from_factor_kg: float
    standard_uncertainty_kg: float
    degrees_of_freedom: float
    half_width_kg: float
    half_width_90_kg: float
    half_width_95_kg: float
    factors: tuple[FactorUse, ...]


@dataclass(frozen=True)
class Creditable:
    """The conservative amount under a named policy: S, u, rule and what is left, never below 0."""

    policy: PolicyUsed
    avoided_wh: float
    half_width_90_wh: float
    creditable_wh: float
    avoided_kg: float
    half_width_90_kg: float
    creditable_kg: float


@dataclass(frozen=True)
class ValuedEvent:
    """A non-routine event that is not left out: what is added to the saving for it. [Wh, kg]"""

    id: str
    treatment: str
    value_wh: float
    u_wh: float
    degrees_of_freedom: float
    factor_kg_per_kwh: float  # mean of its units that count
    factor_ratio: float  # standard uncertainty of that factor

    @property
    def avoided_kg(self) -> float:
        """What it is worth in CO2e. [kg]"""
        return self.value_wh / WH_PER_KWH * self.factor_kg_per_kwh

    @property
    def u_kg(self) -> float:
        """Its own standard uncertainty in CO2e. [kg]"""
        return self.u_wh / WH_PER_KWH * abs(self.factor_kg_per_kwh)


@dataclass(frozen=True)
class Saving:
    """Avoided energy over the kept units of the reporting period, with its interval.

    The figures are with the meter's error and with the events that have a value; `model_avoided_wh`
    and its half-width, the months and the running sum are the model's alone.
    """

    counterfactual_wh: float
    measured_wh: float
    avoided_wh: float
    avoided_ratio: float  # of the counterfactual
    confidence: float
    standard_error_wh: float
    degrees_of_freedom: float
    half_width_wh: float
    half_width_90_wh: float
    half_width_95_wh: float
    months: tuple[SubPeriod, ...]
    carbon: CarbonSaving
    creditable: Creditable
    without_exclusions_wh: float | None  # avoided, had nothing been excluded; None: nothing was
    model_avoided_wh: float
    model_u_wh: float  # standard uncertainty
    model_half_width_wh: float
    meter: MeterError | None
    events: tuple[ValuedEvent, ...]

    @property
    def is_distinguishable_from_zero(self) -> bool:
        """Whether the interval leaves 0 out."""
        return abs(self.avoided_wh) > self.half_width_wh


@dataclass(frozen=True)
class Split:
    """Why the energy changed: the measured change of the kept sums, in two parts that add up.

    change = baseline - reporting. The part of activity holds everything that the drivers and the
    number of units explain; the part of efficiency is the avoided energy.
    """

    baseline_wh: float
    reporting_wh: float
    change_wh: float
    activity_wh: float
    efficiency_wh: float
    baseline_units: int
    reporting_units: int


@dataclass(frozen=True)
class RefusedClaim:
    """A model that was run, is shown, and proves nothing: the code says which rule it breaks."""

    model: str
    code: str
    by: str
    version: str
    why: str
    interval_us: int
    cells: int
    intervals: int
    predicted_wh: float
    measured_wh: float
    would_have_claimed_wh: float
    would_have_claimed_ratio: float


@dataclass(frozen=True)
class Looked:
    """A model that was looked at beside the chosen one."""

    id: str
    p: int
    cv_rmse: float | None
    adjusted_r2: float
    bic: float


@dataclass(frozen=True)
class Change:
    """A lasting change of what is saved a unit, found in the reporting period."""

    label: str  # of the first unit after it
    shift_wh: float  # of a unit's saving


@dataclass(frozen=True)
class Level:
    """The level of one time of the week; `is_busy` is None where no temperature is looked at."""

    name: str
    value_wh: float
    is_busy: bool | None


@dataclass(frozen=True)
class WorkedTerm:
    """One term in one unit: coefficient times amount is its energy."""

    name: str
    unit: str  # of the coefficient
    coefficient: float
    amount: float
    energy_wh: float


@dataclass(frozen=True)
class Worked:
    """One unit of the reporting period, as the equation gives it."""

    label: str
    terms: tuple[WorkedTerm, ...]
    predicted_wh: float
    measured_wh: float


@dataclass(frozen=True)
class Engine:
    """What the engine says of a plan that names its model, beyond the figures.

    `warnings` are rules that do not refuse, `detectable_ratio` the least saving that the baseline
    could have shown over these units, as a share of the prediction; None where there is no model.
    """

    method: str
    bic: float | None
    alternatives: tuple[Looked, ...]
    warnings: tuple[Finding, ...]
    detectable_ratio: float | None
    changes: tuple[Change, ...]
    overridden: tuple[str, ...]  # codes of rules that fail and were passed over
    levels: tuple[Level, ...] = ()  # of times of the week
    worked: Worked | None = None  # None: no saving is stated


@dataclass(frozen=True)
class Measurement:
    """One project, measured. `saving` and `split` are None exactly where it is disqualified."""

    project: Project
    clock: str
    disqualified: bool
    policy: PolicyUsed
    findings: tuple[Finding, ...]
    warnings: tuple[Warned, ...]
    streams: tuple[Stream, ...]  # energy first
    baseline: PeriodSummary
    reporting: PeriodSummary
    units: tuple[Unit, ...]  # baseline, then reporting
    missing: tuple[MissingSpan, ...]
    events: tuple[CounterEvent, ...]
    model: Model | None
    saving: Saving | None
    split: Split | None
    refused: tuple[RefusedClaim, ...]
    engine: Engine | None = None  # None: the plan names no model

    @property
    def synthetic(self) -> bool:
        """Whether any stream has no machine behind it."""
        return any(stream.synthetic for stream in self.streams)

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the rules that do not hold."""
        return tuple(finding.code for finding in self.findings if not finding.passed)
