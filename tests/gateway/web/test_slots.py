"""Slots expected, received and missing, for any hour: by address and by command."""

import json
from itertools import pairwise

import pytest

from joulemark_gateway import slots_command
from joulemark_gateway.api.slots import HOUR_US, windows_of
from support import pages
from support.collector_command import collector
from support.evidence import (
    METER,
    PERIOD_US,
    SITE,
    START_US,
)
from support.pages import DAY_US, PLACE

GAP_US = START_US + (pages.STEPS_A_DAY * 2 + 10) * PERIOD_US  # of three slots
_STEP = 4  # slots an hour


def utc(at_us: int) -> str:
    return slots_command._utc(at_us).replace(" ", "T").replace("Z", ":00Z")


async def asked(client, place=PLACE, **query):
    words = {"from": utc(START_US), "to": utc(START_US + 4 * DAY_US)} | query
    answer = await client.get(f"/api/v1{place}/slots", params=words)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_every_hour_of_four_days_reconciles(client):
    found = await asked(client)
    assert len(found["windows"]) == 4 * 24
    for window in found["windows"]:
        assert window["reconciles"]
        assert window["expected"] == window["received"] + sum(window["missing"].values()) == _STEP
    total = found["total"]
    assert (total["expected"], total["received"], total["missing"]) == (384, 381, {"timeout": 3})
    assert total["unaccounted"] == total["outstanding"] == total["twice"] == 0
    for codes in total["points"].values():
        assert sum(codes.values()) == 381


async def test_a_gap_is_counted_in_the_hours_it_reaches_into(client):
    first_us = GAP_US + PERIOD_US  # in the middle of the gap
    found = await asked(
        client, **{"from": utc(first_us), "to": utc(first_us + 3600 * 1_000_000)}, step_s=900
    )
    assert [window["missing"] for window in found["windows"]] == [{"timeout": 1}] * 2 + [{}] * 2
    assert [window["received"] for window in found["windows"]] == [0, 0, 1, 1]


async def test_a_span_too_long_and_windows_too_many_are_refused(client):
    words = {"from": "1999-01-01T00:00:00Z", "to": "2018-01-03T00:00:00Z"}
    for step_s in (3600, 10**9):
        answer = await client.get(f"/api/v1{PLACE}/slots", params={**words, "step_s": step_s})
        assert answer.status_code == 422
        assert answer.json()["code"] == "span_too_long"


@pytest.mark.parametrize("step_us", [HOUR_US, 24 * HOUR_US, 7])
def test_windows_cover_the_span_once(step_us):
    windows = windows_of((3, 3 + 5 * step_us), step_us)
    assert windows[0][0] == 3
    assert windows[-1][1] == 3 + 5 * step_us
    assert all(before[1] == after[0] for before, after in pairwise(windows))


def test_the_command_says_the_same_in_words_and_as_json(state, capsys):
    span = ("--from", utc(START_US), "--to", utc(START_US + 4 * DAY_US), "--device", METER)
    assert collector(state.folder, "slots", *span, "--by", "day", "--points") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{SITE}/{METER}\n")
    assert "expected 384, received 381, timeout 3" in said
    assert "energy_wh: good 381" in said
    assert collector(state.folder, "slots", *span, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["devices"]
    assert (row["site"], row["device"], len(row["windows"])) == (SITE, METER, 96)
    assert row["total"]["missing"] == {"timeout": 3}
    assert all(window["reconciles"] for window in row["windows"])
