"""A line for each season, for weekdays and weekends, or for both: few divisions of the year.

The divisions share their segments, so each segment is searched once. Which of them is worth its
parameters is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from joulemark_gateway.measure.calendar import US_PER_DAY, local_us
from joulemark_gateway.measure.data import Data, Flags
from joulemark_gateway.measure.models.base import Fitted
from joulemark_gateway.measure.models.change_point_search import Counts
from joulemark_gateway.measure.models.shapes import Part, Shape, fit_parts, own_temperature

SUMMER, SHOULDER, WINTER = range(3)
NORTH = (2, 2, 1, 1, 1, 0, 0, 0, 0, 1, 2, 2)  # the season of each month, from January
SOUTH = NORTH[6:] + NORTH[:6]
_SEASONS = {
    "": (SUMMER, SHOULDER, WINTER),
    "summer": (SUMMER,),
    "shoulder": (SHOULDER,),
    "winter": (WINTER,),
    "shoulder and winter": (SHOULDER, WINTER),
    "summer and shoulder": (SUMMER, SHOULDER),
}
_WEEKS = {"": (0, 1), "weekday": (0,), "weekend": (1,)}


@dataclass(frozen=True)
class Segment:
    """A part of the year, as bits of its cells; cell = 2 x season + whether it is a weekend."""

    name: str
    mask: int


@dataclass(frozen=True)
class Division:
    """A year in segments, by their index."""

    name: str
    segments: tuple[int, ...]


def _segments() -> tuple[Segment, ...]:
    return tuple(
        Segment(
            " ".join(name for name in (season, week) if name),
            sum(1 << (2 * s + w) for s in seasons for w in weeks),
        )
        for season, seasons in _SEASONS.items()
        for week, weeks in _WEEKS.items()
    )


SEGMENTS = _segments()
MASKS = np.array([segment.mask for segment in SEGMENTS])


def _divisions() -> tuple[Division, ...]:
    made = []
    groups = {
        "season-2-summer": ("summer", "shoulder and winter"),
        "season-2-winter": ("summer and shoulder", "winter"),
        "season-3": ("summer", "shoulder", "winter"),
    }
    for name, seasons in ({"": ("",)} | groups).items():
        for week, parts in {"": ("",), "week-2": ("weekday", "weekend")}.items():
            places = tuple(
                3 * list(_SEASONS).index(season) + list(_WEEKS).index(part)
                for season in seasons
                for part in parts
            )
            made.append(Division("-".join(one for one in (name, week) if one) or "none", places))
    return tuple(made)


DIVISIONS = _divisions()  # the first is the undivided year


def cells_of(data: Data, seasons: Sequence[int] = NORTH) -> Counts:
    """The cell of each unit by its local start, shape (n,).

    Args:
        data: the units.
        seasons: season of each month, from January.
    """
    day = local_us(data.start_us, data.zone) // US_PER_DAY
    month = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
    cells: Counts = 2 * np.array(seasons, np.int64)[month] + ((day + 3) % 7 >= 5)  # 1970: Thursday
    return cells


def fit_split(
    data: Data, division: Division, shapes: Sequence[Shape], seasons: Sequence[int] = NORTH
) -> Fitted:
    """The model of a division, its shapes being in the order of the segments.

    Raises:
        MeasureError: those of `fit_parts`.
    """

    @lru_cache(maxsize=2)
    def cells(of: Data) -> Counts:  # each part asks for them
        return cells_of(of, seasons)

    def member(mask: int) -> Callable[[Data], Flags]:
        return lambda of: (mask >> cells(of)) & 1 == 1

    parts = [
        Part(SEGMENTS[k].name, shape, member(SEGMENTS[k].mask) if len(shapes) > 1 else None)
        for k, shape in zip(division.segments, shapes, strict=True)
    ]
    name = model_id(division, [shape.kind for shape in shapes])
    return fit_parts(name, data, parts, own_temperature)


def model_id(division: Division, kinds: Sequence[str]) -> str:
    """The id of the model with these kinds, in the order of the segments."""
    if len(kinds) > 1:
        return f"{division.name}-{'-'.join(kinds)}"
    return "mean-1p" if kinds[0] == "1p" else f"change-point-{kinds[0]}"
