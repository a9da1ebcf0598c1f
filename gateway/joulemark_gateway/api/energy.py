"""Energy and CO2e by local day, and how good the values behind them are; from the series.

| basis | a day's energy is |
|---|---|
| counter | the sum of the steps of the device's counter that begin in the day, in whole Wh |
| held | power times time, each value holding until the next: a device without a counter |

Missing is not zero: a day of which nothing is known has no energy, and what is missing of a day is
told beside what is known. CO2e is summed first and rounded last, with the factor of each day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

import numpy as np

from joulemark_agent.contract.canonical import decimal_text
from joulemark_agent.contract.factor import Factor
from joulemark_agent.contract.profile import own_period_us
from joulemark_agent.equipment.base import SAMPLED_AT, Samples, held
from joulemark_agent.equipment.readings import longest_step_us, slow_gauges_us
from joulemark_agent.kernels.carbon import co2e
from joulemark_gateway.api.plant import DAY, ENERGY, Device, midnight_us
from joulemark_gateway.equipment import of_series
from joulemark_gateway.evidence.emission_factors import factor_on
from joulemark_gateway.series.base import QUALITY, Integers, SeriesReader

Basis = Literal["counter", "held", "none"]
NO_FACTOR, GENERATED_ENERGY, NO_ENERGY, NO_FACTORS = (
    "no_factor",
    "generated",
    "no_energy",
    "no_factor_document",
)
_MILLIGRAM = Decimal("0.000001")  # of CO2e, in kg


@dataclass(frozen=True)
class Carbonised:
    """CO2e, or the code of the reason why there is none; and the factors used."""

    co2e_kg: str | None
    factors: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Day:
    """The energy of one local day; covered + estimated + missing is what of it has passed."""

    day: date
    start_us: int
    end_us: int
    energy_wh: float | None  # None: nothing is known of it
    covered_us: int
    estimated_us: int
    missing_us: int
    carbon: Carbonised

    @property
    def passed_us(self) -> int:
        """How much of the day has passed."""
        return self.covered_us + self.estimated_us + self.missing_us


@dataclass(frozen=True)
class Days:
    """The energy of a device by day."""

    basis: Basis
    point: str  # the counter or the power; empty where there is neither
    days: tuple[Day, ...]
    total_wh: float | None
    carbon: Carbonised  # of the total


@dataclass(frozen=True, eq=False)
class WindowSums:
    """The energy of windows. Shapes (n,)."""

    amount: Integers  # Wh; floats where power is held
    covered_us: Integers
    estimated_us: Integers


def basis_of(device: Device) -> tuple[Basis, str]:
    """From which point the device's energy comes, and how."""
    if device.counter is not None:
        return "counter", device.counter.name
    if device.power is not None:
        return "held", device.power
    return "none", ""


def days_of(
    reader: SeriesReader, site: str, device: Device, span: tuple[date, date], now_us: int
) -> Days:
    """The energy of each local day from the first to the last.

    Args:
        reader: the series.
        site: id of the site.
        device: of the site.
        span: first and last day.
        now_us: the site's clock: what lies after it is not missing. [us UTC]

    Raises:
        StoreError: the series cannot be read.
    """
    first, last = span
    days = [first + DAY * k for k in range((last - first).days + 1)]
    edges_us = np.array([midnight_us(day, device.zone) for day in (*days, last + DAY)], np.int64)
    basis, point = basis_of(device)
    sums = sums_in(reader, site, device, edges_us)
    if sums is None:
        return Days(basis, point, (), None, Carbonised(None, (), NO_ENERGY))
    amount, covered, estimated = sums.amount, sums.covered_us, sums.estimated_us
    found = []
    due_us = recorded_in(reader, site, device, now_us)
    for k, day in enumerate(days):
        start_us, end_us = int(edges_us[k]), int(edges_us[k + 1])
        known_us = int(covered[k] + estimated[k])
        is_recorded = start_us < due_us[1] and end_us > due_us[0]
        passed_us = min(end_us, now_us) - start_us if is_recorded else 0
        energy_wh = float(amount[k]) if known_us else None
        found.append(
            Day(
                day=day,
                start_us=start_us,
                end_us=end_us,
                energy_wh=energy_wh,
                covered_us=int(covered[k]),
                estimated_us=int(estimated[k]),
                missing_us=max(passed_us - known_us, 0),
                carbon=carbon_of(device, [day], [energy_wh]),
            )
        )
    energies = [day.energy_wh for day in found]
    known = [energy_wh for energy_wh in energies if energy_wh is not None]
    total_wh = sum(known) if known else None
    return Days(basis, point, tuple(found), total_wh, carbon_of(device, days, energies))


def sums_in(
    reader: SeriesReader, site: str, device: Device, edges_us: Integers
) -> WindowSums | None:
    """What the device used in each window, and how much of it is known; None: it has no energy.

    A step of a counter belongs to the window in which it begins.

    Args:
        reader: the series.
        site: id of the site.
        device: of the site.
        edges_us: of the windows, strictly increasing, shape (n + 1,). [us UTC]

    Raises:
        StoreError: the series cannot be read.
    """
    basis, point = basis_of(device)
    if basis == "counter":
        return WindowSums(*counted_in(reader, (site, device.id, point), edges_us))
    if basis == "held":
        return WindowSums(*held_by(reader, site, device, point, edges_us))
    return None


def recorded_in(reader: SeriesReader, site: str, device: Device, now_us: int) -> tuple[int, int]:
    """From the device's first reading to its last slot, or to now: outside of it nothing is due."""
    begun_us = reader.begun_us(site, device.id)
    if begun_us is None:
        return 0, 0
    return begun_us, now_us if device.last_slot_us is None else device.last_slot_us


def carbon_of(
    device: Device, days: Sequence[date], energies_wh: Sequence[float | None]
) -> Carbonised:
    """The CO2e of used energy by day: summed over the days of one factor first, rounded last."""
    pairs = [(day, wh) for day, wh in zip(days, energies_wh, strict=True) if wh is not None]
    if device.is_generator or (device.counter is not None and device.counter.name != ENERGY):
        return Carbonised(None, (), GENERATED_ENERGY)
    if not pairs:
        return Carbonised(None, (), NO_ENERGY)
    if device.carbon is None:
        return Carbonised(None, (), NO_FACTORS)
    by_factor: dict[str, list[float]] = {}
    chosen: dict[str, Factor] = {}
    for day, energy_wh in pairs:
        factor = factor_on(device.carbon, day)
        if factor is None:
            return Carbonised(None, (), NO_FACTOR)
        chosen[factor.id] = factor
        by_factor.setdefault(factor.id, []).append(energy_wh)
    total_kg = 0.0
    for name, energies in by_factor.items():
        factor = chosen[name]
        ratio = float(factor.standard_uncertainty_ratio)
        column = np.array(energies, np.float64)
        total_kg += co2e(column, float(factor.factor_kg_per_kwh), ratio)[0]
    text = decimal_text(Decimal(total_kg).quantize(_MILLIGRAM))
    return Carbonised(text, tuple(sorted(chosen)))


def counted_in(
    reader: SeriesReader, place: tuple[str, str, str], edges_us: Integers
) -> tuple[Integers, Integers, Integers]:
    """What the steps of a counter that begin in each window add up to."""
    steps = reader.amounts(*place, int(edges_us[0]), int(edges_us[-1]))
    window = np.searchsorted(edges_us, steps.start_us, side="right") - 1
    sums = []
    for column in (steps.amount, steps.covered_us, steps.estimated_us):
        total = np.zeros(edges_us.size - 1, np.int64)
        np.add.at(total, window, np.rint(column).astype(np.int64))
        sums.append(total)
    return sums[0], sums[1], sums[2]


def held_by(
    reader: SeriesReader, site: str, device: Device, point: str, edges_us: Integers
) -> tuple[Integers, Integers, Integers]:
    """Power times time in windows: energy, and how much of each is covered and estimated.

    Raises:
        StoreError: the series cannot be read.
    """
    samples = held_around(reader, site, device, point, (int(edges_us[0]), int(edges_us[-1])))
    windows = held(samples, point, edges_us)
    return windows.amount, windows.covered_us, windows.estimated_us  # type: ignore[return-value]  # Wh are floats here


def held_around(
    reader: SeriesReader, site: str, device: Device, point: str, span_us: tuple[int, int]
) -> Samples:
    """The samples of a gauge in a span, and those around it that hold into it."""
    period_us = own_period_us(device.profile.point(point), device.period_us)
    around_us = 2 * longest_step_us(period_us)
    wider_us = (span_us[0] - around_us, span_us[1] + around_us)
    points = _with_stamp(device, point)
    slow_us = slow_gauges_us(device.profile)
    return of_series(reader, (site, device.id), points, wider_us, period_us, slow_us=slow_us)


def _with_stamp(device: Device, point: str) -> list[str]:
    """The point, and the device's own time of a sample where it states one."""
    has_stamp = any(other.name == SAMPLED_AT for other in device.profile.points)
    return [point, SAMPLED_AT] if has_stamp else [point]


@dataclass(frozen=True)
class Quality:
    """The values that were due in a span, by what became of them; they add up to `due`."""

    due: int
    good: int
    uncertain: int
    bad: int
    missing: int


def quality_of(
    reader: SeriesReader, site: str, device: Device, span_us: tuple[int, int], now_us: int
) -> Quality:
    """What became of the values due between the device's first reading and the site's clock.

    Raises:
        StoreError: the series cannot be read.
    """
    return qualities_of(reader, site, device, np.array(span_us, np.int64), now_us)[0]


def qualities_of(
    reader: SeriesReader, site: str, device: Device, edges_us: Integers, now_us: int
) -> list[Quality]:
    """The same for each of several windows.

    Args:
        reader: the series.
        site: id of the site.
        device: of the site.
        edges_us: of the windows, strictly increasing, shape (n + 1,). [us UTC]
        now_us: the site's clock. [us UTC]

    Raises:
        StoreError: the series cannot be read.
    """
    number = edges_us.size - 1
    extent = reader.extent(site, device.id)
    if extent is None:
        return [Quality(0, 0, 0, 0, 0)] * number
    start_us = np.maximum(edges_us[:-1], extent[0] // device.period_us * device.period_us)
    until_us = now_us + 1
    if device.last_slot_us is not None:
        until_us = min(until_us, device.last_slot_us + 1)
    end_us = np.minimum(edges_us[1:], until_us)
    counts, due = np.zeros((number, 256), np.int64), np.zeros(number, np.int64)
    for point in device.profile.points:
        span_us = int(edges_us[0]), int(edges_us[-1])
        samples = reader.samples(site, device.id, point.name, *span_us)
        window = np.searchsorted(edges_us, samples.t_utc_us, side="right") - 1
        np.add.at(counts, (window, samples.quality), 1)
        period_us = own_period_us(point, device.period_us)
        due += np.maximum(-(-end_us // period_us) - -(-start_us // period_us), 0)
    return [_quality(row, int(number)) for row, number in zip(counts, due, strict=True)]


def _quality(counts: Integers, due: int) -> Quality:
    good, uncertain = int(counts[QUALITY["good"]]), int(counts[QUALITY["uncertain"]])
    absent = int(counts[QUALITY["missing"]])
    bad = int(counts.sum()) - good - uncertain - absent
    due = max(due, good + uncertain + bad)  # a slow line may answer after the span's end
    return Quality(due, good, uncertain, bad, due - good - uncertain - bad)
