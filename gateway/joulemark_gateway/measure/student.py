"""Student's t for any positive degrees of freedom, without scipy: 1e-10 relative or better.

Source: incomplete beta function, NIST Digital Library of Mathematical Functions 8.17.22 (continued
fraction) and 8.17.4 (symmetry); the gamma ratio from DLMF 5.11.13.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

from joulemark_agent.kernels.jit import compiled

_TINY = 1e-300
_MANY = 20_000
_LARGE = 30.0


def tail(t: float, degrees: float) -> float:
    """P(T > t)."""
    if t < 0:
        return 1.0 - tail(-t, degrees)
    half = degrees / 2
    inside = t * t / (degrees + t * t)
    # Take the side on which the continued fraction converges fast.
    if inside < (0.5 + 1) / (half + 0.5 + 2):
        return 0.5 - 0.5 * _beta_part(t, degrees, 0.5, half, inside)
    return 0.5 * _beta_part(t, degrees, half, 0.5, 1.0 - inside)


@lru_cache(maxsize=4096)
def quantile(probability: float, degrees: float) -> float:
    """The t with P(T <= t) = probability.

    Args:
        probability: above 0 and below 1.
        degrees: degrees of freedom, from 0.5; not necessarily whole.
    """
    if not 0 < probability < 1 or not degrees >= 0.5:
        raise ValueError(f"no t quantile for probability {probability}, {degrees} degrees")
    if probability == 0.5:
        return 0.0
    if probability < 0.5:
        return -quantile(1.0 - probability, degrees)
    target = 1.0 - probability
    low, high = 0.0, max(1.0, NormalDist().inv_cdf(probability))
    while tail(high, degrees) > target:
        low, high = high, 2 * high
    t = high
    for _ in range(200):
        error = tail(t, degrees) - target
        low, high = (t, high) if error > 0 else (low, t)
        step = error / _density(t, degrees)
        following = t + step
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - t) <= 1e-15 * t:
            return following
        t = following
    return t


def _density(t: float, degrees: float) -> float:
    log_scale = _log_gamma_ratio(degrees / 2) - 0.5 * math.log(degrees * math.pi)
    return math.exp(log_scale - (degrees + 1) / 2 * math.log1p(t * t / degrees))


def _log_gamma_ratio(a: float) -> float:
    """ln(Gamma(a + 1/2) / Gamma(a)); for large a the series, where lgamma cancels."""
    if a < _LARGE:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    b = 1 / a
    series = b * (-1 / 8 + b**2 * (1 / 192 + b**2 * (-1 / 640 + b**2 * 17 / 14336)))
    return 0.5 * math.log(a) + series


def _beta_part(t: float, degrees: float, a: float, b: float, x: float) -> float:
    """I_x(a, b) for a and b being 1/2 and degrees / 2, x the matching share of t."""
    if x <= 0:
        return 0.0
    # ln(x^a (1-x)^b / B(a, b)): one of x and 1-x is degrees / (degrees + t^2).
    log_front = (
        _log_gamma_ratio(degrees / 2)
        - 0.5 * math.log(math.pi)
        + math.log(abs(t) / math.sqrt(degrees))
        - (degrees + 1) / 2 * math.log1p(t * t / degrees)
    )
    return math.exp(log_front) * beta_fraction(a, b, x) / a


@compiled
def beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's method."""
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    value = d
    for m in range(1, _MANY):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > _TINY else _TINY)
            c = 1.0 + term / c
            c = c if abs(c) > _TINY else _TINY
            value *= c * d
        if abs(c * d - 1.0) < 4e-16:
            break
    return value
