"""`joulemark collector revoke AGENT`: from now on, nothing more is taken that its keys sign."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import encode64, fingerprint

Add = Callable[[argparse.ArgumentParser, Callable[[argparse.Namespace], int]], None]


def add_command(commands: Any, add_config: Add) -> None:
    """Add the command to those of `joulemark collector`; `add_config` gives it its file."""
    parser = commands.add_parser(
        "revoke", help="trust an agent's keys no longer than up to what is held now"
    )
    parser.add_argument("agent", metavar="AGENT", help="its id")
    parser.add_argument("--reason", default="", metavar="TEXT", help="for the people who ask later")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    add_config(parser, _revoke)


def _revoke(args: argparse.Namespace) -> int:
    from joulemark_gateway.access.console import told  # noqa: PLC0415 - when it runs
    from joulemark_gateway.pki.rights import (  # noqa: PLC0415 - as above
        left_to_do,
        withdraw_certificates,
    )
    from joulemark_gateway.registry import read_added, withdrawals, withdrawn  # noqa: PLC0415
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415

    settings = load_collector(args.config)
    agents = read_added(settings.state_dir).to(settings.registry).agents
    if args.agent not in agents:
        raise ConfigError(
            f"There is no agent {args.agent!r} registered here.",
            f"These are: {', '.join(sorted(agents)) or 'none'}.",
        )
    now = datetime.now(UTC)
    ledger, heads = settings.evidence, []
    if ledger.exists():
        with ledger.reader() as store:
            heads = store.heads()
    rows = withdrawals(agents[args.agent], heads, f"{now:%Y-%m-%dT%H:%M:%SZ}", args.reason)
    withdrawn(settings.state_dir, rows)
    told(settings.state_dir, "agent_revoked", f"{args.agent}: {args.reason}")
    certificates = withdraw_certificates(settings, args.agent, now)
    found = [
        {"key": encode64(row.revoked.key), "origin": row.revoked.origin, "size": row.revoked.size}
        for row in rows
    ]
    if args.json:
        shown = {"agent": args.agent, "revoked": found, "certificates": certificates}
        sys.stdout.write(json.dumps(shown) + "\n")
        return 0
    lines = [f"The keys of agent {args.agent} are revoked. A running collector knows at once."]
    for row in rows:
        key = fingerprint(row.revoked.key)
        lines.append(f"  {row.revoked.origin}  trusted up to leaf {row.revoked.size}  key {key}")
    if certificates is not None:
        lines.append(f"{certificates} certificate(s) in its name were taken back.")
        lines.append(left_to_do(settings))
    lines.append("Verifiers need this too: it stands as 'revoked' in the policy.json of reports.")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
