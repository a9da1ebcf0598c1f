"""`joulemark agent commission`: is it the right device, read the right way? Asked before trust.

Devices are read for a while under load. Every check of `kernels/checks.py` is made over what was
read, what the engineer sees on the device's own display (`--shown`) is compared, and so is which
way power flows (`--load`). A disputed point that passes a test which its dispute is about may be
accepted in the site file; the line to write is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from joulemark_agent.contract.errors import ConfigError, DeviceError
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.identity import NOT_IDENTIFIED, WRONG_DEVICE
from joulemark_agent.kernels.checks import Sample, Verdict, sample_of, verdicts
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.lines import Lines
from joulemark_agent.plan import PlannedDevice
from joulemark_agent.settings import SiteSettings, load_site
from joulemark_agent.site_sections import DeviceSettings

CONSUMES, FEEDS = "consumes", "feeds"
SHORTEST_S, LONGEST_S = 0.05, 86_400.0
WIDTH = 79
_NAMES = {
    "identification": "identification",
    "alive": "not all zero",
    "range": "possible values",
    "sum_of_phases": "sum of phases",
    "rate": "energy against power",
    "monotonic": "counters never fall",
    "seconds": "hours against the clock",
    "at_most": "a part and its whole",
    "product": "power against V x A",
    "string": "a string and its inverter",
    "efficiency": "AC against DC power",
    "direction": "which way power flows",
    "shown": "the device's own display",
}
_SETTLE = frozenset({"rate", "sum_of_phases", "product", "shown"})  # what a dispute can be about
_QUIET = frozenset({"range", "monotonic", "rate", "product"})  # listed as one line where they pass
_RESULTS = {True: "passed", False: "FAILED", None: "not possible"}
_DISPLAY_RATIO, _LEAST_K = 0.02, 1.0  # how far a display may be off what is read beside it
# What a display may show instead of SI: (factor, offset).
_UNITS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "W": {"W": (1, 0), "kW": (1e3, 0), "MW": (1e6, 0)},
    "Wh": {"Wh": (1, 0), "kWh": (1e3, 0), "MWh": (1e6, 0)},
    "K": {"K": (1, 0), "C": (1, 273.15), "F": (5 / 9, 273.15 - 32 * 5 / 9)},
    "Pa": {"Pa": (1, 0), "kPa": (1e3, 0), "MPa": (1e6, 0), "bar": (1e5, 0), "psi": (6894.757, 0)},
    "m3/s": {"m3/s": (1, 0), "m3/min": (1 / 60, 0), "m3/h": (1 / 3600, 0), "l/s": (1e-3, 0)},
    "s": {"s": (1, 0), "min": (60, 0), "h": (3600, 0)},
    "1": {"": (1, 0), "%": (0.01, 0)},
}
_SHOWN = re.compile(r"([a-z][a-z0-9_]*)=([-+]?\d+(?:[.,]\d+)?)\s*(\S*)")


@dataclass(frozen=True)
class Shown:
    """What the device's own display says of a point."""

    point: str
    value: float
    unit: str  # '' is the point's own

    @property
    def text(self) -> str:
        """As it was given."""
        return f"{self.value:g} {self.unit}".strip()


@dataclass(frozen=True)
class Report:
    """What came out for one device."""

    device: DeviceSettings
    readings: int
    span_s: float
    verdicts: Sequence[Verdict]
    settled: Mapping[str, Verdict]  # disputed points, by the test that they passed
    open: Mapping[str, str]  # disputed points that passed none: the dispute
    accepted: Sequence[str]  # what the site file accepts already

    @property
    def holds(self) -> bool:
        """Whether no check failed."""
        return all(verdict.holds is not False for verdict in self.verdicts)


def add_commands(subparsers: Any) -> None:
    """Add the command to those of `joulemark agent`."""
    parser = subparsers.add_parser(
        "commission", help="test under load whether devices are read the right way"
    )
    parser.add_argument(
        "-c", "--config", type=Path, required=True, metavar="SITE.yaml", help="the site file"
    )
    parser.add_argument("device", nargs="?", metavar="DEVICE", help="one of them (default: all)")
    parser.add_argument("--seconds", type=_seconds, default=60.0, help="how long to read (60)")
    parser.add_argument("--every", type=_seconds, default=1.0, help="seconds between readings (1)")
    parser.add_argument(
        "--load", choices=(CONSUMES, FEEDS),
        help="what the machine is seen to do meanwhile: consume power, or feed it into the grid",
    )  # fmt: skip
    parser.add_argument(
        "--shown", type=_shown, action="append", default=[], metavar="'POINT=VALUE UNIT'",
        help="what the device's display shows, such as 'temperature_k=850 C'; may be repeated",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(run=_run)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not SHORTEST_S <= seconds <= LONGEST_S:  # NaN is neither
        raise argparse.ArgumentTypeError(f"{text} is not {SHORTEST_S:g} to {LONGEST_S:g} seconds")
    return seconds


def _shown(text: str) -> Shown:
    found = _SHOWN.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not written as 'power_w=75.2 kW'")
    unit = found[3].removeprefix("°")
    if unit_of(found[1]) is None:
        raise argparse.ArgumentTypeError(f"{found[1]!r} is no point: its name would end in a unit")
    known = _UNITS.get(unit_of(found[1]) or "", {})
    if unit and unit not in known and unit != unit_of(found[1]):
        listed = ", ".join(name for name in known if name) or unit_of(found[1])
        raise argparse.ArgumentTypeError(f"{found[1]} is shown in one of: {listed}")
    return Shown(found[1], float(found[2].replace(",", ".")), unit)


def _run(args: argparse.Namespace) -> int:
    settings = load_site(args.config)
    given = _chosen(settings, args.device, args.shown)
    reports = asyncio.run(_commission(settings, given, args))
    if args.json:
        _say(json.dumps({"site": settings.site, "devices": [_mapping(r) for r in reports]}))
    else:
        for report in reports:
            _say(readable(report))
    return 0 if all(report.holds for report in reports) else 1


def _chosen(
    settings: SiteSettings, name: str | None, shown: Sequence[Shown]
) -> list[DeviceSettings]:
    """The devices to test; every shown point must be of one of them."""
    found = [device for device in settings.devices if name in (None, device.id)]
    if not found:
        known = ", ".join(device.id for device in settings.devices)
        raise ConfigError(f"There is no device {name!r} in this site.", f"There are: {known}.")
    if shown and len(found) > 1:
        raise ConfigError(
            "'--shown' is of one device's display, and this site has several devices.",
            "Name the device after the site file.",
        )
    points = {point.name for device in found for point in settings.profile(device)[0].points}
    if missing := [one.point for one in shown if one.point not in points]:
        raise ConfigError(
            f"{found[0].id} has no point {missing[0]!r}.",
            f"There are: {', '.join(sorted(points))}.",
        )
    return found


async def _commission(
    settings: SiteSettings, given: Sequence[DeviceSettings], args: argparse.Namespace
) -> list[Report]:
    planned = {device.id: device for device in settings.planned_devices()}
    devices = [planned[device.id] for device in given]
    profiles = [settings.profile(device)[0] for device in given]
    lines = Lines(devices)
    sys.stderr.write(f"Reading {', '.join(d.id for d in devices)} for {args.seconds:g} s ...\n")
    try:
        read = await _read(lines, devices, profiles, args.seconds, args.every)
    finally:
        await lines.close()
    return [
        report_of(
            device, _written(settings, device), window, error, load=args.load, shown=args.shown
        )
        for device, (window, error) in zip(given, read, strict=True)
    ]


def _written(settings: SiteSettings, device: DeviceSettings) -> Profile:
    """The profile as written: what the site accepts is still named as disputed."""
    return settings.profile(device.model_copy(update={"accept_disputed": ()}))[0]


_Read = tuple[list[Sample], DeviceError | None]


async def _read(
    lines: Lines,
    devices: Sequence[PlannedDevice],
    profiles: Sequence[Profile],
    seconds: float,
    every_s: float,
) -> list[_Read]:
    """What was read of each device, and the last error where one was."""
    windows: list[list[Sample]] = [[] for _ in devices]
    errors: list[DeviceError | None] = [None for _ in devices]
    begun_s = time.monotonic()
    while True:
        round_s = time.monotonic()
        for i, (device, profile) in enumerate(zip(devices, profiles, strict=True)):
            try:
                responses = await lines.of(device).read(device)
            except DeviceError as error:
                errors[i] = error
                continue
            values, quality = decode_responses(profile, responses)
            windows[i].append(sample_of(time.monotonic() - begun_s, values, quality))
        if time.monotonic() - begun_s >= seconds:
            return list(zip(windows, errors, strict=True))
        await asyncio.sleep(max(0.0, round_s + every_s - time.monotonic()))


def report_of(
    device: DeviceSettings,
    profile: Profile,
    window: Sequence[Sample],
    error: DeviceError | None,
    *,
    load: str | None,
    shown: Sequence[Shown],
) -> Report:
    """What the samples say of a device.

    Args:
        device: as the site file has it.
        profile: as it was written.
        window: what was read.
        error: the last one, where reading failed at times.
        load: what the machine was seen to do.
        shown: what its display showed.
    """
    found = [_identification(profile, window, error)]
    if window:
        found += verdicts(profile, window)
        found += _directions(profile, window, load)
        found += [_compared(one, window) for one in shown]
    disputed = {point.name: point.disputed for point in profile.points if point.disputed}
    failed = {name for verdict in found if verdict.holds is False for name in verdict.points}
    settled = {
        verdict.points[0]: verdict
        for verdict in found
        if verdict.holds and verdict.rule in _SETTLE and verdict.points[0] in disputed
        if verdict.points[0] not in failed
    }
    span_s = window[-1].t_s - window[0].t_s if window else 0.0
    return Report(
        device=device,
        readings=len(window),
        span_s=span_s,
        verdicts=found,
        settled=settled,
        open={name: why for name, why in disputed.items() if name not in settled},
        accepted=device.accept_disputed,
    )


def _identification(
    profile: Profile, window: Sequence[Sample], error: DeviceError | None
) -> Verdict:
    if not window:
        what = error.what if error else "nothing was read"
        return Verdict("identification", (), False, what, error.do if error else "Read longer.")
    if not profile.identify:
        return Verdict(
            "identification", (), None, "the profile knows no register that names the model",
            "Compare the device's type plate with the profile's source.",
        )  # fmt: skip
    places = ", ".join(f"{rule.table} {rule.address}" for rule in profile.identify)
    if error is not None and error.code in {WRONG_DEVICE, NOT_IDENTIFIED}:
        return Verdict("identification", (), False, error.what, error.do)
    if not any(rule.unreadable == "refuse" and rule.expected for rule in profile.identify):
        return Verdict(
            "identification", (), None, f"{places} may be silent, or another model's too",
            "Compare the device's type plate with the profile's source.",
        )  # fmt: skip
    return Verdict("identification", (), True, f"{places} hold what this model has")


def _directions(profile: Profile, window: Sequence[Sample], load: str | None) -> list[Verdict]:
    """Whether each power has the sign that what the machine is seen to do must give it."""
    found = []
    for point in profile.points:
        if unit_of(point.name) != "W" or point.direction not in {"import", "export"}:
            continue
        verdict = Verdict("direction", (point.name,), None, "not said what the machine does")
        seen = [sample.values[point.name] for sample in window if point.name in sample.values]
        if load is None or not seen:
            do = "Say '--load consumes' or '--load feeds', as you see it."
            found.append(replace(verdict, do=do))
            continue
        mean = sum(seen) / len(seen)
        is_positive = (load == CONSUMES) == (point.direction == "import")
        holds = None if mean == 0 else (mean > 0) == is_positive
        sign = "above" if is_positive else "below"
        found.append(
            replace(
                verdict,
                holds=holds,
                found=f"{point.name} {mean:,.6g} on average, and must be {sign} 0 when the machine"
                f" {load}",
                do="Turn the current transformers, or give the point a negative 'scale'.",
            )
        )
    return found


def _compared(shown: Shown, window: Sequence[Sample]) -> Verdict:
    """What the display shows against what was read, a little to both sides."""
    unit = unit_of(shown.point) or ""
    factor, offset = _UNITS.get(unit, {}).get(shown.unit or unit, (1.0, 0.0))
    if not shown.unit:
        factor, offset = 1.0, 0.0
    value = shown.value * factor + offset
    slack = _DISPLAY_RATIO * abs(shown.value * factor)
    slack = max(slack, _LEAST_K) if unit == "K" else slack
    seen = [sample.values[shown.point] for sample in window if shown.point in sample.values]
    verdict = Verdict("shown", (shown.point,), None, "no value was read")
    if not seen:
        return verdict
    low, high = min(seen), max(seen)
    back = [(number - offset) / factor for number in (low, high)]
    span = f"{back[0]:,.6g}" if low == high else f"{back[0]:,.6g} to {back[1]:,.6g}"
    return replace(
        verdict,
        holds=low - slack <= value <= high + slack,
        found=f"{shown.point}: display {shown.text}, read {span} {shown.unit or unit}".rstrip(),
        do=f"Check address, scale and unit of {shown.point} in the profile.",
    )


# ------------------------------------------------------------------------------------- printing


def readable(report: Report) -> str:
    """The report as a plant engineer reads it."""
    device = report.device
    lines = [
        f"{device.id}: {device.profile} at {device.url}, unit {device.unit}",
        f"  {report.readings} readings in {report.span_s:.0f} s",
        "",
    ]
    for verdict in _grouped(report.verdicts):
        lines += _row(_RESULTS[verdict.holds], _NAMES[verdict.rule], verdict.found)
        if verdict.holds is not True and verdict.do:
            lines += _row("", "", verdict.do)
    lines += _disputes(report)
    ending = "No check failed." if report.holds else "Do not trust this device yet."
    return "\n".join([*lines, "", f"  {ending}", ""])


def _grouped(found: Sequence[Verdict]) -> Iterable[Verdict]:
    """The verdicts, what passed of one rule in one line, and failures first."""
    yield from (verdict for verdict in found if verdict.holds is False)
    passed: dict[str, list[Verdict]] = {}
    for verdict in found:
        if verdict.holds:
            passed.setdefault(verdict.rule, []).append(verdict)
    for rule, those in passed.items():
        if len(those) > 1 and rule in _QUIET:
            yield replace(those[0], found=f"{len(those)} checks: {_names(those)}")
        else:
            yield from those
    undecided: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in found:
        if verdict.holds is None:
            reason = verdict.found.rpartition(": ")[2]
            undecided.setdefault((verdict.rule, reason), []).append(verdict)
    for (_, reason), those in undecided.items():
        if len(those) > 1:
            yield replace(those[0], found=f"{reason}: {_names(those)}")
        else:
            yield those[0]


def _names(found: Sequence[Verdict]) -> str:
    names = [verdict.points[0] for verdict in found if verdict.points]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _row(result: str, name: str, text: str) -> list[str]:
    head = f"  {result:<13}{name:<27}"
    return textwrap.wrap(
        text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head),
        break_long_words=False, break_on_hyphens=False,
    ) or [head.rstrip()]  # fmt: skip


def _disputes(report: Report) -> list[str]:
    lines: list[str] = []
    if report.settled or report.open:
        lines += ["", "  Disputed points, which are never good until they are accepted:"]
    for name, verdict in report.settled.items():
        lines += _row("passed", name, f"{_NAMES[verdict.rule]}: {verdict.found}")
    for name, why in report.open.items():
        state = "accepted" if name in report.accepted else "not tested"
        lines += _row(state, name, f"{why}. Test it with --shown '{name}=VALUE UNIT'.")
    new = [name for name in report.settled if name not in report.accepted]
    if new and report.holds:
        names = ", ".join(sorted({*new, *report.accepted}))
        lines += [
            "",
            f"  Write into the site file, at the device {report.device.id}:",
            "",
            f"    accept_disputed: [{names}]",
            "",
            "  and run 'joulemark agent enroll' again: the operator approves what is good.",
        ]
    return lines


def _mapping(report: Report) -> dict[str, Any]:
    return {
        "device": report.device.id,
        "profile": report.device.profile,
        "readings": report.readings,
        "span_s": round(report.span_s, 3),
        "holds": report.holds,
        "checks": [
            {
                "check": verdict.rule,
                "points": list(verdict.points),
                "result": _RESULTS[verdict.holds].lower(),
                "found": verdict.found,
                "do": verdict.do if verdict.holds is not True else "",
            }
            for verdict in report.verdicts
        ],
        "accept_disputed": sorted(report.settled) if report.holds else [],
        "disputed": sorted(report.open),
    }


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
