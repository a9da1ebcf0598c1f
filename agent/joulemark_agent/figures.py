"""What an agent states of a machine in the machine's own tree, window by window: live figures.

A window lies between two multiples of `figures_every_s` since 1970: it begins and ends with the
first reading at or after them. The `figures` leaf that follows says from which records the figures
come. So whoever has the leaves computes them again, and they must agree to 1 part in 10^9: machines
of other makes round the last bits differently.

What was read before a restart of the agent is on disk and sent, but no longer in its memory; the
window of a restart is stated from the records after it, and says so by naming them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from joulemark_agent.contract.canonical import decimal_text
from joulemark_agent.contract.leaf import EVENT_FIELDS
from joulemark_agent.contract.profile import Profile

EVENT = "figures"  # type of the leaf
VERSION = "1"  # raised when the same readings and section give other figures, or are refused
FAILED = "figures_failed"  # the finding that stands alone where a model broke down
POINT_PREFIX = "kpi_"  # of the points that figures become in a series
UNCERTAINTY_PREFIX = "kpi_u_"  # of their standard uncertainties
MOST_READINGS = 10_000  # of a window
_MOST_NAMES = 500  # of figures, and of what cannot be given
_MOST, _LEAST = 1e30, 1e-25  # a figure beyond is none, one below is 0
_AGREEMENT = 1e-9
_NO_END = "inf"  # degrees of freedom of what is known without observing
_NAME = re.compile(r"(?!u_)[a-z][a-z0-9_]{0,62}")  # points named kpi_u_... are uncertainties
_DECIMAL = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")
FIELDS = EVENT_FIELDS[EVENT]
_WHOLES = ("start", "end", "first_seq", "last_seq", "version")
_PARTS = {"covered", "flags", "nu", "u", "value"}


class Taken(NamedTuple):
    """What a figure needs of one record."""

    seq: int
    slot_us: int
    t_utc_us: int
    values: Mapping[str, str]
    quality: Mapping[str, str]


@dataclass(frozen=True)
class Subject:
    """Whose figures are stated, and how often."""

    profile: Profile
    parameters: BaseModel | None  # of its equipment section
    period_us: int
    every_us: int  # length of a window
    zone: ZoneInfo


class Step(NamedTuple):
    """What a reading makes of a window."""

    closed: tuple[Taken, ...]  # () where none closes
    rest: tuple[Taken, ...]  # of the window that is open now


def step(open_: tuple[Taken, ...], new: Taken, every_us: int, period_us: int) -> Step:
    """The window that a reading closes, if it does, and the one that goes on after it.

    The first reading at the end of a window or after it closes it, and begins the next: what lies
    between two readings belongs to one window. One that comes more than a period late closes it
    without being of it.

    Args:
        open_: the readings of the open window, in order.
        new: the one after them.
        every_us: length of a window. [us]
        period_us: from slot to slot. [us]
    """
    if not open_:
        return Step((), (new,))
    end_us = end_of(open_[0].slot_us, every_us)
    if new.slot_us < end_us:
        return Step((), (*open_, new))
    closed = (*open_, new) if new.slot_us < end_us + period_us else open_
    return Step(closed if len(closed) > 1 else (), (new,))


def end_of(slot_us: int, every_us: int) -> int:
    """The end of the window that a slot lies in. [us]"""
    return _start_us(slot_us, every_us) + every_us


def stated(subject: Subject, closed: Sequence[Taken]) -> dict[str, Any]:
    """The fields of the `figures` leaf of a window.

    Args:
        subject: the device.
        closed: the readings of its window, two at least, in order.

    Raises:
        Exception: a mistake of the model, whatever it is.
    """
    # numba costs half a second and 100 MB: an agent that states no figures does not pay for it.
    from joulemark_agent.equipment import analyse  # noqa: PLC0415
    from joulemark_agent.equipment.readings import of_readings  # noqa: PLC0415

    samples = of_readings(subject.profile, closed, subject.period_us, subject.zone)
    analysis = analyse(subject.profile.kind, subject.parameters, samples)
    figures = () if analysis is None else analysis.figures
    known = {figure.name: figure for figure in figures if _is_number(figure.value)}
    fields = {
        **_frame(subject, closed),
        "absent": sorted({figure.name for figure in figures} - set(known)),
        "figures": {
            name: {
                "covered": _text(figure.covered_ratio),
                "flags": sorted(figure.flags),
                "nu": _NO_END
                if figure.degrees_of_freedom == math.inf
                else _text(figure.degrees_of_freedom),
                "u": _text(figure.standard_uncertainty),
                "value": _text(figure.value),
            }
            for name, figure in known.items()
        },
        "findings": sorted({} if analysis is None else {f.code for f in analysis.findings}),
    }
    if not states_figures(fields):  # no collector would take it, nor what comes after it
        raise ValueError(f"the model of {subject.profile.kind!r} gives figures no leaf can hold")
    return fields


def failed(subject: Subject, closed: Sequence[Taken]) -> dict[str, Any]:
    """The fields of the leaf of a window whose figures could not be computed."""
    return {**_frame(subject, closed), "absent": [], "figures": {}, "findings": [FAILED]}


def warm(subject: Subject) -> None:
    """Import the model and compile its kernels, or load them, before a window ends."""
    names = [point.name for point in subject.profile.points]
    rows = [
        Taken(i, at_us, at_us, dict.fromkeys(names, str(at_us // 1_000_000)), {})
        for i, at_us in enumerate(range(0, 4 * subject.period_us, subject.period_us))
    ]
    with suppress(Exception):  # of values that no machine shows; those of a machine are told
        stated(subject, rows)


def states_figures(fields: Mapping[str, Any]) -> bool:
    """Whether these are the fields of a `figures` leaf, each of its kind; nothing is computed."""
    if set(fields) != FIELDS or not isinstance(fields["figures"], Mapping):
        return False
    names = [fields["absent"], fields["findings"], list(fields["figures"])]
    return (
        all(map(_are_names, names))
        and all(_is_figure(figure) for figure in fields["figures"].values())
        and all(_is_whole(fields[name]) for name in _WHOLES)
        and int(fields["first_seq"]) < int(fields["last_seq"])
        and int(fields["start"]) < int(fields["end"])
    )


def agree(claimed: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether two statements of one window say the same, but for the last bits of numbers."""
    one, other = claimed["figures"], given["figures"]
    same = FIELDS - {"figures"}
    if any(claimed[name] != given[name] for name in same) or set(one) != set(other):
        return False
    return all(
        one[name]["flags"] == other[name]["flags"]
        and all(_close(one[name][part], other[name][part]) for part in _PARTS - {"flags"})
        for name in one
    )


def _frame(subject: Subject, closed: Sequence[Taken]) -> dict[str, Any]:
    """Of which window and records a statement is, and by which version."""
    start_us = _start_us(closed[0].slot_us, subject.every_us)
    return {
        "end": str(start_us + subject.every_us),
        "first_seq": str(closed[0].seq),
        "last_seq": str(closed[-1].seq),
        "start": str(start_us),
        "version": VERSION,
    }


def _start_us(slot_us: int, every_us: int) -> int:
    return slot_us // every_us * every_us


def _is_number(value: float | None) -> bool:
    return value is not None and abs(value) < _MOST


def _text(value: float | None) -> str | None:
    """Twelve digits of a number; None where there is none."""
    if value is None or not abs(value) < _MOST:
        return None
    return decimal_text(Decimal(f"{value if abs(value) >= _LEAST else 0.0:.12g}"))


def _close(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(float(one), float(other), rel_tol=_AGREEMENT, abs_tol=_AGREEMENT)


def _are_names(names: Any) -> bool:
    return (
        isinstance(names, list)
        and len(names) <= _MOST_NAMES
        and all(isinstance(name, str) and _NAME.fullmatch(name) is not None for name in names)
    )


def _is_whole(text: Any) -> bool:
    return isinstance(text, str) and _WHOLE.fullmatch(text) is not None


def _is_decimal(text: Any) -> bool:
    return isinstance(text, str) and _DECIMAL.fullmatch(text) is not None


def _is_figure(figure: Any) -> bool:
    return (
        isinstance(figure, Mapping)
        and set(figure) == _PARTS
        and _is_decimal(figure["value"])
        and all(figure[part] is None or _is_decimal(figure[part]) for part in ("covered", "u"))
        and (figure["nu"] in (None, _NO_END) or _is_decimal(figure["nu"]))
        and _are_names(figure["flags"])
    )
