"""Energy that follows activity: plants and machines whose drivers say what they made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.quantities import unit_of
from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.checks import DATA_CHECKS
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.finding import Finding, NamedPolicy
from joulemark_gateway.measure.rules import Judged, at_least, between, range_seen
from joulemark_gateway.measure.span import wall_us
from joulemark_gateway.measure.sufficiency.base import Carrier, Case, checked_case

ACTIVITY_UNITS = frozenset({"kg", "m3", "1"})  # what a plant makes, moves or counts


@dataclass(frozen=True)
class DriverFacts:
    """One driver over the kept units: its values in the baseline, its mean in the reporting."""

    name: str
    unit: str
    baseline: Sequence[float]
    reporting_mean: float | None


@dataclass(frozen=True)
class Facts:
    """What a policy looks at. `adjusted_r2` is None where there is no model to judge."""

    baseline_days: float
    production_cycle_days: int
    drivers: tuple[DriverFacts, ...]
    adjusted_r2: float | None


@dataclass(frozen=True)
class SufficiencyPolicy(NamedPolicy):
    """The limits of one version of one policy."""

    min_days: float
    min_cycles: float
    activity_drivers: int
    range_sd: float
    min_adjusted_r2: float
    min_measured_ratio: float  # of a unit's time, by all streams together; less masks the unit
    fills_units: ClassVar[bool] = False  # a unit counts with the time it was measured

    def judge(self, facts: Facts) -> tuple[Finding, ...]:
        """Every rule that can be judged, with what was seen and the limit."""
        cycles = facts.baseline_days / facts.production_cycle_days
        activity = sum(driver.unit in ACTIVITY_UNITS for driver in facts.drivers)
        findings = [
            self._at_least(
                "too_few_days",
                subject="baseline",
                rule=f"the baseline has at least {self.min_days:g} measured days",
                seen=facts.baseline_days,
                limit=self.min_days,
                unit="d",
            ),
            self._at_least(
                "too_few_cycles",
                subject="baseline",
                rule=f"the baseline has at least {self.min_cycles:g} full production cycles of "
                f"{facts.production_cycle_days} days",
                seen=cycles,
                limit=self.min_cycles,
                unit="cycles",
            ),
            self._at_least(
                "no_activity_driver",
                subject="model",
                rule="at least one driver says how active the plant was",
                seen=float(activity),
                limit=float(self.activity_drivers),
                unit="drivers",
            ),
        ]
        findings += [
            self._in_range(driver)
            for driver in facts.drivers
            if driver.reporting_mean is not None and len(driver.baseline) > 1
        ]
        if facts.adjusted_r2 is not None:
            findings.append(
                self._at_least(
                    "low_adjusted_r2",
                    subject="model",
                    rule=f"adjusted R2 is at least {self.min_adjusted_r2:g}",
                    seen=facts.adjusted_r2,
                    limit=self.min_adjusted_r2,
                    unit="1",
                )
            )
        return tuple(findings)

    def masked(self, data: Data, carrier: Carrier) -> Data:  # noqa: ARG002 -- as every policy
        """The data as they are: a plant that stands still uses little, and that is a reading."""
        return data

    def judge_data(self, case: Case) -> Judged:
        """Every rule over the data themselves, and the checks that all policies share.

        Raises:
            MeasureError: `no_production_cycle`, and those of `guard.checked`.
        """
        cycle_days = case.production_cycle_days
        if cycle_days is None or cycle_days < 1:
            raise MeasureError(
                "The plan does not say how many days a production cycle has.",
                "Declare the week, the campaign or the shift rota: it is not guessed.",
                code="no_production_cycle",
            )
        case = checked_case(case)
        kept = case.baseline.where(case.baseline.is_whole)
        later = case.reporting and case.reporting.where(case.reporting.is_whole)
        drivers = tuple(
            DriverFacts(
                name,
                unit_of(name) or "",
                column.tolist(),
                fmean(later.driver(name).tolist()) if later and later.n else None,
            )
            for name, column in kept.drivers.items()
        )
        days = int(wall_us(kept).sum()) / US_PER_DAY
        facts = Facts(days, cycle_days, drivers, case.adjusted_r2)
        return Judged(self.judge(facts)) + DATA_CHECKS.judge(case.baseline, case.reporting)

    def _at_least(
        self, code: str, *, subject: str, rule: str, seen: float, limit: float, unit: str
    ) -> Finding:
        return at_least(
            code, by=self.id, subject=subject, rule=rule, seen=seen, limit=limit, unit=unit
        )

    def _in_range(self, driver: DriverFacts) -> Finding:
        low, high = range_seen(driver.baseline, self.range_sd)
        seen = driver.reporting_mean
        assert seen is not None
        return between(
            "driver_out_of_range",
            by=self.id,
            subject=driver.name,
            rule="its reporting mean lies in the baseline's min-max or mean ± "
            f"{self.range_sd:g} sd",
            seen=seen,
            low=low,
            high=high,
            unit=driver.unit,
        )


ISO50006_PRODUCTION = SufficiencyPolicy(
    id="iso50006-production",
    version="1",
    text="Energy that follows activity: at least 60 days and two full production cycles of "
    "baseline, at least one activity driver, drivers inside the baseline's range, "
    "adjusted R2 at least 0.5. A day or hour counts if all streams measured at least 90 % "
    "of it, and only with the time they measured.",
    source="after ISO 50006 and the SEP measurement and verification protocol (2012); the "
    "text of the standard itself was not at hand",
    min_days=60,
    min_cycles=2,
    activity_drivers=1,
    range_sd=3,
    min_adjusted_r2=0.5,
    min_measured_ratio=0.9,
)
