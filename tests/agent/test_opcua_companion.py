"""The models that the one for compressed air builds on load whole; it itself takes a night."""

from pathlib import Path

import pytest

from nightly import compressed_air


@pytest.mark.endurance
def test_the_models_below_load_with_nothing_skipped(plant_data: Path) -> None:
    del plant_data  # skips where there is none
    figures = compressed_air.run(1, full=False)

    assert list(figures) == ["Di", "Machinery", "IA"]
    assert not any("skipped" in figure for figure in figures.values())
