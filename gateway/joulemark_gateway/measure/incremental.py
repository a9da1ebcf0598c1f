"""A running saving: unit by unit under a frozen baseline, from a small state, not from all units.

Of the units seen, the variance of a sum of savings, s2 (w'R w + v'C v) (see `uncertainty`), needs

    own_gh = w_g'R w_h,  v_g = sum_i w_i x_i,  carried_g = sum_i w_i rb^(t - t_i),

g being the whole or a local month. A unit of weight w at the time t adds w (w + 2 carried_g) to
own_gg of the sums that it is in, and w carried_h to what these share with the others. So a day
costs O(p^2 + months) however many came before it, and gives what all units at once give: saving and
variance to the last bit, in blocks of any sizes.

A state belongs to one model under one policy with its adjustments and is refused with another.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.arrivals import Arrived, arrived, line_of
from joulemark_gateway.measure.baseline import Baseline
from joulemark_gateway.measure.calendar import US_PER_S
from joulemark_gateway.measure.cusum import Cumulative
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.engine import Month
from joulemark_gateway.measure.estimate import LineEstimate
from joulemark_gateway.measure.finding import PolicyUsed
from joulemark_gateway.measure.linear import Positions
from joulemark_gateway.measure.meter_error import Uncertain
from joulemark_gateway.measure.qr import Array, residuals
from joulemark_gateway.measure.running_state import State
from joulemark_gateway.measure.uncertainty import whole_power


@dataclass(frozen=True, eq=False)
class RunningSaving:
    """A baseline that follows its reporting period.

    The saving is that of the model, as `avoided_energy` has it before the meter's error and before
    adjustments that have a value. The rules that look at the reporting period as a whole are judged
    there; here those of the baseline are.
    """

    baseline: Baseline
    estimate: LineEstimate
    sha256: str

    @classmethod
    def of(cls, baseline: Baseline) -> RunningSaving:
        """The follower of a baseline.

        Raises:
            MeasureError: `no_model`; `not_one_line`; the code of the first rule of the policy
                that refuses.
        """
        estimate = line_of(baseline)
        baseline.verdict.require()
        return cls(baseline, estimate, _digest(baseline, estimate))

    @property
    def policy(self) -> PolicyUsed:
        """The policy that stands beside every figure."""
        return self.baseline.plan.sufficiency.used()

    def begin(self) -> State:
        """The state before the first unit."""
        return State.empty(self.sha256, self.estimate.noise.model.p)

    def resumed(self, document: Mapping[str, Any]) -> State:
        """The state that was written.

        Raises:
            MeasureError: `bad_state`, `state_of_another_model`.
        """
        state = State.of(document)
        self._require_own(state)
        return state

    def add(self, state: State, data: Data) -> tuple[State, Cumulative]:
        """The state after some more units, and the saving up to each of them that counts.

        Args:
            state: of this follower; it stays as it is.
            data: units of the reporting period, whole ones of the model, with places on one grid
                for all of it. One without a value, or excluded, is missing and leaves a hole.

        Raises:
            MeasureError: `state_of_another_model`, `other_zone`, `duplicate_stamp`,
                `stamps_out_of_order`, `shared_place`, `missing_driver`, `not_finite` and those of
                `guard.checked`; the state that was given is still good.
        """
        self._require_own(state)
        came = arrived(self.baseline, state.seen, data)
        if came is None:
            return state, self._cumulative(data.position, np.zeros((2, 0)))
        return self._after(state, came)

    def so_far(self, state: State) -> Uncertain:
        """The saving of all units seen. [Wh]

        Raises:
            MeasureError: `state_of_another_model`.
        """
        self._require_own(state)
        noise = self.estimate.noise
        variance = noise.joined(state.own[:1, :1], state.pulled[:1])[0, 0]
        return Uncertain(float(state.saved_wh[0]), math.sqrt(variance), noise.degrees_of_freedom)

    def months(self, state: State) -> tuple[Month, ...]:
        """The saving of each local month so far.

        Raises:
            MeasureError: `state_of_another_model`.
        """
        u_wh = np.sqrt(np.diag(self.covariance(state)))
        degrees = self.estimate.noise.degrees_of_freedom
        return tuple(
            Month(label, kept, Uncertain(float(saved_wh), float(u), degrees))
            for label, kept, saved_wh, u in zip(
                state.months, state.kept, state.saved_wh[1:], u_wh, strict=True
            )
        )

    def covariance(self, state: State) -> Array:
        """The covariances of the months' savings, which add up to the variance of all. [Wh2]

        Raises:
            MeasureError: `state_of_another_model`.
        """
        self._require_own(state)
        return self.estimate.noise.joined(state.own[1:, 1:], state.pulled[1:])

    def _after(self, state: State, came: Arrived) -> tuple[State, Cumulative]:
        units, design, seen = came
        fitted, noise = self.estimate.fitted, self.estimate.noise
        saved_wh = -residuals(design, units.energy_wh, fitted.linear.beta)
        scale = fitted.scale(units)
        rows = noise.model.coordinates(design / scale[:, None])
        months, kept, month = _months(state, units)
        grown = state.copied(seen, months, kept)
        before = 0 if state.seen is None else state.seen.counted_at  # carried is 0 at the first
        running = _add(
            rows, saved_wh, scale, units.position, month, before, noise.rho_used,
            noise.coefficients, grown.saved_wh, grown.carried, grown.own, grown.pulled,
        )  # fmt: skip
        if not np.isfinite(running).all():
            raise MeasureError(
                "The saving so far is no number.",
                "Look for values that are too large.",
                code="not_finite",
            )
        return grown, self._cumulative(units.position, running)

    def _cumulative(self, position: Positions, running: Array) -> Cumulative:
        u_wh = np.sqrt(self.estimate.noise.variance * running[1])
        return Cumulative(position, running[0], u_wh, self.estimate.process)

    def _require_own(self, state: State) -> None:
        p = self.estimate.noise.model.p
        if state.sha256 != self.sha256 or state.pulled.shape[1] != p:
            raise MeasureError(
                "The state belongs to another model, policy or set of adjustments.",
                "Begin again with all units of the reporting period.",
                code="state_of_another_model",
            )


def _digest(baseline: Baseline, estimate: LineEstimate) -> str:
    """All that the sums depend on: the model with the units of its fit, and what is left out."""
    plan, fitted, noise = baseline.plan, estimate.fitted, estimate.noise
    model = noise.model
    told = (
        fitted.id,
        [term.name for term in fitted.terms],
        sorted((name, float(value).hex()) for name, value in fitted.facts.items()),
        [float(value).hex() for value in estimate.process],
        model.x.shape,
        (plan.sufficiency.id, plan.sufficiency.version, plan.carrier),
        [asdict(one) for one in plan.adjustments],
        baseline.given.zone.key,
    )
    content = hashlib.sha256(repr(told).encode())
    for part in (model.x, model.y, model.position, model.beta, model.basis, noise.coefficients):
        content.update(np.ascontiguousarray(part).tobytes())
    return content.hexdigest()


def _months(state: State, units: Data) -> tuple[list[str], list[int], Positions]:
    """The months up to these units, how many units each has, and the month of each unit, (m,)."""
    labels, kept = list(state.months), list(state.kept)
    month = np.empty(units.n, np.int64)
    for i, start_us in enumerate(units.start_us.tolist()):
        local = datetime.fromtimestamp(start_us // US_PER_S, units.zone)
        label = f"{local.year:04}-{local.month:02}"
        if not labels or label != labels[-1]:
            labels.append(label)
            kept.append(0)
        kept[-1] += 1
        month[i] = len(labels) - 1
    return labels, kept, month


@compiled
def _add(  # noqa: PLR0917 -- columns of the units, then the sums
    rows: Array,
    saved: Array,
    weights: Array,
    position: Positions,
    month: Positions,
    before: int,
    rho: float,
    coefficients: Array,
    sums: Array,
    carried: Array,
    own: Array,
    pulled: Array,
) -> Array:
    """The saving and its variance over s2 at each unit, shape (2, m); adds the units to the sums.

    For the whole the order of operations is that of `Noise.cumulative_variance`.
    """
    m, p = rows.shape
    out = np.empty((2, m))
    last = before
    for i in range(m):
        factor = whole_power(rho, position[i] - last)
        last = position[i]
        for g in range(sums.size):
            carried[g] *= factor
        weight, own_month = weights[i], 1 + month[i]
        for g in (0, own_month):
            for h in range(sums.size):
                if h not in (0, own_month):
                    own[g, h] += weight * carried[h]
                    own[h, g] = own[g, h]
            own[g, g] += weight * (weight + 2.0 * carried[g])
        own[0, own_month] += weight * (weight + carried[0] + carried[own_month])
        own[own_month, 0] = own[0, own_month]
        for g in (0, own_month):
            carried[g] += weight
            sums[g] += saved[i]
            for j in range(p):
                pulled[g, j] += weight * rows[i, j]
        total = own[0, 0]
        for j in range(p):
            for k in range(p):
                total += pulled[0, j] * coefficients[j, k] * pulled[0, k]
        out[0, i] = sums[0]
        out[1, i] = total
    return out
