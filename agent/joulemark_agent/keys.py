"""Private keys on disk: made on the device, read by nobody else, never sent anywhere.

A key file is one line, the 32 bytes of an Ed25519 private key in base64, with mode 0600. The
agent's evidence key signs checkpoints and nothing else; the operator's key lives in the same form,
wherever the operator keeps it.
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
from joulemark_agent.files import PRIVATE, credential, flush_folder, require_private

AGENT_KEY = "agent.key"
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


def agent_key(state_dir: Path) -> Key:
    """The agent's evidence key, made on the first call.

    Raises:
        ConfigError: the file is there, but others may read it or it holds no key.
    """
    return key_at(state_dir / AGENT_KEY)


def key_at(path: Path) -> Key:
    """The key kept in a file, made on the first call: whoever is first makes it, for all.

    Raises:
        ConfigError: the file is there, but others may read it or it holds no key; or it cannot be
            made.
    """
    if not has_key(path):
        try:
            return create_key(path)
        except ConfigError:
            if not has_key(path):
                raise
    return load_key(path)


def has_key(path: Path) -> bool:
    """Whether the file is there, whatever it holds.

    Raises:
        ConfigError: it cannot be told.
    """
    try:
        credential(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error) from error
    return True


def load_key(path: Path) -> Key:
    """The key kept in a file, or in the credential of that name.

    Raises:
        ConfigError: no such file, a mode wider than 0600, or content that is no key.
    """
    path = credential(path)
    try:
        require_private(path)
        text = path.read_text("ascii", errors="replace")
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        private = decode64(text.strip())
    except EvidenceError:
        private = b""
    if len(private) != _KEY_BYTES:
        raise ConfigError(
            f"The key file {path} holds no Ed25519 key (one line, 32 bytes in base64).",
            "Restore the file from its copy; a new key must be trusted anew by everybody.",
        )
    return Key(private, public_key(private))


def create_key(path: Path) -> Key:
    """A new key, on disk and flushed before it is returned; an existing file is never replaced.

    Raises:
        ConfigError: the file exists or cannot be written.
    """
    private = new_private_key()
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(encode64(private) + "\n")
                file.flush()
                os.fsync(file.fileno())
            _make_exist(part, path)
        finally:
            part.unlink(missing_ok=True)
        flush_folder(path.parent)
    except OSError as error:
        raise ConfigError(
            f"The key file {path} cannot be written: {error.strerror}.",
            "Check the folder, who may write to it, and the free space.",
        ) from error
    return Key(private, public_key(private))


def _make_exist(part: Path, path: Path) -> None:
    """The one step that makes the key exist, and only a whole one."""
    try:
        os.link(part, path)
    except FileExistsError as error:
        raise ConfigError(
            f"The key file {path} exists already.", "Use it, or name another file."
        ) from error


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"The key file {path} cannot be read: {error.strerror}.",
        "Check the path and who may read it.",
    )
