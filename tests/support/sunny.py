"""Days of sun on a roof, made up: irradiance, warmth and what an inverter makes of them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.equipment.base import US_PER_S, Samples
from joulemark_agent.physics.photovoltaics import expected_dc_w, unlimited_ac_w

Array = NDArray[np.float64]

START_S = 1_780_272_000.0  # 2026-06-01T00:00Z
DAY_S = 86_400.0
NOON_S = DAY_S / 2  # at longitude 0, to a few minutes
PEAK_W, GAMMA_PER_K = 100_000.0, -0.0038


class Days(NamedTuple):
    """What really happened, before anybody measured it."""

    t_s: Array
    sun: Array
    cell_k: Array
    free_w: Array  # AC power as if nothing limited it


def days(
    rng: np.random.Generator,
    count: int,
    step_s: float,
    *,
    cloudy: float,
    share: float,
    dc_limit_w: float = PEAK_W,
) -> Days:
    """Days of sun.

    `cloudy` is the share of days with clouds, `share` what the plant gives of its rating, and
    `dc_limit_w` what its inverter is made for.
    """
    t_s = START_S + np.arange(round(count * DAY_S / step_s), dtype=np.float64) * step_s
    from_noon = (t_s % DAY_S - NOON_S) / (7.5 * 3600)
    sun = 1100.0 * np.clip(1.0 - from_noon**2, 0.0, None) ** 1.2
    sun *= np.repeat(rng.uniform(0.97, 1.03, count), round(DAY_S / step_s))
    is_cloudy = np.repeat(rng.random(count) < cloudy, round(DAY_S / step_s))
    sun = np.where(is_cloudy, sun * _clouds(rng, t_s.size, step_s), sun)
    cell_k = 285.15 + 6.0 * np.cos(2 * np.pi * (t_s % DAY_S - NOON_S) / DAY_S) + 0.025 * sun
    free_w = unlimited_ac_w(share * expected_dc_w(sun, cell_k, PEAK_W, GAMMA_PER_K), dc_limit_w)
    return Days(t_s, sun, cell_k, free_w)


def measured(
    rng: np.random.Generator,
    made: Days,
    ac_w: Array,
    *,
    ac_noise: float,
    sun_noise: float,
    **more: Array,
) -> Samples:
    """What the inverter and its sensors tell of them, with noise."""
    size = made.t_s.size
    values = {
        "ac_power_w": ac_w * (1 + ac_noise * rng.standard_normal(size)),
        "irradiance_w_m2": made.sun * (1 + sun_noise * rng.standard_normal(size)),
        "module_temperature_k": made.cell_k + 0.5 * rng.standard_normal(size),
        **more,
    }
    step_us = round((made.t_s[1] - made.t_s[0]) * US_PER_S)
    return Samples(np.rint(made.t_s * US_PER_S).astype(np.int64), values, 3 * step_us)


def _clouds(rng: np.random.Generator, size: int, step_s: float) -> Array:
    """How much light passes: clear, or clouds that come and go within minutes."""
    edges = np.cumsum(rng.exponential(900.0 / step_s, size))
    cover = np.searchsorted(edges, np.arange(size)) % 2
    passing = rng.uniform(0.2, 0.8, size + 1)[np.searchsorted(edges, np.arange(size))]
    light = np.where(cover == 1, passing, 1.03)  # the rim of a cloud adds a little
    width = max(round(120.0 / step_s), 1)
    return np.convolve(light, np.ones(width) / width, mode="same")
