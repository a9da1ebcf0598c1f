"""What every test may ask for: outside data, services, and kernels compiled once before the run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support import servers

# No wall-clock limits: a slow machine is not a failure. The same examples on every run of one
# version, so that a red build can be repeated; `pytest --hypothesis-profile=search` looks further.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("same")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole chains first: they take longest and stay in one worker, with the rest beside them."""
    items.sort(key=lambda item: "system" not in item.path.parts)


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
    return service("mosquitto", "mosquitto")


def service(program: str, package: str) -> str:
    """The path of a server's program; without it the test is skipped, or fails where asked to."""
    found = servers.program(program)
    if found is None:
        why = f"{program} is not installed (Debian: apt-get install {package})"
        if os.environ.get("JOULEMARK_REQUIRE_SERVICES"):
            pytest.fail(why)
        pytest.skip(why)
    return found


@pytest.fixture(scope="session")
def victoriametrics(tmp_path_factory) -> Iterator[str]:
    """The address of a VictoriaMetrics that keeps the years of the recordings."""
    program = service("victoria-metrics", "victoria-metrics")
    flags = "-retentionPeriod=100y", "-dedup.minScrapeInterval=1ms"
    with servers.victoriametrics(program, tmp_path_factory.mktemp("victoria"), *flags) as url:
        yield url


@pytest.fixture(scope="session")
def influxdb(tmp_path_factory) -> Iterator[str]:
    """The address of an InfluxDB with the database `joulemark`; it takes the v2 calls."""
    program = service("influxd", "influxdb")
    with servers.influxdb(program, tmp_path_factory.mktemp("influx"), "joulemark") as url:
        yield url


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's browser; none is ever downloaded."""
    return service("chromium", "chromium")
