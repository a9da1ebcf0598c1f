"""The collector's commands, each run as a person would."""

import argparse
import json
import os
import signal
import subprocess
import sys

import pytest

from joulemark_agent.contract.batch import batch_bytes
from joulemark_agent.contract.errors import ConfigError, StoreError
from joulemark_agent.contract.signature import decode64, encode64, public_key
from joulemark_agent.contract.topics import batch_topic, origin
from joulemark_gateway import app, cli
from joulemark_gateway.broker import start_broker
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.series.embedded import EmbeddedSeries
from joulemark_gateway.settings import load_collector
from support.child import search_path
from support.evidence import (
    AGENT,
    COUNTER,
    KEYS,
    METER,
    SITE,
    WITNESS,
    build_tree,
    documents,
    meter_readings,
    uncosigned,
)
from support.intakes import new_intake

DOCS = documents()
TREE = [
    uncosigned(batch)
    for batch in build_tree(DOCS, METER, meter_readings(DOCS, [1000] * 7), slots_per_batch=4)
]
NAME = origin(SITE, METER, 1)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "collector.yaml"
    path.write_text(
        f"""\
name: {WITNESS}
broker: {{url: "mqtt://127.0.0.1:1"}}
accept_simulated: true
pages: null
agents:
  - agent: {AGENT}
    site: {SITE}
    key: "{encode64(public_key(KEYS.agent))}"
    devices: [{METER}, {COUNTER}]
operators: ["{encode64(public_key(KEYS.operator))}"]
"""
    )
    return path


@pytest.fixture
def filled(config):
    intake = new_intake(config.parent / "state" / FILE, step_us=0)
    for batch in TREE:
        intake.take(batch_topic(AGENT, METER), batch_bytes(batch))
    intake.take(batch_topic(AGENT, METER), b"poison")
    intake.close()
    return config


def joulemark(*words):
    parser = argparse.ArgumentParser()
    cli.add_commands(parser.add_subparsers())
    args = parser.parse_args([str(word) for word in words])
    return args.run(args)


def test_status_says_what_is_held_and_what_was_refused(filled, capsys):
    assert joulemark("collector", "status", "-c", filled, "--json", "--scrub") == 0
    found = json.loads(capsys.readouterr().out)
    (tree,) = found["trees"]
    assert (tree["origin"], tree["size"], tree["batches"]) == (NAME, TREE[-1].size, 2)
    assert tree["root"] == TREE[-1].checkpoint.split("\n")[2]
    (refused,) = found["quarantine"]
    assert (refused["agent"], refused["code"], refused["messages"]) == (AGENT, "bad_batch", 1)
    assert found["damage"] == []
    assert joulemark("collector", "status", "-c", filled) == 0
    shown = capsys.readouterr().out
    assert f"{NAME}  {TREE[-1].size} leaves in 2 batches" in shown
    assert "refused from edge-1: 1 x bad_batch, 1 kept" in shown


def test_status_exits_1_where_a_scrub_finds_damage(filled, capsys):
    store = SqliteStore(filled.parent / "state" / FILE)
    store._db.execute("UPDATE tree SET edge = zeroblob(length(edge))")
    store.close()
    assert joulemark("collector", "status", "-c", filled, "--scrub") == 1
    assert "is damaged" in capsys.readouterr().out


def test_status_of_a_collector_that_never_ran_says_what_to_do(config):
    with pytest.raises(StoreError, match="Start the collector once"):
        joulemark("collector", "status", "-c", config)


def test_keys_shows_the_public_halves_only(config, capsys):
    assert joulemark("collector", "keys", "-c", config, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["name"] == WITNESS
    files = [config.parent / "state" / f"{name}.key" for name in ("witness", "report")]
    private = [file.read_text().strip() for file in files]
    assert [found["witness"], found["report"]] == [
        encode64(public_key(decode64(text))) for text in private
    ]
    assert joulemark("collector", "keys", "-c", config) == 0
    shown = capsys.readouterr().out
    assert found["witness"] in shown
    assert not any(text in shown for text in private)


def test_series_rebuild_makes_the_copy_anew(filled, capsys):
    assert joulemark("series", "rebuild", "-c", filled) == 0
    assert "40 points rebuilt" in capsys.readouterr().out
    series = EmbeddedSeries(filled.parent / "state" / "series.duckdb")
    assert series.query("SELECT count(*) FROM points") == [(40,)]
    series.close()


@pytest.mark.service
def test_series_rebuild_fills_a_server(filled, victoriametrics, capsys):
    with filled.open("a") as file:
        file.write(f'series: {{kind: victoriametrics, url: "{victoriametrics}"}}\n')
    assert joulemark("series", "rebuild", "-c", filled) == 0
    assert f"{victoriametrics}: rebuilt from the {TREE[-1].size} leaves" in capsys.readouterr().out
    series = app.series_on_server(load_collector(filled))
    series.settle()
    found = series.samples(SITE, METER, "energy_wh", 0, 2**52)
    assert found.value.size == 8
    assert found.value[-1] - found.value[0] == 7000.0
    series.reset([SITE])
    series.close()


def test_a_mistake_in_the_file_stops_every_command(config):
    config.write_text("agents: []\n")
    for words in (["collector", "run"], ["collector", "status"], ["series", "rebuild"]):
        with pytest.raises(ConfigError, match=r"collector\.yaml:1"):
            joulemark(*words, "-c", config)


def run(*words, env=None, without=()):
    """`joulemark` in a process of its own, some packages not installed there."""
    hidden = "".join(f"sys.modules[{name!r}] = None; " for name in without)
    code = (
        f"import argparse, sys; {hidden}from joulemark_gateway import cli; "
        "from joulemark_agent.contract.errors import JoulemarkError\n"
        "parser = argparse.ArgumentParser(); cli.add_commands(parser.add_subparsers())\n"
        "before = set(sys.modules)\n"
        "args = parser.parse_args()\n"
        "try: code = args.run(args)\n"
        "except JoulemarkError as error: print(error, file=sys.stderr); code = 2\n"
        "sys.exit(code)"
    )
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": search_path(), "PATH": os.environ["PATH"], **(env or {})},
    )


def test_the_service_runs_until_sigterm_and_leaves_in_order(config):
    with start_broker("embedded") as broker:
        address = {"JOULEMARK_COLLECTOR_BROKER__URL": broker.url}
        service = run("collector", "run", "-c", config, env=address)
        events = []
        for line in service.stderr:
            try:
                events.append(json.loads(line)["event"])
            except ValueError:
                raise AssertionError((events, line, service.stderr.read())) from None
            if events[-1] == "broker_connected":
                service.send_signal(signal.SIGTERM)
        assert service.wait(20) == 0
        service.stdout.close()
        service.stderr.close()
    events.remove("log_closed")  # before or after the broker is there
    assert events == ["collector_started", "broker_connected", "collector_stopped"]
    assert sorted(path.name for path in (config.parent / "state").iterdir()) == [
        "evidence.sqlite",
        "series.duckdb",
        "witness.key",
    ]


def test_a_broker_out_of_reach_is_said_once_and_waited_for(config):
    service = run("collector", "run", "-c", config)
    events = sorted(json.loads(service.stderr.readline())["event"] for _ in range(3))
    service.send_signal(signal.SIGTERM)
    rest = service.communicate(timeout=20)[1]
    assert service.returncode == 0
    assert events == ["broker_down", "collector_started", "log_closed"]
    assert [json.loads(line)["event"] for line in rest.splitlines()] == ["collector_stopped"]


@pytest.mark.parametrize(
    ("words", "without", "says"),
    [
        (["collector", "run"], "paho", "'paho'"),
        (["collector", "run"], "duckdb", "'duckdb'"),
        (["collector", "status"], "yaml", "'yaml'"),
        (["series", "rebuild"], "duckdb", "'duckdb'"),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_extra_to_install(config, words, without, says):
    process = run(*words, "-c", config, without=[without])
    _, told = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"needs the package {says}" in told
    assert "pip install 'joulemark[gateway]'" in told
    assert "Traceback" not in told


def test_adding_the_commands_imports_nothing_heavy():
    code = (
        "import argparse, sys\n"
        "from joulemark_gateway import cli\n"
        "cli.add_commands(argparse.ArgumentParser().add_subparsers())\n"
        "heavy = {'duckdb', 'paho', 'numba', 'yaml', 'moat', 'pydantic_settings'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": search_path()},
    )
    assert done.stdout.strip() == "[]"


def test_a_command_whose_module_needs_a_missing_package_is_listed_and_says_so(
    monkeypatch, tmp_path
):
    (tmp_path / "needy.py").write_text("import nothing_like_it\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cli, "COMMANDS", {"needy": ("weigh",)})
    with pytest.raises(ConfigError, match="'nothing_like_it'"):
        joulemark("weigh", "-c", "file.yaml", "--json")
    monkeypatch.setattr(cli, "COMMANDS", {"joulemark_gateway.nowhere": ("weigh",)})
    with pytest.raises(ModuleNotFoundError):
        joulemark("weigh")


@pytest.mark.parametrize("out", ["file", "file/deeper"])
def test_a_demo_that_cannot_write_its_folder_says_so(tmp_path, out):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="Name a folder you may write to"):
        joulemark("demo", "--no-serve", "--out", tmp_path / out)
