"""The files of an outbox, opened: each is checked, a damaged one set aside, then they are compared.

A read error is waited for, as it may pass; only what the disk gives back, and gives back wrong, is
damaged. The move of the outbox file is announced in a small file first, so that a kill before all
is mended does not hide what can still be read of it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from joulemark_agent import outbox_tables as tables
from joulemark_agent.backlog import ASIDE, Backlog, move_aside, place_aside, set_aside
from joulemark_agent.contract.errors import StoreError
from joulemark_agent.covers import Covers
from joulemark_agent.files import PAUSES_S, flush_folder, replace_file
from joulemark_agent.mending import Files, bring_together
from joulemark_agent.outbox_tables import FORM
from joulemark_agent.remains import read_remains
from joulemark_agent.sqlite_file import SUFFIXES, SqliteFile, store_error

log = logging.getLogger(__name__)

_BLOCK_BYTES = 256 * 1024
Opened = TypeVar("Opened")


def open_files(path: Path) -> Files:
    """Open the files of an outbox, made where there are none, and bring them together.

    Args:
        path: of the outbox file.

    Raises:
        StoreError: in use, foreign, read-only, or no space.
    """
    covers_path = path.with_name(f"{path.stem}-covers.db")
    unfinished = _unfinished(path)
    is_ours = covers_path.exists()  # whoever has the one has the other
    file, found = _open_or_replace(path, _checked, is_ours, _put_away)
    remains = found or unfinished
    try:
        is_ours = is_ours and (remains is not None or bool(tables.trees(file)))
        covers, lost = _open_or_replace(covers_path, Covers, is_ours, _set_aside)
    except BaseException:
        file.close()
        raise
    backlog = Backlog(path.with_name(f"{path.stem}-backlog"))
    files = Files(file, covers, backlog, path.parent)
    try:
        is_forgotten = remains is not None and (lost is not None or not covers.trees())
        bring_together(files, read_remains(remains), is_forgotten=is_forgotten)
        _finished(path)
    except StoreError as error:
        files.close()
        if remains is not None or error.code != "damaged":
            raise
        _put_away(path, error)  # damage that shows only when something is written
    except BaseException:
        files.close()
        raise
    else:
        return files
    return open_files(path)


def _open_or_replace(
    path: Path,
    open_at: Callable[[Path], Opened],
    is_ours: bool,
    replace: Callable[[Path, StoreError], Path],
) -> tuple[Opened, Path | None]:
    """The file; or a new one, and where the damaged one is that it takes the place of.

    Args:
        path: of the file.
        open_at: opens it there, made where there is none, and checks it whole.
        is_ours: whether a file that does not even look like one of ours is damaged, not foreign.
        replace: moves it away.
    """
    pauses_s = (0.0, *PAUSES_S)
    for attempt, pause_s in enumerate(pauses_s, 1):
        time.sleep(pause_s)
        try:
            return open_at(path), None
        except StoreError as error:
            if error.code != "damaged" and not (error.code == "foreign" and is_ours):
                raise
            # SQLite says of many a read error that the file is malformed.
            if attempt == len(pauses_s) or (attempt > 1 and _reads_back(path)):
                aside = replace(path, error)
                break
    return open_at(path), aside


def _reads_back(path: Path) -> bool:
    """Whether the disk gives back all of a file, right or wrong."""
    try:
        _read_through(path)
    except OSError:
        return False
    return True


def _read_through(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        for at in range(0, size, _BLOCK_BYTES):
            os.pread(file.fileno(), _BLOCK_BYTES, at)


def _checked(path: Path) -> SqliteFile:
    """The outbox file, if what it holds can be understood."""
    file = SqliteFile(path, FORM)
    try:
        tables.check(file)
    except BaseException:
        file.close()
        raise
    return file


# ------------------------------------------------------------------- out of the way


def _set_aside(path: Path, error: StoreError) -> Path:
    """Move a damaged database away; where it is now."""
    there = [Path(f"{path}{suffix}") for suffix in SUFFIXES]
    moved = set_aside(path.parent, [one for one in there if one.exists()], str(error))
    _say(path, moved[0], error)
    return moved[0]


def _put_away(path: Path, error: StoreError) -> Path:
    """Move a damaged outbox file away, so that it is known until all is mended; where it is now."""
    place = place_aside(path.parent)
    target = Path(f"{place}{path.name}")
    try:
        replace_file(_announcement(path), target.name.encode())
    except OSError as failure:
        raise store_error(f"The file {_announcement(path)}", failure) from failure
    _move(path, target, str(error))
    _say(path, target, error)
    return target


def _unfinished(path: Path) -> Path | None:
    """Where a damaged outbox file is of which not everything is brought together yet."""
    announcement = _announcement(path)
    try:
        name = announcement.read_text("utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise store_error(f"The file {announcement}", error) from error
    target = path.parent / ASIDE / name
    if not target.exists() and path.exists():
        _move(path, target, "its move was interrupted")
    return target if target.exists() else None


def _finished(path: Path) -> None:
    """All is brought together."""
    announcement = _announcement(path)
    if announcement.exists():
        with contextlib.suppress(OSError):  # what is brought together twice is so once
            announcement.unlink()
            flush_folder(path.parent)


def _move(path: Path, target: Path, why: str) -> None:
    """Move a database; its log first, so that once the file itself is away all is."""
    there = [suffix for suffix in reversed(SUFFIXES) if Path(f"{path}{suffix}").exists()]
    paths = [Path(f"{path}{suffix}") for suffix in there]
    moved = [Path(f"{target}{suffix}") for suffix in there]
    move_aside(paths, moved, f"{target}.why.txt", why)


def _announcement(path: Path) -> Path:
    return path.with_name(f"{path.stem}-mending")


def _say(path: Path, aside: Path, error: StoreError) -> None:
    fields = {"file": str(path), "aside": str(aside), "what": error.what, "do": error.do}
    log.error("store_damaged", extra=fields)
