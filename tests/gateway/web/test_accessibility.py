"""axe-core finds no serious fault on any page, in both languages, light and dark."""

import pytest

from joulemark_gateway.access.roles import Role
from joulemark_gateway.following.calculation import calculated
from joulemark_gateway.following.so_far import Board, so_far_of
from joulemark_gateway.reports.project_file import gather, load_project
from support import followed, guarded
from support.axe import faults, faults_light_and_dark
from support.browsing import Watched, fits
from support.evidence import SITE
from support.pages import COMPRESSOR, PLACE

DAY = "from=2017-12-31T15:00:00Z&to=2018-01-01T15:00:00Z"
FIRST = ["/", f"/sites/{SITE}/quality"]
PAGES = [
    *FIRST, f"/sites/{SITE}", f"/sites/{SITE}/energy", f"/sites/{SITE}/energy?by=week", PLACE,
    f"/sites/{SITE}/devices/{COMPRESSOR}", f"{PLACE}/records?{DAY}", f"{PLACE}/records/120?{DAY}",
    f"{PLACE}/records/0", "/projects", "/projects/pump-house", "/projects/pump-house/records",
    "/refused", "/account", "/admin", "/admin/log", "/admin/agents", "/nothing",
]  # fmt: skip
PLANTED = '<img src="/static/icon.svg"><p class="planted">dark on dark</p>'
pytestmark = [pytest.mark.service, pytest.mark.endurance]


@pytest.fixture(scope="module")
def let_in(state, tmp_path_factory):
    """The pages behind log-in, where the admin sees all of them."""
    folder = tmp_path_factory.mktemp("let")
    settings = guarded.collector_of(state.folder)
    with guarded.serving(state, folder, settings=settings) as (let, url):
        guarded.add_users(let.access, Role.ADMIN)
        yield url


def entered(browser, url, language, scheme="light"):
    """A page of somebody who is logged in; the form of log-in is looked at on the way."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 800},
        locale=language,
        color_scheme=scheme,
        reduced_motion="reduce",  # a colour half-way between two schemes is none
    )
    page = context.new_page()
    page.goto(f"{url}/login")
    assert faults(page) == []
    page.fill("#name", "admin")
    page.fill("#password", guarded.PASSWORD)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    return page


def looked_at(page, url, paths, look=faults_light_and_dark):
    """The faults of these pages, by page; what is folded away is looked at as well."""
    found = {}
    for path in paths:
        page.goto(url + path)
        fits(page)
        page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
        if grave := look(page):
            found[path] = grave
    return found


def test_axe_finds_nothing_serious_on_the_first_pages_and_finds_what_is_planted(browser, let_in):
    page = entered(browser, let_in, "ko", "dark")
    watched = Watched(page)
    assert looked_at(page, let_in, FIRST, faults) == {}
    watched.require_clean()
    page.evaluate(f"document.querySelector('h1').insertAdjacentHTML('afterend', `{PLANTED}`)")
    page.evaluate("document.querySelector('.planted').style.color = '#2a333b'")
    planted = "\n".join(faults(page))
    assert "image-alt" in planted
    assert "color-contrast" in planted
    page.context.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "language",
    ["en", pytest.param("ko", marks=pytest.mark.nightly)],
)
def test_axe_finds_nothing_serious_on_any_page_light_or_dark(browser, let_in, language):
    page = entered(browser, let_in, language)
    assert looked_at(page, let_in, PAGES) == {}
    page.context.close()


def test_axe_finds_nothing_serious_on_the_page_of_a_running_project(
    browser, state, tmp_path_factory
):
    folder = followed.fill(tmp_path_factory.mktemp("running") / "collector")
    file = followed.project_file(folder, "measured.yaml", id="measured", title="Measured")
    board = Board()
    board.show({"measured": so_far_of(calculated(gather(load_project(file)), 0))}, [])
    with guarded.serving(state, tmp_path_factory.mktemp("let2"), savings=board) as (let, url):
        guarded.add_users(let.access, Role.ADMIN)
        for language in ("en", "ko"):
            page = entered(browser, url, language)
            assert looked_at(page, url, ["/", "/projects", "/projects/measured/saving"]) == {}
            page.context.close()
