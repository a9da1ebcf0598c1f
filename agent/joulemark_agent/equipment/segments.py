"""Time cut into what a machine did: runs of one label, unbroken by gaps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.equipment.base import Span, Times

Labels = NDArray[np.int8]
UNKNOWN = np.int8(-1)


@dataclass(frozen=True)
class Run:
    """Samples first <= i < stop with one label; their time is [t_us[first], t_us[stop])."""

    label: int
    first: int
    stop: int

    @property
    def size(self) -> int:
        """How many samples it has."""
        return self.stop - self.first


def on_steps(labels: Labels, step_us: Times) -> Labels:
    """The labels of the steps: what no time is vouched for is unknown. Shape (n - 1,)."""
    return np.where(step_us > 0, labels, UNKNOWN)[:-1]


def runs(labels: Labels) -> Iterator[Run]:
    """The longest runs of equal labels, in order."""
    if labels.size:
        edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), labels.size]
        for first, stop in pairwise(edges):
            yield Run(int(labels[first]), first, stop)


def spans(labels: Labels, t_us: Times, kinds: Sequence[str]) -> Iterator[Span]:
    """The runs of the steps as spans; `kinds` names the labels from 0 on, unknown is none."""
    for run in runs(labels):
        if run.label != UNKNOWN:
            yield Span(kinds[run.label], int(t_us[run.first]), int(t_us[run.stop]))


def settled(labels: Labels, least: int, fixed: Sequence[np.int8] = ()) -> Labels:
    """The labels without runs of fewer than `least` samples: they take the label before them.

    Where there is none before them they take the one after. Unknown and `fixed` labels are neither
    replaced nor taken, so a short run between two of those stays.
    """
    stays = {int(UNKNOWN), *(int(label) for label in fixed)}
    kept = labels.copy()
    found = list(runs(labels))
    for i, run in enumerate(found):
        if run.label in stays or run.size >= least:
            continue
        before = int(kept[run.first - 1]) if run.first else int(UNKNOWN)
        after = found[i + 1].label if i + 1 < len(found) else int(UNKNOWN)
        label = after if before in stays else before
        if label not in stays:
            kept[run.first : run.stop] = label
    return kept
