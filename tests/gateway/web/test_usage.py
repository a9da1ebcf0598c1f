"""What was used: periods add up, demand is never guessed, and spans are compared only if known."""

from datetime import date

import numpy as np
import pytest

from joulemark_gateway.api import answers, energy, overview, plant, upkeep, usage
from support import pages
from support.evidence import COUNTER, METER, SITE
from support.pages import COMPRESSOR, STEPS_A_DAY

FIRST, LAST = date(2018, 1, 1), date(2018, 1, 4)
SPAN = (FIRST, LAST)


@pytest.fixture(scope="module")
def read(state):
    with state.sources() as sources, answers.opened(sources) as opened:
        yield opened


def days_of(read, device):
    now_us = read.shown(read.site(SITE)).now_us
    return energy.days_of(read.reader, SITE, device, SPAN, now_us)


def demand_of(read, *devices):
    found = usage.demand_of(read, SITE, devices, usage.quarters_us(read, SITE, SPAN))
    assert found is not None
    return found


def glance_of(read):
    found = overview.glance(read, read.site(SITE))
    assert found.today is not None
    assert found.month is not None
    return found, found.today, found.month


@pytest.mark.parametrize("by", ["day", "week", "month"])
@pytest.mark.parametrize("name", [METER, COMPRESSOR])
def test_periods_are_the_sums_of_their_days(read, name, by):
    device = read.device(SITE, name)
    days = days_of(read, device)
    periods = usage.periods_of(device, days.days, by)
    for field in ("energy_wh", "covered_us", "estimated_us", "missing_us"):
        assert sum(getattr(one, field) for one in periods) == pytest.approx(
            sum(getattr(one, field) for one in days.days), rel=1e-12
        )
    assert periods[0].first == FIRST
    assert periods[-1].last == LAST
    if by == "month":
        assert [one.carbon for one in periods] == [days.carbon], "summed first, rounded last"


def test_weeks_begin_on_monday(read):
    device = read.device(SITE, METER)
    now_us = read.shown(read.site(SITE)).now_us
    span = (date(2017, 12, 28), date(2018, 1, 9))
    days = energy.days_of(read.reader, SITE, device, span, now_us)
    periods = usage.periods_of(device, days.days, "week")
    assert [one.first for one in periods] == [span[0], date(2018, 1, 1), date(2018, 1, 8)]
    assert [one.last.weekday() for one in periods[:-1]] == [6, 6]


def test_demand_is_the_energy_of_each_quarter_and_holes_have_none(read):
    device = read.device(SITE, METER)
    edges_us = usage.quarters_us(read, SITE, SPAN)
    found = demand_of(read, device)
    wanted = np.array(pages.energies(4), np.float64) * 4
    steps = read.reader.amounts(SITE, METER, "energy_wh", edges_us[0], edges_us[-1])
    whole = {
        int(at_us)
        for at_us, covered_us in zip(steps.start_us, steps.covered_us, strict=True)
        if covered_us == usage.QUARTER_US
    }
    is_whole = np.array([int(at_us) in whole for at_us in found.start_us])
    assert 0 < (~is_whole).sum() < 10, "the gap and the hole"
    assert np.array_equal(np.isnan(found.power_w), ~is_whole)
    plain = is_whole & (np.abs(found.power_w - wanted) < 1e-6)
    assert (is_whole & ~plain).sum() <= 1, "what a hole counted later"


def test_a_sum_that_was_spread_over_several_slots_is_no_demand(read):
    """The naive demand states the spread sum as if it had been measured; that is not what was."""
    device = read.device(SITE, METER)
    edges_us = usage.quarters_us(read, SITE, SPAN)
    sums = energy.sums_in(read.reader, SITE, device, np.array(edges_us, np.int64))
    assert sums is not None
    is_spread = sums.estimated_us > 0
    naive_w, true_w = sums.amount * 4.0, np.array(pages.energies(4), np.float64) * 4
    assert is_spread.sum() == 4
    assert np.all(naive_w[is_spread] != true_w[is_spread])
    ours = demand_of(read, device)
    assert np.isnan(ours.power_w[is_spread]).all()
    assert ours.peaks(1) == [int(np.nanargmax(ours.power_w))]


def test_the_demand_of_several_is_known_only_where_each_is(read):
    both = [read.device(SITE, METER), read.device(SITE, COMPRESSOR)]
    edges_us = usage.quarters_us(read, SITE, SPAN)
    alone = [demand_of(read, one).power_w for one in both]
    together = demand_of(read, *both).power_w
    assert np.array_equal(np.isnan(together), np.isnan(alone[0]) | np.isnan(alone[1]))
    assert np.nanmax(np.abs(together - alone[0] - alone[1])) < 1e-9
    assert usage.demand_of(read, SITE, [read.device(SITE, COUNTER)], edges_us) is None


def test_the_usual_day_is_the_mean_of_the_hours_that_are_known(read):
    hours = usage.hours_of(read, SITE, [read.device(SITE, METER)], SPAN)
    wh = np.array(pages.energies(4), np.float64).reshape(4, 24, STEPS_A_DAY // 24).sum(axis=2)
    assert [hour.hour for hour in hours] == list(range(24))
    assert hours[0].working_days == 4
    assert hours[0].working_w == pytest.approx(wh[:, 0].mean(), rel=1e-12)
    assert hours[2].working_days == 3, "an hour with the gap is left out"
    assert {hour.weekend_w for hour in hours} == {None}, "four working days"


@pytest.mark.parametrize("name", [METER, COUNTER, COMPRESSOR])
def test_the_values_of_days_add_up_to_those_of_the_span(read, name):
    device = read.device(SITE, name)
    now_us = read.shown(read.site(SITE)).now_us
    days = upkeep.by_day(read, SITE, device, SPAN, now_us)
    span_us = answers.span_us_of(read.site(SITE), SPAN)
    assert upkeep.together(days) == energy.quality_of(read.reader, SITE, device, span_us, now_us)
    for one in days:
        values = one.values
        assert values.due == values.good + values.uncertain + values.bad + values.missing


def test_slots_of_days_have_their_causes_and_reconcile(read):
    device = read.device(SITE, METER)
    accounts, whole = upkeep.accounts_of(read, SITE, device, SPAN)
    assert [one.day for one in accounts] == [FIRST + plant.DAY * k for k in range(4)]
    assert accounts[2].slots.missing == {"timeout": 3} == upkeep.causes_of(read, SITE, device, SPAN)
    assert whole.reconciles
    assert whole.expected == 4 * STEPS_A_DAY


def test_today_is_compared_with_the_days_before_that_are_known(read):
    found, today, month = glance_of(read)
    wh = np.array(pages.energies(4), np.float64).reshape(4, -1).sum(axis=1)
    assert found.day == LAST
    assert today.energy_wh == wh[3]
    assert today.spans == 3
    assert today.change_ratio is not None
    assert month.before_wh is None, "nothing was recorded in December"
    assert month.change_ratio is None
    days = days_of(read, read.device(SITE, METER))
    assert (month.energy_wh, month.co2e_kg) == (days.total_wh, days.carbon.co2e_kg)


def test_little_known_is_not_compared():
    known = overview.Compared(90.0, 1.0, 100.0, 7)
    assert known.change_ratio == pytest.approx(-0.1)
    assert overview.Compared(90.0, 0.9, 100.0, 7).change_ratio is None
    assert overview.Compared(90.0, 1.0, None, 0).change_ratio is None
    assert overview.Compared(None, None, 100.0, 7).change_ratio is None


def test_a_late_device_needs_a_look_and_one_whose_recording_is_over_does_not(read):
    site = answers.site_now(read, read.site(SITE))
    glance, _, _ = glance_of(read)
    assert overview.attention(read, site, glance) == []
    states = ("late", "silent", "ended")
    rows = [
        row.model_copy(update={"state": state})
        for row, state in zip(site.devices, states, strict=True)
    ]
    looks = overview.attention(read, site.model_copy(update={"devices": rows}), glance)
    assert [(one.code, one.device) for one in looks] == [
        ("late", rows[0].id), ("silent", rows[1].id),
    ]  # fmt: skip
