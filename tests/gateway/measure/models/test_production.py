import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.production import (
    activity,
    choice,
    fit_production,
    weather,
    with_degree_days,
    with_indicators,
)

DAY_US = 86_400_000_000


def data_of(n=30, unit_us=DAY_US, **drivers):
    columns = {"start": np.arange(n) * unit_us, "energy_wh": np.arange(n) + 1.0, **drivers}
    return Data.of(columns, drivers=list(drivers), unit_us=unit_us, zone="UTC")


def test_degree_days_lie_on_either_side_and_last_as_long_as_their_unit():
    data = data_of(4, temperature_c=np.array([5.0, 15.0, 25.0, np.nan]))
    found = with_degree_days(data, heating_c=15, cooling_c=20).drivers
    assert found["hdd_k_d"][:3].tolist() == [10, 0, 0]
    assert found["cdd_k_d"][:3].tolist() == [0, 0, 5]
    assert np.isnan(found["hdd_k_d"][3])
    assert np.isnan(found["cdd_k_d"][3])
    hourly = data_of(1, DAY_US // 24, temperature_c=np.array([3.0]))
    assert with_degree_days(hourly, heating_c=15).drivers["hdd_k_d"] == pytest.approx([0.5])
    assert "cdd_k_d" not in with_degree_days(hourly, heating_c=15).drivers


def test_a_mean_over_a_month_has_no_degree_days():
    month = data_of(2, 30 * DAY_US, temperature_c=np.array([14.0, 16.0]))
    with pytest.raises(MeasureError) as refused:
        with_degree_days(month, heating_c=15)
    assert refused.value.code == "unit_too_long_for_degree_days"


def test_the_long_day_of_the_clocks_has_degree_days():
    data = data_of(1, DAY_US * 25 // 24, temperature_c=np.array([5.0]))
    assert with_degree_days(data, heating_c=15).drivers["hdd_k_d"] == pytest.approx([10 * 25 / 24])


def test_a_choice_has_an_indicator_for_each_level_but_the_first():
    data = data_of(5, shift=np.array([1.0, 2.0, 3.0, 9.0, np.nan]))
    found = with_indicators(data, "shift", (1, 2, 3))
    assert found.drivers["shift=2"][:3].tolist() == [0, 1, 0]
    assert found.drivers["shift=3"][:3].tolist() == [0, 0, 1]
    assert np.isnan(found.drivers["shift=2"][3:]).all()
    assert choice("shift", (1, 2, 3)).columns == ("shift=2", "shift=3")


def test_a_model_of_all_kinds_of_drivers_is_found_exactly_and_predicts():
    draw = np.random.default_rng(2)
    made, warm, shift = draw.uniform(1, 9, 60), draw.uniform(0, 30, 60), draw.integers(1, 4, 60)
    data = data_of(60, made_kg=made, temperature_c=warm, shift=shift)
    data = with_indicators(with_degree_days(data, cooling_c=18), "shift", (1, 2, 3))
    cool = np.maximum(warm - 18, 0)
    data.energy_wh[:] = 500 + 70 * made + 9 * cool + 40 * (shift == 2) - 60 * (shift == 3)
    of = [activity("made_kg", "kg"), weather("cdd_k_d"), choice("shift", (1, 2, 3))]
    fitted = fit_production(data, of)
    assert fitted.linear.beta == pytest.approx([500, 70, 9, 40, -60], rel=1e-9)
    assert fitted.predict_wh(data) == pytest.approx(data.energy_wh)
    assert [term.name for term in fitted.terms] == [
        "base", "made_kg", "cdd_k_d", "shift=2", "shift=3",
    ]  # fmt: skip
    assert fitted.searched == 0
    assert fitted.tangent is fitted.rows
