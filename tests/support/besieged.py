"""An agent among hostile devices and a few good ones, and what its evidence says of each slot.

Every device has a line of its own. All hostile ones become good at the same moment. Time is virtual
unless told otherwise; the sockets, the agent and its outbox are real.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import logging
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from unittest import mock

from joulemark_agent import agent, app, cli, modbus_line
from joulemark_agent.clock import SystemClock
from joulemark_agent.drivers import modbus
from joulemark_agent.foundation import OUTBOX
from joulemark_agent.outbox import Outbox
from joulemark_agent.settings import load_site
from support import fleet
from support.besiegers import NODES, PROFILES, TRUTHS, Device, Siege, besiegers
from support.faulty import outcomes
from support.recording import kept

TIMEOUT_S = 0.5
STARTED_S, HOSTILE_S, GOOD_S = 60.0, 6.0, 12.6  # the end: between two slots
BACK_US, KEPT = 10_000_000, 0.99


async def besieged(*, is_virtual: bool = True) -> Siege:
    """Every case at once."""
    clock = fleet.VirtualClock if is_virtual else SystemClock
    async with besiegers() as siege:
        with (
            tempfile.TemporaryDirectory() as folder,
            # A number could make a hostile answer right by chance.
            mock.patch.object(modbus, "_transactions", itertools.count(0x1234)),
            mock.patch.dict(modbus_line._owed, clear=True),
            mock.patch.object(agent, "SystemClock", clock),
        ):
            site = _enrolled(Path(folder), siege.devices)
            logging.disable(logging.CRITICAL)  # it says of every one of them that it is down
            running = asyncio.create_task(app.run(load_site(site)))
            try:
                async with asyncio.timeout(STARTED_S):
                    await siege.has_begun.wait()
                await _while_running(running, HOSTILE_S)
                siege.is_over, siege.over_us = True, clock().now_us()
                await _while_running(running, GOOD_S)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                logging.disable(logging.NOTSET)
            with contextlib.closing(Outbox(site.parent / "state" / OUTBOX)) as outbox:
                for device in siege.devices:
                    leaves = kept(outbox, device.id).contents
                    device.found = outcomes(leaves, fleet.PERIOD_US)
    return siege


async def _while_running(running: asyncio.Task[object], seconds: float) -> None:
    await asyncio.wait([running], timeout=seconds)
    assert not running.done(), f"the agent has ended: {running.exception()!r}"


def _enrolled(folder: Path, devices: Sequence[Device]) -> Path:
    """A site file that an operator has approved."""
    for name, text in PROFILES.items():
        (folder / f"{name}.yaml").write_text(text)
    path = folder / "site.yaml"
    rows = [
        f"  - {{id: {device.id}, profile: {device.profile}.yaml, period_s: 1,"
        f' url: "{device.url}", timeout_s: {TIMEOUT_S}'
        f"{'' if device.profile == NODES else ', unit: 1'}}}\n"
        for device in devices
    ]
    path.write_text(f"state_dir: state\n{fleet.SITE}{''.join(rows)}")
    words = ["agent", "enroll", "-c", str(path), "--operator-key", str(folder / "operator.key")]
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main([*words, "--create-operator-key"]) == 0
    return path


def judged(siege: Siege, *, is_virtual: bool = True) -> dict[str, str]:
    """The figures; AssertionError with every device that does not hold.

    A point with a code is recorded as it was received and counted nowhere: not a value. In the
    machine's own time any answer may be late as well: machines and agent share its processors.
    """
    late = set() if is_virtual else {"timeout", "overrun"}
    wrong, unnamed, lost = [], [], []
    values = 0
    slots = sorted(set().union(*(device.found for device in siege.devices)))
    good = [device for device in siege.devices if not device.allowed]
    hostile = [device for device in siege.devices if device.allowed]
    for device in siege.devices:
        for slot_us, outcome in device.found.items():
            told = {
                name: text for name, text in outcome.values.items() if name not in outcome.quality
            }
            values += len(told)
            truth = TRUTHS[device.profile]
            if any(Decimal(text) != truth[name] for name, text in told.items()):
                wrong.append(f"{device.case}: {told} at {slot_us}")
    for device in hostile:
        before = [o for at, o in device.found.items() if at < siege.over_us - fleet.PERIOD_US]
        said = {o.cause or code for o in before for code in (o.quality.values() or ("good",))}
        # A unit on a line without transaction numbers that owes answers is not asked for more.
        may_owe = {"timeout"} if "-rtu" in device.case or "-ascii" in device.case else set()
        if not said & (device.allowed | late) or not said <= device.allowed | may_owe | late:
            unnamed.append(f"{device.case}: {sorted(said)}, not {sorted(device.allowed)}")
    back_us = {device.case: _back_us(device, siege.over_us) for device in hostile}
    lost += [f"{case}: {at_us / 1e6:.1f} s" for case, at_us in back_us.items() if at_us > BACK_US]
    shares = [
        sum(not o.cause and not o.quality for o in d.found.values()) / len(slots) for d in good
    ]
    assert not wrong, f"{len(wrong)} wrong values: {wrong[:5]}"
    assert not unnamed, f"{len(unnamed)} not named: {unnamed[:9]}"
    assert not lost, f"{len(lost)} came back too late: {lost[:9]}"
    assert min(shares) >= KEPT, f"good devices kept {min(shares):.1%} of their slots"
    return {
        "cases": f"{len(hostile)} hostile devices beside {len(good)} good ones",
        "wrong values accepted": f"0 of {values}",
        "slots that the good ones kept": f"{min(shares):.1%} of {len(slots)}, of the worst",
        "back after": f"{max(back_us.values()) / 1e6:.1f} s at most",
    }


def _back_us(device: Device, over_us: int) -> float:
    """How long after the end of the siege its first whole reading was due. [us]"""
    whole = [
        at for at, o in device.found.items() if at >= over_us and not o.cause and not o.quality
    ]
    return min(whole) - over_us if whole else float("inf")
