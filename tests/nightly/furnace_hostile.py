"""A furnace model that is fed what no furnace shows: it refuses with a reason, and never breaks.

Columns lack, hold nothing, leap, change sign or scale, the record is cut anywhere, and sections are
left out. Whatever comes, no figure is infinite, none stands twice, none without a value is without
a reason, and no share of time lies outside 0 to 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.equipment.base import Figure, Samples
from joulemark_agent.equipment.furnace import Parameters, analyse
from nightly.furnace_balance import UNCERTAIN, declared, furnaces

ROUNDS = 3_000


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Rounds of spoiled samples and sections."""
    rounds = ROUNDS if full else 40
    exact = {name: np.ones(1) for name in UNCERTAIN}
    whole = next(furnaces(np.random.default_rng(seed), exact, np.zeros(1)))
    values = refused = 0
    for k in range(rounds):
        draw = np.random.default_rng([seed, k])
        found = analyse(_section(draw), _spoiled(whole, draw))
        for figures in (found.figures, *(span.figures for span in found.spans)):
            _judge(figures)
        values += sum(figure.value is not None for figure in found.figures)
        refused += sum(figure.value is None for figure in found.figures)
    assert values > refused > 0
    return {"rounds": f"{rounds:,}", "figures given": f"{values:,}", "refused": f"{refused:,}"}


def _judge(figures: tuple[Figure, ...]) -> None:
    names = [figure.name for figure in figures]
    assert len(names) == len(set(names)), f"{sorted(names)} holds one twice"
    for figure in figures:
        assert (figure.value is None) == bool(figure.why), (
            f"{figure} has no reason, or one too many"
        )
        for number in (figure.value, figure.standard_uncertainty):
            assert number is None or math.isfinite(number), f"{figure} is not finite"
        covered = figure.covered_ratio
        assert covered is None or 0 <= covered <= 1, f"{figure} covers no share of the time"


def _section(draw: np.random.Generator) -> Parameters:
    section: dict[str, Any] = declared().model_dump(exclude_none=True)
    for name, chance in (("losses", 0.2), ("metering", 0.1)):
        if draw.random() < chance:
            section.pop(name)
    if draw.random() < 0.1:
        section["electricity"] = None
    if draw.random() < 0.1:
        section["charge_signal"] = "door_state"
    return Parameters.model_validate(section)


def _spoiled(whole: Samples, draw: np.random.Generator) -> Samples:
    size = whole.t_us.size
    first = int(draw.integers(0, size))
    stop = int(draw.integers(first, size + 1)) if draw.random() < 0.5 else size
    first = first if draw.random() < 0.5 else 0
    values = {}
    for name, column in whole.values.items():
        made = _made_wrong(column[first:stop].copy(), draw)
        if made is not None:
            values[name] = made
    return Samples(whole.t_us[first:stop], values, whole.max_gap_us)


def _made_wrong(
    column: NDArray[np.float64], draw: np.random.Generator
) -> NDArray[np.float64] | None:
    """The column as it may come; None: not at all."""
    kind = draw.random()
    if kind < 0.04:
        return None
    if kind < 0.07:
        column[:] = np.nan
    elif kind < 0.12:
        column[draw.random(column.size) < draw.random()] = np.nan
    elif kind < 0.16:
        column *= float(draw.choice([-1, 0, 1e6, -1e6, 1e-6]))
    elif kind < 0.2 and column.size:
        column[draw.integers(0, column.size)] = float(draw.choice([1e300, -1e300, 0, -1, 5e9]))
    elif kind < 0.22:
        column[:] = draw.normal(0, 1e3, column.size)
    return column
