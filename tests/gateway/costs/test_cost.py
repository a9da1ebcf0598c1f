"""Cost is exact, additive, and says what it does not know."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.kernels.demand import Peak
from joulemark_gateway.costs.cost import bands_of, cost_of, printed, together
from joulemark_gateway.costs.demand import Billing, billing_demand, demands_of, months_that_count
from joulemark_gateway.costs.steps import Energies, Grid, grid_of, midnight_us, on_grid
from support.tariffs import banded, flat, made

DAY = date(2018, 1, 8)  # a Monday
QUARTER_US = 900_000_000
HOUR_US = 4 * QUARTER_US


def whole(grid, milliwatt_h):
    """Everything is known."""
    length = grid.end_us - grid.start_us
    return Energies(np.asarray(milliwatt_h, np.int64), length, length * 0, length)


def cut(grid, a, b):
    part = slice(a, b)
    return Grid(grid.start_us[part], grid.end_us[part], grid.band[part], grid.window[part])


amounts = st.lists(st.integers(0, 10**12), min_size=96, max_size=96)


@given(milli=amounts, at=st.integers(1, 95))
def test_the_cost_of_a_span_is_the_sum_of_its_parts(milli, at):
    tariff = made(banded(fixed_per_month="0", demand=None))
    grid = grid_of(tariff, DAY, DAY)
    energies = whole(grid, milli)
    of_all = cost_of(tariff, grid, energies)
    left = cost_of(tariff, cut(grid, 0, at), energies.between(0, at))
    right = cost_of(tariff, cut(grid, at, 96), energies.between(at, 96))
    joined = together([left, right])
    assert joined.total == of_all.total  # exactly: no rounding lies between
    assert joined.milliwatt_h == of_all.milliwatt_h


@given(milli=amounts, price=st.decimals(0, 10_000, places=4))
def test_a_flat_tariff_is_price_times_energy(milli, price):
    tariff = made(flat(price=price))
    grid = grid_of(tariff, DAY, DAY)
    found = cost_of(tariff, grid, whole(grid, milli))
    assert found.total == Fraction(sum(milli), 10**6) * Fraction(price)


@given(st.data())
def test_what_is_cut_at_edges_adds_up(data):
    tariff = made(flat())
    grid = grid_of(tariff, DAY, DAY)
    first_us, last_us = grid.span_us
    start_us = data.draw(st.integers(first_us, last_us - 1))
    end_us = data.draw(st.integers(start_us + 1, last_us))
    amount_wh = data.draw(st.integers(0, 10**9))
    made_ = on_grid(
        grid,
        np.array([start_us]),
        np.array([end_us]),
        np.array([amount_wh], np.float64),
        np.array([end_us - start_us]),
        np.array([0]),
        [(first_us, last_us)],
    )
    assert made_.milliwatt_h.sum() == amount_wh * 1000
    assert (made_.covered_us + made_.estimated_us).sum() == end_us - start_us
    assert (made_.covered_us + made_.estimated_us <= grid.end_us - grid.start_us).all()


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("Europe/Berlin", date(2018, 3, 25), 23), ("Europe/Berlin", date(2018, 10, 28), 25)],
)
def test_days_of_23_and_25_hours_have_all_their_hours_and_bands_by_the_clock(zone, day, hours):
    hours_ = [{"from": "00:00", "to": "03:00", "band": "night"},
              {"from": "03:00", "to": "24:00", "band": "day"}]  # fmt: skip
    schedule = {**flat()["schedules"][0], "hours": hours_}
    energy = [{"season": "year", "band": b, "price_per_kwh": p}
              for b, p in (("night", "1"), ("day", "2"))]  # fmt: skip
    tariff = made(flat(time_zone=zone, schedules=[schedule], energy=energy))
    grid = grid_of(tariff, day, day)
    assert grid.start_us.size == 4 * hours
    assert midnight_us(day + timedelta(1), tariff) - midnight_us(day, tariff) == hours * HOUR_US
    rows = {row.band: row for row in bands_of(tariff, grid, whole(grid, [1000] * (4 * hours)))}
    assert rows["night"].due_us == (hours - 21) * HOUR_US  # 2 hours or 4 before 03:00
    assert rows["day"].due_us == 21 * HOUR_US
    assert grid.window[-1] == 4 * hours - 1


def test_what_is_missing_is_told_and_never_costs_nothing():
    tariff = made(flat())
    grid = grid_of(tariff, DAY, DAY)
    length = grid.end_us - grid.start_us
    none = Energies(length * 0, length * 0, length * 0, length)
    found = cost_of(tariff, grid, none)
    assert found.total is None
    assert found.line("energy") is None
    assert found.unknown_us == 24 * HOUR_US
    half = Energies(length * 0 + 10**6, np.where(np.arange(96) < 48, length, 0), length * 0, length)
    known = cost_of(tariff, grid, half)
    assert known.is_lower_bound
    assert known.unknown_us == 12 * HOUR_US
    whole_ = cost_of(tariff, grid, whole(grid, [10**6] * 96))
    assert not whole_.is_lower_bound


def test_levies_stand_on_what_is_before_them():
    tariff = made(banded())
    grid = grid_of(tariff, DAY, DAY)
    found = cost_of(
        tariff, grid, whole(grid, [1_000_000] * 96), billing=Billing(Fraction(30), None, False)
    )
    energy = 36 * Fraction("150.25") + 60 * Fraction("50.5")
    before = energy + 30 * 8000 + 1000 + 96 * 9
    assert found.total == before + before / 10
    assert [line.name for line in found.lines] == ["energy", "demand", "fixed", "climate", "vat"]


@pytest.mark.parametrize(
    ("amount", "decimals", "text"),
    [
        (Fraction(5, 2), 0, "3"),
        (Fraction(-5, 2), 0, "-3"),
        (Fraction(1, 3), 2, "0.33"),
        (Fraction(-1, 1000), 2, "0.00"),
        (None, 0, None),
    ],
)
def test_amounts_are_rounded_half_up_and_last(amount, decimals, text):
    assert printed(amount, decimals) == text


def test_demand_is_that_of_its_bands_and_windows_that_have_passed():
    tariff = made(banded())
    grid = grid_of(tariff, DAY, DAY)
    milli = np.full(96, 1_000_000)
    milli[0], milli[40], milli[44] = 9_000_000, 5_000_000, 8_000_000  # 0 h: low; 10 h and 11 h
    energies = whole(grid, milli)
    due = energies.due_us.copy()
    due[44:], now_us = 0, int(grid.start_us[44])  # it is 11 h
    running = Energies(energies.milliwatt_h, energies.covered_us, energies.estimated_us, due)
    assert demands_of(tariff, grid, running, now_us).peak == Peak(
        20_000.0, int(grid.start_us[40]), False
    )
    unknown = Energies(milli, np.where(np.arange(96) == 40, 0, due), due * 0, due)
    found = demands_of(tariff, grid, unknown, now_us).peak
    assert (found.power_w, found.is_lower_bound) == (4_000.0, True)


def machine(grid, kw, first=0, missing=()):
    """A load from a step on; of some steps nothing is known."""
    length = grid.end_us - grid.start_us
    at = np.arange(length.size)
    due = np.where(at >= first, length, 0)
    known = np.where(np.isin(at, missing), 0, due)
    return Energies(np.where(known > 0, int(kw * 250_000), 0), known, known * 0, due)


def test_a_peak_before_a_machine_was_added_stays_the_peak():
    grid = grid_of(made(flat()), DAY, DAY)
    first, second = machine(grid, 10), machine(grid, 1, first=48)
    first.milliwatt_h[10] = 5_000_000
    found = demands_of(made(flat()), grid, first + second, int(grid.end_us[-1])).peak
    assert found == Peak(20_000.0, int(grid.start_us[10]), False)


def test_one_machine_of_many_that_is_not_known_makes_no_demand():
    grid = grid_of(made(flat()), DAY, DAY)
    total = machine(grid, 100, missing=[40])
    for _ in range(30):
        total += machine(grid, 1)
    found = demands_of(made(flat()), grid, total, int(grid.end_us[-1]))
    assert np.flatnonzero(np.isnan(found.power_w)).tolist() == [40]
    assert found.peak.is_lower_bound


def peak_of(kw):
    return Peak(kw * 1000.0, 0, is_lower_bound=False)


def ratchet():
    rule = made(banded()).demand
    assert rule is not None
    return rule


def billed_kw(rule, peaks, contract_kw):
    found = billing_demand(rule, peaks, (2018, 3), contract_kw).kw
    assert found is not None
    return found


def test_the_ratchet_holds_the_peak_of_named_months_for_a_year():
    rule = ratchet()
    assert months_that_count(rule, (2018, 3)) == [
        (2018, 2), (2018, 1), (2017, 12), (2017, 9), (2017, 8), (2017, 7),
    ]  # fmt: skip
    peaks = {month: peak_of(10) for month in months_that_count(rule, (2018, 3))}
    peaks |= {(2018, 3): peak_of(50), (2017, 8): peak_of(80.4), (2017, 6): peak_of(200)}
    found = billing_demand(rule, peaks, (2018, 3), None)
    assert (found.kw, found.month, found.is_lower_bound) == (Fraction(80), (2017, 8), False)
    by_contract = billing_demand(rule, peaks, (2018, 3), Decimal(300))
    assert by_contract.kw == 90
    assert by_contract.month is None


@given(st.lists(st.floats(0, 1000), min_size=13, max_size=13), st.floats(0, 1000))
def test_a_higher_peak_never_lowers_what_is_billed(kws, more):
    rule = ratchet()
    months = [(2018, 3), *months_that_count(rule, (2018, 3))]
    peaks = {month: peak_of(kw) for month, kw in zip(months, kws, strict=False)}
    before = billed_kw(rule, peaks, Decimal(100))
    for month in months:
        raised = {**peaks, month: peak_of(peaks[month].power_w / 1000 + more)}
        assert billed_kw(rule, raised, Decimal(100)) >= before


def test_a_month_nobody_knows_makes_the_billing_demand_a_lower_bound():
    rule = ratchet()
    found = billing_demand(rule, {(2018, 3): peak_of(50)}, (2018, 3), None)
    assert found.is_lower_bound
    assert len(found.unknown_months) == 6
    nothing = billing_demand(rule, {}, (2018, 3), None)
    assert nothing.kw is None
