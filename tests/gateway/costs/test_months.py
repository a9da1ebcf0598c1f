"""The cost of a site by month, over real evidence and a real series; on the API and on pages."""

from dataclasses import replace
from datetime import date
from fractions import Fraction
from types import SimpleNamespace

import pytest
import pytest_asyncio

from joulemark_gateway.alerts.rules import Facts, conditions
from joulemark_gateway.alerts.settings import RuleSettings
from joulemark_gateway.api import answers
from joulemark_gateway.costs.files import SiteTariffs
from joulemark_gateway.costs.forecast import Level, Standing
from joulemark_gateway.costs.months import CostBook, month_cost
from joulemark_gateway.costs.settings import PeakWarning
from joulemark_gateway.costs.watch import DemandBoard, DemandWatch
from joulemark_gateway.web.application import application
from support import pages
from support.evidence import METER, SITE
from support.pages import COMPRESSOR
from support.tariffs import banded, flat, made

JANUARY = (2018, 1)
URL = f"/api/v1/sites/{SITE}/costs"


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return pages.fill(tmp_path_factory.mktemp("costs") / "state", days=4)


def book_of(*tariffs, contract_kw=None, warning=None):
    return CostBook({SITE: SiteTariffs(SITE, tuple(map(made, tariffs)), contract_kw, warning)})


@pytest.fixture(scope="module")
def read(state):
    with state.sources() as sources, answers.opened(sources) as found:
        yield found


def month_of(read, book, month=JANUARY):
    place = read.site(SITE)
    return month_cost(book, read.reader, place, month, read.shown(place).now_us)


def test_a_flat_price_times_the_energy_of_the_days(read):
    found = month_of(read, book_of(flat("100")))
    days = answers.days(read, SITE, [METER], date(2018, 1, 1), date(2018, 1, 5))
    assert days is not None
    assert found.cost.total == Fraction(int(days.devices[0].total_wh or 0), 10)
    assert sum(day.milliwatt_h for day in found.days) == found.cost.milliwatt_h
    assert found.is_metered
    assert found.devices == (METER,)
    assert found.cost.unknown_us > 0  # the hole and the gap of the state
    assert found.cost.is_lower_bound
    assert not found.has_ended


def test_a_month_of_two_tariffs_is_priced_by_the_days_of_each(read):
    first = flat("100", valid_to="2018-01-02", tariff="one")
    second = flat("200", valid_from="2018-01-03", tariff="two")
    found = month_of(read, book_of(first, second))
    cheap, dear = (month_of(read, book_of(flat(price))) for price in ("100", "200"))
    amounts = [day.cost for day in cheap.days[:2]] + [day.cost for day in dear.days[2:4]]
    assert found.cost.line("energy") == sum(amounts)
    assert [tariff.tariff for tariff in found.tariffs] == ["one", "two"]


def test_the_demand_of_days_before_a_tariff_without_one_is_charged(read):
    charge = {"price_per_kw": "31000", "months_back": 1}
    first = flat(valid_to="2018-01-02", tariff="one", demand=charge)
    second = flat(valid_from="2018-01-03", tariff="two")
    whole = month_of(read, book_of(flat(demand=charge)))
    for book in (book_of(first, second), book_of(first)):
        found = month_of(read, book)
        assert found.cost.line("demand") == whole.cost.line("demand") * Fraction(2, 31)
        assert found.cost.demand.unknown_months == ((2017, 12),)


def test_days_without_a_tariff_are_told(read):
    found = month_of(read, book_of(flat(valid_from="2018-01-03")))
    assert found.days_without_tariff == 2
    nothing = month_of(read, book_of(flat(valid_from="2019-01-01")))
    assert nothing.cost is None


def test_a_month_of_which_nothing_is_known_has_no_cost(read):
    found = month_of(read, book_of(flat(valid_from="2017-01-01")), (2017, 11))
    assert found.cost.total is None


def test_machines_have_their_part_and_the_meter_is_not_one(read):
    found = month_of(read, book_of(banded()))
    assert [share.device for share in found.shares] == [COMPRESSOR]
    assert 0 < found.shares[0].cost < found.cost.line("energy") * 10


def watched(read, warning, tariff=None, turns=(1.0,)):
    book, board = (
        book_of(tariff or flat(demand={"price_per_kw": "1"}), warning=warning),
        DemandBoard(),
    )
    watch, place = DemandWatch(book, board), read.site(SITE)
    now_us = read.shown(place).now_us
    begin_us = now_us - 86_400_000_000
    raised = []
    for turn in turns:
        at_us = begin_us + int(turn * 86_400_000_000)
        raised += watch.turn(until(read.reader, at_us), place, at_us, now_us)
    return raised, board.get(SITE)


def until(reader, end_us):
    """The series as it was: without what came later."""

    def extent(site, device):
        first, last = reader.extent(site, device)
        return first, min(last, end_us)

    def amounts(site, device, point, start_us, last_us):
        rows = reader.amounts(site, device, point, start_us, min(last_us, end_us))
        keep = rows.end_us <= end_us
        return type(rows)(**{name: column[keep] for name, column in vars(rows).items()})

    return SimpleNamespace(
        extent=extent, begun_us=reader.begun_us, amounts=amounts, samples=reader.samples
    )


def test_without_a_warning_in_the_file_nobody_is_warned(read):
    raised, now = watched(read, None)
    assert (raised, now.warnings) == ([], ())
    assert now.newest is not None
    rule = RuleSettings(rule="peak_demand", tell=("ops",))
    up = replace(now.newest, standing=Standing(Level.WARNED, 0, 0))
    facts = Facts(1, {"peak_demand"}, demands={SITE: replace(now, newest=up)})
    assert conditions(rule, facts, lambda _: False) == []


def test_demand_is_watched_in_the_time_of_the_slots(read):
    raised, now = watched(read, PeakWarning(limit="fixed", limit_kw=40))
    assert now.warnings
    assert {row.level for row in now.warnings} <= {Level.WARNED, Level.PASSED}
    assert all(row.forecast_w > 40_000 for row in now.warnings)
    assert now.newest.limit_w == 40_000
    times = [row.at_us for row in now.warnings]
    assert times == sorted(times, reverse=True)
    assert all(row in now.warnings for row in raised), "what is raised is fresh"
    assert len(raised) < len(now.warnings)


@pytest.mark.endurance
@pytest.mark.parametrize("limit", ["fixed", "billing"])
def test_the_same_is_found_in_one_turn_and_in_many(read, limit):
    warning = PeakWarning(limit=limit, limit_kw=40 if limit == "fixed" else None)
    _, one = watched(read, warning)
    _, many = watched(read, warning, turns=[k / 8 for k in range(1, 9)])
    _, after = watched(read, warning, turns=(0.5, 0.5, 1.0))
    told = [(row.at_us, row.level, row.limit_w) for row in one.warnings]
    assert told
    for other in (many, after):
        assert [(row.at_us, row.level, row.limit_w) for row in other.warnings][: len(told)] == told
    assert one.newest == many.newest == after.newest


def test_a_tariff_that_has_ended_is_watched_no_more(read):
    ends = flat(demand={"price_per_kw": "1"}, valid_to="2018-01-03")
    _, now = watched(read, None, ends, turns=(-0.1,))
    assert now is not None
    _, now = watched(read, None, ends, turns=(-0.1, 1.0))
    assert now is None


def test_nothing_is_warned_of_where_nobody_asked(read):
    raised, now = watched(read, None)
    assert (raised, now is None) == ([], False)


@pytest.fixture(scope="module")
def served(state):
    warning = PeakWarning(limit="contract", limit_ratio=0.4)
    book, board = book_of(banded(), contract_kw=100, warning=warning), DemandBoard()
    with state.sources(costs=book, demands=board) as sources:
        with answers.opened(sources) as found:
            place = found.site(SITE)
            now_us = found.shown(place).now_us
            assert now_us is not None
            DemandWatch(book, board).turn(found.reader, place, now_us, now_us)
        yield sources, application(sources, pages.gate(state.folder))


@pytest_asyncio.fixture
async def client(served):
    async with pages.asking(*served) as asked:
        yield asked


async def test_the_api_tells_cost_and_what_is_not_known(client):
    answer = await client.get(URL)
    assert answer.status_code == 200
    [month] = answer.json()["months"]
    assert month["month"] == "2018-01"
    assert month["is_lower_bound"]
    assert 0 < month["unknown_ratio"] < 0.1
    assert [line["name"] for line in month["lines"]] == [
        "energy", "demand", "fixed", "climate", "vat",
    ]  # fmt: skip
    assert month["demand"]["unknown_months"]
    total = sum(int(line["amount"]) for line in month["lines"])
    assert abs(int(month["total"]) - total) <= 3
    three = (await client.get(URL, params={"month": "2018-01", "months": 3})).json()["months"]
    assert [row["month"] for row in three] == ["2018-01", "2017-12", "2017-11"]
    assert three[1]["total"] is None


async def test_the_api_tells_the_demand(client):
    found = (await client.get(f"/api/v1/sites/{SITE}/demand")).json()
    assert found["limit_w"] == 40_000
    assert found["running"]["forecast_w"] > 0


@pytest.mark.parametrize("month", ["2018-13", "18-01", "2018-1", "٢٠١٨-01"])
async def test_a_month_is_written_in_one_way(client, month):
    assert (await client.get(URL, params={"month": month})).status_code == 422


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("name", ["costs", "demand"])
async def test_the_pages_stand_in_both_languages(client, name, language):
    answer = await client.get(f"/sites/{SITE}/{name}", params={"lang": language})
    assert answer.status_code == 200
    assert ("비용" in answer.text) == (language == "ko")
    site = await client.get(f"/sites/{SITE}", params={"lang": language})
    assert f'href="/sites/{SITE}/costs"' in site.text


async def test_a_site_without_tariff_says_what_to_do(state):
    with state.sources() as sources:
        async with pages.asking(sources) as asked:
            answer = await asked.get(URL)
            assert answer.status_code == 404
            assert answer.json()["code"] == "no_tariff"
            page = await asked.get(f"/sites/{SITE}/costs")
            assert page.status_code == 404
            assert "costs" in page.text
