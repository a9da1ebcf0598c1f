"""SunSpec points by name: `{model: 160, point: module.2.DCW}` gives offset, type and scale factor.

What is resolved stands in the profile's document, which is signed: decoding needs no model data, so
another version of it changes no evidence that exists. A group that repeats is followed by the
number of the one meant, from 1. What lies behind a group whose length the device itself decides has
no place of its own, and is refused.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any

import joulemark_profiles
from joulemark_agent.contract.document import Document, Path
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import SUNSPEC, SUNSPEC_WORDS
from joulemark_agent.contract.quantities import unit_of

FACTOR, COUNT, STRING = "sunssf", "count", "string"
_UNITS = {"W": "W", "WH": "Wh", "VA": "VA", "VAR": "var", "VARH": "varh", "A": "A", "V": "V",
          "HZ": "Hz", "W/M2": "W/m2"}  # fmt: skip
_RESOLVED = ("offset", "type", "length", "scale_offset")
_LONGEST_PATH = 100


@dataclass(frozen=True)
class ModelPoint:
    """One point as the model defines it."""

    name: str
    type: str
    size: int  # in words
    factor: str | int | None = None  # the name of its scale factor, or the power of ten itself
    unit: str = ""
    label: str = ""


@dataclass(frozen=True)
class Group:
    """Points side by side, then the groups within."""

    name: str
    points: tuple[ModelPoint, ...]
    groups: tuple[Group, ...] = ()
    repeats: bool = False

    @property
    def own_words(self) -> int:
        """Of its points alone."""
        return sum(point.size for point in self.points)

    @property
    def words(self) -> int | None:
        """Of all of it; None: the device decides."""
        sizes = [None if inner.repeats else inner.words for inner in self.groups]
        known = [size for size in sizes if size is not None]
        return self.own_words + sum(known) if len(known) == len(sizes) else None

    def fits(self, length: int) -> bool:
        """Whether a model may say that so many words follow its ID and length."""
        rest = length + 2 - self.own_words
        if self.words is not None:  # a common model without its padding word is one, too
            return length + 2 in {self.words, self.words - (self.points[-1].type == "pad")}
        inner = self.groups[0].words if len(self.groups) == 1 else None
        return rest >= 0 and (inner is None or rest % inner == 0)


@dataclass(frozen=True)
class Place:
    """Where a point stands, counted from the model's own ID."""

    point: ModelPoint
    offset: int
    factor_offset: int | None = None
    exponent: int = 0  # of a scale factor that never changes

    @property
    def keys(self) -> dict[str, Any]:
        """What a profile says of the point, in numbers."""
        kind = "uint16" if self.point.type == COUNT else self.point.type
        return {
            "offset": self.offset,
            "type": kind,
            **({"length": self.point.size} if kind == STRING else {}),
            **({} if self.factor_offset is None else {"scale_offset": self.factor_offset}),
        }


@lru_cache(maxsize=1)
def models() -> Mapping[int, Group]:
    """Every model whose points have names here."""
    return {int(i): _group(model) for i, model in _data()["models"].items()}


@lru_cache(maxsize=1)
def labels() -> Mapping[int, str]:
    """What any SunSpec model is called, by its number."""
    return {int(i): str(label) for i, label in _data()["labels"].items()}


def place(model: int, path: str) -> Place:
    """Where a point stands.

    Args:
        model: its number.
        path: such as `W`, `module.2.DCW` or `PFWInj.PF`.

    Raises:
        ValueError: there is none, or none in a place of its own.
    """
    if (group := models().get(model)) is None:
        known = ", ".join(map(str, models()))
        raise ValueError(
            f"the points of model {model} have no names here, only those of {known}; write"
            " 'offset', 'type' and 'scale_offset' as the model's document says"
        )
    *steps, name = path[:_LONGEST_PATH].split(".")
    start, scopes, rest = 0, [(group, 0)], list(steps)
    while rest:
        inner, start = _inner(group, start, rest.pop(0))
        if inner.repeats:
            start += _skipped(inner, rest.pop(0) if rest else "")
        group = inner
        scopes.append((group, start))
    point, offset = _point(group, start, name)
    if point.type not in {*SUNSPEC_WORDS, COUNT, STRING}:
        raise ValueError(
            f"{name!r} of model {model} is of the type {point.type}, which is no value"
        )
    if not isinstance(point.factor, str):
        return Place(point, offset, exponent=point.factor or 0)
    for scope, scope_start in reversed(scopes):
        if any(other.name == point.factor for other in scope.points):
            return Place(point, offset, _point(scope, scope_start, point.factor)[1])
    raise ValueError(
        f"{name!r} of model {model} has a scale factor {point.factor!r} that is nowhere"
    )


def resolved(document: Document) -> Document:
    """The document with numbers in place of the names of SunSpec points; others as they are.

    Raises:
        ConfigError: every name that cannot be resolved, with file and line.
    """
    points = document.mapping.get("points")
    if document.mapping.get("protocol") != SUNSPEC or not isinstance(points, list):
        return document
    found: list[str] = []
    numbered: list[Any] = []
    for i, point in enumerate(points):
        if not isinstance(point, Mapping) or "point" not in point:
            numbered.append(point)
            continue
        try:
            numbered.append(_numbered(point))
        except ValueError as error:
            where: Path = ("points", i, "point")
            found.append(f"{document.name}:{document.line_of(where)}: points.{i}.point: {error}")
    if found:
        listed = "\n  ".join(found)
        raise ConfigError(
            f"{len(found)} mistake(s):\n  {listed}\n",
            "Correct the lines named and run the command again.",
        )
    return replace(document, mapping={**document.mapping, "points": numbered})


def _numbered(point: Mapping[str, Any]) -> dict[str, Any]:
    model, path, name = point.get("model"), point["point"], point.get("name")
    if written := [key for key in _RESOLVED if key in point]:
        raise ValueError(f"the name says {' and '.join(written)} already; remove one of the two")
    if isinstance(model, bool) or not isinstance(model, int):
        raise ValueError("'model' is missing: the number of the SunSpec model")
    if not isinstance(path, str):
        raise ValueError(f"a point's name is text, such as W; {str(path)[:40]!r} is none")
    found = place(model, path)
    unit = _UNITS.get(found.point.unit.upper())
    given = unit_of(name) if isinstance(name, str) else None
    is_scaled = "scale" in point or given in {None, ""}
    if unit is not None and given != unit and not is_scaled:
        raise ValueError(
            f"{path!r} of model {model} is in {unit}, and the name {name!r} says {given}"
        )
    kept = {key: value for key, value in point.items() if key != "point"}
    if found.exponent:
        kept["scale"] = Decimal(kept.get("scale", 1)) * Decimal(10) ** found.exponent
    return kept | found.keys


def _inner(group: Group, start: int, name: str) -> tuple[Group, int]:
    """The group within, and where (the first of) it begins."""
    at: int | None = start + group.own_words
    for inner in group.groups:
        if inner.name == name:
            if at is None:
                raise ValueError(f"where {name!r} begins is decided by the device")
            return inner, at
        words = None if inner.repeats else inner.words
        at = None if at is None or words is None else at + words
    raise ValueError(_unknown(name, [inner.name for inner in group.groups], "group"))


def _skipped(group: Group, number: str) -> int:
    """How many words stand before the one meant."""
    if not (number.isascii() and number.isdigit() and 1 <= int(number) <= 0xFFFF):
        raise ValueError(f"{group.name!r} repeats: say which, as in {group.name}.1.NAME")
    if number == "1":
        return 0
    if group.words is None:
        raise ValueError(
            f"where {group.name}.{number} begins is decided by the device; only 1 is fixed"
        )
    return (int(number) - 1) * group.words


def _point(group: Group, start: int, name: str) -> tuple[ModelPoint, int]:
    for point in group.points:
        if point.name == name:
            return point, start
        start += point.size
    names = [point.name for point in group.points if point.type != FACTOR]
    inner = [
        f"{each.name}{'.1' if each.repeats else ''}.{p.name}"
        for each in group.groups
        for p in each.points
    ]
    raise ValueError(_unknown(name, names + inner, "point"))


def _unknown(name: str, known: Sequence[str], kind: str) -> str:
    near = [other for other in known if other.endswith(f".{name}")]
    near = near or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"there is no {kind} {name!r}; " + (
        f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known) or 'none'}"
    )


def _data() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(joulemark_profiles.sunspec_models())
    return found


def _group(found: Mapping[str, Any]) -> Group:
    return Group(
        name=found["name"],
        points=tuple(_points(found["points"])),
        groups=tuple(map(_group, found.get("groups", ()))),
        repeats="count" in found,
    )


def _points(found: Sequence[Mapping[str, Any]]) -> Iterator[ModelPoint]:
    for point in found:
        yield ModelPoint(
            point["name"], point["type"], point["size"], point.get("sf"), point.get("units", ""),
            point.get("label", ""),
        )  # fmt: skip
