"""Two levels in the values of a machine, where it has two: Otsu's split, told by their medians."""

from __future__ import annotations

import numpy as np

from joulemark_agent.equipment.base import Values

_LEAST_SAMPLES = 2  # of a level
_MOST_BETWEEN = 0.1  # of the samples, in the middle fifth of the way
_BETWEEN = (0.4, 0.6)


def two_levels(values: Values, most_lower_ratio: float) -> tuple[float, float] | None:
    """The lower and the upper level; None where the values do not lie at two.

    Args:
        values: without NaN, shape (n,).
        most_lower_ratio: of the upper level, the largest that the lower may be.

    Source: Otsu 1979, DOI 10.1109/TSMC.1979.4310076.
    """
    if values.size < 2 * _LEAST_SAMPLES:
        return None
    ordered = np.sort(np.minimum(values, np.quantile(values, 0.99)))  # a peak makes no level
    left = np.arange(1, ordered.size)
    below = np.cumsum(ordered)[:-1]
    distance = (ordered.sum() - below) / (ordered.size - left) - below / left
    split = int(np.argmax(left * (ordered.size - left) * distance**2)) + 1
    low, high = float(np.median(ordered[:split])), float(np.median(ordered[split:]))
    way = (ordered - low) / (high - low) if high > low else np.zeros(ordered.size)
    is_apart = low < high and low <= most_lower_ratio * high
    few_between = np.mean((way > _BETWEEN[0]) & (way < _BETWEEN[1])) <= _MOST_BETWEEN
    are_levels = min(split, ordered.size - split) >= _LEAST_SAMPLES
    return (low, high) if is_apart and few_between and are_levels else None
