"""Which files are followed, and whether one was changed: a folder may hold anything."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from joulemark_agent.contract.document import MAX_BYTES
from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.following.so_far import Unfollowed

MOST_FILES = 1000  # each is looked at every turn, and measured once a day
_ENDINGS = {".yaml", ".yml"}

Stamp = tuple[int, int, int, int]  # inode, size, and when content and inode were changed


def files_of(paths: Sequence[Path]) -> tuple[list[Path], list[Unfollowed]]:
    """The project files that are named, those of a folder by their ending."""
    files: list[Path] = []
    missing: list[Unfollowed] = []
    for path in paths:
        try:
            listed = sorted(path.iterdir()) if path.is_dir() else [path]
        except OSError as error:
            what = f"The folder {path} cannot be read: {error.strerror}."
            missing.append(Unfollowed(path, what, "Check the path and who may read it."))
            continue
        files += [one for one in listed if one == path or one.suffix in _ENDINGS]
    files = list(dict.fromkeys(files))
    if len(files) > MOST_FILES:
        what = f"{len(files)} project files are named; the first {MOST_FILES} are followed."
        missing.append(Unfollowed(files[MOST_FILES], what, "Move finished projects elsewhere."))
    return files[:MOST_FILES], missing


def stamp_of(path: Path) -> Stamp:
    """What tells whether a file was changed.

    Raises:
        ConfigError: it is not there, no plain file (reading could wait for ever), or too large.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and who may read it."
        ) from error
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
        raise ConfigError(
            f"{path} is no plain file of at most {MAX_BYTES} bytes.", "Name a project file."
        )
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
