"""Profiles: what makes no sense is refused when it is read."""

from decimal import Decimal

import pytest
from pydantic import ValidationError

from joulemark_agent.contract.profile import Point, Profile
from joulemark_agent.contract.quantities import unit_of

POINT = {"name": "energy_wh", "table": "holding", "address": 0, "type": "uint32", "counter": True}
PROFILE = {
    "model": "m",
    "kind": "power_meter",
    "protocol": "modbus",
    "source": "a manual, page 7",
    "confidence": "manual",
    "points": [POINT],
    "golden": [{"point": "energy_wh", "words": [0, 1], "value": 1}],
}


@pytest.mark.parametrize(
    ("name", "unit"),
    [("power_w", "W"), ("energy_wh", "Wh"), ("flow_m3_s", "m3/s"), ("air_m3", "m3"),
     ("power", None), ("", None), ("x y_w", None), ("_w", None)],
)  # fmt: skip
def test_the_end_of_a_name_tells_its_unit(name, unit):
    assert unit_of(name) == unit


def test_a_scale_is_exact():
    point = Point.model_validate({**POINT, "counter": False, "scale": "0.1"})

    assert point.scale == Decimal("0.1")
    with pytest.raises(ValidationError, match="binary float"):
        Point.model_validate({**POINT, "counter": False, "scale": 0.1})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": "energy"}, "unit"),
        ({"type": "float32"}, "counter"),
        ({"scale": "0.5"}, "counter"),
        ({"address": 65535}, "beyond"),
        ({"address": -1}, "greater"),
        ({"colour": "red"}, "not permitted"),
        ({"counter": False, "scale": "x"}, "decimal"),
    ],
)
def test_a_point_that_makes_no_sense_is_refused(change, why):
    with pytest.raises(ValidationError, match=why):
        Point.model_validate({**POINT, **change})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"points": [POINT, POINT]}, "share a name"),
        ({"golden": [{"point": "x_w", "words": [0, 1], "value": 1}]}, "no points"),
        ({"golden": [{"point": "energy_wh", "words": [1], "value": 1}]}, "golden words"),
        ({"golden": []}, "at least 1"),
        ({"points": []}, "at least 1"),
        ({"rules": [{"rule": "all_zero", "result": "missing", "counters": ["x_wh"]}]}, "no points"),
        ({"source": "x"}, "at least 10"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(change, why):
    assert Profile.model_validate(PROFILE)
    with pytest.raises(ValidationError, match=why):
        Profile.model_validate({**PROFILE, **change})
