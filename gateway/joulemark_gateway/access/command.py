"""`joulemark collector user | token | events`: who is let in to the pages and the HTTP API.

A password is typed, or read from standard input; it never stands on the command line, where
others on the machine could read it.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from joulemark_agent.contract.errors import ConfigError

ROLES = ("viewer", "verifier", "operator", "admin")
SCOPES = ("series:read", "evidence:read", "reports:read", "metrics:read", "operate", "admin")
DAYS, MOST_DAYS = 90, 366
_DAY_US = 86_400_000_000
AddConfig = Callable[[argparse.ArgumentParser, Callable[[argparse.Namespace], int]], None]


def add_commands(commands: Any, add_config: AddConfig) -> None:
    """Add them to those of `joulemark collector`.

    Args:
        commands: where to.
        add_config: adds the option that names the collector's file, and what runs.
    """
    user = commands.add_parser("user", help="people who may log in")
    users = user.add_subparsers(metavar="COMMAND", required=True)
    for name, told, run in (
        ("add", "let somebody log in; the password is typed or read from standard input", _add),
        ("change", "another role or other sites; their sessions end", _change),
        ("password", "another password; their sessions end", _password),
        ("remove", "let somebody log in no more", _remove),
    ):
        parser = users.add_parser(name, help=told)
        parser.add_argument("name", help="a-z, 0-9 and '-' inside")
        if name in {"add", "change"}:
            _add_scope(parser)
        add_config(parser, run)
    listed = users.add_parser("list", help="who may log in")
    listed.add_argument("--json", action="store_true", help="one JSON document")
    add_config(listed, _list)

    token = commands.add_parser("token", help="programs that may ask")
    tokens = token.add_subparsers(metavar="COMMAND", required=True)
    made = tokens.add_parser("add", help="make a token; it is shown this once")
    made.add_argument("name", help="of the program: a-z, 0-9 and '-' inside")
    _add_scope(made)
    made.add_argument(
        "--scope",
        action="append",
        choices=SCOPES,
        help="limit it to this within its role; repeatable (unsaid: all that the role may)",
    )
    made.add_argument(
        "--days", type=int, default=DAYS, help=f"how long it is valid, to {MOST_DAYS} (%(default)s)"
    )
    made.add_argument("--json", action="store_true", help="one JSON document")
    add_config(made, _token_add)
    revoked = tokens.add_parser("revoke", help="take a token back from now on")
    revoked.add_argument("id", help="as 'list' shows it")
    add_config(revoked, _token_revoke)
    tokens_listed = tokens.add_parser("list", help="every token, without its text")
    tokens_listed.add_argument("--json", action="store_true", help="one JSON document")
    add_config(tokens_listed, _token_list)

    events = commands.add_parser("events", help="the security log: log-ins, refusals, changes")
    events.add_argument("--last", type=int, default=100, help="how many lines (%(default)s)")
    events.add_argument("--json", action="store_true", help="one JSON document a line")
    events.add_argument(
        "--check", action="store_true", help="whether a line was changed or is gone; then exit 1"
    )
    add_config(events, _events)


def _add_scope(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--role", choices=ROLES, required=True)
    sites = parser.add_mutually_exclusive_group()
    sites.add_argument("--site", action="append", metavar="ID", help="a site they see; repeatable")
    sites.add_argument("--all-sites", action="store_true", help="they see every site")


def _sites(args: argparse.Namespace) -> list[str] | None:
    """The sites that are named; None: all.

    Raises:
        ConfigError: neither some nor all are named.
    """
    if args.role == "admin" and not args.site:
        return None
    if not args.site and not args.all_sites:
        raise ConfigError(
            f"Nothing says which sites a {args.role} sees.",
            "Name them with --site ID, or give --all-sites.",
        )
    return args.site or None


@contextmanager
def _access(args: argparse.Namespace) -> Iterator[Any]:
    from joulemark_gateway.access.gate import open_access  # noqa: PLC0415 - only when it runs
    from joulemark_gateway.access.settings import PagesSettings  # noqa: PLC0415
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415

    settings = load_collector(args.config)
    with open_access(settings.state_dir, settings.pages or PagesSettings()) as access:
        yield access


def _told(access: Any, code: str, what: str) -> None:
    """Say in the security log who did it: somebody at this machine."""
    from joulemark_gateway.access.console import tell  # noqa: PLC0415 - only when it runs

    tell(access.events, code, what)


def _new_password() -> str:
    """The password, typed twice at a terminal, else the first line of standard input.

    Raises:
        ConfigError: the two differ, or there is none.
    """
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise ConfigError("The two passwords differ.", "Run the command again.")
        return password
    line = sys.stdin.readline()
    if not line:
        raise ConfigError(
            "There is no password on standard input.", "Type it at a terminal, or pipe one line."
        )
    return line.removesuffix("\n").removesuffix("\r")


def _scope(role: str, sites: list[str] | None) -> str:
    return f"{role}, {'all sites' if sites is None else ' '.join(sorted(sites))}"


def _add(args: argparse.Namespace) -> int:
    from joulemark_gateway.access.roles import role_of  # noqa: PLC0415

    sites = _sites(args)
    with _access(args) as access:
        access.users.add(args.name, role_of(args.role), sites, _new_password(), _now_us())
        _told(access, "user_added", f"{args.name}, {_scope(args.role, sites)}")
    print(f"{args.name} may log in: {_scope(args.role, sites)}.")
    return 0


def _change(args: argparse.Namespace) -> int:
    from joulemark_gateway.access.roles import role_of  # noqa: PLC0415

    sites = _sites(args)
    with _access(args) as access:
        access.users.change(args.name, role_of(args.role), sites)
        _told(access, "user_changed", f"{args.name}, {_scope(args.role, sites)}")
    print(f"{args.name} is changed: {_scope(args.role, sites)}. Their sessions are ended.")
    return 0


def _password(args: argparse.Namespace) -> int:
    with _access(args) as access:
        access.users.set_password(args.name, _new_password())
        _told(access, "user_changed", f"{args.name}, new password")
    print(f"{args.name} has another password. Their sessions are ended.")
    return 0


def _remove(args: argparse.Namespace) -> int:
    with _access(args) as access:
        access.users.remove(args.name)
        _told(access, "user_removed", args.name)
    print(f"{args.name} may log in no more.")
    return 0


def _list(args: argparse.Namespace) -> int:
    with _access(args) as access:
        rows = [
            {"name": row.name, "role": row.role.word, "sites": _ids(row.sites)}
            for row in access.users.listed()
        ]
    if args.json:
        print(json.dumps({"users": rows}))
        return 0
    for row in rows:
        print(f"{row['name']:<20} {_scope(row['role'], row['sites'])}")
    if not rows:
        print("There is no user: 'joulemark collector user add' makes one.")
    return 0


def _token_add(args: argparse.Namespace) -> int:
    from joulemark_gateway.access.roles import role_of  # noqa: PLC0415

    sites = _sites(args)
    if not 1 <= args.days <= MOST_DAYS:
        raise ConfigError(f"--days is {args.days}.", f"Give 1 to {MOST_DAYS}.")
    now_us = _now_us()
    with _access(args) as access:
        made, text = access.tokens.add(
            args.name,
            role_of(args.role),
            sites,
            now_us,
            now_us + args.days * _DAY_US,
            scopes=args.scope,
        )
        what = f"{made.name} ({made.id}), {_scope(args.role, sites)}, {args.days} days"
        what += f", only {' '.join(sorted(set(args.scope)))}" if args.scope else ""
        _told(access, "token_added", what)
    if args.json:
        print(json.dumps({"id": made.id, "token": text, "expires": _utc(made.expires_us)}))
        return 0
    print(f"{what}. Keep it now; it is not shown again:", file=sys.stderr)
    print(text)
    return 0


def _token_revoke(args: argparse.Namespace) -> int:
    with _access(args) as access:
        found = access.tokens.revoke(args.id, _now_us())
        _told(access, "token_revoked", f"{found.name} ({found.id})")
    print(f"The token {found.id} of {found.name} is refused from now on.")
    return 0


def _token_list(args: argparse.Namespace) -> int:
    now_us = _now_us()
    with _access(args) as access:
        rows = [
            {
                "id": row.id,
                "name": row.name,
                "role": row.role.word,
                "sites": _ids(row.sites),
                "scopes": _ids(row.scopes),
                "expires": _utc(row.expires_us),
                "state": _state(row, now_us),
            }
            for row in access.tokens.listed()
        ]
    if args.json:
        print(json.dumps({"tokens": rows}))
        return 0
    for row in rows:
        scope = _scope(row["role"], row["sites"])
        scope += f", only {' '.join(row['scopes'])}" if row["scopes"] else ""
        print(f"{row['id']}  {row['name']:<20} {scope}, {row['state']}, until {row['expires']}")
    if not rows:
        print("No program has a token.")
    return 0


def _state(token: Any, now_us: int) -> str:
    if token.revoked_us is not None:
        return "revoked"
    return "over" if now_us >= token.expires_us else "valid"


def _events(args: argparse.Namespace) -> int:
    if args.check:
        return _check_events(args)
    with _access(args) as access:
        rows = access.events.listed(limit=max(args.last, 1))
    for row in reversed(rows):
        if args.json:
            print(json.dumps({**vars(row), "t": _utc(row.t_us)}, ensure_ascii=True))
            continue
        parts = (row.who, row.address and f"from {row.address}", row.what)
        told = ", ".join(part for part in parts if part)
        times = f" ({row.times} times)" if row.times > 1 else ""
        print(f"{_utc(row.t_us)} {row.code}{times}{': ' if told else ''}{told}")
    return 0


def _check_events(args: argparse.Namespace) -> int:
    from joulemark_gateway.access.events import ends_logged  # noqa: PLC0415 - as above
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415

    ledger = load_collector(args.config).evidence
    logged: list[Any] = []
    if ledger.exists():
        with ledger.log(write=False) as log:
            logged = ends_logged(log)
    with _access(args) as access:
        found = access.events.breaks(logged)
    if args.json:
        print(json.dumps({"breaks": found, "closings": len(logged)}))
        return 1 if found else 0
    for text in found:
        print(f"CHANGED: {text}")
    if not found:
        print(f"Every line is as it was written, and as {len(logged)} closings of the log say.")
    return 1 if found else 0


def _ids(sites: frozenset[str] | None) -> list[str] | None:
    return None if sites is None else sorted(sites)


def _now_us() -> int:
    return time.time_ns() // 1000


def _utc(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="seconds")
