"""What a peer printed for a published building, from our own fits of its data."""

import json

import pytest

from joulemark_gateway.measure.compatibility import INTERVAL_METHODS, case_of
from joulemark_gateway.measure.models.change_point import Grid, fit_change_point
from joulemark_gateway.measure.models.shapes import Part, Shape, fit_parts, own_temperature
from joulemark_gateway.measure.models.time_of_week_temperature import fit_time_of_week_temperature
from support.hourly_meters import daily_building
from support.temperature_meters import celsius, nmecr

FREE = Grid(is_physical=False)


@pytest.fixture(scope="module")
def building(plant_data):
    """What the peer printed, and the building before and after."""
    folder = plant_data / "mv"
    expected = json.loads((folder / "nmecr/expected.json").read_text("utf-8"))
    return expected, nmecr(folder, "base"), nmecr(folder, "perf")


def uncertainty(fitted, before, after):
    """Half-width over the saving, and the saving."""
    case = case_of(fitted, before, after, step="day", months=12.0)
    half_width = INTERVAL_METHODS["nmecr-1.0.17"].half_width_wh(case, 0.9)
    return half_width / case.saving_wh, case.saving_wh


@pytest.mark.parametrize("kind", ["3ph", "4p"])
def test_where_both_find_the_same_change_point_saving_and_interval_are_the_peers(building, kind):
    expected, before, after = building
    peer = expected[f"daily_{kind.upper()}"]
    fitted = fit_change_point(before, kind, grid=FREE)
    assert fitted.linear.sse == pytest.approx(peer["sse"], rel=1e-7)
    ratio, saving = uncertainty(fitted, before, after)
    assert ratio == pytest.approx(peer["savings_uncertainty"], rel=1e-3)
    assert saving == pytest.approx(peer["savings"], rel=1e-4)


def test_where_the_peer_stops_at_a_worse_change_point_its_interval_is_met_there_only(building):
    expected, before, after = building
    peer = expected["daily_3PC"]
    own = fit_change_point(before, "3pc", grid=FREE)
    assert own.linear.sse < 0.998 * peer["sse"]
    ratio, _ = uncertainty(own, before, after)
    assert ratio == pytest.approx(peer["savings_uncertainty"], rel=5e-3)
    assert ratio != pytest.approx(peer["savings_uncertainty"], rel=1e-3)
    point_c = float(celsius(peer["bp"]["Est."]))
    theirs = fit_parts("3pc", before, [Part("", Shape("3pc", None, point_c))], own_temperature)
    ratio, saving = uncertainty(theirs, before, after)
    assert theirs.linear.sse == pytest.approx(peer["sse"], rel=1e-10)
    assert ratio == pytest.approx(peer["savings_uncertainty"], rel=1e-9)
    assert saving == pytest.approx(peer["savings"], rel=1e-9)


def test_time_of_week_with_the_peers_knots_has_its_saving_and_interval(building, plant_data):
    peer = building[0]["daily_TOWT"]
    before, after = (
        daily_building(plant_data, f"nm_{name}_daily.csv") for name in ("base", "perf")
    )
    knots_c = tuple(celsius(peer["knots"]).tolist())
    fitted = fit_time_of_week_temperature(before, knots_c=knots_c)
    ratio, saving = uncertainty(fitted, before, after)
    assert saving == pytest.approx(peer["savings"], rel=1e-9)
    assert ratio == pytest.approx(peer["savings_uncertainty"], rel=1e-9)
