"""`joulemark agent check | read | profiles`: what an engineer does before the service runs."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import textwrap
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import joulemark_profiles
from joulemark_agent import serial_port
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import (
    NODE,
    SUNSPEC,
    AnyPoint,
    NodePoint,
    ObjectPoint,
    Point,
    Profile,
    SelectorPoint,
    SunspecPoint,
)
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.documents import load_profile
from joulemark_agent.drivers.base import WITHOUT_WORDS
from joulemark_agent.kernels.checks import Sample, failures, sample_of
from joulemark_agent.kernels.datavalue import BAD_STATUS, UNCERTAIN, parse
from joulemark_agent.kernels.decode import TEXT, decode_responses, raw_of, text_of
from joulemark_agent.lines import Lines, by_line, line_of
from joulemark_agent.plan import US_PER_S, PlannedDevice
from joulemark_agent.settings import SiteSettings, load_site
from joulemark_agent.site_checks import energy_counters

GOOD = "good"
WIDTH = 79  # of a terminal
SHORTEST_S, LONGEST_S = 0.01, 86_400  # between two rounds of 'read'
US_PER_DAY = 86_400_000_000
_NO_GOLDEN = (
    "has no golden words. When its values agree with the machine's own display, add what 'joulemark"
    " agent read --golden' prints: then a later mistake in it is found by this check."
)
_NOT_BOOKED = (
    "count beyond that is not booked: a leap of the register, another meter, an old count after a"
    " false 0. A fuse carries more than it says for a while; write what is never exceeded."
)
_MOST_SAMPLES = 300  # that 'read' looks back on
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def add_commands(subparsers: Any) -> None:
    """Add the commands to those of `joulemark agent`."""
    check = subparsers.add_parser("check", help="find every mistake in a site file; show the plan")
    _add_site(check)
    check.set_defaults(run=_check)
    read = subparsers.add_parser("read", help="show live values with unit, quality and raw words")
    _add_site(read)
    read.add_argument("--once", action="store_true", help="read every device once and end")
    read.add_argument("--json", action="store_true", help="one JSON document per round")
    read.add_argument(
        "--every", type=_seconds, default=2.0, metavar="SECONDS", help="between rounds (default 2)"
    )
    read.add_argument(
        "--golden", action="store_true", help="once, as golden rows to paste into a profile"
    )
    read.set_defaults(run=_read)
    profiles = subparsers.add_parser("profiles", help="list the device profiles that are shipped")
    profiles.add_argument("--json", action="store_true", help="one JSON document")
    profiles.set_defaults(run=_profiles)


def _add_site(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", type=Path, required=True, metavar="SITE.yaml", help="the site file"
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not SHORTEST_S <= seconds <= LONGEST_S:  # NaN is neither
        raise argparse.ArgumentTypeError(f"{text} is not {SHORTEST_S} to {LONGEST_S} seconds")
    return seconds


def _check(args: argparse.Namespace) -> int:
    settings = load_site(args.config)
    devices = settings.planned_devices()
    line_by_device = {d.id: url for url, those in by_line(devices).items() for d in those}
    tables: dict[str, list[tuple[str, ...]]] = {}
    nodes: dict[str, list[str]] = {}
    for device, given in zip(devices, settings.devices, strict=True):
        row = (
            device.id,
            "-" if _variables(device) or _texts(device) else str(device.unit),
            given.profile,
            _plan(replace(device, requests=device.plan(()))),
            f"{US_PER_DAY / device.period_us:g}",
        )
        tables.setdefault(line_by_device[device.id], []).append(row)
        nodes.setdefault(line_by_device[device.id], []).extend(
            [*_slow_plans(device), *_nodes(device)]
        )
    asked = [turn for device in devices for turn in _turns(device)]
    slots = sum(number for number, _ in asked)
    requests = sum(number * _requests(device) for number, device in asked)
    words = sum(number * _words(device) for number, device in asked)
    variables = sum(number * _variables(device) for number, device in asked)
    _say(f"{args.config}: no mistakes.")
    _say(f"Site {settings.site}, agent {settings.agent}, {settings.clock} clock.")
    _say("")
    for line, rows in tables.items():
        _say(line)
        _say(_table([("device", "unit", "profile", "reads", "slots/day"), *rows]))
        for name in nodes.get(line, []):
            _say(name)
        _say("")
    _say(
        f"{_counted(len(devices), 'device')} on {_counted(len(tables), 'line')};"
        f" per day {slots:,.0f} slots, {requests:,.0f} requests, {words:,.0f} words"
        f"{f', {variables:,.0f} variables' if variables else ''}."
    )
    for system in settings.systems:
        names = ", ".join(name for role in system.members.values() for name in role)
        _say(f"System {system.id}: {system.kind} of {names}.")
    for name in dict.fromkeys(given.profile for given in settings.devices):
        if not load_profile(name, args.config.absolute().parent)[0].golden:
            _say("")
            _say(textwrap.fill(f"note: {name} {_NO_GOLDEN}", WIDTH))
    for given in settings.devices:
        if said := _other_port(given.url, settings.profile(given)[0]):
            _say("")
            _say(textwrap.fill(f"note: {given.id} {said}", WIDTH))
    for given in settings.devices:
        if given.maximum_power_w is not None:
            names = ", ".join(energy_counters(settings.profile(given)[0]))
            text = f"{given.id} carries at most {given.maximum_power_w:,} W: what {names}"
            _say("")
            _say(textwrap.fill(f"{text} {_NOT_BOOKED}", WIDTH))
    return 0


def _other_port(url: str, profile: Profile) -> str | None:
    """How the line is set where the device leaves the factory set otherwise."""
    line, given = urlsplit(line_of(url)), profile.serial
    if line.netloc or given is None:
        return None
    look = serial_port.settings_of(line.geturl())
    factory = (given.baud, given.parity[0].upper(), given.stop_bits)
    if factory == (look.baud, look.parity, look.stop_bits):
        return None
    names = "baud={}, parity={}, stop_bits={}"
    return (
        f"leaves the factory with {names.format(*factory)}, and the address says"
        f" {names.format(look.baud, look.parity, look.stop_bits)}. If it does not answer, set one"
        " as the other."
    )


def _turns(device: PlannedDevice) -> list[tuple[float, PlannedDevice]]:
    """How often a day the device is asked for what: for as much as is due at a slot."""
    if not device.periods_us:
        return [(US_PER_DAY / device.period_us, device)]
    due = Counter(map(device.due, range(0, US_PER_DAY, device.period_us)))
    return [
        (number, replace(device, requests=device.plan(due_us), fields=()))
        for due_us, number in sorted(due.items())
    ]


def _slow_plans(device: PlannedDevice) -> list[str]:
    """Lines that show what is asked for when points of a slower period are due as well."""
    return [
        f"  {device.id} every {max(due_us) / US_PER_S:g} s:"
        f" {_plan(replace(device, requests=device.plan(due_us)))}"
        for due_us in sorted({*map(device.due, range(0, US_PER_DAY, device.period_us))})
        if due_us and device.periods_us
    ]


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _plan(device: PlannedDevice) -> str:
    """What is asked for at each slot, in the words of its protocol."""
    blocks: list[str] = []
    for request in device.requests:
        if request.table == SUNSPEC:
            is_first = not any(block.startswith("model") for block in blocks)
            label, unit = ("model ", " words") if is_first else ("", "")
            blocks.append(f"{label}{request.address} ({request.count}{unit})")
        elif request.table not in (NODE, *WITHOUT_WORDS):
            last = request.address + request.count - 1
            blocks.append(f"{request.table} {request.address}..{last}")
    if variables := _variables(device):
        blocks.append(_counted(variables, "variable"))
    blocks += [_counted(count, table) for table, count in _texts(device).items()]
    return ", ".join(blocks)


def _nodes(device: PlannedDevice) -> list[str]:
    """Lines that name the variables, by namespace: that is long, and the same for most."""
    nodes: dict[str, list[str]] = {}
    for request in device.requests:
        if request.table == NODE:
            namespace, _, node = request.node.partition(";")
            nodes.setdefault(namespace, []).append(node)
    return [
        line
        for namespace, names in nodes.items()
        for line in textwrap.wrap(
            f"{device.id} in {namespace}: {', '.join(names)}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


def _requests(device: PlannedDevice) -> int:
    """How many questions a slot takes: all variables are asked for at once."""
    variables, texts = _variables(device), _texts(device)
    return len(device.requests) - variables + bool(variables) - texts.total() + len(texts)


def _words(device: PlannedDevice) -> int:
    without = (NODE, *WITHOUT_WORDS)
    return sum(request.count for request in device.requests if request.table not in without)


def _variables(device: PlannedDevice) -> int:
    return sum(request.table == NODE for request in device.requests)


def _texts(device: PlannedDevice) -> Counter[str]:
    """How many things are asked for over HTTP, by kind; those of one kind are one question."""
    tables = (request.table for request in device.requests)
    return Counter(table for table in tables if table in WITHOUT_WORDS)


def _read(args: argparse.Namespace) -> int:
    return asyncio.run(_read_rounds(load_site(args.config), args))


async def _read_rounds(settings: SiteSettings, args: argparse.Namespace) -> int:
    """Rounds until Ctrl-C; with `--once` one, and 1 where a device gave no value."""
    devices = settings.planned_devices()
    profiles = [settings.profile(given)[0] for given in settings.devices]
    windows: list[deque[Sample]] = [deque(maxlen=_MOST_SAMPLES) for _ in devices]
    lines = Lines(devices)
    try:
        while True:
            answers = [
                await _answer(lines, device, profile, window)
                for device, profile, window in zip(devices, profiles, windows, strict=True)
            ]
            if args.json:
                document = {"site": settings.site, "devices": answers}
                _say(json.dumps(document, indent=2 if args.once else None))
            else:
                for answer in answers:
                    if "error" not in answer:
                        _say(_golden(answer) if args.golden else _readable(answer))
            failed = [answer for answer in answers if "error" in answer]
            for answer in failed:
                error = answer["error"]
                print_error(f"{answer['device']}: {error['what']} {error['do']}")
            if args.once or args.golden:
                return 1 if failed else 0
            await asyncio.sleep(args.every)
    finally:
        await lines.close()


async def _answer(
    lines: Lines, device: PlannedDevice, profile: Profile, window: deque[Sample]
) -> dict[str, Any]:
    """What `--json` shows of one device; the window is what was read of it so far."""
    common = {"device": device.id, "profile": profile.model, "synthetic": profile.synthetic}
    try:
        responses = await lines.of(device).read(device)
    except DeviceError as error:
        return common | {"error": {"code": error.code, "what": error.what, "do": error.do}}
    read_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    values, quality = decode_responses(profile, responses)
    raw = raw_of(profile, responses)
    window.append(sample_of(time.monotonic(), values, quality))
    return common | {
        "implausible": [
            {"check": found.rule, "points": found.points, "what": found.found, "do": found.do}
            for found in failures(profile, window)
        ],
        "read_at": read_at,
        "points": [
            {
                "name": point.name,
                "value": _shown(point, values.get(point.name), raw.get(point.name, b"")),
                "unit": unit_of(point.name),
                "quality": quality.get(point.name, GOOD),
                **_raw(point, raw.get(point.name, b"")),
            }
            for point in profile.points
        ],
    }


def _shown(point: AnyPoint, value: str | None, data: bytes) -> str | None:
    """The value; of a string its text, which no evidence holds."""
    if isinstance(point, (Point, SunspecPoint)) and point.type == "string":
        return text_of(point, data)
    return value


def _raw(point: AnyPoint, data: bytes) -> dict[str, Any]:
    """The bytes as received, in words; of a variable also what the server says of it."""
    if isinstance(point, (SelectorPoint, ObjectPoint)):
        text = data.decode("utf-8", "replace")
        shown = "".join(one if one.isprintable() else " " for one in text)
        return {"raw": shown, "form": "text"}
    if not isinstance(point, NodePoint):
        return {"raw": data.hex(" ", 2).upper()}
    found = parse(data)
    time_us = None if found is None else found.source_time_us
    return {
        "raw": data.hex().upper(),
        "status": None if found is None else f"0x{found.status:08X}",
        "source_time": None if time_us is None else _instant(time_us),
    }


def _instant(at_us: int) -> str | None:
    """As ISO 8601; None where a server's time is none of the calendar's."""
    try:
        return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="milliseconds")
    except OverflowError:
        return None


def _readable(answer: dict[str, Any]) -> str:
    label = " (synthetic)" if answer["synthetic"] else ""
    rows = [("point", "value", "unit", "quality", "raw")]
    rows += [
        (point["name"], point["value"] or "-", point["unit"], _quality(point), point["raw"])
        for point in answer["points"]
    ]
    findings = [
        textwrap.fill(
            f"implausible: {found['what']}. {found['do']}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
        + "\n"
        for found in answer["implausible"]
    ]
    return "\n".join(
        [f"{answer['device']}{label}  {answer['read_at']}", _table(rows), *findings, ""]
    )


def _golden(answer: dict[str, Any]) -> str:
    """What was read as golden rows: words whose value somebody has compared with a display."""
    rows = [f"# {answer['profile']}, read on {answer['read_at'][:10]}", "golden:"]
    for point in answer["points"]:
        value = "null" if point["value"] is None or point["quality"] == TEXT else point["value"]
        words = ", ".join(f"0x{word}" for word in point["raw"].split())
        raw = f'data: "{point["raw"].lower()}"' if "status" in point else f"words: [{words}]"
        if "form" in point:
            raw = "text: '{}'".format(point["raw"].replace("'", "''"))
        if point["raw"]:
            rows.append(f"  - {{point: {point['name']}, {raw}, value: {value}}}")
    return "\n".join(rows)


def _quality(point: dict[str, Any]) -> str:
    """The code, with the server's status where that is why."""
    code = str(point["quality"])
    return f"{code} {point['status']}" if code in {UNCERTAIN, BAD_STATUS} else code


def _profiles(args: argparse.Namespace) -> int:
    found = []
    for name in joulemark_profiles.names("devices"):
        profile, _ = load_profile(name)
        found.append(
            {
                "name": name,
                "kind": profile.kind,
                "protocol": profile.protocol,
                "points": len(profile.points),
                "confidence": profile.confidence,
                "synthetic": profile.synthetic,
                "source": profile.source,
            }
        )
    if args.json:
        _say(json.dumps(found, indent=2))
    else:
        columns = ("name", "kind", "protocol", "points")
        rows = [tuple(str(row[name]) for name in columns) for row in found]
        _say(_table([columns, *rows]))
        _say("")
        for row in found:
            label = ", synthetic" if row["synthetic"] else ""
            _say(f"{row['name']} ({row['confidence']}{label}): {row['source']}")
    return 0


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_error(text: str) -> None:
    """One message on standard error."""
    sys.stdout.flush()
    sys.stderr.write(f"error: {text}\n")
