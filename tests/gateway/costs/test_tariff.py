"""A tariff file says everything once, or says with its line what is wrong."""

from datetime import date
from pathlib import Path

import pytest

from joulemark_agent.contract.document import parse_yaml
from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.costs.files import load_tariffs
from joulemark_gateway.costs.settings import CostSettings
from joulemark_gateway.costs.tariff import in_force, minute_of, tariff_of
from joulemark_gateway.sections import read_yaml
from support.tariffs import banded, flat, made

SHIPPED = sorted(Path(__file__).parents[3].joinpath("configs/tariffs").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_tariff_is_right_and_says_what_it_is(path):
    tariff = tariff_of(read_yaml(path))
    assert tariff.tariff == path.stem
    assert tariff.basis == "example", "a published tariff needs its document, table and date"


def test_an_edge_belongs_to_the_band_that_begins_there():
    tariff, monday = made(banded()), date(2018, 1, 8)
    assert [tariff.band_at(monday, minute)[1] for minute in (539, 540, 1079, 1080)] == [
        "low", "high", "high", "low",
    ]  # fmt: skip


def test_a_holiday_is_one_whichever_day_of_the_week():
    tariff = made(banded(holidays=["2018-01-08", "2018-01-13"]))
    kinds = [tariff.kind_of(date(2018, 1, day)) for day in (8, 9, 13, 14, 20)]
    assert kinds == ["holiday", "weekday", "holiday", "sunday", "saturday"]


def test_the_tariff_that_began_last_holds():
    old, new = made(flat(valid_to="2018-06-30")), made(flat(valid_from="2018-05-01"))
    assert in_force([old, new], date(2018, 4, 30)) is old
    assert in_force([old, new], date(2018, 5, 1)) is new
    assert in_force([old], date(2018, 7, 1)) is None


def without(mapping, key):
    return {name: value for name, value in mapping.items() if name != key}


HOURS = [{"from": "00:00", "to": "09:00", "band": "all"}]
WRONG = {
    "no source": without(flat(), "source"),
    "binary price": flat(price=0.1),
    "unknown key": flat(colour="red"),
    "month twice": flat(seasons=[{"name": "year", "months": [*range(1, 13), 1]}]),
    "month of none": flat(seasons=[{"name": "year", "months": list(range(1, 12))}]),
    "hole in a day": flat(schedules=[{**flat()["schedules"][0], "hours": HOURS}]),
    "day of two": flat(schedules=flat()["schedules"] * 2),
    "day of none": flat(schedules=[{**flat()["schedules"][0], "days": ["weekday"]}]),
    "no such band": flat(energy=[{"season": "year", "band": "peak", "price_per_kwh": "1"}]),
    "band twice": flat(energy=flat()["energy"] * 2),
    "levy of later": banded(levies=[{"name": "vat", "share": "0.1", "of": ["climate"]}]),
    "levy of both": banded(levies=[{"name": "a", "share": "0.1", "per_kwh": "1"}]),
    "no zone": flat(time_zone="Asia/Nowhere"),
    "ends before": flat(valid_to="2017-01-01"),
    "demand nowhere": banded(demand={"price_per_kw": "1", "bands": ["peak"]}),
}


@pytest.mark.parametrize("mapping", WRONG.values(), ids=WRONG)
def test_a_mistake_is_refused(mapping):
    with pytest.raises(ValueError, match="validation error"):
        made(mapping)


@pytest.mark.parametrize("clock", ["9:00", "24:01", "25:00", "12:60", "noon", "٠٩:00"])
def test_a_time_is_written_in_one_way(clock):
    with pytest.raises(ValueError, match="09:00"):
        minute_of(clock)


def test_a_bomb_of_aliases_is_not_read():
    with pytest.raises(ConfigError, match="aliases"):
        parse_yaml("a: &x [1]\nb: *x\n", "tariff.yaml")


def test_tariffs_of_one_site_follow_one_another(tmp_path):
    path = SHIPPED[0]
    other = tmp_path / "other.yaml"
    other.write_text(path.read_text("utf-8").replace("currency: KRW", "currency: EUR"), "utf-8")
    for files, said in (((path, other), "currency"), ((path, path), "same day")):
        with pytest.raises(ConfigError, match=said):
            load_tariffs([CostSettings(site="a", tariffs=files)])
    with pytest.raises(ConfigError, match="twice"):
        load_tariffs([CostSettings(site="a", tariffs=(path,))] * 2)
