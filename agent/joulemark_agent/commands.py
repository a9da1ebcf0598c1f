"""`joulemark agent check | read | profiles`: what an engineer does before the service runs."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import joulemark_profiles
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import NODE, SUNSPEC, AnyPoint, NodePoint, Profile
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.kernels.datavalue import BAD_STATUS, UNCERTAIN, parse
from joulemark_agent.kernels.decode import decode_responses, raw_of
from joulemark_agent.lines import Lines, line_of
from joulemark_agent.plan import PlannedDevice
from joulemark_agent.settings import SiteSettings, load_profile, load_site

GOOD = "good"
WIDTH = 79  # of a terminal
SHORTEST_S, LONGEST_S = 0.01, 86_400  # between two rounds of 'read'
US_PER_DAY = 86_400_000_000
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
    by_line: dict[str, list[tuple[str, ...]]] = {}
    nodes: dict[str, list[str]] = {}
    for device, given in zip(devices, settings.devices, strict=True):
        row = (
            device.id,
            "-" if _variables(device) else str(device.unit),
            given.profile,
            _plan(device),
            f"{US_PER_DAY / device.period_us:g}",
        )
        by_line.setdefault(line_of(device.url), []).append(row)
        nodes.setdefault(line_of(device.url), []).extend(_nodes(device))
    slots = sum(US_PER_DAY / device.period_us for device in devices)
    requests = sum(US_PER_DAY / device.period_us * _requests(device) for device in devices)
    words = sum(US_PER_DAY / device.period_us * _words(device) for device in devices)
    variables = sum(US_PER_DAY / device.period_us * _variables(device) for device in devices)
    _say(f"{args.config}: no mistakes.")
    _say(f"Site {settings.site}, agent {settings.agent}, {settings.clock} clock.")
    _say("")
    for line, rows in by_line.items():
        _say(line)
        _say(_table([("device", "unit", "profile", "reads", "slots/day"), *rows]))
        for name in nodes.get(line, []):
            _say(name)
        _say("")
    _say(
        f"{_counted(len(devices), 'device')} on {_counted(len(by_line), 'line')};"
        f" per day {slots:,.0f} slots, {requests:,.0f} requests, {words:,.0f} words"
        f"{f', {variables:,.0f} variables' if variables else ''}."
    )
    return 0


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
        elif request.table != NODE:
            last = request.address + request.count - 1
            blocks.append(f"{request.table} {request.address}..{last}")
    if variables := _variables(device):
        blocks.append(_counted(variables, "variable"))
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
    variables = _variables(device)
    return len(device.requests) - variables + bool(variables)


def _words(device: PlannedDevice) -> int:
    return sum(request.count for request in device.requests if request.table != NODE)


def _variables(device: PlannedDevice) -> int:
    return sum(request.table == NODE for request in device.requests)


def _read(args: argparse.Namespace) -> int:
    return asyncio.run(_read_rounds(load_site(args.config), args))


async def _read_rounds(settings: SiteSettings, args: argparse.Namespace) -> int:
    """Rounds until Ctrl-C; with `--once` one, and 1 where a device gave no value."""
    devices = settings.planned_devices()
    profiles = [settings.profile(given)[0] for given in settings.devices]
    lines = Lines(devices)
    try:
        while True:
            answers = [
                await _answer(lines, device, profile)
                for device, profile in zip(devices, profiles, strict=True)
            ]
            if args.json:
                document = {"site": settings.site, "devices": answers}
                _say(json.dumps(document, indent=2 if args.once else None))
            else:
                for answer in answers:
                    if "error" not in answer:
                        _say(_readable(answer))
            failed = [answer for answer in answers if "error" in answer]
            for answer in failed:
                error = answer["error"]
                print_error(f"{answer['device']}: {error['what']} {error['do']}")
            if args.once:
                return 1 if failed else 0
            await asyncio.sleep(args.every)
    finally:
        await lines.close()


async def _answer(lines: Lines, device: PlannedDevice, profile: Profile) -> dict[str, Any]:
    """What `--json` shows of one device."""
    common = {"device": device.id, "profile": profile.model, "synthetic": profile.synthetic}
    try:
        responses = await lines.of(device).read(device)
    except DeviceError as error:
        return common | {"error": {"code": error.code, "what": error.what, "do": error.do}}
    read_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    values, quality = decode_responses(profile, responses)
    raw = raw_of(profile, responses)
    return common | {
        "read_at": read_at,
        "points": [
            {
                "name": point.name,
                "value": values.get(point.name),
                "unit": unit_of(point.name),
                "quality": quality.get(point.name, GOOD),
                **_raw(point, raw.get(point.name, b"")),
            }
            for point in profile.points
        ],
    }


def _raw(point: AnyPoint, data: bytes) -> dict[str, Any]:
    """The bytes as received, in words; of a variable also what the server says of it."""
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
    return f"{answer['device']}{label}  {answer['read_at']}\n{_table(rows)}\n"


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
