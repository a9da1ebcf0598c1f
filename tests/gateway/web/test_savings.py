"""Running projects on pages and in the API: state in words, band, policies, and whose they are."""

import re
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.sync_api import sync_playwright

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_gateway.access.roles import Role, Who
from joulemark_gateway.api import answers
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.following.calculation import NOTHING, calculated
from joulemark_gateway.following.so_far import Board, Trouble, Unfollowed, so_far_of
from joulemark_gateway.reports.project_file import gather, load_project
from joulemark_gateway.web import saving_charts
from joulemark_gateway.web.server import PagesServer
from support import followed
from support.bundles import true_report
from support.evidence import SITE
from support.pages import HOSTILE, asking, gate

HANGUL = re.compile("[가-힣]")
TROUBLE = Trouble(code="missing_device", what=f"There is no {HOSTILE}.", do="Name another.")
SENTENCES = {
    "measured": "up to and including 2018-04-06",
    "refused": "These rules of the policy iso50006-production do not hold: too_few_cycles.",
    "baseline": "The baseline is not long enough yet: 23 of its 66 days have passed.",
    "waiting": "No day of the reporting period is over yet.",
    "pending": "look again in a minute",
    "failed": "Nothing could be worked out yet.",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The small plant in each state, by state; its title is hostile."""
    folder = followed.fill(tmp_path_factory.mktemp("running") / "collector")

    def of(name, **plan):
        file = followed.project_file(folder, f"{name}.yaml", id=name, title=HOSTILE, **plan)
        return so_far_of(calculated(gather(load_project(file)), 0))

    measured = of("measured")
    nothing = measured.model_copy(update={**NOTHING, "baseline_days": 23})
    states = {
        state: nothing.model_copy(update={"id": state, "state": state})
        for state in ("baseline", "waiting", "pending", "failed")
    }
    states["failed"] = states["failed"].model_copy(update={"trouble": TROUBLE})
    states["troubled"] = measured.model_copy(update={"id": "troubled", "trouble": TROUBLE})
    states["pump-house"] = measured.model_copy(update={"id": "pump-house"})
    return {"measured": measured, "refused": of("refused", production_cycle_days=60), **states}


@pytest.fixture(scope="module")
def board(found):
    shown = Board()
    shown.show(found, [Unfollowed(Path("odd.yaml"), "odd.yaml is odd.", "Mend it.")])
    return shown


@pytest_asyncio.fixture
async def running(state, board):
    with state.sources(savings=board) as sources:
        async with asking(sources) as client:
            yield client


@pytest.mark.parametrize("name", SENTENCES)
async def test_a_page_says_in_plain_words_how_the_project_stands(running, name):
    answer = await running.get(f"/projects/{name}/saving")
    assert answer.status_code == 200
    assert SENTENCES[name] in answer.text
    assert "<script>alert" not in answer.text
    assert ('class="band"' in answer.text) == (name == "measured")


async def test_the_policy_stands_beside_every_saving(running, found):
    text = (await running.get("/projects/measured/saving")).text
    tiles = text[text.index('<dl class="tiles') : text.index("</dl>")].split("<dt>")[1:]
    assert [("policy iso50006-production 1" in tile, "lower-bound" in tile) for tile in tiles] == [
        (True, False), (True, False), (False, True),
    ]  # fmt: skip
    head = found["measured"].headline
    for figure in (head.avoided_t, head.half_width_t, head.creditable_t):
        assert figure in text
    listed = (await running.get("/projects")).text
    assert listed.count("iso50006-production 1") == 3  # measured, troubled, pump-house


async def test_what_went_wrong_is_told_with_what_to_do_beside_the_figures_of_before(running):
    text = (await running.get("/projects/troubled/saving")).text
    assert "missing_device" in text
    assert "Name another." in text
    assert "What follows was worked out before it" in text
    assert 'class="band"' in text


@pytest.mark.parametrize("language", ["en", "ko"])
async def test_the_page_speaks_one_language(running, language):
    for name in (*SENTENCES, "troubled"):
        text = (await running.get(f"/projects/{name}/saving?lang={language}")).text
        assert f'<html lang="{language}">' in text
        assert bool(HANGUL.search(text.replace("한국어", ""))) == (language == "ko"), name


async def test_the_answer_of_the_api_is_what_was_found(running, found):
    answer = await running.get("/api/v1/projects/measured/saving")
    assert answer.json() == found["measured"].model_dump(mode="json")
    rows = (await running.get("/api/v1/projects")).json()
    assert {row["id"]: row["state"] for row in rows["running"]} == {
        name: one.state for name, one in found.items()
    }
    assert rows["unreadable"] == ["odd.yaml is odd. Mend it."]
    described = (await running.get("/openapi.json")).json()
    operation = described["paths"]["/api/v1/projects/{project}/saving"]["get"]
    assert operation["x-joulemark-role"] == "viewer"
    shape = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert shape == {"$ref": "#/components/schemas/SoFar"}


async def test_a_running_project_and_its_report_lead_to_each_other(running):
    report = (await running.get("/projects/pump-house")).text
    assert 'href="/projects/pump-house/saving"' in report
    head = parse_canonical(true_report().report_json)["headline"]
    text = (await running.get("/projects/pump-house/saving")).text
    assert 'href="/projects/pump-house"' in text
    assert head["half_width_kwh"] in text, "the same plant, the same figure"
    only_running = await running.get("/projects/measured")
    assert (only_running.status_code, only_running.headers["location"]) == (
        303, "/projects/measured/saving",
    )  # fmt: skip


@pytest.mark.service
@pytest.mark.endurance
@pytest.mark.parametrize("width", [1280, 390])
def test_the_pages_fit_into_the_window(state, board, chromium, width):
    flags = ["--headless", "--no-sandbox", "--disable-gpu"]
    with state.sources(savings=board) as sources, sync_playwright() as playwright:
        server = PagesServer(sources, gate(state.folder), port=0)
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": width, "height": 900}, base_url=server.url)
        for path in ("/projects", *(f"/projects/{name}/saving" for name in SENTENCES)):
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            for drawing in page.locator("svg:visible").all():
                box = drawing.bounding_box()
                assert box is not None
                assert box["x"] + box["width"] <= width
        browser.close()
        server.stop()


async def test_a_project_that_is_not_followed_is_not_there(client):
    for path in ("/projects/nothing/saving", "/api/v1/projects/pump-house/saving"):
        assert (await client.get(path)).status_code == 404


def test_of_other_sites_nothing_is_given_not_even_whether_it_exists(state, board):
    with state.sources(savings=board) as sources:
        seen = sources.seen_by(Who("bo", Role.VIEWER, frozenset({SITE}), "person"))
        assert answers.saving(seen, "measured").id == "measured"
        other = sources.seen_by(Who("bo", Role.VIEWER, frozenset({"elsewhere"}), "person"))
        listed = answers.project_list(other)
        assert (listed.running, listed.unreadable) == ([], [])
        assert not answers.is_running(other, "measured")
        problems = []
        for name in ("measured", "nothing"):
            with pytest.raises(Problem) as caught:
                answers.saving(other, name)
            problems.append(caught.value.what.replace(name, "?"))
        assert problems[0] == problems[1]


def test_a_project_that_is_taken_off_the_board_while_it_is_asked_for_is_an_answer(found, state):
    class Going(Board):
        """Holds each project once."""

        @property
        def projects(self):
            held = super().projects
            self.show({}, [])
            return held

    board = Going()
    board.show(found, [])
    with state.sources(savings=board) as sources:
        seen = sources.seen_by(Who("bo", Role.VIEWER, frozenset({SITE}), "person"))
        assert answers.saving(seen, "measured") == found["measured"]


def test_a_day_that_is_left_out_parts_the_lines_of_days_and_has_no_sum(found):
    days, zone = found["measured"].days, followed.ZONE
    drawn = saving_charts.by_day(days, zone, "days")
    wide = drawn[: drawn.index('class="narrow"')]
    [path] = [part for part in wide.split("<path ") if "line reporting" in part]
    assert path.count("M") == 2
    assert wide.count('class="void"') == 1
    assert saving_charts.cumulative([], zone, "sum") == saving_charts.by_day([], zone, "d") == ""


def test_a_headline_with_meter_and_events_is_told_apart_from_the_models_sum(found):
    measured = found["measured"]
    assert not measured.is_more_than_the_model
    head = measured.headline.model_copy(update={"half_width_kwh": "300.0"})
    assert measured.model_copy(update={"headline": head}).is_more_than_the_model
    assert not found["refused"].is_more_than_the_model
