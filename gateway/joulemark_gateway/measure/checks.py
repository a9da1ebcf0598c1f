"""Checks of the data themselves, under every sufficiency policy: named limits of one version.

What makes a figure wrong refuses: a value that is stuck, a counter that fell, an uneven step, days
that are not local days, a change of the unit. What makes it uncertain is told: the share of the
reporting period that lies outside what the baseline has seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.calendar import US_PER_DAY, US_PER_HOUR
from joulemark_gateway.measure.data import Data, Times
from joulemark_gateway.measure.finding import Finding, NamedPolicy
from joulemark_gateway.measure.guard import checked
from joulemark_gateway.measure.linear import Linear
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.roll_up import is_amount
from joulemark_gateway.measure.rules import Judged, at_most
from joulemark_gateway.measure.span import edges_us
from joulemark_gateway.measure.unit_change import unit_step

_DAY_HOURS = (20, 28)  # units of such a length are meant to be local days


@dataclass(frozen=True)
class DataChecks(NamedPolicy):
    """The limits of one version."""

    stuck_units: int  # equal values in a row, and
    stuck_us: int  # the time they last: both must be exceeded
    categories: int  # a column of so few different values has no stuck one
    fall_ratio: float  # of the median size: a fall beyond it is no export of energy
    step_ratio: float  # of a unit: the largest hole or overlap between neighbours
    unit_factors: tuple[float, ...]
    range_ratio: float  # of the baseline's range, on each side
    leverage_ratio: float  # times p / n

    def judge(self, baseline: Data, reporting: Data | None = None) -> Judged:
        """All that needs no model, of both periods.

        The codes are `stuck_value`, `counter_fell`, `uneven_step`, `wrong_day_length` and
        `unit_changed`, and as a warning `driver_extrapolated`.

        Raises:
            MeasureError: those of `guard.checked`, `duplicate_stamp` among them.
        """
        baseline = checked(baseline)
        findings = self._period("baseline", baseline)
        warnings: list[Finding] = []
        if reporting is not None:
            reporting = checked(reporting)
            findings += self._period("reporting", reporting)
            for name, column in baseline.drivers.items():
                warnings += self._range(name, column, reporting.driver(name))
        return Judged(tuple(findings), tuple(warnings))

    def leverage(self, model: Linear, rows: Array) -> tuple[Finding, ...]:
        """How many reporting units lie far from all baseline units together; a warning.

        Args:
            model: the baseline.
            rows: the design of the reporting units, NaN where one is missing, shape (m, p).
        """
        return self.far(model.leverage_of(np.ascontiguousarray(rows)), model.p, model.n)

    def far(self, leverage: Array, p: int, n: int) -> tuple[Finding, ...]:
        """The same of leverages that are known.

        Args:
            leverage: of the reporting units, NaN where one is missing, shape (m,).
            p: number of the model's terms.
            n: number of the baseline's units.
        """
        known = leverage[np.isfinite(leverage)]
        if not known.size:
            return ()
        limit = self.leverage_ratio * p / n
        far = np.count_nonzero(known > limit)
        return (
            self._at_most(
                "far_from_baseline",
                subject="reporting",
                rule=f"no unit has a leverage above {self.leverage_ratio:g} p / n = {limit:.6g}",
                seen=float(far / known.size),
                limit=0,
                unit="1",
            ),
        )

    def _period(self, period: str, data: Data) -> list[Finding]:
        if not data.n:
            return []
        findings = [self._fell(period, data), self._step(period, data)]
        hours = data.median_length_us / US_PER_HOUR
        if _DAY_HOURS[0] <= hours <= _DAY_HOURS[1]:
            findings.append(self._days(period, data))
        columns = {"energy_wh": data.energy_wh, **data.drivers}
        findings += [self._stuck(period, name, data, columns[name]) for name in columns]
        findings += [
            self._unit(period, name, data, columns[name])
            for name in columns
            if name == "energy_wh" or is_amount(name)
        ]
        return findings

    def _stuck(self, period: str, name: str, data: Data, column: Array) -> Finding:
        different = np.unique(column[np.isfinite(column)]).size
        longest = _longest_equal(column, data.position) if different > self.categories else 0
        units = -(-self.stuck_us // int(data.median_length_us))
        return self._at_most(
            "stuck_value",
            subject=f"{period}: {name}",
            rule="a value other than 0 does not repeat itself for long",
            seen=float(longest),
            limit=float(max(units, self.stuck_units)),
            unit="units",
        )

    def _fell(self, period: str, data: Data) -> Finding:
        energy_wh = data.energy_wh[np.isfinite(data.energy_wh)]
        typical = float(np.median(np.abs(energy_wh))) if energy_wh.size else 0.0
        return self._at_most(
            "counter_fell",
            subject=f"{period}: energy_wh",
            rule="no unit takes back many times what a unit counts, as when a counter starts anew",
            seen=float(np.count_nonzero(energy_wh < -self.fall_ratio * typical)),
            limit=0,
            unit="units",
        )

    def _step(self, period: str, data: Data) -> Finding:
        gap_us = data.start_us[1:] - data.start_us[:-1] - data.length_us[:-1]
        gap_us = gap_us[np.diff(data.position) == 1]
        worst = float(np.max(np.abs(gap_us), initial=0)) / data.median_length_us
        return self._at_most(
            "uneven_step",
            subject=period,
            rule="units follow one another without holes or overlaps",
            seen=worst,
            limit=self.step_ratio,
            unit="1",
        )

    def _days(self, period: str, data: Data) -> Finding:
        start_us, end_us = edges_us(data)
        return self._at_most(
            "wrong_day_length",
            subject=period,
            rule="a day lasts 24 hours on the clock on the wall, so 23 or 25 when it is set",
            seen=float(np.count_nonzero(end_us - start_us != US_PER_DAY)),
            limit=0,
            unit="units",
        )

    def _unit(self, period: str, name: str, data: Data, column: Array) -> Finding:
        known = np.flatnonzero(np.isfinite(column) & (column > 0))
        length_us = int(data.median_length_us)
        factor = unit_step(column[known], length_us, self.unit_factors)
        return self._at_most(
            "unit_changed",
            subject=f"{period}: {name}",
            rule="no step by a factor between units of measurement "
            f"({', '.join(f'{factor:g}' for factor in self.unit_factors)})",
            seen=factor,
            limit=1,
            unit="1",
        )

    def _range(self, name: str, before: Array, after: Array) -> list[Finding]:
        before, after = before[np.isfinite(before)], after[np.isfinite(after)]
        if not before.size or not after.size:
            return []
        low, high = float(np.min(before)), float(np.max(before))
        reach = self.range_ratio * (high - low)
        outside = np.count_nonzero((after < low - reach) | (after > high + reach))
        return [
            self._at_most(
                "driver_extrapolated",
                subject=name,
                rule=f"no reporting unit lies more than {self.range_ratio:.0%} of the baseline's "
                "range outside it",
                seen=outside / after.size,
                limit=0,
                unit="1",
            )
        ]

    def _at_most(
        self, code: str, *, subject: str, rule: str, seen: float, limit: float, unit: str
    ) -> Finding:
        return at_most(
            code, by=self.id, subject=subject, rule=rule, seen=seen, limit=limit, unit=unit
        )


@compiled
def _longest_equal(column: Array, position: Times) -> int:
    """Units of the longest run of one value other than 0, without holes."""
    longest, run = 0, 0
    for i in range(column.size):
        if not np.isfinite(column[i]) or column[i] == 0.0:
            run = 0
            continue
        follows = i > 0 and position[i] - position[i - 1] == 1 and column[i] == column[i - 1]
        run = run + 1 if follows else 1
        longest = max(longest, run)
    return longest


DATA_CHECKS = DataChecks(
    id="data-checks",
    version="1",
    text="No value stuck for more than 6 units and a day, no fall by more than 10 times the median "
    "unit, no hole or overlap above 5 % of a unit, days that are local days, no step by a factor "
    "of 1000 or 3.6; units more than 5 % of the baseline's range outside it, and those of a "
    "leverage above 2 p / n, are told with their share.",
    source="the 5 % and the leverage as usual in regression; the rest our own",
    stuck_units=6,
    stuck_us=US_PER_DAY,
    categories=10,
    fall_ratio=10,
    step_ratio=0.05,
    unit_factors=(1000.0, 3.6),
    range_ratio=0.05,
    leverage_ratio=2,
)
