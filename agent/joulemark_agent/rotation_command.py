"""`joulemark agent rotate-key`: give the agent a new evidence key; its trees go on."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import encode64
from joulemark_agent.rotation import is_waiting, request_rotation
from joulemark_agent.settings import load_site

_WAIT_S, _LOOK_S = 10.0, 0.2


def add_command(subparsers: Any) -> None:
    """Add the command to those of `joulemark agent`."""
    parser = subparsers.add_parser(
        "rotate-key", help="make a new evidence key on this device and take it into use"
    )
    parser.add_argument(
        "-c", "--config", type=Path, required=True, metavar="SITE.yaml", help="the site file"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(run=_rotate)


def _rotate(args: argparse.Namespace) -> int:
    settings = load_site(args.config)
    if settings.evidence_key is not None:
        raise ConfigError(
            f"The evidence key stands in the token {settings.evidence_key.token!r}, and is not"
            " replaced here.",
            "Write another 'evidence_key.label', then have the operator run 'joulemark agent"
            " enroll', which makes the key and opens the next epoch of every device.",
        )
    folder = settings.state_dir
    old, new = request_rotation(folder)
    is_used = _is_taken(folder)
    if args.json:
        found = {"agent": settings.agent, "key": encode64(new.public), "in_use": is_used}
        sys.stdout.write(json.dumps({**found, "fingerprint": new.fingerprint}) + "\n")
        return 0
    sys.stdout.write(
        f"Agent {settings.agent} of site {settings.site}\n"
        f"  old key  {old.fingerprint}\n"
        f"  new key  {new.fingerprint}\n"
        f"  public   {encode64(new.public)}\n"
    )
    sys.stdout.write(
        "The new key is in use, the old one is gone from this device. The collector follows by"
        " itself.\n"
        if is_used
        else "No running agent has taken it up: it is taken into use when the agent starts.\n"
    )
    sys.stdout.write(
        "Grants that were not used yet name the old key: have the operator run 'joulemark agent"
        " enroll' again.\n"
    )
    return 0


def _is_taken(folder: Path) -> bool:
    """Whether a running agent takes the new key into use within some seconds."""
    until_s = time.monotonic() + _WAIT_S
    while is_waiting(folder):
        if time.monotonic() >= until_s:
            return False
        time.sleep(_LOOK_S)
    return True
