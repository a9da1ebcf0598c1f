"""Published numbers of compressed air, in the units they were published in, through SI."""

import pytest

from joulemark_agent.physics.air_cost import (
    air_energy,
    demand_at_pressure,
    demand_without_leaks,
    running_cost,
)
from joulemark_agent.physics.air_leaks import DetectorTable, bag_leak, ultrasonic_leak
from joulemark_agent.physics.air_storage import receiver_volume, usable_air
from joulemark_agent.physics.compression import power_at_pressure
from joulemark_agent.physics.us_units import M3_PER_FT3, M3_S_PER_CFM, M_PER_IN, PA_PER_PSI
from support.vectors import require_all_used, require_close, vectors

VECTORS = vectors("compressed_air")
W_PER_KW = 1000.0
WH_PER_KWH = 1000.0
S_PER_H = 3600.0
W_PER_HP = 746.0  # as rounded in the source
M3_PER_GAL = M3_PER_FT3 / 7.48  # as rounded in the source
STANDARD_PA = 14.7 * PA_PER_PSI  # as rounded in the source


def leak_reduction(vector) -> None:
    given = vector["inputs"]
    before, leak = given["C_usage"] * M3_S_PER_CFM, given["C_leak"] * M3_S_PER_CFM
    after = demand_without_leaks(before, leak, given["leak_reduction_fraction"])
    found = {
        "leak_reduced": (before - after) / M3_S_PER_CFM,
        "usage_after": after / M3_S_PER_CFM,
        "fraction_of_capacity": after / M3_S_PER_CFM / given["C_fl"],
    }
    require_close(found, vector["expected"], vector["rel_tol"])


def pressure_reduction(vector) -> None:
    given = vector["inputs"]
    atmosphere_pa = given["P_atm"] * PA_PER_PSI
    before_pa = given["P_fl"] * PA_PER_PSI
    after_pa = before_pa - given["P_reduction"] * PA_PER_PSI
    power_w = power_at_pressure(given["kW_fl"] * W_PER_KW, before_pa, after_pa, atmosphere_pa)
    flow_m3_s = demand_at_pressure(
        given["C_usage"] * M3_S_PER_CFM, before_pa + atmosphere_pa, after_pa + atmosphere_pa
    )
    found = {
        "P_new": after_pa / PA_PER_PSI,
        "kW_fl_adj": power_w / W_PER_KW,
        "C_usage_after": flow_m3_s / M3_S_PER_CFM,
        "fraction_of_capacity": flow_m3_s / M3_S_PER_CFM / given["C_fl"],
    }
    require_close(found, vector["expected"], vector["rel_tol"])


def full_load_at_another_pressure(vector) -> None:
    given = vector["inputs"]
    power_w = power_at_pressure(
        given["kW_fl_rated"] * W_PER_KW,
        given["P_fl_rated"] * PA_PER_PSI,
        given["P_discharge"] * PA_PER_PSI,
        given["P_atm"] * PA_PER_PSI,
    )
    require_close({"kW": power_w / W_PER_KW}, vector["expected"], vector["rel_tol"])


def always_loaded(shaft_w, hours, efficiency, price_per_kwh):
    return running_cost(
        shaft_w=shaft_w,
        running_s=hours * S_PER_H,
        loaded_ratio=1.0,
        loaded_efficiency_ratio=efficiency,
        unloaded_shaft_ratio=0.0,
        unloaded_efficiency_ratio=1.0,
        price_per_wh=price_per_kwh / WH_PER_KWH,
    )


def baseline_energy(vector) -> None:
    given = vector["inputs"]
    cost = always_loaded(given["kW"] * W_PER_KW, given["hours"], 1.0, given["cost"])
    found = {"kWh": cost.loaded_wh / WH_PER_KWH, "cost": cost.cost}
    require_close(found, vector["expected"], vector["rel_tol"])


def example_of_cagi(vector) -> None:
    given = vector["inputs"]
    cost = always_loaded(
        given["bhp"] * W_PER_HP, given["hours"], given["motor_eff"], given["cost_per_kWh"]
    )
    require_close({"annual_cost": cost.cost}, vector["expected"], vector["rel_tol"])


def operating_cost(vector) -> None:
    given = vector["inputs"]
    cost = running_cost(
        shaft_w=given["motor_bhp"] * W_PER_HP,
        running_s=given["hours"] * S_PER_H,
        loaded_ratio=given["pct_time_loaded"] / 100,
        loaded_efficiency_ratio=given["eff_loaded_pct"] / 100,
        unloaded_shaft_ratio=given["unloaded_bhp_pct"] / 100,
        unloaded_efficiency_ratio=given["eff_unloaded_pct"] / 100,
        price_per_wh=given["cost_per_kWh"] / WH_PER_KWH,
    )
    found = {
        "pct_time_unloaded": 100 - given["pct_time_loaded"],
        "cost_loaded": cost.loaded_cost,
        "cost_unloaded": cost.unloaded_cost,
        "cost_total": cost.cost,
    }
    require_close(found, vector["expected"], vector["rel_tol"])


def usable_receiver_air(vector) -> None:
    given = vector["inputs"]
    air_m3 = usable_air(
        given["tank_gal"] * M3_PER_GAL,
        given["P_high"] * PA_PER_PSI,
        given["P_low"] * PA_PER_PSI,
        STANDARD_PA,
    )
    require_close({"usable_scf": air_m3 / M3_PER_FT3}, vector["expected"], vector["rel_tol"])


def receiver_size(vector) -> None:
    given = vector["inputs"]
    volume_m3 = receiver_volume(
        given["demand"] * M3_S_PER_CFM,
        60.0,
        given["dP"] * PA_PER_PSI,
        given["P_atm"] * PA_PER_PSI,
    )
    require_close({"gal": volume_m3 / M3_PER_GAL}, vector["expected"], vector["rel_tol"])


def ultrasonic_survey(vector) -> None:
    given = vector["inputs"]
    table = DetectorTable(
        first_db=given["dB_A"],
        second_db=given["dB_B"],
        first_pa=given["P_A"] * PA_PER_PSI,
        second_pa=given["P_B"] * PA_PER_PSI,
        first_db_first_pa_m3_s=given["Q11"] * M3_S_PER_CFM,
        first_db_second_pa_m3_s=given["Q21"] * M3_S_PER_CFM,
        second_db_first_pa_m3_s=given["Q12"] * M3_S_PER_CFM,
        second_db_second_pa_m3_s=given["Q22"] * M3_S_PER_CFM,
    )
    flow_m3_s = ultrasonic_leak(given["dB"], given["line_pressure"] * PA_PER_PSI, table)
    flow_m3_s *= given["units"]
    time_s = given["hours"] * S_PER_H
    specific_j_m3 = given["specific_power_kW_per_cfm"] * W_PER_KW / M3_S_PER_CFM
    found = {
        "flow_cfm": flow_m3_s / M3_S_PER_CFM,
        "annual_cf": flow_m3_s * time_s / M3_PER_FT3,
        "kWh": air_energy(flow_m3_s, time_s, specific_j_m3) / WH_PER_KWH,
    }
    require_close(found, vector["expected"], vector["rel_tol"])


def bag_test(vector) -> None:
    given = vector["inputs"]
    flow_m3_s = bag_leak(
        given["height_in"] * M_PER_IN,
        given["diameter_in"] * M_PER_IN,
        given["fill_s"],
        given["units"],
    )
    found = {
        "flow_cfm": flow_m3_s / M3_S_PER_CFM,
        "annual_cf": flow_m3_s * given["hours"] * S_PER_H / M3_PER_FT3,
    }
    require_close(found, vector["expected"], vector["rel_tol"])


ADAPTERS = {
    "eem-leak-1": leak_reduction,
    "eem-pressure-1": pressure_reduction,
    "eem-kwadj-1": full_load_at_another_pressure,
    "th-pressure-base-1": baseline_energy,
    "opcost-1": operating_cost,
    "opcost-3": operating_cost,
    "opcost-5": operating_cost,
    "receiver-usable-1": usable_receiver_air,
    "receiver-usable-3": usable_receiver_air,
    "receiver-size-1": receiver_size,
    "receiver-size-3": receiver_size,
    "leak-db-1": ultrasonic_survey,
    "leak-bag-1": bag_test,
    "cagi-cost-1": example_of_cagi,
}


@pytest.mark.parametrize("name", VECTORS)
def test_a_published_number_of_compressed_air_is_found(name):
    ADAPTERS[name](VECTORS[name])


def test_every_vector_of_this_file_is_used():
    require_all_used("compressed_air", ADAPTERS)
