"""Published numbers of furnaces, in the units they were published in, through SI."""

import pytest

from joulemark_agent.physics.available_heat import (
    available_heat,
    electric_equivalent,
    enriched_available_heat,
    improved_input,
)
from joulemark_agent.physics.charges import liquid_charge_heat, solid_charge_heat
from joulemark_agent.physics.combustion import excess_air, stoichiometry
from joulemark_agent.physics.electric_arc import chemical_energy, delivered_energy, off_gas_heat
from joulemark_agent.physics.fuel_gas import composition
from joulemark_agent.physics.furnace_losses import auxiliary_power, carried_heat, wall_loss
from joulemark_agent.physics.openings import (
    opening_loss,
    rectangular_view_factor,
    round_area,
    round_view_factor,
)
from joulemark_agent.physics.us_units import (
    F_AT_0_K,
    F_PER_K,
    J_KG_K_PER_BTU_LB_F,
    J_KG_PER_BTU_LB,
    J_PER_BTU,
    KG_PER_LB,
    M2_PER_FT2,
    M3_PER_FT3,
    M3_PER_GAL,
    M3_S_PER_CFM,
    M_PER_IN,
    M_S_PER_MPH,
    W_PER_BTU_H,
)
from support.vectors import require_all_used, require_close, vectors

VECTORS = vectors("furnace_heat_balance")
METHANE = stoichiometry(composition({"CH4": 1.0}))
BTU_H_PER_W_ROUNDED = 3.412136247820839  # as the source has it
BTU_H_PER_KW_ROUNDED = 3413.0  # as the source has it
MM = 1e6
S_PER_H = 3600.0


def kelvin(fahrenheit: float) -> float:
    return (fahrenheit - F_AT_0_K) / F_PER_K


def wall(given):
    loss_w = wall_loss(
        given["area_ft2"] * M2_PER_FT2,
        kelvin(given["T_surf"]),
        kelvin(given["T_amb"]),
        wind_m_s=given["wind_mph"] * M_S_PER_MPH,
        emissivity=given["emissivity"],
        shape_factor=given["shape_factor"],
    )
    return {"btu_h": loss_w * given["correction"] / W_PER_BTU_H}


def opening(given):
    loss_w = opening_loss(
        round_area(given["diameter_in"] * M_PER_IN),
        given["view_factor"],
        kelvin(given["T_in"]),
        kelvin(given["T_amb"]),
        emissivity=given["emissivity"],
        open_ratio=given["pct_time_open"] / 100,
    )
    return {"btu_h": loss_w / W_PER_BTU_H}


def view_factor(given):
    thickness_m = given["thickness_in"] * M_PER_IN
    if "diameter_in" in given:
        return {
            "view_factor": round_view_factor(given["diameter_in"] * M_PER_IN, thickness_m).value
        }
    sides_m = given["length_in"] * M_PER_IN, given["height_in"] * M_PER_IN
    return {"view_factor": rectangular_view_factor(*sides_m, thickness_m).value}


def carried(flow_kg_s, given):
    capacity_j_kg_k = given["cp"] * J_KG_K_PER_BTU_LB_F
    heat_w = carried_heat(flow_kg_s, capacity_j_kg_k, kelvin(given["T_in"]), kelvin(given["T_out"]))
    return {"btu_h": heat_w / W_PER_BTU_H}


def fixture(given):
    return carried(given["feed_lb_h"] * KG_PER_LB / S_PER_H, given)


def gas_cooling(given):
    density_kg_m3 = given["density"] * KG_PER_LB / M3_PER_FT3
    return carried(given["flow_scfm"] * M3_S_PER_CFM * density_kg_m3, given)


def liquid_cooling(given):
    density_kg_m3 = given["density_lb_gal"] * KG_PER_LB / M3_PER_GAL
    return carried(given["flow_gpm"] * M3_PER_GAL / 60 * density_kg_m3, given)


def auxiliary(given):
    power_w = auxiliary_power(
        given["phases"], given["V"], given["A"], given["PF"], given["operating_pct"] / 100
    )
    return {"btu_h": power_w * BTU_H_PER_W_ROUNDED}


def reacted(given):
    return given["pct_reacted"] / 100 if given["reaction"] == "endo" else 0.0


def solid_charge(given):
    heat_w = solid_charge_heat(
        given["feed_lb_h"] * KG_PER_LB / S_PER_H,
        kelvin(given["T_in"]),
        kelvin(given["T_out"]),
        solid_j_kg_k=given["cp_solid"] * J_KG_K_PER_BTU_LB_F,
        melting_k=kelvin(given["T_melt"]),
        liquid_j_kg_k=given["cp_liquid"] * J_KG_K_PER_BTU_LB_F,
        fusion_j_kg=given["latent"] * J_KG_PER_BTU_LB,
        melted_ratio=given["pct_melted"] / 100,
        moisture_in_ratio=given["water_in_pct"] / 100,
        moisture_out_ratio=given["water_out_pct"] / 100,
        vapour_k=kelvin(given["T_vapor_out"]),
        reacted_ratio=reacted(given),
        reaction_j_kg=given["reaction_btu_lb"] * J_KG_PER_BTU_LB,
        additional_j=given["additional"] * W_PER_BTU_H,
    )
    return {"btu_h": heat_w / W_PER_BTU_H}


def liquid_charge(given):
    heat_w = liquid_charge_heat(
        given["feed_lb_h"] * KG_PER_LB / S_PER_H,
        kelvin(given["T_in"]),
        kelvin(given["T_out"]),
        liquid_j_kg_k=given["cp_liquid"] * J_KG_K_PER_BTU_LB_F,
        boiling_k=kelvin(given["T_vaporize"]),
        vapour_j_kg_k=given["cp_vapor"] * J_KG_K_PER_BTU_LB_F,
        evaporation_j_kg=given["latent"] * J_KG_PER_BTU_LB,
        vaporised_ratio=given["pct_vaporized"] / 100,
        reacted_ratio=reacted(given),
        reaction_j_kg=given["reaction_btu_lb"] * J_KG_PER_BTU_LB,
        additional_j=given["additional"] * W_PER_BTU_H,
    )
    return {"btu_h": heat_w / W_PER_BTU_H}


def exhaust(given):
    flue_k, air_k = kelvin(given["T_exhaust"]), kelvin(given["T_comb_air"])
    share = available_heat(given["excess_air_pct"] / 100, flue_k, air_k)
    return {
        "available_pct": share * 100,
        "delivered": share * given["heat_input"],
        "exhaust_loss": (1 - share) * given["heat_input"],
    }


def improvement(given):
    excess, share = {}, {}
    for when in ("now", "new"):
        excess[when] = excess_air(METHANE, given[f"O2_{when}_pct"] / 100, "dry")
        temperatures_k = kelvin(given[f"T_flue_{when}"]), kelvin(given[f"T_air_{when}"])
        share[when] = available_heat(excess[when], *temperatures_k)
    after = improved_input(given["input_now"], share["now"], share["new"])
    return {
        "EA_now_pct": excess["now"] * 100,
        "EA_new_pct": excess["new"] * 100,
        "avail_now": share["now"] * 100,
        "avail_new": share["new"] * 100,
        "saving_pct": (1 - after / given["input_now"]) * 100,
        "input_new": after,
    }


def enrichment(given):
    def share(end: str) -> float:
        return enriched_available_heat(
            excess_air(METHANE, given[f"O2_flue{end}_pct"] / 100, "dry"),
            kelvin(given[f"T_flue{end}"]),
            kelvin(given[f"T_air{end}"]),
            given[f"O2_air{end}_pct"] / 100,
        )

    after = improved_input(given["fuel"], share(""), share("_enr"))
    return {
        "avail": share("") * 100,
        "avail_enr": share("_enr") * 100,
        "saving_pct": (1 - after / given["fuel"]) * 100,
        "fuel_enr": after,
    }


def arc_input(given):
    chemical_j = chemical_energy(
        given["NG_MMBtu"] * MM * J_PER_BTU,
        coal_kg=given["coal_lb"] * KG_PER_LB,
        coal_j_kg=given["coal_btu_lb"] * J_KG_PER_BTU_LB,
        electrode_kg=given["electrode_lb"] * KG_PER_LB,
        electrode_j_kg=given["electrode_btu_lb"] * J_KG_PER_BTU_LB,
        other_j=given["other_MMBtu"] * MM * J_PER_BTU,
    )
    delivered_j = delivered_energy(chemical_j, given["electricity_kWh"] * 1000)
    return {"chemical_btu": chemical_j / J_PER_BTU, "delivered_btu": delivered_j / J_PER_BTU}


def arc_exhaust(given):
    heat_w = off_gas_heat(
        given["flow_acfm"] * M3_S_PER_CFM,
        kelvin(given["T_offgas"]),
        co_ratio=given["CO_pct"] / 100,
        hydrogen_ratio=given["H2_pct"] / 100,
        combustible_ratio=given["combustibles_pct"] / 100,
        dust_kg_m3=given["dust"] * KG_PER_LB / M3_PER_FT3,
    )
    return {"btu_h": heat_w / W_PER_BTU_H}


def equivalence(given):
    fuel_w = given["fuel_MMBtu_h"] * MM / BTU_H_PER_KW_ROUNDED * 1000
    ratios = given["fuel_eff_pct"] / 100, given["el_eff_pct"] / 100
    return {"kW": electric_equivalent(fuel_w, *ratios) / 1000}


ADAPTERS = {
    "wall-1": wall,
    "opening-circ-1": opening,
    **dict.fromkeys([f"viewfactor-circ-{n}" for n in (1, 3, 5, 7)], view_factor),
    **dict.fromkeys([f"viewfactor-rect-{n}" for n in (2, 4, 6)], view_factor),
    "fixture-1": fixture,
    "gascool-1": gas_cooling,
    "liqcool-1": liquid_cooling,
    **dict.fromkeys([f"auxpower-{n}" for n in (1, 3, 5)], auxiliary),
    **dict.fromkeys([f"solid-charge-{n}" for n in (1, 3, 5, 7)], solid_charge),
    **dict.fromkeys([f"liquid-charge-{n}" for n in (1, 3)], liquid_charge),
    "exhaust-1": exhaust,
    "effimp-1": improvement,
    **dict.fromkeys([f"o2enrich-{n}" for n in (1, 3)], enrichment),
    "eaf-input-1": arc_input,
    "eaf-exhaust-2": arc_exhaust,
    "equiv-el-1": equivalence,
}


@pytest.mark.parametrize("name", VECTORS)
def test_a_published_number_of_furnaces_is_found(name):
    vector = VECTORS[name]
    require_close(ADAPTERS[name](vector["inputs"]), vector["expected"], vector["rel_tol"])


def test_every_vector_of_this_file_is_used():
    require_all_used("furnace_heat_balance", ADAPTERS)
