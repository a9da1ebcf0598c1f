"""Counters by quarter-hour and by local day, and CO2e by quarter-hour, a part at a time. Pure.

A window is closed when a count at or after its end is believed, and has one row; until then its
sums are carried. However the parts are cut, the rows are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.factor import Factor
from joulemark_agent.contract.profile import Profile
from joulemark_agent.kernels.carbon import WH_PER_KWH
from joulemark_agent.kernels.counter import LARGEST, Followed, midnights_us
from joulemark_agent.kernels.energy import US_PER_H, counter_energy
from joulemark_gateway.series.base import INSIDE_US, Integers, Open, Rows, Texts
from joulemark_gateway.series.tables import CO2E, DAY, QUARTER

QUARTER_US, DAY_US = 900_000_000, 86_400_000_000
LONGEST_US = 10 * DAY_US  # a longer step between two counts is not spread over quarter-hours
ENERGY, GENERATOR = "energy_wh", "pv_inverter"
FactorOn = Callable[[date], Factor | None]  # of a local day; None: there is none, or several
_MOST_DAYS = 1000  # that one step is spread over
_NO_LIMIT = 10**6
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Windows:
    """One kind of window."""

    measurement: str
    longest_us: int  # what lies between two edges and is longer is none
    edges: Callable[[int, int, bool], Integers]  # in (start, end], of many steps or of a long one


def quarters() -> Windows:
    """Those of UTC."""
    return Windows(QUARTER, QUARTER_US, _quarter_edges)


def days(zone: ZoneInfo) -> Windows:
    """Those of a site; one may have 25 hours."""

    def edges(start_us: int, end_us: int, is_long: bool) -> Integers:
        return midnights_us(start_us, end_us + 1, zone, _MOST_DAYS if is_long else _NO_LIMIT)

    return Windows(DAY, DAY_US + 4 * QUARTER_US, edges)


def _quarter_edges(start_us: int, end_us: int, is_long: bool) -> Integers:
    first_us = (start_us // QUARTER_US + 1) * QUARTER_US
    last_us = end_us // QUARTER_US * QUARTER_US
    if is_long:  # what lies between has no quarter-hours of its own
        return np.array(sorted({first_us, last_us}), np.int64)
    return np.arange(first_us, last_us + 1, QUARTER_US, dtype=np.int64)


def windows_of(
    kind: Windows, point: str, followed: Followed, carried: Open
) -> tuple[Rows | None, Open]:
    """The windows that are closed by these nodes, and what is carried of the one that is not.

    Args:
        kind: which windows.
        point: the counter.
        followed: its nodes.
        carried: what the part before left: begin, amount, covered, estimated and missing of the
            window that is open; empty where there is none.
    """
    t_us = followed.t_us
    if t_us.size < 2:
        return None, carried
    first_us, last_us = int(t_us[0]), int(t_us[-1])
    ends_us = _edges_of(kind, t_us)
    is_closed = np.ones(ends_us.size, np.bool_)
    if ends_us.size == 0 or ends_us[-1] < last_us:
        ends_us, is_closed = np.append(ends_us, last_us), np.append(is_closed, False)
    edges_us = np.append(first_us, ends_us)
    all_good = np.ones(t_us.size, np.bool_)
    amount, covered, estimated, missing, _ = counter_energy(
        t_us, followed.count, all_good, followed.step[1:], edges_us, LARGEST
    )
    begin_us, sums = edges_us[:-1].copy(), (amount, covered, estimated, missing)
    if carried:
        begin_us[0] = carried[0]
        for column, before in zip(sums, carried[1:], strict=True):
            column[0] += before
    left: Open = () if is_closed[-1] else (int(begin_us[-1]), *(int(one[-1]) for one in sums))
    chosen = is_closed & (ends_us - begin_us <= kind.longest_us)
    if not chosen.any():
        return None, left
    return _rows(kind.measurement, point, begin_us[chosen], [one[chosen] for one in sums]), left


def co2e_of(
    quarter_hours: Rows, profile: Profile, zone: ZoneInfo, factor_on: FactorOn
) -> list[Rows]:
    """The CO2e of the energy that a device used, each quarter-hour with the factor of its day.

    None of energy that is made, of what is not known, and of a day with no factor or several.
    """
    if profile.kind == GENERATOR or quarter_hours.tags["point"][0] != ENERGY:
        return []
    energy_wh = quarter_hours.fields["amount"]
    known: dict[date, Factor | None] = {}
    chosen = []
    for t_us in quarter_hours.t_us.tolist():
        day = (_EPOCH + timedelta(microseconds=t_us)).astimezone(zone).date()
        if day not in known:
            known[day] = factor_on(day)
        chosen.append(known[day])
    is_told = np.array([one is not None for one in chosen], np.bool_) & ~np.isnan(energy_wh)
    told = [one for one, is_in in zip(chosen, is_told.tolist(), strict=True) if is_in and one]
    if not told:
        return []
    factor = np.array([float(one.factor_kg_per_kwh) for one in told])
    energy_wh = energy_wh[is_told]
    fields = {
        "co2e_kg": energy_wh / WH_PER_KWH * factor,
        "energy_wh": energy_wh,
        "factor_kg_per_kwh": factor,
    }
    names: Texts = np.array([one.id for one in told], object)
    return [Rows(CO2E, {"factor": names}, quarter_hours.t_us[is_told], fields)]


def _edges_of(kind: Windows, t_us: Integers) -> Integers:
    """The edges in (first node, last node]."""
    is_long = np.flatnonzero(np.diff(t_us) > LONGEST_US)
    found = [np.empty(0, np.int64)]
    begin = 0
    for before in [*is_long.tolist(), t_us.size - 1]:
        found.append(kind.edges(int(t_us[begin]), int(t_us[before]), False))
        if before + 1 < t_us.size:
            found.append(kind.edges(int(t_us[before]), int(t_us[before + 1]), True))
        begin = before + 1
    return np.unique(np.concatenate(found))


def _rows(measurement: str, point: str, begin_us: Integers, sums: list[Integers]) -> Rows:
    amount, covered, estimated, missing = sums
    known_us = (covered + estimated).astype(np.float64)
    known_us[known_us == 0] = np.nan  # nothing is known: that is no 0
    fields: dict[str, NDArray[np.float64]] = {
        "amount": np.where(np.isnan(known_us), np.nan, amount),
        "rate_per_h": amount * (US_PER_H / known_us),
        "covered_us": covered.astype(np.float64),
        "estimated_us": estimated.astype(np.float64),
        "missing_us": missing.astype(np.float64),
    }
    names: Texts = np.full(begin_us.size, point, object)
    return Rows(measurement, {"point": names}, begin_us + INSIDE_US, fields)
