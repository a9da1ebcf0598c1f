"""A labelled synthetic week of a compressor: every state found again, and no chatter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.equipment.base import US_PER_S, Samples
from joulemark_agent.equipment.compressor_states import (
    LOAD,
    OFF,
    UNLOAD,
    Driver,
    States,
    states_of,
)

DAY_S = 86_400
_NEAR = 5  # readings between a true and a found transition

Labels = NDArray[np.int8]


def week(seed: int, *, days: int = 7, period_s: int = 1) -> tuple[Samples, Labels]:
    """Power of a machine with 2 % noise, and what it truly did at each second.

    Shifts with load and unload, breaks in which it idles and stops, nights with a few starts. A
    start draws up to four times the load for up to 8 s, unloaded; after unloading the sump
    blows down for some seconds.
    """
    chance = np.random.default_rng(seed)
    loaded_w, unloaded_w = chance.uniform(30e3, 250e3), 0.0
    unloaded_w = loaded_w * chance.uniform(0.22, 0.45)
    power: list[NDArray[np.float64]] = []
    labels: list[Labels] = []
    total = 0

    def add(label: np.int8, watts: NDArray[np.float64]) -> None:
        nonlocal total
        power.append(watts)
        labels.append(np.full(watts.size, label))
        total += watts.size

    def rest(seconds: int) -> None:
        t_s = np.arange(seconds)
        left = 0.35 * np.exp(-t_s / chance.uniform(4, 12))
        add(UNLOAD, unloaded_w + (loaded_w - unloaded_w) * left)

    while total < days * DAY_S:
        hour = total % DAY_S / 3600
        is_shift = 6 <= hour < 22 and total // DAY_S < 5
        add(OFF, np.full(int(chance.uniform(60, 1800 if is_shift else 14_400)), 0.003 * loaded_w))
        inrush = int(chance.integers(2, 9))
        add(UNLOAD, loaded_w * chance.uniform(1.5, 4.0, inrush))
        add(UNLOAD, np.full(int(chance.integers(3, 20)), unloaded_w))
        for _ in range(int(chance.integers(20, 200) if is_shift else chance.integers(1, 8))):
            add(LOAD, np.full(int(chance.uniform(15, 300)), loaded_w * chance.uniform(0.96, 1.04)))
            rest(int(chance.uniform(15, 400)))
        rest(int(chance.uniform(300, 1200)))
    clean = np.concatenate(power)[: days * DAY_S : period_s]
    truth = np.concatenate(labels)[: days * DAY_S : period_s]
    noisy = clean * (1 + chance.normal(0, 0.02, clean.size))
    t_us = np.arange(clean.size, dtype=np.int64) * period_s * US_PER_S
    return Samples(t_us, {"power_w": noisy}, 3 * period_s * US_PER_S), truth


def states_in(samples: Samples) -> States:
    """The states by power; neither levels nor a rating are declared."""
    return states_of(samples, Driver("power_w", "w", samples.column("power_w")))


def macro_f1(found: Labels, truth: Labels) -> float:
    """The mean over the states of the harmonic mean of precision and recall."""
    scores = []
    for state in (OFF, UNLOAD, LOAD):
        both = np.sum((found == state) & (truth == state))
        scores.append(2 * both / (np.sum(found == state) + np.sum(truth == state)))
    return float(np.mean(scores))


def spurious(found: Labels, truth: Labels) -> int:
    """Transitions that are found with no true one near."""
    at, true = np.flatnonzero(np.diff(found)), np.flatnonzero(np.diff(truth))
    nearest = np.abs(at[:, None] - true[np.clip(np.searchsorted(true, at)[:, None] - [1, 0], 0,
                                                true.size - 1)])  # fmt: skip
    return int(np.sum(nearest.min(axis=1) > _NEAR))


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Many weeks, or one."""
    scores, chatter = [], []
    for turn in range(20 if full else 1):
        samples, truth = week(seed + turn)
        states = states_in(samples)
        assert not states.why, states.why
        scores.append(macro_f1(states.labels, truth[:-1]))
        chatter.append(spurious(states.labels, truth[:-1]) / 7)
        assert scores[-1] >= 0.99, (seed + turn, scores[-1])
        assert chatter[-1] <= 1, (seed + turn, chatter[-1])
    return {
        "weeks": str(len(scores)),
        "least macro-F1": f"{min(scores):.4f}",
        "most spurious transitions a day": f"{max(chatter):.2f}",
    }
