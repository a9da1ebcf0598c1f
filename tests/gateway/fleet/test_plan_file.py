"""The plan of a fleet, and what is said of one with mistakes."""

import pytest

from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.fleet.plan_file import load_plan
from joulemark_gateway.measure.families import Temperature
from support.fleets import PLAN
from support.plants import DAY_US, FIRST_US


def test_a_plan_says_what_is_asked_of_every_meter(plan_file):
    found = load_plan(plan_file)
    assert found.plan.model == Temperature()
    assert found.plan.confidence == 0.9
    assert (found.drivers, found.unit_us, found.zone.key) == (("temperature_c",), DAY_US, "UTC")
    assert (found.baseline.start_us, found.baseline.end_us) == (FIRST_US, FIRST_US + 365 * DAY_US)
    assert found.reporting.start_us == found.baseline.end_us


def test_days_begin_at_local_midnight(plan_file):
    plan_file.write_text(PLAN.replace("UTC", "Asia/Seoul"))
    assert load_plan(plan_file).baseline.start_us == FIRST_US - 9 * DAY_US // 24


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("UTC", "Mars/Olympus", "plan.yaml:2: time_zone: name a time zone like Asia/Seoul"),
        ("unit: day", "unit: fortnight", "unit"),
        ("model: temperature", "model: oracle", "'automatic', 'mean', 'temperature'"),
        ("model: temperature", "modle: temperature", "modle"),
        ("caltrack-daily-2.0", "none", "There is no policy 'none'"),
        ("to: 2024-12-31", "to: 2023-12-31", "must be after 'from'"),
        ("[temperature_c]", "[temperature_c, temperature_c]", "each driver once"),
        ("[temperature_c]", "&a [*a]", "anchors and aliases are not read"),
        ("unit: day", "unit: day\nconfidence: 0.4", "confidence"),
        ("unit: day", "unit: [day", "plan.yaml"),
    ],
)
def test_a_mistake_is_told_with_what_would_do(plan_file, old, new, told):
    plan_file.write_text(PLAN.replace(old, new))
    with pytest.raises(ConfigError) as refused:
        load_plan(plan_file)
    assert told in str(refused.value)


def test_a_plan_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_plan(tmp_path / "none.yaml")
