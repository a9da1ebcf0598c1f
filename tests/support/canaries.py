"""Planted secrets, in every form in which they might leave, and where they are looked for."""

from __future__ import annotations

import base64
import io
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from joulemark_agent.contract.columns import unpack
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.frame import is_packed

_DEFLATED = (zlib.MAX_WBITS, 16 + zlib.MAX_WBITS)
_MOST = 64 << 20  # bytes that are unpacked of anything
_LEAST = 12  # characters of a form: shorter ones are found by chance


def forms(secret: bytes) -> set[bytes]:
    """The secret as it is, in hexadecimal digits, in base64 at every place of a text, in URLs."""
    found = {
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        repr(secret)[2:-1].encode(),
    }
    for shift in range(3):  # of whole groups only, so that what stands around does not matter
        padded = base64.b64encode(bytes(shift) + secret)
        kept = padded[-(-shift * 4 // 3) : len(padded) - 4]
        found |= {kept, kept.replace(b"+", b"-").replace(b"/", b"_")}
    found.add(quote(secret).encode())
    return {form for form in found if len(form) >= _LEAST}


class Canaries:
    """Secrets by name."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self._forms = {name: forms(secret) for name, secret in secrets.items()}
        listed = (re.escape(form) for found in self._forms.values() for form in found)
        self._any = re.compile(b"|".join(listed))

    def in_bytes(self, data: bytes) -> set[str]:
        """The names of those in the bytes, or in what is packed in them."""
        return set().union(*map(self._plainly, _unpacked(data)))

    def _plainly(self, data: bytes) -> set[str]:
        if self._any.search(data) is None:
            return set()
        return {name for name, found in self._forms.items() if any(form in data for form in found)}

    def in_folder(self, folder: Path, *but: str) -> dict[str, set[str]]:
        """By file: the names of those in it; `but` are names of files that are to hold secrets."""
        found = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name not in but:
                here = self.in_bytes(path.read_bytes()) | self._in_database(path)
                if here:
                    found[str(path.relative_to(folder))] = here
        return found

    def _in_database(self, path: Path) -> set[str]:
        """Blobs are packed and may lie over several pages."""
        if path.suffix != ".db":
            return set()
        found: set[str] = set()
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                for row in db.execute(f'SELECT * FROM "{table}"'):
                    for value in row:
                        data = value.encode() if isinstance(value, str) else value
                        found |= self.in_bytes(data) if isinstance(data, bytes) else set()
        return found

    def in_process(self, pid: int, *, environment: bool) -> set[str]:
        """Those in the command line of a process, and in the environment it was started with."""
        names = ["cmdline", *(["environ"] if environment else [])]
        found: set[str] = set()
        with suppress(FileNotFoundError, ProcessLookupError):
            found = set().union(
                *(self._plainly(Path(f"/proc/{pid}/{n}").read_bytes()) for n in names)
            )
        return found


def _unpacked(data: bytes) -> Iterator[bytes]:
    """The bytes, and what they unpack to."""
    yield data
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield from _unpacked(archive.read(name))
    if is_packed(data):
        with suppress(EvidenceError):
            yield b"\n".join(unpack(data, _MOST, _MOST))
    for form in _DEFLATED:
        if data[:1] == b"\x78" or data[:2] == b"\x1f\x8b":
            with suppress(zlib.error):
                yield zlib.decompressobj(form).decompress(data, _MOST)


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            stat = (path / "stat").read_text()
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                found += [int(path.name), *descendants(int(path.name))]
    return found
