import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.equipment.base import US_PER_H, US_PER_S, Samples
from joulemark_agent.equipment.metering import Metering
from joulemark_agent.equipment.site_balance import SiteMeter, site_balance

START_US = 1_780_272_000 * US_PER_S
DAY_US = 24 * US_PER_H
GAP_US = 900 * US_PER_S
WHOLE = np.array([START_US, START_US + DAY_US], np.int64)
HOURS = START_US + np.arange(25, dtype=np.int64) * US_PER_H


def line(seconds, power) -> Samples:
    t_us = START_US + np.rint(np.asarray(seconds) * US_PER_S).astype(np.int64)
    return Samples(t_us, {"power_w": np.asarray(power, np.float64)}, GAP_US)


def meter(name, role, samples, **more) -> SiteMeter:
    return SiteMeter(name, role, samples, "power_w", **more)


def values(analysis) -> dict[str, float]:
    assert all(figure.value is not None for figure in analysis.figures if figure.why == "")
    return {figure.name: figure.value or 0.0 for figure in analysis.figures}


def day(seed, step_s=60.0):
    """A roof, a factory and its main meter, all read at the same instants."""
    rng = np.random.default_rng(seed)
    t = np.arange(0, 86_400 + step_s, step_s)
    sun = np.maximum(np.sin((t - 21_600) / 43_200 * np.pi), 0.0)
    pv = 60_000 * sun * rng.uniform(0.1, 1.0, t.size) - 20.0 * (sun <= 0)
    load = rng.uniform(5_000, 60_000, t.size)
    return t, pv, load


def exact(t, pv, load) -> dict[str, float]:
    """The integrals of straight lines, by roots of each piece; another way than the one tested."""
    sums = dict.fromkeys(
        ("generated_wh", "drawn_wh", "imported_wh", "exported_wh", "used_on_site_wh"), 0.0
    )
    for k in range(t.size - 1):
        cuts = {0.0, 1.0}
        for first, last in ((pv[k], pv[k + 1]), (load[k] - pv[k], load[k + 1] - pv[k + 1])):
            if first * last < 0:
                cuts.add(first / (first - last))
        fractions = sorted(cuts)
        for low, high in pairwise(fractions):
            middle, hours = (low + high) / 2, (high - low) * (t[k + 1] - t[k]) / 3600
            p = pv[k] + middle * (pv[k + 1] - pv[k])
            c = load[k] + middle * (load[k + 1] - load[k])
            sums["generated_wh"] += max(p, 0) * hours
            sums["drawn_wh"] += min(p, 0) * hours
            sums["imported_wh"] += max(c - p, 0) * hours
            sums["exported_wh"] += max(p - c, 0) * hours
            sums["used_on_site_wh"] += min(max(p, 0), c + max(-p, 0)) * hours
    return sums


@pytest.mark.parametrize("seed", range(3))
def test_every_part_is_the_integral_of_the_lines_split_where_they_cross(seed):
    t, pv, load = day(seed, 300.0)
    meters = (meter("roof", "pv", line(t, pv)), meter("main", "grid", line(t, load - pv)))
    found = values(site_balance(meters, WHOLE))
    for name, expected in exact(t, pv, load).items():
        assert found[name] == pytest.approx(expected, rel=1e-9), name


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([60.0, 97.0, 600.0]))
def test_use_and_export_are_the_generation_and_the_balance_closes(seed, step_s):
    t, pv, load = day(seed, step_s)
    three = (
        meter("roof", "pv", line(t, pv)),
        meter("main", "grid", line(t, load - pv)),
        meter("hall", "load", line(t, load)),
    )
    for meters in (three, three[:2], (three[0], three[2])):
        found = values(site_balance(meters, WHOLE))
        generated = found["generated_wh"]
        assert found["used_on_site_wh"] + found["exported_wh"] == pytest.approx(generated, rel=1e-9)
        consumed = found["used_on_site_wh"] + found["imported_wh"]
        assert found["consumed_wh"] == pytest.approx(consumed, rel=1e-9)
        assert abs(found["balance_wh"]) <= 1e-9 * generated
        assert 0 <= found["self_consumption_ratio"] <= 1
        assert 0 <= found["self_sufficiency_ratio"] <= 1


def test_import_and_export_do_not_cancel_inside_a_sample():
    """Four samples of a sine: netting would leave less than half of either side."""
    t = np.arange(0, 3601.0, 450.0)
    grid = 1000 * np.sin(t / 3600 * 2 * np.pi * 2 + 0.7)
    meters = (meter("main", "grid", line(t, grid)), meter("roof", "pv", line(t, np.zeros(t.size))))
    found = values(site_balance(meters, START_US + np.array([0, US_PER_H])))
    fine = np.interp(np.linspace(0, 3600, 3_600_001), t, grid)
    assert found["imported_wh"] == pytest.approx(np.maximum(fine, 0).mean(), rel=1e-6)
    assert found["exported_wh"] == pytest.approx(np.maximum(-fine, 0).mean(), rel=1e-6)


def test_the_windows_add_up_to_the_whole():
    t, pv, load = day(5, 77.0)
    meters = (meter("roof", "pv", line(t, pv)), meter("main", "grid", line(t, load - pv)))
    analysis = site_balance(meters, HOURS)
    assert len(analysis.spans_of("balance")) == 24
    for name in ("generated_wh", "drawn_wh", "imported_wh", "exported_wh", "used_on_site_wh"):
        parts = [figure for span in analysis.spans for figure in span.figures]
        summed = math.fsum(figure.value or 0.0 for figure in parts if figure.name == name)
        assert summed == pytest.approx(values(analysis)[name], rel=1e-12)
        assert summed == pytest.approx(values(site_balance(meters, WHOLE))[name], rel=1e-9)


def test_what_inverters_draw_at_night_is_consumption_and_no_negative_use():
    t = np.arange(0, 86_401.0, 600.0)
    pv, grid = np.full(t.size, -30.0), np.full(t.size, 1030.0)
    meters = (meter("roof", "pv", line(t, pv)), meter("main", "grid", line(t, grid)))
    found = site_balance(meters, WHOLE)
    amounts = values(found)
    assert amounts["drawn_wh"] == pytest.approx(-720)
    assert amounts["consumed_wh"] == pytest.approx(24_720)
    assert amounts["generated_wh"] == amounts["used_on_site_wh"] == 0.0
    assert found.figure("self_consumption_ratio").value is None
    assert amounts["self_sufficiency_ratio"] == 0.0


def test_meters_are_read_at_different_instants_and_in_different_directions():
    t = np.arange(0, 86_401.0, 60.0)
    pv, load = np.maximum(40_000 - np.abs(t - 43_200), 0.0), 20_000 + t / 10
    other = np.unique(np.concatenate([t[:-1] + 23.0, [0.0, 3200.0, 43_200.0, 83_200.0, 86_400.0]]))
    late = line(other, np.interp(other, t, pv - load))
    two = line(t, pv * 0.4), line(t, pv * 0.6)
    meters = (
        meter("east", "pv", two[0]),
        meter("west", "pv", two[1]),
        meter("main", "grid", late, is_reversed=True),
    )
    expected = exact(t, pv, load)
    found = values(site_balance(meters, WHOLE))
    assert found["generated_wh"] == pytest.approx(expected["generated_wh"], rel=1e-9)
    assert found["exported_wh"] == pytest.approx(expected["exported_wh"], rel=1e-6)


def test_time_that_one_meter_lacks_counts_for_none():
    t, pv, load = day(2, 300.0)
    pv_holed = np.where((t > 30_000) & (t < 40_000), np.nan, pv)
    meters = (meter("roof", "pv", line(t, pv_holed)), meter("main", "grid", line(t, load - pv)))
    analysis = site_balance(meters, WHOLE)
    found = values(analysis)
    assert found["used_on_site_wh"] + found["exported_wh"] == pytest.approx(found["generated_wh"])
    covered = {figure.covered_ratio for figure in analysis.figures if figure.value is not None}
    (ratio,) = covered
    assert ratio == pytest.approx(1 - 10_200 / 86_400)


def test_what_is_told_of_some_time_is_as_unsure_as_that_time():
    """The roof was read in half of the time: what the main meter knows of the rest is not told."""
    t, pv, load = day(3)
    pv[700:] = np.nan
    known = Metering(limit_ratio=0.01)
    meters = (
        meter("roof", "pv", line(t, pv), metering=known),
        meter("main", "grid", line(t, np.full(t.size, 30_000.0)), metering=known),
        meter("hall", "load", line(t, load), metering=known),
    )
    for figure in site_balance(meters, WHOLE).figures[:5]:
        assert figure.value is not None
        expected = 0.01 / math.sqrt(3) * abs(figure.value)
        assert figure.standard_uncertainty == pytest.approx(expected, rel=0.01), figure.name


def test_a_window_nobody_read_has_no_figures():
    t, pv, load = day(2, 300.0)
    meters = (meter("roof", "pv", line(t, pv)), meter("main", "grid", line(t, load - pv)))
    later = site_balance(meters, WHOLE + 5 * DAY_US)
    assert all(figure.value is None and figure.why for figure in later.figures)
    nothing = meter("hall", "load", replace(line(t, load), values={}))
    assert all(f.value is None for f in site_balance((*meters, nothing), WHOLE).figures)


LIMIT = Metering(limit_ratio=0.01)


def test_a_balance_that_does_not_close_is_told_and_not_closed():
    t, pv, load = day(4)
    roof = meter("roof", "pv", line(t, pv), metering=LIMIT)
    main = meter("main", "grid", line(t, load - pv), metering=LIMIT)
    right = meter("hall", "load", line(t, load * 1.004), metering=LIMIT)
    wrong = meter("hall", "load", line(t, load * 0.8), metering=LIMIT)
    assert not site_balance((roof, main, right), WHOLE).findings
    analysis = site_balance((roof, main, wrong), WHOLE)
    (finding,) = analysis.findings
    assert finding.code == "balance_open"
    figure = analysis.figure("balance_wh")
    u = figure.standard_uncertainty
    assert figure.value is not None
    assert u is not None
    assert figure.value > 2 * u
    expected = (
        0.01
        / math.sqrt(3)
        * np.sqrt(
            sum(
                x**2
                for x in (
                    pv[:-1].sum() / 60,
                    np.abs(load - pv)[:-1].sum() / 60,
                    0.8 * load[:-1].sum() / 60,
                )
            )
        )
    )
    assert u == pytest.approx(expected, rel=1e-3)
    unknown = replace(main, metering=None)
    silent = site_balance((roof, unknown, wrong), WHOLE)
    assert silent.figure("balance_wh").standard_uncertainty is None
    assert not silent.findings, "what may be wrong by how much is not known"
    assert silent.figure("generated_wh").standard_uncertainty is not None


def test_what_follows_from_other_meters_is_marked():
    t, pv, load = day(6, 300.0)
    roof, main = meter("roof", "pv", line(t, pv)), meter("main", "grid", line(t, load - pv))
    analysis = site_balance((roof, main), WHOLE)
    assert analysis.figure("consumed_wh").flags == ("derived",)
    assert analysis.figure("imported_wh").flags == ()
    assert "nothing to check" in analysis.figure("balance_wh").why
    hall = meter("hall", "load", line(t, load))
    assert site_balance((roof, hall), WHOLE).figure("exported_wh").flags == ("derived",)


def test_one_kind_of_meter_is_no_balance():
    t, pv, _ = day(6, 300.0)
    for role in ("pv", "grid"):
        analysis = site_balance((meter("m", role, line(t, pv)),), WHOLE)
        assert all(figure.value is None for figure in analysis.figures)
        assert "main meter or the consumers" in analysis.figures[0].why


@pytest.mark.parametrize("is_reversed", [False, True])
def test_an_inverter_whose_meter_counts_what_is_drawn_is_told(is_reversed):
    t, pv, load = day(1)
    turned = meter("roof", "pv", line(t, -pv), is_reversed=is_reversed)
    found = site_balance([turned, meter("main", "grid", line(t, load - pv))], WHOLE)
    codes = [finding.code for finding in found.findings]
    assert codes == ([] if is_reversed else ["generation_negative"])
    night = site_balance([turned, meter("main", "grid", line(t, load - pv))], HOURS[:3])
    assert not night.findings, "less than a day may be all dark"
