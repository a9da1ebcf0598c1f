"""Files that are replaced as a whole, and secrets that a service is handed."""

from __future__ import annotations

import os
import stat

import pytest

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.files import credential, replace_file, require_private
from joulemark_agent.keys import create_key, has_key, load_key


def test_a_file_is_replaced_with_its_mode_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "file"
    for data, mode in ((b"1", 0o600), (b"2", 0o644)):
        replace_file(path, data, mode)
        assert path.read_bytes() == data
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert [one.name for one in path.parent.iterdir()] == ["file"]
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_cannot_be_replaced_is_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "file"
    replace_file(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o604, 0o660])
def test_a_secret_is_read_by_its_owner_only(tmp_path, mode):
    path = tmp_path / "secret"
    path.touch()
    path.chmod(mode)
    if mode in {0o400, 0o600}:
        require_private(path)
        return
    with pytest.raises(ConfigError, match=f"mode {mode:04o}"):
        require_private(path)


def test_a_key_that_systemd_hands_over_comes_before_the_file(tmp_path, monkeypatch):
    kept, handed = tmp_path / "agent.key", tmp_path / "credentials"
    file_key = create_key(kept)
    given = create_key(handed / "agent.key")
    assert load_key(kept) == file_key
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    assert credential(kept) == handed / "agent.key"
    assert load_key(kept) == given
    kept.unlink()
    assert has_key(kept)
    assert credential(tmp_path / "other.key") == tmp_path / "other.key"
