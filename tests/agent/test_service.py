"""`joulemark agent run | enroll | warmup` as a person types them."""

import json
import subprocess
from typing import Any

import pytest

from joulemark_agent import cli
from joulemark_agent.contract.signature import decode64, encode64, public_key
from joulemark_agent.keys import AGENT_KEY, load_key
from support.evidence import COUNTER, METER
from support.running import Site, site


@pytest.fixture
def place(tmp_path) -> Site:
    return site(tmp_path, None, "mqtt://127.0.0.1:1883", modbus_port=5020)


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = cli.main(["agent", *words])
    out, err = capsys.readouterr()
    return code, out, err


def enroll(capsys, place: Site, *words: str) -> Any:
    code, out, err = run(capsys, "enroll", "-c", str(place.path), "--json", *words)
    assert (code, err) == (0, "")
    return json.loads(out)


def test_enrolling_makes_the_key_and_says_what_the_collector_must_know(capsys, place, tmp_path):
    key = tmp_path / "operator.key"
    said = enroll(capsys, place, "--operator-key", str(key), "--create-operator-key")
    mine = load_key(place.state / AGENT_KEY)
    assert said["key"] == encode64(mine.public)
    assert said["fingerprint"] == mine.fingerprint
    assert decode64(said["operator_key"]) == public_key(load_key(key).private)
    found = [(g["device"], g["epoch"], g["state"]) for g in said["grants"]]
    assert found == [(METER, 1, "signed"), (COUNTER, 1, "signed")]
    again = enroll(capsys, place, "--operator-key", str(key))
    assert {g["state"] for g in again["grants"]} == {"kept"}
    assert again["key"] == said["key"]


def test_enrolling_without_the_operator_says_what_to_do(capsys, place):
    code, out, _ = run(capsys, "enroll", "-c", str(place.path))
    assert code == 0
    assert "requested" in out
    assert load_key(place.state / AGENT_KEY).fingerprint in out
    assert "--operator-key FILE" in out
    code, _, err = run(capsys, "run", "-c", str(place.path))
    assert code == 2
    assert "no grant signed by the operator" in err


def test_a_changed_site_gets_the_next_epoch_and_a_lost_state_the_one_named(capsys, place, tmp_path):
    key = ("--operator-key", str(tmp_path / "operator.key"))
    enroll(capsys, place, *key, "--create-operator-key")
    site(tmp_path, None, "mqtt://127.0.0.1:1883", modbus_port=5020, period_s=60)
    assert {g["epoch"] for g in enroll(capsys, place, *key)["grants"]} == {2}
    (place.state).rename(tmp_path / "lost")
    said = enroll(capsys, place, *key, "--epoch", "3")
    assert {g["epoch"] for g in said["grants"]} == {3}


def test_what_is_no_evidence_may_change_without_enrolling_again(capsys, place, tmp_path):
    key = ("--operator-key", str(tmp_path / "operator.key"))
    enroll(capsys, place, *key, "--create-operator-key")
    site(tmp_path, None, "mqtt://192.0.2.1:1884", modbus_port=5021, slots=50)
    assert {g["state"] for g in enroll(capsys, place, *key)["grants"]} == {"kept"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--operator-key", "missing.key"], "--create-operator-key"),
        (["--create-operator-key"], "Add '--operator-key FILE'"),
        (["--epoch", "0"], "Epochs count from 1"),
        (["--epoch", "99999999999999999999"], "Epochs count from 1"),
    ],
)
def test_a_wrong_option_is_one_message_and_exit_code_2(capsys, place, words, said):
    code, out, err = run(capsys, "enroll", "-c", str(place.path), *words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert not place.state.exists()


def test_an_operator_key_that_others_may_read_is_refused(capsys, place, tmp_path):
    key = tmp_path / "operator.key"
    enroll(capsys, place, "--operator-key", str(key), "--create-operator-key")
    key.chmod(0o644)
    code, _, err = run(capsys, "enroll", "-c", str(place.path), "--operator-key", str(key))
    assert code == 2
    assert f"chmod 600 {key}" in err


def test_the_private_keys_show_nowhere(capsys, place, tmp_path):
    key = tmp_path / "operator.key"
    code, out, err = run(
        capsys, "enroll", "-c", str(place.path), "--operator-key", str(key),
        "--create-operator-key",
    )  # fmt: skip
    assert code == 0
    for path in (key, place.state / AGENT_KEY):
        assert path.read_text().strip() not in out + err


def test_running_before_enrolling_is_one_message_without_traceback(place):
    with place.started("run", stderr=subprocess.PIPE) as process:
        _, err = process.communicate()
    assert process.returncode == 2
    assert err.startswith("error: The agent 'edge-1' has no key in ")
    assert "agent enroll" in err
    assert err.count("\n") == 1


def test_warming_up_compiles_the_kernels(capsys):
    code, out, _ = run(capsys, "warmup")
    assert code == 0
    assert out.startswith("The kernels are ready")
