"""The page of machines is made from the models, and names every key of every section."""

from pathlib import Path

from joulemark_agent.equipment import has_model
from support.scripts import script

ROOT = Path(__file__).parents[3]
PAGE = script("make_equipment_page")


def test_the_page_of_machines_is_what_its_script_makes():
    assert (ROOT / "docs/equipment.md").read_text("utf-8") == PAGE.page(), (
        "run: python docs/scripts/make_equipment_page.py"
    )


def test_the_page_has_every_kind_that_has_a_model():
    kinds = PAGE.kinds()
    assert {"air_compressor", "furnace", "pv_inverter"} <= set(kinds)
    assert all(has_model(kind) for kind in kinds)
