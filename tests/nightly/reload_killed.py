"""The agent is killed in the middle of a change of its site file: the evidence stays whole.

Again and again the site file changes, the operator grants a new epoch, SIGHUP is sent, and the
agent is killed some milliseconds later. What the outbox holds in the end is read as a collector
and a verifier would: every leaf in its place, every slot once, envelopes that count, values that
the approved documents make of the raw words.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, closing
from pathlib import Path

from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.documents import load_profile
from joulemark_agent.foundation import OUTBOX
from joulemark_agent.outbox import Outbox
from joulemark_gateway.evidence import history
from nightly.reload import Unit, _renewed, enroll, site_text
from nightly.wrong_profile import serving
from support.child import search_path
from support.modbus_machine import Machine
from support.recording import batches_of, kept

ROUNDS, FEW = 25, 2
LINES = ("steady", "shared", "coming", "renewed")
LATEST_S = 0.6  # after the signal; a change takes some 50 to 400 ms


async def changed_and_killed(folder: Path, rounds: int, draw: random.Random) -> int:
    """Run, change and kill; how many changes had taken effect when the agent died."""
    machine, path = Unit(), folder / "site.yaml"
    machine.show(Machine(load_profile("virtual_main_meter")[0]).words(0))
    async with AsyncExitStack() as stack:
        ports = {line: await stack.enter_async_context(serving(machine)) for line in LINES}
        urls = {line: f"modbus-tcp://127.0.0.1:{port}" for line, port in ports.items()}
        path.write_text(site_text(urls, 1, _renewed(folder, 0)), "utf-8")
        await asyncio.to_thread(enroll, path, "--create-operator-key")
        effective = 0
        for number in range(1, rounds + 1):
            effective += await _round(folder, path, urls, number, draw)
        return effective


async def _round(
    folder: Path, path: Path, urls: dict[str, str], number: int, draw: random.Random
) -> bool:
    said = folder / "agent.log"
    with said.open("w") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - killed below, without a word
            [sys.executable, "-m", "joulemark_agent.cli", "agent", "run", "-c", str(path)],
            stdout=subprocess.DEVNULL, stderr=log, env={**os.environ, "PYTHONPATH": search_path()},
        )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            while "agent_started" not in said.read_text():
                assert process.poll() is None, said.read_text()
                await asyncio.sleep(0.02)
        await asyncio.sleep(draw.uniform(0.5, 2.0))
        text = site_text(urls, number, _renewed(folder, number))
        await asyncio.to_thread(path.write_text, text, "utf-8")
        await asyncio.to_thread(enroll, path)
        process.send_signal(signal.SIGHUP)
        await asyncio.sleep(draw.uniform(0.0, LATEST_S))
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in said.read_text(), said.read_text()
    return '"reloaded"' in said.read_text()


def judged(outbox: Outbox) -> tuple[int, int, int]:
    """Trees, records and gap slots of what the outbox holds, each checked as the collector does."""
    documents: dict[str, bytes] = {}
    for tree in outbox.trees():
        for batch in batches_of(outbox, tree.device, tree.epoch):
            documents |= parse_batch(batch.payload).documents
    trees = records = gap_slots = 0
    for row in outbox.trees():
        found = history.parse_tree(kept(outbox, row.device, row.epoch).leaves)
        history.check_documents(found, documents)
        history.check_slots(found, history.period_us_of(found, documents))
        history.check_envelopes(found)
        history.check_decode(found, history.profile_of(found, documents))
        trees, records = trees + 1, records + len(found.records)
        gap_slots += sum(gap.slots for _, gap in found.gaps)
    return trees, records, gap_slots


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Twenty-five kills; `full=False` two."""
    rounds = ROUNDS if full else FEW
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        effective = asyncio.run(changed_and_killed(folder, rounds, random.Random(seed)))
        with closing(Outbox(folder / "state" / OUTBOX)) as outbox:
            trees, records, gap_slots = judged(outbox)
    return {
        "kills in the middle of a change": str(rounds),
        "of those after it had taken effect": str(effective),
        "trees that are whole": f"{trees} of {trees}",
        "records, and gap slots while it was dead": f"{records}, {gap_slots}",
    }
