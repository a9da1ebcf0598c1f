import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.electrical import (
    apparent_power_va,
    compensation,
    is_possible_power,
    most_power_w,
    possible_power_w,
    power_factor,
    power_from_current_w,
    primary_power_w,
    reactive_power_var,
)
from support.vectors import require_all_used, require_close, vectors

FEW = settings(max_examples=30)
VECTORS = vectors("electrical")
VA_PER_KVA = 1000.0
powers = st.floats(1.0, 1e8)
factors = st.floats(0.01, 1.0)


def power_triangle(vector) -> None:
    apparent_va = vector["inputs"]["S"] * VA_PER_KVA
    active_w = vector["inputs"]["P"] * VA_PER_KVA
    changed = compensation(apparent_va, active_w, vector["inputs"]["pf_target"])
    cosine = power_factor(apparent_va, active_w)
    found = {
        "Q": changed.reactive_var / VA_PER_KVA,
        "pf": cosine,
        "phi_deg": math.degrees(math.acos(cosine)),
        "S_at_target": changed.apparent_after_va / VA_PER_KVA,
        "S_saved": changed.apparent_saved_va / VA_PER_KVA,
        "Q_target": changed.reactive_after_var / VA_PER_KVA,
        "Q_capacitor": changed.capacitor_var / VA_PER_KVA,
    }
    require_close(found, vector["expected"], vector["rel_tol"])


ADAPTERS = {"pf-PS-1": power_triangle}


@pytest.mark.parametrize("name", VECTORS)
def test_a_published_power_triangle_is_found(name):
    ADAPTERS[name](VECTORS[name])


def test_every_vector_of_this_file_is_used():
    require_all_used("electrical", ADAPTERS)


@FEW
@given(powers, factors)
def test_the_sides_of_the_triangle_belong_together(apparent_va, cosine):
    active_w = apparent_va * cosine
    reactive_var = reactive_power_var(apparent_va, active_w)
    assert math.hypot(active_w, reactive_var) == pytest.approx(apparent_va, rel=1e-12)
    assert power_factor(apparent_va, active_w) == pytest.approx(cosine)


@FEW
@given(powers, factors, factors, st.floats(1e-3, 1e3))
def test_compensation_takes_away_what_lies_between_and_scales(apparent_va, cosine, target, scale):
    active_w = apparent_va * cosine
    one, other = (compensation(k * apparent_va, k * active_w, target) for k in (1.0, scale))
    assert one.capacitor_var == pytest.approx(one.reactive_var - one.reactive_after_var)
    assert other.capacitor_var == pytest.approx(scale * one.capacitor_var, rel=1e-6, abs=1e-3)
    assert power_factor(max(one.apparent_after_va, active_w), active_w) == pytest.approx(target)


def test_a_target_already_met_needs_nothing():
    assert compensation(100.0, 87.0, 0.87).capacitor_var == pytest.approx(0.0, abs=1e-9)


@FEW
@given(st.integers(-5, 5), st.integers(1, 800), st.integers(1, 200))
def test_ratios_are_applied_once(exponent, ct_ratio, vt_ratio):
    applied = primary_power_w(123, exponent, ct_ratio, vt_ratio, ratio_applied=True)
    raw = primary_power_w(123, exponent, ct_ratio, vt_ratio, ratio_applied=False)
    assert applied == pytest.approx(123 * 10.0**exponent)
    assert raw == pytest.approx(applied * ct_ratio * vt_ratio)


def test_power_beyond_voltage_and_current_is_refused():
    carried_w = math.sqrt(3) * 400 * 100
    assert possible_power_w(1.04 * carried_w, 400, 100) == 1.04 * carried_w
    assert possible_power_w(-1.04 * carried_w, 400, 100) < 0
    assert most_power_w(400, 100) == pytest.approx(1.05 * carried_w)
    for power_w in (1.06 * carried_w, -80 * carried_w, math.nan):
        with pytest.raises(OutOfDomain, match="transformer ratios"):
            possible_power_w(power_w, 400, 100)
    one_phase = is_possible_power([23_000, 25_000, np.nan], [230, 230, 230], [100, 100, 100], 1)
    assert one_phase.tolist() == [True, False, True]


@FEW
@given(st.floats(0, 1e4), st.floats(0, 1e4), factors)
def test_power_from_current_never_exceeds_apparent_power(voltage, current, cosine):
    found = power_from_current_w(voltage, current, cosine)
    assert 0 <= found <= apparent_power_va(voltage, current)
    assert found == pytest.approx(math.sqrt(3) * voltage * current * cosine)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: reactive_power_var(100, 101),
        lambda: reactive_power_var(-1, -2),
        lambda: power_factor(0, 0),
        lambda: power_from_current_w(440, 2, 50),
        lambda: power_from_current_w(400, -1, 0.8),
        lambda: apparent_power_va(400, 10, phases=2),
        lambda: compensation(100, 87, 1.01),
        lambda: primary_power_w(1, 0, 0, 1, ratio_applied=False),
        lambda: primary_power_w(math.nan, 0, 1, 1, ratio_applied=True),
        lambda: primary_power_w(1, -32768, 1, 1, ratio_applied=True),
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(OutOfDomain):
        wrong()
