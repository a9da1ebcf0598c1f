"""The collector's private keys: made on its first start, read by nobody else.

The witness key cosigns heads, the report key signs report statements; neither does the work of the
other. Each is a file of mode 0600 in state_dir: one line, the 32 bytes of an Ed25519 private key
in base64.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.signature import (
    decode64,
    encode64,
    fingerprint,
    new_private_key,
    public_key,
)

WITNESS_KEY, REPORT_KEY = "witness.key", "report.key"
_MODE = 0o600
_KEY_BYTES = 32


@dataclass(frozen=True)
class Key:
    """An Ed25519 key pair; the private half never shows in a log or a traceback."""

    private: bytes = field(repr=False)
    public: bytes

    @property
    def fingerprint(self) -> str:
        """What two people compare to know that they speak of the same key."""
        return fingerprint(self.public)


def witness_key(state_dir: Path) -> Key:
    """The key that cosigns heads, made on the first call.

    Raises:
        ConfigError: the file is there, but others may read it or it holds no key.
    """
    return _load_or_create(state_dir / WITNESS_KEY)


def report_key(state_dir: Path) -> Key:
    """The key that signs report statements, made on the first call; errors as `witness_key`."""
    return _load_or_create(state_dir / REPORT_KEY)


def load_key(path: Path) -> Key:
    """The key kept in a file.

    Raises:
        ConfigError: no such file, a mode wider than 0600, or content that is no key.
    """
    try:
        mode = path.stat().st_mode & 0o777
        text = path.read_text("ascii", errors="replace")
    except OSError as error:
        raise ConfigError(
            f"The key file {path} cannot be read: {error.strerror}.",
            "Check the path and who may read it.",
        ) from error
    if mode & ~_MODE:
        raise ConfigError(
            f"The key file {path} has mode {mode:04o}: others on this machine may use the key.",
            f"Run 'chmod 600 {path}'; if somebody may have copied it, replace the key and tell "
            "the agents and verifiers its new public half.",
        )
    try:
        private = decode64(text.strip())
    except EvidenceError:
        private = b""
    if len(private) != _KEY_BYTES:
        raise ConfigError(
            f"The key file {path} holds no Ed25519 key (one line, 32 bytes in base64).",
            "Restore the file from its copy. A new key must be told to every agent and verifier.",
        )
    return Key(private, public_key(private))


def _load_or_create(path: Path) -> Key:
    try:
        if not path.exists():
            _create(path)
    except FileExistsError:
        pass  # another process of ours was first; its key counts
    except OSError as error:
        raise ConfigError(
            f"The key file {path} cannot be written: {error.strerror}.",
            "Check state_dir, who may write to it, and the free space.",
        ) from error
    return load_key(path)


def _create(path: Path) -> None:
    """A new key, on disk and flushed before it can be used; an existing file is never replaced."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        with os.fdopen(descriptor, "w") as file:
            file.write(encode64(new_private_key()) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # the one step that makes the key exist, and only a whole one
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
