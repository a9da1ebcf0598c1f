"""A PostgreSQL server that tests start: the real programs, a cluster of its own, on a free port.

The server refuses to run as root: there it runs as the user `postgres` of Debian's package.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from joulemark_gateway.evidence.postgres import Server
from joulemark_gateway.evidence.shared import PostgresLedger
from support.needed import missing
from support.servers import free_port

USER, WAIT_S = "joulemark", 30.0
_MEMORY = Path("/dev/shm")  # fast: it is not the disk that is tested


def programs() -> Path:
    """The folder of the server's programs; without it the test is not run."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if found:
        folders.append(Path(found).resolve().parent)
    if not folders or (os.getuid() == 0 and not _has_user()):
        missing("postgres", "Debian: apt-get install postgresql")
    return folders[-1]


def _has_user() -> bool:
    return subprocess.run(["id", "postgres"], capture_output=True, check=False).returncode == 0


class Cluster:
    """One server with its data; databases are made on it as they are asked for."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.port, self.password = free_port(), secrets.token_urlsafe(12)
        self._folder, self._settings = folder, settings
        self._bin, self._numbers = programs(), count()
        self._process: subprocess.Popen[bytes] | None = None
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir(mode=0o700)
        (folder / "password").write_text(self.password)
        if os.getuid() == 0:
            for path in (folder, data, folder / "password"):
                shutil.chown(path, "postgres", "postgres")
        self._run(
            "initdb", "-D", str(data), "-U", USER, "-A", "scram-sha-256", "--no-sync",
            f"--pwfile={folder / 'password'}", "-E", "UTF8", "--locale=C",
        )  # fmt: skip

    def _as_user(self) -> dict[str, Any]:
        return {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [self._bin / program, *words], capture_output=True, text=True, check=False,
            cwd=self._folder, **self._as_user(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start the server and wait until it answers."""
        words = [
            str(self._bin / "postgres"), "-D", str(self._folder / "data"),
            "-p", str(self.port), "-k", str(self._folder),
            "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=60",
            *(word for setting in self._settings for word in ("-c", setting)),
        ]  # fmt: skip
        with (self._folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                words, stdout=log, stderr=log, cwd=self._folder, **self._as_user()
            )
        until_s = time.monotonic() + WAIT_S
        while True:
            assert self._process.poll() is None, (self._folder / "log.txt").read_text()[-2000:]
            try:
                self.admin("SELECT 1")
            except psycopg.OperationalError:
                assert time.monotonic() < until_s, "the server does not answer"
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """End it as a power cut would: every process of it, at once."""
        self._end(signal.SIGQUIT)  # "immediate": no checkpoint, recovery at the next start

    def stop(self) -> None:
        """End it in order, connections included."""
        self._end(signal.SIGINT)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(WAIT_S)

    def url(self, database: str) -> str:
        """The address of a database, without the password."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def admin(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run one statement of an administrator."""
        with psycopg.connect(
            self.url(database), password=self.password, autocommit=True, connect_timeout=5
        ) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []

    def server(self, database: str) -> Server:
        """How a collector reaches a database."""
        return Server(self.url(database), self.password)

    def ledger(self) -> PostgresLedger:
        """A new database."""
        name = f"ledger_{next(self._numbers)}"
        self.admin(f"CREATE DATABASE {name}")
        return PostgresLedger(self.server(name))

    def copied(self, ledger: PostgresLedger, path: Path) -> PostgresLedger:
        """What docs/backup.md tells people to do: a copy with pg_dump, put into a new database."""
        made, environment = self.ledger(), {**os.environ, "PGPASSWORD": self.password}
        for words in (
            ["pg_dump", "--format=custom", f"--file={path}", ledger.server.url],
            ["pg_restore", "--exit-on-error", f"--dbname={made.server.url}", str(path)],
        ):
            subprocess.run([self._bin / words[0], *words[1:]], check=True, env=environment)
        return made

    def environment(self) -> dict[str, str]:
        """What a collector's process needs to log in."""
        return {"JOULEMARK_COLLECTOR_LEDGER__PASSWORD": self.password}


@contextmanager
def cluster(settings: Sequence[str] = (), folder: Path | None = None) -> Iterator[Cluster]:
    """A running server, in memory unless a folder is named."""
    base = folder or (_MEMORY if _MEMORY.is_dir() else None)
    with tempfile.TemporaryDirectory(prefix="joulemark-postgres-", dir=base) as name:
        made = Cluster(Path(name), *settings)
        made.start()
        try:
            yield made
        finally:
            if made._process is not None and made._process.poll() is None:
                made.stop()
