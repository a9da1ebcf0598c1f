import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from joulemark_agent.contract.document import plain
from joulemark_agent.equipment.base import US_PER_H, US_PER_S, Figure, Samples, counted, held
from joulemark_agent.equipment.metering import (
    Metering,
    mean_power,
    metered,
    primary,
    primary_windows,
    ratio_findings,
    register_step_wh,
    registered,
    stated,
)
from joulemark_agent.kernels.counter import Semantics
from joulemark_agent.physics.budget import Amount, ratio, total

FEW = settings(max_examples=30)
MINUTE_US = 60 * US_PER_S
START_US = 1_700_000_000 * US_PER_S
MACHINE = Metering(meter_class="0.5S", ct_class="0.5", ct_ratio=200, ratio_applied=True,
                   rated_current_a=1000, line_voltage_v=400)  # fmt: skip
FULL_W = math.sqrt(3) * 400 * 1000


def minutes(power, **points) -> Samples:
    columns = {"power_w": power, **points}
    values = {name: np.asarray(column, np.float64) for name, column in columns.items()}
    t_us = START_US + np.arange(len(power)) * MINUTE_US
    return Samples(t_us, values, 3 * MINUTE_US)


def known(amounts) -> list[Amount]:
    assert None not in amounts
    return [amount for amount in amounts if amount is not None]


def whole(samples):
    return samples.t_us[[0, -1]]


def hours(samples, each):
    return np.arange(samples.t_us[0], samples.t_us[-1] + 1, each * US_PER_H)


def test_an_hour_at_full_load_is_as_sure_as_its_classes():
    samples = minutes(np.full(61, FULL_W))
    (energy,) = known(metered(MACHINE, "m", samples, "power_w", whole(samples)))
    expected = FULL_W * math.hypot(0.005, 0.005) / math.sqrt(3)
    assert energy.value == pytest.approx(FULL_W)
    assert energy.standard_uncertainty == pytest.approx(expected)
    assert energy.degrees_of_freedom == pytest.approx(100)


def test_less_load_is_less_sure():
    shares = []
    for load in (1.0, 0.15, 0.04):
        samples = minutes(np.full(61, load * FULL_W))
        (energy,) = known(metered(MACHINE, "m", samples, "power_w", whole(samples)))
        shares.append(energy.standard_uncertainty / energy.value)
    assert shares[0] < shares[1] < shares[2]


def test_a_machine_at_rest_keeps_the_error_of_the_lowest_load_in_watts():
    samples = minutes(np.zeros(61))
    (energy,) = known(metered(MACHINE, "m", samples, "power_w", whole(samples)))
    expected = FULL_W * math.hypot(0.01 * 0.01, 0.05 * 0.015) / math.sqrt(3)
    assert energy.standard_uncertainty == pytest.approx(expected)


@pytest.mark.parametrize(
    "metering",
    [
        None,
        Metering(),
        Metering(meter_class="1"),
        Metering(meter_class="1", rated_current_a=100),
        Metering(ct_class="0.5", rated_current_a=100, line_voltage_v=400),
        Metering(meter_class="1", ct_ratio=20, ratio_applied=True, rated_current_a=100,
                 line_voltage_v=400),
        Metering(meter_class="1", vt_ratio=20, ratio_applied=True, rated_current_a=100,
                 line_voltage_v=400),
        Metering(power_step_w=10, counter_step_wh=100),
    ],
)  # fmt: skip
def test_what_is_not_declared_is_unknown_and_not_zero(metering):
    samples = minutes(np.full(61, 5000.0))
    edges_us = whole(samples)
    windows = held(samples, "power_w", edges_us)
    assert metered(metering, "m", samples, "power_w", edges_us) == (None,)
    assert registered(metering, "m", windows, edges_us) == (None,)
    assert mean_power(metering, "m", samples, "power_w", edges_us) == (None,)
    figure = Figure("energy_wh", 5000.0, 1.0)
    assert stated(figure, None) is figure


def test_beyond_the_rated_current_nothing_is_known():
    samples = minutes(np.append(np.full(60, 0.5), [1.3, 0.5]) * FULL_W)
    assert metered(MACHINE, "m", samples, "power_w", whole(samples)) == (None,)


def test_without_a_point_or_without_time_there_is_no_uncertainty():
    samples = minutes([np.nan, 1.0, np.nan])
    assert metered(MACHINE, "m", samples, "power_w", whole(samples)) == (None,)
    assert metered(MACHINE, "m", samples, "other_w", whole(samples)) == (None,)
    assert mean_power(MACHINE, "m", samples, "other_w", whole(samples)) == (None,)


@FEW
@given(st.lists(st.floats(1e3, 6e5), min_size=5, max_size=5))
def test_the_gain_of_the_meter_cancels_in_the_ratio_of_two_windows(levels):
    """With one limit for all loads the two errors are one."""
    metering = Metering(limit_ratio=0.01)
    samples = minutes(np.resize(levels, 121))
    first, second = known(metered(metering, "m", samples, "power_w", hours(samples, 1)))
    assert ratio(first, second).standard_uncertainty <= 1e-12 * ratio(first, second).value
    both = total(first, second)
    assert both.standard_uncertainty == pytest.approx(0.01 / math.sqrt(3) * both.value)


def test_the_windows_of_a_counter_know_their_sum_as_well_as_one_window():
    metering = Metering(limit_ratio=1e-9, counter_step_wh=100)
    samples = minutes(np.full(601, 1000.0), energy_wh=np.floor(np.arange(601) / 60) * 1000)
    edges_us = hours(samples, 1)
    parts, [one] = (
        known(registered(metering, "m", counted(samples, "energy_wh", cut), cut))
        for cut in (edges_us, whole(samples))
    )
    step_wh = 100 / math.sqrt(6)
    assert parts[0].standard_uncertainty == pytest.approx(step_wh)
    assert total(*parts).value == one.value
    assert total(*parts).standard_uncertainty == pytest.approx(one.standard_uncertainty)
    assert one.standard_uncertainty == pytest.approx(step_wh)


def test_a_counter_that_was_not_read_at_an_edge_is_less_sure_there():
    """It counted 6 kWh in the six hours that nobody read it; when in them is not known."""
    metering = Metering(limit_ratio=1e-9, counter_step_wh=1)
    t_us = START_US + np.array([0, 1, 7, 8]) * US_PER_H
    columns = {"energy_wh": np.array([0.0, 1000.0, 7000.0, 8000.0])}
    samples = Samples(t_us, columns, 2 * US_PER_H)
    cut = START_US + np.array([0, 4, 8]) * US_PER_H
    for factor, scaled in ((1, metering), (3, metering.model_copy(update={
        "ct_ratio": 3.0, "ratio_applied": False}))):  # fmt: skip
        windows = primary_windows(scaled, counted(samples, "energy_wh", cut))
        first, second = known(registered(scaled, "m", windows, cut))
        assert first.value == 4000 * factor
        expected = 3000 * factor / math.sqrt(3)
        assert first.standard_uncertainty == pytest.approx(expected, rel=1e-3)
        assert total(first, second).standard_uncertainty < 1.0, "the sum was read at both ends"


def test_a_counter_s_step_is_that_of_its_profile_on_the_primary_side():
    samples = minutes(np.full(61, 1000.0), energy_wh=np.arange(61.0) * 10)
    coarse = replace(samples, counters={"energy_wh": Semantics(3 * MINUTE_US, step=10)})
    metering = Metering(limit_ratio=1e-9, ct_ratio=20, ratio_applied=False)
    assert register_step_wh(None, samples, "energy_wh") == 1.0
    assert register_step_wh(metering, coarse, "energy_wh") == 200.0
    edges_us = whole(samples)
    windows = primary_windows(metering, counted(coarse, "energy_wh", edges_us))
    (energy,) = known(registered(metering, "m", windows, edges_us, step_wh=200.0))
    assert energy.standard_uncertainty == pytest.approx(200 / math.sqrt(6))


def test_the_steps_of_a_power_register_average_out():
    metering = Metering(limit_ratio=1e-12, power_step_w=100)
    samples = minutes(np.tile([5000.0, 5100.0], 121)[:241])
    short = known(metered(metering, "m", samples, "power_w", hours(samples, 1)))[0]
    (long,) = known(metered(metering, "m", samples, "power_w", whole(samples)))
    assert short.standard_uncertainty == pytest.approx(100 / math.sqrt(12) / math.sqrt(60))
    assert long.standard_uncertainty == pytest.approx(short.standard_uncertainty * 2)


def test_the_step_of_a_power_register_that_stands_still_does_not_average_out():
    """A load of 5040 W is read as 5000 W all night."""
    metering = Metering(limit_ratio=1e-12, power_step_w=100)
    samples = minutes(np.full(241, 5000.0))
    (energy,) = known(metered(metering, "m", samples, "power_w", whole(samples)))
    assert energy.standard_uncertainty == pytest.approx(4 * 100 / math.sqrt(12))
    turning = np.append(np.full(120, 5000.0), np.full(121, 5100.0))
    (energy,) = known(metered(metering, "m", minutes(turning), "power_w", whole(samples)))
    assert energy.standard_uncertainty == pytest.approx(math.hypot(2, 2) * 100 / math.sqrt(12))


def test_a_mean_is_less_sure_the_more_of_its_time_was_not_seen():
    power = np.tile([10_000.0, 20_000.0], 61)[:121]
    metering = Metering(limit_ratio=0.001)
    found = []
    for missing in (0, 30, 60):
        column = power.copy()
        column[1 : 1 + missing] = np.nan
        samples = minutes(column)
        (mean,) = known(mean_power(metering, "m", samples, "power_w", whole(samples)))
        found.append(mean.standard_uncertainty)
    assert found[0] == pytest.approx(0.001 * 15_000 / math.sqrt(3), rel=0.01)
    assert found[0] < found[1] < found[2]
    assert found[2] == pytest.approx(61 / 120 * 5000 / math.sqrt(3), rel=0.03)


def test_power_from_volts_and_amperes_is_at_least_three_percent_unsure():
    metering = Metering(limit_ratio=0.01, is_from_current=True)
    samples = minutes(np.full(61, 5000.0))
    (energy,) = known(metered(metering, "m", samples, "power_w", whole(samples)))
    windows = held(samples, "power_w", whole(samples))
    (counter,) = known(registered(metering, "m", windows, whole(samples)))
    expected = 5000 * math.hypot(0.03, 0.01 / math.sqrt(3))
    assert energy.standard_uncertainty == pytest.approx(expected)
    assert counter.standard_uncertainty == pytest.approx(math.hypot(expected, 1 / math.sqrt(6)))


def test_a_figure_carries_its_uncertainty():
    samples = minutes(np.full(61, 5000.0))
    (energy,) = known(metered(Metering(limit_ratio=0.01), "m", samples, "power_w", whole(samples)))
    figure = stated(Figure("energy_wh", 5000.0, 1.0), energy)
    assert figure.standard_uncertainty == pytest.approx(50 / math.sqrt(3))
    assert figure.degrees_of_freedom == pytest.approx(50)
    assert figure.value == 5000.0
    absent = Figure("energy_wh", None, None, "nothing")
    assert stated(absent, energy) is absent


def test_what_a_secondary_meter_tells_is_multiplied_once():
    told = minutes([5.0, 5.0], current_a=[2.0, 2.0], dc_power_w=[7.0, 7.0])
    points = ("power_w", "current_a")
    raw = Metering(ct_ratio=80, vt_ratio=200, ratio_applied=False)
    scaled = primary(raw, told, points)
    assert scaled.values["power_w"].tolist() == [80_000.0] * 2
    assert scaled.values["current_a"].tolist() == [160.0] * 2
    assert scaled.values["dc_power_w"].tolist() == [7.0] * 2
    applied = raw.model_copy(update={"ratio_applied": True})
    assert primary(applied, told, points).values["power_w"].tolist() == [5.0] * 2
    assert primary(None, told, points) is told


def test_a_counter_is_counted_before_it_is_multiplied():
    samples = minutes([1.0] * 3, energy_wh=[65_530, 65_535, 4])
    rolls = {"energy_wh": Semantics(3 * MINUTE_US, modulus=65_536, most_per_h=1000)}
    rolling = replace(samples, counters=rolls)
    metering = Metering(ct_ratio=80.5, ratio_applied=False)
    kept = primary(metering, rolling, ("power_w", "energy_wh"))
    assert kept.values["energy_wh"].tolist() == [65_530, 65_535, 4]
    windows = primary_windows(metering, counted(kept, "energy_wh", whole(samples)))
    assert windows.amount.tolist() == [10 * 80.5]
    assert primary_windows(None, windows) is windows


def test_a_forgotten_ratio_is_a_finding():
    volts, amperes = np.full(60, 400.0), np.linspace(50, 100, 60)
    power = 0.8 * math.sqrt(3) * volts * amperes
    points = ("power_w", "voltage_v", "current_a")
    right = minutes(power, voltage_v=volts, current_a=amperes)
    twice = minutes(power * 200, voltage_v=volts, current_a=amperes)
    assert not list(ratio_findings(Metering(), right, *points))
    (finding,) = ratio_findings(Metering(), twice, *points)
    assert finding.code == "power_impossible"
    assert "ratio_applied" in finding.do
    rated = Metering(rated_current_a=100, line_voltage_v=400)
    (finding,) = ratio_findings(rated, minutes(power * 200), *points)
    assert "rated" in finding.what
    assert not list(ratio_findings(rated, minutes(power), *points))
    assert not list(ratio_findings(Metering(), minutes(power * 200), *points)), "nothing is known"


def test_a_section_from_yaml_and_from_canonical_bytes_are_the_same():
    written = {"meter_class": 1, "ct_class": Decimal("0.5"), "phases": 3, "ct_ratio": 80,
               "ratio_applied": True, "rated_current_a": Decimal("400.5")}  # fmt: skip
    section = Metering.model_validate(written)
    assert section == Metering.model_validate(plain(written))
    assert (section.meter_class, section.ct_class) == ("1", "0.5")
    assert Metering.model_validate({"phases": "1"}).phases == 1


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"ct_ratio": 80}, "ratio_applied"),
        ({"ratio_applied": True}, "needs the ratios"),
        ({"limit_ratio": "0.01", "meter_class": "1"}, "either limit_ratio"),
        ({"meter_class": "0.7"}, "0.5S"),
        ({"meter_class": True}, "0.5S"),
        ({"phases": 2}, "1 or 3"),
        ({"limit_ratio": 1}, "less than 1"),
        ({"class": "1"}, "class"),
    ],
)
def test_a_mistake_in_the_section_is_told(section, says):
    with pytest.raises(ValidationError, match=says):
        Metering.model_validate(section)
