"""Batches a second into a ledger: a SQLite file, and PostgreSQL by one and by two collectors.

The same batches (20 agents, one meter each, 4 slots a batch) are judged, cosigned and committed one
by one, each in a transaction of its own that is flushed to the same disk. There is no broker: what
is measured is what a collector does between a message and its receipt. Two collectors take ten
agents each. Ratios are of the same round; the machine, not the program, decides the rates.
"""

import itertools
import json
import os
import pickle
import statistics
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest

from support import feeding
from support.forks import Forks, until
from support.postgres import cluster, programs

pytestmark = [pytest.mark.bench, pytest.mark.service, pytest.mark.timeout(600)]

AGENTS, BATCHES, ROUNDS = 20, 30, 3
PRELOAD = ("support.feeding", "support.crowd:ready")


@pytest.fixture(scope="module")
def disk():
    """A folder on a disk, for both ledgers."""
    programs()
    with tempfile.TemporaryDirectory(prefix="joulemark-bench-") as name:
        yield Path(name)


def rate(forks, folder, where, shares):
    """Batches a second, and CPU of the collectors for each batch. [1/s, us]"""
    folder.mkdir()
    running = []
    for number, share in enumerate(shares):
        path = folder / f"{number}.pickle"
        # One batch of each agent after the other, as they would arrive.
        rounds = zip(*share, strict=True)
        path.write_bytes(pickle.dumps(list(itertools.chain.from_iterable(rounds))))
        words = [str(path), where, str(AGENTS)]
        running.append(forks.start("support.feeding:run", words, folder / "log.txt"))
        until(path.with_suffix(".ready").exists, "it is ready")
    (folder / feeding.GO).touch()
    said = []
    for process in running:
        text, _ = process.communicate(120)
        assert process.returncode == 0, (folder / "log.txt").read_text()
        said.append(json.loads(text))
    begun, ended, cpu_s, batches = zip(*said, strict=True)
    return sum(batches) / (max(ended) - min(begun)), sum(cpu_s) / sum(batches) * 1e6


def test_batches_a_second_into_a_file_and_into_a_server(disk):
    batches = feeding.made(disk, AGENTS, BATCHES)
    rates: dict[str, list[float]] = {}
    cpu_us: dict[str, list[float]] = {}
    with (
        cluster(folder=Path(tempfile.gettempdir())) as server,
        mock.patch.dict(os.environ, server.environment()),
        Forks(*PRELOAD) as forks,
    ):
        for number in range(ROUNDS):
            for name, count in (("SQLite, one", 1), ("PostgreSQL, one", 1), ("PostgreSQL, two", 2)):
                folder = disk / f"{number} {name}"
                if name.startswith("SQLite"):
                    where = str(folder / "evidence.sqlite")
                else:
                    where = server.ledger().server.url
                shares = [batches[i::count] for i in range(count)]
                found = rate(forks, folder, where, shares)
                rates.setdefault(name, []).append(found[0])
                cpu_us.setdefault(name, []).append(found[1])
    lines = [f"\n{AGENTS * BATCHES} batches, {ROUNDS} rounds, {os.cpu_count()} cores\n"]
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, rates["SQLite, one"], strict=True))
        lines.append(
            f"{name}: {statistics.median(found):.0f} batches/s ({min(found):.0f} to "
            f"{max(found):.0f}), {statistics.median(cpu_us[name]):.0f} us CPU of a collector for a "
            f"batch, {ratio:.2f} of SQLite\n"
        )
    sys.stdout.write("".join(lines))
    assert min(map(min, rates.values())) > 0
