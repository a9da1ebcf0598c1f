"""The thread that keeps collectors at one in who may send: what it survives, who sees it hang."""

import threading
from dataclasses import dataclass
from typing import Any

import pytest

from joulemark_gateway import sharing
from joulemark_gateway.alive import Beat
from joulemark_gateway.sharing import RegistryExchange
from support.forks import until


@dataclass
class Ledger:
    """One that does as it is told when it is asked, after the first time."""

    told: list[Any]
    asked: int = 0
    is_shared: bool = True

    def exchange_registry(self, merge: Any) -> bytes:
        self.asked += 1
        if self.asked > 1 and self.told:
            self.told.pop(0)()
        found: bytes = merge(b"")
        return found


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(sharing, "EVERY_S", 0.01)


def fail() -> None:
    raise MemoryError("of a kind that nobody thought of")


def test_a_mistake_of_ours_does_not_end_the_sharing_of_revocations(tmp_path, caplog):
    ledger = Ledger([fail, fail])
    thread = RegistryExchange(tmp_path, ledger)  # type: ignore[arg-type]
    thread.start()
    until(lambda: ledger.asked > 4, "it goes on")
    thread.stop()
    assert caplog.messages == ["registry_not_shared"]


def test_an_exchange_that_hangs_is_not_seen_again_and_one_that_ended_is_not_missed(tmp_path):
    said: list[str] = []
    hangs = threading.Event()
    ledger = Ledger([lambda: said.append("hangs"), hangs.wait])
    beat = Beat(lambda: said.append("on"), lambda: said.append("off"))
    thread = RegistryExchange(tmp_path, ledger, beat)  # type: ignore[arg-type]
    thread.start()
    until(lambda: ledger.asked > 2, "it hangs")
    heard = list(said)
    assert heard == ["on", "hangs", "on"]
    hangs.set()
    until(lambda: said.count("on") > 2, "it goes on")
    thread.stop()
    assert said[-1] == "off"
