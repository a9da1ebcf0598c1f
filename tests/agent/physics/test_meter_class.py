import numpy as np
import pytest

from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.meter_class import (
    CURRENT_TRANSFORMER_LIMITS,
    METER_LIMITS,
    VOLTAGE_TRANSFORMER_LIMITS,
    current_transformer_limit,
    meter_limit,
    voltage_transformer_limit,
)

LOADS = np.linspace(0, 1.5, 151)


@pytest.mark.parametrize(
    ("name", "load", "limit"),
    [
        ("1", 0.1, 0.010), ("1", 0.05, 0.015), ("0.5S", 0.05, 0.005), ("0.5S", 0.01, 0.010),
        ("0.2S", 1.0, 0.002), ("0.2S", 0.02, 0.004),
    ],
)  # fmt: skip
def test_a_meter_s_limit_depends_on_its_load(name, load, limit):
    assert meter_limit(name, load) == limit
    assert meter_limit(name, -load) == limit


@pytest.mark.parametrize(("load", "limit"), [(1.0, 0.005), (0.2, 0.0075), (0.05, 0.015)])
def test_a_current_transformer_s_limit_depends_on_its_load(load, limit):
    assert current_transformer_limit("0.5", load) == limit


@pytest.mark.parametrize("name", METER_LIMITS)
def test_no_meter_is_better_at_less_load_and_none_is_known_outside(name):
    limit = meter_limit(name, LOADS)
    known = ~np.isnan(limit)
    assert np.all(np.diff(limit[known]) <= 0)
    assert not known[LOADS > 1.2].any()
    assert not known[0]


@pytest.mark.parametrize("name", CURRENT_TRANSFORMER_LIMITS)
def test_no_transformer_is_better_at_less_load_and_none_is_known_outside(name):
    limit = current_transformer_limit(name, LOADS)
    known = ~np.isnan(limit)
    assert np.all(np.diff(limit[known]) <= 0)
    assert not known[LOADS > 1.2].any()
    assert not known[0]


def test_a_voltage_transformer_has_its_class_in_percent():
    for name in VOLTAGE_TRANSFORMER_LIMITS:
        assert voltage_transformer_limit(name) == pytest.approx(float(name) / 100)


@pytest.mark.parametrize(
    ("limit", "arguments"),
    [
        (meter_limit, ("0.7", 0.5)),
        (current_transformer_limit, ("5P20", 0.5)),
        (voltage_transformer_limit, ("0.5S",)),
    ],
)
def test_an_unknown_class_is_refused(limit, arguments):
    with pytest.raises(OutOfDomain, match="must be one of"):
        limit(*arguments)
