"""The tail of Fisher's F, without scipy: 1e-9 relative or better up to 10,000 degrees of freedom.

Source: NIST Digital Library of Mathematical Functions 8.17.22 (continued fraction), 8.17.4
(symmetry).
"""

from __future__ import annotations

import math

from joulemark_gateway.measure.student import beta_fraction


def tail(f: float, above: float, below: float) -> float:
    """P(F > f).

    Args:
        f: ratio of two mean squares; at or below 0 the tail is everything.
        above: degrees of freedom of the numerator, above 0.
        below: of the denominator, above 0.
    """
    if f <= 0:
        return 1.0
    if math.isinf(f):
        return 0.0
    scaled = above * f
    x, rest = below / (below + scaled), scaled / (below + scaled)
    a, b = below / 2, above / 2
    # Take the side on which the continued fraction converges fast.
    if x < (a + 1) / (a + b + 2):
        return _part(a, b, x, rest)
    return 1.0 - _part(b, a, rest, x)


def _part(a: float, b: float, x: float, rest: float) -> float:
    """I_x(a, b), with rest = 1 - x; 0 where it is below the smallest number."""
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    front = math.exp(a * math.log(x) + b * math.log(rest) - log_beta)
    return front * beta_fraction(a, b, x) / a
