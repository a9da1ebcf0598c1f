"""Samples that come late: put in order while their window waits, and after it a new revision.

A window is never edited. Samples that are late by no more than the lateness are put where they
belong before they are booked, so the windows are those of samples that came in order. For one that
is later, the windows it touches are made again from the samples that evidence keeps, and stand
beside the first ones with the next revision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.stream import (
    END_US,
    POINT,
    REVISION,
    START_US,
    Rows,
    Times,
    Values,
    begun,
    step_many,
)

_NEVER_US = -(2**62)


@dataclass(frozen=True, eq=False)
class Block:
    """Samples of some points, as `step_many` takes them."""

    t_us: Times  # shape (n,)
    x: Values  # shape (n, points)
    q: NDArray[np.uint8]  # shape (n, points)

    def rows(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Block:
        """Some of its rows."""
        return Block(self.t_us[chosen], self.x[chosen], self.q[chosen])

    def followed_by(self, other: Block) -> Block:
        """The rows of both."""
        return Block(
            np.concatenate([self.t_us, other.t_us]),
            np.concatenate([self.x, other.x]),
            np.concatenate([self.q, other.q]),
        )


@dataclass(frozen=True, eq=False)
class Waiting:
    """What may still be overtaken, and the newest instant that was seen."""

    block: Block
    newest_us: int


def nobody(points: int) -> Waiting:
    """Nothing waits, and nothing was seen."""
    empty = np.empty((0, points))
    return Waiting(Block(np.empty(0, np.int64), empty, empty.astype(np.uint8)), _NEVER_US)


def arranged(waiting: Waiting, arrived: Block, lateness_us: int) -> tuple[Block, Waiting, Block]:
    """The samples whose turn has come, in order; those that wait; those that came too late.

    Formula: E12.

    Args:
        waiting: from the block before, or `nobody`.
        arrived: in the order of arrival; rows of one instant keep theirs.
        lateness_us: by how much a sample may come after a newer one; two periods are usual. [us]

    However the arrivals are cut into blocks, the samples come out the same.
    """
    newest_us = np.maximum.accumulate(np.append(waiting.newest_us, arrived.t_us))
    is_late = arrived.t_us < newest_us[:-1] - lateness_us
    whole = waiting.block.followed_by(arrived.rows(~is_late))
    order = np.argsort(whole.t_us, kind="stable")
    is_ready = whole.t_us[order] <= newest_us[-1] - lateness_us
    left = Waiting(whole.rows(order[~is_ready]), int(newest_us[-1]))
    return whole.rows(order[is_ready]), left, arrived.rows(is_late)


def revised(rules: Times, closed: Rows, kept: Block) -> Rows:
    """Windows made again from all their samples, each with the revision after its last one.

    Formula: E12.

    Args:
        rules: of the points.
        closed: the windows to be made again, the latest revision of each.
        kept: every sample of them in order of time, and of each point a good one before and one
            after them: a window that `kept` does not close is not revised.

    Returns:
        the new rows. Where a window stood for several, they stand for it together.
    """
    uncut = np.zeros(kept.t_us.size, np.bool_)
    made = step_many(rules, begun(rules.shape[0]), kept.t_us, kept.x, kept.q, uncut)
    found = []
    for row in closed:
        is_inside = (
            (made[:, POINT] == row[POINT])
            & (made[:, START_US] >= row[START_US])
            & (made[:, END_US] <= row[END_US])
        )
        again = made[is_inside]
        again[:, REVISION] = row[REVISION] + 1
        found.append(again)
    return np.concatenate([made[:0], *found])
