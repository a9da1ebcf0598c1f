"""Heat that radiates out of an opening of a furnace: a door, a peephole, a gap.

The wall around a deep opening sends part of the radiation back. How much gets out, the view factor,
hangs on the ratio of the opening's smaller side to the thickness of the wall.
"""

from __future__ import annotations

from math import pi
from typing import NamedTuple

from joulemark_agent.physics.domain import within
from joulemark_agent.physics.furnace_losses import radiation

_LEAST, _MOST = 0.1, 6.0  # ratios between which the fits stand
_ROUND_WIDE = 0.86
_LARGEST_M = 1e3

# Percent, by rising powers of the ratio: below and from 1 on.
_ROUND = (
    (1.10000000001829, 92.8571428570049, -57.5892857139671, 15.6249999998005),
    (29.4999999989821, 26.8416666684161, -4.35416666785322, -8.33333333461522e-2, 0.104166666655532,
     -8.33333333686747e-3),
)  # fmt: skip
_SQUARE = (
    (3.50000000001719, 89.5833333332039, -49.9999999997023, 10.4166666664804),
    (23.9999999965639, 39.3916666718743, -11.6041666697487, 1.85416666706894, -0.145833333217932,
     4.16666663902102e-3),
)  # fmt: skip
_TWO_TO_ONE = (
    (2.70000000002409, 112.678571428391, -70.9821428567315, 15.6249999997447),
    (35.4999999992976, 29.4583333347815, -4.52083333446976, -0.687499999606652, 0.270833333273064,
     -2.08333333303721e-2),
)  # fmt: skip
_TEN_TO_ONE = (
    (13.0000000000278, 123.74999999979, -99.9999999995182, 31.249999999699),
    (26.9999999903567, 64.5666666806646, -29.9166666745008, 7.14583333396145, -0.833333332874441,
     3.74999999085373e-2),
)  # fmt: skip
_Curve = tuple[tuple[float, ...], tuple[float, ...]]


class ViewFactor(NamedTuple):
    """The share of the radiation inside that gets out."""

    value: float
    is_extrapolated: bool  # narrower than a tenth of the wall: the fits do not reach there


def round_view_factor(diameter_m: float, thickness_m: float) -> ViewFactor:
    """The view factor of a round opening.

    Args:
        diameter_m: of the opening; none has no view. [m, >= 0]
        thickness_m: of the wall. [m, >= 0]

    Formula: F2.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/losses/OpeningLosses.cpp, 2024-10-11.
    Error: below a tenth of the thickness it is scaled down to zero, and said to be extrapolated.
    """
    ratio = _ratio(diameter_m, thickness_m)
    if ratio >= _MOST:
        return ViewFactor(_ROUND_WIDE, is_extrapolated=False)
    if ratio < _LEAST:
        scaled = _fit(_ROUND, _LEAST) * ratio / _LEAST
        return ViewFactor(scaled, is_extrapolated=diameter_m > 0)
    return ViewFactor(_fit(_ROUND, ratio), is_extrapolated=False)


def rectangular_view_factor(width_m: float, height_m: float, thickness_m: float) -> ViewFactor:
    """The view factor of a rectangular opening, whichever side is the longer.

    Args:
        width_m: one side; none has no view. [m, >= 0]
        height_m: the other. [m, >= 0]
        thickness_m: of the wall. [m, >= 0]

    Formula: F2.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/losses/OpeningLosses.cpp, 2024-10-11.
    Error: below a tenth of the thickness it is held at its value there (from ten to one on scaled
        down to zero), and said to be extrapolated: a narrow gap may come out too high.
    """
    within("width_m", width_m, 0, _LARGEST_M, "m")
    within("height_m", height_m, 0, _LARGEST_M, "m")
    shorter, longer = sorted((width_m, height_m))
    if shorter == 0:
        return ViewFactor(0.0, is_extrapolated=False)
    ratio, aspect = _ratio(shorter, thickness_m), longer / shorter
    is_narrow = ratio < _LEAST
    at = min(max(ratio, _LEAST), _MOST)
    if aspect >= 10:
        value = _fit(_TEN_TO_ONE, at) * (ratio / _LEAST if is_narrow else 1.0)
    elif aspect >= 2:
        value = _between(_fit(_TWO_TO_ONE, at), _fit(_TEN_TO_ONE, at), (aspect - 2) / 8)
    else:
        value = _between(_fit(_SQUARE, at), _fit(_TWO_TO_ONE, at), aspect - 1)
    return ViewFactor(value, is_narrow)


def opening_loss(
    area_m2: float,
    view_factor: float,
    inside_k: float,
    ambient_k: float,
    *,
    emissivity: float = 0.95,
    open_ratio: float = 1.0,
) -> float:
    """The heat that radiates out of an opening. [W]

    Args:
        area_m2: of the opening. [m2, >= 0]
        view_factor: from `round_view_factor` or `rectangular_view_factor`. [0 to 1]
        inside_k: temperature of the furnace. [K, 200 to 3000]
        ambient_k: of the hall. [K, 200 to 3000]
        emissivity: of the furnace seen through the opening. [0 to 1]
        open_ratio: share of the time in which it is open. [0 to 1]

    Formula: F2.
    Source: ORNL-AMO/AMO-Tools-Suite @15208321, src/calculator/losses/OpeningLosses.cpp, 2024-10-11.
    """
    within("area_m2", area_m2, 0, _LARGEST_M**2, "m2")
    within("view_factor", view_factor, 0, 1, "1")
    within("open_ratio", open_ratio, 0, 1, "1")
    return radiation(emissivity, inside_k, ambient_k) * area_m2 * view_factor * open_ratio


def round_area(diameter_m: float) -> float:
    """The area of a round opening. [m2]

    Args:
        diameter_m: of the opening. [m, >= 0]

    Formula: F2.
    Source: geometry.
    """
    return pi * within("diameter_m", diameter_m, 0, _LARGEST_M, "m") ** 2 / 4


def _ratio(side_m: float, thickness_m: float) -> float:
    within("side", side_m, 0, _LARGEST_M, "m")
    within("thickness_m", thickness_m, 0, _LARGEST_M, "m")
    if side_m == 0:
        return 0.0
    return _MOST if thickness_m == 0 else side_m / thickness_m


def _fit(curve: _Curve, ratio: float) -> float:
    below, above = curve
    powers = below if ratio < 1 else above
    return sum(factor * ratio**power for power, factor in enumerate(powers)) / 100


def _between(first: float, second: float, weight: float) -> float:
    return first + (second - first) * weight
