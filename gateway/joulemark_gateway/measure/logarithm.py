"""The natural logarithm as kernels need it: the same bits on every machine."""

from __future__ import annotations

import math

from joulemark_agent.kernels.jit import compiled

_LN_2 = 0.6931471805599453
_SHARES = tuple(1 / odd for odd in range(21, 0, -2))  # of the series


@compiled
def ln(x: float) -> float:
    """The natural logarithm of x > 0 with the same bits everywhere, to some 1e-15."""
    x, power = math.frexp(x)
    if x < 0.7:
        x, power = 2.0 * x, power - 1
    z = (x - 1.0) / (x + 1.0)
    square = z * z
    total = 0.0
    for share in _SHARES:
        total = total * square + share
    return power * _LN_2 + 2.0 * z * total
