import os
from pathlib import Path

import pytest

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import encode64, is_signed_by, public_key, sign
from joulemark_agent.keys import AGENT_KEY, agent_key, create_key, has_key, load_key


def test_the_key_is_made_once_and_is_the_same_ever_after(tmp_path):
    first = agent_key(tmp_path / "state")
    assert agent_key(tmp_path / "state") == first
    assert is_signed_by(first.public, b"x", sign(first.private, b"x"))


def test_nobody_else_may_read_a_new_key_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        create_key(tmp_path / "state" / "a.key")
    finally:
        os.umask(old)
    assert (tmp_path / "state" / "a.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["a.key"], "a part was left"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o700])
def test_a_key_that_others_may_use_is_refused_with_what_to_do(tmp_path, mode):
    agent_key(tmp_path)
    (tmp_path / AGENT_KEY).chmod(mode)
    with pytest.raises(ConfigError) as caught:
        agent_key(tmp_path)
    assert f"{mode:04o}" in caught.value.what
    assert f"chmod 600 {tmp_path / AGENT_KEY}" in caught.value.do


def test_a_key_that_only_its_owner_may_read_is_taken(tmp_path):
    key = agent_key(tmp_path)
    (tmp_path / AGENT_KEY).chmod(0o400)
    assert agent_key(tmp_path) == key


@pytest.mark.parametrize(
    "text", ["", "not base64!\n", encode64(bytes(31)), encode64(bytes(33)), "é" * 44]
)
def test_a_file_that_holds_no_key_is_refused_and_not_replaced(tmp_path, text):
    path = tmp_path / AGENT_KEY
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="holds no Ed25519 key"):
        agent_key(tmp_path)
    assert path.read_text("utf-8") == text


def test_an_existing_key_is_never_replaced(tmp_path):
    key = create_key(tmp_path / "a.key")
    with pytest.raises(ConfigError, match="exists already"):
        create_key(tmp_path / "a.key")
    assert load_key(tmp_path / "a.key") == key


def test_a_missing_operator_key_is_told_with_its_path(tmp_path):
    with pytest.raises(ConfigError, match=r"operator\.key cannot be read: No such file"):
        load_key(tmp_path / "operator.key")


def test_the_private_half_does_not_show(tmp_path):
    key = create_key(tmp_path / "a.key")
    assert encode64(key.private) not in repr(key)
    assert repr(key.private) not in repr(key)
    assert key.public == public_key(key.private)
    assert len(key.fingerprint.split()) == 8


def test_a_folder_that_is_a_file_is_not_called_an_existing_key(tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ConfigError, match="cannot be written") as caught:
        agent_key(tmp_path / "state")
    assert "folder" in caught.value.do


def test_a_folder_that_may_not_be_entered_is_told(tmp_path, monkeypatch):
    (tmp_path / "state").mkdir(mode=0)
    monkeypatch.chdir(tmp_path)
    is_root = os.geteuid() == 0
    if is_root:  # to whom nothing is closed
        os.seteuid(65534)
    try:
        with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
            has_key(Path("state") / AGENT_KEY)
    finally:
        if is_root:
            os.seteuid(0)
        (tmp_path / "state").chmod(0o700)
