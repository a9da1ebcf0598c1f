"""The site file changes while the agent runs: the devices that did not change miss no sample.

A running agent reads five devices on four lines once a second: `steady` on a line of its own,
`neighbour` on one that it shares with `changing`, `coming`, which is in every second file only, and
`renewed`, whose new epoch the operator grants every tenth time. The file is written anew and SIGHUP
sent again and again; every fifth file is bad. Slots, tasks, files and memory are counted.
"""

import asyncio
import contextlib
import gc
import io
import logging
import os
import signal
import tempfile
import tracemalloc
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from joulemark_agent import app, cli
from joulemark_agent.documents import load_profile
from joulemark_agent.settings import load_site
from nightly.wrong_profile import Served, serving
from support.modbus_machine import Machine

CYCLES, FEW, WARM = 100, 5, 10
SITE = """site: hall
agent: edge-1
time_zone: UTC
factors: {{set: korea, rule_set: ESG, jurisdiction: KR}}
uplink: {{url: "mqtt://127.0.0.1:9", collector_name: joulemark/collector,
         collector_key: "WxhFr3X+pUJSoC1zlt0/Ywi8pq84zt0LXz0B8tO4xkk="}}
devices:
{devices}
"""
ROW = '  - {{id: {id}, profile: {profile}, url: "{url}", unit: {unit}, period_s: 2{more}}}'
BAD = "  - {id: steady, profile: no_such, url: nonsense, unit: 999, period_s: 0}"


class Unit(Served):
    """A machine that answers for every unit."""

    def has_unit(self, unit: int) -> bool:
        """Any."""
        return unit > 0

    def read(self, unit: int, table: str, address: int, count: int) -> bytes | None:
        """What stands there, whatever the unit."""
        return super().read(1, table, address, count) if unit else None


class Heard(logging.Handler):
    """Counts events, and lets a test wait for the next one about a reload."""

    def __init__(self) -> None:
        super().__init__()
        self.events: Counter[str] = Counter()
        self.last: dict[str, Any] = {}
        self.news = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Note it."""
        event = record.getMessage()
        self.events[event] += 1
        self.last[event] = record.__dict__
        if event in {"reloaded", "reload_refused", "agent_started"}:
            self.news.set()

    async def next(self) -> None:
        """Wait until the agent has said what became of a file."""
        await asyncio.wait_for(self.news.wait(), 30)
        self.news.clear()


def site_text(urls: dict[str, str], cycle: int, profile: str) -> str:
    """The file of a cycle."""
    rows = [("steady", "steady", 1, ""), ("neighbour", "shared", 1, "")]
    rows.append(("changing", "shared", 2, f", timeout_s: {0.3 + 0.1 * (cycle % 3):.1f}"))
    rows.append(("renewed", "renewed", 1, ""))
    if cycle % 2:
        rows.append(("coming", "coming", 1, ""))
    devices = "\n".join(
        ROW.format(
            id=name, url=urls[line], unit=unit, more=more,
            profile=profile if name == "renewed" else "virtual_main_meter",
        )
        for name, line, unit, more in rows
    )  # fmt: skip
    return SITE.format(devices=devices)


def enroll(path: Path, *words: str) -> None:
    """What the operator does."""
    key = path.parent / "operator.key"
    command = ["agent", "enroll", "-c", str(path), "--operator-key", str(key), *words]
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(command) == 0


def _renewed(folder: Path, number: int) -> str:
    """A profile whose document differs from that of another number."""
    name = f"renewed_{number}.yaml"
    text = Path(app.__file__).parents[2] / "configs/joulemark_profiles/devices"
    shipped = (text / "virtual_main_meter.yaml").read_text("utf-8")
    changed = shipped.replace("version 1 (2026-11)", f"version 1.{number} (2026-11)")
    (folder / name).write_text(changed, "utf-8")
    return name


async def reloaded(folder: Path, cycles: int, pause_s: float) -> dict[str, Any]:
    """Run the agent through the cycles; its summary and what was counted."""
    heard, profile = Heard(), load_profile("virtual_main_meter")[0]
    logger = logging.getLogger("joulemark_agent")
    logger.addHandler(heard)
    level = logger.level
    logger.setLevel(logging.INFO)
    path = folder / "site.yaml"
    measured: list[tuple[int, int, int]] = []
    try:
        async with AsyncExitStack() as stack:
            urls = {}
            for line in ("steady", "shared", "coming", "renewed"):
                machine = Unit()
                machine.show(Machine(profile).words(0))
                port = await stack.enter_async_context(serving(machine))
                urls[line] = f"modbus-tcp://127.0.0.1:{port}"
            renewed = _renewed(folder, 0)
            path.write_text(site_text(urls, 1, renewed), "utf-8")
            await asyncio.to_thread(enroll, path, "--create-operator-key")
            assert cli.main(["agent", "warmup"]) == 0  # no slot waits for a compiler
            running = asyncio.create_task(app.run(load_site(path), lambda: load_site(path)))
            await heard.next()
            for cycle in range(cycles):
                if cycle % 10 == 3:
                    renewed = _renewed(folder, cycle)
                text = site_text(urls, cycle, renewed)
                path.write_text(text + (BAD if cycle % 5 == 2 else ""), "utf-8")
                if cycle % 10 == 3:
                    os.kill(os.getpid(), signal.SIGHUP)  # too early: it is not granted yet
                    await heard.next()
                    await asyncio.to_thread(enroll, path)
                os.kill(os.getpid(), signal.SIGHUP)
                await heard.next()
                await asyncio.sleep(pause_s)
                gc.collect()
                measured.append(_counted())
                assert not running.done(), running.result()
            os.kill(os.getpid(), signal.SIGTERM)
            summary = await running
    finally:
        logger.removeHandler(heard)
        logger.setLevel(level)
    return {"summary": summary, "events": heard.events, "measured": measured, "last": heard.last}


def _counted() -> tuple[int, int, int]:
    """Tasks, open files, and bytes of Python's memory where it is traced."""
    files = len(list(Path("/proc/self/fd").iterdir()))
    traced = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
    return len(asyncio.all_tasks()), files, traced


def run(seed: int, *, full: bool) -> dict[str, str]:
    """A hundred cycles; `full=False` five."""
    del seed  # nothing is drawn
    cycles = CYCLES if full else FEW
    with tempfile.TemporaryDirectory() as name:
        if full:
            tracemalloc.start()
        try:
            found = asyncio.run(reloaded(Path(name), cycles, 1.0 if full else 0.6))
        finally:
            tracemalloc.stop()
    heads, events = found["summary"]["heads"], found["events"]
    early = sum(cycle % 10 == 3 for cycle in range(cycles))
    bad = sum(cycle % 5 == 2 for cycle in range(cycles))
    assert events["reloaded"] == cycles - bad, events
    assert events["reload_refused"] == bad + early, events
    for device in ("steady", "neighbour"):
        assert heads[device]["gap_slots"] == 0, (device, heads[device])
        assert heads[device]["epoch"] == 1
    assert heads["renewed"]["epoch"] == 1 + early
    assert not events["device_down"], found["last"]["device_down"]
    figures = {
        "files read anew": str(cycles),
        "bad files refused, the old one kept": f"{bad} of {bad}",
        "refused until the operator had granted the new epoch": f"{early} of {early}",
        "samples missed on a line of its own": f"0 of {heads['steady']['slots']}",
        "samples missed beside a device that changes": f"0 of {heads['neighbour']['slots']}",
        "samples missed by the device that changes": _missed(heads["changing"]),
        "samples missed by the device with a new epoch, in its last": _missed(heads["renewed"]),
    }
    if full:
        measured = found["measured"]
        warm, end = measured[WARM + 1], measured[-1]
        assert end[0] <= warm[0], measured
        assert end[1] <= warm[1], measured
        figures["tasks, cycle 12 and 100"] = f"{warm[0]}, {end[0]}"
        figures["open files, cycle 12 and 100"] = f"{warm[1]}, {end[1]}"
        grown = (end[2] - warm[2]) / 1024
        figures["Python memory grown, cycle 12 to 100"] = f"{grown:.0f} KiB"
        figures["the same per cycle"] = f"{grown / (cycles - WARM - 2):.1f} KiB"
    return figures


def _missed(head: dict[str, Any]) -> str:
    return f"{head['gap_slots']} of {head['slots']}"
