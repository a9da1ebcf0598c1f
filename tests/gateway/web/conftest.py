"""One filled state for all tests of the pages: nobody writes into it."""

import pytest
import pytest_asyncio
from playwright.sync_api import sync_playwright

from joulemark_gateway.web.application import application
from joulemark_gateway.web.server import PagesServer
from support import pages
from support.browsing import FLAGS


@pytest.fixture(scope="session")
def state(tmp_path_factory):
    """Four days of three devices."""
    return pages.fill(tmp_path_factory.mktemp("state") / "state")


@pytest.fixture(scope="session")
def served(state):
    """Its sources, and the application over them."""
    with state.sources() as sources:
        yield sources, application(sources, pages.gate(state.folder))


@pytest_asyncio.fixture
async def client(served):
    """Asks the pages over it, without a socket."""
    async with pages.asking(*served) as client:
        yield client


@pytest.fixture(scope="module")
def address(served, state):
    """Where a server has the pages over it, without log-in."""
    server = PagesServer(served[0], pages.gate(state.folder), port=0)
    yield server.url.rstrip("/")
    server.stop()


@pytest.fixture(scope="module")
def browser(chromium):
    """A real browser."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        launched.close()
