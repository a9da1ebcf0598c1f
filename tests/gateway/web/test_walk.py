"""A person walks through the pages in a real browser: desktop and phone, English and Korean."""

import json
import re

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from joulemark_gateway.evidence.proof import root_of_path
from joulemark_gateway.web.server import PagesServer
from support.bundles import true_bundle
from support.evidence import METER, SITE
from support.pages import COMPRESSOR

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WORDS = {
    "en": {"records": "Records", "projects": "Projects", "proof": "inclusion proof of leaf"},
    "ko": {"records": "기록", "projects": "프로젝트", "proof": "포함 증명"},
}
pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def address(served):
    server = PagesServer(served[0], "127.0.0.1", 0)
    yield server.url.rstrip("/")
    server.stop()


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def walker(browser, address, request):
    """A page of the width and language asked for; at its end nothing went wrong or outside."""
    width, language = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 800}, locale=language, base_url=address
    )
    page = context.new_page()
    told: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: told.append(message.text) if message.type == "error" else 0)
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda sent: asked.append(sent.url))
    yield page, WORDS[language]
    assert not told
    assert asked
    assert not [url for url in asked if not url.startswith(address)]
    context.close()


def follow(link: Locator) -> None:
    """Click, and go on when the next page is there whole."""
    with link.page.expect_navigation():
        link.click()
    fits(link.page)


def fits(page: Page) -> None:
    """Nothing is wider than the window, and every table that is can be reached by keyboard."""
    width = page.viewport_size["width"] if page.viewport_size else 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").count() == 1
    assert page.locator("main").count() == 1


@pytest.mark.parametrize("walker", [(1280, "en"), (375, "ko")], indirect=True)
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


@pytest.mark.parametrize("walker", [(1280, "en"), (375, "ko")], indirect=True)
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
