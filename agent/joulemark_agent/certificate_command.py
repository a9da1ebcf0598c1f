"""`joulemark agent certificate`: the certificate by which OPC UA servers know this agent."""

from __future__ import annotations

import argparse
import json
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.opcua_access import Access, is_missing, make_identity, own_identity
from joulemark_agent.opcua_certificate import parsed
from joulemark_agent.opcua_security import shown
from joulemark_agent.settings import SiteSettings, load_site
from joulemark_agent.site_sections import SecuritySettings


def add_commands(subparsers: Any) -> None:
    """Add the command to those of `joulemark agent`."""
    parser = subparsers.add_parser(
        "certificate", help="make and show the certificate by which OPC UA servers know this agent"
    )
    parser.add_argument(
        "-c", "--config", type=Path, required=True, metavar="SITE.yaml", help="the site file"
    )
    parser.add_argument(
        "--renew", action="store_true", help="make a new key and certificate in place of the old"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(run=_certificate)


def _certificate(args: argparse.Namespace) -> int:
    settings = load_site(args.config)
    found = [_made(settings, access, renew=args.renew) for access in _accesses(settings)]
    if args.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    for one in found:
        for name, value in one.items():
            sys.stdout.write(f"{name.replace('_', ' ')}: {value}\n")
    sys.stdout.write("Have each server trust it: give it the file, and compare the thumbprint.\n")
    return 0


def _accesses(settings: SiteSettings) -> list[Access]:
    """One for every certificate that the site file speaks of, or the one it would begin with."""
    named = [device.security for device in settings.devices if device.security is not None]
    those = [security.access(settings.state_dir) for security in named or [SecuritySettings()]]
    return list({access.certificate: access for access in those}.values())


def _made(settings: SiteSettings, access: Access, *, renew: bool) -> dict[str, str]:
    """What is to be told of a certificate that is there from now on."""
    if renew or is_missing(access.certificate):
        host = socket.gethostname()
        make_identity(
            access.certificate,
            access.key,
            application_uri=f"urn:joulemark:{settings.site}:{settings.agent}",
            host=host if host and host.isascii() else "localhost",
            now=datetime.now(UTC),
        )
    try:
        access.trust.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The folder {access.trust} cannot be made: {error.strerror}.",
            "Name another under 'security: trust', or check who may write there.",
        ) from error
    own = own_identity(access)
    [certificate] = parsed(own.certificate)
    return {
        "certificate": str(access.certificate),
        "key": str(access.key),
        "thumbprint": shown(own.certificate),
        "application_uri": own.application_uri,
        "valid_until": f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
        "trusted_servers": str(access.trust),
    }
