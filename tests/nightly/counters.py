"""Counters that wrap, reset, lie at dawn, stick, leap and go back: energy against the truth.

Each kind of month is drawn anew for every seed, decoded from register words and followed as its
profile declares. What holds in each: every step that is booked is the truth within one quantum per
event, nothing more is booked than was counted, what is not booked is a step with an event or none
at all, every event is in the log and no other, and however the readings are cut it is the same.
"""

from __future__ import annotations

import numpy as np

from joulemark_agent.kernels.counter import Followed
from support.counters import FIRST_US, KINDS, PERIOD_US, Month, nodes_of

ROUNDS = 200


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Months of every kind; the naive sums must fail."""
    rounds = ROUNDS if full else 1
    figures: dict[str, str] = {}
    months = steps = events = 0
    phantom_wh, missed = 0, 0
    off: dict[str, list[float]] = {"last - first": [], "sum of rises": []}
    for number, (kind, make) in enumerate(KINDS.items()):
        worst = 0.0
        for k in range(rounds):
            draw = np.random.default_rng([seed, number, k])
            month = make(draw)
            found = month.follow()[0]
            worst = max(worst, _judge(kind, month, found))
            _same_however_cut(month, found, draw)
            months, steps, events = months + 1, steps + found.t_us.size, events + len(found.events)
            phantom_wh += max(0, int(found.count[-1] - month.truth_wh[-1]) - _allowed(month, found))
            missed += len(month.planned) - len(found.events)
            _naive(month, off)
        figures[kind] = f"worst step {worst:.2f} quanta off"
    for name, errors in off.items():
        share = np.mean([error > 1 for error in errors])
        assert share > 0.5, f"{name} should fail"
        figures[f"naive: {name}"] = (
            f"wrong by more than one quantum per event in {share:.0%} of the months,"
            f" by up to {max(errors):,.0f} quanta"
        )
    assert phantom_wh == 0
    assert missed == 0
    return {
        "months of 30 days": f"{months:,}",
        "steps followed": f"{steps:,}",
        "events put in and found": f"{events:,}",
        "phantom energy": f"{phantom_wh} Wh",
        **figures,
    }


def _allowed(month: Month, found: Followed) -> int:
    """One quantum per event, and one for the two ends."""
    return month.quantum_wh * (len(found.events) + 1)


def _judge(kind: str, month: Month, found: Followed) -> float:
    """Every booked step against the truth; the worst difference in quanta."""
    truth_wh = month.truth_wh[found.index]
    rise, true = np.diff(found.count), np.diff(truth_wh)
    booked = found.step[1:] > 0
    off = (rise - true)[booked]
    ends = {event.at_us for event in found.events}
    is_stuck = "catch_up" in {event.code for event in found.events}  # wrong until it moves again
    assert is_stuck or np.abs(off).max() <= 2 * month.quantum_wh, f"{kind}: {off.max()} Wh off"
    assert abs(int(off.sum())) <= _allowed(month, found), f"{kind}: the sum is {off.sum()} Wh off"
    assert not rise[~booked].any(), f"{kind}: energy in a step that is not booked"
    unbooked = set(found.t_us[1:][~booked].tolist())
    assert unbooked <= ends, f"{kind}: a step is missing without an event"
    short = np.diff(found.t_us) <= month.semantics.max_gap_us
    assert np.all(short | (found.step[1:] != 1) | (rise == 0)), f"{kind}: a long step is measured"
    log = [(event.code, (event.at_us - FIRST_US) // PERIOD_US) for event in found.events]
    assert sorted(log, key=_place) == sorted(month.planned, key=_place), f"{kind}: the log is {log}"
    return float((abs(off.sum()) if is_stuck else np.abs(off).max()) / month.quantum_wh)


def _place(row: tuple[str, int]) -> tuple[int, str]:
    return row[1], row[0]


def _same_however_cut(month: Month, whole: Followed, draw: np.random.Generator) -> None:
    size = month.shown.size
    cuts = tuple(np.sort(draw.choice(np.arange(1, size), int(draw.integers(1, 60)), False)))
    blocks = month.follow(tuple(int(cut) for cut in cuts))
    assert nodes_of(blocks) == nodes_of([whole])
    assert blocks[-1].state == whole.state


def _naive(month: Month, off: dict[str, list[float]]) -> None:
    """How far the two usual sums are from the truth, in quanta per event."""
    counts = month.counts[month.good]
    rises = np.diff(counts)
    truth_wh = int(month.truth_wh[-1])
    per = month.quantum_wh * (len(month.planned) + 1)
    off["last - first"].append(abs(int(counts[-1] - counts[0]) - truth_wh) / per)
    off["sum of rises"].append(abs(int(rises[rises > 0].sum()) - truth_wh) / per)
