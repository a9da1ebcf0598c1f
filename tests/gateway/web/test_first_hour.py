"""The first hour of plant engineer, energy manager, and of a verifier who has only a keyboard."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from joulemark_agent.cli import main
from joulemark_gateway.access.roles import Role
from joulemark_gateway.evidence.proof import root_of_path
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.series.embedded import EmbeddedSeries
from joulemark_gateway.series.mirror import catch_up
from support import followed, guarded, pages
from support.browsing import Watched, fits, follow
from support.evidence import METER, SITE
from support.pages import COMPRESSOR, energies

_MOST_TABS = 250
pytestmark = [pytest.mark.service, pytest.mark.endurance]


@pytest.fixture
def page(browser):
    """A page of a desktop in English; at its end nothing went wrong, and nobody else was asked."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en")
    made = context.new_page()
    watched = Watched(made)
    yield made
    watched.require_clean()
    context.close()


def menu(page: Page, name: str) -> None:
    follow(page.get_by_role("navigation", name="Main").get_by_role("link", name=name))


def test_a_plant_engineer_sees_what_is_read_how_well_and_why_a_slot_is_missing(page, address):
    page.goto(address)
    fits(page)
    row = page.locator(".card tr", has=page.get_by_role("link", name=METER, exact=True))
    expect(row).to_contain_text("reading")
    follow(row.get_by_role("link"))
    values = page.locator("section", has=page.locator("#h-points"))
    power = values.locator("tr", has_text="energy_wh").first
    expect(power).to_contain_text("Wh")
    expect(power.locator(".q-good")).to_have_text("good")

    menu(page, "Data quality")
    strip = page.locator("table.strip")
    expect(strip.locator("thead th")).to_have_count(1 + 4)
    follow(strip.get_by_role("link", name=re.compile(f"{METER}, 2018-01-03: ")))
    slots = page.locator("section", has=page.locator("#h-device"))
    told = dict(
        zip(
            slots.locator("dl.inline").first.locator("dt").all_inner_texts(),
            slots.locator("dl.inline").first.locator("dd").all_inner_texts(),
            strict=True,
        )
    )
    assert told["expected"] == "96"
    assert (told["received"], told["missing with a cause"], told["sum"]) == ("93", "3", "holds")
    gap = slots.locator("tr", has_text="no answer in time").last
    expect(gap).to_contain_text("2018-01-03 02:30")
    expect(gap).to_contain_text("Look at the cable")
    follow(gap.get_by_role("link"))
    follow(page.get_by_role("link", name=re.compile("step by step")).first)
    expect(page.locator("#s-record + p")).to_have_text("gap")


def test_an_energy_manager_sees_what_was_used_the_peak_and_the_leak(page, address):
    page.goto(address)
    expect(page.locator("#now")).to_contain_text("kWh")
    menu(page, "Energy")
    power_w = np.array(energies(4), np.float64).reshape(4, -1).sum(axis=1)
    shown = page.locator("#h-used").locator("xpath=..").locator("tbody tr")
    expect(shown).to_have_count(4)
    first = shown.last  # the newest stands first
    expect(first.get_by_role("link").first).to_have_text(f"{power_w[0] / 1000:,.3f}")
    tiles = page.locator("dl.tiles").first
    expect(tiles).to_contain_text("KR-grid")
    follow(page.get_by_role("navigation", name="Of").get_by_role("link", name=METER))
    peak_wh = max(wh for k, wh in enumerate(energies(4)) if k not in {129, 130})
    peaks = page.get_by_role("region", name="The five highest quarters of an hour")
    expect(peaks.locator("tbody tr").first).to_contain_text(f"{peak_wh * 4 / 1000:,.2f}")
    follow(page.get_by_role("navigation", name="By").get_by_role("link", name="month"))
    expect(page.locator("#h-used")).to_have_text("Electricity by month")
    expect(page.locator("#h-factors").locator("xpath=..")).to_contain_text("kg CO2e/kWh")

    page.goto(f"{address}/sites/{SITE}/devices/{COMPRESSOR}")
    page.locator("summary", has_text="Leak episodes").click()
    leaks = page.get_by_role("region", name="Leak episodes")
    expect(leaks.locator("tbody tr").first).to_contain_text("2018-01-0")


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    """The small plant: its evidence and series, and the report and bundle made of them."""
    folder = followed.fill(tmp_path_factory.mktemp("plant") / "collector") / "state"
    with SqliteStore(folder / FILE) as store:
        series = EmbeddedSeries(folder / "series.duckdb")
        while catch_up(store, series):
            pass
        series.close()
    return pages.State(folder, pages.write_report(folder / "report"))


@pytest.fixture(scope="module")
def let_in(plant, tmp_path_factory):
    with guarded.serving(plant, tmp_path_factory.mktemp("let")) as (let, url):
        guarded.add_users(let.access, Role.VERIFIER)
        yield url


def tab_to(page: Page, told: str) -> None:
    """Go on by the Tab key until what has the focus is called so."""
    for _ in range(_MOST_TABS):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "(e => e.getAttribute('aria-label') || e.innerText || '')(document.activeElement)"
        )
        if re.search(told, name):
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", "where one stands is seen"
            return
    raise AssertionError(f"no {told!r} within {_MOST_TABS} steps of the Tab key")


def enter(page: Page) -> None:
    with page.expect_navigation():
        page.keyboard.press("Enter")
    fits(page)


def downloaded(page: Page, name: str, folder: Path) -> Path:
    tab_to(page, name)
    with page.expect_download() as found:
        page.keyboard.press("Enter")
    path = folder / name.replace("\\", "")
    found.value.save_as(path)
    return path


def test_a_verifier_follows_a_figure_to_its_witness_and_verifies_the_bundle(
    page, let_in, tmp_path, capsys
):
    """Nothing but keys is pressed."""
    page.goto(let_in)
    page.keyboard.type("verifier")
    page.keyboard.press("Tab")
    page.keyboard.type(guarded.PASSWORD)
    enter(page)
    tab_to(page, "^Projects$")
    enter(page)
    tab_to(page, "Pump house")
    enter(page)
    project = page.url
    tab_to(page, "From these figures")
    enter(page)
    row = page.locator("#h-units").locator("xpath=..").locator("tbody tr").first
    figure, day = row.locator("td").nth(1).inner_text(), row.locator("th").inner_text()
    tab_to(page, f"{METER}, {day}")
    enter(page)
    expect(page.locator(".sum .figure")).to_contain_text(figure)
    tab_to(page, "^Leaf .* step by step$")
    enter(page)
    expect(page.locator("ol.chain > li")).to_have_count(7)
    expect(page.locator("#s-figure").locator("xpath=..")).to_contain_text(figure)
    expect(page.locator(".chain .ok")).to_have_count(4)
    expect(page.locator(".chain .bad")).to_have_count(0)
    tab_to(page, "Download the proof")
    with page.expect_download() as found:
        page.keyboard.press("Enter")
    proof = json.loads(found.value.path().read_text())
    steps = [bytes.fromhex(text) for text in proof["path_sha256"]]
    leaf = proof["leaf"].encode()
    assert root_of_path(leaf, proof["leaf_index"], proof["tree_size"], steps)

    page.goto(project)
    bundle = downloaded(page, "bundle\\.zip", tmp_path)
    policy = downloaded(page, "policy\\.json", tmp_path)
    assert main(["verify", str(bundle), "--policy", str(policy)]) == 0
    assert "verified" in capsys.readouterr().out.lower()
    damaged = tmp_path / "damaged.zip"
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    assert main(["verify", str(damaged), "--policy", str(policy)]) != 0
