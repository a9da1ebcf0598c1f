"""What the charts of every kind of machine are given, and what they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.equipment import Figure, Span
from joulemark_gateway.api import answers, plant
from joulemark_gateway.api.machines import Analysed
from joulemark_gateway.web import figures
from joulemark_gateway.web.drawing import Frame
from joulemark_gateway.web.words import Words

_WHENCE = {"declared", "declared_curve", "metered"}  # flags that say where a value is from


@dataclass(frozen=True)
class Panel:
    """One chart with its words; without a drawing `empty` says why there is none."""

    title: str
    svg: str = ""
    note: str = ""
    key: tuple[tuple[str, str], ...] = ()  # class and words of each colour
    empty: str = ""


@dataclass(frozen=True, eq=False)
class View:
    """A machine, the span that is shown, and what its model says of it."""

    words: Words
    site: str
    zone: ZoneInfo
    span_us: tuple[int, int]
    made: Analysed

    @property
    def device(self) -> str:
        """Its id."""
        return self.made.device.id

    @property
    def section(self) -> Mapping[str, Any]:
        """Its `equipment` section of the site document."""
        return self.made.device.equipment or {}

    def spans(self, *kinds: str) -> list[Span]:
        """The spans of these kinds, in order of time."""
        found = () if self.made.found is None else self.made.found.spans
        return [span for span in found if span.kind in kinds]

    def figure(self, name: str) -> Figure | None:
        """A figure of the whole span; None where the model gives none of that name."""
        found = () if self.made.found is None else self.made.found.figures
        return figure_in(found, name)

    def why(self, *names: str) -> str:
        """Why the model gives no value of the first of these figures that it names."""
        for name in names:
            figure = self.figure(name)
            if figure is not None and figure.why:
                return self.words.told(figure.why)
        return self.words("machine_no_data")

    def column(self, point: str) -> NDArray[np.float64] | None:
        """The values of a point in the unit they are shown in; None where there are none."""
        values = self.made.samples.column(point)
        if values is None:
            return None
        how = figures.shown_as(point)
        return values * how.factor + how.offset

    def frame(self, title: str, **values: Any) -> Frame:
        """The time axis of a chart with a title."""
        return Frame(self.span_us, self.zone, self.words(title, device=self.device, **values))

    def records(self, span: Span) -> str:
        """Where the records of a span are."""
        return answers.records_url("", self.site, self.device, span.start_us, span.end_us)

    def days_us(self) -> list[int]:
        """The local midnights in the span, and its own ends. [us]"""
        start_us, end_us = self.span_us
        day = plant.day_of(start_us, self.zone) + plant.DAY
        edges_us = [start_us]
        while (at_us := plant.midnight_us(day, self.zone)) < end_us:
            edges_us.append(at_us)
            day += plant.DAY
        return [*edges_us, end_us]

    def point_of(self, unit: str, *named: Any) -> str | None:
        """The first of the points named that is recorded, else the only one of that unit."""
        recorded = [p for p in self.made.samples.values if self.made.samples.column(p) is not None]
        for point in named:
            if point in recorded:
                return str(point)
        fits = [point for point in recorded if unit_of(point) == unit]
        return fits[0] if len(fits) == 1 else None


class Shows(Protocol):
    """What the file of a kind exports."""

    @staticmethod
    def panels(view: View) -> list[Panel]:
        """The charts of a machine of this kind."""


def figure_in(found: Sequence[Figure], name: str) -> Figure | None:
    """The figure of that name; None where there is none."""
    return next((figure for figure in found if figure.name == name), None)


def value_in(found: Sequence[Figure], name: str) -> float | None:
    """Its value; None where there is none."""
    figure = figure_in(found, name)
    return None if figure is None else figure.value


def is_limit(figure: Figure) -> bool:
    """Whether a flag limits the value: that a rating is as declared is told in its words alone."""
    return any(flag not in _WHENCE for flag in figure.flags)


def told(name: str, value: float | None) -> str:
    """A value with its unit, as text."""
    return " ".join(filter(None, figures.quantity(name, value)))
