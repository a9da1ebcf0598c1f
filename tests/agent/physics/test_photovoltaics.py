import math
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.physics.cell_temperature import (
    PVSYST,
    SAPM,
    cell_from_module_k,
    faiman_module_k,
    noct_sam_cell_k,
    pvsyst_cell_k,
    ross_cell_k,
    sapm_module_k,
    wind_or_still,
)
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.photovoltaics import (
    annual_equivalent_performance_ratio,
    corrected_performance_ratio,
    expected_ac_w,
    expected_dc_w,
    final_yield_wh_per_w,
    performance_ratio,
    pvwatts_loss_ratio,
    reference_yield_wh_per_w,
)
from joulemark_agent.physics.soiling import (
    dust_soiling_ratio,
    hsu_soiling_ratio,
    soiling_slope_per_s,
)
from joulemark_agent.physics.sun import (
    incidence_rad,
    relative_airmass,
    solar_noon_s,
    sun_position,
)
from support.vectors import require_all_used, require_close, vectors

VECTORS = vectors("pv")
ZERO_C_K = 273.15
DAY_S = 86_400.0
FEW = settings(max_examples=30)

suns = st.floats(0, 1500)
airs = st.floats(233.15, 323.15)
winds = st.floats(0, 20)
cells = st.floats(250, 350)


def dc(vector):
    at = vector["inputs"]
    irradiance, peak = at.get("G", at.get("poa")), at.get("Pdc0", at.get("P_rated"))
    found = expected_dc_w(irradiance, at["Tc"] + ZERO_C_K, peak, at["gamma"])
    return {"Pdc": float(found), "P": float(found)}


def ac(vector):
    at = vector["inputs"]
    return {"Pac": float(expected_ac_w(at["Pdc"], at["Pdc0"], at["eta_nom"], at["eta_ref"]))}


def losses(_):
    return {"loss_pct": 100 * pvwatts_loss_ratio()}


def weather(vector):
    at = vector["inputs"]
    return at["G"], at["Ta"] + ZERO_C_K, at.get("v")


def sapm(vector):
    at, (sun, air_k, wind) = vector["inputs"], weather(vector)
    module_k = sapm_module_k(sun, air_k, wind, at["a"], at["b"])
    cell_k = cell_from_module_k(module_k, sun, at["dT"])
    return {"Tm": float(module_k) - ZERO_C_K, "Tc": float(cell_k) - ZERO_C_K}


def pvsyst(vector):
    at = vector["inputs"]
    shares = {"efficiency": at["eta"], "absorption": at["alpha"]}
    sun, air_k, wind = weather(vector)
    found = pvsyst_cell_k(sun, air_k, wind, at["u_c"], at["u_v"], **shares)
    return {"Tc": float(found) - ZERO_C_K}


def faiman(vector):
    sun, air_k, wind = weather(vector)
    found = faiman_module_k(sun, air_k, wind, vector["inputs"]["u0"], vector["inputs"]["u1"])
    return {"Tm": float(found) - ZERO_C_K}


def ross(vector):
    sun, air_k, _ = weather(vector)
    found = ross_cell_k(sun, air_k, noct_k=vector["inputs"]["noct"] + ZERO_C_K)
    return {"Tc": float(found) - ZERO_C_K}


def incidence(vector):
    at = vector["inputs"]
    angles = (at["tilt"], at["surf_az"], at["zenith"], at["sun_az"])
    found = float(incidence_rad(*(math.radians(angle) for angle in angles)))
    return {"aoi": math.degrees(found), "cos_aoi": math.cos(found)}


def airmass(vector):
    return {"am": relative_airmass(np.radians(vector["inputs"]["zenith"])).tolist()}


def golden(vector):
    at = vector["inputs"]
    found = sun_position(
        datetime.fromisoformat(at["time"]).timestamp(),
        math.radians(at["latitude"]),
        math.radians(at["longitude"]),
        altitude_m=at["altitude_m"],
        pressure_pa=at["pressure"],
        air_k=at["temperature"] + ZERO_C_K,
        delta_t_s=at["delta_t"],
        refraction_rad=math.radians(at["atmos_refract"]),
    )
    return {
        "apparent_zenith": math.degrees(found.apparent_zenith),
        "azimuth": math.degrees(found.azimuth),
        "elevation": 90 - math.degrees(found.zenith),
    }


def dust(vector):
    at = vector["inputs"]
    found = hsu_soiling_ratio(
        3600.0 * np.arange(1, 1 + len(at["rain"])),
        np.array(at["rain"]) / 1000,
        at["pm2_5"] / 1000,
        at["pm10"] / 1000,
        tilt_rad=math.radians(at["tilt"]),
        cleaning_rain_m=at["cleaning_threshold"] / 1000,
        accumulation_s=3600.0 * at["rain_accum_h"],
        pm2_5_velocity_m_s=at["depo_2_5"],
        pm10_velocity_m_s=at["depo_10"],
    )
    return {"SR": found.tolist()}


ADAPTERS = {
    "pvwatts-dc-1": dc, "pvwatts-ac-1": ac, "pvwatts-loss-1": losses, "sapm-cell-1": sapm,
    "pvsyst-cell-2": pvsyst, "faiman-1": faiman, "ross-1": ross, "aoi-1": incidence,
    "aoi-3": incidence, "airmass-ky-1": airmass, "spa-golden-1": golden, "soiling-hsu-1": dust,
    "pvwatts-norm-1": dc,
}  # fmt: skip


@pytest.mark.parametrize("name", VECTORS)
def test_a_published_number_is_found(name):
    vector = VECTORS[name]
    require_close(ADAPTERS[name](vector), vector["expected"], vector["rel_tol"])


def test_every_vector_of_this_file_is_used():
    require_all_used("pv", ADAPTERS)


MODELS = {
    "sapm": lambda g, t, v: sapm_module_k(g, t, v, -3.47, -0.0594),
    "faiman": faiman_module_k,
    "pvsyst": lambda g, t, v: pvsyst_cell_k(g, t, v, 20.0, 6.0),
    "ross": lambda g, t, _: ross_cell_k(g, t, k_m2_w=0.03),
    "noct_sam": lambda g, t, v: noct_sam_cell_k(g, t, v, 318.15, 0.18),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@FEW
@given(sun=suns, air_k=airs, wind=winds)
def test_cells_are_as_warm_as_the_air_without_sun_and_cooler_in_wind(model, sun, air_k, wind):
    assert model(0.0, air_k, wind) == pytest.approx(air_k)
    assert model(sun, air_k, wind) >= air_k
    assert model(sun, air_k, wind + 1) <= model(sun, air_k, wind) + 1e-9
    assert model(min(sun + 100, 2000), air_k, wind) >= model(sun, air_k, wind)
    assert model(sun, air_k + 5, wind) == pytest.approx(model(sun, air_k, wind) + 5)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_what_is_out_of_range_or_missing_has_no_cell_temperature(model):
    suns_ = np.array([-1.0, 2001.0, np.nan, 800.0, 800.0])
    airs_ = np.array([290.0, 290.0, 290.0, 20.0, np.nan])
    assert np.isnan(model(suns_, airs_, 1.0)).all()


def test_a_wind_that_is_not_known_is_that_of_the_nominal_conditions_and_is_told():
    wind, is_estimated = wind_or_still([3.0, np.nan, -1.0, 1000.0])
    assert wind.tolist() == [3.0, 1.0, 1.0, 1.0]
    assert is_estimated.tolist() == [False, True, True, True]


def test_a_module_close_to_its_surface_is_warmer():
    inch = 0.0254
    expected = {-0.01: 0.0, 0.0: 0.0, 0.25 * inch: 18.0, 0.5 * inch: 11.0, 2 * inch: 6.0,
                3.5 * inch: 2.0, 4 * inch: 0.0}  # fmt: skip
    base = noct_sam_cell_k(800, 293.15, 1.0, 318.15, 0.18)
    for standoff_m, kelvin in expected.items():
        warmer = noct_sam_cell_k(800, 293.15, 1.0, 318.15, 0.18, standoff_m=standoff_m)
        same = noct_sam_cell_k(800, 293.15, 1.0, 318.15 + kelvin, 0.18)
        assert warmer == pytest.approx(same)
        assert warmer >= base


@FEW
@given(suns, cells, st.floats(-0.006, 0), st.floats(0.1, 1e6))
def test_expected_power_scales_with_the_rating(sun, cell_k, gamma, scale):
    one = expected_dc_w(sun, cell_k, 1000.0, gamma)
    assert expected_dc_w(sun, cell_k, 1000.0 * scale, gamma) == pytest.approx(scale * one)
    assert expected_dc_w(1000.0, 298.15, 1000.0, gamma) == 1000.0
    assert 0 <= expected_ac_w(one, 900.0) <= min(float(one), 0.96 * 900.0)


def test_an_inverter_without_dc_power_gives_none():
    assert expected_ac_w([0.0, 1.0, np.nan, -1.0], 1000.0).tolist()[:2] == [0.0, 0.0]
    assert np.isnan(expected_ac_w([np.nan, -1.0], 1000.0)).all()


@FEW
@given(st.floats(1, 1e9), st.floats(1, 1e7), st.floats(1, 1e7), cells, st.floats(-0.006, 0))
def test_the_ratios_belong_together(energy, peak, sun, cell_k, gamma):
    plain = performance_ratio(energy, peak, sun)
    yields = final_yield_wh_per_w(energy, peak) / reference_yield_wh_per_w(sun)
    assert plain == pytest.approx(yields)
    warm = {"mean_cell_k": cell_k, "gamma_per_k": gamma}
    at_25 = corrected_performance_ratio(energy, peak, sun, **warm)
    assert at_25 == pytest.approx(plain / (1 + gamma * (cell_k - 298.15)))
    of_year = annual_equivalent_performance_ratio(
        energy, peak, sun, **warm, annual_cell_k=cell_k + 5
    )
    assert of_year == pytest.approx(plain / (1 - 5 * gamma))


def test_the_mean_of_the_same_samples_is_refused_since_it_cancels():
    rng = np.random.default_rng(1)
    sun, cell_k = rng.uniform(0, 1000, 500), rng.uniform(280, 340, 500)
    mean_k = float((sun * cell_k).sum() / sun.sum())
    factor = 1 - 0.004 * (cell_k - mean_k)
    assert (sun * factor).sum() == pytest.approx(sun.sum(), rel=1e-12), "the correction cancels"
    with pytest.raises(OutOfDomain, match="would cancel"):
        annual_equivalent_performance_ratio(
            1.0, 1.0, 1.0, mean_cell_k=mean_k, gamma_per_k=-0.004, annual_cell_k=mean_k
        )


@FEW
@given(st.floats(0, math.pi), st.floats(0, 6.2), st.floats(0, math.pi), st.floats(0, 6.2))
def test_the_angle_of_incidence_is_that_of_the_scalar_product(tilt, faces, zenith, azimuth):
    cosine = math.cos(tilt) * math.cos(zenith)
    cosine += math.sin(tilt) * math.sin(zenith) * math.cos(azimuth - faces)
    assert math.cos(incidence_rad(tilt, faces, zenith, azimuth)) == pytest.approx(cosine, abs=1e-12)
    assert incidence_rad(tilt, faces, tilt, faces) == 0.0


@FEW
@given(st.floats(0, 4e9), st.floats(-3.1, 3.1))
def test_at_noon_the_sun_stands_in_the_meridian(near_s, longitude):
    noon_s = float(solar_noon_s(near_s, longitude))
    assert abs(noon_s - near_s) <= DAY_S / 2 + 30, "a solar day is up to half a minute longer"
    around = sun_position([noon_s - 60, noon_s, noon_s + 60], 0.7, longitude)
    assert around.zenith[1] <= around.zenith[0] + 1e-5
    assert around.zenith[1] <= around.zenith[2] + 1e-5
    assert around.azimuth[1] == pytest.approx(math.pi, abs=1e-4)


def test_seen_through_air_the_sun_stands_higher_until_it_has_set():
    t_s = 1.7e9 + np.linspace(0, DAY_S, 500)
    sun = sun_position(t_s, 0.65, 2.2)
    lifted = sun.zenith - sun.apparent_zenith
    assert np.all(lifted[sun.zenith < 1.5] > 0)
    assert np.all(lifted[sun.zenith > 1.7] == 0)
    assert np.all((sun.azimuth >= 0) & (sun.azimuth < 2 * math.pi))
    assert np.isnan(sun_position([math.nan], 0.65, 2.2).zenith).all()


def test_rain_washes_modules_clean_only_when_enough_falls_in_time():
    hours = 3600.0 * np.arange(1, 49)
    rain = np.zeros(48)
    rain[[20, 21]] = 0.0006
    common = {"tilt_rad": 0.3, "cleaning_rain_m": 0.001}
    short = hsu_soiling_ratio(hours, rain, 5e-8, 1e-7, **common)
    longer = hsu_soiling_ratio(hours, rain, 5e-8, 1e-7, accumulation_s=2 * 3600.0, **common)
    assert np.all(np.diff(short) < 0)
    assert longer[21] == 1.0
    assert longer[20] < 1.0
    assert longer[22] < 1.0


def test_dust_that_was_not_measured_is_not_known_until_the_next_cleaning():
    hours = 3600.0 * np.arange(1, 11)
    fine = np.full(10, 5e-8)
    fine[3] = np.nan
    rain = np.zeros(10)
    rain[7] = 0.01
    found = hsu_soiling_ratio(hours, rain, fine, 1e-7, tilt_rad=0.0, cleaning_rain_m=0.001)
    assert np.isnan(found).tolist() == [False] * 3 + [True] * 4 + [False] * 3


@given(st.floats(0, 0.009))
def test_more_dust_passes_less_light(dust_kg_m2):
    assert dust_soiling_ratio(dust_kg_m2) > dust_soiling_ratio(dust_kg_m2 + 0.001)
    assert dust_soiling_ratio(0.0) == 1.0


def test_one_slope_for_all_the_times_between_cleanings():
    days = np.arange(60)
    group = days // 20
    ratio = 0.9 - 0.002 * (days % 20) + 0.01 * group
    ratio[7], ratio[30] = np.nan, 0.5  # one missing, one wild
    slope, u = soiling_slope_per_s(days * DAY_S, ratio, group)
    assert slope * DAY_S == pytest.approx(-0.002, abs=1e-6)
    assert u * DAY_S > 0
    assert math.isnan(soiling_slope_per_s([0, 1], [1.0, 0.9], [0, 0])[1]), "no scatter is known"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ross_cell_k(800, 300),
        lambda: ross_cell_k(800, 300, noct_k=318, k_m2_w=0.03),
        lambda: ross_cell_k(800, 300, k_m2_w=1.0),
        lambda: noct_sam_cell_k(800, 300, 1, 318, 0.18, storeys=3),
        lambda: noct_sam_cell_k(800, 300, 1, 45, 0.18),
        lambda: sapm_module_k(800, 300, 1, 3.47, -0.06),
        lambda: faiman_module_k(800, 300, 1, u0=0),
        lambda: pvsyst_cell_k(800, 300, 1, efficiency=10),
        lambda: expected_dc_w(800, 300, 0, -0.004),
        lambda: expected_dc_w(800, 300, 1000, -0.4),
        lambda: expected_ac_w(800, -1),
        lambda: expected_ac_w(800, 1000, 96),
        lambda: pvwatts_loss_ratio({"soiling": 2.0}),
        lambda: performance_ratio(1, 1, 0),
        lambda: performance_ratio(math.nan, 1, 1),
        lambda: reference_yield_wh_per_w(-1),
        lambda: corrected_performance_ratio(1, 1, 1, mean_cell_k=25, gamma_per_k=-0.004),
        lambda: sun_position(0, 37.5, 2.2),
        lambda: solar_noon_s(0, 127),
        lambda: hsu_soiling_ratio([0, 0], [0, 0], 0, 0, tilt_rad=0, cleaning_rain_m=0.001),
        lambda: hsu_soiling_ratio([0, 1], [0], 0, 0, tilt_rad=0, cleaning_rain_m=0.001),
        lambda: soiling_slope_per_s([0, 1], [1.0, 1.0], [0, 1]),
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(OutOfDomain):
        wrong()


def test_the_named_mountings_have_the_published_parameters():
    assert SAPM["close_mount_glass_glass"] == (-2.98, -0.0471, 1.0)
    assert SAPM["insulated_back_glass_polymer"] == (-2.81, -0.0455, 0.0)
    assert PVSYST["insulated"].u_c == 15.0
