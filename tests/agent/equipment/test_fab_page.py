"""The sections that docs/fab_utilities.md shows are taken by the models it names."""

import re
from pathlib import Path

import pytest

from joulemark_agent.contract.document import parse_yaml, plain
from joulemark_agent.equipment import parameters_of
from joulemark_agent.process_gases import with_tables

PAGE = (Path(__file__).parents[3] / "docs/fab_utilities.md").read_text("utf-8")
SECTIONS = dict(
    re.findall(r"^## [^\n]*\(`(\w+)`\)\n+```yaml\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
)


def test_the_page_shows_each_kind_once():
    assert set(SECTIONS) == {"chiller", "vacuum_pump", "scrubber", "process_tool"}


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_section_of_the_page_is_taken(kind):
    section = parse_yaml(SECTIONS[kind], "page").mapping["equipment"]
    assert parameters_of(kind, plain(with_tables(section))) is not None
