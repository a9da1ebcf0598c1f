"""What compressed air costs and what a change saves: pressure, leaks, heat, drops, hours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from joulemark_agent.physics.compression import PRESSURE_EXPONENT, power_at_pressure
from joulemark_agent.physics.domain import within

WATER_KG_M3, WATER_J_KG_K = 997.05, 4181.0  # at 25 degrees Celsius
_S_PER_H = 3600.0
_MOST_HEAT_RATIO = 0.96  # what leaves with the air and by radiation is never recovered


@dataclass(frozen=True)
class RunningCost:
    """Energy and cost of a machine, loaded and unloaded."""

    loaded_wh: float
    unloaded_wh: float
    loaded_cost: float
    unloaded_cost: float

    @property
    def cost(self) -> float:
        """Of both."""
        return self.loaded_cost + self.unloaded_cost


def demand_at_pressure(
    flow_m3_s: float, from_pa: float, to_pa: float, unregulated_ratio: float = 0.6
) -> float:
    """The air drawn at another pressure of the network: artificial demand goes with it. [m3/s]

    Args:
        flow_m3_s: free air drawn at the first pressure, from 0. [m3/s]
        from_pa: absolute, above 0. [Pa]
        to_pa: absolute, above 0. [Pa]
        unregulated_ratio: share of the flow that no regulator holds, leaks among it: 0 to 1.
            0.6 is AIRMaster+'s; measure it. [1]

    Formula: C6.
    Source: ORNL-AMO/AMO-Tools-Suite 15208321, src/calculator/util/Compressors.cpp.
    """
    within("flow_m3_s", flow_m3_s, 0.0, 1e4, "m3/s")
    within("from_pa", from_pa, 1e3, 1e8, "Pa")
    within("to_pa", to_pa, 1e3, 1e8, "Pa")
    within("unregulated_ratio", unregulated_ratio, 0.0, 1.0, "1")
    return flow_m3_s * (1 - unregulated_ratio * (1 - to_pa / from_pa))


def demand_without_leaks(flow_m3_s: float, leak_m3_s: float, reduction_ratio: float) -> float:
    """The air drawn after a part of the leaks is closed. [m3/s]

    Args:
        flow_m3_s: drawn before, from `leak_m3_s`. [m3/s]
        leak_m3_s: from 0. [m3/s]
        reduction_ratio: share of the leaks closed, 0 to 1. [1]

    Formula: C14.
    Source: ORNL-AMO/AMO-Tools-Suite 15208321, src/calculator/util/Compressors.cpp.
    """
    within("leak_m3_s", leak_m3_s, 0.0, 1e4, "m3/s")
    within("flow_m3_s", flow_m3_s, leak_m3_s, 1e4, "m3/s")
    within("reduction_ratio", reduction_ratio, 0.0, 1.0, "1")
    return flow_m3_s - leak_m3_s * reduction_ratio


def marginal_power(
    power_of: Callable[[float], float],
    capacity_m3_s: float,
    before_m3_s: float,
    after_m3_s: float,
) -> float:
    """What a machine's power falls by per flow that is no longer drawn. [J/m3]

    Args:
        power_of: its mean power by capacity ratio (`part_load`, `load_cycle`). [W]
        capacity_m3_s: at full load, above 0. [m3/s]
        before_m3_s: drawn from it, above `after_m3_s` and at most its capacity. [m3/s]
        after_m3_s: drawn afterwards, from 0. [m3/s]

    Formula: C14.
    Source: slope of the part-load curve between both flows; mean specific power overstates a
        saving where an unloaded or throttled machine still draws.
    """
    within("capacity_m3_s", capacity_m3_s, 1e-9, 1e4, "m3/s")
    within("before_m3_s", before_m3_s, 1e-12, capacity_m3_s, "m3/s")
    within("after_m3_s", after_m3_s, 0.0, before_m3_s * (1 - 1e-9), "m3/s")
    before_w, after_w = power_of(before_m3_s / capacity_m3_s), power_of(after_m3_s / capacity_m3_s)
    return (before_w - after_w) / (before_m3_s - after_m3_s)


def air_energy(flow_m3_s: float, time_s: float, energy_j_m3: float) -> float:
    """The electricity of a flow over a time. [Wh]

    Args:
        flow_m3_s: free air, from 0. [m3/s]
        time_s: from 0. [s]
        energy_j_m3: `marginal_power` of a saving; mean specific power of a share of cost. [J/m3]

    Formula: C14, C19.
    Source: energy is power over flow, times flow, times time.
    """
    within("flow_m3_s", flow_m3_s, 0.0, 1e4, "m3/s")
    within("time_s", time_s, 0.0, 1e10, "s")
    return within("energy_j_m3", energy_j_m3, -1e8, 1e8, "J/m3") * flow_m3_s * time_s / _S_PER_H


def recovered_heat(
    flow_m3_s: float,
    rise_k: float,
    density_kg_m3: float = WATER_KG_M3,
    heat_j_kg_k: float = WATER_J_KG_K,
) -> float:
    """The heat a coolant carries away. [W]

    Args:
        flow_m3_s: of the coolant, from 0. [m3/s]
        rise_k: of its temperature, from 0 to 150. [K]
        density_kg_m3: 0.5 to 2,000; default: water at 25 degrees Celsius. [kg/m3]
        heat_j_kg_k: 500 to 10,000; default as before. [J/(kg K)]

    Formula: C17.
    Source: enthalpy of a fluid of constant heat capacity.
    """
    within("flow_m3_s", flow_m3_s, 0.0, 1e4, "m3/s")
    within("rise_k", rise_k, 0.0, 150.0, "K")
    within("density_kg_m3", density_kg_m3, 0.5, 2000.0, "kg/m3")
    within("heat_j_kg_k", heat_j_kg_k, 500.0, 10_000.0, "J/(kg K)")
    return density_kg_m3 * heat_j_kg_k * flow_m3_s * rise_k


def heat_share(heat: float, energy: float) -> float:
    """The share of a machine's energy that is recovered as heat. [1]

    Args:
        heat: from 0 to 96 % of the energy, in the same unit. [W or Wh]
        energy: above 0. [W or Wh]

    Raises:
        OutOfDomain: more than 96 %: some heat always leaves with the air and by radiation, so a
            flow or a temperature is wrong.

    Formula: C17.
    Source: first law; limit of 96 % from manufacturers' balances (configuration).
    """
    within("energy", energy, 1e-6, 1e15, "")
    within("heat", heat, 0.0, _MOST_HEAT_RATIO * energy, "")
    return heat / energy


def drop_power(
    power_w: float,
    gauge_pa: float,
    drop_pa: float,
    atmospheric_pa: float,
    exponent: float = PRESSURE_EXPONENT,
) -> float:
    """What the drop of pressure across a dryer or filter costs the machine before it. [W]

    Args:
        power_w: of the machine while loaded, from 0. [W]
        gauge_pa: its discharge, above 0. [Pa gauge]
        drop_pa: from 0 to the discharge. [Pa]
        atmospheric_pa: 30 to 120 kPa. [Pa]
        exponent: as in `power_at_pressure`. [1]

    Formula: C18.
    Source: C5: without the drop the machine could discharge at so much less.
    """
    within("drop_pa", drop_pa, 0.0, gauge_pa, "Pa")
    without_w = power_at_pressure(power_w, gauge_pa, gauge_pa - drop_pa, atmospheric_pa, exponent)
    return power_w - without_w


def running_cost(
    *,
    shaft_w: float,
    running_s: float,
    loaded_ratio: float,
    loaded_efficiency_ratio: float,
    unloaded_shaft_ratio: float,
    unloaded_efficiency_ratio: float,
    price_per_wh: float,
) -> RunningCost:
    """Energy and cost of a machine that runs loaded and unloaded.

    Args:
        shaft_w: at full load, from 0. [W]
        running_s: time it runs, from 0. [s]
        loaded_ratio: share of them loaded, 0 to 1. [1]
        loaded_efficiency_ratio: of the motor, 0.1 to 1. [1]
        unloaded_shaft_ratio: shaft power unloaded over loaded, 0 to 1. [1]
        unloaded_efficiency_ratio: of the motor, 0.1 to 1. [1]
        price_per_wh: of electricity, from 0. [currency/Wh]

    Formula: C20.
    Source: ORNL-AMO/AMO-Tools-Suite 15208321, src/calculator/util/CompressedAir.cpp; CAGI's example
        is loaded all the time.
    """
    within("shaft_w", shaft_w, 0.0, 1e9, "W")
    within("running_s", running_s, 0.0, 1e10, "s")
    within("loaded_ratio", loaded_ratio, 0.0, 1.0, "1")
    within("loaded_efficiency_ratio", loaded_efficiency_ratio, 0.1, 1.0, "1")
    within("unloaded_shaft_ratio", unloaded_shaft_ratio, 0.0, 1.0, "1")
    within("unloaded_efficiency_ratio", unloaded_efficiency_ratio, 0.1, 1.0, "1")
    within("price_per_wh", price_per_wh, 0.0, 1e6, "1/Wh")
    full_wh = shaft_w * running_s / _S_PER_H
    loaded_wh = full_wh * loaded_ratio / loaded_efficiency_ratio
    unloaded_wh = full_wh * (1 - loaded_ratio) * unloaded_shaft_ratio / unloaded_efficiency_ratio
    return RunningCost(loaded_wh, unloaded_wh, loaded_wh * price_per_wh, unloaded_wh * price_per_wh)
