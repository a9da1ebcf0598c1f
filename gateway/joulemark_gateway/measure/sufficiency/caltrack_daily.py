"""Energy that follows the weather: daily and billing baselines after the CalTRACK methods."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.checks import DATA_CHECKS
from joulemark_gateway.measure.data import Data, Flags, Times
from joulemark_gateway.measure.finding import Finding, NamedPolicy
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.rules import Judged, at_least, at_most, between
from joulemark_gateway.measure.span import (
    MONTHS,
    days_by_month,
    edges_us,
    month_of,
    span_days,
    wall_us,
)
from joulemark_gateway.measure.sufficiency.base import (
    BillCycle,
    Billing,
    Carrier,
    Case,
    checked_case,
)


@dataclass(frozen=True)
class CaltrackDaily(NamedPolicy):
    """The limits of one version; the codes of its rules stand at `judge_data`."""

    min_days: float
    max_days: float
    min_valid_ratio: float  # of the days of the baseline
    min_month_ratio: float  # of the days of each month, per driver
    min_measured_ratio: float  # of a unit that is rolled up
    fills_units: bool
    min_bill_days: float
    monthly_bill_days: float  # at most
    bimonthly_bill_days: float
    merged_bill_days: float
    extreme_iqr: float  # from the quartiles

    def cycle_days(self, cycle: BillCycle) -> float:
        """The longest bill of a cycle."""
        return self.monthly_bill_days if cycle == "monthly" else self.bimonthly_bill_days

    def masked(self, data: Data, carrier: Carrier) -> Data:
        """The data with NaN for what counts as missing: 0 of electricity, but not of gas."""
        if carrier == "gas":
            return data
        is_zero = data.energy_wh == 0
        if not is_zero.any():
            return data
        return replace(data, energy_wh=np.where(is_zero, np.nan, data.energy_wh))

    def judge_data(self, case: Case) -> Judged:
        """Every rule with what was seen and the limit.

        They are `wrong_baseline_length`, `too_few_valid_meter_days`, `too_few_valid_driver_days`,
        `too_few_valid_days`, `sparse_month`, `negative_gas`, `unit_mostly_missing`,
        `bill_too_short`, `bill_too_long` and, as a warning, `extreme_values`; then those of
        `checks.DataChecks`.

        Raises:
            MeasureError: those of `guard.checked`.
        """
        case = checked_case(case)
        whole = self.masked(case.baseline, case.carrier)
        findings = [self._length(whole), *self._valid(whole, case.billing)]
        if case.billing is None:
            findings += self._months(whole)
        else:
            findings += self._bills(whole, case.billing)
        if case.carrier == "gas":
            findings += self._negative(case)
        if case.covered_ratio is not None:
            findings += self._covered(whole, case.covered_ratio)
        own = Judged(tuple(findings), tuple(self._extreme(whole)))
        return own + DATA_CHECKS.judge(whole, case.reporting)

    def _length(self, baseline: Data) -> Finding:
        return between(
            "wrong_baseline_length",
            by=self.id,
            subject="baseline",
            rule=f"the baseline is {self.min_days:g} to {self.max_days:g} days long",
            seen=span_days(baseline),
            low=self.min_days,
            high=self.max_days,
            unit="d",
        )

    def _valid(self, baseline: Data, billing: Billing | None) -> list[Finding]:
        """Meter, each driver and all together; an estimated read is no reading of the meter."""
        time_us = wall_us(baseline)
        read_us = time_us if billing is None else time_us - billing.estimated_us
        has_energy = np.isfinite(baseline.energy_wh)
        found = [("too_few_valid_meter_days", "energy", int(read_us[has_energy].sum()))]
        for name, column in baseline.drivers.items():
            valid_us = int(time_us[np.isfinite(column)].sum())
            found.append(("too_few_valid_driver_days", name, valid_us))
        whole_us = int(read_us[baseline.is_whole].sum())
        found.append(("too_few_valid_days", "energy and drivers", whole_us))
        span = span_days(baseline)
        return [
            at_least(
                code,
                by=self.id,
                subject=subject,
                rule=f"at least {self.min_valid_ratio:.0%} of the baseline's days have a value",
                seen=valid_us / US_PER_DAY / span if span > 0 else 0.0,
                limit=self.min_valid_ratio,
                unit="1",
            )
            for code, subject, valid_us in found
        ]

    def _months(self, baseline: Data) -> list[Finding]:
        """The emptiest month of the year, per driver."""
        asked = days_by_month(baseline)
        month = month_of(edges_us(baseline)[0])
        days = wall_us(baseline) / US_PER_DAY
        return [
            at_least(
                "sparse_month",
                by=self.id,
                subject=name,
                rule=f"at least {self.min_month_ratio:.0%} of each month's days have a value",
                seen=_emptiest(month[np.isfinite(column)], days[np.isfinite(column)], asked),
                limit=self.min_month_ratio,
                unit="1",
            )
            for name, column in baseline.drivers.items()
        ]

    def _bills(self, baseline: Data, billing: Billing) -> list[Finding]:
        """The shortest and the longest bill that is used; merged ones have a limit of their own."""
        used = np.isfinite(baseline.energy_wh)
        days = wall_us(baseline) / US_PER_DAY
        longest = (
            ("bill", used & ~billing.is_merged, self.cycle_days(billing.cycle)),
            ("merged bill", used & billing.is_merged, self.merged_bill_days),
        )
        findings = [
            at_least(
                "bill_too_short",
                by=self.id,
                subject="bill",
                rule=f"a bill that is used is at least {self.min_bill_days:g} days long",
                seen=float(np.min(days[used])),
                limit=self.min_bill_days,
                unit="d",
            )
            for _ in range(bool(used.any()))
        ]
        return findings + [
            at_most(
                "bill_too_long",
                by=self.id,
                subject=subject,
                rule=f"a {subject} that is used is at most {limit:g} days long",
                seen=float(np.max(days[chosen])),
                limit=limit,
                unit="d",
            )
            for subject, chosen, limit in longest
            if chosen.any()
        ]

    def _negative(self, case: Case) -> list[Finding]:
        periods = (("baseline", case.baseline), ("reporting", case.reporting))
        return [
            at_most(
                "negative_gas",
                by=self.id,
                subject=name,
                rule="a gas meter counts nothing below 0",
                seen=float(np.count_nonzero(data.energy_wh < 0)),
                limit=0,
                unit="units",
            )
            for name, data in periods
            if data is not None
        ]

    def _covered(self, baseline: Data, covered_ratio: Array) -> list[Finding]:
        used: Flags = baseline.is_whole
        return [
            at_least(
                "unit_mostly_missing",
                by=self.id,
                subject="baseline",
                rule=f"at least {self.min_measured_ratio:.0%} of each unit that is used was "
                "measured",
                seen=float(np.min(np.nan_to_num(covered_ratio[used], nan=0.0))),
                limit=self.min_measured_ratio,
                unit="1",
            )
            for _ in range(bool(used.any()))
        ]

    def _extreme(self, baseline: Data) -> list[Finding]:
        energy_wh = baseline.energy_wh[np.isfinite(baseline.energy_wh)]
        if not energy_wh.size:
            return []
        low, high = (float(x) for x in np.quantile(energy_wh, (0.25, 0.75)))
        reach = self.extreme_iqr * (high - low)
        outside = (energy_wh < low - reach) | (energy_wh > high + reach)
        return [
            at_most(
                "extreme_values",
                by=self.id,
                subject="energy",
                rule=f"values lie within {self.extreme_iqr:g} interquartile ranges of the "
                "quartiles; whoever reports looks at those that do not",
                seen=float(np.count_nonzero(outside)),
                limit=0,
                unit="units",
            )
        ]


def _emptiest(month: Times, days: Array, asked: Array) -> float:
    """The least share of a month's days that have a value; 0 where there is no month."""
    valid = np.zeros(MONTHS)
    np.add.at(valid, month, days)
    shares = valid[asked > 0] / asked[asked > 0]
    return float(np.min(shares)) if shares.size else 0.0


CALTRACK_DAILY = CaltrackDaily(
    id="caltrack-daily-2.0",
    version="1",
    text="Energy that follows the weather: 329 to 366 days of baseline, at least 90 % of them with "
    "a value of the meter, of each driver and of all together, at least 90 % of each month's days "
    "with a value of each driver, days of which at least half was measured, bills of 25 to 35 days "
    "(two-monthly: to 70), estimated reads merged and counted as missing, no negative gas, 0 of "
    "electricity missing. Values beyond 3 interquartile ranges are told.",
    source="after the CalTRACK methods 2.0, sections 2.2 and 2.3",
    min_days=329,
    max_days=366,
    min_valid_ratio=0.9,
    min_month_ratio=0.9,
    min_measured_ratio=0.5,
    fills_units=True,
    min_bill_days=25,
    monthly_bill_days=35,
    bimonthly_bill_days=70,
    merged_bill_days=70,
    extreme_iqr=3,
)
