"""One filled folder for the tests that measure; each writes project files of its own."""

import pytest

from support import followed


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """A collector's folder whose clock is simulated, over the whole plan."""
    return followed.fill(tmp_path_factory.mktemp("filled") / "collector")
