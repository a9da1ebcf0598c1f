"""Steps of the level inside noise that remembers its past: where they are, and those that are hid.

The memory is taken out of the series first: with r = rho^(places between), z_i = (y_i - r y_{i-1})/
sqrt(1 - r^2) are independent, and a level m of both neighbours is seen in z_i as m c_i with
c_i = (1 - r)/sqrt(1 - r^2). Two looks at it:

- A step that comes and goes hides from a search that pays for each of its cuts by itself. For
  every pair of places the level between them is set against that of the rest: n ln(SSE0 / SSE1).
  The units at the cuts are left out and wild ones cut short, since one alone would look like a
  step. It has three parameters, two places and a level, as one cut of mean and variance has (a
  place and both); it pays 3.5 ln n, for the memory is an estimate too.
- A cut moves to where the likelihood of both its sides is largest. There the unit at the cut
  counts: the jump is there at full height, whatever the noise remembers.

Source: Olshen and others 2004, doi 10.1093/biostatistics/kxh008 (circular segmentation); the
likelihood of an AR(1) process with a level on each side, derived.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.data import Times
from joulemark_gateway.measure.logarithm import ln
from joulemark_gateway.measure.qr import Array

Cuts = NDArray[np.int64]
_ROUNDS = 2
_WILD = 4 * 1.4826  # of the median size of z: four standard deviations of a normal one
_UNITS_OF_A_STRETCH = 14  # longer stretches are scanned in steps of so many to each


class Freed(NamedTuple):
    """A series without its memory; sums up to and without each unit but the first, shape (n + 1,).

    `memory` is r between a unit and the one before it, shape (n,).
    """

    values: Array  # centred
    memory: Array
    squares: Array  # of z^2
    products: Array  # of c z
    levels: Array  # of c^2


@compiled
def with_steps(  # noqa: PLR0917 -- the series, its noise and what is asked for
    values: Array, places: Times, cuts: Cuts, rho: float, min_units: int, price: float
) -> Cuts:
    """Cuts, with those of steps that each of the stretches between them hides, well placed.

    Args:
        values: the series, shape (n,).
        places: of its units on their grid, increasing, shape (n,).
        cuts: first index behind each, increasing.
        rho: correlation of neighbours, from 0 to below 1.
        min_units: the shortest stretch.
        price: of a step, as deviance of independent units.
    """
    tamed, freed = _freed(values, places, rho, True), _freed(values, places, rho, False)
    edges = np.zeros(values.size // min_units + 2, np.int64)
    edges[1 : cuts.size + 1] = cuts
    edges[cuts.size + 1] = values.size
    count, k = cuts.size + 2, 0
    while k < count - 1:
        begin, end = _hidden(tamed, edges[k], edges[k + 1], min_units, price)
        fresh = int(begin > edges[k]) + int(edges[k] < end < edges[k + 1])
        if fresh == 0:
            k += 1
            continue
        for j in range(count - 1, k, -1):
            edges[j + fresh] = edges[j]
        edges[k + 1] = begin
        if fresh == 2:
            edges[k + 2] = end
        count += fresh
    for _ in range(_ROUNDS):
        for j in range(1, count - 1):
            edges[j] = _placed(freed, edges[j - 1], edges[j], edges[j + 1], min_units)
    return edges[1 : count - 1].copy()


@compiled
def _freed(values: Array, places: Times, rho: float, is_tamed: bool) -> Freed:
    """The series without its memory; `is_tamed` cuts wild units short."""
    n = values.size
    centre = 0.0
    for i in range(n):
        centre += values[i] / n
    centred, memory, z, c = np.empty(n), np.zeros(n), np.zeros(n), np.zeros(n)
    for i in range(n):
        centred[i] = values[i] - centre
        if i == 0:
            continue
        r = 1.0
        for _ in range(min(places[i] - places[i - 1], 1000)):
            r *= rho
        memory[i] = r
        scale = np.sqrt(1.0 - r * r)
        z[i], c[i] = (centred[i] - r * centred[i - 1]) / scale, (1.0 - r) / scale
    limit = _WILD * np.sort(np.abs(z[1:]))[n // 2] if is_tamed else 0.0
    squares, products, levels = np.zeros(n + 1), np.zeros(n + 1), np.zeros(n + 1)
    for i in range(1, n):
        if limit > 0.0:
            z[i] = min(max(z[i], -limit), limit)
        squares[i + 1] = squares[i] + z[i] * z[i]
        products[i + 1] = products[i] + c[i] * z[i]
        levels[i + 1] = levels[i] + c[i] * c[i]
    return Freed(centred, memory, squares, products, levels)


@compiled
def _hidden(freed: Freed, start: int, end: int, min_units: int, price: float) -> tuple[int, int]:
    """First index of the step that is worth its price, and the one behind it; -1 where none is.

    A step that begins with the stretch or ends with it has one cut.
    """
    best, first, last = price, -1, -1
    stride = max(min_units // _UNITS_OF_A_STRETCH, 1)
    one, least = start + 1, _least(freed)  # the first unit follows none of the stretch
    square, product, level = _between(freed, one, end)
    n = end - start
    for a in range(start + min_units, end - min_units + 1, stride):
        b = a + min_units
        while b <= end:
            if b > end - min_units and b < end:
                b = end
            _, inner_product, inner_level = _between(freed, a + 1, b)
            cut, cut_product, cut_level = _between(freed, a, a + 1)
            if b < end:
                other, other_product, other_level = _between(freed, b, b + 1)
                cut, cut_product, cut_level = (
                    cut + other,
                    cut_product + other_product,
                    cut_level + other_level,
                )
            all_squares = square - cut
            all_products, all_levels = product - cut_product, level - cut_level
            outer_product, outer_level = all_products - inner_product, all_levels - inner_level
            if inner_level > 0.0 and outer_level > 0.0:
                without = all_squares - all_products * all_products / all_levels
                gain = inner_product * inner_product / inner_level
                gain += outer_product * outer_product / outer_level
                left = max(all_squares - gain, least * n)
                deviance = n * ln(max(without, left) / left) if left > 0.0 else 0.0
                if deviance > best:
                    best, first, last = deviance, a, b
            b += stride
    return first, last


@compiled
def _between(freed: Freed, first: int, end: int) -> tuple[float, float, float]:
    """The sums over the units from one index to before another."""
    return (
        freed.squares[end] - freed.squares[first],
        freed.products[end] - freed.products[first],
        freed.levels[end] - freed.levels[first],
    )


@compiled
def _least(freed: Freed) -> float:
    """The least variance: a stuck stretch has none of its own."""
    n = freed.values.size
    least: float = 1e-4 * freed.squares[n] / n
    return least


@compiled
def _placed(freed: Freed, start: int, cut: int, end: int, min_units: int) -> int:
    """The index between two edges at which a cut is likeliest.

    The sides have spreads of their own where that is worth a parameter at the cut as it was.
    """
    n, least = end - start, _least(freed)
    if least <= 0.0:
        return cut
    left, right = _sides(freed, start, cut, end)
    apart = _deviance(left, cut - start, least) + _deviance(right, end - cut, least)
    is_one = _deviance(left + right, n, least) - apart < ln(float(n))
    best, found = np.inf, cut
    for at in range(start + min_units, end - min_units + 1):
        left, right = _sides(freed, start, at, end)
        if is_one:
            deviance = left + right
        else:
            deviance = _deviance(left, at - start, least) + _deviance(right, end - at, least)
        if deviance < best:
            best, found = deviance, at
    return found


@compiled
def _sides(freed: Freed, start: int, at: int, end: int) -> tuple[float, float]:
    """What the likeliest level of each side of a cut leaves there, the jump with the right one."""
    head = freed.values[start]  # it follows none of the stretch: a level is seen in it as it is
    r = freed.memory[at]
    scale = np.sqrt(1.0 - r * r)
    z = (freed.values[at] - r * freed.values[at - 1]) / scale
    of_left, of_right = -r / scale, 1.0 / scale  # how the unit at the cut sees both levels
    squares, products, levels = _between(freed, start + 1, at)
    squares, products, levels = squares + head * head, products + head, levels + 1.0
    right_squares, right_products, right_levels = _between(freed, at + 1, end)
    aa, bb = levels + of_left * of_left, right_levels + of_right * of_right
    ab = of_left * of_right
    ay, by = products + of_left * z, right_products + of_right * z
    determinant = aa * bb - ab * ab
    left, right = (ay * bb - by * ab) / determinant, (by * aa - ay * ab) / determinant
    jump = z - of_left * left - of_right * right
    squares += left * left * levels - 2.0 * left * products
    right_squares += right * right * right_levels - 2.0 * right * right_products + jump * jump
    return squares, right_squares


@compiled
def _deviance(squares: float, n: int, least: float) -> float:
    variance = max(squares / n, least)
    deviance: float = n * ln(variance) + squares / variance
    return deviance
