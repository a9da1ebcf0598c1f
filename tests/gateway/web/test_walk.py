"""A person walks through the pages in a real browser: desktop and phone, English and Korean."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_gateway.access.roles import Role
from joulemark_gateway.evidence.bundle import REPORT
from joulemark_gateway.evidence.proof import root_of_path
from joulemark_gateway.web.server import PagesServer
from support import guarded
from support.browsing import Watched, fits, follow
from support.bundles import true_bundle, true_report
from support.evidence import METER, SITE
from support.pages import COMPRESSOR, gate

WORDS = {
    "en": {
        "records": "Records", "projects": "Projects", "proof": "inclusion proof of leaf",
        "account": "Your account", "log_out": "Log out", "log": "Security log",
        "token_add": "Make a token", "token_name": "Name of the program",
    },
    "ko": {
        "records": "기록", "projects": "프로젝트", "proof": "포함 증명", "account": "내 계정",
        "log_out": "로그아웃", "log": "보안 로그", "token_add": "토큰 만들기",
        "token_name": "프로그램 이름",
    },
}  # fmt: skip
PAYLOADS = json.loads((Path(__file__).parents[2] / "data/page_injections.json").read_text())
WALKERS = [(1280, "en"), (375, "ko")]
pytestmark = [pytest.mark.service, pytest.mark.endurance]


@pytest.fixture
def walker(browser, address, request):
    """A page of the width and language asked for; at its end nothing went wrong or outside."""
    width, language = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 800}, locale=language, base_url=address
    )
    page = context.new_page()
    watched = Watched(page)
    yield page, WORDS[language]
    watched.require_clean()
    context.close()


@pytest.mark.parametrize("walker", WALKERS, indirect=True)
def test_from_the_sites_to_a_proof_and_a_bundle(walker):
    page, words = walker
    page.goto("/")
    fits(page)
    follow(page.locator("main").get_by_role("link", name=SITE, exact=True))
    follow(page.get_by_role("link", name=METER, exact=True).first)
    day = page.locator("tr[id^=day-] td a").first
    figure = day.inner_text()
    follow(day)
    expect(page.get_by_role("heading", level=1)).to_have_text(words["records"])
    expect(page.locator(".sum .figure")).to_contain_text(figure)
    with page.expect_download() as proof_file:
        page.get_by_role("link", name=re.compile(words["proof"])).first.click()
    proof = json.loads(proof_file.value.path().read_text())
    path = [bytes.fromhex(text) for text in proof["path_sha256"]]
    leaf = proof["leaf"].encode()
    assert root_of_path(leaf, proof["leaf_index"], proof["tree_size"], path)
    follow(page.get_by_role("link", name=words["projects"]).first)
    follow(page.locator(".card h2 a"))
    with page.expect_download() as bundle_file:
        page.get_by_role("link", name="bundle.zip").click()
    assert bundle_file.value.path().read_bytes() == true_bundle()


@pytest.mark.parametrize("walker", WALKERS, indirect=True)
def test_the_page_of_a_machine_fits_and_leads_to_its_parts(walker):
    page, _ = walker
    page.goto(f"/sites/{SITE}/devices/{COMPRESSOR}")
    fits(page)
    assert page.locator("#h-equipment").count() == 1
    for drawing in page.locator(".panel svg:visible").all():
        box = drawing.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= (page.viewport_size or {"width": 0})["width"]
    page.locator("nav.jump a").first.click()
    assert page.url.endswith("#h-equipment")


@pytest.mark.parametrize("walker", [(1280, "en")], indirect=True)
def test_the_keyboard_alone_reaches_the_content_and_the_language(walker):
    page, _ = walker
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("link", name="한국어").focus()
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("lang", "ko")
    page.goto("/projects")
    expect(page.locator("html")).to_have_attribute("lang", "ko")


@pytest.mark.parametrize("walker", [(1280, "en")], indirect=True)
def test_a_report_is_shown_without_its_own_page_running_anything(walker):
    page, _ = walker
    page.goto("/projects/pump-house/files/report.html")
    expect(page.locator("h1")).to_contain_text("Pump house")
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).fontSize") != "32px"


@pytest.fixture(scope="module")
def let_in(state, tmp_path_factory):
    """The same pages behind log-in."""
    folder = tmp_path_factory.mktemp("let")
    with guarded.serving(state, folder) as (let, url):
        guarded.add_users(let.access, Role.VIEWER, Role.ADMIN)
        yield url


def entered(page: Page, name: str) -> None:
    """Fill in the form by keyboard alone, and go where one wanted to."""
    assert page.evaluate("document.activeElement.id") == "name", "the first field waits"
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type(guarded.PASSWORD)
    with page.expect_navigation():
        page.keyboard.press("Enter")


@pytest.mark.parametrize("walker", WALKERS, indirect=True)
def test_a_person_logs_in_goes_on_and_logs_out(walker, let_in):
    page, words = walker
    page.goto(f"{let_in}/sites/{SITE}")
    fits(page)
    assert SITE not in page.locator("body").inner_text()
    entered(page, "viewer")
    assert page.url == f"{let_in}/sites/{SITE}"
    expect(page.locator(".me")).to_contain_text("viewer")
    fits(page)
    assert page.locator("main a[href*='/records']").count() == 0, "not for a viewer"
    follow(page.locator(".me a"))
    expect(page.get_by_role("heading", level=1)).to_have_text(words["account"])
    with page.expect_navigation():
        page.get_by_role("button", name=words["log_out"]).click()
    assert page.url == f"{let_in}/login"
    page.go_back()
    page.reload()
    expect(page.locator("#password")).to_be_visible()


@pytest.mark.parametrize("walker", WALKERS, indirect=True)
def test_an_admin_makes_a_token_that_is_shown_once(walker, let_in):
    page, words = walker
    page.goto(f"{let_in}/admin")
    entered(page, "admin")
    fits(page)
    page.get_by_text(words["token_add"]).first.click()
    page.get_by_label(words["token_name"]).fill("grafana")
    page.locator("#sites-token").fill(SITE)
    with page.expect_navigation():
        page.get_by_role("button", name=words["token_add"]).click()
    fits(page)
    text = page.locator("#made").input_value()
    assert text.startswith("jmt_")
    page.goto(f"{let_in}/admin")
    assert text not in page.content()
    row = page.locator("tr", has_text="grafana").first
    with page.expect_navigation():
        row.get_by_role("button").click()
    follow(page.get_by_role("link", name=words["log"]))
    expect(page.locator("tbody tr").first).to_contain_text("grafana")


@pytest.mark.parametrize("walker", [(1280, "en")], indirect=True)
def test_hostile_words_of_a_report_run_nothing_in_a_browser(walker, state, tmp_path):
    page, _ = walker
    report = parse_canonical(true_report().report_json)
    report["project"]["title"] = " ".join(PAYLOADS)
    for k, row in enumerate(report["findings"]):
        row["rule"] = " ".join(PAYLOADS[k :: len(report["findings"])])
    (tmp_path / REPORT).write_bytes(canonical_bytes(report))
    page.add_init_script("window.own = () => { window.owned = true; }")
    with state.sources(reports=[tmp_path]) as sources:
        server = PagesServer(sources, gate(tmp_path), port=0)
        try:
            for path in ("projects", "projects/pump-house"):
                page.goto(f"{server.url}{path}")
                page.mouse.move(300, 300)
                assert page.evaluate("window.own !== undefined")
                assert not page.evaluate("window.owned")
                assert page.locator("main").inner_text().count("own()") > 40, "shown as words"
        finally:
            server.stop()
