"""The synthetic production counter: tonnes that no works made, from a formula over recorded energy.

Source: docs/decisions/0001-a-saving-needs-a-driver.md ("hold and repay"); everything but the draw
of the noise is integer arithmetic.
"""

from __future__ import annotations

import math
import random
from fractions import Fraction
from statistics import NormalDist

import numpy as np

from joulemark_agent.simulate.exact import half_even
from joulemark_agent.simulate.recording import Integers
from joulemark_agent.simulate.scenario import Noise, Production

_QUARTERS = 4  # intervals in an hour, the unit of the noise


def production_kg(energy_10wh: Integers, production: Production) -> Integers:
    """Synthetic kilograms made since the opening, at each of the n + 1 slots; never decreasing.

    Per hour (E - base - noise) / energy per tonne. The counter is the running maximum of the exact
    sum: an hour below zero holds it, and the debt is repaid before it moves again. Inside an hour
    the tonnes follow the energy, so an interval without energy makes none.

    Args:
        energy_10wh: recorded energy of the quarter-hours, 0 where nothing was read, whole hours,
            shape (n,). [10 Wh]
        production: base, energy per tonne and noise.
    """
    quarters = energy_10wh.reshape(-1, _QUARTERS)
    hour = quarters.sum(axis=1)
    seen = np.count_nonzero(quarters, axis=1)  # no base where nothing was read
    # In quarters of 10 Wh the base of a single quarter-hour is whole as well.
    base = int(100 * production.base_kwh_per_h) * seen
    is_whole = seen == _QUARTERS
    mean_10wh = float(hour[is_whole].sum()) / np.count_nonzero(is_whole)
    made = _QUARTERS * (hour - _noise_10wh(production.noise, mean_10wh, hour.size)) - base
    total = np.maximum.accumulate(np.append(0, np.cumsum(made)))
    before, step = total[:-1, None], np.diff(total)[:, None]
    whole = np.maximum(hour, 1)[:, None]  # an hour without any energy: the step waits for the next
    exact = before * whole + step * np.cumsum(quarters, axis=1)
    kg = Fraction(10, _QUARTERS) / Fraction(production.energy_kwh_per_t)  # of a quarter of 10 Wh
    return np.append(0, half_even(exact * kg.numerator, whole * kg.denominator).ravel())


def _noise_10wh(noise: Noise, mean_10wh: float, hours: int) -> Integers:
    """One AR(1) value per hour, in whole 10 Wh: the resolution of the meter."""
    # Python promises this uniform stream for ever; numpy's generators make no such promise.
    stream, quantile = random.Random(noise.seed), NormalDist().inv_cdf
    rho, sd_10wh = float(noise.rho), float(noise.sd_share) * mean_10wh
    values: list[float] = []
    value = 0.0
    for n in range(hours):
        shock = sd_10wh * quantile(stream.random())
        value = rho * value + (shock * math.sqrt(1 - rho**2) if n else shock)
        values.append(value)
    return np.rint(values).astype(np.int64)
