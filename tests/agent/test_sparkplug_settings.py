"""The key `sparkplug` of a site file: what may stand there, and what is said of what may not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.settings import SiteSettings, load_site, site_document
from joulemark_agent.site_sections import SparkplugSettings
from joulemark_agent.sparkplug.session import Session
from joulemark_agent.sparkplug.site import session_of

SECRET = "hunter2-hunter2"
WHOLE = {
    "url": "mqtts://192.0.2.10:8883",
    "group_id": "works 1",
    "edge_node_id": "gateway-1",
    "primary_host": "scada",
    "buffered": "20000",
    "username": "edge",
    "tls": "{ca: broker.pem}",
}
LEAST = {"url": "mqtt://192.0.2.10", "group_id": "works"}
SITE = """\
site: gwangyang
agent: edge-1
time_zone: Asia/Seoul
{mode}
factors: {{set: korea, rule_set: ESG, jurisdiction: KR}}
uplink: {{url: "mqtt://127.0.0.1:1883"}}
sparkplug:
{sparkplug}
devices:
  - {{id: meter, profile: virtual_main_meter, url: "modbus-tcp://127.0.0.1:5020", unit: 1,
     period_s: 60}}
"""


def written(folder: Path, keys: dict[str, str], mode: str = "") -> Path:
    path = folder / "site.yaml"
    rows = "\n".join(f"  {name}: {value}" for name, value in keys.items())
    path.write_text(SITE.format(sparkplug=rows, mode=mode))
    return path


def loaded(folder: Path, keys: dict[str, str], mode: str = "") -> SiteSettings:
    return load_site(written(folder, keys, mode))


def test_every_key_is_tested_here() -> None:
    tested = {*WHOLE, "password", "values_leave"}
    assert tested == SparkplugSettings.model_fields.keys()


def test_what_is_written_is_what_the_session_uses(tmp_path: Path) -> None:
    settings = loaded(tmp_path, WHOLE)
    found = settings.sparkplug
    assert found is not None
    assert (found.url, found.group_id, found.edge_node_id) == (
        "mqtts://192.0.2.10:8883", "works 1", "gateway-1",
    )  # fmt: skip
    assert (found.primary_host, found.buffered, found.username) == ("scada", 20_000, "edge")
    session = session_of(settings, [])
    assert isinstance(session, Session)
    assert (session._node.group, session._node.name) == ("works 1", "gateway-1")
    assert session._login.tls is not None
    assert session._login.tls.ca == tmp_path / "broker.pem"


def test_what_is_not_written_has_a_default(tmp_path: Path) -> None:
    settings = loaded(tmp_path, LEAST)
    found = settings.sparkplug
    assert found is not None
    assert (found.primary_host, found.buffered, found.tls, found.values_leave) == (
        None, 10_000, None, False,
    )  # fmt: skip
    session = session_of(settings, [])
    assert session is not None
    assert (session._node.name, session._login.username) == ("edge-1", None)


def test_it_is_wiring_and_no_evidence(tmp_path: Path) -> None:
    assert site_document(loaded(tmp_path, WHOLE)) == site_document(loaded(tmp_path, LEAST))
    assert b"sparkplug" not in site_document(loaded(tmp_path, LEAST))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("url", "http://192.0.2.10", "write it as 'mqtt://192.0.2.10:1883'"),
        ("url", "mqtt://192.0.2.10/topic", "write it as 'mqtt://192.0.2.10:1883'"),
        ("group_id", "a/b", "write 1 to 100 of"),
        ("group_id", '"a+"', "write 1 to 100 of"),
        ("group_id", '"#"', "write 1 to 100 of"),
        ("group_id", '""', "write 1 to 100 of"),
        ("group_id", '" a"', "write 1 to 100 of"),
        ("group_id", "STATE", "is taken by the hosts"),
        ("edge_node_id", "gateway/1", "write 1 to 100 of"),
        ("edge_node_id", "x" * 101, "write 1 to 100 of"),
        ("primary_host", "two+", "write 1 to 100 of"),
        ("buffered", "0", "greater than or equal to 1"),
        ("buffered", "1000001", "less than or equal to 1000000"),
        ("buffered", "many", "integer"),
        ("tls", "{}", "needs an 'url' that begins with mqtts://"),
        ("tls", "{authority: a.pem}", "tls.authority"),
        ("values_leave", "true", "only for 'evidence: committed'; remove it"),
        ("values_leave", "perhaps", "boolean"),
        ("topic", "spBv1.0", "sparkplug.topic"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_line_and_what_to_write(
    tmp_path: Path, key: str, value: str, said: str
) -> None:
    path = written(tmp_path, {**LEAST, key: value})
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        load_site(path)
    lines = path.read_text().splitlines()
    at = next(i for i, line in enumerate(lines, 1) if line.startswith(f"  {key}:"))
    assert f"site.yaml:{at}:" in str(caught.value)


@pytest.mark.parametrize("key", ["url", "group_id"])
def test_what_must_be_there_is_told(tmp_path: Path, key: str) -> None:
    keys = {name: value for name, value in LEAST.items() if name != key}
    with pytest.raises(ConfigError, match=rf"sparkplug\.{key}: .*required"):
        loaded(tmp_path, keys)


@pytest.mark.parametrize(
    ("key", "value"), [("password", SECRET), ("url", f"mqtt://edge:{SECRET}@192.0.2.10")]
)
def test_a_password_in_the_file_is_refused_and_not_repeated(
    tmp_path: Path, key: str, value: str
) -> None:
    with pytest.raises(ConfigError, match="does not belong in a file") as caught:
        loaded(tmp_path, {**LEAST, key: value})
    assert "JOULEMARK_SPARKPLUG__PASSWORD" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_the_environment_gives_the_password_and_replaces_the_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOULEMARK_SPARKPLUG__PASSWORD", SECRET)
    monkeypatch.setenv("JOULEMARK_SPARKPLUG__USERNAME", "other")
    monkeypatch.setenv("JOULEMARK_SPARKPLUG__URL", "mqtts://broker.example")
    settings = loaded(tmp_path, WHOLE)
    session = session_of(settings, [])
    assert session is not None
    assert (session._login.username, session._login.password) == ("other", SECRET)
    assert session._login.url == "mqtts://broker.example"
    assert SECRET not in repr(settings)


@pytest.mark.parametrize("key", ["GROUP_ID", "VALUES_LEAVE", "PRIMARY_HOST", "BUFFERED"])
def test_the_environment_replaces_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(f"JOULEMARK_SPARKPLUG__{key}", "true")
    with pytest.raises(ConfigError, match="the environment may not replace this"):
        loaded(tmp_path, LEAST)


def test_a_password_without_a_section_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, {})
    path.write_text(path.read_text().replace("sparkplug:\n", ""))
    monkeypatch.setenv("JOULEMARK_SPARKPLUG__PASSWORD", SECRET)
    with pytest.raises(ConfigError, match="has no section 'sparkplug'; write it, or") as caught:
        load_site(path)
    assert SECRET not in str(caught.value)


def test_values_leave_a_site_of_committed_evidence_only_where_it_says_so(tmp_path: Path) -> None:
    committed = "evidence: committed"
    with pytest.raises(ConfigError, match="write 'values_leave: true' if it may, or remove") as no:
        loaded(tmp_path, LEAST, committed)
    assert "mqtt://192.0.2.10" in str(no.value)
    settings = loaded(tmp_path, {**LEAST, "values_leave": "true"}, committed)
    assert settings.sparkplug is not None
    assert settings.sparkplug.values_leave
