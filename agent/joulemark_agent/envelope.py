"""What the envelope of a batch says of the leaves before it: counts, time quality, energy, CO2e.

Pure: the sums are functions of the leaves, so anybody who has the leaves can repeat them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.canonical import decimal_text
from joulemark_agent.contract.committed import ENERGY
from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.factor import Factor, FactorSet
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import SIMULATED, Gap, Instant, Reading, instant_of
from joulemark_agent.kernels.stamps import late_us

UNSYNCHRONISED = "unsynchronised"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLIGRAM = Decimal("0.000001")  # of CO2e, in kg


class Row(NamedTuple):
    """What the sums need of one record."""

    slot_us: int
    values: Mapping[str, str]
    quality: Mapping[str, str]
    instant: Instant | None = None  # when it was read; None: by a clock that is simulated


class Sums(NamedTuple):
    """What an envelope says of energy, and from which row the next one goes on."""

    fields: dict[str, str | None]  # empty: there is nothing to sum
    last: int  # of the batch's rows; -1: the anchor stays


@dataclass(frozen=True)
class Carbon:
    """Which emission factor applies to the energy of which local day."""

    factors: FactorSet
    rule_set: str
    jurisdiction: str
    time_zone: ZoneInfo


@dataclass
class Tally:
    """Counts over the leaves since the last envelope."""

    records: int = 0
    values: int = 0
    gap_slots: int = 0
    unsynchronised: int = 0
    first_slot_us: int | None = None
    last_slot_us: int | None = None
    leaf_bytes: int = 0
    rows: list[Row] = field(default_factory=list)

    @property
    def slots(self) -> int:
        """Slots accounted for, with or without a reading."""
        return self.records + self.gap_slots

    def take_reading(
        self, reading: Reading, boot: int, values: Mapping[str, str], quality: Mapping[str, str]
    ) -> None:
        """Count one record."""
        sync = reading.time_quality.sync
        instant = Instant(boot, reading.t_utc_us, reading.t_mono_ns // 1000)
        row = Row(reading.slot_us, values, quality, None if sync == SIMULATED else instant)
        self._take_record(row, sync)

    def take_gap(self, gap: Gap) -> None:
        """Count the slots of one gap."""
        self.gap_slots += gap.slots
        self._take_slots(gap.first_slot_us, gap.last_slot_us)

    def take_leaf(self, leaf: Mapping[str, Any]) -> None:
        """Count a leaf that was written before: a record, a gap, or another event."""
        if "type" not in leaf:
            self._take_record(row_of(leaf), leaf["tq"]["sync"])
        elif leaf["type"] == "gap":
            self.gap_slots += int(leaf["slots"])
            self._take_slots(int(leaf["first_slot"]), int(leaf["last_slot"]))

    def _take_record(self, row: Row, sync: str) -> None:
        self.records += 1
        self.values += len(row.values)
        self.unsynchronised += sync == UNSYNCHRONISED
        self.rows.append(row)
        self._take_slots(row.slot_us, row.slot_us)

    def _take_slots(self, first_us: int, last_us: int) -> None:
        if self.first_slot_us is None:
            self.first_slot_us = first_us
        self.last_slot_us = last_us


def row_of(leaf: Mapping[str, Any]) -> Row:
    """The sums' part of a parsed record."""
    return Row(int(leaf["slot"]), leaf["val"], leaf["q"], instant_of(leaf))


def energy_sums(
    profile: Profile,
    anchor: Row | None,
    rows: Sequence[Row],
    *,
    period_us: int,
    carbon: Carbon,
) -> Sums:
    """Energy and CO2e between the readings of a batch, the last believed before it included.

    A reading counts at its slot, as measurement counts it; a step over 1.5 periods is estimated.
    The time after the last count that is believed belongs to the next envelope: what comes after
    a fall, a 0 or a leap decides what that was.

    Args:
        profile: the device's profile; without a counter `energy_wh` there is nothing to sum.
        anchor: the record before the batch that the sums go on from, if any.
        rows: the batch's records, in order.
        period_us: the time from slot to slot. [us]
        carbon: where the emission factor comes from; without one `co2e_kg` is null, never 0.
    """
    whole = list(rows) if anchor is None else [anchor, *rows]
    is_summed = any(point.name == ENERGY and point.counter for point in profile.points)
    if not is_summed or len(whole) < 2:
        return Sums({}, len(rows) - 1)
    # numba costs half a second and 100 MB: an agent with nothing to sum does not pay for it.
    from joulemark_agent.kernels.counter import LARGEST, follow, semantics_of  # noqa: PLC0415
    from joulemark_agent.kernels.energy import counter_energy  # noqa: PLC0415

    slot_us = np.array([row.slot_us for row in whole], np.int64)
    counter = _column(whole, ENERGY)
    followed = follow(
        semantics_of(profile, profile.point(ENERGY), period_us),
        slot_us,
        counter,
        counter >= 0,
        _steps_ok(profile, whole),
        carbon.time_zone,
        late_us=late_us([row.instant for row in whole]),
    )
    last = int(followed.index[-1]) if followed.index.size else len(whole) - 1
    days, edges_us = _days(int(slot_us[0]), int(slot_us[last]), carbon.time_zone)
    energy_wh, covered_us, estimated_us, missing_us, _ = counter_energy(
        followed.t_us,
        followed.count,
        np.ones(followed.t_us.size, np.bool_),
        followed.step[1:],
        np.array(edges_us, np.int64),
        LARGEST,
    )
    fields = {
        "point": ENERGY,
        "energy_wh": str(int(energy_wh.sum())),
        "covered_us": str(int(covered_us.sum())),
        "estimated_us": str(int(estimated_us.sum())),
        "missing_us": str(int(missing_us.sum())),
        "co2e_kg": _co2e_kg(energy_wh, days, carbon),
    }
    return Sums(fields, last - (anchor is not None))


def warm(profile: Profile, carbon: Carbon) -> None:
    """Compile the kernels of `energy_sums`, or load them from the cache, before they are due."""
    names = [point.name for point in profile.points]
    for factor in carbon.factors.factors:
        start = datetime.combine(factor.valid_from, time(12), carbon.time_zone)
        first_us = (start - _EPOCH) // timedelta(microseconds=1)
        rows = [Row(first_us + i, dict.fromkeys(names, "0"), {}) for i in range(2)]
        energy_sums(profile, None, rows, period_us=1, carbon=carbon)


def _co2e_kg(energy_wh: NDArray[np.int64], days: Sequence[date], carbon: Carbon) -> str | None:
    """CO2e of the energy of each day, summed over days of one factor first; None without factor."""
    from joulemark_agent.kernels.carbon import co2e  # noqa: PLC0415

    by_factor: dict[str, list[int]] = {}
    chosen: dict[str, Factor] = {}
    for index, day in enumerate(days):
        try:
            factor = carbon.factors.choose(
                rule_set=carbon.rule_set, jurisdiction=carbon.jurisdiction, day=day
            )
        except MeasureError:
            return None
        chosen[factor.id] = factor
        by_factor.setdefault(factor.id, []).append(index)
    total_kg = 0.0
    for name, windows in by_factor.items():
        factor = chosen[name]
        ratio = float(factor.standard_uncertainty_ratio)
        total_kg += co2e(energy_wh[windows], float(factor.factor_kg_per_kwh), ratio)[0]
    return decimal_text(Decimal(total_kg).quantize(_MILLIGRAM))


def _column(rows: Sequence[Row], name: str) -> NDArray[np.int64]:
    """A counter's counts, -1 where it has none that counts."""
    from joulemark_agent.kernels.counter import LARGEST, count_of  # noqa: PLC0415

    texts = ("-1" if name in row.quality else row.values.get(name, "-1") for row in rows)
    counts = (count_of(text) for text in texts)
    kept = (count if count <= LARGEST else -1 for count in counts)
    return np.fromiter(kept, np.int64, len(rows))


def _steps_ok(profile: Profile, rows: Sequence[Row]) -> NDArray[np.bool_]:
    """Whether the step to each row counts: no rule of the profile takes it away."""
    from joulemark_agent.kernels.clean import all_zero_steps  # noqa: PLC0415

    step_ok = np.ones(len(rows), np.bool_)
    for rule in profile.rules:
        if ENERGY not in rule.counters:
            continue
        counters = np.array([_column(rows, name) for name in rule.counters])
        gauges = np.full((len(rule.gauges), len(rows)), np.nan)
        for k, name in enumerate(rule.gauges):
            for i, row in enumerate(rows):
                if name in row.values and name not in row.quality:
                    gauges[k, i] = float(row.values[name])
        step_ok[1:] &= all_zero_steps(counters, gauges)
    return step_ok


def _days(first_us: int, last_us: int, zone: ZoneInfo) -> tuple[list[date], list[int]]:
    """The local days that [first, last) touches, and the edges between them. [us UTC]"""
    day = (_EPOCH + timedelta(microseconds=first_us)).astimezone(zone).date()
    days, edges_us = [day], [first_us]
    while True:
        day += timedelta(days=1)
        midnight = datetime.combine(day, time(), zone).astimezone(UTC)
        edge_us = (midnight - _EPOCH) // timedelta(microseconds=1)
        if edge_us >= last_us:
            return days, [*edges_us, last_us]
        days.append(day)
        edges_us.append(edge_us)
