import itertools

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.families import Automatic, Production, ProductionTemperature
from joulemark_gateway.measure.models.change_point import Grid
from joulemark_gateway.measure.models.hinges import KINDS, SSE, wanted
from joulemark_gateway.measure.models.production import activity
from joulemark_gateway.measure.models.production_temperature import (
    PLANT_KINDS,
    choose_plant,
    fit_plant,
)
from joulemark_gateway.measure.models.production_temperature_search import Plant, search_plant
from joulemark_gateway.measure.models.shapes import Shape, own_temperature
from joulemark_gateway.measure.models.temperature_choice import choose
from joulemark_gateway.measure.uncertainty import linearised
from support.five_parameters import ar1
from support.plants import DAY_US, days

MADE = (activity("production_kg", "kg"),)
YEAR = 365
SIDES = ("heating", "cooling")


def plant(seed=1, *, heating=3e4, cooling=4e4, per_kg=100.0, noise=1e5, rho=0.0, n=YEAR, **more):
    """A year in which little is made in summer, so that orders look like weather."""
    draw = np.random.default_rng(seed)
    season = -np.cos(2 * np.pi * (np.arange(n) - 20) / YEAR)
    temperature_c = 13 + 13 * season + 3 * draw.normal(size=n)
    made = 12_000 - 5_000 * season + 2_000 * draw.normal(size=n)
    energy = 1e6 + per_kg * made + noise * ar1(draw, n, rho)
    energy += heating * np.maximum(12 - temperature_c, 0)
    energy += cooling * np.maximum(temperature_c - 19, 0)
    return days(energy, production_kg=made, temperature_c=temperature_c, **more)


def names(fitted):
    return [term.name for term in fitted.terms]


def dense_sse(data, shape):
    columns = shape.columns(own_temperature(data))
    x = np.column_stack([np.ones(data.n), data.driver("production_kg"), *columns])
    beta = np.linalg.lstsq(x, data.energy_wh)[0]
    return float(np.sum((data.energy_wh - x @ beta) ** 2)), beta[2:]


def test_base_production_slopes_and_change_points_without_noise_are_found():
    fitted = fit_plant(plant(noise=1e-3), MADE, "5p")
    assert names(fitted) == ["base", "production_kg", "heating", "cooling"]
    assert [term.unit for term in fitted.terms] == ["Wh", "Wh/kg", "Wh/(K d)", "Wh/(K d)"]
    assert fitted.linear.beta == pytest.approx([1e6, 100, 3e4, 4e4], rel=1e-3)
    assert fitted.facts["heating_change_point_c"] == pytest.approx(12, abs=0.02)
    assert fitted.facts["cooling_change_point_c"] == pytest.approx(19, abs=0.02)
    assert (fitted.id, fitted.parameters) == ("production-5p", 6)


@pytest.mark.parametrize("kind", ["3ph", "3pc", "5p"])
def test_no_candidate_of_the_grid_solved_by_qr_is_closer(kind):
    data, grid = plant(2, noise=4e5), Grid(0.0, 28.0, 2.0)
    fitted = fit_plant(data, MADE, kind, grid=grid)
    points = np.arange(0.0, 28.1, 2.0)
    found = []
    for at in itertools.combinations_with_replacement(points, 2 if kind == "5p" else 1):
        low_c = None if kind == "3pc" else float(at[0])
        high_c = None if kind == "3ph" else float(at[-1])
        colder = (data.driver("temperature_c") < at[0]).sum()
        warmer = (data.driver("temperature_c") > at[-1]).sum()
        sse, slopes = dense_sse(data, Shape(kind, low_c, high_c))
        if min(colder, warmer) >= grid.min_units and slopes.min() > 0:
            found.append(sse)
    assert len(found) > 5
    assert fitted.linear.sse <= min(found) * (1 + 1e-9)
    own = Shape(kind, *(fitted.facts.get(f"{side}_change_point_c") for side in SIDES))
    assert fitted.linear.sse == pytest.approx(dense_sse(data, own)[0], rel=1e-9)


@pytest.mark.parametrize("kind", PLANT_KINDS)
def test_what_the_search_says_is_what_the_solved_line_leaves(kind):
    data = plant(3)
    plain = fit_plant(data, MADE, "1p").linear
    basis = np.ascontiguousarray(plain.coordinates(plain.x).T)
    of = Plant(data.driver("temperature_c"), np.ones(data.n), basis, plain.e)
    row = search_plant(of, wanted((kind,)), Grid().rules(1.0))[KINDS.index(kind)]
    assert row[SSE] == pytest.approx(fit_plant(data, MADE, kind).linear.sse, rel=1e-9)


def test_compiled_and_plain_find_the_same_bits():
    data = plant(4, n=90)
    plain = fit_plant(data, MADE, "1p").linear
    basis = np.ascontiguousarray(plain.coordinates(plain.x).T)
    of = Plant(data.driver("temperature_c"), np.ones(data.n), basis, plain.e)
    rules = Grid(0.0, 24.0, 4.0).rules(1.0)
    bare = getattr(search_plant, "py_func", search_plant)
    assert np.array_equal(
        bare(of, wanted(PLANT_KINDS), rules),
        search_plant(of, wanted(PLANT_KINDS), rules),
        equal_nan=True,
    )


@pytest.mark.parametrize("kind", PLANT_KINDS)
def test_the_tangent_is_the_derivative_of_the_energy_by_each_change_point(kind):
    data = plant(5)
    fitted = fit_plant(data, MADE, kind)
    tangent, p = fitted.tangent(data), fitted.linear.p
    assert tangent.shape == (data.n, p + fitted.searched)
    assert linearised(fitted, data).p == fitted.parameters
    for j, (name, point_c) in enumerate(fitted.facts.items()):
        t_c, step = data.driver("temperature_c"), 1e-5
        sign = -1 if name.startswith("heating") else 1
        slope = fitted.linear.beta[p - fitted.searched + j]
        moved = [slope * np.maximum(sign * (t_c - at), 0) for at in (point_c, point_c + step)]
        away = np.abs(t_c - point_c) > step
        assert tangent[away, p + j] == pytest.approx(
            (moved[1] - moved[0])[away] / step, abs=1e-6 * slope
        )


def test_orders_that_follow_the_season_are_not_taken_for_weather():
    data = plant(6, heating=0.0, cooling=0.0)
    assert choose_plant(data, MADE).fitted.id == "production"
    assert choose(data, divided=False).fitted.id != "mean-1p"  # the control sees heating


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_at_most_one_of_twenty_plants_that_know_no_weather_gets_a_line(rho):
    found = [
        choose_plant(plant(seed, heating=0.0, cooling=0.0, rho=rho), MADE).fitted.id
        for seed in range(60)
    ]
    assert sum(one != "production" for one in found) <= 3


@pytest.mark.parametrize(
    ("heating", "cooling", "kind"), [(3e4, 0.0, "3ph"), (0.0, 4e4, "3pc"), (3e4, 4e4, "5p")]
)
def test_a_plant_gets_the_kind_that_it_has_and_the_others_are_told(heating, cooling, kind):
    choice = choose_plant(plant(7, heating=heating, cooling=cooling), MADE)
    assert choice.fitted.id == f"production-{kind}"
    assert "production" in {one.id for one in choice.others}
    scores = [one.bic for one in choice.others]
    assert scores == sorted(scores)
    assert choice.metrics.bic < scores[0]


def test_half_a_day_has_half_the_base_and_half_the_degree_days_and_a_hole_stays_one():
    data = plant(8)
    halved = np.where(np.arange(YEAR) % 5 == 0, DAY_US // 2, DAY_US)
    fitted = fit_plant(data, MADE, "5p")
    rows = fitted.rows(data)
    partly = fitted.rows(type(data)(**{**vars(data), "measured_us": halved}))
    share = (halved / DAY_US)[:, None]
    assert partly[:, [0, 2, 3]] == pytest.approx(share * rows[:, [0, 2, 3]])
    assert partly[:, 1] == pytest.approx(rows[:, 1])
    holed = data.driver("temperature_c").copy()
    holed[3] = np.nan
    drivers = {**data.drivers, "temperature_c": holed}
    predicted = fitted.predict_wh(type(data)(**{**vars(data), "drivers": drivers}))
    assert np.flatnonzero(np.isnan(predicted)).tolist() == [3]


@pytest.mark.parametrize(
    ("kinds", "n", "code"),
    [
        (("4p",), YEAR, "unknown_kind"),
        (("6p",), YEAR, "unknown_kind"),
        (("5p",), 12, "no_change_point"),
        (PLANT_KINDS, 2, "too_few_units"),
    ],
)
def test_what_has_no_model_has_a_code(kinds, n, code):
    with pytest.raises(MeasureError) as refused:
        choose_plant(plant(n=n), MADE, kinds=kinds)
    assert refused.value.code == code


def test_the_automatic_family_takes_production_with_the_weather_of_days():
    data = plant(9)
    family = Automatic().family(data)
    assert isinstance(family, ProductionTemperature)
    assert set(family.drivers) == {"production_kg", "temperature_c"}
    chosen = family.fit(data)
    assert chosen.model.id == "production-5p"
    assert all(finding.passed for finding in chosen.findings)
    bills = type(data)(**{**vars(data), "length_us": np.full(YEAR, 30 * DAY_US)})
    assert isinstance(Automatic().family(bills), Production)


def test_a_policy_leaves_out_what_says_nothing_and_refuses_a_plant_that_follows_nothing():
    junk = np.random.default_rng(10).uniform(1, 9, YEAR)
    data = plant(10, heating=0.0, packaging_kg=junk)
    of = (*MADE, activity("packaging_kg", "kg"))
    chosen = ProductionTemperature(of, policy="iso50006-regression").fit(data)
    assert names(chosen.model) == ["base", "production_kg", "cooling"]
    assert "packaging_kg" in {one.id for one in chosen.others}
    every = ProductionTemperature(of).fit(data)
    assert names(every.model)[:3] == ["base", "production_kg", "packaging_kg"]
    idle = plant(11, per_kg=0.0, heating=0.0, cooling=0.0)
    with pytest.raises(MeasureError) as refused:
        ProductionTemperature(MADE, policy="iso50006-regression").fit(idle)
    assert refused.value.code == "no_valid_model"
