"""What every test may ask for: outside data, services, and kernels compiled once before the run."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

# No wall-clock limits: a slow machine is not a failure. The same examples on every run of one
# version, so that a red build can be repeated; `pytest --hypothesis-profile=search` looks further.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("same")


@pytest.fixture(scope="session")
def plant_data() -> Path:
    """The folder of recorded plant data that may not enter the repository."""
    named = os.environ.get("JOULEMARK_DATA")
    if not named:
        pytest.skip("JOULEMARK_DATA is not set: it names the folder of recorded plant data")
    return Path(named)


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """The path of the mosquitto broker."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        why = "mosquitto is not installed (Debian: apt-get install mosquitto)"
        if os.environ.get("JOULEMARK_REQUIRE_SERVICES"):
            pytest.fail(why)
        pytest.skip(why)
    return found
