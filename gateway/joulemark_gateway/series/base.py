"""What a series database takes; each implementation is one file beside this one.

It remembers, together with the rows it writes, up to which leaf of which tree it was written. So it
may lag, may be killed at any moment and may be dropped: it goes on from what it remembers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.reading import Instant

# Quality is a number, because some databases store text as 0. Codes are never given a new meaning.
QUALITY = {
    "good": 0,
    "missing": 1,
    "sentinel": 2,
    "nan": 3,
    "range": 4,
    "scale": 5,
    "type": 6,
    "bad_status": 7,
    "uncertain": 8,
    "text": 9,
    "disputed": 10,
    "not_due": 11,
    "unit": 12,
    "stale": 13,
}
OTHER_QUALITY = 255
INSIDE_US = 1000  # from the start of a window to the time of its row
HELD = "series_held"  # code of the StoreError where another process has the series open

Texts = NDArray[np.object_]
Integers = NDArray[np.int64]
Open = tuple[int, ...]  # a window that is not closed: begin, amount, covered, estimated, missing
OpenGauge = tuple[float, ...]  # likewise: begin, readings, sum, least, most


@dataclass(frozen=True)
class Points:
    """One row a point and reading. Shapes (n,)."""

    point: Texts
    t_utc_us: Integers  # when it was read
    value: NDArray[np.float64]  # in the unit of the point's name; NaN where there is none
    quality: NDArray[np.uint8]  # of QUALITY


@dataclass(frozen=True)
class Intervals:
    """One row a counter and slot: what it counted between two slots. Shapes (n,)."""

    point: Texts
    start_us: Integers
    end_us: Integers
    amount: Integers  # in the unit of the point's name
    covered_us: Integers
    estimated_us: Integers  # known as a sum over several slots only
    missing_us: Integers


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one of `tables.MEASUREMENTS`. Shapes (n,)."""

    measurement: str
    tags: Mapping[str, Texts]  # beside site and device
    t_us: Integers  # at which the row stands. [us UTC]
    fields: Mapping[str, NDArray[np.float64]]  # every one of the measurement; NaN: not there


@dataclass(frozen=True)
class Carry:
    """What the rows after this point need of those before it."""

    values: dict[str, str] = field(
        default_factory=dict
    )  # good values of the last record; empty before the first
    followed: dict[str, tuple[int, ...]] = field(default_factory=dict)  # state of each counter
    instant: Instant | None = None  # of the last record, by both clocks of its agent
    open: dict[str, Open] = field(default_factory=dict)  # by measurement and counter
    gauges: dict[str, OpenGauge] = field(default_factory=dict)  # by gauge
    due_us: int | None = None  # the slot that is due next; None: any

    def to_text(self) -> str:
        """As it is kept beside the rows."""
        return json.dumps(vars(self))

    @classmethod
    def from_text(cls, text: str) -> Carry:
        """What `to_text` wrote.

        Raises:
            StoreError: another version wrote it.
        """
        content = json.loads(text)
        if set(content) != {"values", "followed", "instant", "open", "gauges", "due_us"}:
            raise StoreError(
                "The series was written by another version.",
                "Run 'joulemark series rebuild': it is a copy of the evidence.",
                code="series_foreign",
            )
        followed = {name: tuple(state) for name, state in content["followed"].items()}
        instant = None if content["instant"] is None else Instant(*content["instant"])
        windows = {name: tuple(sums) for name, sums in content["open"].items()}
        gauges = {name: tuple(sums) for name, sums in content["gauges"].items()}
        return cls(content["values"], followed, instant, windows, gauges, content["due_us"])


@dataclass(frozen=True)
class Part:
    """The rows of consecutive leaves of one tree."""

    origin: str
    size: int  # of the tree after these leaves
    carry: Carry
    points: Points
    intervals: Intervals
    others: tuple[Rows, ...] = ()


@dataclass(frozen=True)
class Samples:
    """What one point showed, in the order of time. Shapes (n,)."""

    t_utc_us: Integers
    value: NDArray[np.float64]  # in the unit of the point's name; NaN where there is none
    quality: NDArray[np.uint8]  # of QUALITY


@dataclass(frozen=True)
class Amounts:
    """What one counter counted from slot to slot, in the order of time. Shapes (n,)."""

    start_us: Integers
    end_us: Integers
    amount: NDArray[np.float64]  # in the unit of the point's name; whole numbers
    covered_us: Integers
    estimated_us: Integers
    missing_us: Integers


@dataclass(frozen=True)
class Latest:
    """The newest sample of one point."""

    device: str
    point: str
    t_utc_us: int
    value: float | None
    quality: int  # of QUALITY


class SeriesReader(Protocol):
    """What pages and dashboards may ask of the copy; times are UTC, spans half-open."""

    def samples(self, site: str, device: str, point: str, start_us: int, end_us: int) -> Samples:
        """The samples of a point in [start, end).

        Raises:
            StoreError: the series cannot be read; so with every method here.
        """

    def amounts(self, site: str, device: str, point: str, start_us: int, end_us: int) -> Amounts:
        """What a counter counted in the steps that begin in [start, end)."""

    def latest(self, site: str) -> list[Latest]:
        """The newest sample of every point of the site, by device and point."""

    def extent(self, site: str, device: str) -> tuple[int, int] | None:
        """The times of the first and the last sample of a device; None: there is none. [us UTC]"""

    def begun_us(self, site: str, device: str) -> int | None:
        """The time of the first sample of a device, also where it is forgotten. [us UTC]"""


class Series(SeriesReader, Protocol):
    """Keeps points and intervals for queries."""

    def progress(self) -> dict[str, tuple[int, Carry]]:
        """Up to which leaf each tree is written, and what the next rows need."""

    def write(self, parts: Sequence[Part]) -> None:
        """Add the rows, then the progress; writing the same parts again changes nothing.

        Raises:
            StoreError: the progress is as before; of the rows none are written, or some.
        """

    def close(self) -> None:
        """Release the database."""
