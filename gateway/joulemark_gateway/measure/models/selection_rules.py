"""The rules by which a production model is taken or refused, in named, versioned policies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.finding import Finding, NamedPolicy
from joulemark_gateway.measure.models.base import Fitted
from joulemark_gateway.measure.models.production import Predictor
from joulemark_gateway.measure.models.terms import ModelTest, TermStatistics, sign_findings
from joulemark_gateway.measure.rules import at_least, at_most, between, range_seen

OUT_OF_RANGE = "driver_out_of_range"  # of the data; every other rule is of the model


@dataclass(frozen=True, eq=False)
class Figures:
    """A set of drivers, its fit, and what the rules look at."""

    predictors: tuple[Predictor, ...]
    fitted: Fitted
    test: ModelTest
    terms: tuple[TermStatistics, ...]
    p: tuple[float, ...]  # of each predictor; of several indicators together by F


@dataclass(frozen=True)
class SelectionPolicy(NamedPolicy):
    """The limits of one version of one policy."""

    most_predictors: int
    most_f_p: float  # of the model
    most_p: float  # of every driver
    one_p_below: float  # of one driver at least
    least_r2: float
    is_r2_adjusted: bool
    range_sd: float
    most_vif: float = math.inf
    are_signs_asked: bool = False
    is_activity_asked: bool = False


def model_rules(policy: SelectionPolicy, of: Figures) -> Iterator[Finding]:
    """Every rule of the model itself, with what was seen."""

    def most(code: str, subject: str, rule: str, seen: float, limit: float) -> Finding:
        return at_most(
            code, by=policy.id, subject=subject, rule=rule, seen=seen, limit=limit, unit="1"
        )

    yield most("model_not_significant", "model", "p of the F test", of.test.p, policy.most_f_p)
    for one, its_p in zip(of.predictors, of.p, strict=True):
        yield most("driver_not_significant", one.name, "p of the driver", its_p, policy.most_p)
    least_p = min(of.p)
    yield Finding(
        "no_significant_driver",
        policy.id,
        "model",
        f"the p of one driver is below {policy.one_p_below:g}",
        least_p,
        None,
        policy.one_p_below,
        "1",
        least_p < policy.one_p_below,
    )
    linear = of.fitted.linear
    seen, code = (
        (linear.adjusted_r2, "low_adjusted_r2") if policy.is_r2_adjusted else (linear.r2, "low_r2")
    )
    yield at_least(
        code,
        by=policy.id,
        subject="model",
        rule="share explained",
        seen=seen,
        limit=policy.least_r2,
        unit="1",
    )
    if policy.most_vif < math.inf:
        for term in of.terms:
            if term.vif is not None:
                yield most(
                    "drivers_too_alike", term.name, "variance inflation", term.vif, policy.most_vif
                )
    if policy.are_signs_asked:
        positive = {
            column for one in of.predictors if one.is_never_negative for column in one.columns
        }
        yield from sign_findings(of.fitted, positive, policy.id)
    if policy.is_activity_asked:
        active = float(sum(one.kind == "activity" for one in of.predictors))
        yield at_least(
            "no_activity_driver",
            by=policy.id,
            subject="model",
            rule="at least one driver says how active the plant was",
            seen=active,
            limit=1.0,
            unit="drivers",
        )


def range_rules(
    policy: SelectionPolicy, of: Sequence[Predictor], data: Data, period: str, units: Data
) -> Iterator[Finding]:
    """The mean of each driver in a period; that of an indicator says nothing of a range.

    Args:
        policy: the rules.
        of: the drivers of the model.
        data: to which it is fitted.
        period: name of the period.
        units: its data.

    Raises:
        MeasureError: `empty_period`, a driver is known nowhere in it.
    """
    for one in of:
        if one.kind == "choice":
            continue
        low, high = range_seen(data.driver(one.name).tolist(), policy.range_sd)
        values = units.driver(one.name)
        values = values[np.isfinite(values)]
        if not values.size:
            raise MeasureError(
                f"{one.name} is known nowhere in the {period}.",
                "Leave the driver or the period out.",
                code="empty_period",
            )
        yield between(
            OUT_OF_RANGE,
            by=policy.id,
            subject=f"{one.name}, {period}",
            rule=f"its mean lies in the model's min-max or mean ± {policy.range_sd:g} sd",
            seen=fmean(values.tolist()),
            low=low,
            high=high,
            unit=one.unit,
        )


SELECTION_POLICIES = {
    policy.id: policy
    for policy in (
        SelectionPolicy(
            id="iso50006-regression",
            version="1",
            text="Up to 4 drivers, one of them activity; p of the model at most 0.10, of every "
            "driver at most 0.20 and of one below 0.10; adjusted R2 at least 0.5; variance "
            "inflation at most 10; no driver whose growth lowers the energy; every period's means "
            "inside the model's range.",
            source="after ISO 50006 and the SEP measurement and verification protocol (2012); the "
            "text of the standard itself was not at hand",
            most_predictors=4,
            most_f_p=0.10,
            most_p=0.20,
            one_p_below=0.10,
            least_r2=0.5,
            is_r2_adjusted=True,
            range_sd=3,
            most_vif=10,
            are_signs_asked=True,
            is_activity_asked=True,
        ),
        SelectionPolicy(
            id="sep-regression",
            version="1",
            text="Up to 4 drivers; p of the model at most 0.10, of every driver at most 0.20 and "
            "of one below 0.10; R2 at least 0.5; every period's means inside the model's range. "
            "Signs, likeness of drivers and activity are not asked for.",
            source="SEP measurement and verification protocol (2012), as ORNL-AMO/VERIFI 51c7017f "
            "applies it",
            most_predictors=4,
            most_f_p=0.10,
            most_p=0.20,
            one_p_below=0.10,
            least_r2=0.5,
            is_r2_adjusted=False,
            range_sd=3,
        ),
    )
}
