"""Where the sun stands, when it is noon, how steeply it strikes a module, through how much air.

Angles are in radians, azimuths from north over east; time is UTC in seconds since 1970. Arrays of
any shape; NaN where an input is NaN or lies outside its range.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from joulemark_agent.physics.domain import inside, within
from joulemark_agent.physics.sun_terms import LATITUDE, LONGITUDE, NUTATION, RADIUS, Terms

Array = NDArray[np.float64]

DELTA_T_S = 69.2  # terrestrial less universal time in the 2020s
REFRACTION_RAD = math.radians(0.5667)  # at sunrise and sunset
S_PER_DAY = 86_400.0

_UNIX_DAY = 2_440_587.5  # Julian day of 1970-01-01
_J2000_DAY = 2_451_545.0
_DAYS_PER_CENTURY = 36_525.0
_SUN_RADIUS_DEG = 0.26667
_FIRST_S, _LAST_S = -62e9, 127e9  # the years 1 to 5995
_EARTH_M = 6_378_140.0
_FLATTENING = 0.99664719  # polar over equatorial radius


class SunPosition(NamedTuple):
    """Where the sun stands for an observer. [rad]"""

    apparent_zenith: Array  # as seen, bent by the air
    zenith: Array  # as if there were no air
    azimuth: Array  # 0 to 2 pi


class _Geocentric(NamedTuple):
    """The sun as seen from the centre of the earth. [degrees]"""

    hour_angle: Array  # at Greenwich
    declination: Array
    radius: Array  # [astronomical units]


def sun_position(
    unix_s: ArrayLike,
    latitude_rad: float,
    longitude_rad: float,
    *,
    altitude_m: float = 0.0,
    pressure_pa: float = 101_325.0,
    air_k: float = 285.15,
    delta_t_s: float = DELTA_T_S,
    refraction_rad: float = REFRACTION_RAD,
) -> SunPosition:
    """Where the sun stands at instants, for an observer.

    Args:
        unix_s: instants, in the years 1 to 5995. [s]
        latitude_rad: north positive, -pi/2 to pi/2. [rad]
        longitude_rad: east positive, -pi to pi. [rad]
        altitude_m: over sea level, -500 to 9000. [m]
        pressure_pa: yearly mean at the place, 0 to 110000; it bends light. [Pa]
        air_k: yearly mean at the place, 173 to 373. [K]
        delta_t_s: terrestrial less universal time, -8000 to 8000. [s]
        refraction_rad: at sunrise and sunset, 0 to 0.1. [rad]

    Formula: P7.
    Error: 0.0003 degrees from the year -2000 to 6000.
    Source: Reda and Andreas, NREL/TP-560-34302 (2008); read in pvlib/pvlib-python at 6382338a,
        pvlib/spa.py, 2026-08-07.
    """
    within("latitude_rad", latitude_rad, -math.pi / 2, math.pi / 2, "rad")
    within("longitude_rad", longitude_rad, -math.pi, math.pi, "rad")
    within("altitude_m", altitude_m, -500.0, 9000.0, "m")
    within("pressure_pa", pressure_pa, 0.0, 110_000.0, "Pa")
    within("air_k", air_k, 173.15, 373.15, "K")
    sun = _geocentric(inside(unix_s, _FIRST_S, _LAST_S), delta_t_s)
    hour = np.radians(sun.hour_angle) + longitude_rad
    declination = np.radians(sun.declination)

    flat = math.atan(_FLATTENING * math.tan(latitude_rad))
    height = altitude_m / _EARTH_M
    across = math.cos(flat) + height * math.cos(latitude_rad)
    up = _FLATTENING * math.sin(flat) + height * math.sin(latitude_rad)
    parallax = np.sin(np.radians(8.794 / (3600.0 * sun.radius)))
    below = np.cos(declination) - across * parallax * np.cos(hour)
    ascension = np.arctan2(-across * parallax * np.sin(hour), below)
    declination = np.arctan2((np.sin(declination) - up * parallax) * np.cos(ascension), below)
    hour -= ascension

    sine = math.sin(latitude_rad) * np.sin(declination)
    sine += math.cos(latitude_rad) * np.cos(declination) * np.cos(hour)
    elevation = np.arcsin(np.clip(sine, -1.0, 1.0))
    south = np.cos(hour) * math.sin(latitude_rad) - np.tan(declination) * math.cos(latitude_rad)
    azimuth = np.mod(np.arctan2(np.sin(hour), south) + math.pi, 2 * math.pi)
    bent = elevation + _refraction(elevation, pressure_pa, air_k, refraction_rad)
    return SunPosition(math.pi / 2 - bent, math.pi / 2 - elevation, azimuth)


def solar_noon_s(near_s: ArrayLike, longitude_rad: float) -> Array:
    """The instants nearest to others at which the sun crosses the meridian.

    Args:
        near_s: instants, in the years 1 to 5995. [s]
        longitude_rad: east positive, -pi to pi. [rad]

    Returns:
        shape of `near_s`. [s]

    Formula: P7.
    Error: below 0.1 s beyond that of the sun's position.
    Source: as `sun_position`, whose hour angle is 0 then.
    """
    within("longitude_rad", longitude_rad, -math.pi, math.pi, "rad")
    at_s = inside(near_s, _FIRST_S, _LAST_S)
    for _ in range(3):  # the sun's own motion leaves 0.3 % of a step, then 0.001 %
        hour_deg = _geocentric(at_s, DELTA_T_S).hour_angle + math.degrees(longitude_rad)
        at_s -= (np.mod(hour_deg + 180.0, 360.0) - 180.0) / 360.0 * S_PER_DAY
    return at_s


def incidence_rad(
    tilt_rad: ArrayLike,
    surface_azimuth_rad: ArrayLike,
    zenith_rad: ArrayLike,
    azimuth_rad: ArrayLike,
) -> Array:
    """The angle between the sun and the normal of a surface.

    Args:
        tilt_rad: from horizontal, 0 to pi. [rad]
        surface_azimuth_rad: that it faces, -2 pi to 2 pi. [rad]
        zenith_rad: of the sun, 0 to pi. [rad]
        azimuth_rad: of the sun, -2 pi to 2 pi. [rad]

    Returns:
        0 to pi; above pi/2 the sun stands behind the surface. [rad]

    Formula: P5.
    Source: spherical geometry; pvlib/pvlib-python at 6382338a, pvlib/irradiance.py, 2026-08-07.
        Written with the sides of a triangle, which keeps small angles exact.
    """
    normal = _direction(tilt_rad, surface_azimuth_rad)
    sun = _direction(zenith_rad, azimuth_rad)
    apart = np.sqrt(sum((a - b) ** 2 for a, b in zip(normal, sun, strict=True)))
    along = np.sqrt(sum((a + b) ** 2 for a, b in zip(normal, sun, strict=True)))
    angle: Array = 2.0 * np.arctan2(apart, along)
    return angle


def relative_airmass(apparent_zenith_rad: ArrayLike) -> Array:
    """The length of the sun's way through the air, relative to that from the zenith.

    Args:
        apparent_zenith_rad: 0 to pi/2; beyond it the sun is below the horizon. [rad]

    Returns:
        1 at the zenith to 38 at the horizon. [1]

    Formula: P5.
    Error: below 0.5 %.
    Source: Kasten and Young, Applied Optics 28 (1989) 4735; pvlib/pvlib-python at 6382338a,
        pvlib/atmosphere.py, 2026-08-07.
    """
    zenith = inside(apparent_zenith_rad, 0.0, math.pi / 2)
    elevation_deg = 90.0 - np.degrees(zenith)
    return 1.0 / (np.cos(zenith) + 0.50572 * (6.07995 + elevation_deg) ** -1.6364)


def _geocentric(unix_s: Array, delta_t_s: float) -> _Geocentric:
    within("delta_t_s", delta_t_s, -8000.0, 8000.0, "s")
    day = unix_s / S_PER_DAY + _UNIX_DAY - _J2000_DAY
    ephemeris = (day + delta_t_s / S_PER_DAY) / _DAYS_PER_CENTURY
    millennium = ephemeris / 10.0
    radius = _sums(RADIUS, millennium)
    nutation_deg, obliquity_nutation_deg = _nutation(ephemeris)
    obliquity = np.radians(_mean_obliquity_arcsec(millennium) / 3600.0 + obliquity_nutation_deg)
    seen_deg = np.degrees(_sums(LONGITUDE, millennium)) + 180.0
    seen = np.radians(seen_deg + nutation_deg - 20.4898 / (3600.0 * radius))
    latitude = -_sums(LATITUDE, millennium)

    above = np.sin(seen) * np.cos(obliquity) - np.tan(latitude) * np.sin(obliquity)
    ascension_deg = np.degrees(np.arctan2(above, np.cos(seen)))
    sine = np.sin(latitude) * np.cos(obliquity)
    sine += np.cos(latitude) * np.sin(obliquity) * np.sin(seen)
    century = day / _DAYS_PER_CENTURY
    sidereal_deg = np.mod(280.46061837 + 360.98564736629 * day, 360.0)
    sidereal_deg += 0.000387933 * century**2 - century**3 / 38_710_000.0
    sidereal_deg += nutation_deg * np.cos(obliquity)
    return _Geocentric(sidereal_deg - ascension_deg, np.degrees(np.arcsin(sine)), radius)


def _sums(powers: tuple[Terms, ...], millennium: Array) -> Array:
    """The sum of the periodic terms of each power of the millennium."""
    whole = np.zeros_like(millennium)
    for power, terms in enumerate(powers):
        a, b, c = np.array(terms, np.float64).T
        waves = a * np.cos(b + c * millennium[..., np.newaxis])
        whole += waves.sum(axis=-1) * millennium**power
    return whole * 1e-8


def _nutation(century: Array) -> tuple[Array, Array]:
    """What the moon's pull adds to longitude and obliquity. [degrees]"""
    arguments = np.stack(
        [
            297.85036 + 445267.111480 * century - 0.0019142 * century**2 + century**3 / 189_474,
            357.52772 + 35999.050340 * century - 0.0001603 * century**2 - century**3 / 300_000,
            134.96298 + 477198.867398 * century + 0.0086972 * century**2 + century**3 / 56_250,
            93.27191 + 483202.017538 * century - 0.0036825 * century**2 + century**3 / 327_270,
            125.04452 - 1934.136261 * century + 0.0020708 * century**2 + century**3 / 450_000,
        ],
        axis=-1,
    )
    table = np.array(NUTATION, np.float64)
    angle = np.radians(arguments @ table[:, :5].T)
    a, b, c, d = table[:, 5:].T
    t = century[..., np.newaxis]
    longitude = ((a + b * t) * np.sin(angle)).sum(axis=-1)
    obliquity = ((c + d * t) * np.cos(angle)).sum(axis=-1)
    return longitude / 36e6, obliquity / 36e6


def _mean_obliquity_arcsec(millennium: Array) -> Array:
    coefficients = (
        2.45, 5.79, 27.87, 7.12, -39.05, -249.67, -51.38, 1999.25, -1.55, -4680.93, 84381.448,
    )  # fmt: skip
    obliquity = np.zeros_like(millennium)
    for coefficient in coefficients:
        obliquity = obliquity * (millennium / 10.0) + coefficient
    return obliquity


def _refraction(elevation: Array, pressure_pa: float, air_k: float, refraction_rad: float) -> Array:
    """How much higher the sun seems to stand; 0 once it has set. [rad]"""
    within("refraction_rad", refraction_rad, 0.0, 0.1, "rad")
    degrees = np.degrees(elevation)
    is_up = degrees >= -(_SUN_RADIUS_DEG + math.degrees(refraction_rad))
    high = np.where(is_up, degrees, 90.0)
    density = pressure_pa / 101_000.0 * 283.0 / (air_k - 0.15)
    bent = density * 1.02 / (60.0 * np.tan(np.radians(high + 10.3 / (high + 5.11))))
    return np.where(is_up, np.radians(bent), elevation * 0.0)


def _direction(from_zenith: ArrayLike, azimuth: ArrayLike) -> tuple[Array, Array, Array]:
    """North, east and up of a direction."""
    low = inside(from_zenith, 0.0, math.pi)
    around = inside(azimuth, -2 * math.pi, 2 * math.pi)
    return np.sin(low) * np.cos(around), np.sin(low) * np.sin(around), np.cos(low)
