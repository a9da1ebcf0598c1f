"""A new site file takes effect while the agent runs; a hundred cycles are run every night."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from joulemark_agent import agent as agents
from joulemark_agent import app, approved
from joulemark_agent.contract.errors import StoreError
from joulemark_agent.documents import load_profile
from joulemark_agent.foundation import OUTBOX
from joulemark_agent.reload import FOR_A_RESTART
from joulemark_agent.settings import SiteSettings, load_site
from nightly import reload
from nightly.reload import Heard, Unit
from nightly.wrong_profile import serving
from support.child import search_path
from support.modbus_machine import Machine


@pytest.mark.endurance
def test_a_new_file_interrupts_no_device_that_is_as_it_was() -> None:
    figures = reload.run(1, full=False)

    assert figures["samples missed on a line of its own"].startswith("0 of ")
    assert figures["samples missed beside a device that changes"].startswith("0 of ")
    assert figures["bad files refused, the old one kept"] == "1 of 1"
    assert figures["refused until the operator had granted the new epoch"] == "1 of 1"


class Asked(Unit):
    """Counts the requests."""

    requests = 0

    def read(self, unit: int, table: str, address: int, count: int) -> bytes | None:
        """What stands there."""
        self.requests += 1
        return super().read(unit, table, address, count)


@dataclass
class Running:
    """An agent that reads one device every second."""

    folder: Path
    machine: Asked
    heard: Heard
    task: asyncio.Task[dict[str, Any]]

    async def hang_up(self) -> None:
        """Have it read its file again."""
        os.kill(os.getpid(), signal.SIGHUP)
        await self.heard.next()

    async def asks_again(self) -> None:
        """Wait for the next request."""
        seen = self.machine.requests
        await until(lambda: self.machine.requests > seen)


def write(folder: Path, port: int, profile: str, **more: str) -> Path:
    row = reload.ROW.format(
        id="meter", profile=profile, url=f"modbus-tcp://127.0.0.1:{port}", unit=1, more=""
    )
    path = folder / "site.yaml"
    text = reload.SITE.format(devices=row)
    path.write_text(text + "".join(f"{key}: {value}\n" for key, value in more.items()), "utf-8")
    return path


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not holds():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(folder: Path, profile: str = "virtual_main_meter") -> AsyncIterator[Running]:
    machine, heard = Asked(), Heard()
    machine.show(Machine(load_profile("virtual_main_meter")[0]).words(0))
    logger = logging.getLogger("joulemark_agent")
    logger.addHandler(heard)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        async with serving(machine) as port:
            path = write(folder, port, profile)
            reload.enroll(path, "--create-operator-key")
            task = asyncio.create_task(app.run(load_site(path), lambda: load_site(path)))
            await heard.next()
            try:
                yield Running(folder, machine, heard, task)
            finally:
                if not task.done():
                    os.kill(os.getpid(), signal.SIGTERM)
                    await task
    finally:
        logger.removeHandler(heard)
        logger.setLevel(level)


def port_of(agent: Running) -> int:
    (device,) = load_site(agent.folder / "site.yaml").devices
    return int(device.url.rpartition(":")[2])


@pytest.mark.endurance
async def test_a_grant_that_opens_no_epoch_changes_nothing_and_the_device_is_read_on(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, reload._renewed(tmp_path, 0)) as agent:
        await agent.asks_again()
        changed = write(tmp_path, port_of(agent), reload._renewed(tmp_path, 1))
        (tmp_path / "state/grants/meter.json").unlink()
        reload.enroll(changed)  # epoch 1 for the second time
        await agent.hang_up()
        assert agent.heard.events["reload_refused"] == 1
        assert "--epoch 2" in agent.heard.last["reload_refused"]["do"]
        await agent.asks_again()
        reload.enroll(changed, "--epoch", "2")
        await agent.hang_up()
        await agent.asks_again()
    head = agent.task.result()["heads"]["meter"]
    assert (head["epoch"], head["gap_slots"]) == (2, 0)


async def test_a_file_whose_site_document_cannot_be_kept_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as agent:
        sites = tmp_path / "state/grants/sites"
        for file in sites.iterdir():
            file.unlink()
        sites.rmdir()
        sites.touch()
        path = tmp_path / "site.yaml"
        path.write_text(path.read_text().replace("period_s: 1", "period_s: 1, timeout_s: 0.5"))
        await agent.hang_up()
        assert _agent_of(agent)._settings.devices[0].timeout_s == 1.0
        assert (agent.heard.events["reload_refused"], agent.heard.events["reloaded"]) == (1, 0)
        await agent.asks_again()


async def test_a_disk_that_is_full_refuses_the_file_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise StoreError("The disk is full.", "Free space on it.", code="disk_full")

    async with running(tmp_path) as agent:
        monkeypatch.setattr(agents, "keep_site", full)
        await agent.hang_up()
        assert agent.heard.last["reload_refused"]["do"] == "Free space on it."
        await agent.asks_again()


def test_a_key_of_the_site_file_is_followed_or_takes_a_restart() -> None:
    followed = {"time_zone", "factors", "devices", "systems"}
    assert followed == SiteSettings.model_fields.keys() - set(FOR_A_RESTART)


@pytest.mark.parametrize(("key", "value"), [("state_dir", "elsewhere"), ("clock", "system")])
async def test_what_takes_a_restart_is_refused_and_named(
    tmp_path: Path, key: str, value: str
) -> None:
    async with running(tmp_path) as agent:
        write(tmp_path, port_of(agent), "virtual_main_meter", **{key: value})
        await agent.hang_up()
        is_as_it_was = key == "clock"
        assert agent.heard.events["reloaded" if is_as_it_was else "reload_refused"] == 1
        if not is_as_it_was:
            assert key in agent.heard.last["reload_refused"]["what"]
            assert "start it again" in agent.heard.last["reload_refused"]["do"]


@pytest.mark.endurance
async def test_a_stop_in_the_middle_of_a_change_leaves_no_task_behind(tmp_path: Path) -> None:
    first, second = (reload._renewed(tmp_path, number) for number in (0, 1))
    async with running(tmp_path, first) as agent:
        await agent.asks_again()
        reload.enroll(write(tmp_path, port_of(agent), second))
        (crew,) = _agent_of(agent)._crews.values()
        async with crew.reading:  # the line is being asked: the change waits for it
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: len(crew.reading._waiters or ()) == 2)  # its task, and who ends it
            os.kill(os.getpid(), signal.SIGTERM)
            summary = await agent.task
        assert crew.task is not None
        assert crew.task.done()
        assert summary["heads"]["meter"]["epoch"] == 1


def _agent_of(agent: Running) -> agents.Agent:
    """The agent that runs in the task."""
    outer: Any = agent.task.get_coro()
    found = outer.cr_await.cr_frame.f_locals["agent"]
    assert isinstance(found, agents.Agent)
    return found


async def test_kernels_are_ready_before_anything_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun: list[bool] = []
    monkeypatch.setattr(
        approved, "warm", lambda *_: has_begun.append((tmp_path / "state" / OUTBOX).exists())
    )
    async with running(tmp_path):
        pass
    assert has_begun == [False]


def test_hang_ups_in_the_storm_of_a_start_and_a_stop_end_nothing(tmp_path: Path) -> None:
    path, said = write(tmp_path, 9, "virtual_main_meter"), tmp_path / "agent.log"
    reload.enroll(path, "--create-operator-key")
    command = [sys.executable, "-W", "error", "-m", "joulemark_agent.cli", "agent", "run"]
    environment = {**os.environ, "PYTHONPATH": search_path()}
    with said.open("w") as log:
        process = subprocess.Popen(
            [*command, "-c", str(path)], env=environment, stdout=subprocess.DEVNULL, stderr=log
        )
    try:
        end_s, asked = time.monotonic() + 30, False
        while process.poll() is None and time.monotonic() < end_s:
            if _minds_hang_ups(process.pid):
                process.send_signal(signal.SIGHUP)
            if not asked and said.read_text().count('"reloaded"') > 3:
                process.send_signal(signal.SIGTERM)
                asked = True
            time.sleep(0.02)
    finally:
        process.kill()
    assert process.wait() == 0, said.read_text()
    assert "Traceback" not in said.read_text()


def _minds_hang_ups(pid: int) -> bool:
    """Whether the process ignores the signal or has a handler for it."""
    status = Path(f"/proc/{pid}/status").read_text()
    rows = [line.split() for line in status.splitlines() if line.startswith(("SigIgn", "SigCgt"))]
    return any(int(row[1], 16) & 1 for row in rows)
