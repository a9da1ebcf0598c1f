import os
import re

import pytest

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.revocation import Revoked
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_gateway.settings import load_collector
from support.evidence import AGENT, COUNTER, FOREIGN, KEYS, METER, SITE

AGENT_KEY = encode64(public_key(KEYS.agent))
OPERATOR_KEY = encode64(public_key(KEYS.operator))
GOOD = f"""\
name: joulemark/collector
state_dir: state
broker: {{url: "mqtt://broker.example", username: collector}}
accept_simulated: true
agents:
  - {{agent: {AGENT}, site: {SITE}, key: "{AGENT_KEY}", devices: [{METER}, {COUNTER}]}}
operators: ["{OPERATOR_KEY}"]
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("JOULEMARK_COLLECTOR_"):
            monkeypatch.delenv(name)

    def written(text):
        path = tmp_path / "collector.yaml"
        path.write_text(text)
        return load_collector(path)

    return written


def mistake(load, text):
    with pytest.raises(ConfigError) as caught:
        load(text)
    return str(caught.value)


def test_a_good_file_gives_the_registry_the_judge_uses(load, tmp_path):
    settings = load(GOOD)
    registry = settings.registry
    assert registry.agents[AGENT].key == public_key(KEYS.agent)
    assert registry.agents[AGENT].devices == {METER, COUNTER}
    assert registry.operators == {public_key(KEYS.operator)}
    assert registry.accept_simulated
    assert settings.state_dir == tmp_path / "state"
    assert (settings.broker.host, settings.broker.port) == ("broker.example", 1883)
    assert not settings.broker.uses_tls


def test_keys_may_be_revoked_in_the_file_and_a_mistake_is_told_with_its_line(load):
    name = f"joulemark/{SITE}/{METER}/1"
    row = f'  - {{key: "{AGENT_KEY}", origin: {name}, size: 7, reason: stolen}}\n'
    settings = load(f"{GOOD}revoked:\n{row}")
    assert settings.registry.revoked == (Revoked(public_key(KEYS.agent), name, 7),)
    for wrong, right in (
        ("size: -1", "size: 7"),
        ("origin: x", f"origin: {name}"),
        ("why", "reason"),
    ):
        text = f"{GOOD}revoked:\n{row.replace(right, wrong)}"
        assert "revoked.0" in mistake(load, text)


def test_simulated_evidence_is_refused_unless_the_file_says_otherwise(load):
    assert not load(GOOD.replace("accept_simulated: true\n", "")).registry.accept_simulated


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("state_dir: state", "state_dir: state\ncolour: red", 3, "colour"),
        ("mqtt://broker.example", "http://broker.example", 3, "mqtt://192.0.2.10"),
        ("mqtt://broker.example", "mqtt://broker.example:0", 3, "mqtt://192.0.2.10"),
        ("mqtt://broker.example", "mqtt://broker.example:99999", 3, "not an address"),
        (f"agent: {AGENT}", "agent: Edge_1", 6, "a-z, 0-9"),
        (AGENT_KEY, AGENT_KEY[:-4], 6, "base64|32 bytes"),
        (AGENT_KEY, AGENT_KEY[:-8] + "AAAA", 6, "32 bytes"),
        (f"[{METER}, {COUNTER}]", "[]", 6, "devices"),
        (f"[{METER}, {COUNTER}]", f"[{METER}, {METER}]", 6, "twice"),
        (f'["{OPERATOR_KEY}"]', "[]", 7, "operators"),
        ("name: joulemark/collector", "name: the collector", 1, "no spaces"),
        ("accept_simulated: true", "accept_simulated: perhaps", 4, "accept_simulated"),
    ],
)
def test_a_mistake_is_told_with_its_line(load, old, new, line, says):
    assert old in GOOD
    told = mistake(load, GOOD.replace(old, new))
    assert re.search(rf"collector\.yaml:{line}: .*({says})", told), told


def test_a_device_belongs_to_one_agent(load):
    other = f'  - {{agent: edge-2, site: {SITE}, key: "{AGENT_KEY}", devices: [{METER}]}}\n'
    text = GOOD.replace("operators:", f"{other}operators:")
    assert "'gwangyang/main-meter' stands twice" in mistake(load, text)
    again = GOOD.replace("operators:", f"{other.replace('edge-2', AGENT)}operators:")
    assert "the agent 'edge-1' stands twice" in mistake(load, again)


def test_a_key_belongs_to_one_agent_and_is_no_operators(load):
    """Two gateways with one key are clones; an agent that approves itself is approved by nobody."""
    other = f'  - {{agent: edge-2, site: {SITE}, key: "{AGENT_KEY}", devices: [other]}}\n'
    assert "stands twice" in mistake(load, GOOD.replace("operators:", f"{other}operators:"))
    assert "must not approve" in mistake(load, GOOD.replace(OPERATOR_KEY, AGENT_KEY))


@pytest.mark.parametrize(
    "broker",
    [
        '{url: "mqtt://broker.example", password: canary-7}',
        '{url: "mqtt://collector:canary-7@broker.example"}',
    ],
)
def test_a_password_in_the_file_is_refused_and_not_shown(load, broker):
    text = re.sub(r"broker: .*", f"broker: {broker}", GOOD)
    told = mistake(load, text)
    assert "collector.yaml:3" in told
    assert "JOULEMARK_COLLECTOR_BROKER__PASSWORD" in told
    assert "canary" not in told


def test_wiring_may_come_from_the_environment(load, monkeypatch, tmp_path):
    monkeypatch.setenv("JOULEMARK_COLLECTOR_BROKER__URL", "mqtts://other.example")
    monkeypatch.setenv("JOULEMARK_COLLECTOR_BROKER__PASSWORD", "canary-7")
    monkeypatch.setenv("JOULEMARK_COLLECTOR_STATE_DIR", str(tmp_path / "elsewhere"))
    settings = load(GOOD)
    assert (settings.broker.port, settings.broker.uses_tls) == (8883, True)
    assert settings.broker.username == "collector"
    assert settings.broker.password.get_secret_value() == "canary-7"
    assert settings.state_dir == tmp_path / "elsewhere"
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JOULEMARK_COLLECTOR_ACCEPT_SIMULATED", "true"),
        ("JOULEMARK_COLLECTOR_OPERATORS", f'["{OPERATOR_KEY}"]'),
        ("JOULEMARK_COLLECTOR_AGENTS", "[]"),
        ("JOULEMARK_COLLECTOR_LIMITS__WAITING_BATCHES", "1"),
        ("JOULEMARK_COLLECTOR_BROKER__URL", "ftp://canary-7"),
        ("JOULEMARK_COLLECTOR_BROKER__COLOUR", "canary-7"),
    ],
)
def test_who_is_trusted_may_not_come_from_the_environment(load, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    told = mistake(load, GOOD)
    assert name in told
    assert "canary" not in told


@pytest.mark.parametrize(
    ("pages", "says"),
    [
        ('{host: "0.0.0.0"}', r"pages: .*need TLS"),
        ('{host: "192.0.2.1", login: false, tls: {certificate: c, key: k}}', r"pages: .*log-in"),
        ('{host: "pages.example"}', r"pages\.host: not an address"),
        ('{host: ""}', r"pages\.host: not an address"),
    ],
)
def test_pages_are_shown_to_others_only_with_tls_and_log_in(load, pages, says):
    told = mistake(load, f"{GOOD}pages: {pages}\n")
    assert re.search(r"collector\.yaml:8: " + says, told), told


def test_the_files_of_the_pages_lie_beside_the_collectors_file(load, tmp_path):
    tls = '{host: "0.0.0.0", tls: {certificate: tls/c.pem, key: tls/k.pem}}'
    pages = load(f"{GOOD}pages: {tls}\n").pages
    assert pages.tls.certificate == tmp_path / "tls/c.pem"


def test_pages_are_on_loopback_by_default_and_can_be_left_out(load, tmp_path):
    assert load(GOOD).pages.host == "127.0.0.1"
    assert load(f"{GOOD}pages: null\n").pages is None
    settings = load(f'{GOOD}pages: {{host: "::1", port: 81}}\nprojects: [{{report: out}}]\n')
    assert (settings.pages.host, settings.pages.port) == ("::1", 81)
    assert settings.projects[0].report == tmp_path / "out"


def test_a_missing_file_is_one_clear_message(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_collector(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["a: &x 1\nb: *x\n", "- 1\n", "\xff", "a: [" * 50])
def test_hostile_yaml_is_refused(tmp_path, text):
    path = tmp_path / "collector.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError):
        load_collector(path)


def test_keys_of_the_right_owner_only(load):
    text = GOOD.replace(OPERATOR_KEY, encode64(public_key(FOREIGN.operator)))
    assert load(text).registry.operators == {public_key(FOREIGN.operator)}


def test_the_series_is_embedded_unless_the_file_says_otherwise(load):
    assert load(GOOD).series.kind == "embedded"
    series = load(GOOD + 'series: {kind: victoriametrics, url: "http://127.0.0.1:8428"}\n').series
    assert (series.kind, series.url) == ("victoriametrics", "http://127.0.0.1:8428")
    assert (series.org, series.bucket) == ("joulemark", "joulemark")


@pytest.mark.parametrize(
    ("series", "told"),
    [
        ("{kind: victoriametrics}", "needs the url"),
        ('{url: "http://127.0.0.1:8428"}', "embedded series has no url"),
        ('{kind: influx, url: "127.0.0.1:8086"}', "not the address of a server"),
        ('{kind: flux, url: "http://127.0.0.1:8086"}', "embedded"),
        ('{kind: influx, url: "http://127.0.0.1:8086", token: canary-7}', "SERIES__TOKEN"),
        ('{kind: influx, url: "http://me:canary-7@127.0.0.1:8086"}', "SERIES__TOKEN"),
    ],
)
def test_a_series_that_cannot_be_is_refused_without_showing_a_secret(load, series, told):
    found = mistake(load, GOOD + f"series: {series}\n")
    assert told in found
    assert "canary" not in found


def test_where_the_series_is_may_come_from_the_environment_and_its_token_only_from_there(
    load, monkeypatch
):
    monkeypatch.setenv("JOULEMARK_COLLECTOR_SERIES__URL", "http://192.0.2.7:8086")
    monkeypatch.setenv("JOULEMARK_COLLECTOR_SERIES__TOKEN", "canary-7")
    settings = load(GOOD + 'series: {kind: influx, url: "http://127.0.0.1:8086"}\n')
    assert settings.series.url == "http://192.0.2.7:8086"
    assert settings.series.token.get_secret_value() == "canary-7"
    assert "canary" not in repr(settings)
    for name, value in (("URL", "ftp://canary-7"), ("KIND", "embedded")):
        monkeypatch.setenv(f"JOULEMARK_COLLECTOR_SERIES__{name}", value)
        found = mistake(load, GOOD)
        assert f"SERIES__{name}" in found
        assert "canary" not in found
        monkeypatch.delenv(f"JOULEMARK_COLLECTOR_SERIES__{name}")


@pytest.mark.parametrize("token", ["canary-7\n", "canary-7\r", "canary 7", "canary-\uae08"])
def test_a_token_that_no_header_takes_is_refused_without_showing_it(load, monkeypatch, token):
    """Else the error of the header shows it in the log, and the series stops for good."""
    monkeypatch.setenv("JOULEMARK_COLLECTOR_SERIES__TOKEN", token)
    found = mistake(load, GOOD + 'series: {kind: influx, url: "http://127.0.0.1:8086"}\n')
    assert "SERIES__TOKEN" in found
    assert "canary" not in found


LEDGER = "{kind: postgresql, url: 'postgresql://joulemark@192.0.2.7/joulemark'}"


def test_the_ledger_is_a_file_unless_the_file_says_otherwise(load, tmp_path):
    pytest.importorskip("psycopg")
    assert load(GOOD).evidence.where == str(tmp_path / "state" / "evidence.sqlite")
    assert not load(GOOD).evidence.is_shared
    ledger = load(f"{GOOD}ledger: {LEDGER}\n").evidence
    assert ledger.where == "postgresql://192.0.2.7/joulemark"
    assert ledger.is_shared


@pytest.mark.parametrize(
    ("ledger", "told"),
    [
        ("{kind: postgresql}", "needs the url of the database"),
        ("{url: 'postgresql://a@h/d'}", "the ledger in state_dir has no url"),
        ("{kind: postgresql, url: 'http://192.0.2.7/d'}", "not the address of a database"),
        ("{kind: postgresql, url: 'postgresql://192.0.2.7'}", "not the address of a database"),
        ("{kind: postgresql, url: 'postgresql://h/d?options=-c'}", "set by the collector"),
        ("{kind: postgresql, url: 'postgresql://a:canary-7@h/d'}", "does not belong in a file"),
        ("{kind: postgresql, url: 'postgresql://h/d?password=canary-7'}", "not belong in a file"),
        ("{kind: postgresql, password: canary-7}", "LEDGER__PASSWORD"),
    ],
)
def test_a_ledger_that_cannot_be_is_refused_without_showing_a_secret(load, ledger, told):
    found = mistake(load, f"{GOOD}ledger: {ledger}\n")
    assert told in found
    assert "canary-7" not in found


def test_the_password_of_the_ledger_comes_from_the_environment_and_is_not_shown(load, monkeypatch):
    pytest.importorskip("psycopg")
    monkeypatch.setenv("JOULEMARK_COLLECTOR_LEDGER__PASSWORD", "canary-7")
    monkeypatch.setenv("JOULEMARK_COLLECTOR_LEDGER__URL", "postgresql://joulemark@db/other")
    settings = load(f"{GOOD}ledger: {LEDGER}\n")
    assert settings.ledger.password.get_secret_value() == "canary-7"
    assert settings.evidence.where == "postgresql://db/other"
    assert "canary-7" not in repr(settings) + repr(settings.evidence)


def test_old_batches_may_be_objects(load, tmp_path):
    pytest.importorskip("fsspec")
    assert load(GOOD).evidence.outside is None
    ledger = load(GOOD + "ledger: {objects: blocks}\n").evidence
    assert ledger.outside.url == str(tmp_path / "state" / "blocks")
    found = mistake(load, GOOD + "ledger: {objects: 's3://me:canary-7@bucket/x'}\n")
    assert "ledger.objects holds a password" in found
    assert "canary-7" not in found


def test_a_report_may_be_at_an_address(load, tmp_path):
    url = "s3://bucket/joulemark/pump-house"
    shown = load(GOOD + f"projects: [{{report: '{url}'}}, {{report: out}}]\n").projects
    assert [one.report for one in shown] == [url, tmp_path / "out"]
    found = mistake(load, GOOD + "projects: [{report: 's3://me:canary-7@bucket/x'}]\n")
    assert "projects.0.report holds a password" in found
    assert "canary-7" not in found


def test_a_collector_without_a_series_shows_no_pages(load):
    needed = "pages, projects and costs need the series"
    assert needed in mistake(load, GOOD + "series: {kind: none}\n")
    assert load(GOOD + "series: {kind: none}\npages: null\n").series.url is None
    told = mistake(load, GOOD + "series: {kind: none, url: 'http://h:1'}\npages: null\n")
    assert "the embedded series has no url" in told


def test_collectors_that_share_what_arrives_share_a_ledger(load):
    shared = GOOD.replace("username: collector", "username: collector, group: collect")
    assert "each collector gets a part of the batches" in mistake(load, shared)
    assert load(f"{shared}ledger: {LEDGER}\n").broker.group == "collect"
