"""One filled state for all tests of the pages: nobody writes into it."""

import pytest
import pytest_asyncio

from joulemark_gateway.web.application import application
from support import pages


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
