"""N14: from the start of the agent to its first value at a broker, and the memory it takes.

A machine of 50 values, and 100 of them; kernels are in the cache. Without numba the kernels run as
plain functions: then a module of that name that cannot be imported stands before it. Every slot is
a batch of its own, so that what is measured is the start and not the batch.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.end_to_end import Batches, Ear, PlainChain, cpu_s, machines, peak_mb, unwatched
from support.rounds import say

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

ROUNDS = 3


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("numba", ["with numba", "without numba"])
def test_seconds_and_megabytes_to_the_first_value(tmp_path: Path, count: int, numba: str) -> None:
    lines = []
    for number in range(ROUNDS + 1):
        with machines(count) as ports:
            chain = PlainChain(tmp_path / str(number), ports, batch="{slots: 1}")
            try:
                chain.prepare()
                with (
                    unwatched(),
                    numba_or_not(tmp_path / "blocked", is_there=numba == "with numba"),
                ):
                    chain.start("broker")
                    ear = Ear(chain.ports["broker"], "joulemark/v1/up/+/+/batch", Batches())
                    chain.start("collector")
                    time.sleep(3)
                    begun_s = time.monotonic()
                    chain.start("agent")
                pid = chain.processes["agent"].pid
                while not (found := ear.taken()):
                    assert time.monotonic() - begun_s < 120
                    time.sleep(0.01)
                took_s, cpu = time.monotonic() - begun_s, cpu_s(pid)
                assert found
                if number:
                    lines.append(f"{took_s:.2f} s ({cpu:.2f} CPU-s, {peak_mb(pid):.0f} MB)")
                ear.close()
            finally:
                chain.stop()
    say(
        f"N14 {count} machines, {numba}, warm cache: {', '.join(sorted(lines))}; load"
        f" {os.getloadavg()[0]:.0f}"
    )


@contextmanager
def numba_or_not(folder: Path, *, is_there: bool) -> Iterator[None]:
    """Whether what is started meanwhile can import numba."""
    before = os.environ.get("PYTHONPATH", "")
    if not is_there:
        folder.mkdir(exist_ok=True)
        (folder / "numba.py").write_text("raise ImportError('blocked')\n", "utf-8")
        os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PYTHONPATH"] = before
