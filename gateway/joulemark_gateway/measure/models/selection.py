"""Which drivers belong in a production model: every set of a few of them, and the rules.

The rules are those of a named, versioned policy. Among the sets that keep all of them the largest
adjusted R2 wins, as with peers; how each predicts a unit that it has not seen (R2 of leave-one-out
residuals) is told beside it, since adjusted R2 rewards a driver that only explains the past.
Nothing is hidden: every set is told, with the rules that it breaks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.finding import Finding, PolicyUsed
from joulemark_gateway.measure.models.base import Fitted
from joulemark_gateway.measure.models.production import Predictor, fit_production
from joulemark_gateway.measure.models.selection_rules import (
    OUT_OF_RANGE,
    Figures,
    SelectionPolicy,
    model_rules,
    range_rules,
)
from joulemark_gateway.measure.models.terms import (
    ModelTest,
    TermStatistics,
    group_p,
    model_test,
    term_statistics,
)

_Set = tuple[int, ...]
_Fit = Callable[[Data, Sequence[Predictor]], Fitted]


@dataclass(frozen=True)
class Candidate:
    """One set of drivers, its figures, and every rule that was looked at."""

    predictors: tuple[str, ...]
    r2: float
    adjusted_r2: float
    press_r2: float | None  # None where one unit fixes a term by itself
    test: ModelTest
    terms: tuple[TermStatistics, ...]
    p: tuple[float, ...]  # of each predictor; of several indicators together by F
    findings: tuple[Finding, ...]

    @property
    def is_valid(self) -> bool:
        """Whether the model itself keeps the rules."""
        return all(found.passed for found in self.findings if found.code != OUT_OF_RANGE)

    @property
    def is_in_range(self) -> bool:
        """Whether every period's drivers lie where the model was fitted."""
        return all(found.passed for found in self.findings if found.code == OUT_OF_RANGE)


@dataclass(frozen=True, eq=False)
class Selection:
    """What was chosen, and all that it was chosen from, best first."""

    fitted: Fitted
    chosen: Candidate
    by_press: Candidate  # what leave-one-out residuals would have chosen
    alternatives: tuple[Candidate, ...]
    without_fit: Mapping[tuple[str, ...], str]  # sets that give no model, and the code of why
    policy: PolicyUsed


@dataclass(frozen=True, eq=False)
class _Search:
    """What every candidate is judged with."""

    data: Data
    predictors: Sequence[Predictor]
    fits: Mapping[_Set, Fitted]
    policy: SelectionPolicy
    periods: Mapping[str, Data]


def select_production(
    data: Data,
    predictors: Sequence[Predictor],
    policy: SelectionPolicy,
    periods: Mapping[str, Data],
    *,
    fit: _Fit = fit_production,
) -> Selection:
    """The best set of drivers that keeps every rule of the policy.

    Args:
        data: units without holes, to which the models are fitted.
        predictors: those that may enter.
        policy: the rules.
        periods: by name (baseline, reporting), the data whose means must lie in the model's range.
        fit: the model of a set; one that has more terms than the set is judged with them.

    Raises:
        MeasureError: `no_predictor`; `no_valid_model`, where no set keeps the rules;
            `empty_period`.
    """
    if not predictors:
        raise MeasureError(
            "No driver may enter the model.",
            "Name at least what the plant makes.",
            code="no_predictor",
        )
    fits, without_fit = _all_fits(data, predictors, policy.most_predictors, fit)
    search = _Search(data, predictors, fits, policy, periods)
    found = {chosen: _candidate(search, chosen) for chosen in fits}
    ranked = sorted(found, key=lambda chosen: -found[chosen].adjusted_r2)
    kept = [chosen for chosen in ranked if found[chosen].is_valid and found[chosen].is_in_range]
    if not kept:
        raise _no_model([found[chosen] for chosen in ranked], without_fit)
    return Selection(
        fitted=fits[kept[0]],
        chosen=found[kept[0]],
        by_press=max((found[chosen] for chosen in kept), key=_press),
        alternatives=tuple(found[chosen] for chosen in ranked),
        without_fit=without_fit,
        policy=policy.used(),
    )


def assess(
    data: Data,
    predictors: Sequence[Predictor],
    policy: SelectionPolicy,
    periods: Mapping[str, Data],
) -> Candidate:
    """A stated set of drivers by the same rules: for a plan that was frozen with its model.

    Raises:
        MeasureError: those of `fit_production`.
    """
    everything = tuple(range(len(predictors)))
    fits = {everything: fit_production(data, predictors)}
    for left_out in everything if len(everything) > 1 else ():
        rest = tuple(k for k in everything if k != left_out)
        fits[rest] = fit_production(data, [predictors[k] for k in rest])
    return _candidate(_Search(data, predictors, fits, policy, periods), everything)


def _all_fits(
    data: Data, predictors: Sequence[Predictor], most: int, fit: _Fit
) -> tuple[dict[_Set, Fitted], dict[tuple[str, ...], str]]:
    fits: dict[_Set, Fitted] = {}
    without_fit: dict[tuple[str, ...], str] = {}
    for size in range(1, min(most, len(predictors)) + 1):
        for chosen in combinations(range(len(predictors)), size):
            of = [predictors[k] for k in chosen]
            try:
                fits[chosen] = fit(data, of)
            except MeasureError as refused:
                if refused.code == "missing_driver":
                    raise
                without_fit[tuple(one.name for one in of)] = refused.code
    return fits, without_fit


def _candidate(search: _Search, chosen: _Set) -> Candidate:
    of = _figures(search, chosen)
    findings = [*model_rules(search.policy, of)]
    for period, units in search.periods.items():
        findings += range_rules(search.policy, of.predictors, search.data, period, units)
    linear = of.fitted.linear
    return Candidate(
        predictors=tuple(one.name for one in of.predictors),
        r2=linear.r2,
        adjusted_r2=linear.adjusted_r2,
        press_r2=linear.press_r2,
        test=of.test,
        terms=of.terms,
        p=of.p,
        findings=tuple(findings),
    )


def _figures(search: _Search, chosen: _Set) -> Figures:
    fitted = search.fits[chosen]
    terms = term_statistics(fitted)
    p_of_term = {term.name: term.p for term in terms}
    p = []
    for left_out in chosen:
        columns = search.predictors[left_out].columns
        if len(columns) == 1:
            p.append(p_of_term[columns[0]])
        else:
            rest = search.fits.get(tuple(k for k in chosen if k != left_out))
            p.append(group_p(fitted.linear, rest.linear if rest else None))
    of = tuple(search.predictors[k] for k in chosen)
    return Figures(of, fitted, model_test(fitted.linear), terms, tuple(p))


def _press(candidate: Candidate) -> float:
    return -math.inf if candidate.press_r2 is None else candidate.press_r2


def _no_model(
    ranked: Sequence[Candidate], without_fit: Mapping[tuple[str, ...], str]
) -> MeasureError:
    if ranked:
        best = ranked[0]
        broken = dict.fromkeys(found.code for found in best.findings if not found.passed)
        why = f"The best of {len(ranked)}, {' + '.join(best.predictors)}, breaks: "
        why += f"{', '.join(broken)}."
    else:
        why = f"None can be fitted: {', '.join(dict.fromkeys(without_fit.values()))}."
    return MeasureError(
        f"No set of the drivers gives a model that keeps the rules. {why}",
        "Find the driver that is missing, or a longer baseline.",
        code="no_valid_model",
    )
