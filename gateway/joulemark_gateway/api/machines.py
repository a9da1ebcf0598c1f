"""What the equipment model of a device says of its samples in a span."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from joulemark_agent.equipment import Analysis, Figure, Samples, Span
from joulemark_agent.equipment.readings import as_declared, slow_gauges_us
from joulemark_gateway.api import models, plant
from joulemark_gateway.api.answers import MOST_SLOTS, Open, finite, require_readable
from joulemark_gateway.api.plant import Device
from joulemark_gateway.equipment import analysis_of, of_series

MOST_SPANS = 2_000


@dataclass(frozen=True, eq=False)
class Analysed:
    """The samples of a span and what the model makes of them; None where its kind has no model."""

    device: Device
    samples: Samples
    found: Analysis | None

    def parts(self, edges_us: Sequence[int]) -> list[Analysis | None]:
        """What the model makes of each part of the span by itself.

        Args:
            edges_us: ends of the parts, increasing; a sample at an edge ends one and begins one.
        """
        t_us = self.samples.t_us
        found = []
        for start_us, end_us in pairwise(edges_us):
            first, last = np.searchsorted(t_us, (start_us, end_us))
            rows = slice(first, last + 1)
            values = {name: column[rows] for name, column in self.samples.values.items()}
            part = replace(self.samples, t_us=t_us[rows], values=values)
            found.append(analysis_of(self.device.profile.kind, self.device.equipment, part))
        return found


def analysed(read: Open, site: str, name: str, span_us: tuple[int, int]) -> Analysed:
    """What the equipment model says of a span, with the samples it says it of.

    Raises:
        Problem: the span has too many slots for one request.
        EvidenceError: the section of the site document has mistakes.
    """
    device = read.device(site, name)
    given = samples_of(read, site, device, span_us)
    return Analysed(device, given, analysis_of(device.profile.kind, device.equipment, given))


def samples_of(read: Open, site: str, device: Device, span_us: tuple[int, int]) -> Samples:
    """The samples of all points of a device in a span, as its model takes them.

    One at the very end of the span closes its last step.

    Raises:
        Problem: the span has too many slots for one request.
    """
    require_readable(device, span_us, MOST_SLOTS)
    place, names = (site, device.id), [point.name for point in device.profile.points]
    slow_us = slow_gauges_us(device.profile)
    until_us = (span_us[0], span_us[1] + 1)
    given = of_series(read.reader, place, names, until_us, device.period_us, slow_us=slow_us)
    return as_declared(given, device.profile, device.period_us, device.zone)


def analysis(read: Open, site: str, name: str, span_us: tuple[int, int]) -> models.Analysis:
    """The same for the API.

    Raises:
        Problem: the span has too many slots for one request.
        EvidenceError: the section of the site document has mistakes.
    """
    made = analysed(read, site, name, span_us)
    found = Analysis() if made.found is None else made.found
    return models.Analysis(
        site=site,
        device=name,
        kind=made.device.profile.kind,
        start_us=span_us[0],
        end_us=span_us[1],
        has_model=made.found is not None,
        figures=[figure_of(figure) for figure in found.figures],
        spans=[span_of(span) for span in found.spans[:MOST_SPANS]],
        spans_in_all=len(found.spans),
        findings=[models.Finding(**asdict(item)) for item in found.findings],
    )


def span_of(span: Span) -> models.Span:
    """A span as it is answered."""
    figures = [figure_of(figure) for figure in span.figures]
    return models.Span(kind=span.kind, start_us=span.start_us, end_us=span.end_us, figures=figures)


def figure_of(figure: Figure) -> models.Figure:
    """A figure as it is answered: what is no number is none."""
    value = finite(figure.value)
    why = figure.why or ("" if value is not None else "The value is no number.")
    return models.Figure(
        name=figure.name,
        unit=plant.unit(figure.name),
        value=value,
        covered_ratio=finite(figure.covered_ratio),
        why=why,
        standard_uncertainty=None if value is None else finite(figure.standard_uncertainty),
        degrees_of_freedom=None if value is None else freedom(figure.degrees_of_freedom),
        flags=list(figure.flags),
    )


def freedom(value: float | None) -> float | Literal["inf"] | None:
    """Degrees of freedom, which may be without end."""
    return "inf" if value == math.inf else finite(value)
