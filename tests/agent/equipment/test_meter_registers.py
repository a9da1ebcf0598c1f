"""Registers of a meter that are coarse, slow, late, or speak where power says nothing."""

import numpy as np
import pytest

from joulemark_agent.equipment.base import US_PER_S, Samples
from joulemark_agent.equipment.metering import Metering
from joulemark_agent.equipment.power_meter import Parameters, analyse
from joulemark_agent.kernels.counter import Semantics
from support.analyses import value

MINUTE_US = 60 * US_PER_S
START_US = 1_763_859_600_000_000  # a full hour
EVERY_READ = Semantics(MINUTE_US * 3 // 2)
IN_KWH = Semantics(MINUTE_US * 3 // 2, step=1000)


def minutes(counter=EVERY_READ, **columns):
    """One sample a minute of each point."""
    size = len(next(iter(columns.values())))
    t_us = START_US + np.arange(size) * MINUTE_US
    values = {name: np.asarray(column, np.float64) for name, column in columns.items()}
    return Samples(t_us, values, MINUTE_US * 3 // 2, {"energy_wh": counter})


def register(power_w, step_wh=1.0, begins_wh=1_000_000.0):
    """What a register shows that counts a power by its trapezoids in steps."""
    count = begins_wh + np.append(0, np.cumsum((power_w[1:] + power_w[:-1]) / 120.0))
    return np.floor(count / step_wh) * step_wh


@pytest.mark.parametrize("power_until", [0, 3, 121])
def test_windows_add_up_to_the_register_where_it_is_read_late_and_ends_early(power_until):
    true_w = np.full(121, 60_000.0)
    energy = register(true_w)
    energy[:10] = energy[-10:] = np.nan
    power = np.where(np.arange(121) < power_until, true_w, np.nan)
    found = analyse(Parameters(), minutes(energy_wh=energy, power_w=power))
    if power_until == 121:
        assert value(found, "energy_wh") == pytest.approx(120_000), "power knows the ends"
        return
    assert value(found, "energy_wh") == value(found, "registered_energy_wh") == 100_000
    assert found.figure("energy_wh").covered_ratio == pytest.approx(100 / 120)


def test_what_was_counted_before_a_reset_is_not_lost_with_its_window():
    energy = register(np.full(121, 60_000.0))
    energy[60:] -= energy[60]
    found = analyse(Parameters(), minutes(energy_wh=energy))
    assert value(found, "energy_wh") == value(found, "registered_energy_wh") == 119_000


@pytest.mark.parametrize("dead_until", [121, 61])
def test_power_that_stands_at_0_while_the_register_counts_is_found(dead_until):
    true_w = np.full(121, 60_000.0)
    power = np.where(np.arange(121) < dead_until, 0.0, true_w)
    found = analyse(Parameters(), minutes(energy_wh=register(true_w), power_w=power))
    assert [finding.code for finding in found.findings] == ["register_not_integral"]
    if dead_until == 121:
        assert found.figure("kappa_ratio").why == "By its power nothing was drawn."
    else:
        assert value(found, "kappa_ratio") == pytest.approx(2.0, rel=0.02)


def test_a_register_in_kwh_is_as_unsure_as_its_steps():
    coarse = minutes(IN_KWH, energy_wh=register(np.full(121, 60_000.0), 1000.0))
    found = analyse(Parameters(metering=Metering(limit_ratio=0.001)), coarse)
    of_edges_wh = 1000 / np.sqrt(12) * np.sqrt(2)
    assert found.figure("energy_wh").standard_uncertainty == pytest.approx(of_edges_wh, rel=0.02)
    of_peak_w = found.figure("peak_demand_w").standard_uncertainty
    assert of_peak_w == pytest.approx(4 * of_edges_wh, rel=0.02)


def test_steps_of_a_register_beside_many_gaps_are_no_alarm():
    """Each run of windows between gaps has two ends, at which a kWh is counted or not yet."""
    draw = np.random.default_rng(1)
    alarms = 0
    for _ in range(60):
        true_w = 3_000 * (1 + 0.1 * draw.standard_normal(1441))
        power = true_w.copy()
        power[draw.integers(0, 1441, 25)] = np.nan
        energy = register(true_w, 1000.0, begins_wh=draw.uniform(1e6, 2e6))
        alarms += bool(
            analyse(Parameters(), minutes(IN_KWH, energy_wh=energy, power_w=power)).findings
        )
    assert alarms <= 6, "beyond twice the standard uncertainty lies one in twenty"


def test_a_register_that_is_seldom_read_does_not_hide_the_peak():
    true_w = np.append(np.tile(np.repeat([10_000.0, 90_000.0], [45, 15]), 3), 10_000.0)
    hourly = np.where(np.arange(181) % 60 == 0, register(true_w), np.nan)
    slow = Semantics(90 * MINUTE_US)
    found = analyse(Parameters(), minutes(slow, energy_wh=hourly, power_w=true_w))
    assert value(found, "peak_demand_w") == pytest.approx(90_000, rel=0.04)
    assert value(found, "energy_wh") == 90_000
    alone = analyse(Parameters(), minutes(slow, energy_wh=hourly, frequency_hz=np.full(181, 50.0)))
    assert alone.figure("peak_demand_w").value is None
    hour = analyse(Parameters(demand_s=3600), minutes(slow, energy_wh=hourly))
    assert value(hour, "peak_demand_w") == pytest.approx(30_000)


def test_a_load_factor_takes_more_than_one_window():
    found = analyse(Parameters(), minutes(power_w=np.linspace(0.0, 90_000.0, 16)))
    assert value(found, "peak_demand_w") == pytest.approx(45_000)
    assert found.figure("load_factor_ratio").value is None


def test_an_integral_of_rare_samples_is_as_unsure_as_what_was_not_seen():
    """A load that switches, read every five minutes."""
    draw = np.random.default_rng(2)
    off, told = [], []
    parameters = Parameters(metering=Metering(limit_ratio=0.005))
    for _ in range(40):
        true_w = draw.choice([5_000.0, 90_000.0], 481)
        t_us = START_US + np.arange(97) * 5 * MINUTE_US
        samples = Samples(t_us, {"power_w": true_w[::5]}, 8 * MINUTE_US)
        energy = analyse(parameters, samples).figure("energy_wh")
        off.append(energy.value - register(true_w)[-1] + 1_000_000)
        assert energy.standard_uncertainty is not None
        told.append(energy.standard_uncertainty)
    assert np.std(off) == pytest.approx(np.mean(told), rel=0.3)


@pytest.mark.parametrize("factor", [0.1, 1.0])
def test_gaps_in_every_window_do_not_hide_that_a_register_counts_too_little(factor):
    true_w = np.full(1441, 60_000.0)
    power = true_w.copy()
    power[::10] = np.nan
    found = analyse(Parameters(), minutes(energy_wh=register(true_w * factor), power_w=power))
    codes = [finding.code for finding in found.findings]
    assert codes == ([] if factor == 1.0 else ["register_not_integral"])
    assert (found.figure("gap_wh").value is None) == (factor < 1.0)


def test_noise_around_0_beside_a_register_that_stands_still_is_no_finding():
    draw = np.random.default_rng(5)
    power = np.where(np.arange(1441) < 400, draw.uniform(-30.0, 30.0, 1441), 60_000.0)
    power[::10] = np.nan
    still = np.full(1441, 5_000.0)
    assert not analyse(Parameters(), minutes(exported_wh=still, power_w=power)).findings
