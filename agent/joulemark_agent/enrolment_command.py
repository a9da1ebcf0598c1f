"""`joulemark agent enroll --collector URL`, `--csr FILE`, `--certificate FILE`; `agent renew`."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from joulemark_agent import enrolment
from joulemark_agent.contract.enrolment import Token, parse_token
from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.keys import Key
from joulemark_agent.settings import SiteSettings, load_site
from joulemark_agent.tls import WARN_DAYS, own_certificate

_MAX_TOKEN = 4096


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the ways to a TLS certificate to `joulemark agent enroll`."""
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--collector", metavar="URL", help="join the collector at https://HOST:PORT with a token"
    )
    way.add_argument(
        "--csr", type=Path, metavar="FILE",
        help="only write a request for a certificate, for somebody to carry to the collector",
    )  # fmt: skip
    way.add_argument(
        "--certificate", type=Path, metavar="FILE", help="take the certificate carried back"
    )
    parser.add_argument(
        "--token-file", metavar="FILE", help="what 'collector enroll-token' printed; - reads it in"
    )
    parser.add_argument(
        "--wait", type=float, default=enrolment.WAIT_S, metavar="SECONDS",
        help="how long to wait for the approval (900)",
    )  # fmt: skip


def add_command(subparsers: Any) -> None:
    """Add `joulemark agent renew`."""
    parser = subparsers.add_parser(
        "renew", help="have the collector renew the certificate by which the broker knows the agent"
    )
    parser.add_argument(
        "-c", "--config", type=Path, required=True, metavar="SITE.yaml", help="the site file"
    )
    parser.add_argument(
        "--within", type=int, default=WARN_DAYS, metavar="DAYS",
        help="only if it ends within so many days (30); run it every day",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(run=_renew)


def join_as_asked(args: argparse.Namespace, settings: SiteSettings, key: Key) -> dict[str, Any]:
    """Do what the options say; what `--json` tells of it."""
    if (args.token_file is not None) != (args.collector is not None):
        raise ConfigError(
            "'--collector' and '--token-file' go together.",
            "Have a token made with 'joulemark collector enroll-token', and give both.",
        )
    if args.csr is not None:
        enrolment.request_by_hand(settings, args.csr)
        there = f"joulemark collector ca issue agent {settings.agent} --csr FILE --out FILE"
        _say(args, f"Carry {args.csr} to the collector: '{there}'.")
        _say(args, "Carry what it writes back: 'joulemark agent enroll ... --certificate FILE'.")
        return {"request": str(args.csr)}
    if args.certificate is not None:
        return _told(args, settings, enrolment.take_by_hand(settings, args.certificate))
    if args.collector is None:
        return {}
    token = _token(args.token_file)
    _say(args, "Joining")
    _say(args, f"  fingerprint of this agent  {key.fingerprint}")
    _say(args, f"  collector's certificate    {token.fingerprint}")
    _say(args, "Compare both with what the collector shows: 'joulemark collector enrolments'.")
    joined = enrolment.join(settings, key, args.collector, token, wait_s=args.wait)
    return _told(args, settings, joined)


def _renew(args: argparse.Namespace) -> int:
    settings = load_site(args.config)
    until = own_certificate(enrolment.enrolled_files(settings.state_dir).certificate)
    left = until.not_valid_after_utc - datetime.now(UTC)
    if left <= timedelta(0):
        raise ConfigError(
            f"The certificate has ended on {_day(until.not_valid_after_utc)}, and the collector"
            " renews only one that still holds.",
            "Look at this computer's clock; if it is right, have a token made and run"
            " 'joulemark agent enroll -c SITE.yaml --collector URL --token-file -' again.",
        )
    if left > timedelta(days=args.within):
        document = {"renewed": False, "valid_until": _day(until.not_valid_after_utc)}
        _say(args, f"The certificate holds for {left.days} days more; nothing to do.")
    else:
        document = {"renewed": True, **_told(args, settings, enrolment.renew(settings))}
    if args.json:
        sys.stdout.write(json.dumps(document) + "\n")
    return 0


def _told(
    args: argparse.Namespace, settings: SiteSettings, joined: enrolment.Joined
) -> dict[str, Any]:
    until = _day(joined.until)
    _say(args, f"The certificate {joined.certificate} holds until {until}.")
    if settings.uplink.tls is None:
        _say(args, "Write 'tls: {}' and an mqtts:// address under 'uplink' in the site file.")
    return {"certificate": str(joined.certificate), "valid_until": until}


def _token(name: str) -> Token:
    """The token in a file or on standard input; never in the arguments, which others can read."""
    with suppress(EvidenceError):
        parse_token(name)
        raise ConfigError(
            "That is a token, where the name of a file belongs: others on this machine could read"
            " it in the list of processes.",
            "Have a new one made, and give '--token-file -' to paste it.",
        )
    try:
        if name == "-":
            text = sys.stdin.readline(_MAX_TOKEN)
        else:
            with Path(name).open(encoding="ascii", errors="replace") as file:
                text = file.read(_MAX_TOKEN)
        return parse_token(text)
    except OSError as error:
        raise ConfigError(
            f"The token file {name} cannot be read: {error.strerror}.",
            "Check the path, or give '-' and paste the token.",
        ) from error
    except EvidenceError as error:
        raise ConfigError(error.what, error.do) from error


def _day(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"


def _say(args: argparse.Namespace, text: str) -> None:
    """To the person; beside the one document where that is asked for."""
    stream = sys.stderr if args.json else sys.stdout
    stream.write(f"{text}\n")
    stream.flush()
