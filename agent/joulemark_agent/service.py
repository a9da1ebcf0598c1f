"""`joulemark agent run | enroll`: the service and what it needs once before."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import json
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from joulemark_agent import app, enrolment_command, rotation_command
from joulemark_agent.approved import evidence_key, terms_of
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import encode64
from joulemark_agent.grants import Enrolled, enroll, keep_site
from joulemark_agent.keys import Key, create_key, has_key, load_key
from joulemark_agent.log import start_logging
from joulemark_agent.settings import (
    SiteSettings,
    load_site,
    site_document,
)

_LAST_EPOCH = 999_999_999


def add_commands(subparsers: Any) -> None:
    """Add the commands to those of `joulemark agent`."""
    run = subparsers.add_parser("run", help="read, sign and send until told to stop")
    _add_site(run)
    run.set_defaults(run=_run)
    parser = subparsers.add_parser(
        "enroll",
        help="make the agent's key, and have the operator approve what it will read",
        allow_abbrev=False,  # or '--token SECRET' would be taken for the name of a file
    )
    _add_site(parser)
    parser.add_argument(
        "--operator-key", type=Path, metavar="FILE", help="the operator's private key: sign now"
    )
    parser.add_argument(
        "--create-operator-key", action="store_true", help="make FILE first; it must not exist"
    )
    parser.add_argument(
        "--epoch", type=int, default=1, metavar="N",
        help="lowest epoch to grant: one more than the last, where the state folder was lost",
    )  # fmt: skip
    enrolment_command.add_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(run=_enroll)
    enrolment_command.add_command(subparsers)
    rotation_command.add_command(subparsers)


def _add_site(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", type=Path, required=True, metavar="SITE.yaml", help="the site file"
    )


def _run(args: argparse.Namespace) -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the agent listens to it
    start_logging()
    with suppress(OSError, ValueError):  # standard error is no file
        faulthandler.enable()  # what hung stands there when the service manager ends us
    again = partial(load_site, args.config)
    _say(json.dumps(asyncio.run(app.run(again(), again))))
    return 0


def _enroll(args: argparse.Namespace) -> int:
    settings = load_site(args.config)
    operator = _operator_key(args)
    if not 1 <= args.epoch <= _LAST_EPOCH:
        raise ConfigError(
            f"There is no epoch {args.epoch}.", f"Epochs count from 1 to {_LAST_EPOCH}."
        )
    key = evidence_key(settings, create=True)
    done = [
        enroll(
            settings.state_dir,
            terms_of(settings, device, key),
            operator,
            first_epoch=args.epoch,
        )
        for device in settings.devices
    ]
    keep_site(settings.state_dir, site_document(settings))
    if not args.json:
        _explain(settings, key, operator, done)
    joined = enrolment_command.join_as_asked(args, settings, key)
    if args.json:
        _say(json.dumps(_document(settings, key, operator, done) | joined))
    return 0


def _operator_key(args: argparse.Namespace) -> Key | None:
    path: Path | None = args.operator_key
    if path is None:
        if args.create_operator_key:
            raise ConfigError(
                "'--create-operator-key' does not say where the key goes.",
                "Add '--operator-key FILE'.",
            )
        return None
    if args.create_operator_key:
        return create_key(path)
    if not has_key(path):
        raise ConfigError(
            f"There is no operator key {path}.",
            "Check the path; to make a new one add '--create-operator-key'.",
        )
    return load_key(path)


def _document(
    settings: SiteSettings, key: Key, operator: Key | None, done: list[Enrolled]
) -> dict[str, Any]:
    return {
        "site": settings.site,
        "agent": settings.agent,
        "key": encode64(key.public),
        "fingerprint": key.fingerprint,
        "operator_key": encode64(operator.public) if operator else None,
        "grants": [
            {"device": d.device, "epoch": d.epoch, "state": d.state, "path": str(d.path)}
            for d in done
        ],
    }


def _explain(settings: SiteSettings, key: Key, operator: Key | None, done: list[Enrolled]) -> None:
    _say(f"Agent {settings.agent} of site {settings.site}")
    _say(f"  fingerprint  {key.fingerprint}")
    _say(f"  public key   {encode64(key.public)}")
    if operator is not None:
        _say("Operator")
        _say(f"  fingerprint  {operator.fingerprint}")
        _say(f"  public key   {encode64(operator.public)}")
    _say("Grants")
    for item in done:
        _say(f"  {item.device}  epoch {item.epoch}  {item.state}  {item.path}")
    if any(item.state == "requested" for item in done):
        _say("")
        _say("Not approved yet. Show the fingerprint above to the operator, who compares it and")
        _say("runs the same command on this machine with '--operator-key FILE'.")
    else:
        _say("")
        _say("The collector must know the agent's and the operator's public key.")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
