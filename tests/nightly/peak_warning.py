"""Warning before the demand passes a limit, on recorded loads: how often, how often wrongly.

A year of a steel works read every 15 minutes (Gwangyang, 2018), with intervals of 15 minutes, of
which one reading is known at a time, and of 60 minutes; and a week of four compressors read every
59 s (the real channels of a compressor house, 2022) with intervals of 15 minutes. The limits are
shares of the peak. An interval is `warned` if a warning stood before its end, `in time` if one
stood before its demand passed the limit.
"""

from __future__ import annotations

import csv
import gzip
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from joulemark_gateway.costs.forecast import Level, Standing, WarningRule
from joulemark_gateway.costs.walk import Counted, Limit, Windows, walked

DATA = Path(os.environ.get("JOULEMARK_DATA", "data"))
_US = 1_000_000
_KST_S = 9 * 3600
_SHARES = (0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Outcome:
    """What the warnings of one run were worth."""

    intervals: int
    passed: int
    warned: int
    in_time: int
    early_minutes: float  # median of those in time, before the end of the interval

    @property
    def text(self) -> str:
        """As a figure."""
        false = self.warned - self.in_time
        return (
            f"{self.passed} of {self.intervals} intervals passed; {self.warned} warned, of them "
            f"{self.in_time} that passed, in time ({self.early_minutes:.0f} min before the end), "
            f"and {false} that did not; {self.passed - self.in_time} passed without a warning "
            "in time"
        )


def steel() -> Counted:
    """The year of the steel works; its one hole stays one."""
    path = DATA / "steel_gwangyang_2018" / "Steel_industry_data.csv.gz"
    ends, amounts = [], []
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            at = datetime.strptime(row["date"], "%d/%m/%Y %H:%M").replace(tzinfo=UTC)
            if row["NSM"] == "0":
                at += timedelta(days=1)
            if float(row["Usage_kWh"]) == 0 and float(row["Lagging_Current_Power_Factor"]) == 0:
                continue
            ends.append(int(at.timestamp()) - _KST_S)
            amounts.append(float(row["Usage_kWh"]) * 1000)
    end = np.array(ends, np.int64) * _US
    order = np.argsort(end)
    return Counted(end[order] - 900 * _US, end[order], np.array(amounts)[order])


def compressors() -> Counted:
    """The four real machines; stamps are truncated to the minute, so rows are 59 s apart."""
    path = DATA / "compressor_house_8x_1min" / "data-explorer-example_0501-0508.csv.gz"
    names = ("Compressor A1 (kW)", "Compressor B1 (kW)", "Compressor C 1(kW)", "Compressor D1 (kW)")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    begin = datetime.strptime(rows[0]["DateTime"], "%m/%d/%Y %H:%M").replace(tzinfo=UTC)
    watts = np.array([sum(float(row[name]) for name in names) * 1000 for row in rows])
    t_us = (int(begin.timestamp()) + 59 * np.arange(len(rows) + 1, dtype=np.int64)) * _US
    return Counted(t_us[:-1], t_us[1:], watts * 59 / 3600)


def outcome(counted: Counted, minutes: int, limit_w: float, uncertainties: float) -> Outcome:
    """Walk through the readings as the collector does."""
    windows, demand_w = windows_of(counted, minutes)
    rule = WarningRule(0.0, coverage_factor=uncertainties)
    warned_at: dict[int, int] = {}
    reached_at: dict[int, int] = {}
    limit = Limit(limit_w, grows=False)
    last = int(counted.end_us[-1])
    for found in walked(windows, [counted], -1, last, Standing(), limit, rule):
        run = found.running
        if found.forecast.so_far_w > limit_w:
            reached_at.setdefault(run.start_us, run.at_us)
        elif found.standing.level is not Level.QUIET and run.at_us < run.end_us:
            warned_at.setdefault(run.start_us, run.at_us)
    start = windows.start_us.tolist()
    passed = {start[k] for k in np.flatnonzero(demand_w > limit_w)}
    timely = [w for w in passed if w in warned_at and warned_at[w] < reached_at.get(w, 2**62)]
    early = [w + minutes * 60 * _US - warned_at[w] for w in timely]
    return Outcome(
        int(np.count_nonzero(~np.isnan(demand_w))),
        len(passed),
        len([w for w in warned_at if w in passed or not np.isnan(demand_w[start.index(w)])]),
        len(timely),
        float(np.median(early)) / 60 / _US if early else 0.0,
    )


def windows_of(counted: Counted, minutes: int) -> tuple[Windows, np.ndarray]:
    """The intervals, and the demand of each; NaN where not all of it is known."""
    length = minutes * 60 * _US
    first = -(-int(counted.start_us[0]) // length) * length
    start = np.arange(first, int(counted.end_us[-1]) // length * length, length, dtype=np.int64)
    windows = Windows(start, start + length, np.ones(start.size, np.bool_))
    nodes = np.empty(2 * counted.start_us.size)
    nodes[0::2], nodes[1::2] = counted.start_us, counted.end_us
    wh, us = np.zeros(nodes.size), np.zeros(nodes.size)
    wh[1::2], us[1::2] = counted.amount_wh, counted.end_us - counted.start_us
    edges = np.append(start, start[-1] + length).astype(np.float64)
    energy = np.diff(np.interp(edges, nodes, np.cumsum(wh)))
    known = np.diff(np.interp(edges, nodes, np.cumsum(us)))
    return windows, np.where(known >= 0.95 * length, energy * 60 / minutes, np.nan)


def run(seed: int, *, full: bool = False) -> dict[str, str]:
    """The figures, by recording, interval, limit and the uncertainty that is added."""
    del seed
    figures = {}
    cases = [("steel works, year", steel(), 15), ("steel works, year", steel(), 60)]
    cases.append(("compressors, week", compressors(), 15))
    for name, counted, minutes in cases:
        _, demand_w = windows_of(counted, minutes)
        peak_w = float(np.nanmax(demand_w))
        shares = (0.9, 0.95, 0.98) if name.startswith("compressors") else _SHARES
        for share in shares if full else shares[:1]:
            for uncertainties in (0.0, 1.0):
                found = outcome(counted, minutes, share * peak_w, uncertainties)
                assert found.in_time <= found.passed
                key = f"{name}, {minutes} min, limit {share * 100:.0f} % of the peak"
                key += f" ({share * peak_w / 1000:.0f} kW), forecast + {uncertainties:.0f} u"
                figures[key] = found.text
    return figures
