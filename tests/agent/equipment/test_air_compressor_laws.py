"""Whatever is read, a fully declared compressor gives figures or reasons, never an exception."""

import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.equipment.air_compressor import Parameters, analyse
from joulemark_agent.equipment.base import US_PER_S, Samples
from joulemark_agent.equipment.compressor_house import sequence

SECTION = {
    "pressure": "header_gauge_pressure_pa", "only_source": True, "capacity_m3_s": 0.25,
    "flow": {"point": "air_m3_s", "reference": "normal_0c"}, "rated_power_w": 85_400,
    "control": {
        "type": "load_unload", "full_load_w": 85_400, "no_load_w": 17_600, "storage_m3": 2,
        "full_load_gauge_pa": 600_000, "most_gauge_pa": 700_000,
    },
    "load_hours": {"loaded": "loaded_time_s", "loads": "loads_count"},
    "quiet": [{"start": "00:00", "end": "00:01"}], "less_pressure": {"lower_by_pa": 50_000},
    "drops": {"dryer": {"before": "header_gauge_pressure_pa", "after": "dry_gauge_pressure_pa"}},
    "heat": {"flow": "water_m3_s", "supply": "water_in_k", "back": "water_out_k"},
    "us_rule": {"drive": "fixed", "cooling": "air"},
    "metering": {"limit_ratio": "0.01"},
}  # fmt: skip
POINTS = {
    "power_w": (-1e4, 9e4), "header_gauge_pressure_pa": (-1e5, 9e5), "air_m3_s": (-0.1, 0.5),
    "loaded_time_s": (0, 1e6), "loads_count": (0, 1e5), "dry_gauge_pressure_pa": (-1e5, 9e5),
    "water_m3_s": (-0.01, 0.01), "water_in_k": (250, 400), "water_out_k": (250, 400),
}  # fmt: skip


@st.composite
def machines(draw) -> Samples:
    size = draw(st.integers(2, 40))
    steps = draw(st.lists(st.integers(0, 90), min_size=size, max_size=size).filter(any))
    values = {}
    for point, (low, high) in POINTS.items():
        if draw(st.booleans()):
            part = st.sampled_from([low, 0.0, high, math.nan]) | st.floats(low, high)
            values[point] = np.array(draw(st.lists(part, min_size=size, max_size=size)))
    return Samples(np.cumsum(steps) * US_PER_S, values, 60 * US_PER_S)


@settings(max_examples=60, deadline=None)
@given(machines(), st.sets(st.sampled_from(["flow", "control", "load_hours", "only_source"])))
def test_whatever_is_read_there_are_figures_or_reasons(samples, left_out):
    declared = {name: given for name, given in SECTION.items() if name not in left_out}
    analysis = analyse(Parameters.model_validate(declared), samples)
    names = [figure.name for figure in analysis.figures]
    assert len(names) == len(set(names))
    for figure in analysis.figures:
        assert unit_of(figure.name) is not None, figure.name
        assert (figure.value is None) == bool(figure.why), figure
        assert figure.value is None or math.isfinite(figure.value), figure
        assert figure.covered_ratio is None or -1e-9 <= figure.covered_ratio <= 1 + 1e-9, figure
        assert figure.standard_uncertainty is None or figure.standard_uncertainty >= 0, figure
    house = sequence({"one": analysis, "two": analysis})
    assert all((figure.value is None) == bool(figure.why) for figure in house.figures)


def test_the_section_that_the_documentation_shows_is_one():
    text = (Path(__file__).parents[3] / "docs/compressed_air.md").read_text("utf-8")
    shown = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])["equipment"]
    parameters = Parameters.model_validate(shown)
    assert set(shown) == parameters.model_fields_set
    assert parameters.curve() is not None


@pytest.mark.parametrize("name", SECTION)
def test_a_section_written_as_text_is_the_same_section(name):
    """Canonical bytes hold numbers as text."""

    def as_text(given):
        if isinstance(given, dict):
            return {key: as_text(one) for key, one in given.items()}
        if isinstance(given, list):
            return [as_text(one) for one in given]
        return (
            str(given) if isinstance(given, int | float) and not isinstance(given, bool) else given
        )

    needed = {"capacity_m3_s": 1, "pressure": "header_gauge_pressure_pa"}
    section = {name: SECTION[name]} | {k: v for k, v in needed.items() if k != name}
    written = Parameters.model_validate(section)
    assert Parameters.model_validate(as_text(section)) == written
