"""`joulemark collector slots`: for any hour, what was expected, received, and missing for what."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from joulemark_agent.contract.errors import ConfigError

if TYPE_CHECKING:
    from joulemark_gateway.api.plant import Device
    from joulemark_gateway.evidence.base import EvidenceStore
    from joulemark_gateway.evidence.slots import Account

Add = Callable[[argparse.ArgumentParser, Callable[[argparse.Namespace], int]], None]
_STEPS_H = {"hour": 1, "day": 24}
_UTC_0 = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_DAY_US = timedelta(days=1) // _US


def add_command(commands: Any, add_config: Add) -> None:
    """Add the command to those of `joulemark collector`; `add_config` gives it its file."""
    parser = commands.add_parser(
        "slots",
        help="for any hour and device: slots expected, received, missing and why",
        description="Counts the slots of each device from its signed evidence: every one was read,"
        " or stands in a gap with its cause, or has not arrived yet. Ends with 1 where a slot is"
        " neither, or stands there twice.",
    )
    parser.add_argument("--from", dest="start", type=_instant, metavar="TIME", help=_TIME)
    parser.add_argument("--to", dest="end", type=_instant, metavar="TIME", help="before this")
    parser.add_argument("--by", choices=(*_STEPS_H, "span"), default="hour", help="UTC (hour)")
    parser.add_argument("--site", metavar="ID", help="only this one")
    parser.add_argument("--device", metavar="ID", help="only this one")
    parser.add_argument("--points", action="store_true", help="the quality of each point too")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    add_config(parser, _run)


_TIME = "ISO 8601 with offset or Z; unasked, the last 24 hours of each device"


def _instant(text: str) -> int:
    """Microseconds since 1970 of a time with its offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no offset from UTC: add Z, or +09:00")
    return (moment - _UTC_0) // _US


def _run(args: argparse.Namespace) -> int:
    from joulemark_gateway.evidence.slots import total  # noqa: PLC0415 - when it runs
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415

    settings = load_collector(args.config)
    rows: list[dict[str, Any]] = []
    is_whole = True
    with settings.evidence.reader() as store:
        for site, device in _asked(store, args.site, args.device):
            found = list(_accounts(store, device, args))
            whole = total(found)
            is_whole &= whole.reconciles and not whole.unaccounted and not whole.twice
            if args.json:
                rows.append(_row(site, device.id, whole, found))
            else:
                _show(site, device.id, [*found, whole], with_points=args.points)
    if args.json:
        sys.stdout.write(json.dumps({"devices": rows}) + "\n")
    return 0 if is_whole else 1


def _asked(
    store: EvidenceStore, site: str | None, device: str | None
) -> Iterator[tuple[str, Device]]:
    from joulemark_gateway.api.plant import sites_of  # noqa: PLC0415 - when it runs

    count = 0
    for found in sites_of(store).values():
        for one in found.devices.values():
            if (site or found.id, device or one.id) == (found.id, one.id):
                count += 1
                yield found.id, one
    if not count:
        raise ConfigError(
            f"No evidence is held of device {device or 'any'} at site {site or 'any'}.",
            "See 'joulemark collector status' for what is held.",
        )


def _accounts(store: EvidenceStore, device: Device, args: argparse.Namespace) -> Iterator[Account]:
    from joulemark_gateway.api.slots import HOUR_US, slots_of, windows_of  # noqa: PLC0415

    now_us = time.time_ns() // 1000
    last_us = (device.head.next_slot_us or 0) if device.is_simulated else now_us
    end_us = last_us if args.end is None else args.end
    start_us = end_us - _DAY_US if args.start is None else args.start
    if start_us >= end_us:
        raise ConfigError(
            f"The span of {device.id} goes from {_utc(start_us)} to {_utc(end_us)}.",
            "Let '--to' be after '--from'.",
        )
    span_us = (start_us, end_us)
    hours = _STEPS_H.get(args.by)
    for window_us in [span_us] if hours is None else windows_of(span_us, hours * HOUR_US):
        yield slots_of(store, device, window_us, now_us)


def _row(site: str, device: str, whole: Account, found: list[Account]) -> dict[str, Any]:
    told = [asdict(one) | {"reconciles": one.reconciles} for one in (*found, whole)]
    return {"site": site, "device": device, "windows": told[:-1], "total": told[-1]}


def _show(site: str, device: str, found: list[Account], *, with_points: bool) -> None:
    lines = [f"{site}/{device}"]
    for one in found:
        what = f"total until {_utc(one.end_us)}" if one is found[-1] else _utc(one.start_us)
        parts = [f"expected {one.expected}", f"received {one.received}"]
        parts += [f"{cause} {slots}" for cause, slots in one.missing.items()]
        for name in ("at_gateway", "unaccounted", "outstanding", "twice"):
            parts += [f"{name} {getattr(one, name)}"] if getattr(one, name) else []
        parts += [] if one.reconciles else ["DOES NOT RECONCILE"]
        lines.append(f"  {what}  {', '.join(parts)}")
        if with_points:
            lines += [f"    {name}: {_codes(codes)}" for name, codes in one.points.items() if codes]
    sys.stdout.write("\n".join(lines) + "\n")


def _codes(codes: Any) -> str:
    return ", ".join(f"{code} {count}" for code, count in codes.items())


def _utc(at_us: int) -> str:
    return f"{_UTC_0 + at_us * _US:%Y-%m-%d %H:%M}Z"
