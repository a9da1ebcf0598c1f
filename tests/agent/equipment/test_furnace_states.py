"""What a furnace does, what holding and heating take, and a thermocouple that breaks."""

import numpy as np
import pytest

from joulemark_agent.equipment.base import US_PER_S, Samples
from joulemark_agent.equipment.furnace import Parameters, analyse
from nightly import furnace_batches
from nightly.furnace_batches import HEATING_W, IDLE_W, PERIOD_S


@pytest.fixture(scope="module")
def made():
    """Thirty batches in noise, with readings missing."""
    return furnace_batches.furnace(np.random.default_rng(11))


def figure(found, name):
    return {f.name: f for f in found.figures}[name]


def test_heating_and_holding_are_the_energy_of_heating_and_soaking(made):
    found = analyse(Parameters(), made.samples)
    held_h = figure(found, "heat_s").value / 3600
    heating_wh = figure(found, "heating_wh").value
    assert heating_wh == pytest.approx((HEATING_W - made.holding_w) * held_h, rel=0.03)
    busy_h = held_h + figure(found, "soak_s").value / 3600
    assert figure(found, "holding_wh").value == pytest.approx(made.holding_w * busy_h, rel=0.03)


def test_energy_per_charge_and_per_mass_are_sums_over_sums(made):
    found = analyse(Parameters(mass="charge_kg"), made.samples)
    energy_wh = sum(made.energies_wh)
    assert figure(found, "per_batch_wh").value == pytest.approx(energy_wh / 30, rel=0.005)
    specific = figure(found, "specific_energy_wh_kg").value
    assert specific == pytest.approx(energy_wh / sum(made.masses_kg), rel=0.005)


def test_without_a_scale_there_is_energy_per_charge_only(made):
    names = {f.name for f in analyse(Parameters(), made.samples).figures}
    assert "per_batch_wh" in names
    assert "specific_energy_wh_kg" not in names


def test_a_mass_that_is_never_read_is_no_mass(made):
    values = {**made.samples.values, "charge_kg": np.full(made.samples.t_us.size, np.nan)}
    samples = Samples(made.samples.t_us, values, made.samples.max_gap_us)
    found = analyse(Parameters(mass="charge_kg"), samples)
    assert figure(found, "specific_energy_wh_kg").value is None
    assert "mass" in figure(found, "specific_energy_wh_kg").why


def plain(hours_idle=2, idle_k=900.0, hours_cold=3):
    """A charge in and out, then hot and empty, then cold."""
    size = 3600 // PERIOD_S
    parts = [  # samples, to K, door, W
        (4, 900.0, 1, 30_000.0), (size, 1173.15, 0, HEATING_W), (2 * size, 1173.15, 0, 50_000.0),
        (10, 1000.0, 1, 0.0), (10, idle_k, 0, IDLE_W), (hours_idle * size, idle_k, 0, IDLE_W),
        (10, 350.0, 0, 0.0), (hours_cold * size, 350.0, 0, 0.0),
    ]  # fmt: skip
    at_k, kelvin = 900.0, []
    for count, to_k, _, _ in parts:
        kelvin.append(at_k + (to_k - at_k) * np.arange(1, count + 1) / count)
        at_k = to_k
    sizes = [count for count, *_ in parts]
    watts = np.repeat([w for *_, w in parts], sizes)
    values = {
        "temperature_k": np.concatenate(kelvin),
        "set_point_k": np.full(watts.size, 1173.15),
        "door_state": np.repeat([float(door) for _, _, door, _ in parts], sizes),
        "energy_wh": np.rint(np.append(0, np.cumsum(watts * PERIOD_S / 3600))[:-1]),
    }
    return Samples(np.arange(watts.size) * PERIOD_S * US_PER_S, values, 45 * US_PER_S)


def test_standing_hot_without_a_charge_is_told_and_standing_cold_is_not_counted():
    found = analyse(Parameters(), plain())
    assert figure(found, "idle_s").value == pytest.approx(2 * 3600, abs=900)
    assert figure(found, "cold_s").value == pytest.approx(3 * 3600, abs=400)
    assert figure(found, "idle_hot_wh").value == pytest.approx(2 * IDLE_W, rel=0.1)


def test_hot_is_judged_in_degrees_celsius():
    """At 900 C half the set point is 450 C, which is 723 K and not half of 1173 K."""
    assert figure(analyse(Parameters(), plain(idle_k=700.0)), "idle_hot_wh").value < IDLE_W
    assert figure(analyse(Parameters(), plain(idle_k=740.0)), "idle_hot_wh").value > IDLE_W


# A thermocouple that breaks


@pytest.mark.parametrize("rail_k", [1645.15, 173.15])
def test_a_broken_thermocouple_is_a_finding_and_no_temperature(rail_k):
    samples = plain()
    kelvin = samples.values["temperature_k"].copy()
    kelvin[200:220] = rail_k
    broken = Samples(samples.t_us, {**samples.values, "temperature_k": kelvin}, samples.max_gap_us)
    found = analyse(Parameters(), broken)
    assert [finding.code for finding in found.findings] == ["thermocouple_broken"]
    assert "20 of" in found.findings[0].what
    whole = analyse(Parameters(), samples)
    assert figure(found, "batch_count").value == figure(whole, "batch_count").value
    lost_s = figure(whole, "soak_s").value - figure(found, "soak_s").value
    assert lost_s == pytest.approx(21 * PERIOD_S, abs=PERIOD_S)
    assert figure(found, "cool_s").value == figure(whole, "cool_s").value


def test_the_charge_s_own_swings_are_no_broken_thermocouple(made):
    codes = [finding.code for finding in analyse(Parameters(), made.samples).findings]
    assert "thermocouple_broken" not in codes


# A signal of the charge, where there is no door


def test_a_signal_of_the_charge_tells_batches_and_states():
    samples = plain()
    values = {**samples.values}
    door = values.pop("door_state")
    size = 3600 // PERIOD_S
    values["loaded_state"] = np.where((np.arange(door.size) >= 4) & (door == 0), 1.0, 0.0)
    values["loaded_state"][4 + 3 * size :] = 0.0
    told = Samples(samples.t_us, values, samples.max_gap_us)
    by_signal = analyse(Parameters(charge_signal="loaded_state"), told)
    by_door = analyse(Parameters(), samples)
    for one, other in zip(by_signal.spans_of("batch"), by_door.spans_of("batch"), strict=True):
        assert (one.start_us, one.end_us) == (other.start_us, other.end_us)
    for name in ("soak_s", "heat_s", "cold_s"):
        assert figure(by_signal, name).value == pytest.approx(figure(by_door, name).value, abs=60)


def test_a_signal_that_is_not_recorded_leaves_no_batch_and_no_state():
    found = analyse(Parameters(charge_signal="loaded_state"), plain())
    for name in ("batch_count", "heat_s", "idle_hot_wh"):
        assert "'loaded_state' is not recorded." in figure(found, name).why
