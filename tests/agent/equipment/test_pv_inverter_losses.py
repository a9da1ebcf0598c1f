"""What an inverter loses to its limit and to dust; many seeds of both run apart."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from joulemark_agent.equipment.base import US_PER_S, Samples
from joulemark_agent.equipment.days import day_of
from joulemark_agent.equipment.pv_amounts import Columns
from joulemark_agent.equipment.pv_inverter import Parameters, analyse
from joulemark_agent.equipment.pv_soiling import Soiling, clean_days
from nightly import pv_clipping, pv_soiling
from support.sunny import GAMMA_PER_K, PEAK_W, days, measured

LIMIT_W = 75_000.0
SITE = {"dc_peak_w": PEAK_W, "gamma_per_k": GAMMA_PER_K, "ac_limit_w": LIMIT_W,
        "cells": {"over_back_k": 0}}  # fmt: skip


@pytest.fixture(scope="module")
def limited() -> Samples:
    """Two days whose noon is above the limit."""
    rng = np.random.default_rng(4)
    made = days(rng, 2, 300.0, cloudy=0.0, share=0.97, dc_limit_w=LIMIT_W / 0.96)
    ac_w = np.minimum(made.free_w, LIMIT_W) - 15.0 * (made.sun == 0)
    return measured(rng, made, ac_w, ac_noise=0.0, sun_noise=0.002)


def figures(samples, **changed):
    analysis = analyse(Parameters.model_validate({**SITE, **changed}), samples)
    return {figure.name: figure for figure in analysis.figures}


def test_clipped_power_is_found_under_clouds_and_what_it_cost():
    assert set(pv_clipping.run(1, full=False)) == {"DC/AC 1.1", "DC/AC 1.3", "DC/AC 1.5"}


def test_soiling_is_found_between_the_cleanings():
    assert pv_soiling.run(1, full=False)


def test_an_inverter_below_its_limit_is_not_clipped(limited):
    found = figures(limited, ac_limit_w=100_000.0)
    assert found["clipped_s"].value == 0.0
    assert found["clipping_lost_wh"].value == 0.0


def test_the_days_lose_what_the_whole_loses(limited):
    analysis = analyse(Parameters.model_validate(SITE), limited)
    for name in ("clipped_s", "clipping_lost_wh"):
        parts = [figure for span in analysis.spans_of("day") for figure in span.figures]
        summed = sum(figure.value or 0.0 for figure in parts if figure.name == name)
        assert summed == pytest.approx(analysis.figure(name).value)
        assert summed > 0


def test_the_times_at_the_limit_are_as_long_as_is_told(limited):
    analysis = analyse(Parameters.model_validate(SITE), limited)
    times = analysis.spans_of("clipped")
    assert len(times) == 2, "once around each noon"
    told_s = sum(span.end_us - span.start_us for span in times) / US_PER_S
    assert told_s == analysis.figure("clipped_s").value


def test_without_samples_below_the_limit_nothing_is_said_of_what_was_lost(limited):
    noon = slice(130, 160)
    columns = {name: column[noon] for name, column in limited.values.items()}
    found = figures(replace(limited, t_us=limited.t_us[noon], values=columns))
    assert found["clipped_s"].value == 29 * 300
    assert found["clipped_s"].flags == ("estimated",)
    assert found["clipping_lost_wh"].value is None
    assert "longer time" in found["clipping_lost_wh"].why


def test_a_state_that_says_throttled_is_evidence_without_any_irradiance(limited):
    ac = limited.values["ac_power_w"]
    state = np.where(ac >= LIMIT_W, 5.0, 4.0)
    told = replace(limited, values={"ac_power_w": ac, "operating_state": state})
    found = figures(told)
    assert found["clipped_s"].value == float((state == 5).sum()) * 300
    assert found["clipping_lost_wh"].value is None
    assert "No irradiance" in found["clipping_lost_wh"].why


def test_a_state_that_says_throttled_counts_below_the_limit_too(limited):
    """A grid operator may hold an inverter anywhere."""
    ac = limited.values["ac_power_w"].copy()
    state = np.full(ac.size, 4.0)
    held = slice(78, 96)  # from half past six to eight
    ac[held], state[held] = 10_000.0, 5.0
    told = replace(limited, values={**limited.values, "ac_power_w": ac, "operating_state": state})
    extra_s = figures(told)["clipped_s"].value - figures(limited)["clipped_s"].value
    assert extra_s == 18 * 300
    lost = figures(told)["clipping_lost_wh"].value - figures(limited)["clipping_lost_wh"].value
    expected = (limited.values["ac_power_w"][held] - 10_000).sum() / 12
    assert lost == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("missing", ["dc_peak_w", "gamma_per_k", "ac_limit_w"])
def test_without_what_it_needs_no_clipping_is_claimed_or_denied(limited, missing):
    found = figures(limited, **{missing: None})
    for name in ("clipped_s", "clipping_lost_wh"):
        assert found[name].value is None
        assert missing in found[name].why


def test_time_without_irradiance_is_no_time_without_clipping(limited):
    sun = limited.values["irradiance_w_m2"].copy()
    sun[: sun.size // 2] = np.nan
    half = figures(replace(limited, values={**limited.values, "irradiance_w_m2": sun}))
    assert half["clipped_s"].covered_ratio == pytest.approx(0.5, abs=0.01)


def soiling(analysis):
    names = ("daily_soiling_ratio", "soiling_loss_ratio", "cleanings_count")
    return [analysis.figure(name) for name in names]


def test_the_loss_since_the_last_cleaning_and_the_cleanings_are_told():
    analysis, washed = pv_soiling.roof([1, 0], noise=0.005)
    daily, lost, cleanings = soiling(analysis)
    assert cleanings.value == len(washed)
    assert daily.value == pytest.approx(0.002, abs=0.0002)
    assert lost.value == pytest.approx(0.002 * (59 - washed[-1]), abs=0.008)
    assert daily.standard_uncertainty is not None
    assert daily.standard_uncertainty < 0.0002


def test_modules_that_stay_clean_have_no_resolved_loss():
    daily, lost, _ = soiling(pv_soiling.roof([1, 1], daily=0.0)[0])
    assert "unresolved" in daily.flags
    assert "unresolved" in lost.flags
    assert lost.value == pytest.approx(0.0, abs=0.02)


def test_without_a_rain_gauge_the_steps_alone_tell_the_cleanings_and_that_is_said():
    daily, _, cleanings = soiling(pv_soiling.roof([1, 2], noise=0.005, has_gauge=False)[0])
    assert daily.value == pytest.approx(0.002, abs=0.0003)
    assert cleanings.flags == ("estimated",)


def test_a_rain_gauge_that_failed_half_way_does_not_deny_what_it_did_not_see():
    rng = np.random.default_rng(1)
    made = days(rng, 60, 900.0, cloudy=0.3, share=0.95)
    row = np.arange(made.t_s.size)
    day = row // 96
    given_w = made.free_w * (1 - 0.002 * (day % 20))
    rain = np.where((day % 20 == 0) & (row % 96 == 4), 0.02, 0.0)
    rain = np.where(day < 30, rain, np.nan)
    samples = measured(rng, made, given_w, ac_noise=0.005, sun_noise=0.0, rain_m=rain)
    site = Parameters.model_validate({**SITE, "ac_limit_w": None})
    daily, _, cleanings = soiling(analyse(site, samples))
    assert daily.value == pytest.approx(0.002, abs=0.0002)
    assert cleanings.value == 2
    assert cleanings.flags == ("estimated",)


def test_a_plant_that_seems_to_get_cleaner_shows_no_dust():
    """Dust on the irradiance sensor looks like that."""
    rng = np.random.default_rng(1)
    made = days(rng, 40, 900.0, cloudy=0.0, share=0.95)
    given_w = made.free_w * (1 + 0.001 * (np.arange(made.t_s.size) // 96))
    samples = measured(rng, made, given_w, ac_noise=0.005, sun_noise=0.0)
    site = Parameters.model_validate({**SITE, "ac_limit_w": None})
    daily, lost, _ = soiling(analyse(site, samples))
    assert daily.flags == ("unresolved",)
    assert lost.flags == ("lower_bound", "unresolved")


def test_a_cleaning_by_hand_is_taken_as_it_was_noted_and_noon_is_found_without_a_longitude():
    rng = np.random.default_rng(8)
    made = days(rng, 40, 900.0, cloudy=0.0, share=0.95)
    day = np.arange(made.t_s.size) // 96
    given_w = made.free_w * (1 - 0.001 * (day % 20))  # too small a step to be seen
    samples = measured(rng, made, given_w, ac_noise=0.02, sun_noise=0.0)
    when = day_of(int(samples.t_us[20 * 96]), "Asia/Seoul").isoformat()
    site = {**SITE, "ac_limit_w": None}
    far = {"time_zone": "Asia/Seoul", "soiling": {"cleaned_on": [when]}}
    daily, _, cleanings = soiling(analyse(Parameters.model_validate({**site, **far}), samples))
    assert cleanings.value == 1
    assert daily.value == pytest.approx(0.001, abs=0.0003)
    east = {"time_zone": "UTC", "soiling": {"cleaned_on": [when], "longitude_deg": 0}}
    again, _, _ = soiling(analyse(Parameters.model_validate({**site, **east}), samples))
    assert again.value == pytest.approx(daily.value, abs=1e-4)


def test_a_few_days_tell_no_soiling(limited):
    for figure in soiling(analyse(Parameters.model_validate(SITE), limited)):
        assert figure.value is None
        assert "14" in figure.why


def test_without_a_temperature_coefficient_no_soiling_is_told(limited):
    for figure in soiling(analyse(Parameters(dc_peak_w=PEAK_W), limited)):
        assert figure.value is None
        assert "gamma_per_k" in figure.why
    dark = Samples(limited.t_us, {"ac_power_w": limited.values["ac_power_w"]}, 900 * US_PER_S)
    for figure in soiling(analyse(Parameters.model_validate(SITE), dark)):
        assert "No irradiance" in figure.why


def test_what_was_lost_while_no_irradiance_was_read_is_not_told_as_nothing(limited):
    sun = limited.values["irradiance_w_m2"].copy()
    state = np.where(limited.values["ac_power_w"] >= LIMIT_W, 5.0, 4.0)
    sun[288:] = np.where(state[288:] == 5, np.nan, sun[288:])  # the second noon
    values = {**limited.values, "irradiance_w_m2": sun, "operating_state": state}
    analysis = analyse(Parameters.model_validate(SITE), replace(limited, values=values))
    assert analysis.figure("clipping_lost_wh").flags == ("lower_bound",)
    first, second = (span.figures for span in analysis.spans_of("day"))
    lost = [{f.name: f for f in figures}["clipping_lost_wh"] for figures in (first, second)]
    assert [figure.flags for figure in lost] == [(), ("lower_bound",)]


def test_noon_does_not_move_where_clocks_change():
    """Berlin on 28 March 2027; no longitude is given."""
    rng = np.random.default_rng(8)
    made = days(rng, 30, 900.0, cloudy=0.0, share=0.95)
    moved_s = int(datetime(2027, 3, 14, tzinfo=UTC).timestamp()) - float(made.t_s[0])
    made = made._replace(t_s=made.t_s + moved_s)
    samples = measured(rng, made, made.free_w, ac_noise=0.0, sun_noise=0.0)
    sun, cell_k = (samples.values[name] for name in ("irradiance_w_m2", "module_temperature_k"))
    columns = Columns(samples, samples.values["ac_power_w"], sun * np.nan, sun, cell_k)
    found = clean_days(columns, None, Soiling(), "Europe/Berlin", GAMMA_PER_K)
    assert found.noon_us.size == 30
    noon_s = found.noon_us // US_PER_S % 86_400
    assert np.all(np.abs(noon_s - 43_200) < 600)
