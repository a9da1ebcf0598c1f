"""Excess air live, gas by its composition, and readings that cannot be."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.equipment.base import US_PER_S, Samples
from joulemark_agent.equipment.furnace import Parameters, analyse
from joulemark_agent.physics.combustion import flue_oxygen, stoichiometry
from joulemark_agent.physics.fuel_gas import (
    NORMALISED,
    calorific_value,
    co2_factor,
    composition,
    compression_factor,
)

PERIOD_S = 30
LNG = {"CH4": 0.8985, "C2H6": 0.0715, "C3H8": 0.0222, "nC4H10": 0.0050, "iC4H10": 0.0028}
GAS = {
    "point": "gas_dm3",
    "composition": LNG,
    "volume_reference": "normal_0c_101325pa",
    "source": "the supplier's gas analysis of 2026-10",
}


def parameters(**section) -> Parameters:
    return Parameters.model_validate({"electricity": None, **section})


def hour(**columns) -> Samples:
    """An hour in which the gas meter counts 100 m3."""
    size = 121
    values = {"gas_dm3": np.rint(np.linspace(0, 100_000, size))}
    values |= {name: np.broadcast_to(np.array(v, float), size) for name, v in columns.items()}
    return Samples(np.arange(size) * PERIOD_S * US_PER_S, values, 45 * US_PER_S)


def figure(found, name):
    return {f.name: f for f in found.figures}[name]


# Excess air


@pytest.mark.parametrize("basis", ["wet", "dry"])
def test_excess_air_is_that_of_the_burner(basis):
    oxygen = flue_oxygen(stoichiometry(composition(LNG)), 0.25, basis)
    found = analyse(parameters(gas=GAS, flue={"o2_basis": basis}), hour(flue_oxygen_ratio=oxygen))
    excess = figure(found, "excess_air_ratio")
    assert excess.value == pytest.approx(0.25, rel=1e-9)
    assert excess.covered_ratio == 1.0
    assert found.findings == ()


def test_time_with_the_burner_off_is_left_out():
    oxygen = np.full(121, 0.06)
    oxygen[40:80] = 0.2095
    section = parameters(gas=GAS, flue={"o2_basis": "dry"})
    always, partly = (
        figure(analyse(section, hour(flue_oxygen_ratio=o2)), "excess_air_ratio")
        for o2 in (0.06, oxygen)
    )
    assert partly.value == pytest.approx(always.value)
    assert partly.covered_ratio == pytest.approx(2 / 3, abs=0.02)


def test_a_burner_that_is_always_off_has_no_excess_air():
    found = analyse(parameters(gas=GAS, flue={"o2_basis": "dry"}), hour(flue_oxygen_ratio=0.2095))
    assert "burner was off" in figure(found, "excess_air_ratio").why
    assert found.findings == ()


@pytest.mark.parametrize("reads", [-0.02, 6.0])
def test_oxygen_that_no_flue_gas_has_is_a_finding(reads):
    section = parameters(gas=GAS, flue={"o2_basis": "dry"})
    found = analyse(section, hour(flue_oxygen_ratio=reads))
    assert [finding.code for finding in found.findings] == ["o2_out_of_range"]
    assert "not per cent" in found.findings[0].do
    assert figure(found, "excess_air_ratio").value is None


def test_without_a_fuel_there_is_no_excess_air_and_with_natural_gas_an_estimate():
    declared = {**GAS, "composition": None}
    samples = hour(flue_oxygen_ratio=0.06)
    nothing = analyse(parameters(gas=declared, flue={"o2_basis": "dry"}), samples)
    assert "fuel: natural_gas" in figure(nothing, "excess_air_ratio").why
    methane = {"o2_basis": "dry", "fuel": "natural_gas"}
    excess = figure(analyse(parameters(gas=declared, flue=methane), samples), "excess_air_ratio")
    assert excess.value == pytest.approx(0.358, abs=1e-3)
    assert excess.flags == ("estimated",)


def test_each_reading_counts_by_the_gas_that_burned_meanwhile():
    oxygen = np.where(np.arange(121) < 60, 0.03, 0.10)
    samples = hour(flue_oxygen_ratio=oxygen)
    gas = np.where(np.arange(121) < 60, np.arange(121) * 1500.0, 90_000.0 + np.arange(121) * 10.0)
    heavy = Samples(samples.t_us, {**samples.values, "gas_dm3": gas}, samples.max_gap_us)
    section = parameters(gas=GAS, flue={"o2_basis": "dry"})
    even, first = (figure(analyse(section, s), "excess_air_ratio").value for s in (samples, heavy))
    assert first < even


def test_a_flue_without_its_basis_is_a_mistake_of_the_site_file():
    with pytest.raises(ValidationError, match="whether the probe measures wet gas"):
        parameters(gas=GAS, flue={"oxygen": "flue_oxygen_ratio"})


def test_check_names_the_line_of_a_flue_without_its_basis(tmp_path):
    from joulemark_agent.settings import load_site  # noqa: PLC0415 - brings the agent

    example = Path(__file__).parents[3] / "configs/sites/equipment-hall.yaml"
    text = example.read_text("utf-8").replace(
        "      gas:\n        point: gas_dm3",
        "      flue:\n        oxygen: flue_oxygen_ratio\n      gas:\n        point: gas_dm3",
    )
    file = tmp_path / "site.yaml"
    file.write_text(text, "utf-8")
    line = next(k for k, row in enumerate(text.splitlines(), 1) if row.strip() == "flue:")
    with pytest.raises(ConfigError) as raised:
        load_site(file)
    assert "o2_basis" in str(raised.value)
    assert any(f":{near}" in str(raised.value) for near in (line, line + 1))


# Gas by its composition


def test_a_composition_gives_calorific_value_and_factor():
    found = analyse(parameters(gas=GAS), hour())
    gas = composition(LNG)
    net_j = calorific_value(gas, "net", combustion_k=298.15, metering_k=273.15)
    energy_wh = figure(found, "gas_wh").value
    assert energy_wh == pytest.approx(100 * net_j / 3600)
    co2_kg = figure(found, "gas_co2e_kg").value
    assert co2_kg == pytest.approx(100 * net_j / 1e12 * co2_factor(gas))
    assert figure(found, "gas_wh").standard_uncertainty is None


def test_a_composition_that_was_scaled_is_flagged():
    scaled = {**GAS, "composition": {**LNG, "CH4": 0.8895}}
    for name in ("gas_wh", "gas_co2e_kg", "total_wh"):
        assert figure(analyse(parameters(gas=scaled), hour()), name).flags == (NORMALISED,)


def test_a_volume_at_15_degrees_is_taken_to_0_with_both_compression_factors():
    standard = {**GAS, "volume_reference": "standard_15c_101325pa"}
    normal, at_15 = (figure(analyse(parameters(gas=g), hour()), "gas_wh") for g in (GAS, standard))
    gas = composition(LNG)
    real = compression_factor(gas, 273.15) / compression_factor(gas, 288.15)
    assert at_15.value / normal.value == pytest.approx(273.15 / 288.15 * real, rel=1e-12)


def test_a_volume_in_the_line_is_corrected_with_its_compression_factor():
    line = {**GAS, "volume_reference": "operating", "line_pressure_pa": 500_000,
            "line_temperature_k": 283.15, "line_compressibility": 0.99}  # fmt: skip
    normal, metered = (figure(analyse(parameters(gas=g), hour()), "gas_wh") for g in (GAS, line))
    z = compression_factor(composition(LNG), 273.15)
    wanted = 500_000 / 101_325 * 273.15 / 283.15 * z / 0.99
    assert metered.value / normal.value == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("gas", "says"),
    [
        ({"ncv_mj_per_m3": 38.9}, "come from 'composition'"),
        ({"co2_kg_per_tj": 56_100}, "come from 'composition'"),
        ({"composition": {"CH4": 0.5}}, "the sum of the shares is 0.5"),
        ({"composition": {"methane": 1.0}}, "'methane' is no gas"),
        ({"source": None}, "say where"),
    ],
)
def test_a_gas_that_is_told_twice_or_wrong_is_refused(gas, says):
    with pytest.raises(ValidationError, match=says):
        parameters(gas={**GAS, **gas})


def test_the_uncertainty_of_the_gas_is_carried_to_its_energy():
    found = analyse(parameters(gas={**GAS, "uncertainty_ratio": 0.02}), hour())
    for name in ("gas_wh", "total_wh"):
        told = figure(found, name)
        assert told.standard_uncertainty == pytest.approx(told.value * 0.02)


def test_fuel_that_leaves_unburned_is_a_finding_and_no_excess_air():
    flue = {"o2_basis": "dry", "carbon_monoxide": "flue_co_ratio"}
    samples = hour(flue_oxygen_ratio=0.01, flue_co_ratio=0.008)
    found = analyse(parameters(gas=GAS, flue=flue), samples)
    assert [finding.code for finding in found.findings] == ["fuel_rich"]
    assert figure(found, "excess_air_ratio").value is None
