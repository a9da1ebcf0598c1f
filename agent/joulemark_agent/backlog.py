"""Batches that have waited for a while: consecutive ones of a tree together in one file each.

A file is written once and never changed, so damage to it costs what it holds and nothing else. It
begins with a line of JSON: which batches it holds, and the digest of what follows, their plain
texts (canonical JSON, hence without line breaks) joined by line breaks under zlib. What repeats
from batch to batch, most of it, is so kept once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from joulemark_agent.contract.batch import MAX_PLAIN_BYTES, inflate
from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.topics import is_id
from joulemark_agent.covers import damaged
from joulemark_agent.files import PAUSES_S, flush_folder, replace_file
from joulemark_agent.sqlite_file import store_error

MOST_BATCHES = 64  # of one group: what one damaged block can cost
MOST_PLAIN_BYTES = 2 * 1024 * 1024  # of one group, unless its only batch is larger
ASIDE = "set-aside"  # the folder, beside the outbox, of what was damaged
_SUFFIX = ".group"
_MOST_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Group:
    """What one file holds: consecutive batches."""

    device: str
    epoch: int
    first_seq: int
    size: int  # of the tree after the last of them
    listed: str  # the tree's size after each batch, as JSON: there are many groups, few are read
    file_bytes: int = 0

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The tree's size after each batch.

        Raises:
            StoreError: `damaged`: this is no such list.
        """
        try:
            found = tuple(json.loads(self.listed))
        except (ValueError, TypeError) as error:
            raise damaged(f"the list of {self.file}: {error}") from error
        if not found or found[-1] != self.size or not all(type(end) is int for end in found):
            raise damaged(f"the list of {self.file} is of another group")
        return found

    @property
    def batches(self) -> int:
        """How many it holds."""
        return self.listed.count(",") + 1

    @property
    def place(self) -> tuple[str, int]:
        """Device and epoch."""
        return self.device, self.epoch

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.device}.{self.epoch}.{self.first_seq}.{self.size}{_SUFFIX}"

    def start(self, index: int) -> int:
        """The first leaf of a batch."""
        return self.ends[index - 1] if index else self.first_seq


class Backlog:
    """The folder of the groups of one outbox."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: tuple[str, list[bytes]] | None = None  # sent or checked one after the other

    def write(self, group: Group, plains: Sequence[bytes]) -> int:
        """Keep the batches' plain texts, on disk when this returns; how many bytes the file has.

        Raises:
            StoreError: nothing of it was kept.
        """
        body = zlib.compress(b"\n".join(plains), 6)
        head = {
            "ends": group.ends,
            "first_seq": group.first_seq,
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        data = json.dumps(head, separators=(",", ":")).encode() + b"\n" + body
        try:
            replace_file(self._folder / group.file, data)
        except OSError as error:
            raise store_error(f"The folder {self._folder}", error) from error
        return len(data)

    def read(self, group: Group) -> list[bytes]:
        """The plain texts of the batches.

        Raises:
            StoreError: `damaged`: the disk does not give back what it was given.
        """
        if self._last is not None and self._last[0] == group.file:
            return self._last[1]
        path = self._folder / group.file
        line, _, body = _bytes_of(path).partition(b"\n")
        head = _head(line)
        if head is None or head.get("sha256") != hashlib.sha256(body).hexdigest():
            raise damaged(f"{path} has another digest than it was written with")
        if (head["ends"], head["first_seq"]) != (list(group.ends), group.first_seq):
            raise damaged(f"{path} holds other batches")
        try:
            limit = MOST_BATCHES * MAX_PLAIN_BYTES
            plains = inflate(body, limit).split(b"\n")
        except EvidenceError as error:
            raise damaged(f"{path}: {error.what}") from error
        if len(plains) != len(group.ends):
            raise damaged(f"{path} holds {len(plains)} batches, not {len(group.ends)}")
        self._last = (group.file, plains)
        return plains

    def remove(self, files: Sequence[str]) -> None:
        """Forget groups that the collector has; one that cannot be deleted now is at the start."""
        for name in files:
            with contextlib.suppress(OSError):
                (self._folder / name).unlink(missing_ok=True)
        self._last = None

    def files(self) -> dict[str, int]:
        """The files of groups and how many bytes each has; what a kill left unfinished goes."""
        found = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(_SUFFIX):
                    found[entry.name] = entry.stat().st_size
                elif entry.name.startswith("."):
                    Path(entry).unlink(missing_ok=True)
        return found

    def group(self, name: str) -> Group | None:
        """The group that a file says it holds; its body is not read. None: it says none."""
        return _group(self._folder / name)

    def set_aside(self, groups: Sequence[Group], why: str) -> None:
        """Move damaged files away; they are never deleted."""
        self._last = None
        paths = [self._folder / group.file for group in groups]
        if there := [path for path in paths if path.exists()]:
            set_aside(self._folder.parent, there, why)


def set_aside(folder: Path, paths: Sequence[Path], why: str) -> list[Path]:
    """Move damaged files to the folder of such, with the reason beside them; where they are now.

    Raises:
        StoreError: they cannot be moved.
    """
    place = place_aside(folder)
    moved = [Path(f"{place}{path.name}") for path in paths]
    move_aside(paths, moved, f"{place}why.txt", why)
    return moved


def place_aside(folder: Path) -> str:
    """Where the names begin of what is set aside next.

    Raises:
        StoreError: there is no folder for it, and none can be made.
    """
    aside = folder / ASIDE
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    number = 1
    try:
        aside.mkdir(mode=0o700, parents=True, exist_ok=True)
        while any(aside.glob(f"{stamp}-{number}-*")):
            number += 1
    except OSError as error:
        raise store_error(f"The folder {aside}", error) from error
    return str(aside / f"{stamp}-{number}-")


def move_aside(paths: Sequence[Path], moved: Sequence[Path], note: str, why: str) -> None:
    """Move files, in this order, and keep a note of the reason beside them.

    Raises:
        StoreError: they cannot be moved.
    """
    try:
        for path, target in zip(paths, moved, strict=True):
            path.rename(target)
        with contextlib.suppress(OSError):  # on a full disk the files are moved all the same
            Path(note).write_text(f"{why}\n", "utf-8")
        for folder in {Path(note).parent, *(path.parent for path in paths)}:
            flush_folder(folder)
    except OSError as error:
        raise store_error(f"The folder {Path(note).parent}", error) from error


def keep_aside(folder: Path, name: str, data: bytes, why: str) -> None:
    """Keep bytes that a damaged place held, as far as the disk takes them."""
    with contextlib.suppress(OSError, StoreError):
        place = place_aside(folder)
        Path(f"{place}{name}").write_bytes(data)
        Path(f"{place}{name}.why.txt").write_text(f"{why}\n", "utf-8")


def _bytes_of(path: Path) -> bytes:
    """What a file holds; a disk that cannot give it back is asked more than once."""
    for pause_s in PAUSES_S:
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise damaged(f"{path} is not there") from error
        except OSError:
            time.sleep(pause_s)
    try:
        return path.read_bytes()
    except OSError as error:
        raise damaged(f"{path} cannot be read: {error.strerror}") from error


def _head(line: bytes) -> dict[str, Any] | None:
    try:
        head = json.loads(line)
    except ValueError:
        return None
    is_head = isinstance(head, dict) and set(head) == {"ends", "first_seq", "sha256"}
    return head if is_head else None


def _group(path: Path) -> Group | None:
    """The group that a file says it holds; None: it says nothing of the kind."""
    device, *numbers = path.name.removesuffix(_SUFFIX).split(".")
    if not is_id(device) or len(numbers) != 3 or not all(n.isdecimal() for n in numbers):
        return None
    try:
        with path.open("rb") as file:
            head = _head(file.readline(_MOST_HEAD_BYTES))
            file_bytes = os.fstat(file.fileno()).st_size
    except OSError:
        return None
    if head is None:
        return None
    ends = head["ends"]
    is_list = isinstance(ends, list) and ends and all(type(end) is int for end in ends)
    epoch, first_seq, size = map(int, numbers)
    if not is_list or ends[-1] != size or head["first_seq"] != first_seq:
        return None
    return Group(device, epoch, first_seq, size, list_of(ends), file_bytes)


def list_of(ends: Sequence[int]) -> str:
    """The tree's size after each batch of a group, as a group has it."""
    return json.dumps(list(ends), separators=(",", ":"))
