"""The server in its thread: it answers, ends at once, and never stands in the way of collecting."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest

from joulemark_agent.contract.signature import encode64, public_key
from joulemark_gateway import app
from joulemark_gateway.settings import PagesSettings
from joulemark_gateway.web.server import PagesServer
from support.child import search_path
from support.evidence import AGENT, KEYS, METER, SITE, WITNESS


def test_it_answers_until_it_is_stopped(state):
    with state.sources() as sources:
        server = PagesServer(sources, "127.0.0.1", 0)
        with urllib.request.urlopen(f"{server.url}health") as answer:
            assert answer.status == 200
        server.stop()
        assert not [thread for thread in threading.enumerate() if thread.name == "pages"]
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"{server.url}health")


def test_a_collector_shows_its_pages_and_ends_in_order(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    agent, operator = (encode64(public_key(key)) for key in (KEYS.agent, KEYS.operator))
    file = tmp_path / "collector.yaml"
    file.write_text(
        f"""\
name: {WITNESS}
broker: {{url: "mqtt://127.0.0.1:1"}}
pages: {{port: {port}}}
projects: [{{report: {tmp_path}}}]
agents: [{{agent: {AGENT}, site: {SITE}, key: "{agent}", devices: [{METER}]}}]
operators: ["{operator}"]
"""
    )
    code = (
        "import sys, pathlib\n"
        "from joulemark_agent.log import start_logging\n"
        "from joulemark_gateway.app import run\n"
        "from joulemark_gateway.settings import load_collector\n"
        "start_logging()\n"
        "run(load_collector(pathlib.Path(sys.argv[1])))\n"
    )
    service = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, str(file)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": search_path()},
    )
    assert service.stderr is not None
    events = []
    for line in service.stderr:
        events.append(json.loads(line)["event"])
        if events[-1] == "pages_started":
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/projects?lang=en") as answer:
                assert b"cannot be read" in answer.read(), "the folder holds no report yet"
            service.send_signal(signal.SIGTERM)
    assert service.wait(20) == 0
    service.stderr.close()
    assert set(events) - {"broker_down"} == {
        "collector_started",
        "pages_started",
        "collector_stopped",
    }


def test_it_can_be_stopped_before_it_has_begun(state):
    with state.sources() as sources:
        PagesServer(sources, "127.0.0.1", 0).stop()


def test_an_address_that_is_taken_is_told_and_collecting_goes_on(state, caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken, state.sources() as sources:
        wanted = PagesSettings(port=taken.getsockname()[1])
        assert app._serve(wanted, sources) is None
    [record] = [record for record in caplog.records if record.message == "pages_down"]
    assert "pages.port" in record.do


def test_without_pages_nothing_listens(state):
    with state.sources() as sources:
        assert app._serve(None, sources) is None
