"""Soiled modules: a known loss a day with cleanings by rain, found again from noisy samples.

Sixty days, -0.2 % a day, rain that washes every two to four weeks and drizzle that does not, 2 %
noise on every sample of power, a third of the days clouded, a sample every quarter of an hour.
"""

from __future__ import annotations

import numpy as np

from joulemark_agent.equipment.base import Analysis
from joulemark_agent.equipment.pv_inverter import Parameters, analyse
from support.sunny import DAY_S, GAMMA_PER_K, PEAK_W, days, measured

DAYS, STEP_S = 60, 900.0
DAILY = 0.002
MOST_ERROR = 0.0005
LEAST_RIGHT = 0.98
LEAST_COVERED = 0.85  # of the trials: the truth lies within two standard uncertainties


def run(seed: int, *, full: bool) -> dict[str, str]:
    """A hundred roofs, or two."""
    errors, inside = [], []
    for trial in range(100 if full else 2):
        analysis, _ = roof([seed, trial])
        figure = analysis.figure("daily_soiling_ratio")
        assert figure.value is not None, figure.why
        assert figure.standard_uncertainty is not None
        errors.append(figure.value - DAILY)
        inside.append(abs(figure.value - DAILY) <= 2 * figure.standard_uncertainty)
    right = float(np.mean(np.abs(errors) <= MOST_ERROR))
    assert right >= LEAST_RIGHT, f"{1 - right:.1%} of the slopes are off, by {errors}"
    assert not full or np.mean(inside) >= LEAST_COVERED
    return {
        f"slopes within {MOST_ERROR:.2%} a day": f"{right:.1%}",
        "slope": f"{np.std(errors):.4%} a day in general, at worst {np.abs(errors).max():.4%}",
        "truth within two standard uncertainties": f"{np.mean(inside):.0%} of {len(inside)}",
    }


def roof(
    seed: list[int], *, daily: float = DAILY, has_gauge: bool = True, noise: float = 0.02
) -> tuple[Analysis, list[int]]:
    """The analysis of one roof, and the days before which it was washed."""
    rng = np.random.default_rng(seed)
    made = days(rng, DAYS, STEP_S, cloudy=0.33, share=0.95)
    washed = np.cumsum(rng.integers(14, 28, 4))
    washed = washed[washed < DAYS - 3]
    drizzle = np.setdiff1d(rng.choice(DAYS, 5, replace=False), washed)
    day = np.arange(made.t_s.size) * STEP_S / DAY_S
    since = day - np.array([max([0, *washed[washed <= one]]) for one in day])
    given_w = made.free_w * (1.0 - daily * since)
    rain_m = np.zeros(made.t_s.size)
    per_day = round(DAY_S / STEP_S)
    rain_m[washed * per_day + 1] = 0.008
    rain_m[drizzle * per_day + 1] = 0.006
    more = {"rain_m": rain_m} if has_gauge else {}
    samples = measured(rng, made, given_w, ac_noise=noise, sun_noise=0.003, **more)
    parameters = Parameters.model_validate({
        "dc_peak_w": PEAK_W, "gamma_per_k": GAMMA_PER_K, "cells": {"over_back_k": 0},
        "soiling": {"longitude_deg": 0.0},
    })  # fmt: skip
    return analyse(parameters, samples), washed.tolist()
