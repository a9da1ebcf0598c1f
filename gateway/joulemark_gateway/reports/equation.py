"""The equation of a baseline in words and figures, so that a person can compute with it.

Every figure is one that the report prints elsewhere; the same equation stands in report.json, in
English, and on the page in its language.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from joulemark_gateway.reports.words import Words

Report = Mapping[str, Any]
Term = Mapping[str, Any]
_SLOPES = ("heating", "cooling", "temperature", "colder", "warmer")
_POINT_OF = {"colder": "", "warmer": "", "heating": "heating", "cooling": "cooling"}
_DIVISION = {"summer", "shoulder", "winter", "and", "weekday", "weekend"}


def equation_lines(equation: Report, words: Words) -> tuple[str, ...]:
    """The equation, a line for each part of the year that has one of its own, and what it means.

    Args:
        equation: the field of the report, with `terms`, `change_points` and what it is of.
        words: of the language.
    """
    parts = dict.fromkeys(term["part"] for term in equation["terms"])
    lines = [_line(equation, part, words) for part in parts] or [_line(equation, "", words)]
    return (*lines, *_meanings(equation, words))


def part_words(name: str, words: Words) -> str:
    """A term's name or a part of the year in this language; itself where it is something else."""
    tokens = name.split(" ")
    known = _DIVISION | set(_SLOPES) | {"base"}
    if name and set(tokens) <= known:
        return " ".join(words[f"part_{token}"] for token in tokens)
    for state in ("busy", "quiet"):
        if name.startswith(f"{state} times, "):
            return _range_words(state, name.removeprefix(f"{state} times, "), words)
    return words.of(name)


def split_name(name: str, drivers: Sequence[str]) -> tuple[str, str]:
    """The part of the year that a term is for, empty for all of it, and what the term is."""
    if name in drivers:
        return "", "driver"
    if name == "base load":
        return "", "base"
    if name.startswith(("busy times, ", "quiet times, ")):
        return "", "range"
    part, _, kind = name.rpartition(" ")
    return part, kind


def _line(equation: Report, part: str, words: Words) -> str:
    terms = [term for term in equation["terms"] if term["part"] == part]
    pieces = list(_pieces(equation, terms, words))
    if equation["levels"]:
        pieces.insert(0, ("", words["eq_level"]))
    first, *others = pieces
    right = f"{'−' if first[0] else ''}{first[1]}"  # noqa: RUF001 -- a minus sign is meant
    right += "".join(f" {'−' if sign else '+'} {text}" for sign, text in others)  # noqa: RUF001
    left = words[f"eq_energy_of_{equation['unit']}"]
    if not part:
        return f"{left} = {right}"
    return words["eq_of_part"].format(part=part_words(part, words), energy=left, right=right)


def _pieces(equation: Report, terms: Sequence[Term], words: Words) -> Iterator[tuple[str, str]]:
    """Each term as its sign and what follows it."""
    for term in terms:
        value = term["value"]
        sign, size = ("-", value[1:]) if value.startswith("-") else ("", value)
        yield sign, f"{size} {term['unit']} × {_amount(equation, term, words)}"  # noqa: RUF001


def _amount(equation: Report, term: Term, words: Words) -> str:
    days, temperature = words["eq_days"], equation["temperature"]
    if term["kind"] == "driver":
        return str(term["name"])
    if term["kind"] == "base":
        return words["eq_hours"] if term["unit"] == "kWh/hour" else days
    if term["kind"] == "range":
        return f"[{temperature}: {part_words(term['name'], words)}]"
    if term["kind"] == "temperature":
        return f"{days} × {temperature}"  # noqa: RUF001
    point = _point_c(equation, term)
    is_below = term["kind"] in {"heating", "colder"}
    ends = (f"{point} °C", temperature) if is_below else (temperature, f"{point} °C")
    return f"{days} × max({ends[0]} − {ends[1]}, 0)"  # noqa: RUF001


def _point_c(equation: Report, term: Term) -> str:
    wanted = _POINT_OF[term["kind"]]
    [point] = [
        one["value_c"]
        for one in equation["change_points"]
        if one["part"] == term["part"] and one["kind"] == wanted
    ]
    return str(point)


def _meanings(equation: Report, words: Words) -> Iterator[str]:
    units = {term["unit"] for term in equation["terms"] if term["kind"] == "base"}
    if "kWh/hour" in units:
        yield words["eq_hours_means"]
    elif units or any(term["kind"] in _SLOPES for term in equation["terms"]):
        yield words["eq_days_means"]
    if any(term["kind"] == "range" for term in equation["terms"]):
        knots = ", ".join(equation["knots_c"]) or words["none"]
        yield words["eq_range_means"].format(temperature=equation["temperature"], knots=knots)


def _range_words(state: str, span: str, words: Words) -> str:
    if span == "any temperature":
        edges = words["range_any"]
    elif span.startswith("below "):
        edges = words["range_below"].format(high=span.removeprefix("below "))
    elif span.startswith("above "):
        edges = words["range_above"].format(low=span.removeprefix("above "))
    else:
        low, _, high = span.partition(" to ")
        edges = words["range_between"].format(low=low, high=high)
    return words[f"range_{state}"].format(edges=edges)
