"""Meters whose saving is known, through the public engine with its defaults."""

import json
import sys

import numpy as np
import pytest

from joulemark_gateway.measure import Baseline, Plan, avoided_energy
from nightly import known_savings
from nightly.known_savings import TOLD, Group, _rms
from support.hourly_meters import building
from support.known_savings import found_in, oracles, recorded, saving_of

LEAST, MOST = 0.86, 0.95
MOST_HALF_WIDTH = 0.045
MOST_FALSE = 0.12
MOST_RMS, MOST_MEDIAN = 0.035, 0.015
SLACK = 1.05  # over those who are told the form and the change points


@pytest.fixture(scope="module")
def meters(plant_data):
    return list(recorded(plant_data / "mv"))


@pytest.fixture(scope="module")
def found(meters):
    group = Group()
    for meter in meters:
        group.add(found_in(meter, saving_of(meter)), oracles(meter))
    return group


def median(errors):
    return float(np.median(np.abs(errors)))


def test_nine_of_ten_intervals_hold_the_true_saving_and_are_not_wide(found):
    assert len(found.found) == 60
    assert LEAST <= found.coverage <= MOST
    assert found.half_width <= MOST_HALF_WIDTH


def test_no_error_is_left_to_those_who_are_told_the_form_and_the_change_points(found):
    assert median(found.errors) <= SLACK * median(found.told[TOLD])
    assert _rms(found.errors) <= SLACK * _rms(found.told[TOLD])
    assert abs(np.mean(found.errors)) <= SLACK * abs(np.mean(found.told[TOLD]))


def test_noise_alone_leaves_more_than_the_limits_ask_for(found):
    # With every parameter of every meter known: what is left is the noise of the days reported.
    assert _rms(found.told["every parameter known"]) > MOST_RMS
    assert median(found.told[TOLD]) > MOST_MEDIAN
    # Neither the memory of the noise, nor its last value, brings those who know them below.
    for name in ("the same, weighted by the true memory", "the same, the last residual carried on"):
        assert _rms(found.told[name]) > MOST_RMS
        assert median(found.told[name]) > MOST_MEDIAN


def test_savings_of_nothing_are_seldom_claimed(meters, found):
    nothing = [one for meter, one in zip(meters, found.found, strict=True) if not meter.avoided_wh]
    assert len(nothing) >= 12
    assert np.mean([one.excludes_zero for one in nothing]) <= MOST_FALSE


def test_a_published_building_saves_what_it_does_and_nothing_where_nothing_was_done(plant_data):
    truth = json.loads((plant_data / "mv/lbnl_rmv20/expected.json").read_bytes())["true_avoided"]
    before, untouched, improved = (
        building(plant_data, f"Data_{name}_2.csv.gz") for name in ("pre_1", "post_1", "post_2")
    )
    baseline = Baseline.fit(before, Plan("caltrack-daily-2.0", "lower-bound-one-sided-95"))
    nothing, saved = (avoided_energy(baseline, after) for after in (untouched, improved))
    for saving, after, true in ((nothing, untouched, 0.0), (saved, improved, truth["2"])):
        assert saving.value_wh == pytest.approx(true, abs=saving.half_width_wh)
        assert saving.half_width_wh < 0.02 * after.energy_wh.sum()
    assert nothing.value_wh == pytest.approx(0, abs=0.003 * untouched.energy_wh.sum())
    assert saved.value_wh == pytest.approx(truth["2"], rel=0.01)


@pytest.mark.endurance
def test_as_many_again_are_covered_and_no_further_off_than_they_must_be():
    figures = known_savings.run(1, full=False)
    sys.stdout.write("\n" + "".join(f"  {what}: {figure}\n" for what, figure in figures.items()))
