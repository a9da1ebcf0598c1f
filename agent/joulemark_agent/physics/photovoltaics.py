"""Photovoltaic energy: what sun and temperature let one expect, and yields and ratios against it.

Powers are arrays of any shape, NaN where an input is NaN or lies outside its range. Ratios take
sums over the same samples; irradiance and energy of different samples give no ratio.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from joulemark_agent.physics.cell_temperature import MOST_W_M2, STC_W_M2
from joulemark_agent.physics.domain import OutOfDomain, inside, within

Array = NDArray[np.float64]

STC_CELL_K = 298.15
INVERTER_EFFICIENCY = 0.96  # nominal, of PVWatts
INVERTER_REFERENCE = 0.9637  # that PVWatts' curve was fitted to

# Shares lost between modules and inverter in PVWatts version 5.
PVWATTS_LOSSES: Mapping[str, float] = {
    "soiling": 0.02, "shading": 0.03, "snow": 0.0, "mismatch": 0.02, "wiring": 0.02,
    "connections": 0.005, "light_induced_degradation": 0.015, "nameplate_rating": 0.01,
    "age": 0.0, "availability": 0.03,
}  # fmt: skip

_CELL_K = (173.15, 473.15)
_SAME_K = 1e-6
_MOST_W = 1e12


def expected_dc_w(
    irradiance_w_m2: ArrayLike, cell_k: ArrayLike, dc_peak_w: float, gamma_per_k: float
) -> Array:
    """The DC power of modules at an irradiance and a cell temperature.

    Args:
        irradiance_w_m2: in the modules' plane, 0 to 2000. [W/m2]
        cell_k: 173 to 473. [K]
        dc_peak_w: at standard test conditions, above 0. [W]
        gamma_per_k: temperature coefficient of power, -0.02 to 0.02, mostly negative. [1/K]

    Returns:
        P0 G/1000 (1 + gamma (Tc - 25 degC)); never below 0. [W]

    Formula: P5.
    Source: pvlib/pvlib-python at 6382338a, pvlib/pvsystem.py (Dobos 2014, NREL/TP-6A20-62641),
        2026-08-07; NREL/rdtools at 0c6cae8c, rdtools/normalization.py, 2025-01-22.
    """
    within("dc_peak_w", dc_peak_w, 1e-9, _MOST_W, "W")
    sun = inside(irradiance_w_m2, 0.0, MOST_W_M2)
    factor = temperature_factor(cell_k, gamma_per_k)
    expected: Array = np.maximum(sun / STC_W_M2 * dc_peak_w * factor, 0.0)
    return expected


def temperature_factor(
    cell_k: ArrayLike, gamma_per_k: float, reference_k: float = STC_CELL_K
) -> Array:
    """How much more or less modules give than at a reference temperature.

    Args:
        cell_k: 173 to 473. [K]
        gamma_per_k: temperature coefficient of power, -0.02 to 0.02. [1/K]
        reference_k: 173 to 473; 25 degC at standard test conditions. [K]

    Returns:
        1 + gamma (Tc - T_ref). [1]

    Formula: P2.
    Source: NREL/rdtools at 0c6cae8c, rdtools/normalization.py, 2025-01-22.
    """
    within("gamma_per_k", gamma_per_k, -0.02, 0.02, "1/K")
    within("reference_k", reference_k, *_CELL_K, "K")
    return 1.0 + gamma_per_k * (inside(cell_k, *_CELL_K) - reference_k)


def expected_ac_w(
    dc_w: ArrayLike,
    dc_limit_w: float,
    nominal_efficiency: float = INVERTER_EFFICIENCY,
    reference_efficiency: float = INVERTER_REFERENCE,
) -> Array:
    """The AC power that an inverter makes of DC power, limited to what it can give.

    Args:
        dc_w: 0 or above. [W]
        dc_limit_w: DC power at which it gives its largest AC power, above 0. [W]
        nominal_efficiency: above 0 up to 1. [1]
        reference_efficiency: of the inverter the curve was fitted to, above 0 up to 1. [1]

    Returns:
        eta P_dc, with eta as in `unlimited_ac_w`, at most eta_nom P_dc0. [W]

    Formula: P5.
    Source: as `unlimited_ac_w`.
    """
    made = unlimited_ac_w(dc_w, dc_limit_w, nominal_efficiency, reference_efficiency)
    limited: Array = np.minimum(made, nominal_efficiency * dc_limit_w)
    return limited


def unlimited_ac_w(
    dc_w: ArrayLike,
    dc_limit_w: float,
    nominal_efficiency: float = INVERTER_EFFICIENCY,
    reference_efficiency: float = INVERTER_REFERENCE,
) -> Array:
    """The AC power that an inverter would make of DC power if nothing limited it.

    Args:
        dc_w: 0 or above. [W]
        dc_limit_w: DC power at which it gives its largest AC power, above 0. [W]
        nominal_efficiency: above 0 up to 1. [1]
        reference_efficiency: of the inverter the curve was fitted to, above 0 up to 1. [1]

    Returns:
        eta P_dc, never below 0, with z = P_dc/P_dc0 and
        eta = eta_nom/eta_ref (-0.0162 z - 0.0059/z + 0.9858). [W]

    Formula: P5.
    Error: beyond the limit (z > 1) the curve is extrapolated.
    Source: pvlib/pvlib-python at 6382338a, pvlib/inverter.py (Dobos 2014, NREL/TP-6A20-62641),
        2026-08-07.
    """
    within("dc_limit_w", dc_limit_w, 1e-9, _MOST_W, "W")
    within("nominal_efficiency", nominal_efficiency, 1e-6, 1.0, "1")
    within("reference_efficiency", reference_efficiency, 1e-6, 1.0, "1")
    dc = inside(dc_w, 0.0, _MOST_W)
    load = dc / dc_limit_w
    with np.errstate(over="ignore"):  # a load next to nothing, whose efficiency is below 0
        own = np.divide(0.0059, load, out=np.zeros_like(load), where=load != 0)
    efficiency = nominal_efficiency / reference_efficiency * (-0.0162 * load - own + 0.9858)
    made: Array = np.maximum(efficiency * dc, 0.0)
    return made


def pvwatts_loss_ratio(losses: Mapping[str, float] = PVWATTS_LOSSES) -> float:
    """The share lost between modules and inverter.

    Args:
        losses: shares by cause, each 0 to 1; those of PVWatts where none are given. [1]

    Returns:
        1 - product of (1 - loss). [1]

    Formula: P5.
    Source: pvlib/pvlib-python at 6382338a, pvlib/pvsystem.py (Dobos 2014, NREL/TP-6A20-62641),
        2026-08-07.
    """
    left = 1.0
    for cause, share in losses.items():
        left *= 1.0 - within(f"the loss {cause}", share, 0.0, 1.0, "1")
    return 1.0 - left


def final_yield_wh_per_w(energy_wh: float, dc_peak_w: float) -> float:
    """The energy per rated power: hours at full power.

    Args:
        energy_wh: net AC energy; the inverter's own draw at night counts against it. [Wh]
        dc_peak_w: at standard test conditions, above 0. [W]

    Returns:
        Yf. [Wh/W]

    Formula: P1.
    Source: Sandia PV Performance Modeling Collaborative, page 'Performance Ratio', 2024.
    """
    within("energy_wh", energy_wh, -_MOST_W, _MOST_W, "Wh")
    return energy_wh / within("dc_peak_w", dc_peak_w, 1e-9, _MOST_W, "W")


def reference_yield_wh_per_w(irradiation_wh_m2: float) -> float:
    """The energy per rated power that the sun would have let a faultless plant give.

    Args:
        irradiation_wh_m2: in the modules' plane, 0 or above. [Wh/m2]

    Returns:
        Yr, irradiation over 1000 W/m2. [Wh/W]

    Formula: P1.
    Source: Sandia PV Performance Modeling Collaborative, page 'Performance Ratio', 2024.
    """
    return within("irradiation_wh_m2", irradiation_wh_m2, 0.0, _MOST_W, "Wh/m2") / STC_W_M2


def performance_ratio(energy_wh: float, dc_peak_w: float, irradiation_wh_m2: float) -> float:
    """The share of what the sun would have let a faultless plant give.

    Args:
        energy_wh: net AC energy, of the same samples as the irradiation. [Wh]
        dc_peak_w: at standard test conditions, above 0. [W]
        irradiation_wh_m2: in the modules' plane, above 0. [Wh/m2]

    Returns:
        PR = Yf/Yr. [1]

    Formula: P1.
    Source: Sandia PV Performance Modeling Collaborative, page 'Performance Ratio', 2024.
    """
    within("irradiation_wh_m2", irradiation_wh_m2, 1e-9, _MOST_W, "Wh/m2")
    expected = reference_yield_wh_per_w(irradiation_wh_m2)
    return final_yield_wh_per_w(energy_wh, dc_peak_w) / expected


def corrected_performance_ratio(
    energy_wh: float,
    dc_peak_w: float,
    irradiation_wh_m2: float,
    *,
    mean_cell_k: float,
    gamma_per_k: float,
    reference_k: float = STC_CELL_K,
) -> float:
    """The performance ratio as it would be with cells at 25 degC: PR'25.

    Args:
        energy_wh: net AC energy, of the same samples as all else. [Wh]
        dc_peak_w: at standard test conditions, above 0. [W]
        irradiation_wh_m2: in the modules' plane, above 0. [Wh/m2]
        mean_cell_k: cell temperature weighted with the irradiance, 173 to 473. [K]
        gamma_per_k: temperature coefficient of power, -0.02 to 0.02. [1/K]
        reference_k: 25 degC unless given. [K]

    Returns:
        E/sum(P0 G/1000 (1 + gamma (Tc - T_ref)) dt); the sum is linear in Tc, so that the mean of
        the cell temperature gives it exactly. [1]

    Formula: P2.
    Source: NREL/rdtools at 0c6cae8c, rdtools/normalization.py, 2025-01-22.
    """
    within("mean_cell_k", mean_cell_k, *_CELL_K, "K")
    factor = float(temperature_factor(mean_cell_k, gamma_per_k, reference_k))
    within("the temperature factor", factor, 1e-3, 1e3, "1")
    return performance_ratio(energy_wh, dc_peak_w, irradiation_wh_m2) / factor


def annual_equivalent_performance_ratio(
    energy_wh: float,
    dc_peak_w: float,
    irradiation_wh_m2: float,
    *,
    mean_cell_k: float,
    gamma_per_k: float,
    annual_cell_k: float,
) -> float:
    """The performance ratio as it would be at the year's cell temperature: free of the season.

    Args:
        energy_wh: as in `corrected_performance_ratio`. [Wh]
        dc_peak_w: likewise. [W]
        irradiation_wh_m2: likewise. [Wh/m2]
        mean_cell_k: likewise. [K]
        gamma_per_k: likewise. [1/K]
        annual_cell_k: the year's irradiance-weighted cell temperature, fixed beforehand, 173 to
            473. The mean of the same samples is refused: with it the correction cancels and the
            result is the uncorrected ratio. [K]

    Returns:
        E/sum(P0 G/1000 (1 + gamma (Tc - T_annual)) dt). [1]

    Formula: P3.
    Source: NREL/rdtools at 0c6cae8c, rdtools/normalization.py, 2025-01-22; that a mean of the same
        period cancels: pvlib/pvanalytics at 06fd5969, performance_ratio_nrel.
    """
    if abs(annual_cell_k - mean_cell_k) < _SAME_K:
        raise OutOfDomain(
            "annual_cell_k is the mean of the very samples it is to correct, so the correction"
            " would cancel; give the mean of a whole year before them."
        )
    return corrected_performance_ratio(
        energy_wh,
        dc_peak_w,
        irradiation_wh_m2,
        mean_cell_k=mean_cell_k,
        gamma_per_k=gamma_per_k,
        reference_k=annual_cell_k,
    )
