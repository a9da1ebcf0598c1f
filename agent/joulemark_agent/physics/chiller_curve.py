"""What a chiller of a common kind can cool and takes, by temperatures and load: published curves.

The curves are those of MEASUR: fits in degrees Fahrenheit of the temperature of the chilled water
as it leaves and of what enters the condenser (water, or outdoor air where it is air-cooled).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from joulemark_agent.physics.domain import OutOfDomain, inside, within
from joulemark_agent.physics.us_units import F_AT_0_K, F_PER_K

ChillerKind = Literal[
    "centrifugal_water",
    "centrifugal_water_vfd",
    "centrifugal_water_magnetic",
    "centrifugal_air",
    "screw_water",
    "screw_air",
]
LEAST_LOAD_RATIO = 0.1  # below it the source evaluates at a tenth

_SUPPLY_K = (273.15, 298.15)
_CONDENSER_K = (273.15, 328.15)
_MOST_W = 1e9
_Six = tuple[float, float, float, float, float, float]


class _Curve(NamedTuple):
    capacity: _Six  # 1, s, s^2, c, c^2, s c; s supply, c condenser [degF]
    temperature: _Six  # likewise, of the power
    load: _Six  # 1, x, x^2, d, d^2, x d; x part load, d = c - s


CURVES: Mapping[str, _Curve] = {
    "centrifugal_water": _Curve(
        (-0.49737319, -0.00956073, -0.00059561, 0.04352099, -0.00058394, 0.00096007),
        (1.15361547, -0.03067901, 0.00030591, 0.00670874, 0.0000528, -0.00009297),
        (0.27969646, 0.57375735, 0.25690463, -0.00580717, 0.00014649, -0.00353007),
    ),
    "centrifugal_water_vfd": _Curve(
        (-0.38924542, -0.02195141, -0.00027343, 0.04974775, -0.00053441, 0.00067295),
        (1.42868233, -0.08227751, 0.00030243, 0.03622194, -0.00029211, 0.00043788),
        (0.14703037, -0.00349667, 1.01161313, -0.00359697, 0.00027167, -0.01164471),
    ),
    "centrifugal_water_magnetic": _Curve(
        (1.37074482, -0.04210769, -0.00029363, 0.01559556, -0.00051769, 0.00119421),
        (1.37895823, -0.03063673, 0.00013163, -0.0004975, 0.00005392, 0.00009815),
        (-0.08770346, 0.63231272, 0.52312154, 0.00289049, 0.00008105, -0.00786588),
    ),
    "centrifugal_air": _Curve(
        (-1.38147235, 0.10363494, -0.00103756, 0.00368918, -0.00006936, 0.00002531),
        (-0.40465075, 0.03093917, -0.00029274, 0.00840319, 0.00002946, -0.00010866),
        (0.24258001, 0.41468, 0.34273973, 0.0, 0.0, 0.0),
    ),
    "screw_air": _Curve(
        (0.67083991, 0.00274941, 0.00018121, 0.00326176, -0.00003443, -0.0000339),
        (0.93630582, -0.0101571, 0.00021678, -0.00245357, 0.00013577, -0.00021563),
        (0.01040687, 1.05183303, -0.09462459, 0.00163543, -0.00000779, -0.00060324),
    ),
    "screw_water": _Curve(
        (0.89823061, 0.0004535, 0.0002369, -0.0010475, -0.0000293, -0.00002035),
        (0.62493622, -0.00099309, 0.00017366, -0.00086447, 0.00019627, -0.0003377),
        (-0.11699212, 1.26354492, -0.21946673, 0.00294536, 0.00001688, -0.00185917),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Rating:
    """What the plate of a chiller says, at the conditions of its rating (AHRI 550/590)."""

    kind: ChillerKind
    cooling_w: float
    input_ratio: float  # electric over cooling power; 0.676 kW/ton is 0.1922
    most_capacity_ratio: float = 1.0  # the source divides the rated capacity by it


@dataclass(frozen=True, eq=False)
class Expected:
    """What a chiller is expected to do, at each instant; NaN where the curves say nothing."""

    capacity_w: NDArray[np.float64]  # what it could cool
    input_ratio: NDArray[np.float64]  # electric power over that capacity, not over the load
    power_w: NDArray[np.float64]


def expected(
    rating: Rating, load_w: ArrayLike, supply_k: ArrayLike, condenser_k: ArrayLike
) -> Expected:
    """What a chiller of that kind can cool and what power it takes at a load.

    Args:
        rating: kind, capacity (1e3 to 1e8 W), power over cooling at full load (0.02 to 2), and
            largest capacity ratio (0.1 to 10).
        load_w: what it cools, any shape; NaN where it is 0 or below (a chiller at rest has no point
            on the curve) or above the capacity. Below a tenth of the capacity: as at a tenth. [W]
        supply_k: chilled water as it leaves, the same shape, 273.15 to 298.15; beyond: NaN. [K]
        condenser_k: water or air as it enters the condenser, likewise, 273.15 to 328.15. [K]

    Formula: S4.
    Error: none is stated; the ranges of temperature are ours, the source states none. The source
        squares its polynomial of capacity.
    Source: ORNL-AMO/MEASUR-Tools-Suite at 09765bcb, include/processCooling/ChillerEfficiency.h,
        coefficients and formulas; numbers of its tests at 9c294ae8, 2025-02-21.
    """
    if rating.kind not in CURVES:
        raise OutOfDomain(f"There are no curves for {rating.kind!r}; use one of {sorted(CURVES)}.")
    within("cooling_w", rating.cooling_w, 1e3, 1e8, "W")
    within("input_ratio", rating.input_ratio, 0.02, 2.0, "1")
    within("most_capacity_ratio", rating.most_capacity_ratio, 0.1, 10.0, "1")
    curve = CURVES[rating.kind]
    supply_f = inside(supply_k, *_SUPPLY_K) * F_PER_K + F_AT_0_K
    condenser_f = inside(condenser_k, *_CONDENSER_K) * F_PER_K + F_AT_0_K
    root = inside(_surface(curve.capacity, supply_f, condenser_f), 1e-3, 10.0)
    capacity_w = root**2 * rating.cooling_w / rating.most_capacity_ratio
    load = inside(load_w, 5e-324, _MOST_W) / capacity_w
    part = np.maximum(inside(load, 0.0, 1.0), LEAST_LOAD_RATIO)
    by_load = _surface(curve.load, part, condenser_f - supply_f)
    by_temperature = _surface(curve.temperature, supply_f, condenser_f)
    input_ratio = inside(by_temperature * by_load, 0.0, 10.0) * rating.input_ratio
    return Expected(capacity_w, input_ratio, capacity_w * input_ratio)


def _surface(six: _Six, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    one, x1, x2, y1, y2, xy = six
    value: NDArray[np.float64] = one + x1 * x + x2 * x**2 + y1 * y + y2 * y**2 + xy * x * y
    return value
