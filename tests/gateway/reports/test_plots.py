"""Plots are drawn from printed figures and stay inside their frame."""

import copy
import re

import pytest

from joulemark_agent.contract.document import document_bytes
from joulemark_gateway.reports import plots
from support.bundles import Recipe, true_report
from support.plant import plan_mapping
from support.present import present

PLOTS = [plots.energy_on_driver, plots.energy_over_time, plots.cumulative, plots.calendar]


@pytest.mark.parametrize("plot", PLOTS)
def test_all_ink_lies_inside_the_frame(plot):
    svg = plot(true_report().report)
    width, height = map(float, present(re.search(r'viewBox="0 0 (\S+) (\S+)"', svg)).groups())
    for name in ("x", "cx"):
        assert all(0 <= float(x) <= width for x in re.findall(rf' {name}="([\d.-]+)"', svg))
    for name in ("y", "cy"):
        assert all(0 <= float(y) <= height for y in re.findall(rf' {name}="([\d.-]+)"', svg))
    for path in re.findall(r' d="(M[^"]*)"', svg):
        for x, y in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path):
            assert 0 <= float(x) <= width
            assert -40 <= float(y) <= height


def test_each_measured_day_is_a_dot_and_masked_days_are_none():
    svg = plots.energy_on_driver(true_report().report)
    assert svg.count('class="dot baseline"') == 65
    assert svg.count('class="dot reporting"') == 29


def test_the_calendar_has_a_cell_for_every_day_in_its_state():
    svg = plots.calendar(true_report().report)
    assert svg.count('class="day measured"') == 94
    assert svg.count('class="day missing out"') == 1
    assert svg.count('class="day estimated out"') == 1
    assert "<title>2018-01-21: 87.5000 % measured, left out</title>" in svg


def test_a_calendar_over_two_years_has_two_blocks_and_the_worst_hour_gives_the_day():
    report = {
        "series": {
            "label": ["2018-12-31T22:00", "2018-12-31T23:00", "2019-01-01T00:00"],
            "state": ["measured", "missing", "measured"],
            "kept": [True, False, True],
            "covered_percent": ["100.0000", "0.0000", "100.0000"],
        }
    }
    svg = plots.calendar(report)
    assert svg.count("<rect") == 2
    assert ">2018</text>" in svg
    assert ">2019</text>" in svg
    assert "2018-12-31: 0.0000 % measured, left out" in svg


def test_without_a_driver_or_a_saving_there_is_nothing_to_draw():
    report = Recipe(plan=document_bytes(plan_mapping(drivers=[]))).report().report
    assert plots.energy_on_driver(report) == ""
    assert plots.cumulative(report) == ""
    assert "predicted" in plots.energy_over_time(report)
    assert 'd=""' in plots.energy_over_time(report), "no prediction is drawn"


def test_several_drivers_are_drawn_against_the_prediction():
    report = copy.deepcopy(true_report().report)
    report["series"]["drivers"] *= 2
    svg = plots.energy_on_driver(report)
    assert "baseline, kWh" in svg
    assert svg.count("<circle") == 94


@pytest.mark.parametrize(
    ("low", "high", "count"), [(0, 8000, 9), (0, 1, 6), (-3, 7, 6), (0, 0.003, 7)]
)
def test_ticks_are_round_and_few(low, high, count):
    ticks = plots.Axis(low, high, 0, 100).ticks()
    assert len(ticks) <= max(count, 6)
    assert ticks[0] >= low - 1e-9
    assert ticks[-1] <= high + 1e-9
