"""A copy of what a collector keeps, made while it runs; each file as it was at one instant.

| in the copy | what |
|---|---|
| `evidence.sqlite` | the evidence and the collector's log; not where they are in PostgreSQL |
| `access.sqlite` | users, tokens and the security log |
| `alerts.sqlite` | alerts, who took note of them, and what waits to be told |
| `ca/ca.db`, `ca/ca.pem`, `ca/crl.pem` | what the site's authority gave out |
| `registry.json`, `requests/` | who was enrolled or revoked; who was asked for raw records |
| `backup.json` | size and SHA-256 of each, and the heads that stand in it |

Private keys are not in it, so that a copy opens nothing: they do not change, and are kept
elsewhere once. The series is not either: it is made anew. The evidence is copied first: what its
log says of the security log then stands in the copy of that, too.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from hashlib import file_digest
from os import fsync
from pathlib import Path
from typing import Any

from joulemark_agent.contract.errors import ConfigError, EvidenceError, StoreError
from joulemark_agent.contract.signature import encode64
from joulemark_agent.contract.tree import root
from joulemark_agent.files import flush_folder, replace_file
from joulemark_gateway import registry
from joulemark_gateway.access import database as access
from joulemark_gateway.alerts import store as alerts
from joulemark_gateway.evidence import store as evidence
from joulemark_gateway.evidence.ledger import Ledger, SqliteLedger
from joulemark_gateway.evidence.sqlite import SqliteFile
from joulemark_gateway.ingest import requests
from joulemark_gateway.pki import records, site_ca
from joulemark_gateway.pki.settings import ca_folder

MANIFEST, FORMAT = "backup.json", "joulemark-backup/1"
_OPEN = 0o700


@dataclass(frozen=True)
class Backup:
    """A copy: where it is, and the heads that stand in it."""

    folder: Path
    heads: dict[str, Any]
    files: dict[str, Any]


def back_up(state_dir: Path, into: Path, now: datetime, ledger: Ledger | None = None) -> Backup:
    """Copy into a new folder below `into`, named by the time; it is there whole, or not at all.

    Args:
        state_dir: of the collector, which may run meanwhile.
        ledger: None: the file in `state_dir`. One that is shared is not copied: the heads in it are
            written down, so that a copy of the database can be compared with them.
        into: made where it is missing.
        now: aware.

    Raises:
        ConfigError: the folder is there already, or a file cannot be read or written.
        StoreError: a store cannot be read, or its copy is not whole.
    """
    ledger = ledger or SqliteLedger(state_dir / evidence.FILE)
    if not ledger.exists():
        raise StoreError(
            f"There is no evidence store at {ledger.where}.",
            "Start the collector once, or name the state_dir it uses.",
            code="store_missing",
        )
    folder = into / f"{now:%Y%m%dT%H%M%SZ}"
    part = into / f".{folder.name}"
    try:
        into.mkdir(mode=_OPEN, parents=True, exist_ok=True)
        part.mkdir(mode=_OPEN)
        try:
            found = _copied(state_dir, part, ledger)
            if folder.exists():
                raise FileExistsError(None, "it is there already")
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        flush_folder(into)
    except OSError as error:
        raise ConfigError(
            f"{error.filename or folder} cannot be copied to {folder}: {error.strerror}.",
            "Check the folder, who may write to it, and the free space.",
        ) from error
    return Backup(folder, found["heads"], found["files"])


def check(folder: Path) -> Backup:
    """Look whether a copy is still what was made.

    Raises:
        ConfigError: it is no copy, or cannot be read.
        EvidenceError: `backup_damaged`: a file is missing, is another, or one is too many.
    """
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError("it is of another format")  # noqa: TRY301 - told once, below
        listed, heads = dict(content["files"]), dict(content["heads"])
        there = _listed(folder)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{folder} holds no copy that can be read: {error}.",
            "Name a folder that 'joulemark collector backup' made.",
        ) from error
    wrong = sorted(name for name in {*listed, *there} if listed.get(name) != there.get(name))
    if wrong:
        raise EvidenceError(
            f"{folder} is not as it was made: {', '.join(wrong)}.",
            "Use another copy.",
            code="backup_damaged",
        )
    return Backup(folder, heads, listed)


def _copied(state_dir: Path, folder: Path, ledger: Ledger) -> dict[str, Any]:
    stores = [state_dir / file for file in (access.FILE, alerts.FILE)]
    stores.append(ca_folder(state_dir) / records.FILE)
    if not ledger.is_shared:
        stores.insert(0, state_dir / evidence.FILE)
    for path in stores:
        if path.exists():
            copy = folder / path.relative_to(state_dir)
            copy.parent.mkdir(mode=_OPEN, exist_ok=True)
            with SqliteFile(path) as source:
                source.copy_to(copy)
    for path in _others(state_dir):
        replace_file(folder / path.relative_to(state_dir), path.read_bytes())
    heads = _heads(ledger if ledger.is_shared else SqliteLedger(folder / evidence.FILE))
    for copy in sorted(folder.rglob("*.sqlite")) + sorted(folder.rglob("*.db")):
        _seal(copy)
    content = {"files": _listed(folder), "format": FORMAT, "heads": heads}
    replace_file(folder / MANIFEST, json.dumps(content, indent=1).encode() + b"\n")
    return content


def _others(state_dir: Path) -> Iterator[Path]:
    """What is replaced as a whole where it changes: a plain copy has one state of it."""
    ca = ca_folder(state_dir)
    for path in (ca / site_ca.CERTIFICATE, ca / site_ca.LIST, state_dir / registry.FILE):
        if path.exists():
            yield path
    yield from sorted((state_dir / requests.FOLDER).glob("*.json"))


def _heads(ledger: Ledger) -> dict[str, Any]:
    """What stands in the evidence: every tree, and the log."""
    with ledger.reader() as store, ledger.log(write=False) as log:
        trees = {
            head.origin: {"root": encode64(head.root), "size": head.size} for head in store.heads()
        }
        edge, name = log.edge(), log.origin
    logs = {} if name is None else {name: {"root": encode64(root(edge)), "size": edge.size}}
    return {"log": logs, "trees": trees}


def _seal(path: Path) -> None:
    """See that the copy is whole, and have all of it in one file, on the disk."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        [(found,)] = db.execute("PRAGMA quick_check(1)")
        [(mode,)] = db.execute("PRAGMA journal_mode = DELETE")
    if (found, mode) != ("ok", "delete"):
        raise StoreError(
            f"The copy {path} is damaged: {found}.",
            "Look at the disk; then make another copy.",
            code="store_damaged",
        )
    with path.open("rb") as file:
        fsync(file.fileno())


def _listed(folder: Path) -> dict[str, Any]:
    """Size and SHA-256 of every file in a copy but its own list."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and name != MANIFEST:
            with path.open("rb") as file:
                digest = file_digest(file, "sha256").hexdigest()
            found[name] = {"bytes": path.stat().st_size, "sha256": digest}
    return found
