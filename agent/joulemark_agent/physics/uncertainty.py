"""The standard uncertainty of what is computed from measurements, as the GUM propagates it.

Where several results share inputs, `covariance` carries what they have in common. Where errors can
be named by their source instead, `budget.py` is simpler and keeps degrees of freedom valid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from joulemark_agent.physics.domain import OutOfDomain, within

Matrix = NDArray[np.float64]

_LEAST_EIGENVALUE = -1e-9  # of a correlation matrix, which has none below 0 but for rounding


def rectangular(half_width: float) -> float:
    """The standard uncertainty of an error that lies anywhere within +-half_width.

    Args:
        half_width: the limit of the error, at least 0. [any unit]

    Formula: M5.
    Source: JCGM 100:2008 (GUM), 4.3.7.
    """
    return within("half_width", half_width, 0.0, math.inf, "") / math.sqrt(3.0)


def triangular(half_width: float) -> float:
    """The standard uncertainty of an error within +-half_width that is likelier near 0.

    Args:
        half_width: the limit of the error, at least 0. [any unit]

    Formula: M5.
    Source: JCGM 100:2008 (GUM), 4.3.9.
    """
    return within("half_width", half_width, 0.0, math.inf, "") / math.sqrt(6.0)


def resolution(step: float) -> float:
    """The standard uncertainty of a value that is told in steps.

    Args:
        step: of the register or display, at least 0. [any unit]

    Formula: M5.
    Source: JCGM 100:2008 (GUM), F.2.2.1.
    """
    return rectangular(step / 2.0)


def judged_degrees_of_freedom(doubt_ratio: float) -> float:
    """The degrees of freedom of an uncertainty that is judged, not computed from repetitions.

    Args:
        doubt_ratio: how far the uncertainty itself may be wrong, relative to it: above 0 up to 1;
            0.1 gives 50. [1]

    Formula: M5.
    Source: JCGM 100:2008 (GUM), G.4.2, equation G.3.
    """
    return 0.5 / within("doubt_ratio", doubt_ratio, 1e-6, 1.0, "1") ** 2


def sensitivities(
    function: Callable[..., float], values: Sequence[float], uncertainties: Sequence[float]
) -> Matrix:
    """The sensitivity of a result to each input, by a step of its uncertainty to either side.

    Args:
        function: the result, of the inputs in their order.
        values: of the inputs, shape (n,).
        uncertainties: standard, of the inputs, above 0, shape (n,).

    Returns:
        sensitivities, shape (n,). [the result's unit per the input's]

    Formula: M5.
    Error: of second order in the uncertainty; none for a linear function.
    Source: JCGM 100:2008 (GUM), 5.1.3, note 2.
    """
    slopes = []
    for k, step in enumerate(uncertainties):
        within("an uncertainty", step, 5e-324, math.inf, "")
        ends = [[*values[:k], values[k] + sign * step, *values[k + 1 :]] for sign in (1.0, -1.0)]
        slopes.append((function(*ends[0]) - function(*ends[1])) / (2.0 * step))
    return np.array(slopes, np.float64)


def covariance(
    jacobian: ArrayLike, uncertainties: ArrayLike, correlations: ArrayLike | None = None
) -> Matrix:
    """The covariances of several results of the same inputs: their variances on the diagonal.

    Args:
        jacobian: sensitivity of each result to each input, shape (m, n).
        uncertainties: standard, of the inputs, at least 0, shape (n,).
        correlations: between the inputs, -1 to 1, symmetric with ones on the diagonal, shape
            (n, n); none given: the inputs are independent.

    Returns:
        shape (m, m). [products of the results' units]

    Formula: M5.
    Source: JCGM 100:2008 (GUM), equation 13, and H.2.3, equation H.9, for several results.
    """
    slopes = np.atleast_2d(np.asarray(jacobian, np.float64))
    spread = np.asarray(uncertainties, np.float64)
    if spread.shape != (slopes.shape[1],):
        raise OutOfDomain(f"{slopes.shape[1]} sensitivities meet {spread.size} uncertainties.")
    if not (np.isfinite(slopes).all() and np.isfinite(spread).all() and (spread >= 0).all()):
        raise OutOfDomain("Sensitivities must be finite, uncertainties finite and at least 0.")
    related = np.eye(spread.size) if correlations is None else _correlations(correlations, spread)
    inner = related * np.outer(spread, spread)
    result: Matrix = slopes @ inner @ slopes.T
    return result


def combined(
    contributions: ArrayLike, uncertainties: ArrayLike, correlations: ArrayLike | None = None
) -> float:
    """The combined standard uncertainty of one result.

    Args:
        contributions: sensitivity of the result to each input, shape (n,).
        uncertainties: standard, of the inputs, shape (n,).
        correlations: between the inputs, as in `covariance`.

    Formula: M5.
    Source: JCGM 100:2008 (GUM), equations 10 and 13.
    """
    return math.sqrt(max(float(covariance(contributions, uncertainties, correlations)[0, 0]), 0.0))


def correlation_of(covariances: ArrayLike) -> Matrix:
    """The correlations that belong to covariances; NaN where a variance is 0.

    Args:
        covariances: symmetric, shape (m, m).

    Formula: M5.
    Source: JCGM 100:2008 (GUM), equation 14.
    """
    matrix = np.atleast_2d(np.asarray(covariances, np.float64))
    spread = np.sqrt(np.diag(matrix))
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Matrix = matrix / np.outer(spread, spread)
    return result


def effective_degrees_of_freedom(
    contributions: Sequence[float],
    degrees_of_freedom: Sequence[float],
    correlations: ArrayLike | None = None,
) -> float:
    """The degrees of freedom of a combined uncertainty (Welch and Satterthwaite).

    Args:
        contributions: sensitivity times uncertainty of each input, shape (n,).
        degrees_of_freedom: of each uncertainty, above 0; infinite where it is known exactly.
        correlations: between the inputs, as in `covariance`. The formula holds for independent
            ones only: any other is refused.

    Formula: M5.
    Source: JCGM 100:2008 (GUM), G.4.1, equation G.2b.
    """
    if len(contributions) != len(degrees_of_freedom):
        raise OutOfDomain("Every contribution needs its degrees of freedom.")
    if correlations is not None:
        related = _correlations(correlations, np.asarray(contributions, np.float64))
        if np.any(related != np.eye(len(contributions))):
            raise OutOfDomain(
                "Effective degrees of freedom are not defined for correlated inputs; name the"
                " shared errors as sources of their own (physics.budget)."
            )
    if any(not degrees > 0 for degrees in degrees_of_freedom):
        raise OutOfDomain("Degrees of freedom must lie above 0.")
    largest = max(map(abs, contributions), default=0.0)
    if not 0 < largest < math.inf:
        return math.inf
    shares = [part / largest for part in contributions]  # whose powers do not overflow
    total = math.fsum(part**2 for part in shares)
    parts = zip(shares, degrees_of_freedom, strict=True)
    below = math.fsum(part**4 / degrees for part, degrees in parts)
    return total**2 / below if below > 0 else math.inf


def expanded(standard_uncertainty: float, coverage_factor: float = 2.0) -> float:
    """The half width of the interval told beside a result, U = k u.

    Args:
        standard_uncertainty: at least 0. [the result's unit]
        coverage_factor: k, above 0; 2 covers about 95 % with many degrees of freedom. [1]

    Formula: M5.
    Source: JCGM 100:2008 (GUM), 6.2.1.
    """
    within("standard_uncertainty", standard_uncertainty, 0.0, math.inf, "")
    return within("coverage_factor", coverage_factor, 1e-9, 1e9, "1") * standard_uncertainty


def _correlations(correlations: ArrayLike, inputs: Matrix) -> Matrix:
    """The correlation matrix, where errors can have it."""
    matrix = np.asarray(correlations, np.float64)
    wanted = (inputs.size, inputs.size)
    if matrix.shape != wanted or not np.isfinite(matrix).all():
        raise OutOfDomain(f"Correlations must be finite and of shape {wanted}.")
    if np.any(np.diag(matrix) != 1.0) or np.any(matrix != matrix.T):
        raise OutOfDomain("Correlations must be symmetric with ones on the diagonal.")
    if np.any(np.abs(matrix) > 1.0) or np.linalg.eigvalsh(matrix)[0] < _LEAST_EIGENVALUE:
        raise OutOfDomain("No errors can have these correlations: check their signs.")
    return matrix
