"""Simulated meters whose avoided energy is known: recorded ones, and as many more as are asked for.

Each has 365 days before and 30 to 365 after, noise of 12 % of the load that remembers its past, and
a saving of 0 to 25 %. The truth is in kWh and deg F, as it was recorded.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulemark_gateway.measure import Baseline, Plan, Savings, avoided_energy
from joulemark_gateway.measure.data import Data
from support.five_parameters import YEAR, ar1
from support.temperature_meters import F_PER_K, WH_PER_KWH, celsius, rows

DAY_US = 86_400_000_000
FIRST_US = 1_577_836_800_000_000  # 2020-01-01
KINDS = ("5P", "3PH", "3PC", "PROD", "PROD_T", "FLAT")
PLANTS = frozenset({"PROD", "PROD_T"})
RHOS, FRACTIONS, SPANS = (0.0, 0.3, 0.6, 0.8, 0.9), (0.0, 0.03, 0.1, 0.25), (30, 90, 180, 365)
NOISE = 0.12  # standard deviation over the mean load
TEMPERATURE, PRODUCTION = "temperature_c", "production_kg"

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Known:
    """A meter with its truth."""

    truth: dict[str, Any]
    before: Data
    after: Data

    @property
    def kind(self) -> str:
        """What its energy follows."""
        return str(self.truth["kind"])

    @property
    def rho(self) -> float:
        """The memory of its noise."""
        return float(self.truth["rho"])

    @property
    def counterfactual_wh(self) -> float:
        """What it would have used after the measure."""
        return WH_PER_KWH * float(self.truth["true_counterfactual"])

    @property
    def avoided_wh(self) -> float:
        """What the measure saved."""
        return WH_PER_KWH * float(self.truth["true_avoided"])


@dataclass(frozen=True)
class Found:
    """What the engine, or somebody who knows more, says of a meter; all over the counterfactual."""

    error: float
    half_width: float
    excludes_zero: bool


def saving_of(meter: Known) -> Savings:
    """By the public engine: the policy of plants for what produces, else that of buildings."""
    policy = "iso50006-production" if meter.kind in PLANTS else "caltrack-daily-2.0"
    plan = Plan(policy, "lower-bound-one-sided-95", production_cycle_days=7)
    return avoided_energy(Baseline.fit(meter.before, plan), meter.after)


def found_in(meter: Known, saving: Savings) -> Found:
    """The error of a saving against the truth, with its interval."""
    assert saving.value_wh is not None, (meter.truth, saving.refused_by)
    assert saving.half_width_wh is not None
    return Found(
        (saving.value_wh - meter.avoided_wh) / meter.counterfactual_wh,
        saving.half_width_wh / meter.counterfactual_wh,
        abs(saving.value_wh) > saving.half_width_wh,
    )


def oracles(meter: Known) -> dict[str, float]:
    """The errors of those who are told what a model must find out, over the counterfactual."""
    x, later = columns(meter.truth, meter.before), columns(meter.truth, meter.after)
    y, rho = meter.before.energy_wh / WH_PER_KWH, meter.rho
    plain = np.linalg.lstsq(x, y)[0]
    weighted = np.linalg.lstsq(_whitened(x, rho), _whitened(y, rho))[0]
    last = (y - x @ weighted)[-1]
    carried = last * float(np.sum(rho ** np.arange(1, meter.after.n + 1)))
    truth = meter.truth["true_counterfactual"]
    predicted = {
        "every parameter known": expected(meter.truth, meter.after).sum(),
        "form and change points known": (later @ plain).sum(),
        "the same, weighted by the true memory": (later @ weighted).sum(),
        "the same, the last residual carried on": (later @ weighted).sum() + carried,
    }
    return {name: float(one - truth) / truth for name, one in predicted.items()}


def expected(truth: dict[str, Any], data: Data) -> Array:
    """The energy without noise. [kWh]"""
    slopes = [truth[name] for name in ("b0", "bh", "bc", "bp") if truth[name] or name == "b0"]
    return np.asarray(columns(truth, data) @ np.array(slopes))


def columns(truth: dict[str, Any], data: Data) -> Array:
    """The true design, shape (n, p)."""
    fahrenheit = 32 + F_PER_K * data.driver(TEMPERATURE) if TEMPERATURE in data.drivers else None
    made = [np.ones(data.n)]
    if truth["bh"]:
        made.append(np.maximum(truth["hb"] - fahrenheit, 0))
    if truth["bc"]:
        made.append(np.maximum(fahrenheit - truth["cb"], 0))
    if truth["bp"]:
        made.append(data.driver(PRODUCTION))
    return np.column_stack(made)


def recorded(folder: Path) -> Iterator[Known]:
    """The sixty recorded meters."""
    truth = json.loads((folder / "sim/sim_shared_truth.json").read_text("utf-8"))
    cases = defaultdict(list)
    for row in rows(folder / "sim/sim_shared.csv.gz"):
        cases[row["case"]].append(row)
    for case, found in cases.items():
        day, fahrenheit, made, kwh = (
            np.array([float(row[name]) for row in found])
            for name in ("day", "temp_f", "production", "observed")
        )
        is_before = np.array([row["baseline_period"] == "1" for row in found])
        yield _known(truth[case], day.astype(np.int64), fahrenheit, made, kwh, is_before)


def drawn(draw: np.random.Generator, kind: str, rho: float, *, saves: bool = True) -> Known:
    """A meter as the recorded ones are, as far as they show how they were made."""
    fraction = float(draw.choice(FRACTIONS)) if saves else 0.0
    m = int(draw.choice(SPANS))
    day = np.arange(YEAR + m)
    fahrenheit = 57 - 22 * np.cos(2 * np.pi * (day - 20) / YEAR) + 7 * ar1(draw, day.size, 0.7)
    made = np.where(day % 7 == 6, 0.0, 100 + 19 * ar1(draw, day.size, 0.7))
    heats, cools = kind in {"5P", "3PH"}, kind in {"5P", "3PC", "PROD_T"}
    truth: dict[str, Any] = {
        "kind": kind,
        "rho": rho,
        "fraction": fraction,
        "m": m,
        "b0": draw.uniform(30, 60),
        "bh": draw.uniform(0.5, 1.5) if heats else 0.0,
        "bc": draw.uniform(0.6, 1.8) if cools else 0.0,
        "bp": draw.uniform(0.3, 0.9) if kind in PLANTS else 0.0,
        "hb": draw.uniform(52, 62),
        "cb": draw.uniform(64, 72),
    }
    blank = _known(truth, day, fahrenheit, made, np.zeros(day.size), day < YEAR)
    load = np.concatenate([expected(truth, data) for data in (blank.before, blank.after)])
    noise = NOISE * load[:YEAR].mean() * ar1(draw, day.size, rho)
    avoided = np.where(day < YEAR, 0.0, fraction * load)
    truth |= {
        "true_counterfactual": float((load + noise)[YEAR:].sum()),
        "true_avoided": float(avoided.sum()),
    }
    return _known(truth, day, fahrenheit, made, load + noise - avoided, day < YEAR)


def _known(  # noqa: PLR0917 -- columns of a meter
    truth: dict[str, Any],
    day: NDArray[np.int64],
    fahrenheit: Array,
    made: Array,
    kwh: Array,
    is_before: NDArray[np.bool_],
) -> Known:
    columns = {
        "start": FIRST_US + day * DAY_US,
        "energy_wh": WH_PER_KWH * kwh,
        TEMPERATURE: celsius(fahrenheit),
        PRODUCTION: made,
    }
    drivers = [TEMPERATURE, *([PRODUCTION] if truth["kind"] in PLANTS else [])]
    before, after = (
        Data.of(
            {name: column[chosen] for name, column in columns.items()},
            drivers=drivers,
            unit_us=DAY_US,
            zone="UTC",
        )
        for chosen in (is_before, ~is_before)
    )
    return Known(truth, before, after)


def _whitened(values: Array, rho: float) -> Array:
    """The rows with the memory of their noise taken out."""
    rest = values[1:] - rho * values[:-1]
    return np.concatenate([values[:1] * np.sqrt(1 - rho * rho), rest])
