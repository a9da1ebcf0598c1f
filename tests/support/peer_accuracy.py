"""What both sides say of the same meters: errors, savings, intervals, and how often these hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.estimate import estimate_of
from joulemark_gateway.measure.families import Family, Temperature, TimeOfWeek
from support.peer_cases import Case, by_day, simulated_meters
from support.peer_processes import Caller, caller
from support.peer_speed import opendsm
from support.temperature_meters import WH_PER_KWH

CONFIDENCES = (0.8, 0.9, 0.95)
USUAL = 0.9
BLOCK_H = 14 * 24


@dataclass(frozen=True)
class Said:
    """A saving with its interval, and how well the model fits. [kWh]"""

    saving: float
    half_width: float
    measured: float
    cv_rmse: float | None  # sqrt(SSE / (n - p)) / mean

    def __str__(self) -> str:
        error = "" if self.cv_rmse is None else f"CV(RMSE) {self.cv_rmse:.4f}, "
        return f"{error}saving {self.saving:,.0f} ± {self.half_width:,.0f} kWh"

    def against(self, true_kwh: float) -> str:
        """The same beside what is true."""
        wrong = self.saving - true_kwh
        share = f" ({wrong / true_kwh:+.1%} of it)" if true_kwh else ""
        holds = "holds" if abs(wrong) <= self.half_width else "does not hold"
        return f"{self}, wrong by {wrong:+,.0f}{share}, the interval {holds} the truth"


def own(family: Family, before: Data, after: Data, confidence: float = USUAL) -> Said:
    """The engine's model of a family."""
    chosen = family.fit(before)
    estimate = estimate_of(chosen.model, chosen.data)
    predicted = estimate.predict_wh(after)
    known = np.isfinite(predicted)
    units = after.where(known)
    variance = float(estimate.covariance(units, np.ones((1, units.n)))[0, 0])
    return Said(
        float((predicted[known] - units.energy_wh).sum()) / WH_PER_KWH,
        estimate.process.half_width(variance, confidence) / WH_PER_KWH,
        float(units.energy_wh.sum()) / WH_PER_KWH,
        chosen.metrics.cv_rmse,
    )


class Opendsm:
    """The peer in a process of its own, which is asked one thing after another."""

    def __init__(self, process: Caller, folder: Path) -> None:
        self._process, self._folder = process, folder

    def said(self, kind: str, case: Case, confidence: float = USUAL) -> Said | str:
        """Its saving, or the error that ended it."""
        found = self._ask(kind, case, confidence)
        if "error" in found:
            return f"ends with {' '.join(found['error'].split('[')[0].split())}"
        named = ("saving", "half_width", "measured", "cv_rmse")
        return Said(*(found[name] for name in named))

    def of_all(self, cases: Sequence[Case], kind: str) -> list[Said]:
        """Its savings where none may end with an error."""
        found = [self.said(kind, case) for case in cases]
        assert not any(isinstance(one, str) for one in found), found
        return [one for one in found if isinstance(one, Said)]

    def blocked_cv_rmse(self, kind: str, case: Case) -> float:
        """The error, over the mean, of each two weeks predicted from all others."""
        return float(self._ask(kind, case, USUAL, blocked=True)["blocked_cv_rmse"])

    def _ask(
        self, kind: str, case: Case, confidence: float, *, blocked: bool = False
    ) -> dict[str, Any]:
        path, significance = str(case.written(self._folder)), round(1 - confidence, 6)
        asked = {"kind": kind, "case": path, "significance": significance, "blocked": blocked}
        return self._process.ask(asked)


@contextmanager
def asked(python: Path, folder: Path) -> Iterator[Opendsm]:
    """The peer for as long as the block lasts."""
    with caller(opendsm(python, "tell")) as process:
        yield Opendsm(process, folder)


def days(peer: Opendsm, cases: Sequence[Case]) -> dict[str, str]:
    """Daily meters: the fit and the saving of either side."""
    figures = {}
    for case in cases:
        figures[f"{case.name}: ours"] = str(own(Temperature(), case.before, case.after))
        for kind in ("daily", "legacy"):
            figures[f"{case.name}: opendsm {kind}"] = str(peer.said(kind, case))
    return figures


def hours(peer: Opendsm, case: Case) -> dict[str, str]:
    """An hourly meter, with two weeks predicted from all others."""
    kinds = ("hourly", "caltrack-hourly")
    return {
        f"{case.name}: ours": str(own(TimeOfWeek(), case.before, case.after)),
        **{f"{case.name}: opendsm {kind}": str(peer.said(kind, case)) for kind in kinds},
        f"{case.name}, two weeks from all others: ours": f"CV(RMSE) {_blocked(case.before):.4f}",
        f"{case.name}, two weeks from all others: opendsm hourly": "CV(RMSE)"
        f" {peer.blocked_cv_rmse('hourly', case):.4f}",
    }


def known(peer: Opendsm, cases: Sequence[Case], kinds: Sequence[str]) -> dict[str, str]:
    """Buildings whose saving is known exactly; daily models get their days."""
    figures = {}
    for case in cases:
        truth = case.true_kwh
        assert truth is not None
        families: dict[str, tuple[Family, Data, Data]] = {
            "ours by the hour": (TimeOfWeek(), case.before, case.after),
            "ours by the hour, blended over 90 days": (
                TimeOfWeek(blend="by-distance"), case.before, case.after,
            ),
            "ours by the day": (Temperature(), by_day(case.before), by_day(case.after)),
        }  # fmt: skip
        for name, (family, before, after) in families.items():
            found = own(family, before, after)
            figures[f"{case.name}: {name}"] = found.against(truth)
        for kind in kinds:
            one = peer.said(kind, case)
            told = one if isinstance(one, str) else one.against(truth)
            figures[f"{case.name}: opendsm {kind}"] = told
        figures[f"{case.name}: true"] = f"{truth:,.0f} kWh"
    return figures


def widths(peer: Opendsm, day: Case, hour: Case, kinds: Sequence[str]) -> dict[str, str]:
    """Whose interval is wider when more confidence is asked for.

    Raises:
        AssertionError: ours is not.
    """
    figures = {}
    families: dict[str, tuple[Family, Case]] = {
        "by the day": (Temperature(), day),
        "by the hour": (TimeOfWeek(), hour),
    }
    for name, (family, case) in families.items():
        each = [own(family, case.before, case.after, c).half_width for c in CONFIDENCES]
        assert each[0] < each[1] < each[2], (name, each)
        figures[f"half-width at 80, 90, 95 %: ours {name}"] = _row(each)
    for kind in kinds:
        case = hour if "hourly" in kind else day
        said = [peer.said(kind, case, confidence) for confidence in CONFIDENCES]
        each = [one.half_width for one in said if isinstance(one, Said)]
        assert len(each) == len(said), said
        figures[f"half-width at 80, 90, 95 %: opendsm {kind}"] = _row(each)
    return figures


def simulated(peer: Opendsm, plant_data: Path, kinds: Sequence[str]) -> dict[str, str]:
    """Daily meters with a saving that is known: how often the 90 % interval holds it."""
    cases = list(simulated_meters(plant_data))
    found = {"ours": [own(Temperature(), case.before, case.after) for case in cases]}
    found |= {f"opendsm {kind}": peer.of_all(cases, kind) for kind in kinds}
    return {
        f"{len(cases)} simulated meters without production: {name}": _summary(cases, said)
        for name, said in found.items()
    }


def _summary(cases: Sequence[Case], said: Sequence[Said]) -> str:
    held, wrong, wide = 0, [], []
    for case, one in zip(cases, said, strict=True):
        assert case.true_kwh is not None
        counterfactual = one.measured + case.true_kwh
        held += abs(one.saving - case.true_kwh) <= one.half_width
        wrong.append(abs(one.saving - case.true_kwh) / counterfactual)
        wide.append(one.half_width / counterfactual)
    return (
        f"{held} of {len(cases)} intervals ({held / len(cases):.0%}, nominal 90 %) hold the"
        f" truth; median error {median(wrong):.2%}, median half-width {median(wide):.2%}"
    )


def _blocked(data: Data) -> float:
    block, family = np.arange(data.n) // BLOCK_H, TimeOfWeek()
    errors = []
    for number in range(int(block[-1]) + 1):
        held = data.where(block == number)
        model = family.fit(data.where(block != number)).model
        errors.append(held.energy_wh - model.predict_wh(held))
    every = np.concatenate(errors)
    return float(np.sqrt((every**2).mean()) / data.energy_wh.mean())


def _row(each: Sequence[float]) -> str:
    grows = "grows" if each[0] < each[1] < each[2] else "SHRINKS" if each[0] > each[2] else "is odd"
    return f"{', '.join(f'{one:,.1f}' for one in each)} kWh: {grows}"
