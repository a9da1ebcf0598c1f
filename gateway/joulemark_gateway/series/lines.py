"""Rows as lines of the InfluxDB line protocol, every one of them checked. Pure.

| measurement | tags | fields, all numeric | time |
|---|---|---|---|
| joulemark_point | site, device, point | value, quality (code of `base.QUALITY`) | of the reading |
| joulemark_interval | the same | amount, covered_us, estimated_us, missing_us | begin + 1 ms |
| joulemark_tree | site, device, epoch | size | of the newest reading of the leaves up to it |

What else there is stands in `tables.py`, running projects in `savings.py`.

A unit is the end of a point's name. A reading without a value has a quality and no value. One ms
after its start, an interval lies in the window it belongs to both in InfluxQL, whose windows are
[start, end), and in MetricsQL, whose windows are (start, end]; its end is its start + covered +
estimated + missing. How many series a site has: docs/series.md.

Lines are checked here because servers do not: VictoriaMetrics 1.79 answers 204 to a malformed line
and stores a number it cannot parse as 0. Numbers are written without the suffix `i`, so that a
field has one type on every server: a double, exact for whole numbers up to 2^53; larger ones are
kept as the nearest double, which is what the reads of every series give.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.topics import parse_origin
from joulemark_gateway.series.base import INSIDE_US, Part, Rows

POINT, INTERVAL, TREE = "joulemark_point", "joulemark_interval", "joulemark_tree"
US_PER_DAY = 86_400_000_000
EXACT = 2**53

# No part can end earlier and the line still fit, so none is tried again (`++`): half of the time.
_TAG = r'(?:[^\s,=\\"]++|\\[ ,=])++'
_NUMBER = r"-?[0-9]++(?:\.[0-9]++)?+(?:e[+-]?[0-9]++)?+"
_FIELD = rf"[a-z][a-z0-9_]*+={_NUMBER}"
_ONE = rf"joulemark_[a-z0-9]++(?:,[a-z]++={_TAG})++ {_FIELD}(?:,{_FIELD})*+ [0-9]{{1,16}}+"
_LINE, _LINES = re.compile(_ONE), re.compile(rf"{_ONE}(?:\n{_ONE})*+")


@dataclass(frozen=True)
class Lines:
    """What is to be written of one part."""

    lines: list[str]
    newest_us: int | None  # time of its newest reading that is written; None: there is none
    left_out: int  # rows too far in the future for the server, or with a value beyond any double
    rounded: int  # numbers above 2^53


def lines_of(part: Part, *, tick_us: int, until_us: int) -> Lines:
    """The rows of a part as lines.

    Args:
        part: the rows.
        tick_us: what the server counts time in. [us]
        until_us: later rows are left out, because the server would drop them. [us UTC]

    Raises:
        StoreError: `series_line`, a row that no line can hold.
    """
    times_us = part.points.t_utc_us[part.points.t_utc_us <= until_us]
    newest_us = int(times_us.max()) if times_us.size else None
    lines = [*_points(part, tick_us, until_us), *_intervals(part, tick_us, until_us)]
    for table in part.others:
        lines += _others(part.origin, table, tick_us, until_us)
    check_all(lines)
    rows = part.points.t_utc_us.size + part.intervals.start_us.size
    rows += sum(table.t_us.size for table in part.others)
    rounded = _large(part.intervals.amount) + _large(part.points.value)
    return Lines(lines, newest_us, rows - len(lines), rounded)


def tree_line(origin: str, size: int, t_us: int, *, tick_us: int) -> str:
    """The line that says up to which leaf the rows of a tree were written."""
    site, device, epoch = parse_origin(origin)
    tags = _tags(site=site, device=device, epoch=str(epoch))
    return checked(f"{TREE}{tags} size={number(size)} {t_us // tick_us}")


def by_day(lines: Sequence[str], tick_us: int) -> list[list[str]]:
    """The lines by UTC day, in the order of the days and, within one, as they were.

    InfluxDB keeps days, or weeks of them, apart and writes a request to all of them at once: a
    reader might see the morning before the evening that went ahead of it.

    Args:
        lines: checked.
        tick_us: what their times are counted in. [us]
    """
    width = US_PER_DAY // tick_us
    places = [int(line[line.rindex(" ") :]) // width for line in lines]
    days = sorted(set(places))
    if len(days) == 1:  # as nearly always
        return [list(lines)]
    return [[line for line, at in zip(lines, places, strict=True) if at == day] for day in days]


def checked(line: str) -> str:
    """The line, if every server reads from it what was meant.

    Raises:
        StoreError: `series_line`.
    """
    if _LINE.fullmatch(line) is None:
        raise _bad_line(f"the line {line[:200]!r} is not well formed")
    return line


def check_all(lines: Sequence[str]) -> None:
    """Check each of them, all at once.

    Raises:
        StoreError: `series_line`, as `checked` for the first that is wrong.
    """
    text = "\n".join(lines)
    if text.count("\n") != len(lines) - 1 or _LINES.fullmatch(text) is None:
        for line in lines:
            checked(line)


def tag(text: str) -> str:
    """A site, device or point as the value of a tag.

    Raises:
        StoreError: `series_line`, it is empty or holds what no server unescapes alike.
    """
    if not text or not text.isprintable() or "\\" in text or '"' in text:
        raise _bad_line(f"{text[:80]!r} cannot be a tag")
    return text.replace(" ", "\\ ").replace(",", "\\,").replace("=", "\\=")


def number(value: float) -> str:
    """A finite number, as the shortest text that gives the same double.

    Raises:
        StoreError: `series_line`, it is not finite.
    """
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise _bad_line(f"{value} is not a finite number")
    return repr(value).removesuffix(".0")


def _points(part: Part, tick_us: int, until_us: int) -> Iterator[str]:
    points = part.points
    is_told = (points.t_utc_us <= until_us) & ~np.isinf(points.value)
    names = points.point[is_told].tolist()
    heads = _heads(POINT, part.origin, names)
    values, quality = points.value[is_told].tolist(), points.quality[is_told].tolist()
    ticks = (points.t_utc_us[is_told] // tick_us).tolist()
    for name, value, code, tick in zip(names, values, quality, ticks, strict=True):
        if value == value:  # noqa: PLR0124 -- no NaN
            told = repr(value).removesuffix(".0")  # as `number`, for what is finite
            yield f"{heads[name]} value={told},quality={code} {tick}"
        else:
            yield f"{heads[name]} quality={code} {tick}"


def _intervals(part: Part, tick_us: int, until_us: int) -> Iterator[str]:
    rows = part.intervals
    heads = _heads(INTERVAL, part.origin, rows.point.tolist())
    columns = (rows.amount, rows.covered_us, rows.estimated_us, rows.missing_us)
    lists = [column.tolist() for column in (rows.start_us, rows.end_us, *columns)]
    for point, start_us, end_us, amount, *times_us in zip(rows.point.tolist(), *lists, strict=True):
        if start_us % INSIDE_US or end_us - start_us != sum(times_us):
            raise _bad_line(
                f"the interval of {point} from {start_us} to {end_us} us does not add up"
            )
        if start_us <= until_us:
            covered, estimated, missing = map(number, times_us)
            yield (
                f"{heads[point]} amount={number(amount)},covered_us={covered},"
                f"estimated_us={estimated},missing_us={missing} {(start_us + INSIDE_US) // tick_us}"
            )


def _others(origin: str, table: Rows, tick_us: int, until_us: int) -> Iterator[str]:
    """The rows of one table; a field that is not known is left out."""
    site, device, _ = parse_origin(origin)
    names, found = list(table.fields), [column.tolist() for column in table.fields.values()]
    labels = list(zip(*(column.tolist() for column in table.tags.values()), strict=True))
    labels = labels or [()] * table.t_us.size
    heads = {
        values: table.measurement
        + _tags(site=site, device=device, **dict(zip(table.tags, values, strict=True)))
        for values in set(labels)
    }
    for values, t_us, *row in zip(labels, table.t_us.tolist(), *found, strict=True):
        if t_us <= until_us:
            told = zip(names, row, strict=True)
            fields = ",".join(f"{name}={number(one)}" for name, one in told if one == one)  # noqa: PLR0124 -- no NaN
            yield f"{heads[values]} {fields} {t_us // tick_us}"


def _large(numbers: NDArray[Any]) -> int:
    return int(((abs(numbers) > EXACT) & np.isfinite(numbers)).sum())


def _heads(measurement: str, origin: str, points: Sequence[str]) -> dict[str, str]:
    """Measurement and tags by point."""
    site, device, _ = parse_origin(origin)
    return {
        point: measurement + _tags(site=site, device=device, point=point) for point in set(points)
    }


def _tags(**tags: str) -> str:
    return "".join(f",{name}={tag(text)}" for name, text in tags.items())


def _bad_line(what: str) -> StoreError:
    return StoreError(
        f"A row of the series cannot be written: {what}.",
        "Report it with the profile of the device; the evidence is not affected.",
        code="series_line",
    )
