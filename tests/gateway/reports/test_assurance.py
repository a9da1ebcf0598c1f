"""What the page says of doubt, corrections and the log; and that older reports say none of it."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from joulemark_gateway.evidence.bundle import PAGE, REPORT, open_bundle
from joulemark_gateway.evidence.corrections import Correction
from joulemark_gateway.measure.intervals import counted
from joulemark_gateway.qr_code import svg
from joulemark_gateway.reports.assurance import Assurance
from joulemark_gateway.reports.html import page
from joulemark_gateway.reports.words import LANGUAGES, WORDS
from support.bundles import Recipe, true_report
from support.evidence import KEYS, METER, SITE
from support.histories import history
from support.log_recipes import LogRecipe
from support.logs import FIRM, ORIGIN

GOLDEN = Path(__file__).parents[2] / "golden" / "bundle-1.zip"
HOSTILE = "\"'><script>alert(1)</script>"


@cache
def corrected():
    first = Correction(
        f"joulemark/{SITE}/{METER}/1", 600, 604, "energy_wh", "excluded", HOSTILE, "J. Kim"
    )
    log = LogRecipe(
        corrections=[(first, KEYS.operator)],
        files=lambda files: replace(files, tokens={(12, "kisa-tsa"): b"x"}),
    )
    return Recipe(log=log).report().report


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_shows_the_head_to_keep_who_saw_it_and_every_correction(language):
    report, words = corrected(), WORDS[language]
    text = page(report, language)
    account, told = report["account"], report["corrections"]
    assert f"<pre>{account['text'].rstrip()}</pre>" in text
    assert svg(account["text"], words["alt_log"]) in text
    for shown in (ORIGIN, FIRM, "kisa-tsa", account["time_stamps"][0]["sha256"]):
        assert shown in text
    [item] = told["listed"]
    for shown in (item["old_first"], item["digest"], item["operator"], "J. Kim", "600–604"):  # noqa: RUF001
        assert shown in text
    assert "<script>" not in text
    for name in ("with", "without"):
        assert words[f"{name}_corrections"] in text
    assert told["with"]["avoided_kwh"] != told["without"]["avoided_kwh"]


def test_energy_counted_by_a_clock_that_was_not_set_has_its_share():
    made = history("meter", "energy_wh", [0, 100, 300, 600, 1000])
    made.unsynchronised[2] = True
    counter = counted(made, made.profile.point("energy_wh"))
    edges = made.slot_us[[0, -1]]
    assert counter.totals(edges).total.tolist() == [1000]
    assert counter.unsynchronised(edges).tolist() == [500], "from it and to it"
    made.unsynchronised[:] = False
    assert counted(made, made.profile.point("energy_wh")).unsynchronised(edges).tolist() == [0]


def test_a_report_states_the_share_in_kilowatt_hours_and_percent():
    time = true_report().report["time_quality"]
    assert time["unsynchronised_kwh"] == "0.000"
    assert time["unsynchronised_energy_percent"] == "0.0000"
    assert float(time["energy_kwh"]) > 100_000


def test_nothing_to_tell_is_told():
    text = page({**true_report().report, "quarantined": {}})
    for shown in ("Nothing was corrected.", "No message was refused."):
        assert shown in text


def test_a_report_of_the_first_format_is_shown_as_it_was():
    members = open_bundle(GOLDEN.read_bytes()).members
    report = json.loads(members[REPORT])
    assert Assurance(report, WORDS["en"]).sections() == ()
    assert page(report).encode() == members[PAGE]
