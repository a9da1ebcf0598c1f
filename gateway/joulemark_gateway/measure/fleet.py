"""The same measurement over many meters: what each of them alone would give, to the last bit.

Nothing of a meter enters the result of another. Meters whose family can be searched together are
searched by one compiled call, the very call that `Baseline.fit` makes for one; the rest is the code
of `Baseline` and `avoided_energy` itself. A meter that cannot be measured gets its refusal and
stops nobody. Only documents are kept, so memory does not grow with what the models spread out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.baseline import Baseline, given_of, units_of_fit
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.engine import Coverage, Savings, avoided_energy
from joulemark_gateway.measure.families import Automatic, Chosen, Family, Temperature
from joulemark_gateway.measure.plan import Plan
from joulemark_gateway.measure.rules import Judged
from joulemark_gateway.measure.verdict import Verdict, refusal

BATCH = 250  # meters that are searched by one call, and whose models are in memory at a time


@dataclass(frozen=True)
class Span:
    """A stretch of time, the end not in it. [us UTC]"""

    start_us: int
    end_us: int

    def of(self, data: Data) -> Data:
        """The units that lie in it as a whole."""
        inside = (data.start_us >= self.start_us) & (data.start_us + data.length_us <= self.end_us)
        return data.where(inside)


@dataclass(frozen=True, eq=False)
class Meter:
    """A meter before and after its measure."""

    name: str
    baseline: Data
    reporting: Data

    @classmethod
    def cut(cls, name: str, data: Data, baseline: Span, reporting: Span) -> Meter:
        """The meter of data that hold both periods."""
        return cls(name, baseline.of(data), reporting.of(data))


@dataclass(frozen=True)
class Measured:
    """What may be said of a meter: `document` is that of `Savings`, plain values without NaN."""

    name: str
    document: dict[str, Any]

    @property
    def figures(self) -> dict[str, float] | None:
        """All amounts by name; None where the saving is refused. [Wh]"""
        found: dict[str, float] | None = self.document["figures"]
        return found

    @property
    def value_wh(self) -> float | None:
        """What may be claimed. [Wh]"""
        return None if self.figures is None else self.figures["total_wh"]

    @property
    def half_width_wh(self) -> float | None:
        """Half of its interval. [Wh]"""
        return None if self.figures is None else self.figures["half_width_wh"]

    @property
    def refused_by(self) -> tuple[str, ...]:
        """The codes of what refuses the saving."""
        return tuple(self.document["refused_by"])


def measure_many(meters: Sequence[Meter], plan: Plan) -> list[Measured]:
    """The avoided energy of each meter, in the order given.

    Every document equals `avoided_energy(Baseline.fit(baseline, plan), reporting).document()` of
    that meter alone; where these two raise, the document holds the error's code as its refusal.

    Args:
        meters: any number; units of any length.
        plan: the same for all.
    """
    found: list[Measured] = []
    for first in range(0, len(meters), BATCH):
        batch = meters[first : first + BATCH]
        for meter, baseline in zip(batch, baselines(batch, plan), strict=True):
            found.append(Measured(meter.name, _document(meter, baseline, plan)))
    return found


def baselines(meters: Sequence[Meter], plan: Plan) -> Iterator[Baseline | MeasureError]:
    """The baseline of each meter, as `Baseline.fit` gives or refuses it, one after another."""
    ready = [_prepared(meter, plan) for meter in meters]
    together = _searched_together(ready)
    for k, one in enumerate(ready):
        if isinstance(one, MeasureError):
            yield one
            continue
        given, units, family = one
        chosen = together[k] if k in together else _fitted(family, units)
        yield Baseline.of(given, plan, chosen)


_Ready = tuple[Data, Data, Family | MeasureError]


def _prepared(meter: Meter, plan: Plan) -> _Ready | MeasureError:
    """What counts of a baseline, the units to be fitted, and the family that is made for them."""
    try:
        given = given_of(meter.baseline, plan)
    except MeasureError as error:
        return error
    units = units_of_fit(given, plan)
    model = plan.model
    if not isinstance(model, Automatic):
        return given, units, model
    try:
        return given, units, model.family(units)
    except MeasureError as error:
        return given, units, error


def _searched_together(
    ready: Sequence[_Ready | MeasureError],
) -> dict[int, Chosen | MeasureError]:
    """The fits, by place, of the meters whose family takes many at once."""
    alike: dict[Temperature, list[tuple[int, Data]]] = {}
    for k, one in enumerate(ready):
        if not isinstance(one, MeasureError) and isinstance(one[2], Temperature):
            alike.setdefault(one[2], []).append((k, one[1]))
    found: dict[int, Chosen | MeasureError] = {}
    for family, some in alike.items():
        with np.errstate(all="ignore"):
            fits = family.fit_many([units for _, units in some])
        found.update(zip((k for k, _ in some), fits, strict=True))
    return found


def _fitted(family: Family | MeasureError, units: Data) -> Chosen | MeasureError:
    if isinstance(family, MeasureError):
        return family
    try:
        with np.errstate(all="ignore"):
            return family.fit(units)
    except MeasureError as error:
        return error


def _document(meter: Meter, baseline: Baseline | MeasureError, plan: Plan) -> dict[str, Any]:
    if isinstance(baseline, MeasureError):
        return _refused(meter, plan, baseline, "baseline")
    try:
        return avoided_energy(baseline, meter.reporting).document()
    except MeasureError as error:
        return _refused(meter, plan, error, "reporting")


def _refused(meter: Meter, plan: Plan, error: MeasureError, period: str) -> dict[str, Any]:
    """The document of data that nothing can be said of."""
    why = refusal(error, period)
    verdict = Verdict(plan.sufficiency.used(), Judged((why,)))
    blank = meter.baseline.where(np.zeros(0, np.int64))
    none = Baseline(plan, blank, None, None, (why,))
    units = int(np.size(meter.reporting.start_us))
    return Savings("avoided-energy", none, Coverage(units, 0), verdict, None, (why,)).document()
