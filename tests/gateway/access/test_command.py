"""The commands: no password on the command line, a token shown once, everything in the log."""

import getpass
import io
import json
import os
import sqlite3
import subprocess
import sys

import pytest

from joulemark_agent.cli import main
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_gateway.access.database import FILE
from support.child import search_path
from support.evidence import AGENT, KEYS, METER, SITE

PASSWORD = "rusty bucket seven cranes"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "collector.yaml"
    agent, operator = (encode64(public_key(key)) for key in (KEYS.agent, KEYS.operator))
    path.write_text(
        f'agents: [{{agent: {AGENT}, site: {SITE}, key: "{agent}", devices: [{METER}]}}]\n'
        f'operators: ["{operator}"]\n'
    )
    return path


@pytest.fixture
def joulemark(file, monkeypatch, capsys):
    def run(*words, typed=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code = main(["collector", *words, "-c", str(file)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_user_is_added_listed_changed_and_removed(joulemark):
    add = ("user", "add", "anna", "--role", "admin")
    assert joulemark(*add, typed=PASSWORD + "\n")[0] == 0
    other = ("user", "add", "bo", "--role", "viewer", "--site", SITE)
    assert joulemark(*other, typed=PASSWORD)[0] == 0
    assert joulemark("user", "change", "bo", "--role", "verifier", "--all-sites")[0] == 0
    assert joulemark("user", "password", "bo", typed="another long one, please\n")[0] == 0
    listed = json.loads(joulemark("user", "list", "--json")[1])["users"]
    assert listed == [
        {"name": "anna", "role": "admin", "sites": None},
        {"name": "bo", "role": "verifier", "sites": None},
    ]
    assert joulemark("user", "remove", "bo")[0] == 0
    _, out, _ = joulemark("events")
    assert [line.split()[1] for line in out.splitlines()] == [
        "user_added:",
        "user_added:",
        "user_changed:",
        "user_changed:",
        "user_removed:",
    ]
    assert "at the console" in out
    assert PASSWORD not in out


def test_a_user_of_the_machine_who_has_no_name_is_told_by_number(joulemark, monkeypatch):
    def nameless():
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert joulemark("user", "add", "anna", "--role", "admin", typed=PASSWORD)[0] == 0
    assert f"user {os.getuid()} at the console" in joulemark("events")[1]


def test_a_security_log_that_was_changed_says_so(joulemark, file):
    for name in ("anna", "bo"):
        joulemark("user", "add", name, "--role", "admin", typed=PASSWORD)
    assert joulemark("events", "--check")[0] == 0
    with sqlite3.connect(file.parent / "state" / FILE) as db:
        db.executescript("DROP TRIGGER event_stays; UPDATE event SET who = 'eve' WHERE id = 2;")
    db.close()
    code, out, _ = joulemark("events", "--check")
    assert (code, out) == (1, "CHANGED: line 2 is not as it was written\n")
    code, out, _ = joulemark("events", "--check", "--json")
    assert (code, json.loads(out)["closings"]) == (1, 0)


@pytest.mark.parametrize(
    ("words", "typed", "says"),
    [
        (("--role", "viewer"), PASSWORD, "--all-sites"),
        (("--role", "viewer", "--site", SITE), "short", "12 to 256"),
        (("--role", "viewer", "--site", SITE), "", "no password"),
        (("--role", "viewer", "--site", "../x"), PASSWORD, "is no id"),
        (("--role", "admin", "--site", SITE), PASSWORD, "all sites"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_added(joulemark, words, typed, says):
    code, _, err = joulemark("user", "add", "carl", *words, typed=typed)
    assert code == 2
    assert says in err
    assert not typed or typed not in err
    assert json.loads(joulemark("user", "list", "--json")[1]) == {"users": []}


def test_a_token_is_shown_once_and_taken_back(joulemark):
    made = joulemark("token", "add", "grafana", "--role", "viewer", "--site", SITE, "--days", "7")
    text = made[1].strip()
    assert text.startswith("jmt_")
    assert text not in made[2]
    [row] = json.loads(joulemark("token", "list", "--json")[1])["tokens"]
    assert (row["state"], row["sites"]) == ("valid", [SITE])
    assert joulemark("token", "revoke", row["id"])[0] == 0
    said = joulemark("token", "list")[1] + joulemark("events", "--json")[1]
    assert "revoked" in said
    assert text not in said
    assert joulemark("token", "revoke", "ffffffff")[0] == 2
    days = ("token", "add", "x", "--role", "viewer", "--all-sites", "--days", "9999")
    assert joulemark(*days)[0] == 2


def test_no_password_is_taken_from_the_command_line(file):
    """Where every process of the machine could read it."""
    command = [sys.executable, "-m", "joulemark_agent.cli", "collector", "user", "add", "anna"]
    command += ["--role", "admin", "-c", str(file), "--password", PASSWORD]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PYTHONPATH": search_path()}
    )
    assert done.returncode == 2
    assert "unrecognized arguments" in done.stderr
