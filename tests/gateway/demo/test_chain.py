"""The chain leaves nothing running, whatever interrupts it, and says what it cannot do."""

import re
import signal
import subprocess
import sys
from argparse import Namespace
from datetime import datetime
from importlib import resources
from pathlib import Path

import pytest

from joulemark_agent.contract.document import parse_yaml
from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.demo import chain as module
from joulemark_gateway.demo import command
from joulemark_gateway.demo.chain import HALL, Chain, steel

DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('ready', flush=True); time.sleep(60)"
)


class Deaf(Chain):
    """All its processes get ready and then do not listen."""

    def command(self, name: str) -> list[str]:
        del name
        return [sys.executable, "-c", DEAF]


@pytest.fixture
def deaf(tmp_path):
    (tmp_path / "logs").mkdir()
    chain = Deaf(tmp_path, (steel("unchanged"),))
    for name in ("factory", "broker"):
        chain.start(name)
    running = list(chain.processes.values())
    yield chain, running
    for process in running:
        process.kill()


def test_interrupted_while_it_stops_it_leaves_no_process(deaf, monkeypatch):
    chain, running = deaf

    def second(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(running[1], "communicate", second)
    with pytest.raises(KeyboardInterrupt):
        chain.stop()
    assert [process.poll() for process in running] == [-signal.SIGKILL] * 2
    assert chain.processes == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ended_by_a_signal_the_demo_leaves_no_process(number, tmp_path, monkeypatch):
    started: list[subprocess.Popen[str]] = []

    def wait(chain: Chain, _: object) -> None:
        started.extend(chain.processes.values())
        assert callable(signal.getsignal(number)), "else the signal ends this process"
        signal.raise_signal(number)

    def prepare(chain: Chain) -> None:
        (chain.folder / "logs").mkdir(parents=True)

    monkeypatch.setattr(module, "STOP_S", 0.05)
    monkeypatch.setattr(command, "Chain", Deaf)
    monkeypatch.setattr(Deaf, "prepare", prepare)
    monkeypatch.setattr(Deaf, "wait", wait)
    before = signal.getsignal(signal.SIGTERM)
    args = Namespace(out=tmp_path, scenario="unchanged", broker="auto", no_serve=True)
    try:
        with pytest.raises((SystemExit, KeyboardInterrupt)):
            command.run(args)
    finally:
        signal.signal(signal.SIGTERM, before)
        left = [process.poll() for process in started]
        for process in started:
            process.kill()
    assert len(left) == 6
    assert None not in left


def test_a_folder_that_may_not_be_looked_into_is_told(tmp_path, monkeypatch):
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(ConfigError, match=r"cannot write to .*Permission denied"):
        Chain(tmp_path, (HALL,)).prepare()


def test_the_slots_of_the_hall_are_those_of_its_devices():
    """The progress counts up to them."""
    text = resources.files("joulemark_gateway.demo").joinpath("files/hall.yaml").read_text("utf-8")
    text = re.sub(r"\$\{[a-z_]+\}", "1", text)
    slots = 0
    for row in parse_yaml(text, "hall.yaml").mapping["devices"]:
        first, last = (datetime.fromisoformat(row[key]) for key in ("first_slot", "last_slot"))
        slots += int((last - first).total_seconds()) // int(row["period_s"]) + 1
    assert slots == HALL.slots
