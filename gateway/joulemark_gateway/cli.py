"""The gateway's part of the command `joulemark`.

Adding the commands imports nothing heavy; what a command needs is imported when it runs, so
`joulemark verify` works in the base install.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from joulemark_agent.contract.errors import ConfigError, StoreError
from joulemark_agent.contract.signature import encode64
from joulemark_gateway.access.command import add_commands as add_access_commands
from joulemark_gateway.backup_command import add_command as add_backup_command
from joulemark_gateway.bookkeeping.command import add_commands as add_log_commands
from joulemark_gateway.compact_command import add_command as add_compact_command
from joulemark_gateway.pki.options import add_collector_commands
from joulemark_gateway.revoke_command import add_command as add_revoke_command
from joulemark_gateway.slots_command import add_command as add_slots_command
from joulemark_gateway.warmup_command import add_command as add_warmup_command

# Modules with a function `add_command`, and the commands it adds.
COMMANDS = {
    "joulemark_gateway.broker": ("broker",),
    "joulemark_gateway.bookkeeping.plan_command": ("plan",),
    "joulemark_gateway.reports.command": ("measure", "report"),
    "joulemark_gateway.verify.command": ("verify",),
    "joulemark_gateway.witness.command": ("witness",),
    "joulemark_gateway.demo.command": ("demo",),
    "joulemark_gateway.evidence.command": ("evidence",),
    "joulemark_gateway.fleet.command": ("fleet",),
}


def add_commands(subparsers: Any) -> None:
    """Add the gateway's commands to those of `joulemark`."""
    _add_collector(subparsers)
    _add_series(subparsers)
    for module, names in COMMANDS.items():
        try:
            add_command = import_module(module).add_command
        except ModuleNotFoundError as error:
            missing = _package(error)
            for name in names:
                _add_unavailable(subparsers, name, missing)
        else:
            add_command(subparsers)


def _add_collector(subparsers: Any) -> None:
    parser = subparsers.add_parser("collector", help="receive, check and keep signed evidence")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="the service")
    _add_config(run, _collector_run)
    status = commands.add_parser("status", help="what is held, and what was refused")
    status.add_argument("--scrub", action="store_true", help="hash every leaf again")
    status.add_argument("--json", action="store_true", help="one JSON document")
    _add_config(status, _collector_status)
    keys = commands.add_parser("keys", help="the public keys that agents and verifiers need")
    keys.add_argument("--json", action="store_true", help="one JSON document")
    _add_config(keys, _collector_keys)
    add_collector_commands(commands)
    add_revoke_command(commands, _add_guarded)
    add_access_commands(commands, _add_guarded)
    add_log_commands(commands, _add_guarded)
    add_slots_command(commands, _add_guarded)
    add_compact_command(commands, _add_guarded)
    add_backup_command(commands, _add_guarded)
    add_warmup_command(commands)


def _add_series(subparsers: Any) -> None:
    parser = subparsers.add_parser("series", help="the rebuildable copy for queries")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    rebuild = commands.add_parser("rebuild", help="make the copy anew from the evidence")
    _add_config(rebuild, _series_rebuild)


def _add_config(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument(
        "-c", "--config", type=Path, required=True, metavar="COLLECTOR.yaml",
        help="the collector's file",
    )  # fmt: skip
    parser.set_defaults(run=run)


def _add_guarded(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    """As `_add_config`, for what takes the gateway's packages."""

    def guarded(args: argparse.Namespace) -> int:
        with _needs_gateway():
            return run(args)

    _add_config(parser, guarded)


def _collector_run(args: argparse.Namespace) -> int:
    with _needs_gateway():
        from joulemark_gateway.app import run  # noqa: PLC0415
        from joulemark_gateway.settings import load_collector  # noqa: PLC0415
    from joulemark_agent.log import start_logging  # noqa: PLC0415

    settings = load_collector(args.config)
    start_logging()
    with suppress(OSError, ValueError):  # standard error is no file
        faulthandler.enable()  # what hung stands there when the service manager ends us
    run(settings)
    return 0


def _collector_status(args: argparse.Namespace) -> int:
    with _needs_gateway():
        from joulemark_gateway.settings import load_collector  # noqa: PLC0415

    settings = load_collector(args.config)
    ledger = settings.evidence
    with ledger.reader() as store, ledger.log(write=False) as book:
        damage = []
        trees = []
        for head in store.heads():
            batches = store.batches(head.origin)
            flags = [flag for batch in batches for flag in batch.flags]
            trees.append(
                {
                    "origin": head.origin,
                    "size": head.size,
                    "root": encode64(head.root),
                    "batches": len(batches),
                    "received": _utc(head.received_us),
                    "flags": {flag: flags.count(flag) for flag in sorted(set(flags))},
                }
            )
            if args.scrub:
                try:
                    store.scrub(head.origin)
                except StoreError as error:
                    damage.append(error.what)
        refused = [
            {
                "agent": row.agent,
                "code": row.code,
                "messages": row.messages,
                "kept": row.kept,
                "last": _utc(row.last_us),
            }
            for row in store.quarantined()
        ]
        heads = [
            {"size": head.size, "time": _utc(head.time_us), "cosigned": sorted(head.cosignatures)}
            for head in book.heads()
        ]
        logs = [{"origin": book.origin, "heads": len(heads), "newest": heads[-1]}] if heads else []
        if args.scrub:
            try:
                book.scrub()
            except StoreError as error:
                damage.append(error.what)
    found: dict[str, list[Any]] = {"trees": trees, "log": logs, "quarantine": refused}
    if args.scrub:
        found["damage"] = damage
    if args.json:
        print(json.dumps(found))
    else:
        _show_status(found)
    return 1 if damage else 0


def _show_status(found: dict[str, list[Any]]) -> None:
    for tree in found["trees"]:
        flags = "".join(f", {n} {flag}" for flag, n in tree["flags"].items())
        print(f"{tree['origin']}  {tree['size']} leaves in {tree['batches']} batches{flags}")
        print(f"  root {tree['root']}, last received {tree['received']}")
    if not found["trees"]:
        print("No evidence is held yet.")
    for book in found["log"]:
        newest = book["newest"]
        seen = f", cosigned by {', '.join(newest['cosigned'])}" if newest["cosigned"] else ""
        print(f"log {book['origin']}  {newest['size']} leaves, closed {newest['time']}{seen}")
    for row in found["quarantine"]:
        agent = row["agent"] or "(not registered)"
        print(f"refused from {agent}: {row['messages']} x {row['code']}, {row['kept']} kept, "
              f"last {row['last']}")  # fmt: skip
    if not found["quarantine"]:
        print("Nothing was refused.")
    for what in found.get("damage", []):
        print(what)
    if "damage" in found and not found["damage"]:
        print("Every leaf was hashed again: whole.")


def _collector_keys(args: argparse.Namespace) -> int:
    with _needs_gateway():
        from joulemark_gateway.settings import load_collector  # noqa: PLC0415
    from joulemark_gateway.evidence.entries import log_origin  # noqa: PLC0415
    from joulemark_gateway.keys import report_key, witness_key  # noqa: PLC0415

    settings = load_collector(args.config)
    keys = {"witness": witness_key(settings.state_dir), "report": report_key(settings.state_dir)}
    if args.json:
        shown = {name: encode64(key.public) for name, key in keys.items()}
        print(json.dumps({"name": settings.name, **shown, "log": log_origin(settings.name)}))
    else:
        for name, key in keys.items():
            print(f"{name:<8} {encode64(key.public)}  fingerprint {key.fingerprint}")
        print(f"An agent's site file names the witness: collector_name {settings.name}")
        print(f"A witness of the log knows it as {log_origin(settings.name)}, with the witness key")
    return 0


def _series_rebuild(args: argparse.Namespace) -> int:
    with _needs_gateway():
        from joulemark_gateway.app import (  # noqa: PLC0415
            kept_of,
            series_on_server,
            series_path,
        )
        from joulemark_gateway.series.embedded import EmbeddedSeries  # noqa: PLC0415
        from joulemark_gateway.settings import load_collector  # noqa: PLC0415
    from joulemark_gateway.series.mirror import rebuild, refill  # noqa: PLC0415

    settings = load_collector(args.config)
    if settings.series.kind == "none":
        raise ConfigError(
            "This collector keeps no series.", "Run it with the file of the collector that does."
        )
    if settings.series.kind != "embedded":
        with (
            settings.evidence.reader() as store,
            _needs_gateway(),
            closing(series_on_server(settings)) as server,
        ):
            refill(store, server)
            leaves = sum(size for size, _ in server.progress().values())
        print(f"{settings.series.url}: rebuilt from the {leaves} leaves of the evidence.")
        return 0
    path = series_path(settings)
    with settings.evidence.reader() as store:
        rebuild(store, path, partial(EmbeddedSeries, kept=kept_of(settings)))
    series = EmbeddedSeries(path)
    points = series.query("SELECT count(*) FROM points")[0][0]
    series.close()
    print(f"{path}: {points} points rebuilt from the evidence.")
    return 0


@contextmanager
def _needs_gateway() -> Iterator[None]:
    """A missing package becomes one message that says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise _unavailable(_package(error)) from error


def _package(error: ModuleNotFoundError) -> str:
    """The foreign package that is missing; one of ours that is missing is a mistake, not that."""
    name = (error.name or "").partition(".")[0]
    if name.startswith("joulemark"):
        raise error
    return name


def _unavailable(package: str) -> ConfigError:
    return ConfigError(
        f"This command needs the package {package!r}, which is not installed.",
        "Run: pip install 'joulemark[gateway]'",
    )


def _add_unavailable(subparsers: Any, name: str, package: str) -> None:
    """A command whose module cannot be imported: it is listed, and says why when it is used."""

    def run(_: argparse.Namespace) -> int:
        raise _unavailable(package)

    parser = subparsers.add_parser(name, help=f"needs {package}", add_help=False, prefix_chars="\0")
    parser.add_argument("words", nargs="*")
    parser.set_defaults(run=run)


def _utc(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="seconds")
