"""Air in receivers and pipes: demand and volume from cycles, usable air, the size of a receiver."""

from __future__ import annotations

from joulemark_agent.physics.domain import OutOfDomain, within

_MOST_S = 1e9


def demand_from_cycles(capacity_m3_s: float, loaded_s: float, unloaded_s: float) -> float:
    """The mean air drawn while one machine loads and unloads; at rest of production, the leaks.

    Args:
        capacity_m3_s: free air delivered while loaded, above 0. [m3/s]
        loaded_s: time loaded, over whole cycles, above 0. [s]
        unloaded_s: time unloaded or off, over the same cycles, from 0. [s]

    Returns:
        free air. [m3/s]

    Formula: C11.
    Source: mass balance of a storage between equal pressures; ISO 11011 (not read in the standard)
        and the load/unload leak test of the US DOE Compressed Air Sourcebook use it.
    Error: `phase_error` of each length.
    """
    within("capacity_m3_s", capacity_m3_s, 1e-9, 1e4, "m3/s")
    within("loaded_s", loaded_s, 1e-6, _MOST_S, "s")
    within("unloaded_s", unloaded_s, 0.0, _MOST_S, "s")
    return capacity_m3_s * loaded_s / (loaded_s + unloaded_s)


def storage_volume(
    capacity_m3_s: float, loaded_pa_s: float, unloaded_pa_s: float, atmospheric_pa: float
) -> float:
    """The storage between a machine and its consumers, from how fast the pressure moves. [m3]

    Args:
        capacity_m3_s: free air delivered while loaded, above 0. [m3/s]
        loaded_pa_s: slope of the pressure while loaded, above the other. [Pa/s]
        unloaded_pa_s: slope while unloaded or off, with the same demand. [Pa/s]
        atmospheric_pa: at which free air is counted, 30 to 120 kPa. [Pa]

    Formula: C12.
    Source: mass balance of a storage at one temperature: the demand is the same in both phases.
    Error: what the demand differs by, over the capacity; slow filling is at one temperature.
    """
    within("capacity_m3_s", capacity_m3_s, 1e-9, 1e4, "m3/s")
    within("atmospheric_pa", atmospheric_pa, 3e4, 1.2e5, "Pa")
    within("loaded_pa_s", loaded_pa_s, -1e7, 1e7, "Pa/s")
    within("unloaded_pa_s", unloaded_pa_s, -1e7, 1e7, "Pa/s")
    if loaded_pa_s <= unloaded_pa_s:
        raise OutOfDomain(
            f"loaded_pa_s is {loaded_pa_s:g} Pa/s; it must lie above unloaded_pa_s,"
            f" {unloaded_pa_s:g} Pa/s."
        )
    return capacity_m3_s * atmospheric_pa / (loaded_pa_s - unloaded_pa_s)


def draw_from_fall(volume_m3: float, fall_pa_s: float, atmospheric_pa: float) -> float:
    """The free air drawn from a storage that nothing feeds. [m3/s]

    Args:
        volume_m3: of the storage, above 0. [m3]
        fall_pa_s: by which its pressure falls, from 0. [Pa/s]
        atmospheric_pa: at which free air is counted, 30 to 120 kPa. [Pa]

    Formula: C12.
    Source: mass balance of a storage at one temperature.
    """
    within("volume_m3", volume_m3, 1e-9, 1e7, "m3")
    within("fall_pa_s", fall_pa_s, 0.0, 1e7, "Pa/s")
    return volume_m3 * fall_pa_s / within("atmospheric_pa", atmospheric_pa, 3e4, 1.2e5, "Pa")


def usable_air(volume_m3: float, high_pa: float, low_pa: float, atmospheric_pa: float) -> float:
    """The free air a receiver gives between two pressures. [m3]

    Args:
        volume_m3: of the receiver, from 0. [m3]
        high_pa: from `low_pa` to 100 MPa; both gauge or both absolute. [Pa]
        low_pa: from 0. [Pa]
        atmospheric_pa: at which free air is counted, 30 to 120 kPa. [Pa]

    Formula: C16.
    Source: ORNL-AMO/AMO-Tools-Suite 15208321, src/calculator/util/CompressedAir.cpp.
    Error: its 7.48 gallons per cubic foot are 0.007 % off the exact 7.48052.
    """
    within("volume_m3", volume_m3, 0.0, 1e7, "m3")
    within("low_pa", low_pa, 0.0, 1e8, "Pa")
    within("high_pa", high_pa, low_pa, 1e8, "Pa")
    atmospheric_pa = within("atmospheric_pa", atmospheric_pa, 3e4, 1.2e5, "Pa")
    return volume_m3 * (high_pa - low_pa) / atmospheric_pa


def receiver_volume(
    demand_m3_s: float, time_s: float, drop_pa: float, atmospheric_pa: float
) -> float:
    """The receiver that serves a demand for a time within a drop of pressure. [m3]

    Args:
        demand_m3_s: free air beyond what is delivered, from 0. [m3/s]
        time_s: from 0. [s]
        drop_pa: allowed, above 0. [Pa]
        atmospheric_pa: at which free air is counted, 30 to 120 kPa. [Pa]

    Formula: C16.
    Source: ORNL-AMO/AMO-Tools-Suite 15208321, src/calculator/util/CompressedAir.cpp.
    """
    within("demand_m3_s", demand_m3_s, 0.0, 1e4, "m3/s")
    within("time_s", time_s, 0.0, _MOST_S, "s")
    within("drop_pa", drop_pa, 1e-3, 1e8, "Pa")
    return (
        demand_m3_s * time_s * within("atmospheric_pa", atmospheric_pa, 3e4, 1.2e5, "Pa") / drop_pa
    )
