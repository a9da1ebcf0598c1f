"""`joulemark agent scan URL`: what answers there, and which profile it needs."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from joulemark_agent import scan_report
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.drivers import elektronikon, sigma_control
from joulemark_agent.lines import line_of
from joulemark_agent.scan import WIRES, Scan, scan, scan_controller
from joulemark_agent.scan_profile import Generated, sunspec_profile

BUS, NETWORK = "1-30", "1-30,255"  # 255: a device on a network that is asked for itself
OPC_UA = ("opc.tcp",)
STOPPED, INTERRUPTED = "it was stopped by Ctrl-C.", 130
LEAST_OPC_UA_S = 4.0  # a server that makes keys takes its time
LEAST_HTTP_S = 5.0  # as does a controller for all its selectors at once
SHORTEST_S, LONGEST_S = 0.01, 60.0


def add_commands(subparsers: Any) -> None:
    """Add the command to those of `joulemark agent`."""
    parser = subparsers.add_parser(
        "scan",
        help="find what answers at an address, and the profile it needs",
        description="Ask what answers at an address, gently: one connection, one question at a"
        " time, reading only. Shows what each device says of itself, which profile fits, and the"
        " lines for the site file.",
    )
    parser.add_argument(
        "url",
        metavar="URL",
        help="such as modbus-tcp://192.0.2.10, modbus-rtu-tcp://192.0.2.10:4001 or"
        " 'modbus-rtu:///dev/ttyUSB0?baud=9600&parity=N', opc.tcp://192.0.2.10:4840 or"
        " elektronikon-http://192.0.2.20",
    )
    parser.add_argument(
        "--units", type=_units, metavar="1-30", help=f"unit numbers to ask (default {BUS})"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=0.5,
        metavar="SECONDS",
        help="to wait for a unit that may not be there (default 0.5)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="OUT.yaml",
        help="write a profile made from the device's own SunSpec map or OPC UA variables",
    )
    parser.set_defaults(run=_scan)


def _units(text: str) -> tuple[int, ...]:
    found: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        numbers = [number.strip() for number in ((first, last) if dash else (first,))]
        if not all(n.isascii() and n.isdigit() and int(n) <= 255 for n in numbers):
            raise argparse.ArgumentTypeError(f"{part!r} is no unit: write 1-30 or 1,5,9 (0 to 255)")
        found |= dict.fromkeys(range(int(numbers[0]), int(numbers[-1]) + 1))
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} holds no unit: write 1-30")
    return tuple(found)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text} is not {SHORTEST_S} to {LONGEST_S:g} seconds")
    return seconds


def _scan(args: argparse.Namespace) -> int:
    """0: something answers; 1: nothing does."""
    scheme = urlsplit(args.url).scheme
    if scheme in sigma_control.SCHEMES:
        raise ConfigError(
            "A Sigma Control tells nothing without a login.",
            "Write it into the site file as docs/http.md shows, with profile"
            " kaeser_sigma_control_2, and run 'joulemark agent read -c SITE.yaml --once'.",
        )
    if scheme not in (schemes := (*WIRES, *OPC_UA, *elektronikon.SCHEMES)):
        known = ", ".join(schemes)
        raise ConfigError(
            f"{args.url!r} cannot be scanned.",
            f"Write SCHEME://HOST:PORT or SCHEME:///dev/NAME; the schemes are: {known}.",
        )
    if args.profile is not None:
        _check_can_be_made(args.profile)
    url = line_of(args.url)
    if scheme in elektronikon.SCHEMES:
        return _scan_controller(url, args)
    return _scan_variables(url, args) if scheme in OPC_UA else _scan_units(url, args)


def _check_can_be_made(path: Path) -> None:
    """Refuse before anything is asked what could not be written when all has been asked."""
    if path.suffix != ".yaml":
        raise ConfigError(f"{path} does not end in .yaml.", "A profile's file does.")
    if path.exists():
        raise ConfigError(f"{path} is there already.", "Name a file that is not.")
    if not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise ConfigError(
            f"{path.parent} is no folder that can be written to.", "Name a file in another folder."
        )


def _scan_units(url: str, args: argparse.Namespace) -> int:
    is_network = bool(urlsplit(url).netloc)
    result = Scan(url, args.units or _units(NETWORK if is_network else BUS))
    started_s = time.monotonic()
    progress = _Progress()
    try:
        asyncio.run(scan(result, timeout_s=args.timeout, progress=progress.show))
    except KeyboardInterrupt:
        result.stopped = STOPPED
    finally:
        progress.clear()
    _tell(result, time.monotonic() - started_s, args)
    if result.stopped == STOPPED:
        return INTERRUPTED
    return 0 if result.found else 1


def _scan_controller(url: str, args: argparse.Namespace) -> int:
    """A controller with a web interface has no units, and a shipped profile."""
    if args.profile is not None:
        raise ConfigError("For a controller no profile is made.", "Leave --profile out.")
    found = asyncio.run(scan_controller(url, timeout_s=max(args.timeout, LEAST_HTTP_S)))
    if args.json:
        _say(json.dumps(scan_report.controller_mapping(url, found), indent=2) + "\n")
    else:
        _say(scan_report.controller_text(url, found))
    return 0


def _scan_variables(url: str, args: argparse.Namespace) -> int:
    """An OPC UA server has no units: its variables are looked through."""
    from joulemark_agent import opcua_browse  # noqa: PLC0415 - nothing else here needs it

    progress = _Progress()
    progress.show(f"looking through the variables of {url}")
    try:
        found = asyncio.run(opcua_browse.scan(url, timeout_s=max(args.timeout, LEAST_OPC_UA_S)))
    finally:
        progress.clear()
    files, failed = _save(args.profile, [proposal.profile for proposal in found])
    if args.json:
        _say(json.dumps(scan_report.variables_mapping(url, found, files), indent=2) + "\n")
    else:
        _say(scan_report.variables_text(url, found, files))
    if failed is not None:
        raise failed
    return 0 if found else 1


def _tell(result: Scan, took_s: float, args: argparse.Namespace) -> None:
    today = datetime.now(UTC).date()
    made: dict[int, Generated] = {}
    for found in result.found:
        profile = sunspec_profile(found.models, found.common, found.responses, today)
        if profile is not None and found.like is None:
            made[found.unit] = profile
    files, failed = _save(args.profile, [profile.text for profile in made.values()])
    is_offered = bool(made) and not files
    written = dict(zip(made, files, strict=False))  # none where no file was asked for
    if args.json:
        _say(json.dumps(scan_report.as_mapping(result, took_s, written), indent=2) + "\n")
    else:
        _say(scan_report.as_text(result, took_s, written, is_offered=is_offered))
    if failed is not None:
        raise failed


def _save(path: Path | None, texts: Sequence[str]) -> tuple[list[str], ConfigError | None]:
    """The files written: the one named, and for more profiles others with a number.

    What ended it is for after the report: what took minutes to find is not lost with it.
    """
    if path is None:
        return [], None
    files = [path, *(path.with_stem(f"{path.stem}-{i}") for i in range(2, len(texts) + 1))]
    if not texts:
        sys.stderr.write(
            f"{path} was not written: a profile is made from a SunSpec map with measured power or"
            " from the variables of an OPC UA server, and there is none.\n"
        )
    written: list[str] = []
    for file, text in zip(files, texts, strict=False):
        try:
            with file.open("x", encoding="utf-8") as opened:
                opened.write(text)
        except OSError as error:
            what = f"{file} cannot be written: {error.strerror}."
            return written, ConfigError(what, "Name another file for --profile.")
        written.append(str(file))
    return written, None


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


class _Progress:
    """One line on a terminal that tells what is asked; nothing where nobody looks."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()

    def show(self, text: str) -> None:
        """In place of the text before."""
        if self._is_shown:
            sys.stderr.write(f"\r\x1b[K{text[: scan_report.WIDTH]}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Leave an empty line."""
        self.show("")
