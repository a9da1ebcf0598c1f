"""A new evidence key for the agent, made and taken into use on the device.

| step | on disk |
|---|---|
| 1 | the new key beside the old one (`joulemark agent rotate-key`) |
| 2 | the old public key among those of former days |
| 3 | in every tree that is recorded the leaf that both keys sign, and a head by the new key |
| 4 | the new key in place of the old one, which is overwritten and gone |

Steps 2 to 4 are the agent's own, at its start or while it runs; step 3 is one transaction. Killed
after any of them it goes on with the next: heads of the new key mean that step 3 is done.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.signature import decode64, encode64, is_log_signed
from joulemark_agent.files import PRIVATE, credential, flush_folder, replace_file
from joulemark_agent.keys import AGENT_KEY, Key, create_key, has_key, load_key

NEXT_KEY = "agent.next.key"
FORMER_KEYS = "agent.former.json"


def request_rotation(state_dir: Path) -> tuple[Key, Key]:
    """Step 1: a new key, which the agent takes into use; one that waits already is kept.

    Returns:
        the old key and the new one.

    Raises:
        ConfigError: there is no key to replace, it is not the agent's to replace, or the new one
            cannot be written.
    """
    path = state_dir / AGENT_KEY
    if not has_key(path):
        raise ConfigError(
            f"There is no key in {state_dir} that could be replaced.",
            "Run 'joulemark agent enroll -c SITE.yaml --operator-key FILE' first.",
        )
    if credential(path) != path:
        raise ConfigError(
            f"The key is handed over by systemd as {credential(path)} and cannot be replaced here.",
            f"Put it back to {path}, take the credential out of the unit, restart, then rotate.",
        )
    old, waiting = load_key(path), next_key(state_dir)
    return old, create_key(state_dir / NEXT_KEY) if waiting is None else waiting


def is_waiting(state_dir: Path) -> bool:
    """Whether a new key waits to be taken into use."""
    return has_key(state_dir / NEXT_KEY)


def next_key(state_dir: Path) -> Key | None:
    """The key that waits to be taken into use, if one does."""
    return load_key(state_dir / NEXT_KEY) if is_waiting(state_dir) else None


def former_keys(state_dir: Path) -> tuple[bytes, ...]:
    """The public keys that this agent had, oldest first.

    Raises:
        ConfigError: the file is there and cannot be read.
    """
    path = state_dir / FORMER_KEYS
    try:
        return tuple(decode64(text) for text in parse_canonical(path.read_bytes()))
    except FileNotFoundError:
        return ()
    except (OSError, EvidenceError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"The file {path} cannot be read: {error}.",
            "Restore it from its copy, or have the operator enroll the next epoch of every device.",
        ) from error


def note_former(state_dir: Path, key: Key) -> None:
    """Step 2: remember whose trees these were, before another key goes on with them.

    Raises:
        ConfigError: it cannot be written.
    """
    known = former_keys(state_dir)
    if key.public in known:
        return
    path = state_dir / FORMER_KEYS
    data = canonical_bytes([encode64(public) for public in (*known, key.public)])
    try:
        replace_file(path, data)
    except OSError as error:
        raise _unwritable(path, error) from error


def take_over(state_dir: Path, new: Key) -> None:
    """Step 4: the new key is the agent's, the old one is gone.

    Raises:
        ConfigError: it cannot be written; the next start does it.
    """
    path = state_dir / AGENT_KEY
    try:
        path.chmod(PRIVATE)  # its owner may have made it read-only
        with path.open("r+b") as old:
            (state_dir / NEXT_KEY).replace(path)
            flush_folder(state_dir)
            old.write(b"\0" * os.fstat(old.fileno()).st_size)  # as far as the medium lets us
            os.fsync(old.fileno())
    except OSError as error:
        raise _unwritable(path, error) from error
    assert load_key(path).public == new.public, "the key that signed the heads"


def settled_key(state_dir: Path, key: Key, heads: Iterable[str | None]) -> Key:
    """The key to go on with: a change of key whose step 3 was done is brought to its end.

    Args:
        state_dir: the agent's state folder.
        key: what stands there as the agent's key.
        heads: the last checkpoint note of every tree.
    """
    new = next_key(state_dir)
    if new is None or not any(note and is_log_signed(note, new.public) for note in heads):
        return key
    take_over(state_dir, new)
    return new


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"The file {path} cannot be written: {error.strerror}.",
        "Check the folder, who may write to it, and the free space.",
    )
