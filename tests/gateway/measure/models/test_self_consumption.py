import csv
import gzip
from dataclasses import replace

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.self_consumption import (
    avoided_carbon,
    performance_finding,
    self_consumption,
)

QUARTER_US = 900_000_000


def data_of(load, made, *, unit_us=QUARTER_US, **drivers):
    n = len(load)
    columns = {
        "start": np.arange(n) * unit_us,
        "energy_wh": np.zeros(n),
        "load_wh": np.asarray(load, np.float64),
        "pv_wh": np.asarray(made, np.float64),
        **{name: np.asarray(values, np.float64) for name, values in drivers.items()},
    }
    names = ["load_wh", "pv_wh", *drivers]
    return Data.of(columns, drivers=names, unit_us=unit_us, zone="Asia/Seoul")


def week(seed=3):
    """A works with a noon break and free weekends, under a roof of modules."""
    draw = np.random.default_rng(seed)
    quarter = np.arange(7 * 96)
    hour, day = quarter % 96 / 4, quarter // 96
    sun = np.maximum(np.sin((hour - 6) / 12 * np.pi), 0) * draw.uniform(0.5, 1.0, quarter.size)
    works = (day < 5) & (hour >= 7) & (hour < 17) & (hour // 1 != 12)
    load = 8_000 + 60_000 * works + draw.uniform(0, 4_000, quarter.size)
    return load, 50_000 * sun


def refusal(call):
    with pytest.raises(MeasureError) as refused:
        call()
    return refused.value.code


def test_own_use_is_the_lesser_of_both_and_the_rest_leaves():
    found = self_consumption(data_of([10, 10, 0], [4, 25, 3]))
    assert found.own_wh.tolist() == [4, 10, 0]
    assert found.export_wh.tolist() == [0, 15, 3]
    assert found.imported_wh.tolist() == [6, 0, 0]
    assert (found.saved_wh, found.exported_wh, found.generated_wh) == (14, 18, 32)


def test_the_saving_is_what_the_grid_delivers_less():
    load, made = week()
    data = data_of(load, made)
    found = self_consumption(data)
    truth_wh = load.sum() - np.maximum(load - made, 0).sum()
    assert found.saved_wh == pytest.approx(truth_wh, rel=1e-12)
    assert found.generated_wh == pytest.approx(made.sum(), rel=1e-12)


def test_generation_counted_as_a_saving_claims_what_others_used():
    """The control: on free days most of it leaves."""
    load, made = week()
    found = self_consumption(data_of(load, made))
    assert made.sum() > 1.3 * found.saved_wh


def test_longer_intervals_flatter_and_are_told():
    load, made = week()
    fine = self_consumption(data_of(load, made))
    hourly = [values.reshape(-1, 4).sum(axis=1) for values in (load, made)]
    coarse = self_consumption(data_of(*hourly, unit_us=4 * QUARTER_US))
    assert coarse.saved_wh > fine.saved_wh
    assert (fine.longest_interval_us, coarse.longest_interval_us) == (QUARTER_US, 4 * QUARTER_US)


def test_what_the_inverter_draws_at_night_counts_against_it():
    found = self_consumption(data_of([10, 10], [-1, 5]))
    assert found.saved_wh == 4
    assert found.export_wh.tolist() == [0, 0]
    assert found.imported_wh.tolist() == [11, 5]


def test_an_interval_that_is_not_known_is_in_no_sum():
    found = self_consumption(data_of([10, np.nan, 10], [5, 5, np.nan]))
    assert (found.saved_wh, found.known_intervals, found.missing_intervals) == (5, 1, 2)


def test_carbon_takes_the_factor_of_each_interval():
    data = data_of([1000, 1000, 1000], [500, 2000, 400], factor_kg_per_kwh=[0.4, 0.5, np.nan])
    found = avoided_carbon(self_consumption(data), data)
    assert found.avoided_kg == pytest.approx(0.5 * 0.4 + 1.0 * 0.5)
    assert (found.intervals, found.without_factor) == (2, 1)


def test_the_mean_factor_is_not_that_of_the_sunny_hours():
    load, made = week()
    factor = np.where(made > 10_000, 0.3, 0.6)
    data = data_of(load, made, factor_kg_per_kwh=factor)
    found = self_consumption(data)
    assert avoided_carbon(found, data).avoided_kg < 0.9 * found.saved_wh / 1000 * factor.mean()


def test_what_cannot_be_is_refused():
    assert refusal(lambda: self_consumption(data_of([-1.0], [2.0]))) == "negative_load"
    assert refusal(lambda: self_consumption(data_of([np.nan], [2.0]))) == "no_whole_unit"


# --- the ratio: a flag and no saving ---


def lit(loss=1.0, cell_k=318.15):
    sun = np.array([0.0, 50.0, 150.0, 200.0, np.nan])  # Wh/m2 in a quarter
    made = loss * 0.85 * 100_000 * sun / 1000 * (1 - 0.004 * (cell_k - 298.15))
    return data_of(np.zeros(5), made, irradiation_wh_m2=sun, cell_k=np.full(5, cell_k))


def finding(data, peak_w=100_000.0):
    return performance_finding(
        data,
        dc_peak_w=peak_w,
        gamma_per_k=-0.004,
        expected_ratio=0.85,
        tolerance_ratio=0.05,
        by="plan",
    )


@pytest.mark.parametrize("cell_k", [278.15, 298.15, 338.15])
def test_a_hot_roof_is_no_fault(cell_k):
    found = finding(lit(cell_k=cell_k))
    assert found.passed
    assert found.seen == pytest.approx(0.85, rel=1e-9)


def test_modules_that_give_less_than_the_light_lets_them_are_found_and_the_saving_stays():
    shaded = lit(loss=0.93)
    found = finding(shaded)
    assert not found.passed
    assert found.code == "low_performance_ratio"
    assert found.seen == pytest.approx(0.93 * 0.85, rel=1e-9)
    loaded = replace(shaded, drivers={**shaded.drivers, "load_wh": np.full(5, 1e9)})
    made = shaded.drivers["pv_wh"]
    assert self_consumption(loaded).saved_wh == pytest.approx(made[np.isfinite(made)].sum())


def test_without_light_there_is_no_ratio():
    data = lit()
    data.drivers["irradiation_wh_m2"][:] = 0
    assert refusal(lambda: finding(data)) == "no_light"
    assert refusal(lambda: finding(lit(), peak_w=0.0)) == "impossible_ratio"


# --- a campus ---


def test_a_campus_in_july_uses_all_of_its_own_sun(plant_data):
    """Fifteen roofs beside forty-two feeders: nothing leaves, so here generation is the saving."""
    folder = plant_data / "korea_gist_campus_2022"
    made = sums(folder / "gist_pv_2022-07.csv.gz", first=15)
    load = sums(folder / "gist_load_2022-07.csv.gz", first=7)
    found = self_consumption(data_of(1000 * load, 1000 * made, unit_us=4 * QUARTER_US))
    assert found.known_intervals == 744
    assert found.exported_wh == 0
    assert found.saved_wh == pytest.approx(98_684_300, abs=1)
    assert load.sum() == pytest.approx(5_500_670.6, abs=1e-3)


def sums(path, first):
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return np.array([sum(float(value) for value in row[first:]) for row in rows])
