from dataclasses import replace
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.gas import NORMAL_0C
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.air_account import account
from joulemark_gateway.measure.models.compressor_steps import Machine, free_delivery
from joulemark_gateway.measure.models.performance_map import MAP_POLICIES, fit_map, saving
from joulemark_gateway.measure.uncertainty import noise_of

MINUTE_US = 60_000_000
POLICY = MAP_POLICIES["compressor-map"]
RATED = 0.5  # m3/s
SCREW = Machine("load_unload", RATED)
SPEED = Machine("variable_speed", RATED)
IDLE_W, PER_FLOW = 45_000.0, 270_000.0  # W and W/(m3/s)


def screw_w(flow):
    return IDLE_W + PER_FLOW * flow


def speed_w(flow):
    """Below 0.2 m3/s it cannot turn slower."""
    return 30_000 + 150_000 * flow + 180_000 * np.maximum(flow - 0.2, 0)


def delivery(n, draw, leak=0.06):
    """Shifts, orders that come and go, and a leak that never stops."""
    minute = np.arange(n)
    works = (minute // 480 % 3 < 2) & (minute // 1440 % 7 < 6)
    wander = np.cumsum(draw.normal(0, 0.006, n))
    wander -= np.round(wander / 0.3) * 0.3
    return leak + works * np.clip(0.22 + wander, 0.02, 0.42)


def memory(n, draw, rho=0.995, sd=2500.0):
    """Noise of which the next minute remembers nearly everything."""
    fresh = draw.normal(0, sd * np.sqrt(1 - rho**2), n)
    fresh[0] = draw.normal(0, sd)
    for k in range(1, n):
        fresh[k] += rho * fresh[k - 1]
    return fresh


def steps(power_w, *, first=0, step_us=MINUTE_US, **drivers):
    n = len(power_w)
    start_us = (first + np.arange(n, dtype=np.int64)) * step_us
    return Data(
        start_us,
        np.full(n, step_us),
        np.arange(n, dtype=np.int64),
        np.asarray(power_w, np.float64) * step_us / 3.6e9,
        {name: np.asarray(column, np.float64) for name, column in drivers.items()},
        ZoneInfo("UTC"),
    )


@cache
def baseline(curve=screw_w, days=15, seed=1, noise=True):
    draw = np.random.default_rng(seed)
    flow = delivery(days * 1440, draw)
    error = memory(flow.size, draw) if noise else np.zeros(flow.size)
    return steps(curve(flow) + error, flow_m3_s=flow)


def refusal(call):
    with pytest.raises(MeasureError) as refused:
        call()
    return refused.value.code


# --- the map ---


def test_a_line_without_noise_is_found_exactly():
    found = fit_map(baseline(noise=False), SCREW, POLICY)
    assert found.fitted.linear.beta == pytest.approx([IDLE_W, PER_FLOW / 3600], rel=1e-9)
    assert [term.unit for term in found.fitted.terms] == ["Wh/h", "Wh/m3"]
    assert found.knot_m3_s is None
    assert all(one.passed for one in found.findings)
    for one in found.bins:
        assert one.power_w == pytest.approx(screw_w(one.flow_m3_s), rel=1e-9)
    assert sum(one.hours for one in found.bins) == pytest.approx(15 * 24)


def test_the_two_segments_of_variable_speed_and_their_knot_are_found():
    found = fit_map(baseline(speed_w, noise=False), SPEED, POLICY)
    assert found.knot_m3_s == pytest.approx(0.2, abs=1e-9)
    assert found.fitted.linear.beta * [1, 3600, 3600] == pytest.approx(
        [30_000, 150_000, 180_000], rel=1e-6
    )
    assert found.fitted.parameters == 4
    noisy = fit_map(baseline(speed_w), SPEED, POLICY)
    assert noisy.knot_m3_s == pytest.approx(0.2, abs=0.03)


def test_a_knot_off_the_bins_is_found_between_them():
    def curve(flow):
        return 30_000 + 150_000 * flow + 180_000 * np.maximum(flow - 0.2325, 0)

    found = fit_map(baseline(curve, noise=False), SPEED, POLICY)
    assert found.knot_m3_s == pytest.approx(0.2325, abs=1e-9)


def test_the_tangent_is_the_derivative_by_the_knot():
    """Beside the knot itself, where the derivative jumps."""
    data = baseline(speed_w, days=15)
    found = fit_map(data, SPEED, POLICY)
    assert found.knot_m3_s is not None
    part = data.where(np.arange(2000))
    moved = 1e-7
    here = found.steps(part, at_own_pressure=False)
    there = replace(found, knot_m3_s=found.knot_m3_s + moved).steps(part, at_own_pressure=False)
    slope = (found.fitted.predict_wh(there) - found.fitted.predict_wh(here)) / moved
    smooth = np.abs(part.drivers["flow_m3_s"] - found.knot_m3_s) > 2 * moved
    assert found.fitted.tangent(here)[smooth, 3] == pytest.approx(slope[smooth], rel=1e-3, abs=1e-5)


def test_hours_say_what_minutes_say_and_do_not_remember_so_much():
    data = baseline()
    found = fit_map(data, SCREW, POLICY)
    minutes = fit_map(data, SCREW, replace(POLICY, unit_s=60.0))
    assert found.fitted.linear.n == 15 * 24
    assert noise_of(found.fitted.linear).rho < 0.9 < noise_of(minutes.fitted.linear).rho
    assert found.fitted.linear.beta == pytest.approx(minutes.fitted.linear.beta, rel=0.05)


# --- what is refused, and what is found wanting ---


def test_without_flow_there_is_no_map():
    data = baseline(days=1)
    power_only = replace(data, drivers={})
    assert refusal(lambda: fit_map(power_only, SCREW, POLICY)) == "no_flow_measured"
    found = fit_map(data, SCREW, POLICY)
    assert refusal(lambda: saving(found, power_only, at_own_pressure=False)) == "no_flow_measured"


@pytest.mark.parametrize(
    ("minutes", "step_us", "wanting"),
    [
        (14 * 1440, MINUTE_US, set()),
        (14 * 1440 - 1, MINUTE_US, {"too_few_days"}),
        (14 * 1440, MINUTE_US + 1_000_000, {"steps_too_long"}),
    ],
)
def test_two_weeks_of_minutes_are_asked_for(minutes, step_us, wanting):
    flow = delivery(minutes, np.random.default_rng(1))
    found = fit_map(steps(screw_w(flow), flow_m3_s=flow, step_us=step_us), SCREW, POLICY)
    assert {one.code for one in found.findings if not one.passed} == wanting


@pytest.mark.parametrize(("machine", "ranges"), [(SCREW, 1), (SPEED, 4)])
def test_a_delivery_that_hardly_changes_shows_no_map(machine, ranges):
    flow = 0.1125 + 0.025 * (np.arange(3000) % ranges)
    data = steps(screw_w(flow), flow_m3_s=flow)
    assert refusal(lambda: fit_map(data, machine, POLICY)) == "too_few_bins"


def test_a_period_without_data_has_no_saving():
    data = baseline(days=2)
    found = fit_map(data, SCREW, POLICY)
    empty = replace(data, energy_wh=np.full(data.n, np.nan))
    assert refusal(lambda: fit_map(empty, SCREW, POLICY)) == "no_whole_unit"
    assert refusal(lambda: saving(found, empty, at_own_pressure=False)) == "no_whole_unit"


# --- savings ---


def test_a_known_saving_is_found_step_by_step_and_as_a_whole():
    found = fit_map(baseline(), SCREW, POLICY)
    draw = np.random.default_rng(9)
    flow = delivery(20 * 1440, draw)
    truth_wh = 0.12 * screw_w(flow).sum() / 60
    after = steps(0.88 * screw_w(flow) + memory(flow.size, draw), flow_m3_s=flow)
    result = saving(found, after, at_own_pressure=False)
    noise = noise_of(found.fitted.linear)
    rows = found.fitted.rows(result.units)
    ones = np.ones((1, result.units.n))
    half = noise.half_width(float(noise.covariance(rows, result.units.position, ones)[0, 0]), 0.90)
    assert np.nansum(result.avoided_wh) == pytest.approx(result.saved_wh, rel=1e-9)
    assert abs(result.saved_wh - truth_wh) < 1.5 * half
    assert half < 0.1 * truth_wh
    by_hours = found.fitted.predict_wh(result.units) - result.units.energy_wh
    assert by_hours.sum() == pytest.approx(result.saved_wh, rel=1e-9)
    assert result.policy.id == "compressor-map"


def test_the_mean_power_before_less_that_after_is_no_saving():
    """The control: the plant made less, and nothing was saved."""
    found = fit_map(baseline(), SCREW, POLICY)
    draw = np.random.default_rng(4)
    flow = 0.6 * delivery(20 * 1440, draw)
    after = steps(screw_w(flow) + memory(flow.size, draw), flow_m3_s=flow)
    result = saving(found, after, at_own_pressure=False)
    mean_w = [60 * data.energy_wh.mean() for data in (baseline(), after)]
    assert abs(result.saved_wh / result.predicted_wh) < 0.01
    assert 1 - mean_w[1] / mean_w[0] > 0.1


def test_an_hour_that_is_hardly_known_is_left_out_of_both_sums():
    found = fit_map(baseline(noise=False), SCREW, POLICY)
    flow = delivery(600, np.random.default_rng(3))
    power = 0.9 * screw_w(flow)
    for lost, hours in ((6, 10), (7, 9)):
        holes = power.copy()
        holes[60 : 60 + lost] = np.nan
        result = saving(found, steps(holes, flow_m3_s=flow), at_own_pressure=False)
        counted = np.isfinite(result.avoided_wh)
        assert result.units.n == hours
        assert counted.sum() == 600 - (lost if hours == 10 else 60)
        assert result.saved_wh == pytest.approx(0.1 * screw_w(flow)[counted].sum() / 60, rel=1e-9)
    assert result.units.position.tolist() == [0, 2, 3, 4, 5, 6, 7, 8, 9]


# --- pressure and inlet ---


@pytest.mark.parametrize(("gauge_bar", "percent"), [(6, 0.95), (7, 0.80), (8, 0.68)])
def test_a_tenth_of_a_bar_is_worth_what_the_ideal_gas_says(gauge_bar, percent):
    found = fit_map(at_pressure(gauge_bar * 1e5), SPEED, POLICY)
    after = at_pressure(gauge_bar * 1e5 + 1e4)
    result = saving(found, after, at_own_pressure=True)
    more = result.predicted_wh / after.energy_wh.sum() - 1
    assert 100 * more == pytest.approx(percent, abs=0.005)
    assert found.reference_gauge_pa == pytest.approx(gauge_bar * 1e5)


def at_pressure(gauge_pa):
    """Steps that draw the baseline's power whatever the pressure."""
    flow = delivery(15 * 1440, np.random.default_rng(2))
    return steps(speed_w(flow), flow_m3_s=flow, gauge_pa=np.full(flow.size, gauge_pa))


def test_a_pressure_that_the_plant_asked_for_is_no_saving_and_one_that_was_lowered_is():
    """An unloading machine whose loaded power follows the pressure."""
    before, after = (screw_at(gauge_pa) for gauge_pa in (7e5, 6e5))
    found = fit_map(before, SCREW, POLICY)
    assert saving(found, after, at_own_pressure=True).saved_wh == pytest.approx(0, abs=1e-3)
    lowered = saving(found, after, at_own_pressure=False)
    assert lowered.saved_wh == pytest.approx(before.energy_wh.sum() - after.energy_wh.sum())
    assert 0.03 < lowered.saved_wh / lowered.predicted_wh < 0.08


def screw_at(gauge_pa):
    flow = delivery(15 * 1440, np.random.default_rng(2))

    def ideal(gauge):
        return (1 + gauge / 101_325) ** (0.4 / 1.4) - 1

    full = ideal(gauge_pa) / ideal(7e5) * screw_w(RATED)
    power = IDLE_W + (full - IDLE_W) * flow / RATED
    return steps(power, flow_m3_s=flow, gauge_pa=np.full(flow.size, gauge_pa))


def test_a_baseline_without_pressure_is_not_taken_to_another_one():
    found = fit_map(baseline(days=2), SCREW, POLICY)
    after = at_pressure(7e5)
    assert refusal(lambda: saving(found, after, at_own_pressure=True)) == "no_pressure_measured"


def test_a_pressure_that_cannot_be_true_leaves_its_step_out():
    data = at_pressure(7e5)
    data.drivers["gauge_pa"][:3] = [-2e3, np.nan, 1e9]
    found = fit_map(data, SPEED, POLICY)
    known = found.counted(found.steps(data, at_own_pressure=True))
    assert np.flatnonzero(~known).tolist() == [0, 1, 2]


def test_flow_of_another_reference_is_brought_to_the_inlet():
    data = steps([1.0], flow_m3_s=[0.3], inlet_pa=[98_000.0], inlet_k=[303.15])
    free = free_delivery(data, replace(SCREW, counted=NORMAL_0C))
    assert free == pytest.approx([0.3 * (303.15 / 273.15) * (101_325 / 98_000)], rel=1e-12)
    assert free_delivery(data, SCREW) == pytest.approx([0.3])
    no_inlet = replace(data, drivers={"flow_m3_s": data.drivers["flow_m3_s"]})
    counted = replace(SCREW, counted=NORMAL_0C)
    assert refusal(lambda: free_delivery(no_inlet, counted)) == "missing_driver"


# --- leaks ---


@pytest.mark.parametrize(("machine", "curve"), [(SCREW, screw_w), (SPEED, speed_w)])
def test_leaks_are_a_term_of_their_own_and_the_three_add_up(machine, curve):
    data = baseline(curve, noise=False)
    found = fit_map(data, machine, POLICY)
    flow = data.drivers["flow_m3_s"]
    quiet = flow < 0.0601
    parts = account(found, data, quiet)
    predicted = found.fitted.predict_wh(found.steps(data, at_own_pressure=False)).sum()
    assert parts.leak_m3_s == pytest.approx(0.06)
    assert parts.base_wh + parts.leaks_wh + parts.work_wh == pytest.approx(predicted, rel=1e-12)
    truth_wh = (curve(flow) - curve(flow - 0.06)).sum() / 60
    assert parts.leaks_wh == pytest.approx(truth_wh, rel=1e-6)
    assert parts.base_wh == pytest.approx(curve(0.0) * flow.size / 60, rel=1e-6)
    nothing = np.zeros(data.n, np.bool_)
    assert refusal(lambda: account(found, data, nothing)) == "no_quiet_step"


# --- coverage ---


@pytest.mark.endurance
def test_nine_of_ten_intervals_hold_the_truth_and_those_of_minutes_do_not():
    """The control takes each minute for news of its own."""
    inside = {"hours": 0, "minutes": 0}
    runs = 100
    for seed in range(runs):
        data = baseline.__wrapped__(seed=seed)
        draw = np.random.default_rng(10_000 + seed)
        flow = delivery(7 * 1440, draw)
        after = steps(0.9 * screw_w(flow) + memory(flow.size, draw), flow_m3_s=flow)
        truth_wh = 0.1 * screw_w(flow).sum() / 60
        for name, unit_s in (("hours", 3600.0), ("minutes", 60.0)):
            found = fit_map(data, SCREW, replace(POLICY, unit_s=unit_s))
            result = saving(found, after, at_own_pressure=False)
            noise = noise_of(found.fitted.linear)
            if name == "minutes":
                variance = found.fitted.linear.residual_variance
                noise = replace(noise, rho_used=0.0, variance=variance, coefficients=np.eye(2))
            rows, ones = found.fitted.rows(result.units), np.ones((1, result.units.n))
            variance = float(noise.covariance(rows, result.units.position, ones)[0, 0])
            half = noise.half_width(variance, 0.90)
            inside[name] += abs(result.saved_wh - truth_wh) <= half
    assert 0.83 <= inside["hours"] / runs <= 0.97
    assert inside["minutes"] / runs < 0.5
