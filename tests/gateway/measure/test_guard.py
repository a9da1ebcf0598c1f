"""Whatever is given: findings and codes, never NaN in what is told, no exception but our own."""

import json
import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.bills import merged
from joulemark_gateway.measure.guard import checked, finite
from joulemark_gateway.measure.linear import fit
from joulemark_gateway.measure.roll_up import roll_up
from joulemark_gateway.measure.sufficiency import POLICIES
from joulemark_gateway.measure.uncertainty import noise_of
from joulemark_gateway.measure.verdict import stated, verdict_of
from support.measure_cases import ANYBODY, NAN, cases, disorderly, orderly
from support.unit_data import changed, days


def figures(case):
    """What a plain straight model of all drivers would state, by the engine's own parts."""

    def made():
        kept = checked(case.baseline)
        kept = kept.where(kept.is_whole)
        later = kept if case.reporting is None else checked(case.reporting)
        later = later.where(later.is_whole)
        design = [
            np.column_stack([np.empty((one.n, 0)), *(one.drivers[name] for name in kept.drivers)])
            for one in (kept, later)
        ]
        model = fit(design[0], kept.energy_wh, kept.position)
        x = np.column_stack([np.ones(later.n), design[1]])
        noise = noise_of(model)
        covariance = noise.covariance(x, later.position, np.ones((1, later.n)))
        return {
            "avoided_wh": math.fsum((model.predict(x) - later.energy_wh).tolist()),
            "half_width_wh": noise.half_width(float(covariance[0, 0]), 0.9),
            "adjusted_r2": model.adjusted_r2,
        }

    return made


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_verdict_on_anything_has_no_nan_and_no_other_exception(policy):
    look(policy, examples=15)


@pytest.mark.endurance
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_verdict_on_anything_looked_at_longer(policy):
    look(policy, examples=200)


def look(policy, *, examples):
    for any_shape in (False, True):
        given(case=cases(any_shape=any_shape))(
            settings(max_examples=examples)(lambda case: is_told(policy, case))
        )()


def is_told(policy, case):
    told = stated(verdict_of(policy, case, ANYBODY), figures(case)).document()
    json.dumps(told, allow_nan=False)
    assert (told["figures"] is None) is bool(told["refused_by"])
    assert told["policy"]["id"] == policy.id


@settings(max_examples=40)
@given(data=st.one_of(orderly(), disorderly()), cycle=st.sampled_from(["monthly", "bimonthly"]))
def test_longer_units_are_made_of_anything_or_it_is_refused(data, cycle):
    for make in (
        lambda: roll_up(data, "hour").data(min_measured_ratio=0.5, fills_units=True),
        lambda: roll_up(data, "day").data(min_measured_ratio=0.0, fills_units=False),
        lambda: merged(data, np.arange(np.size(data.energy_wh)) % 3 == 1, cycle, longest_days=70)
        .data,
    ):  # fmt: skip
        with suppress(MeasureError):
            assert not np.isinf(make().energy_wh).any()


@settings(max_examples=40)
@given(data=orderly())
def test_checking_twice_changes_nothing_more(data):
    once = checked(data)
    assert np.array_equal(once.energy_wh, checked(once).energy_wh, equal_nan=True)
    assert np.array_equal(once.start_us, data.start_us)


def refused(data):
    with pytest.raises(MeasureError) as error:
        checked(data)
    return error.value.code


@pytest.mark.parametrize(
    ("value", "kept"),
    [(math.inf, NAN), (-math.inf, NAN), (1e100, 1e100), (9e-101, 0.0), (1e-100, 1e-100)],
)
def test_infinite_is_missing_and_vanishing_is_zero(value, kept):
    found = checked(changed(days(5), at=[2], to=value)).energy_wh[2]
    assert found == kept or (math.isnan(found) and math.isnan(kept))


def test_values_beyond_any_meter_are_refused():
    assert refused(changed(days(5), at=[2], to=1.01e100)) == "value_too_large"
    assert refused(changed(days(5), "temperature_c", at=[2], to=-1e101)) == "value_too_large"


def test_a_figure_that_is_no_number_is_refused_by_its_name():
    assert finite({"avoided_wh": 1.0}) == {"avoided_wh": 1.0}
    with pytest.raises(MeasureError, match="avoided_wh"):
        finite({"avoided_wh": NAN})
