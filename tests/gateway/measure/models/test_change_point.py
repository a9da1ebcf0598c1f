import itertools
import json

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.models.change_point import Grid, fit_change_point
from joulemark_gateway.measure.models.mean import fit_mean
from joulemark_gateway.measure.models.shapes import Part, Shape, fit_parts, own_temperature
from support.temperature_meters import DAY_US, celsius, daily, made, nmecr, opendsm
from support.unit_data import changed, days

FREE = Grid(is_physical=False)
TEMPERATURE_KINDS = ("2p", "3ph", "3pc", "4p", "5p")


def test_slopes_base_and_change_points_of_a_meter_without_noise_are_found():
    fitted = fit_change_point(made(np.random.default_rng(1), noise=1e-9), "5p")
    assert [term.name for term in fitted.terms] == ["base", "heating", "cooling"]
    assert [term.unit for term in fitted.terms] == ["Wh/d", "Wh/(K d)", "Wh/(K d)"]
    assert fitted.linear.beta == pytest.approx([40_000, 1_500, 1_200], rel=1e-3)
    assert fitted.facts["heating_change_point_c"] == pytest.approx(14, abs=0.02)
    assert fitted.facts["cooling_change_point_c"] == pytest.approx(20, abs=0.02)
    assert fitted.parameters == 5


@pytest.mark.parametrize("kind", TEMPERATURE_KINDS)
def test_the_tangent_is_the_derivative_of_the_energy_by_each_change_point(kind):
    data = made(np.random.default_rng(2))
    fitted = fit_change_point(data, kind, grid=FREE)
    tangent = fitted.tangent(data)
    assert tangent.shape == (data.n, fitted.parameters)
    points = [name for name in fitted.facts if name.endswith("change_point_c")]
    shape = Shape(kind, **dict(zip(places(kind), (fitted.facts[n] for n in points), strict=True)))
    for j, place in enumerate(places(kind)):
        moved = Shape(**{**vars(shape), place: vars(shape)[place] + 1e-6})
        columns = fit_parts("moved", data, [Part("", moved)], own_temperature).rows(data)
        numeric = (fitted.linear.predict(columns) - fitted.predict_wh(data)) / 1e-6
        assert tangent[:, fitted.linear.p + j] == pytest.approx(numeric, rel=1e-5, abs=1e-3)


def places(kind):
    return {"2p": [], "3pc": ["high_c"], "5p": ["low_c", "high_c"]}.get(kind, ["low_c"])


def test_a_day_of_23_hours_uses_a_23rd_part_of_24_and_prediction_keeps_holes():
    data = days(365, zone="Europe/Berlin")
    short = int(np.argmin(data.length_us))
    fitted = fit_change_point(data, "3ph")
    assert data.length_us[short] == DAY_US * 23 // 24
    assert fitted.rows(data)[short, 0] == pytest.approx(23 / 24)
    holed = changed(data, "temperature_c", at=[7], to=np.nan)
    assert np.isnan(fitted.predict_wh(holed)).nonzero()[0].tolist() == [7]


def test_the_mean_reads_no_temperature():
    data = days(60)
    fitted = fit_mean(changed(data, "temperature_c", at=slice(None), to=np.nan))
    assert fitted.predict_wh(data) == pytest.approx(np.full(60, data.energy_wh.mean()))
    assert (fitted.id, fitted.parameters) == ("mean-1p", 1)


def test_the_interval_of_a_change_point_lies_about_it_and_grows_with_confidence():
    data = made(np.random.default_rng(3))
    widths = []
    for confidence in (0.8, 0.9, 0.95):
        facts = fit_change_point(data, "5p", confidence=confidence).facts
        low, high = facts["heating_change_point_lowest_c"], facts["heating_change_point_highest_c"]
        assert low < facts["heating_change_point_c"] < high
        widths.append(high - low)
    assert widths[0] < widths[1] < widths[2]


@pytest.mark.parametrize(
    ("spoil", "kind", "code"),
    [
        ({"name": "temperature_c", "at": slice(None), "to": 15.0}, "3ph", "no_change_point"),
        ({"name": "temperature_c", "at": slice(None), "to": 15.0}, "2p", "no_change_point"),
        ({"at": slice(None), "to": 0.0}, "5p", "no_change_point"),
        ({"at": slice(None), "to": 5.0}, "2p", "constant_load"),
        ({"at": [3], "to": np.nan}, "2p", "missing_values"),
        ({"name": "temperature_c", "at": [3], "to": np.nan}, "5p", "missing_values"),
        ({"at": [3], "to": 5.0}, "6p", "unknown_kind"),
    ],
)
def test_what_has_no_model_has_a_code(spoil, kind, code):
    with pytest.raises(MeasureError) as refused:
        fit_change_point(changed(days(100), **spoil), kind)
    assert refused.value.code == code


@pytest.mark.parametrize("n", [0, 1, 4])
def test_too_few_units_have_a_code(n):
    with pytest.raises(MeasureError) as refused:
        fit_change_point(days(10).where(np.arange(n)), "5p")
    assert refused.value.code in {"too_few_units", "no_change_point"}


def peer(folder, model):
    return json.loads((folder / "mv/nmecr/expected.json").read_text("utf-8"))[f"daily_{model}"]


def test_a_straight_line_is_the_one_of_nmecr(plant_data):
    base, perf = nmecr(plant_data / "mv", "base"), nmecr(plant_data / "mv", "perf")
    fitted, expected = fit_change_point(base, "2p", grid=FREE), peer(plant_data, "SLR")
    assert fitted.linear.sse == pytest.approx(expected["sse"], rel=1e-8)
    avoided = (fitted.predict_wh(perf) - perf.energy_wh).sum()
    assert avoided == pytest.approx(expected["savings"], rel=1e-6)


def test_heating_and_cooling_degree_days_of_65_f_are_those_of_nmecr(plant_data):
    base, perf = nmecr(plant_data / "mv", "base"), nmecr(plant_data / "mv", "perf")
    point_c = float(celsius(65))
    shape = Shape("5p", point_c, point_c)
    fitted = fit_parts("hdd-cdd", base, [Part("", shape)], own_temperature)
    expected = peer(plant_data, "HDD-CDD Multivariate Regression")
    assert fitted.linear.sse == pytest.approx(expected["sse"], rel=1e-8)
    avoided = (fitted.predict_wh(perf) - perf.energy_wh).sum()
    assert avoided == pytest.approx(expected["savings"], rel=1e-6)


@pytest.mark.parametrize("kind", ["3pc", "3ph", "4p"])
def test_change_points_are_at_least_as_close_as_those_of_nmecr(plant_data, kind):
    fitted = fit_change_point(nmecr(plant_data / "mv", "base"), kind, grid=FREE)
    assert fitted.linear.sse <= peer(plant_data, kind.upper())["sse"] * (1 + 1e-6)


@pytest.mark.parametrize("file", ["generated_data_all_models", "generated_data_for_post"])
def test_generated_data_of_each_kind_are_fitted_as_closely_as_by_every_candidate(plant_data, file):
    path = plant_data / f"mv/changepointmodel/{file}.json"
    grid = Grid(0.0, 100.0, 1.0, min_units=1, min_degree_days=0.0, is_physical=False)
    for case in json.loads(path.read_text("utf-8")):
        t_c, kind = np.array(case["x"], np.float64), case["model_type"].lower()
        fitted = fit_change_point(daily(t_c, np.array(case["y"])), kind, grid=grid)
        assert fitted.linear.r2 > 0.98
        found = []
        for at in itertools.combinations_with_replacement(range(1, 100), len(places(kind))):
            if at and not t_c.min() < at[0] <= at[-1] < t_c.max():
                continue
            part = Part("", Shape(kind, **dict(zip(places(kind), map(float, at), strict=True))))
            x = np.column_stack(
                [np.ones(12), *part.shape.columns(own_temperature(daily(t_c, t_c)))]
            )
            found.append(np.sum((x @ np.linalg.lstsq(x, case["y"])[0] - case["y"]) ** 2))
        assert fitted.linear.sse <= min(found) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("name", "kind"), [("il-electricity-cdd-hdd-daily", "5p"), ("il-gas-hdd-only-daily", "3ph")]
)
def test_avoided_energy_of_the_sample_meters_is_that_of_opendsm(plant_data, name, kind):
    text = (plant_data / "mv/opendsm_samples/peer_opendsm_1.2.7.json").read_text("utf-8")
    expected = json.loads(text)["cases"][name]
    before, after = opendsm(plant_data / "mv", name, utc_days=True)
    avoided_kwh = (fit_change_point(before, kind).predict_wh(after) - after.energy_wh).sum() / 1e3
    assert (before.n, after.n) == (expected["n_baseline"], expected["n_report"])
    allowed = max(0.05 * expected["predicted_sum"], expected["unc"])
    assert abs(avoided_kwh - expected["avoided"]) <= allowed
