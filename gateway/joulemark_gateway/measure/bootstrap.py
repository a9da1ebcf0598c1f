"""A cross-check of the interval: whole weeks of residuals, drawn again and again.

The AR(1) interval takes every hour to be as noisy as any other. Weeks keep their noisy and quiet
hours, and all correlation inside a week; what they lose is correlation from week to week. Both
parts of a saving's error are linear in residuals, so no model is fitted again:

    error = sum_j w_j e_j (reporting) - sum_i a_i e_i (baseline),  a = X (X'X)^-1 v.

Source: Künsch 1989 (Annals of Statistics 17(3)), blocks that do not overlap and keep their phase.

The seed is a hash of what is resampled: the same data give the same interval, on any machine.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.linear import Linear, Positions
from joulemark_gateway.measure.qr import Array, products

_LEAST_BLOCKS = 10


@dataclass(frozen=True, eq=False)
class Residuals:
    """What a model left of its baseline, and how many parameters it spent."""

    e: Array
    position: Positions
    parameters: float


@dataclass(frozen=True)
class Bootstrapped:
    """The half-width of the saving's interval, and what it rests on."""

    half_width: float
    confidence: float
    blocks: int
    draws: int
    seed: str  # hex


def entering(model: Linear, x: Array) -> Array:
    """How much of each unit of the baseline enters the sum of the predictions for rows x, (n,)."""
    v = products(np.ones((1, x.shape[0])), model.coordinates(x))
    return products(model.coordinates(model.x), np.ascontiguousarray(v.T))[:, 0]


def block_bootstrap(
    residuals: Residuals,
    entering: Array,
    position: Positions,
    *,
    block: int,
    confidence: float,
    draws: int = 2000,
) -> Bootstrapped:
    """The interval of the summed saving over the reporting units.

    Args:
        residuals: of the baseline.
        entering: how much of each of its units enters the predicted sum, shape (n,).
        position: places of the reporting units, in the phase of the baseline's grid, shape (m,).
        block: units in a block: a week. Only blocks without a hole are drawn.
        confidence: of the two-sided interval, like 0.9.
        draws: how often.

    Raises:
        MeasureError: `too_few_blocks`.
    """
    weeks = _blocks(residuals, block)
    if weeks.shape[0] < _LEAST_BLOCKS:
        raise MeasureError(
            f"The baseline has {weeks.shape[0]} whole blocks of {block} units.",
            f"Give one of at least {_LEAST_BLOCKS}.",
            code="too_few_blocks",
        )
    own = _by_block(np.ones(position.size), position, weeks)
    pulled = _by_block(entering, residuals.position, weeks)
    seed = _seed(weeks, own, pulled, draws)
    picks = _picks(seed, draws * (own.shape[0] + pulled.shape[0]), weeks.shape[0])
    errors = _errors(own, pulled, picks.reshape(draws, -1))
    far = np.sort(np.abs(errors))
    half_width = float(far[math.ceil(confidence * draws) - 1])
    return Bootstrapped(half_width, confidence, weeks.shape[0], draws, seed.hex())


def _blocks(residuals: Residuals, block: int) -> Array:
    """Residuals of the whole blocks, as large as errors are, and 0 on average, shape (B, block)."""
    e, position = residuals.e, residuals.position
    number, phase = position // block, position % block
    first = int(number[0])
    grid = np.full((int(number[-1]) - first + 1, block), np.nan)
    grid[number - first, phase] = e
    weeks: Array = grid[np.isfinite(grid).all(axis=1)]
    if weeks.size == 0:
        return weeks
    mean = math.fsum(weeks.ravel().tolist()) / weeks.size
    return (weeks - mean) * math.sqrt(e.size / (e.size - residuals.parameters))


def _by_block(weights: Array, position: Positions, weeks: Array) -> Array:
    """What each week would add to the sum at each place, shape (places, B)."""
    block = weeks.shape[1]
    number, phase = position // block, position % block
    grid = np.zeros((int(number[-1] - number[0]) + 1, block))
    grid[number - number[0], phase] = weights
    return products(grid, np.ascontiguousarray(weeks.T))


def _seed(weeks: Array, own: Array, pulled: Array, draws: int) -> bytes:
    content = hashlib.sha256()
    for part in (weeks, own, pulled, np.array([draws], np.int64)):
        content.update(np.ascontiguousarray(part).tobytes())
    return content.digest()


def _picks(seed: bytes, count: int, blocks: int) -> NDArray[np.int64]:
    """Numbers below `blocks`, from the raw stream that numpy keeps the same in every version."""
    raw = np.random.PCG64(int.from_bytes(seed, "big")).random_raw(count)
    picks: NDArray[np.int64] = (raw % np.uint64(blocks)).astype(np.int64)
    return picks


@compiled
def _errors(own: Array, pulled: Array, picks: NDArray[np.int64]) -> Array:
    """The error of the saving in each draw, shape (draws,)."""
    out = np.zeros(picks.shape[0])
    for d in range(picks.shape[0]):
        for k in range(own.shape[0]):
            out[d] += own[k, picks[d, k]]
        for k in range(pulled.shape[0]):
            out[d] -= pulled[k, picks[d, own.shape[0] + k]]
    return out
