import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.physics.air_storage import (
    demand_from_cycles,
    draw_from_fall,
    receiver_volume,
    storage_volume,
    usable_air,
)
from joulemark_agent.physics.domain import OutOfDomain

ATMOSPHERE_PA = 101_325.0


@given(st.floats(0.1, 100.0), st.floats(0.01, 1.0), st.floats(0.01, 0.99))
def test_the_slopes_of_a_known_storage_give_it_back(volume_m3, capacity_m3_s, used):
    demand_m3_s = used * capacity_m3_s
    loaded_pa_s = (capacity_m3_s - demand_m3_s) * ATMOSPHERE_PA / volume_m3
    unloaded_pa_s = -demand_m3_s * ATMOSPHERE_PA / volume_m3
    found = storage_volume(capacity_m3_s, loaded_pa_s, unloaded_pa_s, ATMOSPHERE_PA)
    assert found == pytest.approx(volume_m3, rel=1e-9)
    assert draw_from_fall(found, -unloaded_pa_s, ATMOSPHERE_PA) == pytest.approx(demand_m3_s)
    rise_s, fall_s = 1e4 / loaded_pa_s, -1e4 / unloaded_pa_s
    assert demand_from_cycles(capacity_m3_s, rise_s, fall_s) == pytest.approx(demand_m3_s)


@given(st.floats(0.01, 1.0), st.floats(1.0, 600.0), st.floats(1e3, 1e5))
def test_a_receiver_of_the_size_needed_holds_what_is_drawn(demand_m3_s, time_s, drop_pa):
    volume_m3 = receiver_volume(demand_m3_s, time_s, drop_pa, ATMOSPHERE_PA)
    held_m3 = usable_air(volume_m3, 6e5 + drop_pa, 6e5, ATMOSPHERE_PA)
    assert held_m3 == pytest.approx(demand_m3_s * time_s)


@pytest.mark.parametrize(
    "call",
    [
        lambda: demand_from_cycles(0.1, 0.0, 10.0),
        lambda: demand_from_cycles(0.1, 10.0, -1.0),
        lambda: storage_volume(0.1, -100.0, 100.0, ATMOSPHERE_PA),
        lambda: storage_volume(0.1, 100.0, 100.0, ATMOSPHERE_PA),
        lambda: storage_volume(0.1, math.nan, 100.0, ATMOSPHERE_PA),
        lambda: usable_air(1.0, 5e5, 6e5, ATMOSPHERE_PA),
        lambda: receiver_volume(0.1, 60.0, 0.0, ATMOSPHERE_PA),
        lambda: receiver_volume(0.1, 60.0, 1e4, 14.7),
        lambda: draw_from_fall(1.0, -1.0, ATMOSPHERE_PA),
    ],
)
def test_what_no_storage_does_is_refused(call):
    with pytest.raises(OutOfDomain):
        call()
