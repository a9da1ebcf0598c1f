"""Every formula says where it comes from, and the page of formulas is made from that."""

import json
import math
import re
from pathlib import Path

import pytest

from joulemark_agent.physics.domain import OutOfDomain, within
from support.scripts import script

ROOT = Path(__file__).parents[3]
TABLE = script("make_formula_table")
FORMULAS = [
    pytest.param(formula, id=f"{file.stem}.{formula.function}")
    for file in TABLE.files()
    for formula in TABLE.formulas(file)
]
_ID = re.compile(r"[A-Z]\d+[a-z]?\b")
NUMBER = re.compile(r"(?<![\w.])\d+\.\d{3,}(?![\w.])")


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_formula_says_its_id_and_its_source(formula):
    assert _ID.match(formula.formula), f"{formula.function} has no line 'Formula: <id>.'"
    assert formula.source, f"{formula.function} has no line 'Source: ...'"


def test_the_page_of_formulas_is_what_its_script_makes():
    made = TABLE.page()

    assert (ROOT / "docs/formulas.md").read_text("utf-8") == made, (
        "run: python docs/scripts/make_formula_table.py"
    )


def test_no_rejected_number_is_expected_anywhere():
    """What was published and is wrong stands in one file, with the reasons, and in no test."""
    items = json.loads((ROOT / "tests/data/vectors/REJECTED.json").read_text("utf-8"))["items"]
    rejected = {number for item in items for number in NUMBER.findall(item["value"])}
    rejected -= {"35144.368"}  # named beside a rejected one as the right value

    assert len(rejected) >= 5
    for file in sorted((ROOT / "tests").rglob("*")):
        if file.suffix in {".py", ".json", ".yaml"} and file.name != "REJECTED.json":
            found = rejected & set(NUMBER.findall(file.read_text("utf-8")))
            assert not found, f"{file.relative_to(ROOT)} expects {found}"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.001, 1.001])
def test_what_lies_outside_a_range_is_refused_and_said(value):
    with pytest.raises(OutOfDomain, match=r"share is .*; it must lie from 0 to 1\.$"):
        within("share", value, 0.0, 1.0, "1")


def test_the_ends_of_a_range_lie_inside():
    assert within("share", 0.0, 0.0, 1.0, "1") == 0.0
    assert within("share", 1.0, 0.0, 1.0, "1") == 1.0
