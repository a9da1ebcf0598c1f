import os
import threading

import pytest

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import public_key
from joulemark_agent.keys import load_key
from joulemark_gateway.keys import REPORT_KEY, WITNESS_KEY, report_key, witness_key


def test_the_two_keys_differ_and_stay(tmp_path):
    witness, report = witness_key(tmp_path / "state"), report_key(tmp_path / "state")
    assert witness.private != report.private
    assert witness == witness_key(tmp_path / "state")
    assert witness.public == public_key(witness.private)
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == [REPORT_KEY, WITNESS_KEY]


def test_a_key_file_is_readable_by_its_owner_only(tmp_path):
    witness_key(tmp_path)
    assert (tmp_path / WITNESS_KEY).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o700])
def test_a_wider_mode_is_refused_with_the_command_that_mends_it(tmp_path, mode):
    witness_key(tmp_path)
    path = tmp_path / WITNESS_KEY
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        witness_key(tmp_path)


@pytest.mark.parametrize("text", ["", "AAAA\n", "not base64!\n", "A" * 200])
def test_a_file_that_holds_no_key_is_refused_and_never_replaced(tmp_path, text):
    path = tmp_path / WITNESS_KEY
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(text)
    with pytest.raises(ConfigError, match="holds no Ed25519 key"):
        witness_key(tmp_path)
    assert path.read_text() == text


def test_the_private_half_is_never_shown(tmp_path):
    key = witness_key(tmp_path)
    assert str(key.private) not in repr(key)
    assert key.private.hex() not in repr(key)


def test_a_folder_that_cannot_be_made_is_one_clear_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        witness_key(tmp_path / "file" / "state")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_key(tmp_path / "none")


def test_many_who_start_at_once_get_one_key(tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(witness_key(tmp_path))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key.public for key in found}) == 1
    assert len(found) == 8
    assert [path.name for path in tmp_path.iterdir()] == [WITNESS_KEY]
