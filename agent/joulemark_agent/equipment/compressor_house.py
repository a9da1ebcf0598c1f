"""Several compressors on one header: who carried the base, who trimmed, who idled for nothing.

In each quarter of an hour a machine is the base (it delivers nearly all the time), the trim (it
loads and unloads, most often of all), cycling (so does it, beside the trim), idle (it runs unloaded
and never loads) or off. One trim is enough: where a trim is at work, a machine that idles could be
off; and so could one that cycles, where the trim alone had carried what both deliver. Its unloaded
energy is what better sequencing would have saved. What the trim itself would idle less is not
counted, so that the saving is a lower bound.

How much a machine delivers while loaded is told by its loaded power: alike in specific power.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice, pairwise, takewhile

from joulemark_agent.equipment.base import US_PER_H, US_PER_S, Analysis, Figure, Span, absent
from joulemark_agent.equipment.compressor_states import KINDS

ROLES = ("base", "trim", "cycling", "idle", "off")

_WINDOW_US = 900 * US_PER_S
_LEAST_KNOWN = 0.95  # of a window, of every machine
_BASE_FROM = 0.98  # of a window
_MOST_CARRIED = 0.95  # of the trim's capacity: it must still be able to regulate


@dataclass(frozen=True)
class _Part:
    """What one machine did in one window."""

    time_us: Mapping[str, int]  # by kind
    loads: int  # that began in it
    unloaded_w: float | None
    loaded_w: float | None

    @property
    def known_us(self) -> int:
        return sum(self.time_us.values())

    @property
    def delivering_us(self) -> int:
        return self.time_us["load"] + self.time_us["running"]

    @property
    def delivered(self) -> float | None:
        """A measure of its air: loaded power times the share of time."""
        return None if self.loaded_w is None else self.loaded_w * self.time_us["load"]

    @property
    def unloaded_wh(self) -> float | None:
        if self.unloaded_w is None:
            return None
        return self.unloaded_w * self.time_us["unload"] / US_PER_H


@dataclass(frozen=True)
class _Window:
    start_us: int
    end_us: int
    roles: Mapping[str, str]
    spare: tuple[str, ...]  # machines that could have been off
    parts: Mapping[str, _Part]


def sequence(machines: Mapping[str, Analysis]) -> Analysis:
    """Who did what on one header, and what better sequencing would have saved.

    Args:
        machines: what `air_compressor.analyse` made of each, over the same time, by name.

    Returns:
        per machine the time in each role (`NAME_base_s` ...), spans of kind `NAME:role`, and of all
        together `unloaded_beside_trim_s`, `sequencing_saving_wh` and `running_mean_count`.
    """
    names = ("unloaded_beside_trim_s", "sequencing_saving_wh", "running_mean_count")
    timelines = {name: _states(analysis) for name, analysis in machines.items()}
    ends = [(spans[0].start_us, spans[-1].end_us) for spans in timelines.values() if spans]
    if len(machines) < 2 or len(ends) < len(machines):
        why = "It takes the states of two machines at least, over the same time."
        return Analysis(figures=tuple(absent(name, why) for name in names))
    start_us, end_us = max(first for first, _ in ends), min(last for _, last in ends)
    windows = [
        window
        for edges_us in pairwise(_edges_us(start_us, end_us))
        if (window := _window(machines, timelines, *edges_us)) is not None
    ]
    if not windows:
        why = "There is no quarter of an hour in which the states of all machines are known."
        return Analysis(figures=tuple(absent(name, why) for name in names))
    covered = sum(window.end_us - window.start_us for window in windows) / (end_us - start_us)
    return Analysis(
        figures=(
            *_savings(windows, covered),
            *(
                Figure(f"{_point(name)}_{role}_s", _role_s(windows, name, role), covered)
                for name in machines
                for role in ROLES
            ),
        ),
        spans=tuple(span for name in machines for span in _spans(windows, name)),
    )


def _states(analysis: Analysis) -> list[Span]:
    return sorted(
        (span for span in analysis.spans if span.kind in KINDS), key=lambda span: span.start_us
    )


def _edges_us(start_us: int, end_us: int) -> list[int]:
    first = -(-start_us // _WINDOW_US) * _WINDOW_US
    return sorted({start_us, *range(first, end_us, _WINDOW_US), end_us})


def _window(
    machines: Mapping[str, Analysis],
    timelines: Mapping[str, list[Span]],
    start_us: int,
    end_us: int,
) -> _Window | None:
    """The window with its roles; None where not every machine is known."""
    parts = {name: _part(machines[name], timelines[name], start_us, end_us) for name in machines}
    least_us = _LEAST_KNOWN * (end_us - start_us)
    if any(part.known_us < least_us for part in parts.values()):
        return None
    trim = _trim(parts)
    roles = {name: _role(part, is_trim=name == trim) for name, part in parts.items()}
    spare = () if trim is None else tuple(_spare(parts, roles, trim))
    return _Window(start_us, end_us, roles, spare, parts)


def _part(analysis: Analysis, spans: list[Span], start_us: int, end_us: int) -> _Part:
    time_us = dict.fromkeys(KINDS, 0)
    loads, before_us = 0, -1
    first = max(bisect_right(spans, start_us, key=lambda span: span.start_us) - 1, 0)
    for span in takewhile(lambda span: span.start_us < end_us, islice(spans, first, None)):
        inside_us = min(span.end_us, end_us) - max(span.start_us, start_us)
        if inside_us > 0:
            time_us[span.kind] += inside_us
            is_begun = span.start_us >= start_us and span.start_us == before_us  # not after a gap
            loads += span.kind == "load" and is_begun
        before_us = span.end_us
    values = {figure.name: figure.value for figure in analysis.figures}
    return _Part(
        time_us,
        loads,
        _mean_w(values.get("unload_wh"), values.get("unload_s")),
        _mean_w(values.get("load_wh"), values.get("load_s")),
    )


def _mean_w(energy_wh: float | None, time_s: float | None) -> float | None:
    return energy_wh * 3600 / time_s if energy_wh is not None and time_s else None


def _trim(parts: Mapping[str, _Part]) -> str | None:
    """The machine that loads most often among those that also unload; None where none does."""
    cycling = {name: part for name, part in parts.items() if part.loads and part.time_us["unload"]}
    return max(cycling, key=lambda name: cycling[name].loads) if cycling else None


def _role(part: _Part, *, is_trim: bool) -> str:
    if is_trim:
        return "trim"
    if part.delivering_us >= _BASE_FROM * part.known_us:
        return "base"
    if part.delivering_us:
        return "cycling"
    return "idle" if part.time_us["unload"] else "off"


def _spare(parts: Mapping[str, _Part], roles: Mapping[str, str], trim: str) -> Iterator[str]:
    """The machines that could have been off: the idle, and those whose air the trim can carry."""
    carrying = parts[trim]
    carried = carrying.delivered
    most = (carrying.loaded_w or 0.0) * carrying.known_us * _MOST_CARRIED
    for name in sorted(parts, key=lambda name: parts[name].delivered or 0.0):
        more = parts[name].delivered
        if roles[name] == "idle":
            yield name
        elif roles[name] == "cycling" and carried is not None and more is not None:
            is_cycling_only = parts[name].time_us["running"] == 0
            if is_cycling_only and carried + more <= most:
                carried += more
                yield name


def _savings(windows: list[_Window], covered: float) -> Iterator[Figure]:
    spare = [window.parts[name] for window in windows for name in window.spare]
    beside_s = (
        sum(
            part.time_us["unload"]
            for window in windows
            if "trim" in window.roles.values()
            for name, part in window.parts.items()
            if window.roles[name] != "trim"
        )
        / US_PER_S
    )
    yield Figure("unloaded_beside_trim_s", beside_s, covered)
    energies = [part.unloaded_wh for part in spare]
    if any(energy is None for energy in energies):
        yield absent("sequencing_saving_wh", "The power of a machine that idled is not recorded.")
    else:
        saved_wh = sum(energy for energy in energies if energy is not None)
        flags = ("lower_bound", "counterfactual")
        yield Figure("sequencing_saving_wh", saved_wh, covered, flags=flags)
    running_us = sum(
        part.known_us - part.time_us["off"] for window in windows for part in window.parts.values()
    )
    length_us = sum(window.end_us - window.start_us for window in windows)
    yield Figure("running_mean_count", running_us / length_us, covered)


def _role_s(windows: list[_Window], name: str, role: str) -> float:
    lengths = (window.end_us - window.start_us for window in windows if window.roles[name] == role)
    return sum(lengths) / US_PER_S


def _spans(windows: list[_Window], name: str) -> Iterator[Span]:
    """Neighbouring windows of one role as one span."""
    for role, group in groupby(windows, key=lambda window: window.roles[name]):
        found = list(group)
        first = found[0]
        for before, after in pairwise(found):
            if before.end_us != after.start_us:
                yield Span(f"{name}:{role}", first.start_us, before.end_us)
                first = after
        yield Span(f"{name}:{role}", first.start_us, found[-1].end_us)


def _point(name: str) -> str:
    """A machine's name as the beginning of a point's name."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "machine"
