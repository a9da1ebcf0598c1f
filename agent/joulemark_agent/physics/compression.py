"""Compressing air: ideal power, efficiency, free air, other pressures, other inlets.

Gauge pressures are above the atmosphere that is given beside them. The exponent 0.283 of the
pressure adjustment is AIRMaster+'s for (k - 1)/k = 0.2857; it is a parameter.
"""

from __future__ import annotations

from math import exp, log
from typing import Literal

from joulemark_agent.kernels.gas import COMPRESSOR_INLET, State, volume_at
from joulemark_agent.physics.domain import OutOfDomain, within
from joulemark_agent.physics.us_units import M3_S_PER_CFM, PA_PER_PSI

AIR_EXPONENT = 1.4  # isentropic, of dry air near room temperature
PRESSURE_EXPONENT = 0.283  # AIRMaster+
ZERO_CELSIUS_K = 273.15

_MOST_RATIO = 100.0  # of two pressures
_MOST_FLOW_M3_S = 1e4
_MOST_W = 1e9
_MOST_PA = 1e8


def isentropic_power(
    inlet_pa: float, outlet_pa: float, flow_m3_s: float, exponent: float = AIR_EXPONENT
) -> float:
    """The least power that compresses a flow without cooling it. [W]

    Args:
        inlet_pa: absolute, 1 kPa to 100 MPa. [Pa]
        outlet_pa: absolute, 1 to 100 times the inlet. [Pa]
        flow_m3_s: at the inlet, 0 to 10,000. [m3/s]
        exponent: isentropic, above 1 to 5/3. [1]

    Formula: C1.
    Source: adiabatic reversible compression of an ideal gas; ISO 1217 (not read in the standard)
        names it the isentropic power.
    """
    within("inlet_pa", inlet_pa, 1e3, _MOST_PA, "Pa")
    within("outlet_pa", outlet_pa, inlet_pa, _MOST_RATIO * inlet_pa, "Pa")
    within("flow_m3_s", flow_m3_s, 0.0, _MOST_FLOW_M3_S, "m3/s")
    within("exponent", exponent, 1.000_001, 5 / 3, "1")
    power = (exponent - 1) / exponent
    return float(inlet_pa * flow_m3_s / power * ((outlet_pa / inlet_pa) ** power - 1))


def isentropic_efficiency(isentropic_w: float, package_w: float) -> float:
    """The share of a package's power that ideal compression would need. [1]

    Args:
        isentropic_w: `isentropic_power` of its flow, from 0 to the package's power. [W]
        package_w: electric power of the whole package, above 0. [W]

    Raises:
        OutOfDomain: it would be above 1: flow, pressure or power is wrong.

    Formula: C2.
    Source: 10 CFR 431 Subpart T (compressors), definition of package isentropic efficiency.
    """
    within("package_w", package_w, 1e-3, _MOST_W, "W")
    within("isentropic_w", isentropic_w, 0.0, package_w, "W")
    return isentropic_w / package_w


def least_isentropic_efficiency(
    flow_m3_s: float,
    drive: Literal["fixed", "variable"],
    cooling: Literal["air", "liquid"],
) -> float:
    """The package isentropic efficiency that a lubricated rotary machine must reach in the US. [1]

    Args:
        flow_m3_s: actual volume flow at full load, 35 to 1,250 cubic feet per minute. [m3/s]
        drive: fixed or variable speed.
        cooling: by air or by liquid.

    Formula: C2.
    Source: 10 CFR 431.345, Table 1: a regression in ln(litres per second), times a tolerance d.
    """
    within("flow_m3_s", flow_m3_s, 35 * M3_S_PER_CFM, 1250 * M3_S_PER_CFM, "m3/s")
    x = log(0.4719 * (flow_m3_s / M3_S_PER_CFM))
    if drive == "fixed":
        regression, tolerance = -0.00928 * x**2 + 0.13911 * x + 0.27110, -0.15
    else:
        regression = -0.01549 * x**2 + 0.21573 * x + 0.00905
        tolerance = -0.10 if cooling == "air" else -0.15
    if cooling == "liquid":
        regression += 0.02349
    return regression + (1 - regression) * tolerance


def specific_power(power_w: float, free_air_m3_s: float) -> float:
    """What a cubic metre of free air costs; 60,000 J/m3 is 1 kW per m3/min. [J/m3]

    Args:
        power_w: of the package, or of all machines and dryers, from 0. [W]
        free_air_m3_s: delivered by them, above 0. [m3/s]

    Formula: C3.
    Source: CAGI data sheets give it in kW per 100 cubic feet per minute (16,992 J/m3 each).
    """
    within("power_w", power_w, 0.0, _MOST_W, "W")
    within("free_air_m3_s", free_air_m3_s, 1e-9, _MOST_FLOW_M3_S, "m3/s")
    return power_w / free_air_m3_s


def free_air(
    volume_m3: float, counted: State, inlet: State = COMPRESSOR_INLET, humidity_ratio: float = 0.0
) -> float:
    """Dry air counted at a reference, as moist air at a machine's inlet; flows alike. [m3 or m3/s]

    Args:
        volume_m3: as counted, dry, from 0. [m3 or m3/s]
        counted: pressure and temperature of the meter's cubic metre.
        inlet: pressure, vapour included, 30 kPa to 1 MPa, and temperature, 228 to 333 K.
            ISO 1217 and CAGI count at 100 kPa and 20 degrees Celsius (not read in the standard;
            configuration).
        humidity_ratio: relative humidity at the inlet, 0 to 1. [1]

    Formula: C4.
    Source: ideal gas law over the dry part of the pressure, p1 - RH ps(T1).
    Error: air is not ideal: below 0.05 % of the volume at these pressures.
    """
    within("volume_m3", volume_m3, 0.0, 1e12, "m3")
    within("inlet pressure", inlet.pressure_pa, 3e4, 1e6, "Pa")
    within("humidity_ratio", humidity_ratio, 0.0, 1.0, "1")
    vapour_pa = humidity_ratio * saturation_pressure(inlet.temperature_k) if humidity_ratio else 0.0
    return volume_at(volume_m3, counted, State(inlet.pressure_pa - vapour_pa, inlet.temperature_k))


def saturation_pressure(temperature_k: float) -> float:
    """The pressure of water vapour above water. [Pa]

    Args:
        temperature_k: -45 to 60 degrees Celsius. [K]

    Formula: C4.
    Source: WMO Guide to Instruments (WMO-No. 8), annex 4.B: 6.112 exp(17.62 t/(243.12 + t)) hPa.
    Error: 0.35 % between 0 and 50 degrees Celsius against the IAPWS equation.
    """
    t = within("temperature_k", temperature_k, 228.15, 333.15, "K") - ZERO_CELSIUS_K
    return 611.2 * exp(17.62 * t / (243.12 + t))


def power_at_pressure(
    power_w: float,
    from_gauge_pa: float,
    to_gauge_pa: float,
    atmospheric_pa: float,
    exponent: float = PRESSURE_EXPONENT,
) -> float:
    """Full-load power at another discharge pressure, with the same inlet and flow. [W]

    Args:
        power_w: at the first pressure, from 0. [W]
        from_gauge_pa: discharge at which `power_w` was found, above 0. [Pa gauge]
        to_gauge_pa: discharge wanted, from 0. [Pa gauge]
        atmospheric_pa: 30 to 120 kPa. [Pa]
        exponent: (n - 1)/n of the compression, above 0 and below 1. [1]

    Formula: C5.
    Source: ORNL-AMO/AMO-Tools-Suite 15208321, src/calculator/util/Compressors.cpp (exponent 0.283);
        its CompressedAirPressureReduction uses 0.395/1.395.
    Error: the machine's efficiency is taken as the same at both pressures.
    """
    within("power_w", power_w, 0.0, _MOST_W, "W")
    within("atmospheric_pa", atmospheric_pa, 3e4, 1.2e5, "Pa")
    most_pa = _MOST_RATIO * atmospheric_pa
    within("from_gauge_pa", from_gauge_pa, 1.0, most_pa, "Pa")
    within("to_gauge_pa", to_gauge_pa, 0.0, most_pa, "Pa")
    within("exponent", exponent, 1e-6, 1 - 1e-6, "1")
    ratios = (1 + gauge_pa / atmospheric_pa for gauge_pa in (from_gauge_pa, to_gauge_pa))
    before, after = (ratio**exponent - 1 for ratio in ratios)
    return float(power_w * after / before)


def inlet_corrected_power(
    *,
    shaft_w: float,
    motor_efficiency_ratio: float,
    rated_gauge_pa: float,
    rated_inlet_pa: float,
    discharge_gauge_pa: float,
    inlet_pa: float,
    atmospheric_pa: float,
    polytropic_exponent: float,
    is_screw: bool,
    is_altitude_corrected: bool = True,
) -> float:
    """Full-load electric power of a rated machine at a site's inlet and discharge. [W]

    Args:
        shaft_w: at the rating, from 0. [W]
        motor_efficiency_ratio: 0.1 to 1. [1]
        rated_gauge_pa: rated discharge, above 0. [Pa gauge]
        rated_inlet_pa: rated inlet, absolute. [Pa]
        discharge_gauge_pa: at the site, from 0. [Pa gauge]
        inlet_pa: at the site, absolute, 30 kPa to 1 MPa. [Pa]
        atmospheric_pa: at the site, 55 to 107 kPa. [Pa]
        polytropic_exponent: above 1 to 5/3. [1]
        is_screw: a screw's built-in ratio follows the rated inlet, others' the atmosphere.
        is_altitude_corrected: whether the polynomial in the atmosphere applies.

    Formula: C15.
    Source: ORNL-AMO/AMO-Tools-Suite 15208321, include/calculator/util/Compressors.h; not for
        centrifugal machines. The polynomial is in psia and is 1 within 0.2 % at 14.7.
    """
    within("shaft_w", shaft_w, 0.0, _MOST_W, "W")
    within("motor_efficiency_ratio", motor_efficiency_ratio, 0.1, 1.0, "1")
    within("rated_inlet_pa", rated_inlet_pa, 3e4, 1e6, "Pa")
    within("rated_gauge_pa", rated_gauge_pa, 1.0, _MOST_RATIO * rated_inlet_pa, "Pa")
    within("discharge_gauge_pa", discharge_gauge_pa, 0.0, _MOST_RATIO * rated_inlet_pa, "Pa")
    within("inlet_pa", inlet_pa, 3e4, 1e6, "Pa")
    psia = _altitude_psia(atmospheric_pa)
    within("polytropic_exponent", polytropic_exponent, 1.000_001, 5 / 3, "1")
    altitude = -0.0000577 * psia**3 + 0.000251 * psia**2 + 0.0466 * psia + 0.4442
    power = (polytropic_exponent - 1) / polytropic_exponent
    base_pa = rated_inlet_pa if is_screw else atmospheric_pa
    rated = (1 + rated_gauge_pa / rated_inlet_pa) ** power - 1
    at_site = (1 + discharge_gauge_pa / base_pa) ** power - 1
    electric_w = shaft_w / motor_efficiency_ratio * (atmospheric_pa / inlet_pa) * at_site / rated
    return float(electric_w) * (altitude if is_altitude_corrected else 1.0)


def inlet_corrected_flow(
    flow_m3_s: float,
    rated_gauge_pa: float,
    discharge_gauge_pa: float,
    atmospheric_pa: float,
    *,
    is_altitude_corrected: bool = True,
) -> float:
    """Full-load flow of a rated machine at a site's atmosphere and discharge. [m3/s]

    Args:
        flow_m3_s: rated, from 0. [m3/s]
        rated_gauge_pa: rated discharge, from 0. [Pa gauge]
        discharge_gauge_pa: at the site, from 0; 0.075 % of the flow is lost per psi. [Pa gauge]
        atmospheric_pa: 55 to 107 kPa. [Pa]
        is_altitude_corrected: whether the polynomial in the atmosphere applies.

    Raises:
        OutOfDomain: nothing would be left of the flow.

    Formula: C15.
    Source: as `inlet_corrected_power`.
    """
    within("flow_m3_s", flow_m3_s, 0.0, _MOST_FLOW_M3_S, "m3/s")
    within("rated_gauge_pa", rated_gauge_pa, 0.0, _MOST_PA, "Pa")
    within("discharge_gauge_pa", discharge_gauge_pa, 0.0, _MOST_PA, "Pa")
    psia = _altitude_psia(atmospheric_pa)
    share = 1 - 0.00075 * (discharge_gauge_pa - rated_gauge_pa) / PA_PER_PSI
    if share <= 0:
        raise OutOfDomain("discharge_gauge_pa lies so far above the rating that no flow is left.")
    altitude = 0.000258 * psia**3 - 0.0116 * psia**2 + 0.176 * psia + 0.09992
    return flow_m3_s * share * (altitude if is_altitude_corrected else 1.0)


def _altitude_psia(atmospheric_pa: float) -> float:
    """The atmosphere in psia, from about 4,800 m above to 450 m below the sea."""
    return within("atmospheric_pa", atmospheric_pa, 5.5e4, 1.07e5, "Pa") / PA_PER_PSI
