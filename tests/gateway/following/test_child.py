"""The process that finds a saving: what it says, what it is told, and what it may not run."""

import threading

import pytest

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import JoulemarkError, StoreError
from joulemark_gateway.following import child
from joulemark_gateway.following.calculation import calculated
from joulemark_gateway.following.child import found_by_a_child
from joulemark_gateway.reports.project_file import gather, load_project
from support.followed import project_file
from support.following import NOON


@pytest.mark.endurance
def test_a_process_of_its_own_finds_the_same(filled):
    path = project_file(filled, "child.yaml")
    found = found_by_a_child(path, NOON, threading.Event())
    assert found == calculated(gather(load_project(path)), NOON)


def test_what_goes_wrong_in_the_process_is_said_in_its_answer(filled, capsysbinary):
    path = project_file(filled, "without.yaml", energy={"device": "none", "point": "energy_wh"})
    assert child.main(str(path), "0") == 1
    trouble = parse_canonical(capsysbinary.readouterr().out)["trouble"]
    assert "no evidence of the device 'none'" in trouble["what"]
    assert set(trouble) == {"code", "what", "do"}


def test_the_process_is_told_no_password_and_no_token():
    ours = {
        f"JOULEMARK_COLLECTOR_{name}": name
        for name in ("STATE_DIR", "BROKER__PASSWORD", "SERIES__TOKEN", "SERIES__URL")
    }
    told = child.told_to_the_child({**ours, "PATH": "/bin"})
    assert set(told.values()) == {"STATE_DIR", "SERIES__URL", "/bin"}


def test_a_process_that_is_not_wanted_any_more_is_ended(filled):
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoreError) as caught:
        found_by_a_child(project_file(filled, "ended.yaml"), NOON, stop)
    assert caught.value.code == "saving_unfinished"


@pytest.mark.parametrize(
    "said",
    [
        "[]",
        "7",
        "null",
        "{}",
        '{"found":7}',
        '{"trouble":{}}',
        '{"trouble":{"what":1}}',
        "\\377",
        "",
    ],
)
def test_a_process_that_says_nonsense_said_nothing_of_use(tmp_path, monkeypatch, said):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nprintf '{said}'\n")
    program.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(program))
    with pytest.raises(StoreError) as caught:
        found_by_a_child(tmp_path, NOON, threading.Event())
    assert caught.value.code == "saving_unfinished"


@pytest.mark.endurance
def test_the_process_runs_no_program_that_lies_in_the_folder_it_is_started_in(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yaml.py").write_text("open('ran', 'w')")
    with pytest.raises(JoulemarkError, match="cannot be read"):
        found_by_a_child(tmp_path / "none.yaml", NOON, threading.Event())
    assert not (tmp_path / "ran").exists()


def test_a_process_that_cannot_be_started_is_no_mistake_of_the_program(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", str(tmp_path / "none"))
    with pytest.raises(StoreError, match="cannot be started: No such file") as caught:
        found_by_a_child(tmp_path, NOON, threading.Event())
    assert caught.value.code == "saving_unfinished"
