"""Our formulas against the library that the field uses, which the agent never imports."""

import numpy as np
import pandas as pd
import pytest
from pvlib import atmosphere, inverter, irradiance, pvsystem, soiling, spa, temperature

from joulemark_agent.physics import cell_temperature, photovoltaics, sun
from joulemark_agent.physics.soiling import hsu_soiling_ratio

POINTS = 100_000
TOLERANCE = 1e-12
ZERO_C_K = 273.15


@pytest.fixture(scope="module")
def at():
    rng = np.random.default_rng(5)
    return {
        "sun": rng.uniform(0, 1400, POINTS),
        "air_c": rng.uniform(-30, 50, POINTS),
        "wind": rng.uniform(0, 20, POINTS),
        "cell_c": rng.uniform(-30, 90, POINTS),
        "dc_w": rng.uniform(0, 12_000, POINTS),
        "effective": rng.uniform(100, 1400, POINTS),
    }


def require_equal(found, expected) -> None:
    assert np.max(np.abs(found - expected) / np.abs(expected)) <= TOLERANCE


@pytest.mark.parametrize("name", cell_temperature.SAPM)
def test_sandia_s_cells(at, name):
    a, b, delta_k = cell_temperature.SAPM[name]
    air_k = at["air_c"] + ZERO_C_K
    module_k = cell_temperature.sapm_module_k(at["sun"], air_k, at["wind"], a, b)
    found = cell_temperature.cell_from_module_k(module_k, at["sun"], delta_k)
    given = temperature.TEMPERATURE_MODEL_PARAMETERS["sapm"][name]
    expected = temperature.sapm_cell(at["sun"], at["air_c"], at["wind"], **given)
    require_equal(found, expected + ZERO_C_K)


def test_faiman_s_modules(at):
    found = cell_temperature.faiman_module_k(at["sun"], at["air_c"] + ZERO_C_K, at["wind"])
    expected = temperature.faiman(at["sun"], at["air_c"], at["wind"])
    require_equal(found, expected + ZERO_C_K)


@pytest.mark.parametrize("name", cell_temperature.PVSYST)
def test_pvsyst_s_cells(at, name):
    given = temperature.TEMPERATURE_MODEL_PARAMETERS["pvsyst"][name]
    air_k = at["air_c"] + ZERO_C_K
    loss = cell_temperature.PVSYST[name]
    found = cell_temperature.pvsyst_cell_k(at["sun"], air_k, at["wind"], *loss)
    expected = temperature.pvsyst_cell(at["sun"], at["air_c"], at["wind"], **given)
    require_equal(found, expected + ZERO_C_K)


def test_ross_s_cells(at):
    air_k = at["air_c"] + ZERO_C_K
    of_noct = cell_temperature.ross_cell_k(at["sun"], air_k, noct_k=45 + ZERO_C_K)
    require_equal(of_noct, temperature.ross(at["sun"], at["air_c"], noct=45) + ZERO_C_K)
    of_slope = cell_temperature.ross_cell_k(at["sun"], air_k, k_m2_w=0.0342)
    require_equal(of_slope, temperature.ross(at["sun"], at["air_c"], k=0.0342) + ZERO_C_K)


@pytest.mark.parametrize("inches", [0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0])
def test_sam_s_cells(at, inches):
    storeys = 1 if inches < 1.5 else 2
    effective = None if inches < 2.5 else at["effective"]
    air_k = at["air_c"] + ZERO_C_K
    found = cell_temperature.noct_sam_cell_k(
        at["sun"], air_k, at["wind"], 45 + ZERO_C_K, 0.19, effective_w_m2=effective,
        storeys=storeys, standoff_m=inches * 0.0254,
    )  # fmt: skip
    expected = temperature.noct_sam(
        at["sun"], at["air_c"], at["wind"], 45, 0.19, effective, array_height=storeys,
        mount_standoff=inches,
    )  # fmt: skip
    usable = (found > 200) & (at["sun"] > 100)
    assert usable.sum() > 0.9 * POINTS
    require_equal(found[usable], expected[usable] + ZERO_C_K)


def test_the_power_of_modules_and_inverter(at):
    cell_k = at["cell_c"] + ZERO_C_K
    found = photovoltaics.expected_dc_w(at["sun"], cell_k, 10_000.0, -0.0037)
    expected = pvsystem.pvwatts_dc(at["sun"], at["cell_c"], 10_000.0, -0.0037)
    require_equal(found, expected)
    found = photovoltaics.expected_ac_w(at["dc_w"], 9_000.0)
    expected = inverter.pvwatts(at["dc_w"], 9_000.0)
    is_on = expected > 0
    require_equal(found[is_on], expected[is_on])
    assert not found[~is_on].any()
    assert photovoltaics.pvwatts_loss_ratio() == pytest.approx(
        pvsystem.pvwatts_losses() / 100, rel=TOLERANCE
    )


def test_the_sun_s_angles():
    rng = np.random.default_rng(6)
    unix_s = rng.uniform(0, 3e9, 300)
    places = [(37.5, 127.0, 50.0), (-33.9, 18.4, 900.0), (64.1, -21.9, 0.0)]
    for latitude, longitude, altitude in places:
        expected = spa.solar_position_numpy(
            unix_s, latitude, longitude, altitude, 1013.25, 12.0, sun.DELTA_T_S, 0.5667, 1
        )
        found = sun.sun_position(
            unix_s, np.radians(latitude), np.radians(longitude), altitude_m=altitude
        )
        three = (found.apparent_zenith, found.zenith, found.azimuth)
        for angle, row in zip(three, (0, 1, 4), strict=True):
            assert np.degrees(angle) == pytest.approx(expected[row], abs=1e-7)
    zenith, azimuth = rng.uniform(0, 90, POINTS), rng.uniform(0, 360, POINTS)
    airmass = sun.relative_airmass(np.radians(zenith))
    require_equal(airmass, atmosphere.get_relative_airmass(zenith))
    struck = sun.incidence_rad(0.5, 3.0, np.radians(zenith), np.radians(azimuth))
    cosine = irradiance.aoi_projection(np.degrees(0.5), np.degrees(3.0), zenith, azimuth)
    assert np.cos(struck) == pytest.approx(cosine, abs=1e-14)


def test_dust_and_rain():
    rng = np.random.default_rng(7)
    rain_mm = np.where(rng.random(2000) < 0.05, rng.uniform(0, 4, 2000), 0.0)
    fine, coarse = rng.uniform(0, 5e-5, 2000), rng.uniform(0, 1e-4, 2000)
    when = pd.date_range("2026-01-01", periods=2000, freq="h")
    expected = soiling.hsu(
        pd.Series(rain_mm, when), 2.0, 25.0, pd.Series(fine, when), pd.Series(coarse, when),
        rain_accum_period=pd.Timedelta("6h"),
    )  # fmt: skip
    found = hsu_soiling_ratio(
        np.arange(2000) * 3600.0, rain_mm / 1000, fine / 1000, coarse / 1000,
        tilt_rad=np.radians(25.0), cleaning_rain_m=0.002, accumulation_s=6 * 3600.0,
    )  # fmt: skip
    assert found == pytest.approx(expected.to_numpy(), rel=1e-9)
