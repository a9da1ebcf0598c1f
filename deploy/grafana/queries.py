"""One definition of what is asked, and its words in MetricsQL and in InfluxQL; never Flux.

What stands at an instant t covers (t, t + step]: a row of a window stands 1 ms after its begin
(`series/lines.py`), so it lies in the step it begins in. MetricsQL looks back from an instant and
is shifted by a step; the steps of InfluxQL begin where they are named and are shifted by 1 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

STEP, RANGE = "$__interval", "$__range"
US_PER_H = 3_600_000_000
What = Literal["sum", "mean", "max", "min", "last", "not_zero"]
_METRICSQL = {
    "sum": "sum_over_time({rows})",
    "mean": "avg_over_time({rows})",
    "max": "max_over_time({rows})",
    "min": "min_over_time({rows})",
    "last": "last_over_time({rows})",
    "not_zero": "count_ne_over_time({rows}, 0)",
}
_ACROSS = {"sum": "sum", "not_zero": "sum", "mean": "avg", "max": "max", "min": "min"}


@dataclass(frozen=True)
class Query:
    """Rows of one measurement in one number for each step, or for the whole range.

    A condition on a tag is a value, or begins with `=~` or `!~`: then it is a pattern of the whole.
    """

    measurement: str  # without its prefix
    what: What
    top: tuple[str, ...]  # fields that are added; with a minus they are taken away
    bottom: tuple[str, ...] = ()  # their sum divides, where it is not 0
    scale: int = 1
    where: Mapping[str, tuple[str, ...] | str] = field(default_factory=dict)
    by: tuple[str, ...] = ()  # tags whose values stand apart
    of_each: tuple[str, ...] = ()  # the last of each of these tags, summed


def metricsql(query: Query, *, window: str) -> str:
    """The words for VictoriaMetrics."""
    top = _added(query, query.top, window)
    if query.bottom:
        top = f"({top}) / (({_added(query, query.bottom, window)}) > 0)"
    if query.scale != 1:
        top = f"({top}) * {query.scale}"
    return f"({top}) > 0" if query.what == "not_zero" else top


def influxql(query: Query, *, window: str, zone: bool = False) -> str:
    """The words for InfluxDB.

    Args:
        query: what is asked.
        window: STEP or RANGE.
        zone: whether a step is a day, which begins at local midnight.
    """
    time = f"time({STEP}, 1ms)" if window == STEP else ""
    apart = [f'"{tag}"' for tag in query.by]
    end = " fill(none)" if time else ""
    end += " tz('$zone')" if zone and time else ""
    inner_by = _grouped([time, *apart, *(f'"{tag}"' for tag in query.of_each)])
    source = f'FROM "joulemark_{query.measurement}" WHERE {_conditions(query)}$timeFilter'
    scale = "" if query.scale == 1 else f" * {query.scale}"
    if query.bottom:
        inner = (
            f'SELECT {_sum(query, query.top)} AS "top", {_sum(query, query.bottom)} AS "bottom" '
            f"{source}{inner_by}{' fill(none)' if time else ''}"
        )
        zoned = " tz('$zone')" if zone and time else ""
        outer = f'SELECT "top" / "bottom"{scale} FROM ({inner}) WHERE "bottom" > 0'
        return f"{outer}{_grouped(apart)}{zoned}"
    if query.of_each:
        inner = f'SELECT {_sum(query, query.top)} AS "each" {source}{inner_by}'
        return f'SELECT sum("each"){scale} FROM ({inner}){_grouped(apart)}'
    return f"SELECT {_sum(query, query.top)}{scale} {source}{_grouped([time, *apart])}{end}"


def values_of(tag: str, measurement: str, where: Mapping[str, str]) -> dict[str, str]:
    """The queries for the values of a tag, in both languages."""
    place = ",".join(f"{name}{_compared(value)}" for name, value in where.items())
    fields = {"point": "quality", "batch": "size", "saving": "cumulative_wh"}
    asked = f"joulemark_{measurement}_{fields[measurement]}"
    conditions = " AND ".join(_condition(name, value) for name, value in where.items())
    return {
        "metricsql": f"label_values({asked}{{{place}}}, {tag})",
        "influxql": f'SHOW TAG VALUES FROM "joulemark_{measurement}" WITH KEY = "{tag}"'
        + (f" WHERE {conditions}" if conditions else ""),
    }


def _added(query: Query, fields: tuple[str, ...], window: str) -> str:
    return " ".join(_term(query, name, window, is_first=k == 0) for k, name in enumerate(fields))


def _term(query: Query, name: str, window: str, *, is_first: bool) -> str:
    sign = "-" if name.startswith("-") else "+"
    labels = ",".join(
        f"{tag}{_compared(one)}" for tag, value in query.where.items() for one in _each(value)
    )
    shifted = f"[{window}] offset -{window}" if window == STEP else f"[{window}]"
    rows = f"joulemark_{query.measurement}_{name.lstrip('-')}{{{labels}}}{shifted}"
    function = _METRICSQL[query.what].format(rows=rows)
    across = _ACROSS.get(query.what, "sum")
    grouped = f"{across}({function}) by ({', '.join(query.by)})"
    return grouped if is_first and sign == "+" else f"{sign} {grouped}"


def _sum(query: Query, fields: tuple[str, ...]) -> str:
    function = "count" if query.what == "not_zero" else query.what
    words = []
    for k, name in enumerate(fields):
        sign = "-" if name.startswith("-") else "+"
        word = f'{function}("{name.lstrip("-")}")'
        words.append(word if k == 0 and sign == "+" else f"{sign} {word}")
    return " ".join(words)


def _conditions(query: Query) -> str:
    found = [_condition(tag, one) for tag, value in query.where.items() for one in _each(value)]
    if query.what == "not_zero":
        found.append(f'"{query.top[0]}" != 0')
    return "".join(f"{one} AND " for one in found)


def _each(value: tuple[str, ...] | str) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _compared(value: str) -> str:
    if value[:2] in {"=~", "!~"}:
        return f'{value[:2]}"{value[2:]}"'
    return f'="{value}"'


def _condition(tag: str, value: str) -> str:
    if value[:2] in {"=~", "!~"}:
        return f'"{tag}" {value[:2]} /^({value[2:]})$/'
    return f"\"{tag}\" = '{value}'"


def _grouped(parts: list[str]) -> str:
    there = [part for part in parts if part]
    return f" GROUP BY {', '.join(there)}" if there else ""
