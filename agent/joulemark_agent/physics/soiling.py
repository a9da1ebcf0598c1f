"""What dust on modules costs: the share of light that still passes, and how it changes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from joulemark_agent.physics.domain import OutOfDomain, inside, within

Array = NDArray[np.float64]

PM2_5_VELOCITY_M_S = 0.0009  # deposition velocities
PM10_VELOCITY_M_S = 0.004
MOST_DUST_KG_M2 = 0.010  # up to which the relation was measured

_G_PER_KG = 1000.0
_erf = np.vectorize(math.erf, otypes=[np.float64])


def dust_soiling_ratio(dust_kg_m2: ArrayLike) -> Array:
    """The share of light that passes a layer of dust.

    Args:
        dust_kg_m2: on the surface, 0 to 0.010. [kg/m2]

    Returns:
        1 - 0.3437 erf(0.17 w^0.8473) with w in g/m2; NaN outside the range. [1]

    Formula: P7.
    Source: pvlib/pvlib-python at 6382338a, pvlib/soiling.py (Coello and Boyle 2019,
        doi:10.1109/JPHOTOV.2019.2919628), 2026-08-07.
    """
    grams = inside(dust_kg_m2, 0.0, MOST_DUST_KG_M2) * _G_PER_KG
    ratio: Array = 1.0 - 0.3437 * _erf(0.17 * grams**0.8473)
    return ratio


def hsu_soiling_ratio(
    t_s: ArrayLike,
    rain_m: ArrayLike,
    pm2_5_kg_m3: ArrayLike,
    pm10_kg_m3: ArrayLike,
    *,
    tilt_rad: float,
    cleaning_rain_m: float,
    accumulation_s: float = 3600.0,
    pm2_5_velocity_m_s: float = PM2_5_VELOCITY_M_S,
    pm10_velocity_m_s: float = PM10_VELOCITY_M_S,
) -> Array:
    """The share of light that passes what the air has left on a module since the last good rain.

    Args:
        t_s: ends of the times that the values stand for, increasing, at least two, shape (n,). [s]
        rain_m: fallen in each time, 0 or above, shape (n,). [m]
        pm2_5_kg_m3: particles below 2.5 um in the air, 0 or above, a number or shape (n,). [kg/m3]
        pm10_kg_m3: particles below 10 um, likewise. [kg/m3]
        tilt_rad: of the module from horizontal, 0 to pi/2. [rad]
        cleaning_rain_m: rain that washes the module clean, above 0. [m]
        accumulation_s: time in which it must fall, above 0; 1 to 24 h are usual. [s]
        pm2_5_velocity_m_s: deposition velocity, 0 to 1. [m/s]
        pm10_velocity_m_s: of particles from 2.5 to 10 um, 0 to 1. [m/s]

    Returns:
        shape (n,). NaN beyond 10 g/m2 of dust, and from a missing input to the next cleaning. [1]

    Formula: P7.
    Error: the first time is taken to be as long as the second.
    Source: pvlib/pvlib-python at 6382338a, pvlib/soiling.py (Coello and Boyle 2019,
        doi:10.1109/JPHOTOV.2019.2919628), 2026-08-07.
    """
    at_s = np.asarray(t_s, np.float64)
    rain = inside(rain_m, 0.0, 10.0)
    if at_s.ndim != 1 or at_s.size < 2 or not np.all(np.diff(at_s) > 0) or rain.shape != at_s.shape:
        raise OutOfDomain(
            "t_s must increase and hold two or more instants, rain_m one per instant."
        )
    within("tilt_rad", tilt_rad, 0.0, math.pi / 2, "rad")
    within("cleaning_rain_m", cleaning_rain_m, 1e-9, 10.0, "m")
    within("accumulation_s", accumulation_s, 1e-3, 1e8, "s")
    within("pm2_5_velocity_m_s", pm2_5_velocity_m_s, 0.0, 1.0, "m/s")
    within("pm10_velocity_m_s", pm10_velocity_m_s, 0.0, 1.0, "m/s")
    fine, all_dust = inside(pm2_5_kg_m3, 0.0, 1.0), inside(pm10_kg_m3, 0.0, 1.0)
    rate = fine * pm2_5_velocity_m_s + np.maximum(all_dust - fine, 0.0) * pm10_velocity_m_s
    length_s = np.append(at_s[1] - at_s[0], np.diff(at_s))
    fallen = np.broadcast_to(rate * math.cos(tilt_rad), at_s.shape) * length_s
    since = np.searchsorted(at_s, at_s - accumulation_s, side="right")
    fallen = np.where(np.isnan(rain), np.nan, fallen)
    known_rain = np.append(0.0, np.cumsum(np.nan_to_num(rain)))
    is_clean = known_rain[1:] - known_rain[since] >= cleaning_rain_m * (1.0 - 1e-12)
    return dust_soiling_ratio(_since_cleaning(fallen, is_clean))


def soiling_slope_per_s(t_s: ArrayLike, ratio: ArrayLike, group: ArrayLike) -> tuple[float, float]:
    """How fast a ratio falls between cleanings: one slope for all the times in between.

    Args:
        t_s: instants, shape (n,). [s]
        ratio: at them, NaN where there is none, shape (n,). [1]
        group: number of the time between two cleanings, shape (n,): each has a level of its own.

    Returns:
        the slope that the middle of all pairs within a group has (Theil and Sen), and its standard
        uncertainty from the scatter of the ratios around it. [1/s]

    Formula: P7.
    Source: Sen, Journal of the American Statistical Association 63 (1968) 1379; used on soiling by
        NREL/rdtools at 0c6cae8c, rdtools/soiling.py, 2025-01-22.
    """
    at, value, member = (np.asarray(each, np.float64) for each in (t_s, ratio, group))
    known = ~np.isnan(value)
    at, value, member = at[known], value[known], member[known]
    i, j = np.triu_indices(at.size, 1)
    pair = (member[i] == member[j]) & (at[i] != at[j])
    if not pair.any():
        raise OutOfDomain("There are no two ratios between the same cleanings.")
    i, j = i[pair], j[pair]
    slope = float(np.median((value[j] - value[i]) / (at[j] - at[i])))
    flat = value - slope * at
    spread = squares = 0.0
    groups = np.unique(member)
    for one in groups:
        mine = member == one
        spread += float(((flat[mine] - flat[mine].mean()) ** 2).sum())
        squares += float(((at[mine] - at[mine].mean()) ** 2).sum())
    degrees = at.size - groups.size - 1
    if degrees < 1:
        return slope, math.nan
    return slope, math.sqrt(spread / degrees / squares)


def _since_cleaning(fallen: Array, is_clean: NDArray[np.bool_]) -> Array:
    """What has gathered since the last cleaning, which leaves nothing of its own time."""
    dust = np.empty_like(fallen)
    gathered = 0.0
    for k in range(fallen.size):
        gathered = 0.0 if is_clean[k] else gathered + float(fallen[k])
        dust[k] = gathered
    return dust
