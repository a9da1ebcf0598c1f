import json

import numpy as np
import pytest

from joulemark_gateway.measure.estimate import estimate_of
from joulemark_gateway.measure.models.time_of_week_blend import fit_by_distance, fit_by_month
from joulemark_gateway.measure.models.time_of_week_temperature import fit_time_of_week_temperature
from joulemark_gateway.measure.qr import least_squares, products
from support.hourly_meters import building, office

WEEK = 168
KNOTS_C = tuple((fahrenheit - 32) / 1.8 for fahrenheit in (40, 55, 65, 80, 90))


@pytest.mark.parametrize("scale_d", [14, 90])
def test_weights_by_distance_give_the_peers_savings(plant_data, scale_d):
    expected = json.loads((plant_data / "mv/lbnl_rmv20/expected.json").read_bytes())
    before = building(plant_data, "Data_pre_1_2.csv.gz")
    blend = fit_by_distance(before, scale_d=scale_d, knots_c=KNOTS_C)
    for number in ("1", "2"):
        after = building(plant_data, f"Data_post_{number}_2.csv.gz")
        saved_wh = (blend.predict_wh(after) - after.energy_wh).sum()
        peer = expected["rmv20_towt"][number][f"td{scale_d}"]["savings"]

        assert saved_wh == pytest.approx(peer, rel=1e-6)


def test_90_days_find_the_known_saving_and_14_days_do_not(plant_data):
    expected = json.loads((plant_data / "mv/lbnl_rmv20/expected.json").read_bytes())
    truth_wh = expected["true_avoided"]["2"]
    before, after = (building(plant_data, f"Data_{name}_2.csv.gz") for name in ("pre_1", "post_2"))
    wrong = {
        scale_d: fit_by_distance(before, scale_d=scale_d).predict_wh(after).sum()
        - after.energy_wh.sum()
        - truth_wh
        for scale_d in (14.0, 90.0)
    }

    assert abs(wrong[90.0]) <= 0.01 * truth_wh
    assert abs(wrong[14.0]) > 0.04 * truth_wh


def test_where_all_weigh_the_same_it_is_the_single_model_with_its_interval():
    data = office(1, 52 * WEEK, step_h=4)
    early = np.arange(data.n) < data.n // 2
    before, after = data.where(early), data.where(~early)
    blend = fit_by_distance(before, scale_d=1e9)
    single = fit_time_of_week_temperature(before)
    weights = np.vstack([np.ones(after.n), np.arange(after.n) < after.n // 3]).astype(np.float64)
    of_single, of_blend = (estimate_of(model, before) for model in (single, blend))

    assert blend.predict_wh(after) == pytest.approx(single.predict_wh(after), rel=1e-9)
    assert blend.parameters == pytest.approx(single.linear.p, rel=1e-9)
    assert of_blend.process == pytest.approx(of_single.process, rel=1e-8)
    for of in ("covariance", "mean_covariance"):
        ours, theirs = (getattr(one, of)(after, weights) for one in (of_blend, of_single))
        assert ours == pytest.approx(theirs, rel=1e-8)
    ends = [1, 500, after.n]
    running = of_single.running_variance(after, ends)
    assert of_blend.running_variance(after, ends) == pytest.approx(running, rel=1e-8)


def test_a_month_is_the_weighted_fit_of_itself_and_its_neighbours():
    data = office(1, 26 * WEEK, step_h=4)  # January to June
    blend = fit_by_month(data)
    march = np.array(blend.share(data)[2] > 0)
    month = data.start_us.astype("datetime64[us]").astype("datetime64[M]").astype(int) % 12
    weight = np.select([month == 2, np.isin(month, (1, 3))], [1.0, 0.5], 0.0)
    used = weight > 0
    part = blend.parts[2]
    cell = part.form.cells.of(data)
    columns = part.form.columns(data, cell)[np.diag(part.root) != 0]
    x = np.column_stack([np.eye(WEEK // 4)[cell], columns.T])
    half = np.sqrt(weight)[:, None]
    dense = least_squares((x * half)[used], (data.energy_wh * half[:, 0])[used])
    expected_wh = products(x, dense.beta[:, None])[:, 0]

    assert np.array_equal(march, month == 2)
    assert np.array_equal(part.weight, weight)
    assert blend.predict_wh(data)[march] == pytest.approx(expected_wh[march], rel=1e-9)


def test_entering_energies_add_up_to_the_prediction():
    data = office(2, 26 * WEEK)
    blend = fit_by_month(data)
    summer = data.where(data.position >= 20 * WEEK)
    by_units = (blend.entering(summer, np.ones(summer.n)) * data.energy_wh).sum()

    assert by_units == pytest.approx(blend.predict_wh(summer).sum(), rel=1e-9)


def test_a_month_without_a_model_is_not_predicted():
    data = office(1, 26 * WEEK)
    january = data.where(data.position < 4 * WEEK)
    predicted_wh = fit_by_month(january).predict_wh(data)
    month = data.start_us.astype("datetime64[us]").astype("datetime64[M]").astype(int) % 12

    assert np.array_equal(np.isfinite(predicted_wh), month < 2)
