"""A line that hangs is read anew; the service manager hears of us only while nothing hangs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from joulemark_agent import guard as guard_module
from joulemark_agent.guard import Guard
from joulemark_agent.progress import Progress
from joulemark_agent.reload import Crew
from joulemark_agent.store_thread import StoreThread
from joulemark_agent.watchdog import ServiceManager
from support.notified import Heard


@pytest.fixture
def manager(tmp_path) -> Iterator[tuple[Heard, dict[str, str]]]:
    """What systemd listens on, and the environment it gives."""
    path = str(tmp_path / "notify")
    with closing(Heard(path)) as heard:
        yield heard, {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}


def test_the_manager_is_told_what_happens(manager):
    listening, environment = manager
    told = ServiceManager(environment)
    assert told.ping_every_s == 0.1
    told.ready()
    told.status("waits for room")
    told.status("waits for room")
    told.ping()
    told.stopping()
    assert listening.all() == ["READY=1", "STATUS=waits for room", "WATCHDOG=1", "STOPPING=1"]


def test_the_abstract_socket_of_a_container_is_reached():
    with closing(Heard(f"\0joulemark-{os.getpid()}")) as listening:
        ServiceManager({"NOTIFY_SOCKET": f"@joulemark-{os.getpid()}"}).ready()
        assert listening.all() == ["READY=1"]


def test_without_a_manager_nothing_is_sent_and_nothing_breaks(tmp_path):
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "x"}):
        told = ServiceManager(environment)
        told.ready()
        told.ping()
        assert told.ping_every_s is None


def test_a_watchdog_that_is_another_process_s_is_not_ours(manager):
    _, environment = manager
    assert ServiceManager({**environment, "WATCHDOG_PID": "1"}).ping_every_s is None


def test_who_keeps_a_promise_is_not_late_and_who_rests_neither():
    now = [0.0]
    progress = Progress(lambda: now[0])
    progress.promise("one", 10)
    progress.promise("two", 20)
    now[0] = 15
    assert progress.late() == ["one"]
    progress.renew(10)
    assert progress.late() == []
    now[0] = 26
    progress.forget("one")
    assert progress.late() == ["two"]


@pytest.fixture
def store() -> Iterator[StoreThread]:
    thread = StoreThread()
    yield thread
    thread.close()


def line(name: str) -> Crew:
    return cast("Crew", SimpleNamespace(name=name))


class Clock:
    def now_us(self) -> int:
        return 0

    async def until(self, slot_us: int, committed_us: int | None) -> bool:
        del slot_us, committed_us
        await asyncio.sleep(3600)
        return True


async def watched(guard: Guard, seconds: float, **given: Any) -> list[str]:
    """Which lines were read anew meanwhile."""
    restarted: list[str] = []

    async def restart(name: str) -> None:
        restarted.append(name)
        if given.get("hangs"):
            await asyncio.sleep(3600)

    watching = asyncio.create_task(guard.watch(restart, lambda: given.get("waits", False)))
    await asyncio.sleep(seconds)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return restarted


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(guard_module, "_LOOK_S", 0.02)
    monkeypatch.setattr(guard_module, "LONGEST_READ_S", 0.15)
    monkeypatch.setattr(guard_module, "LONGEST_CALL_S", 0.15)


async def hang(guard: Guard, name: str) -> asyncio.Task[None]:
    task = asyncio.create_task(guard.until(line(name), cast("Any", Clock()), 10**15))
    await asyncio.sleep(0)
    return task


async def test_a_line_that_hangs_is_read_anew_and_the_manager_still_hears_of_us(manager, store):
    listening, environment = manager
    guard = Guard(ServiceManager(environment), store)
    task = await hang(guard, "meter")
    assert await watched(guard, 0.28) == ["meter"]
    task.cancel()
    assert listening.all().count("WATCHDOG=1") > 5


async def test_a_line_that_cannot_even_be_given_up_ends_the_pings(manager, store):
    listening, environment = manager
    guard = Guard(ServiceManager(environment), store)
    task = await hang(guard, "meter")
    await watched(guard, 0.9, hangs=True)  # late after 0.15 s, given up for lost 0.15 s later
    task.cancel()
    assert 3 <= listening.all().count("WATCHDOG=1") <= 0.9 / 0.02 / 2, "silent in the end"


async def test_lines_that_wait_for_the_disk_do_not_hang(manager, store):
    _, environment = manager
    guard = Guard(ServiceManager(environment), store)
    task = await hang(guard, "meter")
    assert await watched(guard, 0.4, waits=True) == []
    task.cancel()


async def pings_while_the_disk_hangs(manager, store, watch) -> int:
    listening: Heard = manager[0]
    stuck = asyncio.create_task(store.run(partial(time.sleep, 0.8)))
    await watch
    await stuck
    return listening.all().count("WATCHDOG=1")


async def test_a_disk_that_does_not_return_ends_the_pings(manager, store):
    guard = Guard(ServiceManager(manager[1]), store)
    pings = await pings_while_the_disk_hangs(manager, store, watched(guard, 0.7))
    assert 2 <= pings <= 0.7 / 0.02 / 2


async def test_control_a_timer_that_is_tied_to_nothing_pings_for_ever(manager, store):
    async def timer() -> None:
        told = ServiceManager(manager[1])
        for _ in range(35):
            told.ping()
            await asyncio.sleep(0.02)

    assert await pings_while_the_disk_hangs(manager, store, timer()) == 35
