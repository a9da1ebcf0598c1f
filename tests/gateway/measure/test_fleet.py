"""Many meters at once give what each of them alone gives, to the last bit."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure import Baseline, Plan, avoided_energy, fleet
from joulemark_gateway.measure.families import Automatic, Mean, Temperature, TimeOfWeek
from joulemark_gateway.measure.fleet import Meter, Span, measure_many
from support.fleets import BEFORE, building, meter_of
from support.plants import DAY_US, FIRST_US

ROOT = Path(__file__).parents[3]
METERS = [meter_of(f"meter-{seed}", building(seed)) for seed in range(16)]


def plan(**more):
    return Plan("caltrack-daily-2.0", "lower-bound-one-sided-95", **more)


def alone(meter, asked):
    saving = avoided_energy(Baseline.fit(meter.baseline, asked), meter.reporting)
    return text(saving.document())


def text(document):
    """Every bit of every figure: the shortest decimal of a float is its own."""
    return json.dumps(document, allow_nan=False)


@pytest.mark.parametrize(
    "family",
    [
        Temperature(),
        Temperature(rule="adjusted-r2"),
        Temperature(kinds=("1p", "2p", "4p")),
        Automatic(),
        Mean(),
        TimeOfWeek(),
        TimeOfWeek(blend="by-distance"),
    ],
    ids=str,
)
def test_every_figure_is_the_one_of_the_meter_alone(family):
    asked = plan(model=family)
    meters = METERS if isinstance(family, Temperature) else METERS[:4]
    found = measure_many(meters, asked)
    assert [one.name for one in found] == [meter.name for meter in meters]
    assert [text(one.document) for one in found] == [alone(meter, asked) for meter in meters]
    assert all(one.value_wh is not None for one in found)


def test_the_fleet_has_meters_of_many_kinds_and_savings():
    found = measure_many(METERS, plan(model=Temperature()))
    assert len({one.document["method"] for one in found}) >= 4
    assert all((one.half_width_wh or 0) > 0 for one in found)


def test_neither_order_nor_company_changes_a_result():
    asked = plan(model=Temperature())
    forward = {one.name: text(one.document) for one in measure_many(METERS, asked)}
    backward = measure_many(METERS[::-1], asked)
    assert {one.name: text(one.document) for one in backward} == forward
    assert [text(one.document) for one in measure_many(METERS[3:4], asked)] == [
        forward[METERS[3].name]
    ]


def spoilt(meter, kind):
    before, after = meter.baseline, meter.reporting
    blank = np.full(before.n, np.nan)
    changed = {
        "no energy": (replace(before, energy_wh=blank), after),
        "nothing counted": (replace(before, energy_wh=np.zeros(before.n)), after),
        "no unit": (before.where(before.position < 0), after),
        "one unit": (before.where(before.position < 1), after),
        "no driver": (replace(before, drivers={}), after),
        "stamps turned round": (replace(before, start_us=before.start_us[::-1].copy()), after),
        "columns of two lengths": (replace(before, energy_wh=before.energy_wh[:-1]), after),
        "too large": (replace(before, energy_wh=before.energy_wh * 1e200), after),
        "words for numbers": (replace(before, energy_wh=before.energy_wh.astype(str)), after),
        "no later driver": (before, replace(after, drivers={})),
        "no later unit": (before, after.where(after.position < 0)),
        "too short": (before.where(before.position < 100), after),
        "the same twice": (before, replace(after, start_us=np.repeat(after.start_us[:1], after.n))),
    }
    return Meter(kind, *changed[kind])


KINDS = {
    "no energy": "too_few_units",
    "nothing counted": "too_few_units",
    "no unit": "too_few_units",
    "one unit": "no_change_point",
    "no driver": "missing_driver",
    "stamps turned round": "stamps_out_of_order",
    "columns of two lengths": "ragged_columns",
    "too large": "value_too_large",
    "words for numbers": "bad_value",
    "no later driver": "missing_driver",
    "no later unit": "no_reporting_units",
    "too short": "wrong_baseline_length",
    "the same twice": "duplicate_stamp",
}


def test_bad_meters_get_their_refusal_and_the_others_their_saving():
    asked = plan(model=Temperature())
    bad = [spoilt(METERS[k % 16], kind) for k, kind in enumerate(KINDS)]
    mixed = [one for pair in zip(METERS, bad, strict=False) for one in pair]
    found = {one.name: one for one in measure_many(mixed, asked)}
    for meter in METERS[: len(bad)]:
        assert text(found[meter.name].document) == alone(meter, asked)
    for kind, code in KINDS.items():
        assert code in found[kind].refused_by, (kind, found[kind].refused_by)
        assert found[kind].figures is None
        assert found[kind].value_wh is None
        assert found[kind].half_width_wh is None
        assert found[kind].document["disqualified"]
        assert text(found[kind].document)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_is_the_one_of_the_meter_alone(kind):
    asked, meter = plan(model=Temperature()), spoilt(METERS[1], kind)
    (found,) = measure_many([meter], asked)
    told = refused_alone(meter, asked)
    if isinstance(told, MeasureError):
        assert found.refused_by == (told.code,)
        assert found.document["findings"][0]["rule"] == told.what
    else:
        assert text(found.document) == told


def refused_alone(meter, asked):
    try:
        return alone(meter, asked)
    except MeasureError as error:
        return error


def test_automatic_takes_the_family_of_each_meter():
    dry = replace(METERS[0].baseline, drivers={}), replace(METERS[0].reporting, drivers={})
    long = replace(METERS[1].baseline, length_us=np.full(BEFORE, 30 * DAY_US))
    meters = [METERS[0], Meter("dry", *dry), Meter("bills", long, METERS[1].reporting)]
    first, second, third = measure_many(meters, plan(model=Automatic()))
    assert first.document == measure_many(meters[:1], plan(model=Temperature()))[0].document
    assert second.document["method"] == "avoided-energy/mean-1p"
    assert "no_degree_days" in third.refused_by


def test_one_series_is_cut_by_two_spans_of_whole_units():
    data = building(1)
    end_us = FIRST_US + BEFORE * DAY_US
    first, second = Span(FIRST_US, end_us + 1), Span(end_us, end_us + 365 * DAY_US)
    meter = Meter.cut("one", data, first, second)
    assert (meter.baseline.n, meter.reporting.n) == (BEFORE, 365)
    asked = plan(model=Temperature())
    (found,) = measure_many([meter], asked)
    assert text(found.document) == alone(METERS[1], asked)


def test_more_meters_than_a_batch_holds_and_none_at_all(monkeypatch):
    monkeypatch.setattr(fleet, "BATCH", 3)
    asked = plan(model=Temperature())
    found = measure_many(METERS[:7], asked)
    assert [text(one.document) for one in found] == [alone(meter, asked) for meter in METERS[:7]]
    assert measure_many([], asked) == []


@pytest.mark.endurance
def test_compiled_and_plain_runs_agree_to_the_last_bit():
    code = (
        "from joulemark_gateway.measure import Plan\n"
        "from joulemark_gateway.measure.families import Temperature, TimeOfWeek\n"
        "from joulemark_gateway.measure.fleet import measure_many\n"
        "from support.fleets import building, meter_of\n"
        "meters = [meter_of(str(k), building(k)) for k in range(2)]\n"
        "for family in (Temperature(), TimeOfWeek()):\n"
        "    plan = Plan('caltrack-daily-2.0', 'lower-bound-one-sided-95', model=family)\n"
        "    print([one.document for one in measure_many(meters, plan)])\n"
    )
    roots = ("agent", "gateway", "configs", "tests")
    path = os.pathsep.join(str(ROOT / part) for part in roots)
    printed = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "NUMBA_DISABLE_JIT": disable, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for disable in ("0", "1")
    ]
    assert "total_wh" in printed[0]
    assert printed[1] == printed[0]
