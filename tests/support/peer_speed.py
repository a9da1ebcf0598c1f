"""Times and memory of both sides of a comparison, taken in turn in one run."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from support.child import search_path
from support.peer_environment import clean
from support.peer_own import FLEET, HOURLY_METERS, METERS, YEAR_H, YEARS
from support.peer_processes import ROUNDS, Side, Took, caller, said, taken_in_turn

TESTS = Path(__file__).parents[1]
NO_SCIPY = "import sys; sys.modules['scipy'] = None"
KERNEL = (
    "import time, numpy as np; from joulemark_gateway.measure.qr import products;"
    " from support.peer_wire import peak_mb, tell; products(np.eye(2), np.eye(2));"
    " tell({'cpu_s': time.process_time(), 'peak_mb': peak_mb()})"
)


class Own(NamedTuple):
    """A call of ours: its kind, of how many meters it is, and what it is called."""

    kind: str
    meters: int
    name: str


class Peer(NamedTuple):
    """A call of the peer, and how many times as long it is to take as a batch of ours."""

    kind: str
    name: str
    limit: int


DAYS = (
    Own("many-choices", METERS, f"ours, choice for one of {METERS:,} daily meters, no interval"),
    Own("many-models", FLEET, f"ours, one of {FLEET:,} daily meters, model and interval"),
    Own("many-savings", FLEET, f"ours, one of {FLEET:,} daily meters, policy and saving too"),
    Own("model", 1, "ours, one daily meter, model and interval"),
    Own("one-meter", 1, "ours, one daily meter, policy, model, saving and interval"),
)
HOURS = (
    Own(
        "many-hours",
        HOURLY_METERS,
        f"ours, one of {HOURLY_METERS:,} hourly meters, saving and interval",
    ),
    Own("model", 1, "ours, one hourly meter, model and interval"),
    Own("one-meter", 1, "ours, one hourly meter, policy, model, saving and interval"),
)
DAILY_PEERS = (Peer("daily", "opendsm daily", 2_000), Peer("legacy", "opendsm legacy", 300))
HOURLY_PEERS = (
    Peer("hourly", "opendsm hourly", 200),
    Peer("caltrack-hourly", "opendsm CalTRACK-2 hourly", 5_000),
)


def compared(
    python: Path, case: Path, peers: Sequence[Peer], own: Sequence[Own], seed: int
) -> dict[str, str]:
    """Medians, ranges and ratios of some rounds in which every call has its turn.

    Args:
        python: of the peer's environment.
        case: the meter.
        peers: calls of the peer.
        own: calls of ours.
        seed: of the meters of a batch.
    """
    with ExitStack() as stack:
        sides = [opendsm(python, "time", peer.kind, str(case)) for peer in peers]
        sides += [ours("time", one.kind, str(case), str(seed)) for one in own]
        found = taken_in_turn([stack.enter_context(caller(side)) for side in sides])
    theirs, mine = found[: len(peers)], found[len(peers) :]
    figures = {peer.name: _times(took, 1) for peer, took in zip(peers, theirs, strict=True)}
    figures |= {one.name: _times(took, one.meters) for one, took in zip(own, mine, strict=True)}
    for peer, took in zip(peers, theirs, strict=True):
        for one, spent in zip(own, mine, strict=True):
            asked = f"; asked for: {peer.limit:,}" if one.meters > 1 else ""
            figures[f"{peer.name} / {one.name}"] = _ratios(took, spent, one.meters) + asked
    return figures


def memory(case: Path, seed: int) -> dict[str, str]:
    """Import and first fit, with and without a cache; and a thousand years of hours.

    numba loads scipy where it finds it, as here for other tests; the engine needs none.
    """
    said(ours("first", str(case)))  # compiles what is not yet
    with tempfile.TemporaryDirectory() as empty:
        without = said(_bare("first", str(case), NUMBA_CACHE_DIR=empty))
    thousand = said(ours("thousand", str(seed)))
    asked = "; asked for: 2.5 s, 150 MB"
    return {
        "numba and one kernel of ours": _middle(_code(KERNEL)),
        "ours, import and first fit, compiled before": _middle(_bare("first", str(case))) + asked,
        "the same where scipy is installed": _middle(ours("first", str(case))),
        "ours, import and first fit, nothing compiled": f"{without['cpu_s']:.1f} s of CPU,"
        f" {without['peak_mb']:.0f} MB; asked for: 30 s",
        f"ours, {YEARS:,} meters of {YEAR_H:,} h": f"{thousand['peak_mb']:.0f} MB at most,"
        f" {thousand['before_mb']:.0f} MB before the fit; asked for: 600 MB",
    }


def _bare(*words: str, **settings: str) -> Side:
    """A process of the engine that finds no scipy."""
    return _code(f"from support.peer_own import main; main({list(words)!r})", **settings)


def _code(code: str, **settings: str) -> Side:
    side = ours(**settings)
    return Side(side.python, ("-c", f"{NO_SCIPY}; {code}"), side.environment)


def _middle(side: Side) -> str:
    found = [said(side) for _ in range(ROUNDS)]
    cpu_s, peak_mb = (median(one[name] for one in found) for name in ("cpu_s", "peak_mb"))
    return f"{cpu_s:.2f} s of CPU, {peak_mb:.0f} MB"


def opendsm(python: Path, *words: str) -> Side:
    """A process of the peer."""
    return Side(
        python, ("-m", "support.peer_opendsm", *words), {**clean(), "PYTHONPATH": str(TESTS)}
    )


def ours(*words: str, **settings: str) -> Side:
    """A process of the engine."""
    found = {**os.environ, "PYTHONPATH": search_path(), **settings}
    return Side(Path(sys.executable), ("-m", "support.peer_own", *words), found)


def _times(took: list[Took], meters: int) -> str:
    wall, cpu = ([one[k] / meters for one in took] for k in (0, 1))
    return (
        f"{_span(wall)}, {_duration(median(cpu))} of CPU;"
        f" {max(one.peak_mb for one in took):.0f} MB at most"
    )


def _ratios(theirs: list[Took], mine: list[Took], meters: int) -> str:
    told = []
    for k, name in ((0, "by the clock"), (1, "by CPU")):
        each = [a[k] / (b[k] / meters) for a, b in zip(theirs, mine, strict=True)]
        told.append(f"{median(each):,.0f} ({min(each):,.0f} to {max(each):,.0f}) {name}")
    return ", ".join(told)


def _span(seconds: list[float]) -> str:
    low, middle, high = min(seconds), median(seconds), max(seconds)
    return f"{_duration(middle)} ({_duration(low)} to {_duration(high)})"


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"
