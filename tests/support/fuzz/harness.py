"""Fuzzing without coverage: true inputs, changed by a seeded hand, and what a decoder may not do.

A decoder gets any bytes and gives an answer or one of its own errors, within `LIMIT_S` of computing
and with at most `LIMIT_MB` more memory at its highest than it had once warm. A target that knows
what is right says so by AssertionError, which is no error of a decoder.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from joulemark_agent.contract.errors import JoulemarkError
from support.fuzz.mutate import Mutator, octets

LIMIT_S, LIMIT_MB = 0.100, 50.0
MOST_FAILURES = 5  # of one target: the rest would be the same
_AGAIN = 3  # an input that was slow once may have been held up by something else,
_HOPELESS = 5  # but not for so many times the limit
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Target:
    """One decoder: what it takes, how that is changed, and what it may raise."""

    name: str
    corpus: Callable[[], Sequence[bytes]]
    run: Callable[[bytes], Any]  # what it gives may be awaited
    mutate: Mutator = octets
    refusals: tuple[type[Exception], ...] = (JoulemarkError,)


@dataclass
class Outcome:
    """What came of it."""

    target: str
    executions: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest_ms: float = 0.0
    growth_mb: float = 0.0
    failures: list[str] = field(default_factory=list)  # what, and the input in hexadecimal digits

    @property
    def rate(self) -> float:
        """Executions a second."""
        return self.executions / self.seconds if self.seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)

    def check(self) -> None:
        """Raise where the decoder did what it may not."""
        assert not self.failures, f"{self.target}: {'; '.join(self.failures)}"
        assert self.growth_mb <= LIMIT_MB, f"{self.target}: {self.growth_mb:.0f} MB more"
        assert self.refused, f"{self.target}: none refused of {self.executions}"


def drive(target: Target, *, seed: int, seconds: float, executions: int) -> Outcome:
    """Run the target for so long or so often, whichever ends first."""
    return asyncio.run(_drive(target, seed, seconds, executions))


async def _drive(target: Target, seed: int, seconds: float, executions: int) -> Outcome:
    outcome, corpus = Outcome(target.name), list(target.corpus())
    rng = random.Random(f"{target.name} {seed}")
    # Compiles, imports and fills what is kept, before anything is measured.
    refusals = [await _one(target, data, outcome) for data in corpus]
    assert not all(refusals), f"{target.name} refuses every true input: {refusals}"
    gc.collect()
    base_mb = peak_mb(anew=True)
    begun_s = time.monotonic()
    while outcome.executions < executions and outcome.seconds < seconds:
        data = target.mutate(rng, rng.choice(corpus), corpus)
        outcome.refused += bool(await _one(target, data, outcome))
        outcome.executions += 1
        outcome.seconds = time.monotonic() - begun_s
        if len(outcome.failures) >= MOST_FAILURES:
            break
    outcome.growth_mb = max(0.0, peak_mb() - base_mb)
    return outcome


async def _one(target: Target, data: bytes, outcome: Outcome) -> str:
    """What a refusal said; how long it took and what else went wrong is noted."""
    refusal = ""
    took_s = float("inf")
    for _ in range(_AGAIN):
        begun_s = time.thread_time()
        try:
            found = target.run(data)
            if inspect.isawaitable(found):
                await found
        except target.refusals as error:
            refusal = f"{type(error).__name__} {error}"  # not the error, whose frames hold it
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            outcome.failures.append(f"{type(error).__name__}: {error!s:.200} of {_shown(data)}")
        took_s = min(took_s, time.thread_time() - begun_s)
        if not LIMIT_S < took_s < _HOPELESS * LIMIT_S:
            break
    if took_s > LIMIT_S:
        outcome.failures.append(f"{took_s:.3f} s of computing for {_shown(data)}")
    outcome.slowest_ms = max(outcome.slowest_ms, took_s * 1000)
    return refusal


def _shown(data: bytes) -> str:
    return data.hex() if len(data) <= 400 else f"{data[:400].hex()}... ({len(data)} bytes)"


def peak_mb(*, anew: bool = False) -> float:
    """The most memory that this process has had in RAM since it was last asked anew. [MB]"""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
    assert found is not None, "no Linux"
    return int(found[1]) / 1024
