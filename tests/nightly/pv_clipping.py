"""Clipped power of inverters: what is found of it, for ratios of DC to AC rating, under clouds.

Once a minute; the irradiance is 1 % unsure from sample to sample, the limited power 0.05 %.
Truth is known sample by sample: the plant would have given more than its inverter's limit.
"""

from __future__ import annotations

import numpy as np

from joulemark_agent.equipment.pv_amounts import Columns
from joulemark_agent.equipment.pv_clipping import clipping, rated_dc_w
from joulemark_agent.equipment.pv_inverter import Parameters, analyse
from joulemark_agent.physics.photovoltaics import INVERTER_EFFICIENCY
from support.sunny import GAMMA_PER_K, PEAK_W, days, measured

RATIOS = (1.1, 1.2, 1.3, 1.4, 1.5)
LEAST = 0.98
MOST_ENERGY_ERROR = 0.03
DAILY_WH, MOST_OF_DAY = 5 * PEAK_W, 0.002


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Each ratio over a hundred weeks, or three of them over one."""
    figures = {}
    for k, ratio in enumerate(RATIOS if full else RATIOS[::2]):
        weeks = [_week([seed, k, week], ratio) for week in range(100 if full else 1)]
        found, right, true, told_wh, lost_wh = np.sum(weeks, axis=0)
        precision, recall = right / found, right / true
        assert precision >= LEAST, f"DC/AC {ratio}: precision {precision:.4f}"
        assert recall >= LEAST, f"DC/AC {ratio}: recall {recall:.4f}"
        error = told_wh / lost_wh - 1.0
        assert abs(error) <= MOST_ENERGY_ERROR, f"DC/AC {ratio}: lost energy {error:+.2%} off"
        worst = max(abs(week[3] - week[4]) for week in weeks) / (7 * DAILY_WH)
        assert worst <= MOST_OF_DAY, f"DC/AC {ratio}: lost energy {worst:.2%} of a week's off"
        figures[f"DC/AC {ratio}"] = (
            f"precision {precision:.4f}, recall {recall:.4f}, lost energy {error:+.2%},"
            f" in a week at worst {worst:.3%} of its generation"
        )
    return figures


def _week(seed: list[int], ratio: float) -> tuple[float, float, float, float, float]:
    """Samples found, rightly found and truly clipped; energy told and truly lost. [Wh]"""
    rng = np.random.default_rng(seed)
    limit_w = PEAK_W / ratio
    share, dc_limit_w = rng.uniform(0.94, 1.0), limit_w / INVERTER_EFFICIENCY
    made = days(rng, 7, 60.0, cloudy=0.6, share=share, dc_limit_w=dc_limit_w)
    given_w = np.minimum(made.free_w, limit_w)
    samples = measured(rng, made, given_w, ac_noise=0.0005, sun_noise=0.01)
    truth = made.free_w > limit_w
    lost_wh = float((made.free_w - given_w).sum()) / 60.0
    none = np.full(made.t_s.size, np.nan)
    sun, back_k = samples.values["irradiance_w_m2"], samples.values["module_temperature_k"]
    columns = Columns(samples, samples.values["ac_power_w"], none, sun, back_k)
    found = clipping(columns, rated_dc_w(columns, PEAK_W, GAMMA_PER_K), limit_w)
    assert found is not None
    parameters = Parameters.model_validate({
        "dc_peak_w": PEAK_W, "gamma_per_k": GAMMA_PER_K, "ac_limit_w": limit_w,
        "cells": {"over_back_k": 0},
    })  # fmt: skip
    analysis = analyse(parameters, samples)
    told_wh, told_s = (analysis.figure(name).value for name in ("clipping_lost_wh", "clipped_s"))
    assert told_wh is not None
    assert told_s == float(found.is_clipped.sum()) * 60.0
    right = float((found.is_clipped & truth).sum())
    return float(found.is_clipped.sum()), right, float(truth.sum()), told_wh, lost_wh
