"""Yields and performance ratios, against a direct evaluation on a recorded roof."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from joulemark_agent.equipment.base import US_PER_S, Figure, Samples
from joulemark_agent.equipment.metering import Metering
from joulemark_agent.equipment.pv_cells import Cells, cell_temperature
from joulemark_agent.equipment.pv_inverter import Parameters, analyse
from joulemark_agent.equipment.pv_ratio import peer_figures

PEAK_W, GAMMA, ANNUAL_K, OVER_K = 160_000.0, -0.0041, 305.15, 3.0
QUARTER_US = 900 * US_PER_S
QUARTER_H = 0.25
START_US = 1_641_081_600 * US_PER_S  # 2022-01-02T00:00Z
BEFORE = {"temperature_k": ANNUAL_K, "until": "2021-12-31"}
SITE = {"dc_peak_w": PEAK_W, "gamma_per_k": GAMMA, "annual_cell": BEFORE,
        "cells": {"over_back_k": OVER_K}}  # fmt: skip
NAMES = (
    "performance_ratio",
    "temperature_corrected_performance_ratio",
    "annual_equivalent_performance_ratio",
)


@pytest.fixture(scope="module")
def roof(recorded):
    """Five days of one inverter with its sensors."""
    table = recorded("pv_nrel_rsf2_dc_ac/nrel_RSF_II.csv.gz", "", "%m/%d/%Y %H:%M")
    values = {
        "ac_power_w": table["inv2_ac_power_w__1047"],
        "irradiance_w_m2": table["poa_irradiance__1055"],
        "module_temperature_k": table["module_temp__1056"] + 273.15,
        "ambient_temperature_k": table["ambient_temp__1053"] + 273.15,
        "wind_m_s": table["wind_speed__1051"],
    }
    return Samples((table["t_s"] * US_PER_S).astype(np.int64), values, 3 * QUARTER_US)


def parameters(**changed) -> Parameters:
    return Parameters.model_validate({**SITE, **changed})


def direct(samples: Samples) -> dict[str, float]:
    """P1, P2 and P3 as they are written, sample by sample."""
    energy_wh = sun_kwh_m2 = at_25_wh = annual_wh = 0.0
    columns = ("ac_power_w", "irradiance_w_m2", "module_temperature_k")
    rows = list(zip(*(samples.values[name].tolist() for name in columns), strict=True))
    for (ac_w, sun, back_k), later in pairwise(rows):
        if any(map(math.isnan, (ac_w, sun, back_k, *later))):
            continue
        light = max(sun, 0.0)
        cell_k = back_k + light / 1000 * OVER_K
        energy_wh += ac_w * QUARTER_H
        sun_kwh_m2 += light / 1000 * QUARTER_H
        expected_wh = PEAK_W * light / 1000 * QUARTER_H
        at_25_wh += expected_wh * (1 + GAMMA * (cell_k - 298.15))
        annual_wh += expected_wh * (1 + GAMMA * (cell_k - ANNUAL_K))
    return {
        NAMES[0]: energy_wh / PEAK_W / sun_kwh_m2,
        NAMES[1]: energy_wh / at_25_wh,
        NAMES[2]: energy_wh / annual_wh,
        "final_yield_wh_per_w": energy_wh / PEAK_W,
        "reference_yield_wh_per_w": sun_kwh_m2,
    }


def values(analysis) -> dict[str, float | None]:
    return {figure.name: figure.value for figure in analysis.figures}


def test_the_ratios_are_those_of_a_direct_evaluation(roof):
    found, expected = values(analyse(parameters(), roof)), direct(roof)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name
    assert expected[NAMES[0]] == pytest.approx(0.75, abs=0.2), "the recording is a real roof"


def test_the_ratios_of_samples_that_lack_something_leave_those_out(roof):
    rng = np.random.default_rng(3)
    columns = {
        name: np.where(rng.random(column.size) < 0.05, np.nan, column)
        for name, column in roof.values.items()
    }
    full = ("ac_power_w", "irradiance_w_m2", "module_temperature_k")
    nowhere = np.isnan(sum(columns[name] for name in full))
    columns |= {name: np.where(nowhere, np.nan, columns[name]) for name in full}
    holed = replace(roof, values=columns)
    analysis, expected = analyse(parameters(), holed), direct(holed)
    for name in NAMES:
        figure = analysis.figure(name)
        assert figure.value == pytest.approx(expected[name], rel=1e-9)
        assert figure.covered_ratio is not None
        assert 0.5 < figure.covered_ratio < 0.95


def test_what_the_ratios_rest_on_is_told_with_them(roof):
    analysis = analyse(parameters(), roof)
    assert analysis.figure("dc_peak_w").value == PEAK_W
    for name in ("dc_peak_w", *NAMES):
        assert "declared" in analysis.figure(name).flags


def test_the_year_s_temperature_must_be_of_a_time_before_the_samples(roof):
    same = {"temperature_k": ANNUAL_K, "until": "2022-01-06"}
    figure = analyse(parameters(annual_cell=same), roof).figure(NAMES[2])
    assert figure.value is None
    assert "the correction cancels" in figure.why


def test_the_mean_of_the_same_samples_cancels_and_is_refused_even_if_dated_before(roof):
    columns = [roof.values[name] for name in ("irradiance_w_m2", "module_temperature_k")]
    sun, cell_k = np.maximum(columns[0], 0)[:-1], columns[1][:-1]
    cell_k = cell_k + sun / 1000 * OVER_K
    mean_k = float((sun * cell_k).sum() / sun.sum())
    found = values(
        analyse(parameters(annual_cell={**BEFORE, "temperature_k": mean_k + 1e-3}), roof)
    )
    assert found[NAMES[2]] == pytest.approx(found[NAMES[0]], rel=1e-5), "it would cancel"
    figure = analyse(parameters(annual_cell={**BEFORE, "temperature_k": mean_k}), roof).figure(
        NAMES[2]
    )
    assert figure.value is None
    assert "would cancel" in figure.why


@pytest.mark.parametrize(
    ("left_out", "absent", "says"),
    [
        ({"dc_peak_w": None}, NAMES, "dc_peak_w"),
        ({"gamma_per_k": None}, NAMES[1:], "gamma_per_k"),
        ({"annual_cell": None}, NAMES[2:], "annual_cell"),
    ],
)
def test_a_ratio_without_what_it_needs_says_so(roof, left_out, absent, says):
    analysis = analyse(parameters(**left_out), roof)
    for name in NAMES:
        assert (analysis.figure(name).value is None) == (name in absent)
    assert says in analysis.figure(absent[0]).why


def test_without_irradiance_there_is_a_yield_and_no_ratio(roof):
    dark = replace(roof, values={"ac_power_w": roof.values["ac_power_w"]})
    analysis = analyse(parameters(), dark)
    assert analysis.figure("specific_yield_wh_per_w").value is not None
    for name in (*NAMES, "reference_yield_wh_per_w", "irradiation_wh_m2"):
        assert analysis.figure(name).value is None
        assert "only the yield" in analysis.figure(name).why


def test_a_night_draws_from_the_yield():
    ac, sun = np.full(97, -20.0), np.zeros(97)
    ac[40:60], sun[40:60] = 5000.0, 700.0
    t_us = START_US + np.arange(97) * QUARTER_US
    samples = Samples(t_us, {"ac_power_w": ac, "irradiance_w_m2": sun}, 3 * QUARTER_US)
    found = values(analyse(Parameters(dc_peak_w=10_000), samples))
    net_wh = 20 * 5000 * QUARTER_H - 76 * 20 * QUARTER_H
    assert found["final_yield_wh_per_w"] == pytest.approx(net_wh / 10_000)
    assert found["performance_ratio"] == pytest.approx(net_wh / (10_000 * 20 * 0.7 * QUARTER_H))


def test_the_temperature_of_the_air_and_a_model_stand_in_for_that_of_the_modules(roof):
    columns = {name: column for name, column in roof.values.items() if name[0] != "m"}
    modelled = replace(roof, values=columns)
    measured = analyse(parameters(), roof).figure(NAMES[1])
    found = analyse(parameters(cells={"model": "faiman"}), modelled).figure(NAMES[1])
    assert "estimated" in found.flags
    assert "wind_assumed" not in found.flags
    assert "estimated" not in measured.flags
    assert found.value == pytest.approx(measured.value, rel=0.05)


@pytest.mark.parametrize(
    "cells",
    [
        {"model": "sapm", "mounting": "close_mount_glass_glass"},
        {"model": "pvsyst", "mounting": "insulated"},
        {"model": "ross", "noct_k": 318.15},
        {"model": "noct_sam", "noct_k": 318.15, "module_efficiency": 0.18},
        {"model": "faiman", "u0": 20},
    ],
)
def test_every_model_tells_a_temperature_and_assumes_a_wind_that_is_not_measured(roof, cells):
    sun = np.maximum(roof.values["irradiance_w_m2"], 0)
    wind = roof.values["wind_m_s"].copy()
    wind[50] = np.nan
    air = {"ambient_temperature_k": roof.values["ambient_temperature_k"], "wind_m_s": wind}
    found = cell_temperature(Cells.model_validate(cells), replace(roof, values=air), sun)
    assert found.values_k is not None
    assert not np.isnan(found.values_k).any()
    assert np.all(found.values_k >= air["ambient_temperature_k"] - 1e-9)
    expected = ("estimated",) if cells["model"] == "ross" else ("estimated", "wind_assumed")
    assert found.flags == expected


def test_cells_over_a_measured_back_are_those_of_the_mounting(roof):
    sun = np.full(roof.t_us.size, 1000.0)
    back_k = roof.values["module_temperature_k"]
    for cells, over_k in (
        ({}, 3.0),
        ({"mounting": "close_mount_glass_glass"}, 1.0),
        ({"model": "faiman"}, 3.0),
        ({"over_back_k": 2}, 2.0),
    ):
        found = cell_temperature(Cells.model_validate(cells), roof, sun)
        assert found.values_k == pytest.approx(back_k + over_k)


def test_without_any_temperature_the_corrected_ratios_say_what_is_missing(roof):
    names = ("ac_power_w", "irradiance_w_m2")
    bare = replace(roof, values={name: roof.values[name] for name in names})
    figure = analyse(parameters(), bare).figure(NAMES[1])
    assert figure.value is None
    assert "module_temperature_k" in figure.why
    assert analyse(parameters(), bare).figure(NAMES[0]).value is not None


def test_what_meter_and_sensors_may_be_wrong_by_is_told(roof):
    metering = Metering(limit_ratio=0.02)
    cells = {"over_back_k": OVER_K, "limit_k": 2.0}
    known = parameters(metering=metering, irradiance_limit_ratio=0.03, cells=cells)
    analysis = analyse(known, roof)
    plain, corrected = analysis.figure(NAMES[0]), analysis.figure(NAMES[1])
    assert plain.value is not None
    assert corrected.value is not None
    ratio = math.hypot(0.02, 0.03) / math.sqrt(3)
    assert plain.standard_uncertainty == pytest.approx(ratio * plain.value)
    assert corrected.standard_uncertainty == pytest.approx(
        corrected.value * math.hypot(ratio, GAMMA * 2 / math.sqrt(3)), rel=0.1
    )
    assert plain.degrees_of_freedom == pytest.approx(50 * 169 / 97, rel=1e-6)
    net = analysis.figure("net_ac_wh")
    assert net.value is not None
    for name in ("specific_yield_wh_per_w", "final_yield_wh_per_w"):
        figure = analysis.figure(name)
        assert figure.value is not None
        assert figure.standard_uncertainty == pytest.approx(0.02 / math.sqrt(3) * figure.value)
    assert net.standard_uncertainty == pytest.approx(0.02 / math.sqrt(3) * net.value)
    for figure in analyse(parameters(irradiance_limit_ratio=0.03), roof).figures:
        assert figure.standard_uncertainty is None, "a meter that is not known makes it unknown"
    only_meter = analyse(parameters(metering=metering), roof)
    assert only_meter.figure(NAMES[0]).standard_uncertainty is None


def test_a_counter_on_the_secondary_side_is_multiplied_after_it_was_counted():
    t_us = START_US + np.arange(5) * QUARTER_US
    columns = {"ac_power_w": np.full(5, 4.0), "generated_wh": np.arange(100.0, 105.0)}
    samples = Samples(t_us, columns, 3 * QUARTER_US)
    metering = Metering(ct_ratio=12.5, ratio_applied=False)
    found = values(analyse(Parameters(metering=metering), samples))
    assert found["generated_wh"] == 4 * 12.5
    assert found["net_ac_wh"] == pytest.approx(4 * 12.5)


def test_neighbours_are_compared_where_no_irradiance_is_measured():
    yields = {name: Figure("specific_yield_wh_per_w", value, 1.0)
              for name, value in {"a": 4.0, "b": 4.2, "c": 4.1, "d": 3.0}.items()}  # fmt: skip
    yields["e"] = Figure("specific_yield_wh_per_w", None, None, "not read")
    found = peer_figures(yields)
    assert found["d"].value == pytest.approx(3.0 / 4.1)
    assert found["a"].value == pytest.approx(4.0 / 4.1)
    assert found["e"].why == "not read"
    alone = peer_figures({"a": yields["a"]})["a"]
    assert alone.value is None
    assert alone.why


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"cells": {"mounting": "on_a_pole"}}, "open_rack_glass_glass"),
        ({"cells": {"model": "ross"}}, "noct_k"),
        ({"cells": {"model": "noct_sam", "noct_k": 318}}, "module_efficiency"),
        ({"cells": {"model": "faiman", "mounting": "insulated"}}, "no mountings"),
        ({"cells": {"wind": "wind_v"}}, "name one in m/s"),
        ({"cells": {"noct_k": 45}}, "293.15"),
        ({"gamma_per_k": -0.4}, "-0.02"),
        ({"annual_cell": {"temperature_k": 300, "until": "last year"}}, "2025-12-31"),
        ({"annual_cell": {"temperature_k": 25, "until": "2025-12-31"}}, "223.15"),
        ({"soiling": {"cleaned_on": ["Monday"]}}, "2025-12-31"),
        ({"soiling": {"longitude_deg": 200}}, "180"),
        ({"metering": {"meter_class": "5"}}, "0.5S"),
    ],
)
def test_a_mistake_in_the_section_is_told(section, says):
    with pytest.raises(ValidationError, match=says):
        Parameters.model_validate(section)


def test_input_for_which_a_formula_says_nothing_gives_a_reason_and_no_failure(roof):
    hot = {"module_temperature_k": roof.values["module_temperature_k"] + 60}
    steep = parameters(gamma_per_k=-0.02, annual_cell={**BEFORE, "temperature_k": 300})
    figure = analyse(steep, replace(roof, values={**roof.values, **hot})).figure(NAMES[1])
    assert figure.value is None
    assert "temperature factor" in figure.why
    ac_w = roof.values["ac_power_w"].copy()
    ac_w[40] = 3e38
    corrupt = replace(roof, values={**roof.values, "ac_power_w": ac_w})
    assert analyse(parameters(), corrupt).figure("final_yield_wh_per_w").value is None
    sun = np.full(roof.t_us.size, 1e-11)
    faint = replace(roof, values={**roof.values, "irradiance_w_m2": sun})
    assert analyse(parameters(), faint).figure(NAMES[0]).value is None


def test_what_was_not_measured_is_not_called_dark(roof):
    celsius = {"module_temperature_k": roof.values["module_temperature_k"] - 273.15}
    cold = replace(roof, values={**roof.values, **celsius})
    figure = analyse(parameters(), cold).figure(NAMES[1])
    assert figure.value is None
    assert "temperature of the cells" in figure.why
    sun = np.where(np.arange(roof.t_us.size) % 2, np.nan, roof.values["irradiance_w_m2"])
    apart = replace(roof, values={**roof.values, "irradiance_w_m2": sun})
    assert "no time" in analyse(parameters(), apart).figure(NAMES[0]).why


@pytest.mark.parametrize("absurd", [1e-12, 1e13])
def test_a_rating_that_no_plant_has_is_refused(absurd):
    for name in ("dc_peak_w", "ac_limit_w"):
        with pytest.raises(ValidationError, match=name):
            Parameters.model_validate({name: absurd})
