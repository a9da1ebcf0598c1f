"""The server in its thread: it answers, ends at once, and never stands in the way of collecting."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request

import httpx
import pytest

from joulemark_agent.contract.signature import encode64, public_key
from joulemark_gateway.access.gate import open_access
from joulemark_gateway.access.roles import Role
from joulemark_gateway.access.settings import PagesSettings, PagesTls
from joulemark_gateway.web.server import PagesServer, start_pages
from support import guarded
from support.certificates import certificate, key_pem, pem
from support.child import search_path
from support.evidence import AGENT, KEYS, METER, SITE, WITNESS
from support.pages import gate
from support.servers import free_port


def test_it_answers_until_it_is_stopped(state):
    with state.sources() as sources, gate(state.folder) as access:
        server = PagesServer(sources, access, port=0)
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
pages: {{port: {port}, login: false}}
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
    wanted = {"collector_started", "pages_without_login", "pages_started", "collector_stopped"}
    assert wanted <= set(events)
    broken = {event for event in events if event.endswith(("_down", "_failed"))}
    assert broken <= {"broker_down"}


def test_it_can_be_stopped_before_it_has_begun(state):
    with state.sources() as sources, gate(state.folder) as access:
        PagesServer(sources, access, port=0).stop()


def test_an_address_that_is_taken_is_told_and_collecting_goes_on(state, caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken, state.sources() as sources:
        wanted = PagesSettings(login=False, port=taken.getsockname()[1])
        assert start_pages(wanted, state.folder, sources) is None
    [record] = [record for record in caplog.records if record.message == "pages_down"]
    assert "pages.port" in record.do


def test_without_pages_nothing_listens(state):
    with state.sources() as sources:
        assert start_pages(None, state.folder, sources) is None


def test_others_are_shown_the_pages_only_where_somebody_can_log_in(state, tmp_path, caplog):
    """And then over TLS, with a cookie for TLS alone."""
    both = tmp_path / "pages.pem"
    both.write_bytes(pem(certificate("pages")) + key_pem("pages"))
    both.chmod(0o600)
    wanted = PagesSettings(host="0.0.0.0", port=free_port(), tls=PagesTls(certificate=both))
    trusting = ssl.create_default_context(cafile=str(both))
    with state.sources() as sources:
        assert start_pages(wanted, tmp_path, sources) is None
        [record] = [record for record in caplog.records if record.message == "pages_down"]
        assert "joulemark collector user add" in record.do
        with open_access(tmp_path, wanted) as access:
            guarded.add_users(access, Role.ADMIN)
        server = start_pages(wanted, tmp_path, sources)
        assert server is not None
        try:
            url = f"https://127.0.0.1:{wanted.port}"
            with httpx.Client(base_url=url, verify=trusting) as client:
                assert client.get("/").headers["location"] == "/login"
                form = {"name": "admin", "password": guarded.PASSWORD}
                cookie = client.post("/login", data=form).headers["set-cookie"]
                assert cookie.startswith("__Host-joulemark-session=")
                assert client.get("/api/v1/me").json()["role"] == "admin"
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"http://127.0.0.1:{wanted.port}/login")
        finally:
            server.stop()


def test_on_this_machine_a_user_may_be_added_while_they_are_shown(state, tmp_path, caplog):
    wanted = PagesSettings(port=free_port())
    with state.sources() as sources:
        server = start_pages(wanted, tmp_path, sources)
        assert server is not None
        try:
            [record] = [row for row in caplog.records if row.message == "pages_without_users"]
            assert "joulemark collector user add" in record.do
            with open_access(tmp_path, wanted) as access:
                guarded.add_users(access, Role.VIEWER)
            form = {"name": "viewer", "password": guarded.PASSWORD}
            answer = httpx.post(f"{server.url}login", data=form)
            assert answer.status_code == 303
        finally:
            server.stop()


def test_nobody_says_of_themselves_where_they_come_from(state, tmp_path, monkeypatch):
    """Or each wrong password would come from another address, and none of them would wait."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    with guarded.serving(state, tmp_path) as (let, url):
        form = {"name": "nobody", "password": "wrong, wrong, wrong"}
        said = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
        assert httpx.post(f"{url}/login", data=form, headers=said).status_code == 401
        [line] = [row for row in let.access.events.listed() if row.code == "log_in_wrong"]
        assert line.address == "127.0.0.1"
