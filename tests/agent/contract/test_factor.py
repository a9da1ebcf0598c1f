"""Factors: chosen by rule set, place and day; never by being the latest."""

from datetime import date
from decimal import Decimal

import pytest
from pydantic import ValidationError

import joulemark_profiles
from joulemark_agent.contract.document import parse_yaml, validate
from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.factor import Factor, FactorSet


@pytest.mark.parametrize("name", joulemark_profiles.names("factors"))
def test_every_shipped_factor_states_its_source(name):
    factors = validate(FactorSet, parse_yaml(joulemark_profiles.text("factors", name), name))

    assert factors.factor_set == name
    assert all(f.source and f.published for f in factors.factors)


def korea():
    return validate(FactorSet, parse_yaml(joulemark_profiles.text("factors", "korea"), "korea"))


def test_the_day_of_activity_decides():
    def chosen(day):
        return korea().choose(rule_set="ESG", jurisdiction="KR", day=day).factor_kg_per_kwh

    assert chosen(date(2023, 12, 31)) == Decimal("0.4173")
    assert chosen(date(2018, 7, 1)) == Decimal("0.4781")


@pytest.mark.parametrize(
    ("rule_set", "place", "day"),
    [("KETS", "KR", date(2018, 7, 1)), ("ESG", "DE", date(2018, 7, 1)),
     ("ESG", "KR", date(2024, 1, 1)), ("ESG", "KR", date(2016, 12, 31))],
)  # fmt: skip
def test_no_factor_is_better_than_a_wrong_one(rule_set, place, day):
    with pytest.raises(MeasureError) as refusal:
        korea().choose(rule_set=rule_set, jurisdiction=place, day=day)

    assert refusal.value.code == "no_factor"


def test_two_factors_for_one_day_are_refused():
    doubled = FactorSet(factor_set="x", factors=(*korea().factors, *korea().factors))

    with pytest.raises(MeasureError) as refusal:
        doubled.choose(rule_set="ESG", jurisdiction="KR", day=date(2018, 7, 1))

    assert refusal.value.code == "ambiguous_factor"


def test_a_factor_must_end_after_it_begins():
    good = korea().factors[0].model_dump()

    with pytest.raises(ValidationError, match="valid_to"):
        Factor.model_validate({**good, "valid_to": good["valid_from"]})
