"""Leaks of compressed air: bleed tests, surveys with a detector, a bag or a ruler."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi, sqrt

from joulemark_agent.physics.domain import OutOfDomain, within
from joulemark_agent.physics.us_units import M3_S_PER_CFM

AIR_J_KG_K = 287.05  # gas constant of dry air
CHOKED_RATIO = 1.2**3.5  # of absolute pressures, above which a leak's flow is sonic: 1.893
LEAK_CLASSES_M3_S = {
    "minimal": 0.2 * M3_S_PER_CFM,  # felt, not heard in a quiet place
    "small": 0.8 * M3_S_PER_CFM,  # felt and heard in a quiet place
    "medium": 3.0 * M3_S_PER_CFM,  # felt and heard in moderate noise
    "large": 5.0 * M3_S_PER_CFM,  # the same, stronger
    "severe": 10.0 * M3_S_PER_CFM,  # felt and heard from afar
}  # ORNL-AMO/AMO-Tools-Desktop 059e381a, help of its leak survey


@dataclass(frozen=True)
class DetectorTable:
    """Four flows of an ultrasonic detector's own table, around a reading."""

    first_db: float
    second_db: float
    first_pa: float
    second_pa: float
    first_db_first_pa_m3_s: float
    first_db_second_pa_m3_s: float
    second_db_first_pa_m3_s: float
    second_db_second_pa_m3_s: float


def bleed_leak(
    volume_m3: float, from_gauge_pa: float, to_gauge_pa: float, time_s: float, atmospheric_pa: float
) -> float:
    """The leak of a closed network at its first pressure, from how long it takes to bleed. [m3/s]

    Args:
        volume_m3: of the network, above 0. [m3]
        from_gauge_pa: above `to_gauge_pa`. [Pa gauge]
        to_gauge_pa: at least 0.893 atmospheres: below, flow is not sonic. [Pa gauge]
        time_s: between them, above 0. [s]
        atmospheric_pa: absolute, in the same unit as the others, 30 to 120 kPa. [Pa]

    Formula: C13.
    Source: sonic flow is in proportion to absolute pressure, so that falls exponentially:
        Q(P1) = V P1 ln(P1/P2)/(t Pa).
    Error: none for sonic leaks at one temperature; consumers behind regulators draw otherwise.
    """
    _check_bleed(volume_m3, from_gauge_pa, to_gauge_pa, time_s, atmospheric_pa)
    high_pa, low_pa = from_gauge_pa + atmospheric_pa, to_gauge_pa + atmospheric_pa
    if low_pa < CHOKED_RATIO * atmospheric_pa * (1 - 1e-12):
        least_pa = (CHOKED_RATIO - 1) * atmospheric_pa
        raise OutOfDomain(
            f"to_gauge_pa is {to_gauge_pa:g} Pa; below {least_pa:g} Pa leaks are not sonic."
        )
    return volume_m3 * high_pa * log(high_pa / low_pa) / (time_s * atmospheric_pa)


def bleed_leak_doe(
    volume_m3: float, from_gauge_pa: float, to_gauge_pa: float, time_s: float, atmospheric_pa: float
) -> float:
    """The same by the rule of thumb of the US DOE: 1.25 times the mean over the test. [m3/s]

    Args:
        volume_m3: as in `bleed_leak`. [m3]
        from_gauge_pa: as in `bleed_leak`. [Pa gauge]
        to_gauge_pa: from 0. [Pa gauge]
        time_s: as in `bleed_leak`. [s]
        atmospheric_pa: as in `bleed_leak`. [Pa]

    Formula: C13.
    Source: US DOE, Improving Compressed Air System Performance: a sourcebook for industry, leaks.
    Error: 6 % low from 150 to 75 psig; meant for tests that end at half the first pressure.
    """
    _check_bleed(volume_m3, from_gauge_pa, to_gauge_pa, time_s, atmospheric_pa)
    return 1.25 * volume_m3 * (from_gauge_pa - to_gauge_pa) / (time_s * atmospheric_pa)


def ultrasonic_leak(decibel: float, line_pa: float, table: DetectorTable) -> float:
    """The leak an ultrasonic reading stands for, between four flows of the detector's table. [m3/s]

    Args:
        decibel: read, between the two of the table. [dB]
        line_pa: pressure of the line, between the two of the table; gauge as there. [Pa]
        table: from the detector's manual; no table of one detector holds for another.

    Formula: C19.
    Source: ORNL-AMO/AMO-Tools-Suite 1aaa8c39, src/calculator/util/CompressedAirLeakSurvey.cpp.
    Error: bilinear between the table's values; the table's own is in the manual.
    """
    low_db, high_db = sorted((table.first_db, table.second_db))
    low_pa, high_pa = sorted((table.first_pa, table.second_pa))
    within("decibel", decibel, low_db, high_db, "dB")
    within("line_pa", line_pa, low_pa, high_pa, "Pa")
    if low_db == high_db or low_pa == high_pa:
        raise OutOfDomain("the table must hold two readings and two pressures that differ.")
    louder = (decibel - table.first_db) / (table.second_db - table.first_db)
    denser = (line_pa - table.first_pa) / (table.second_pa - table.first_pa)
    first = table.first_db_first_pa_m3_s * (1 - denser) + table.first_db_second_pa_m3_s * denser
    second = table.second_db_first_pa_m3_s * (1 - denser) + table.second_db_second_pa_m3_s * denser
    return first * (1 - louder) + second * louder


def bag_leak(height_m: float, diameter_m: float, fill_s: float, units: int = 1) -> float:
    """Leaks that fill a bag held over one of them; all alike. [m3/s]

    Args:
        height_m: of the full bag, a cylinder, above 0. [m]
        diameter_m: of it, above 0. [m]
        fill_s: time to fill it, above 0. [s]
        units: how many such leaks there are. [1]

    Formula: C19.
    Source: ORNL-AMO/AMO-Tools-Suite 1aaa8c39, src/calculator/util/CompressedAirLeakSurvey.cpp.
    """
    within("height_m", height_m, 1e-3, 100.0, "m")
    within("diameter_m", diameter_m, 1e-3, 100.0, "m")
    within("fill_s", fill_s, 1e-3, 1e6, "s")
    within("units", units, 0, 1e6, "1")
    return pi * height_m * (diameter_m / 2) ** 2 / fill_s * units


def orifice_leak(
    diameter_m: float,
    supply_gauge_pa: float,
    atmospheric_pa: float,
    temperature_k: float,
    *,
    discharge_ratio: float = 1.0,
    units: int = 1,
) -> float:
    """Sonic flow through holes, as free air at the supply's temperature. [m3/s]

    Args:
        diameter_m: of one hole, above 0. [m]
        supply_gauge_pa: before it, at least 0.893 atmospheres. [Pa gauge]
        atmospheric_pa: 30 to 120 kPa. [Pa]
        temperature_k: of the air before it, 200 to 600. [K]
        discharge_ratio: coefficient: 0.61 sharp, 0.97 rounded, up to 1. [1]
        units: how many holes there are. [1]

    Formula: C19.
    Source: isentropic choked flow: density times (2/(k+1))^(1/(k-1)) at the speed of sound there.
        (ORNL-AMO's calculator of orifices raises the product of both to that power, which is wrong,
        and counts the volume at the supply's density; here it is counted at the atmosphere's.)
    """
    within("diameter_m", diameter_m, 1e-6, 1.0, "m")
    within("atmospheric_pa", atmospheric_pa, 3e4, 1.2e5, "Pa")
    within("supply_gauge_pa", supply_gauge_pa, (CHOKED_RATIO - 1) * atmospheric_pa, 1e8, "Pa")
    within("temperature_k", temperature_k, 200.0, 600.0, "K")
    within("discharge_ratio", discharge_ratio, 0.0, 1.0, "1")
    within("units", units, 0, 1e6, "1")
    throat_ratio = float((2 / 2.4) ** 2.5)
    sound_m_s = sqrt(2 * 1.4 / 2.4 * AIR_J_KG_K * temperature_k)
    area_m2 = pi * (diameter_m / 2) ** 2
    dense_m3_s = throat_ratio * sound_m_s * area_m2 * discharge_ratio * units
    return dense_m3_s * (1 + supply_gauge_pa / atmospheric_pa)


def _check_bleed(
    volume_m3: float, from_gauge_pa: float, to_gauge_pa: float, time_s: float, atmospheric_pa: float
) -> None:
    within("volume_m3", volume_m3, 1e-9, 1e7, "m3")
    within("atmospheric_pa", atmospheric_pa, 3e4, 1.2e5, "Pa")
    within("to_gauge_pa", to_gauge_pa, 0.0, 1e8, "Pa")
    within("from_gauge_pa", from_gauge_pa, to_gauge_pa, 1e8, "Pa")
    within("time_s", time_s, 1e-3, 1e9, "s")
