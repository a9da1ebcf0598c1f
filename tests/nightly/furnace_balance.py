"""A furnace whose losses are known: does the balance close within its own uncertainty?

Every run makes a gas furnace of three batches step by step from its true parameters: walls, door,
flue, leaks, atmosphere, cooling water, blower, lining, trays, charges, and what the meters make of
it. The model then gets the parameters that a site would declare, each wrong by a draw from the
uncertainty that it declares, and samples every 30 s. What it cannot name must lie within twice its
own standard uncertainty in 95 of 100 runs, and a loss that nobody declared must show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.equipment.base import US_PER_S, Samples
from joulemark_agent.equipment.furnace import Parameters, analyse
from joulemark_agent.physics.combustion import flue_oxygen, stoichiometry
from joulemark_agent.physics.flue_gas import flue_heat_ratio
from joulemark_agent.physics.fuel_gas import calorific_value, composition
from joulemark_agent.physics.furnace_losses import leakage_loss, wall_loss, water_cooling_loss
from joulemark_agent.physics.openings import opening_loss, rectangular_view_factor

RUNS = 2_000
PERIOD_S, STEP_S = 30, 10
GAS = {"CH4": 0.93, "C2H6": 0.04, "C3H8": 0.01, "N2": 0.015, "CO2": 0.005}
HALL_K, SET_POINT_K, IDLE_K = 296.15, 1173.15, 900.0
BATCHES, INSIDE_S, OPEN_S, PAUSE_S = 3, 12_600, 240, 1500
CHARGE_KG, STEEL_J_KG_K, CHARGE_W_K = 2000.0, 640.0, 1200.0
FULL_W, EXCESS, FLUE_ABOVE_K, HIDDEN_W = 500_000.0, 0.15, 40.0, 30_000.0
UNCERTAIN = {
    "gas": 0.015, "electricity": 0.01, "charge": 0.03, "wall": 0.15, "door": 0.2, "flue": 0.05,
    "atmosphere": 0.1, "cooling": 0.05, "blower": 0.1, "lining": 0.2, "hearth": 0.1, "tray": 0.1,
    "leak": 0.3,
}  # fmt: skip

Values = NDArray[np.float64]


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Runs with every parameter drawn anew; one with true parameters, one with a hidden loss."""
    rng = np.random.default_rng(seed)
    runs = RUNS if full else 50
    off = {name: np.append(1 + u * _draws(rng, runs), [1.0, 1.0]) for name, u in UNCERTAIN.items()}
    hidden_w = np.append(np.zeros(runs + 1), HIDDEN_W)
    *drawn, exact, hiding = [closure(made) for made in furnaces(rng, off, hidden_w)]
    z = np.array([left / spread for left, spread in drawn])
    closed = float(np.mean(np.abs(z) <= 2))
    left, spread = exact
    assert closed >= (0.95 if full else 0.9), f"only {closed:.1%} of the runs close"
    assert 0.7 < float(np.std(z)) < 1.15, "the uncertainty is not that of the errors"
    assert abs(left) < 0.01, "with true parameters nothing is left"
    assert hiding[0] > 2 * spread, "a loss that is not declared shows"
    return {
        "runs": f"{runs:,}",
        "closed within 2 u": f"{closed:.1%}",
        "spread of the closures": f"{np.std(z):.2f} u",
        "standard uncertainty": f"{spread:.1%} of the energy",
        "left with true parameters": f"{left:.2%}",
        "left with 30 kW not declared": f"{hiding[0]:.1%}",
    }


def declared() -> Parameters:
    """What the site declares."""
    u = UNCERTAIN
    section: dict[str, Any] = {
        "metering": {"limit_ratio": u["electricity"] * 3**0.5},
        "gas": {
            "point": "gas_dm3", "composition": GAS, "volume_reference": "normal_0c_101325pa",
            "source": "made for this check", "uncertainty_ratio": u["gas"],
        },
        "mass": "charge_kg",
        "flue": {"o2_basis": "wet", "temperature": "flue_temperature_k"},
        "losses": {
            "ambient_k": HALL_K,
            "charge": {
                "heat_capacity_j_kg_k": STEEL_J_KG_K, "in_k": HALL_K,
                "uncertainty_ratio": u["charge"],
            },
            "walls": [{"area_m2": 40.0, "surface": "wall_k", "uncertainty_ratio": u["wall"]}],
            "openings": [{"width_m": 1.2, "height_m": 1.0, "thickness_m": 0.3,
                          "uncertainty_ratio": u["door"]}],
            "flue_uncertainty_ratio": u["flue"],
            "atmosphere": [{"flow_m3_s": 0.01, "heat_capacity_j_m3_k": 1320.0, "in_k": HALL_K,
                            "uncertainty_ratio": u["atmosphere"]}],
            "cooling": [{"flow": "water_m3_s", "inlet": "water_in_k", "outlet": "water_out_k",
                         "uncertainty_ratio": u["cooling"]}],
            "auxiliary": [{"power_w": 2500.0, "uncertainty_ratio": u["blower"]}],
            "stored": [
                {"heat_capacity_j_k": 1e6, "share": 0.5, "time_constant_s": 8000.0,
                 "uncertainty_ratio": u["lining"]},
                {"heat_capacity_j_k": 3e5, "uncertainty_ratio": u["hearth"]},
            ],
            "fixtures": [{"mass_kg": 300.0, "heat_capacity_j_kg_k": 500.0, "in_k": HALL_K,
                          "uncertainty_ratio": u["tray"]}],
            "leaks": [{"area_m2": 0.002, "draft_pa": 5.0, "uncertainty_ratio": u["leak"]}],
        },
    }  # fmt: skip
    return Parameters.model_validate(section)


def closure(samples: Samples) -> tuple[float, float]:
    """What the balance of all batches leaves, and how sure it is."""
    figure = analyse(declared(), samples).figure("closure_ratio")
    assert figure.value is not None, figure.why
    assert figure.standard_uncertainty is not None
    return figure.value, figure.standard_uncertainty


def furnaces(
    rng: np.random.Generator, off: Mapping[str, Values], hidden_w: Values
) -> Iterator[Samples]:
    """The samples of furnaces whose true parameters are the declared ones times `off`.

    Args:
        rng: of the thermocouples' noise.
        off: by the names of `UNCERTAIN`, shape (runs,) each.
        hidden_w: a loss that is declared nowhere, shape (runs,).
    """
    runs = off["gas"].size
    plan = _plan()
    gas, view = composition(GAS), rectangular_view_factor(1.2, 1.0, 0.3).value
    table_k = np.arange(250.0, 1500.0)
    wall_w = np.array([wall_loss(40.0, max(k, HALL_K), HALL_K) for k in table_k])
    door_w = np.array([opening_loss(1.2, view, k, HALL_K) for k in table_k])
    leak_w = np.array([leakage_loss(0.002, 5.0, max(k, HALL_K), HALL_K) for k in table_k])
    flue = flue_heat_ratio(gas, EXCESS, table_k, HALL_K, HALL_K)
    water_w = water_cooling_loss(2e-4, 291.15, 303.15)
    furnace_k = np.full(runs, IDLE_K)
    lining_k = HALL_K + 0.5 * (furnace_k - HALL_K)
    charge_k, integral = np.full(runs, HALL_K), np.full(runs, 0.1)
    gas_j, electric_j = np.zeros(runs), np.zeros(runs)
    shown: list[Values] = []
    for second, (door, number) in enumerate(plan):
        wall_k = HALL_K + 0.09 * (lining_k - HALL_K)
        error_k = SET_POINT_K - furnace_k
        wanted = np.clip(0.02 * error_k + integral, 0.0, 1.0) * (1 - door)
        integral += np.where((wanted > 0) & (wanted < 1), 2e-5 * STEP_S * error_k, 0.0)
        gas_w = wanted * FULL_W
        if second * STEP_S % PERIOD_S == 0:
            shown.append(np.stack([furnace_k, wall_k, gas_j, electric_j, wanted]))
        out_w = off["wall"] * np.interp(wall_k, table_k, wall_w) + hidden_w
        out_w += off["door"] * door * np.interp(furnace_k, table_k, door_w)
        out_w += off["leak"] * np.interp(furnace_k, table_k, leak_w)
        out_w += off["atmosphere"] * 0.01 * 1320.0 * (furnace_k - HALL_K)
        out_w += off["cooling"] * water_w
        lining_w = off["lining"] * 1e6 * (HALL_K + 0.5 * (furnace_k - HALL_K) - lining_k) / 8000.0
        charge_w = CHARGE_W_K * (furnace_k - charge_k) if number else np.zeros(runs)
        kept = 1 - off["flue"] * np.interp(furnace_k + FLUE_ABOVE_K, table_k, flue)
        fan_w = 4000.0 * (1 - door)
        in_w = gas_w * kept + fan_w - out_w - lining_w - charge_w
        furnace_k = furnace_k + STEP_S * in_w / (3e5 * off["hearth"])
        lining_k = lining_k + STEP_S * lining_w / (off["lining"] * 1e6)
        heat_j_k = (CHARGE_KG + 10 * number) * STEEL_J_KG_K * off["charge"]
        heat_j_k += 300.0 * 500.0 * off["tray"]
        charge_k = charge_k + STEP_S * charge_w / heat_j_k if number else np.full(runs, HALL_K)
        gas_j = gas_j + STEP_S * gas_w
        electric_j = electric_j + STEP_S * (fan_w + 2500.0 * off["blower"])
    every = PERIOD_S // STEP_S
    states = np.array(plan, float)[::every]
    ncv_j = calorific_value(gas, "net", combustion_k=298.15, metering_k=273.15)
    oxygen = flue_oxygen(stoichiometry(gas), EXCESS, "wet")
    size = states.shape[0]
    for k in range(runs):
        kelvin, wall, burned_j, drawn_j, valve = np.array(shown)[:, :, k].T
        columns = {
            "temperature_k": kelvin + rng.normal(0, 0.5, size),
            "set_point_k": np.full(size, SET_POINT_K),
            "door_state": states[:, 0],
            "energy_wh": np.rint(5e6 + drawn_j / off["electricity"][k] / 3600),
            "gas_dm3": np.rint(9e6 + burned_j / off["gas"][k] / ncv_j * 1000),
            "charge_kg": np.where(states[:, 1] > 0, CHARGE_KG + 10 * states[:, 1], 0.0),
            "flue_oxygen_ratio": np.where(valve > 0, oxygen, 0.2095),
            "flue_temperature_k": kelvin + FLUE_ABOVE_K,
            "wall_k": wall,
            "water_m3_s": np.full(size, 2e-4),
            "water_in_k": np.full(size, 291.15),
            "water_out_k": np.full(size, 303.15),
        }
        t_us = np.arange(size) * PERIOD_S * US_PER_S
        yield Samples(t_us, columns, 3 * PERIOD_S * US_PER_S // 2)


def _plan() -> list[tuple[int, int]]:
    """The door, and the number of the charge inside, by the step."""
    parts = [(900, 0, 0)]
    for number in range(1, BATCHES + 1):
        parts += [(OPEN_S, 1, 0), (INSIDE_S, 0, number), (OPEN_S, 1, 0), (PAUSE_S, 0, 0)]
    return [(door, number) for length_s, door, number in parts for _ in range(length_s // STEP_S)]


def _draws(rng: np.random.Generator, size: int) -> Values:
    """Errors of one standard uncertainty: limits of instruments are told as such."""
    return rng.uniform(-1, 1, size) * 3**0.5
