"""How warm the cells of a photovoltaic module are, where nobody measures them.

Arrays of any shape, one value per instant; NaN where an input is NaN or lies outside its range.
Where the back of the module is measured, `cell_from_module_k` is all that is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from joulemark_agent.physics.domain import OutOfDomain, inside, within

Array = NDArray[np.float64]

STC_W_M2 = 1000.0  # irradiance at standard test conditions
NOCT_W_M2, NOCT_AIR_K = 800.0, 293.15  # conditions of the nominal operating cell temperature
STILL_WIND_M_S = 1.0  # taken where the wind is not known: that of the nominal conditions
M_PER_INCH = 0.0254

MOST_W_M2 = 2000.0
_AIR_K = (173.15, 373.15)
_MOST_WIND_M_S = 100.0


class Sapm(NamedTuple):
    """Parameters of a module and its mounting in the Sandia model."""

    a: float
    b: float  # [s/m]
    delta_k: float  # cell over back of the module at 1000 W/m2


class Pvsyst(NamedTuple):
    """Heat loss of a mounting in the model of PVsyst."""

    u_c: float  # [W/(m2 K)]
    u_v: float  # [W/(m2 K) per m/s]


SAPM: Mapping[str, Sapm] = {
    "open_rack_glass_glass": Sapm(-3.47, -0.0594, 3.0),
    "close_mount_glass_glass": Sapm(-2.98, -0.0471, 1.0),
    "open_rack_glass_polymer": Sapm(-3.56, -0.0750, 3.0),
    "insulated_back_glass_polymer": Sapm(-2.81, -0.0455, 0.0),
}
PVSYST: Mapping[str, Pvsyst] = {
    "freestanding": Pvsyst(29.0, 0.0),
    "semi_integrated": Pvsyst(20.0, 0.0),
    "insulated": Pvsyst(15.0, 0.0),
}


def wind_or_still(wind_m_s: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    """The wind speed, 1 m/s where it is not known, and where that is.

    Args:
        wind_m_s: 0 to 100, NaN where not known; what lies outside is not known either. [m/s]

    Returns:
        wind speed [m/s], and true where it was taken to be 1 m/s.

    Formula: P4.
    Source: pvlib/pvlib-python at 6382338a, pvlib/temperature.py, 2026-08-07: the wind at module
        height of the nominal operating cell temperature.
    """
    wind = inside(wind_m_s, 0.0, _MOST_WIND_M_S)
    is_unknown = np.isnan(wind)
    return np.where(is_unknown, STILL_WIND_M_S, wind), is_unknown


def sapm_module_k(
    irradiance_w_m2: ArrayLike, air_k: ArrayLike, wind_m_s: ArrayLike, a: float, b: float
) -> Array:
    """The temperature of the back of a module, after Sandia.

    Args:
        irradiance_w_m2: in the module's plane, 0 to 2000. [W/m2]
        air_k: 173 to 373. [K]
        wind_m_s: at 10 m height, 0 to 100. [m/s]
        a: of the module and mounting, -10 to 0 (`SAPM`). [1]
        b: likewise, -1 to 0. [s/m]

    Returns:
        G exp(a + b v) + Ta. [K]

    Formula: P4.
    Error: steady state; a few kelvin.
    Source: pvlib/pvlib-python at 6382338a, pvlib/temperature.py (King et al. 2004, SAND2004-3535,
        equation 11), 2026-08-07.
    """
    within("a", a, -10.0, 0.0, "1")
    within("b", b, -1.0, 0.0, "s/m")
    return _sun(irradiance_w_m2) * np.exp(a + b * _wind(wind_m_s)) + _air(air_k)


def cell_from_module_k(module_k: ArrayLike, irradiance_w_m2: ArrayLike, delta_k: float) -> Array:
    """The temperature of the cells from that of the back of their module.

    Args:
        module_k: measured or from a model, 173 to 473. [K]
        irradiance_w_m2: in the module's plane, 0 to 2000. [W/m2]
        delta_k: cell over back at 1000 W/m2, 0 to 20 (`SAPM`). [K]

    Returns:
        Tm + G/1000 dT. [K]

    Formula: P4.
    Source: pvlib/pvlib-python at 6382338a, pvlib/temperature.py (King et al. 2004, SAND2004-3535,
        equation 12), 2026-08-07.
    """
    within("delta_k", delta_k, 0.0, 20.0, "K")
    return inside(module_k, 173.15, 473.15) + _sun(irradiance_w_m2) / STC_W_M2 * delta_k


def faiman_module_k(
    irradiance_w_m2: ArrayLike,
    air_k: ArrayLike,
    wind_m_s: ArrayLike,
    u0: float = 25.0,
    u1: float = 6.84,
) -> Array:
    """The temperature of a module, after Faiman.

    Args:
        irradiance_w_m2: in the module's plane, 0 to 2000. [W/m2]
        air_k: 173 to 373. [K]
        wind_m_s: at module height, 0 to 100. [m/s]
        u0: heat loss in still air, above 0 up to 200. [W/(m2 K)]
        u1: heat loss by wind, 0 to 50. [W/(m2 K) per m/s]

    Returns:
        Ta + G/(u0 + u1 v). [K]

    Formula: P4.
    Error: steady state; a few kelvin.
    Source: pvlib/pvlib-python at 6382338a, pvlib/temperature.py (Faiman 2008), 2026-08-07.
    """
    within("u0", u0, 1e-3, 200.0, "W/(m2 K)")
    within("u1", u1, 0.0, 50.0, "W/(m2 K) per m/s")
    return _air(air_k) + _sun(irradiance_w_m2) / (u0 + u1 * _wind(wind_m_s))


def pvsyst_cell_k(
    irradiance_w_m2: ArrayLike,
    air_k: ArrayLike,
    wind_m_s: ArrayLike,
    u_c: float = 29.0,
    u_v: float = 0.0,
    *,
    efficiency: float = 0.1,
    absorption: float = 0.9,
) -> Array:
    """The temperature of the cells, after PVsyst.

    Args:
        irradiance_w_m2: in the module's plane, 0 to 2000. [W/m2]
        air_k: 173 to 373. [K]
        wind_m_s: 0 to 100. [m/s]
        u_c: heat loss in still air, above 0 up to 200 (`PVSYST`). [W/(m2 K)]
        u_v: heat loss by wind, 0 to 50. [W/(m2 K) per m/s]
        efficiency: of the module, 0 to 0.5. [1]
        absorption: of light, 0 to 1. [1]

    Returns:
        Ta + G alpha (1 - eta)/(u_c + u_v v). [K]

    Formula: P4.
    Error: steady state; a few kelvin.
    Source: pvlib/pvlib-python at 6382338a, pvlib/temperature.py (PVsyst 6 help), 2026-08-07.
    """
    within("u_c", u_c, 1e-3, 200.0, "W/(m2 K)")
    within("u_v", u_v, 0.0, 50.0, "W/(m2 K) per m/s")
    within("efficiency", efficiency, 0.0, 0.5, "1")
    within("absorption", absorption, 0.0, 1.0, "1")
    heat_w_m2 = _sun(irradiance_w_m2) * absorption * (1.0 - efficiency)
    return _air(air_k) + heat_w_m2 / (u_c + u_v * _wind(wind_m_s))


def ross_cell_k(
    irradiance_w_m2: ArrayLike,
    air_k: ArrayLike,
    *,
    noct_k: float | None = None,
    k_m2_w: float | None = None,
) -> Array:
    """The temperature of the cells, after Ross: proportional to the irradiance.

    Args:
        irradiance_w_m2: in the module's plane, 0 to 2000. [W/m2]
        air_k: 173 to 373. [K]
        noct_k: nominal operating cell temperature, 293.15 to 373; or else
        k_m2_w: warming per irradiance, 0 to 0.1. [K m2/W]

    Returns:
        Ta + k G, with k = (NOCT - 20 degC)/800 W/m2 where the former is given. [K]

    Formula: P4.
    Error: steady state, without wind; several kelvin.
    Source: pvlib/pvlib-python at 6382338a, pvlib/temperature.py (Ross 1981), 2026-08-07.
    """
    if (noct_k is None) == (k_m2_w is None):
        raise OutOfDomain("Give either noct_k or k_m2_w, and not both.")
    if noct_k is not None:
        slope = (within("noct_k", noct_k, NOCT_AIR_K, 373.15, "K") - NOCT_AIR_K) / NOCT_W_M2
    else:
        slope = within("k_m2_w", float(k_m2_w or 0.0), 0.0, 0.1, "K m2/W")
    return _air(air_k) + slope * _sun(irradiance_w_m2)


def noct_sam_cell_k(
    irradiance_w_m2: ArrayLike,
    air_k: ArrayLike,
    wind_m_s: ArrayLike,
    noct_k: float,
    efficiency: float,
    *,
    effective_w_m2: ArrayLike | None = None,
    transmittance_absorptance: float = 0.9,
    storeys: int = 1,
    standoff_m: float = 4 * M_PER_INCH,
) -> Array:
    """The temperature of the cells, after the System Advisor Model.

    Args:
        irradiance_w_m2: in the module's plane, 0 to 2000, above 0 where `effective_w_m2` is given.
            [W/m2]
        air_k: 173 to 373. [K]
        wind_m_s: at 10 m height, 0 to 100. [m/s]
        noct_k: nominal operating cell temperature, 293.15 to 373. [K]
        efficiency: of the module, above 0 up to 0.5. [1]
        effective_w_m2: irradiance after reflection and spectrum, 0 to 2000; none: as above. [W/m2]
        transmittance_absorptance: above 0 up to 1. [1]
        storeys: height of the array over ground, 1 or 2.
        standoff_m: distance to the surface it is mounted on, -1 to 100; 4 inches: on a rack. [m]

    Returns:
        Ta + G/800 (NOCT' - 20 degC)(1 - eta/tau_alpha) 9.5/(5.7 + 3.8 v'). [K]

    Formula: P4.
    Error: steady state; a few kelvin.
    Source: pvlib/pvlib-python at 6382338a, pvlib/temperature.py (Gilman et al. 2018,
        NREL/TP-6A20-67399, section 10.6), 2026-08-07.
    """
    within("noct_k", noct_k, NOCT_AIR_K, 373.15, "K")
    within("efficiency", efficiency, 1e-6, 0.5, "1")
    within("transmittance_absorptance", transmittance_absorptance, 1e-6, 1.0, "1")
    if storeys not in {1, 2}:
        raise OutOfDomain(f"storeys is {storeys}; it must be 1 or 2.")
    sun = _sun(irradiance_w_m2)
    wind = (0.51 if storeys == 1 else 0.61) * _wind(wind_m_s)
    passed: ArrayLike = transmittance_absorptance
    if effective_w_m2 is not None:
        with np.errstate(invalid="ignore", divide="ignore"):
            share = inside(effective_w_m2, 0.0, MOST_W_M2) / np.where(sun > 0, sun, np.nan)
        passed = inside(transmittance_absorptance * share, 1e-9, 1e9)
    warming = sun / NOCT_W_M2 * (noct_k + _standoff_k(standoff_m) - NOCT_AIR_K)
    return _air(air_k) + warming * (1.0 - efficiency / np.asarray(passed)) * (
        9.5 / (5.7 + 3.8 * wind)
    )


def _standoff_k(standoff_m: float) -> float:
    """What a mounting close to a surface adds to the nominal temperature. [K]"""
    inches = within("standoff_m", standoff_m, -1.0, 100.0, "m") / M_PER_INCH
    if inches <= 0.0 or inches > 3.5:
        return 0.0
    steps = ((0.5, 18.0), (1.5, 11.0), (2.5, 6.0))
    return next((kelvin for below, kelvin in steps if inches < below), 2.0)


def _sun(irradiance_w_m2: ArrayLike) -> Array:
    return inside(irradiance_w_m2, 0.0, MOST_W_M2)


def _air(air_k: ArrayLike) -> Array:
    return inside(air_k, *_AIR_K)


def _wind(wind_m_s: ArrayLike) -> Array:
    return inside(wind_m_s, 0.0, _MOST_WIND_M_S)
