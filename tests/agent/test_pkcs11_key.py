"""An evidence key that never leaves its token, with SoftHSM2 as the token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from joulemark_agent.approved import evidence_key, recorded_devices
from joulemark_agent.cli import main
from joulemark_agent.contract.errors import ConfigError, StoreError
from joulemark_agent.contract.signature import (
    Checkpoint,
    HeldKey,
    decode64,
    encode64,
    is_log_signed,
    is_signed_by,
    public_key,
    sign,
    sign_checkpoint,
)
from joulemark_agent.pkcs11_key import TokenPlace, token_key
from joulemark_agent.settings import load_site
from support.child import search_path
from support.needed import missing
from support.sites import HEAD

pytestmark = pytest.mark.service
PIN = "canary-2471"
DEVICE = """\
  - {id: meter, profile: virtual_main_meter, url: "modbus-tcp://192.0.2.8", unit: 1, period_s: 60}
"""
HEAD_1 = Checkpoint("joulemark/hall/meter/1", 3, bytes(32))


@pytest.fixture(scope="module")
def place(softhsm, tmp_path_factory) -> TokenPlace:
    """A token with nothing in it; the library reads its folder once in a process."""
    if find_spec("pkcs11") is None:
        missing("python-pkcs11", "pip install 'joulemark[pkcs11]'")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(config)
    words = ["--init-token", "--free", "--label", "plant", "--pin", PIN, "--so-pin", PIN]
    subprocess.run(["softhsm2-util", *words], check=True, capture_output=True)
    return TokenPlace(softhsm, "plant", "joulemark", PIN)


def test_a_key_in_a_token_signs_what_everybody_verifies(place):
    with pytest.raises(ConfigError, match="0 public and 0 private"):
        token_key(place)
    made = token_key(place, create=True)
    again = token_key(place, create=True)
    assert again.public == made.public, "it is made once"
    note = sign_checkpoint(made.private, HEAD_1)
    assert is_log_signed(note, made.public)
    assert is_signed_by(made.public, b"message", sign(made.private, b"message"))
    assert not is_signed_by(made.public, b"another", sign(made.private, b"message"))
    assert public_key(made.private) == made.public
    assert PIN not in repr(place)


def test_its_bytes_are_nowhere(place):
    """What wants them gets none, and the token does not give them."""
    import pkcs11  # noqa: PLC0415 - where the library is

    made = token_key(place, create=True)
    assert bytes(made.private) == b""
    assert encode64(made.private) == ""
    session = pkcs11.lib(str(place.module)).get_token(token_label="plant").open()
    [held] = session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY})
    assert held[pkcs11.Attribute.EXTRACTABLE] is False
    assert held[pkcs11.Attribute.SENSITIVE] is True
    with pytest.raises(pkcs11.exceptions.PKCS11Error):
        _ = held[pkcs11.Attribute.VALUE]


def test_many_threads_sign_with_one_session(place):
    made, wrong = token_key(place, create=True), []

    def signing(number: int) -> None:
        for count in range(20):
            message = f"{number} {count}".encode()
            if not is_signed_by(made.public, message, sign(made.private, message)):
                wrong.append(message)

    threads = [threading.Thread(target=signing, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"module": Path("/nowhere/lib.so")}, "cannot be used"),
        ({"token": "other"}, "cannot be used"),
        ({"label": "other"}, "0 public and 0 private"),
    ],
)
def test_what_is_wrong_is_told_without_the_pin(place, change, said):
    with pytest.raises(ConfigError, match=said) as caught:
        token_key(replace(place, **change))
    assert "canary" not in str(caught.value)


def test_a_wrong_pin_is_told_and_not_shown(place):
    """In a process of its own: who is logged in is so for a whole process."""
    code = (
        "import sys, pathlib\n"
        "from joulemark_agent.pkcs11_key import TokenPlace, pin_at, token_key\n"
        "pin = pin_at('WRONG_PIN', None)\n"
        "token_key(TokenPlace(pathlib.Path(sys.argv[1]), 'plant', 'joulemark', pin))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(place.module)],
        capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": search_path(), "WRONG_PIN": "wrong-canary"},
    )  # fmt: skip
    assert "PinIncorrect" in done.stderr
    assert "canary" not in done.stderr


def test_a_token_that_is_gone_is_an_error_that_may_pass(place):
    def gone(_: bytes) -> bytes:
        raise StoreError("The token is away.", "Plug it in.", code="token_away")

    made = token_key(place, create=True)
    with pytest.raises(StoreError):
        sign_checkpoint(HeldKey(made.public, gone), HEAD_1)


def test_an_agent_is_enrolled_with_it_and_can_be_run(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("JOULEMARK_TOKEN_PIN", PIN)
    path = tmp_path / "site.yaml"
    token = (
        f'evidence_key: {{module: "{place.module}", token: plant, label: enrolled,'
        " pin_variable: JOULEMARK_TOKEN_PIN}\n"
    )
    path.write_text(token + HEAD.format() + DEVICE)
    operator = ["--operator-key", str(tmp_path / "operator.key"), "--create-operator-key"]
    assert main(["agent", "enroll", "-c", str(path), *operator, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    settings = load_site(path)
    key = evidence_key(settings)
    assert key.public == decode64(said["key"])
    assert recorded_devices(settings, key), "the grant is for it"
    assert not (settings.state_dir / "agent.key").exists()
    assert main(["agent", "rotate-key", "-c", str(path)]) == 2
    assert "evidence_key.label" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{module: /a.so, token: t}", "either 'pin_file' or 'pin_variable'"),
        ("{module: /a.so, token: t, pin_file: a, pin_variable: JOULEMARK_A}", "either 'pin_file'"),
        ("{module: /a.so, token: t, pin: canary-7}", "a PIN does not belong in a site file"),
    ],
)
def test_a_mistake_in_the_site_file_is_told(tmp_path, section, said):
    path = tmp_path / "site.yaml"
    device = (
        '  - {id: m, profile: virtual_main_meter, url: "modbus-tcp://a", unit: 1, period_s: 60}\n'
    )
    path.write_text(f"evidence_key: {section}\n{HEAD.format()}{device}")
    with pytest.raises(ConfigError, match=said) as caught:
        load_site(path)
    assert "canary" not in str(caught.value)
