"""What a fitted baseline says of other units: how much they would have used, and how surely.

One face for models of one line and for blends of several. Errors are those of weighted sums of
savings (predicted minus measured): taken at the aggregate, never summed from units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.base import Fitted, Structure
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.uncertainty import (
    Noise,
    Process,
    ar1_process,
    ar1_products,
    ar1_squares,
    lag_one_correlation,
    noise_of,
    noise_of_fitted,
)

if TYPE_CHECKING:
    from joulemark_gateway.measure.models.time_of_week_blend import Blend


class Estimate(Protocol):
    """A baseline that has been fitted, with the noise that it leaves."""

    @property
    def id(self) -> str:
        """The method, like change-point-3ph."""

    @property
    def residuals(self) -> Array:
        """What the model leaves of the baseline's units, shape (n,). [Wh]"""

    @property
    def rho(self) -> float:
        """The correlation of neighbouring residuals."""

    @property
    def process(self) -> Process:
        """The AR(1) process behind them."""

    def predict_wh(self, data: Data) -> Array:
        """What units would have used, NaN where that is not known, shape (m,). [Wh]"""

    def covariance(self, data: Data, weights: Array) -> Array:
        """Covariances of K weighted sums of savings, weights of shape (K, m). [Wh2]"""

    def mean_covariance(self, data: Data, weights: Array) -> Array:
        """The same of expected energies: without the noise of the units themselves. [Wh2]"""

    def variances(self, data: Data, weights: Array) -> Array:
        """The variance of each of K weighted sums of savings, shape (K,). [Wh2]"""

    def running_variance(self, data: Data, ends: Sequence[int]) -> Array:
        """The variance of the sum of the first k savings, for each k of `ends`. [Wh2]"""


@dataclass(frozen=True, eq=False)
class LineEstimate:
    """A model that is linear in its terms, or was made so where it was found."""

    fitted: Fitted
    noise: Noise

    @property
    def id(self) -> str:
        """The method."""
        return self.fitted.id

    @property
    def residuals(self) -> Array:
        """What the model leaves, each in nominal units, shape (n,). [Wh]"""
        return self.fitted.linear.e

    @property
    def rho(self) -> float:
        """The correlation of neighbouring residuals."""
        return self.noise.rho

    @property
    def process(self) -> Process:
        """The AR(1) process behind them."""
        noise = self.noise
        return Process(noise.rho_used, noise.variance, noise.effective_n, noise.degrees_of_freedom)

    def predict_wh(self, data: Data) -> Array:
        """What units would have used. [Wh]"""
        return self.fitted.predict_wh(data)

    def covariance(self, data: Data, weights: Array) -> Array:
        """Covariances of K weighted sums of savings."""
        scale = self.fitted.scale(data)
        return self.noise.covariance(self._rows(data, scale), data.position, weights * scale)

    def variances(self, data: Data, weights: Array) -> Array:
        """The variance of each of K weighted sums of savings."""
        return np.diag(self.covariance(data, weights)).copy()

    def mean_covariance(self, data: Data, weights: Array) -> Array:
        """Covariances of K weighted sums of expected energies."""
        scale = self.fitted.scale(data)
        return self.noise.mean_covariance(self._rows(data, scale), weights * scale)

    def running_variance(self, data: Data, ends: Sequence[int]) -> Array:
        """The variance of the sum of the first k savings, for each k of `ends`."""
        scale = self.fitted.scale(data)
        every = self.noise.cumulative_variance(self._rows(data, scale), data.position, scale)
        return every[np.array(ends, np.int64) - 1]

    def _rows(self, data: Data, scale: Array) -> Array:
        return self.fitted.tangent(data) / scale[:, None]


class CellEstimate(LineEstimate):
    """A line whose noise is taken from its structure; spread out only for whoever asks for it."""

    def __init__(self, fitted: Fitted, structure: Structure, data: Data) -> None:
        """Take the process of the residuals.

        Raises:
            MeasureError: `residuals_too_correlated`.
        """
        linear = fitted.linear
        rho = lag_one_correlation(linear.e, linear.position)
        process = ar1_process(rho, linear.n, linear.p, linear.sse)
        self.__dict__.update(
            fitted=fitted, _structure=structure, _position=data.position, _rho=rho, _process=process
        )

    @cached_property
    def noise(self) -> Noise:
        """The noise of all terms."""
        return noise_of(self.fitted.linear)

    @property
    def rho(self) -> float:
        """The correlation of neighbouring residuals."""
        rho: float = self.__dict__["_rho"]
        return rho

    @property
    def process(self) -> Process:
        """The AR(1) process behind them."""
        process: Process = self.__dict__["_process"]
        return process

    def covariance(self, data: Data, weights: Array) -> Array:
        """Covariances of K weighted sums of savings."""
        own = ar1_products(np.ascontiguousarray(weights), data.position, self.process.rho_used)
        return self.process.variance * own + self.mean_covariance(data, weights)

    def variances(self, data: Data, weights: Array) -> Array:
        """The variance of each of K weighted sums of savings."""
        rho = self.process.rho_used
        own = ar1_squares(np.ascontiguousarray(weights), data.position, rho)
        pulled = ar1_squares(self._entering(data, weights), self.__dict__["_position"], rho)
        return self.process.variance * own + self.process.variance * pulled

    def mean_covariance(self, data: Data, weights: Array) -> Array:
        """Covariances of K weighted sums of expected energies."""
        pulled = ar1_products(
            self._entering(data, weights), self.__dict__["_position"], self.process.rho_used
        )
        return self.process.variance * pulled

    def _entering(self, data: Data, weights: Array) -> Array:
        structure: Structure = self.__dict__["_structure"]
        return structure.entering(data, weights)


@dataclass(frozen=True, eq=False)
class BlendEstimate:
    """Several models, each for its own part of the time."""

    blend: Blend

    @property
    def id(self) -> str:
        """The method."""
        return self.blend.id

    @cached_property
    def residuals(self) -> Array:
        """What the models leave. [Wh]"""
        return self.blend.residuals

    @cached_property
    def rho(self) -> float:
        """The correlation of neighbouring residuals."""
        return lag_one_correlation(self.residuals, self.blend.baseline.position)

    @cached_property
    def process(self) -> Process:
        """The AR(1) process behind them."""
        return self.blend.process()

    def predict_wh(self, data: Data) -> Array:
        """What units would have used. [Wh]"""
        return self.blend.predict_wh(data)

    def covariance(self, data: Data, weights: Array) -> Array:
        """Covariances of K weighted sums of savings."""
        own = ar1_products(weights, data.position, self.process.rho_used)
        return self.process.variance * own + self.mean_covariance(data, weights)

    def variances(self, data: Data, weights: Array) -> Array:
        """The variance of each of K weighted sums of savings."""
        return np.diag(self.covariance(data, weights)).copy()

    def mean_covariance(self, data: Data, weights: Array) -> Array:
        """Covariances of K weighted sums of expected energies."""
        entering = np.array([self.blend.entering(data, row) for row in weights])
        pulled = ar1_products(entering, self.blend.baseline.position, self.process.rho_used)
        return self.process.variance * pulled

    def running_variance(self, data: Data, ends: Sequence[int]) -> Array:
        """The variance of the sum of the first k savings, for each k of `ends`."""
        order = np.arange(data.n)
        return np.array(
            [self.covariance(data, (order < end).astype(np.float64)[None])[0, 0] for end in ends]
        )


def estimate_of(model: Fitted | Blend, data: Data) -> Estimate:
    """The model with its noise.

    Args:
        model: of any family.
        data: what it was fitted to.

    Raises:
        MeasureError: `residuals_too_correlated`, `too_few_units`.
    """
    if not isinstance(model, Fitted):
        estimate = BlendEstimate(model)
        _ = estimate.process  # refuses now what has no interval
        return estimate
    if model.structure is not None:
        return CellEstimate(model, model.structure, data)
    return LineEstimate(model, noise_of_fitted(model, data))
