"""Files that hold a secret or must be whole: replaced in one step, read where nobody else may."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from joulemark_agent.contract.errors import ConfigError

PRIVATE = 0o600
CREDENTIALS = "CREDENTIALS_DIRECTORY"  # systemd.exec(5), "Credentials"
PAUSES_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5, 0.5)  # between attempts to read a file


def credential(path: Path) -> Path:
    """The file itself, or what systemd hands over to the service under its name.

    systemd keeps such a file in memory that only the service may read; it cannot be written.
    """
    folder = os.environ.get(CREDENTIALS)
    if folder is not None and (Path(folder) / path.name).is_file():
        return Path(folder) / path.name
    return path


def replace_file(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Replace a file as a whole: after a power cut it holds the old bytes or the new ones.

    Raises:
        OSError: it cannot be written; what was there is still there.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Have the names of its files on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_private(path: Path) -> None:
    """Raise `ConfigError` where others on this machine may read the secret in a file, or write it.

    Raises:
        OSError: it cannot be looked at.
    """
    mode = path.stat().st_mode & 0o777
    if mode & ~PRIVATE:
        raise ConfigError(
            f"{path} has mode {mode:04o}: others on this machine may use the key in it.",
            f"Run 'chmod 600 {path}'; if somebody may have copied it, replace it"
            " and have the new one trusted.",
        )
