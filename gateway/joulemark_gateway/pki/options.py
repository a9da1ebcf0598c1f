"""Options of `joulemark collector ca | enroll-token | enrolments` and `joulemark broker config`.

What they do stands in `command`, which is imported when one of them runs: it needs the extra.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

_COMMANDS = "joulemark_gateway.pki.command"
_SERVERS = ("collector", "broker")


def add_collector_commands(commands: Any) -> None:
    """Add the commands to those of `joulemark collector`."""
    ca = commands.add_parser("ca", help="the site's own certificate authority")
    of_ca = ca.add_subparsers(metavar="COMMAND", required=True)
    made = _added(of_ca, "init", "init", "make the authority and the collector's certificate")
    _add_hosts(made)
    _add_days(made, "that the authority holds (7300)")
    issued = _added(of_ca, "issue", "issue", "a certificate by hand")
    issued.add_argument("role", choices=("agent", "client", *_SERVERS))
    issued.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="id of an agent or client, or of one of several collectors",
    )
    issued.add_argument("--csr", type=Path, metavar="FILE", help="of an agent: its request")
    issued.add_argument("--out", type=Path, metavar="FILE", help="where to write it")
    _add_hosts(issued)
    _add_days(issued, "that it holds (365)")
    renewed = _added(of_ca, "renew", "renew", "renew what ends soon: collector's and broker's")
    renewed.add_argument(
        "--within", type=int, default=30, metavar="DAYS", help="what ends within (30)"
    )
    _add_days(renewed, "that the new ones hold (365)")
    _added(of_ca, "list", "listed", "every certificate; exit 1 where one of ours ends in 30 days")
    crl = _added(of_ca, "crl", "crl", "write the list of what was taken back")
    crl.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to")
    revoked = _added(of_ca, "revoke", "revoke", "take back every certificate in a name")
    revoked.add_argument("name", help="an agent's id, or the common name of a server")
    token = _added(commands, "enroll-token", "token", "let one agent join, once, within 15 minutes")
    token.add_argument("agent", metavar="AGENT", help="its id")
    token.add_argument("--site", required=True, help="its site")
    token.add_argument("--devices", required=True, metavar="A,B", help="ids of what it reads")
    token.add_argument("--minutes", type=int, default=15, help="how long it holds (15, the most)")
    enrolments = _added(commands, "enrolments", "enrolments", "who waits to join; decide of one")
    enrolments.add_argument("decision", nargs="?", choices=("approve", "refuse"))
    enrolments.add_argument("id", nargs="?", metavar="ID", help="as listed, or its beginning")


def add_broker_config(parser: argparse.ArgumentParser) -> None:
    """Add `config` to `joulemark broker`."""
    commands = parser.add_subparsers(metavar="config")
    config = _added(commands, "config", "config", "write what mosquitto needs for other machines")
    config.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder")
    config.add_argument("--listen", metavar="ADDRESS", help="only on this address of the machine")
    config.add_argument("--port", type=int, default=8883, dest="tls_port", help="(8883)")
    _add_hosts(config)
    _add_days(config, "that the broker's certificate holds (365)")


def _added(commands: Any, name: str, runs: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text)
    parser.add_argument(
        "-c", "--config", type=Path, required=True, metavar="COLLECTOR.yaml",
        help="the collector's file",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON document")

    def run(args: argparse.Namespace) -> int:
        return int(getattr(import_module(_COMMANDS), runs)(args))

    parser.set_defaults(run=run)
    return parser


def _add_hosts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", action="append", default=[], metavar="NAME",
        help="name or address under which it is reached; may be repeated",
    )  # fmt: skip


def _add_days(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--days", type=_days, metavar="N", help=f"days {text}")


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= 36_500:
        raise argparse.ArgumentTypeError(f"{text} is not 1 to 36500 days")
    return days
