from datetime import date

import pytest
from pydantic import ValidationError

from joulemark_agent.contract.document import document_bytes, parse_yaml, validate
from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.measure.project import Project
from support.histories import plan

TEXT = """
id: gwangyang-retrofit
title: "Day-time retrofit"
site: gwangyang
measure: {name: Retrofit, description: Day-time consumption is cut., implemented: 2018-07-01}
time_zone: Asia/Seoul
energy: {device: main-meter, point: energy_wh}
drivers:
  - {device: production-counter, point: production_kg, name: product, synthetic: true}
baseline: {from: 2018-01-01, to: 2018-07-01}
reporting: {from: 2018-07-01, to: 2019-01-01}
unit: day
production_cycle_days: 7
sufficiency_policy: iso50006-production
confidence: 0.90
creditable_policy: lower-bound-one-sided-95
factors: {set: korea, rule_set: ESG, jurisdiction: KR}
"""


def test_a_plan_reads_as_it_is_written():
    project = validate(Project, parse_yaml(TEXT, "project.yaml"))
    assert project.baseline.first == date(2018, 1, 1)
    assert project.reporting.end == date(2019, 1, 1)
    assert str(project.confidence) == "0.90"
    assert project.non_routine == ()


def test_the_plan_read_back_from_its_canonical_bytes_is_the_same_plan():
    mapping = parse_yaml(TEXT, "project.yaml").mapping
    again = parse_yaml(document_bytes(mapping).decode(), "canonical").mapping
    assert Project.model_validate(again) == Project.model_validate(mapping)


def test_a_mistake_is_named_with_its_line_and_the_choices():
    text = TEXT.replace("iso50006-production", "iso50006")
    with pytest.raises(ConfigError, match=r"project.yaml:14: .*iso50006-production"):
        validate(Project, parse_yaml(text, "project.yaml"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"baseline": {"from": "1970-03-12", "to": "1970-03-12"}}, "must be after"),
        ({"reporting": {"from": "1970-03-01", "to": "1970-05-01"}}, "implemented after"),
        ({"time_zone": "Asia/Soul"}, "time zone"),
        ({"time_zone": "../etc"}, "time zone"),
        ({"time_zone": "localtime"}, "time zone"),  # another day on another machine
        ({"time_zone": "right/Asia/Seoul"}, "time zone"),  # 27 leap seconds later
        ({"reporting": {"from": 1_798_761_600, "to": "2027-05-01"}}, "write the day as"),
        ({"reporting": {"from": "2027-01-01T00:00:00Z", "to": "2027-05-01"}}, "write the day as"),
        ({"option": "C", "boundary": " \n"}, "pattern"),
        ({"creditable_policy": "none"}, "name one of"),
        ({"confidence": 0.9}, "binary float"),
        ({"confidence": "1"}, "less than or equal to 0.999"),
        ({"confidence": "0.99999999999999999999"}, "less than or equal to 0.999"),
        ({"unit": "week"}, "'day' or 'hour'"),
        ({"energy": {"device": "production-counter", "point": "production_kg"}}, "point twice"),
        ({"id": "Pump House"}, "a-z"),
        ({"evidence": "somewhere"}, "Extra inputs"),
        ({"production_cycle_days": 0}, "greater than or equal to 1"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        plan(**changes)


@pytest.mark.parametrize("day", ["1970-03-11", "1970-03-13"])
def test_a_measure_inside_a_period_is_refused(day):
    with pytest.raises(ValidationError, match="implemented after the baseline"):
        plan(measure={"name": "m", "description": "d", "implemented": day})


def test_an_exclusion_without_evidence_is_refused():
    item = {
        "id": "fire",
        "dates": {"from": "1970-04-01", "to": "1970-04-03"},
        "cause": "fire in the hall, works closed",
        "author": "A",
        "approval": "B",
        "treatment": "exclude",
    }
    with pytest.raises(ValidationError, match="evidence_sha256"):
        plan(non_routine=[item])
    assert plan(non_routine=[{**item, "evidence_sha256": "0" * 64}]).non_routine[0].id == "fire"
