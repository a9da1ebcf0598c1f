"""What every test may ask for: outside data, services, and kernels compiled once before the run."""

import gc
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from support import leaving, servers
from support import postgres as postgres_server
from support.needed import missing, service
from support.references import ROOT

# No wall-clock limits: a slow machine is not a failure. The same few examples on every run of one
# version, so that a red build can be repeated; `python -m tests.nightly laws` looks further.
settings.register_profile("same", deadline=None, derandomize=True, max_examples=40)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("same")

ON_THEIR_OWN = {"test_saving_is_proven.py"}  # it shares nothing with its neighbours
COMPILED = {  # kernels that take long to compile, and the folders that run the most of them
    "kernels of the agent": ("tests/agent/kernels", "tests/agent/equipment"),
    "kernels of the engine": ("tests/gateway/measure", "tests/gateway/fleet"),
}


def pytest_configure(config: pytest.Config) -> None:
    """Look at what leaves for machines, from this process and from those that tests start."""
    gc.disable()  # until all is imported, which leaves nothing to collect
    if not hasattr(config, "workerinput"):  # workers and processes write where we read
        os.environ[leaving.FOLDER] = tempfile.mkdtemp(prefix="joulemark-leaving-")
    hooked = str(Path(__file__).parent / "support/hooked")
    sys.path.insert(0, hooked)  # what a test hands on to a process, or does not
    named = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{hooked}{os.pathsep}{named}" if named else hooked
    leaving.install()
    # Its servers outlive tests in a thread, and tell the log of whichever runs then.
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if anything but reading was about to leave from any process of it."""
    leaving.tell()
    if hasattr(session.config, "workerinput"):
        return
    folder = Path(os.environ[leaving.FOLDER])
    said, refused = leaving.report(folder)
    shutil.rmtree(folder, ignore_errors=True)
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if said:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(said.items()))
        reporter.write_line(f"\nsent to machines: {kinds}")
    if refused:
        reporter.write_line(f"NOT READING: {refused[:10]}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m endurance ...` imports only files that hold such tests: every worker imports them all."""
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    if not is_test or not config.getoption("markexpr").startswith("endurance"):
        return None
    return True if "mark.endurance" not in collection_path.read_text("utf-8") else None


def pytest_collection_finish() -> None:
    """What was imported stays: no later collection of garbage looks through it again."""
    gc.enable()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What stays in one worker first, whole chains before all: the rest fills the others."""
    items.sort(key=lambda item: ("system" not in item.path.parts, compiled(item.nodeid) is None))


def compiled(nodeid: str) -> str | None:
    """Which kernels it is among those to compile; None: it finds them ready, or needs few."""
    found = (name for name, folders in COMPILED.items() if nodeid.startswith(folders))
    return next(found, None)


@cache
def shares(path: str) -> bool:
    """Whether the tests of a file share what is made once for them: two workers make it twice."""
    return 'scope="module"' in (ROOT / path).read_text("utf-8")


class Together(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """What shares a chain, hundreds of measurements or the compiling of kernels has one worker.

    So has a file: what its tests remember between them is made once. Tests that take minutes each
    are divided, those that are made for all of a file excepted.
    """

    @property
    def has_minutes(self) -> bool:
        """Whether those are run."""
        return str(self.config.getoption("markexpr")).startswith("endurance")

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        folder, _, file = path.rpartition("/")
        if folder.startswith("tests/system"):
            return path if file in ON_THEIR_OWN else folder
        if self.has_minutes and not shares(path):
            return nodeid
        return compiled(nodeid) or path


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: most tests wait for sockets, disks and processes."""
    return (os.cpu_count() or 1) + 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    """Instead of the marker `xdist_group`, which pytest 9.2 no longer hands to xdist 3.8."""
    return Together(config, log)


@pytest.fixture(scope="session")
def plant_data() -> Path:
    """The folder of recorded plant data that may not enter the repository."""
    named = os.environ.get("JOULEMARK_DATA")
    if not named:
        pytest.skip("JOULEMARK_DATA is not set: it names the folder of recorded plant data")
    return Path(named)


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.Cluster]:
    """A running PostgreSQL server."""
    postgres_server.programs()
    with postgres_server.cluster() as running:
        yield running


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """The path of the mosquitto broker."""
    return service("mosquitto", "mosquitto")


@pytest.fixture(scope="session")
def softhsm() -> Path:
    """The library of a security token in software."""
    service("softhsm2-util", "softhsm2")
    found = servers.library("libsofthsm2.so", "softhsm")
    return missing("libsofthsm2.so", "Debian: apt-get install softhsm2") if found is None else found


@pytest.fixture(scope="session")
def node() -> str:
    """The path of Node.js."""
    return service("node", "nodejs")


@pytest.fixture(scope="session")
def node_opcua() -> Path:
    """The folder of global npm packages, with node-opcua in it."""
    found = servers.node_modules("node-opcua")
    return missing("node-opcua", "npm install --global node-opcua") if found is None else found


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


@pytest.fixture(scope="session")
def openssl() -> str:
    """The path of OpenSSL's command."""
    return service("openssl", "openssl")
