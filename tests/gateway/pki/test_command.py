"""The commands, where nothing runs: what is made by hand, listed, and told to go wrong."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from joulemark_agent.cli import main
from joulemark_agent.contract.enrolment import Application, parse_token, proof_message
from joulemark_agent.contract.signature import encode64, fingerprint, public_key, sign
from joulemark_agent.tls import new_key, own_certificate, signing_request
from joulemark_gateway.ingest.registered import Agent, Registry
from joulemark_gateway.pki import enrolments
from joulemark_gateway.pki.authority import Role, common_name
from joulemark_gateway.pki.mosquitto import ACL
from joulemark_gateway.pki.records import Applied, Records
from joulemark_gateway.pki.rights import active_agents, register, withdraw_certificates
from joulemark_gateway.pki.running import renew_ours, tell_expiry
from joulemark_gateway.pki.settings import ca_folder, own_file
from joulemark_gateway.pki.site_ca import SiteCa
from joulemark_gateway.registry import read_added
from joulemark_gateway.settings import load_collector
from support.evidence import FOREIGN, KEYS
from support.identities import HOST, now
from support.joining import AGENT, DEVICES, SITE, site

FILE = """\
broker: {{url: "mqtts://{host}", tls: {{}}, config: broker}}
enrolment: {{}}
pages: null
operators: ["{operator}"]
agents: [{{agent: {agent}, site: {site}, key: "{key}", devices: [{devices}]}}]
"""


class Place:
    """A collector's file, and its commands."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.file, self._capsys = folder / "collector.yaml", capsys
        keys = {"operator": KEYS.operator, "key": KEYS.agent}
        shown = {name: encode64(public_key(key)) for name, key in keys.items()}
        self.file.write_text(
            FILE.format(host=HOST, agent=AGENT, site=SITE, devices=", ".join(DEVICES), **shown)
        )

    def run(self, *words: str, code: int = 0) -> str:
        """What a command says; of one that fails, its error."""
        self._capsys.readouterr()
        assert main([*words, "-c", str(self.file)]) == code
        said = self._capsys.readouterr()
        return said.err if code == 2 else said.out

    def told(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code))


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(tmp_path, capsys)


@pytest.fixture
def made(place: Place) -> Place:
    place.run("collector", "ca", "init", "--host", HOST)
    return place


def test_an_authority_is_made_once_and_missed_before(place):
    assert "collector ca init" in place.run("collector", "enrolments", code=2)
    made = place.told("collector", "ca", "init")
    settings = load_collector(place.file)
    assert own_file(settings.state_dir) == Path(made["collector"])
    assert "already" in place.run("collector", "ca", "init", code=2)


def test_a_certificate_is_carried_there_and_back_by_commands(made, tmp_path):
    gateway = tmp_path / "gateway"
    gateway.mkdir()
    site(gateway, pinned=public_key(KEYS.witness))
    agent, csr, back = str(gateway / f"{AGENT}.yaml"), tmp_path / "csr", tmp_path / "back.pem"
    assert main(["agent", "enroll", "-c", agent, "--csr", str(csr)]) == 0
    issue = ["collector", "ca", "issue", "agent"]
    files = ["--csr", str(csr), "--out", str(back)]
    assert "not registered" in made.run(*issue, "edge-9", *files, code=2)
    assert "its id, its request" in made.run(*issue, AGENT, code=2)
    assert str(back) in made.run(*issue, AGENT, *files, "--days", "30")
    assert main(["agent", "enroll", "-c", agent, "--certificate", str(back)]) == 0
    found = own_certificate(gateway / AGENT / "tls" / "agent.pem")
    assert common_name(found) == AGENT
    assert (found.not_valid_after_utc - now()).days in {29, 30}


def test_a_client_and_a_server_are_given_files_with_their_keys(made, tmp_path):
    client, server = tmp_path / "client.pem", tmp_path / "server.pem"
    made.run("collector", "ca", "issue", "client", "office", "--out", str(client))
    made.run("collector", "ca", "issue", "broker", "--host", HOST, "--out", str(server))
    assert common_name(own_certificate(client)) == "client.office"
    assert common_name(own_certificate(server)) == "joulemark.broker"
    for path in (client, server):
        assert path.stat().st_mode & 0o077 == 0
        assert b"PRIVATE KEY" in path.read_bytes()
    assert "--out" in made.run("collector", "ca", "issue", "broker", "--host", HOST, code=2)


def test_what_is_done_at_the_console_stands_in_the_security_log(made, tmp_path):
    made.run("broker", "config", "--out", str(tmp_path / "broker"), "--host", HOST)
    made.run("collector", "ca", "issue", "client", "office", "--out", str(tmp_path / "c.pem"))
    words = ["collector", "enroll-token", "edge-2", "--site", SITE, "--devices", "press"]
    token = parse_token(made.told(*words)["token"])
    settings = load_collector(made.file)
    csr = signing_request(new_key(), "edge-2")
    proof = sign(FOREIGN.agent, proof_message(SITE, "edge-2", csr))
    key = public_key(FOREIGN.agent)
    with SiteCa(ca_folder(settings.state_dir)) as ca:
        sent = Application(SITE, "edge-2", ("press",), key, csr, proof, token.secret)
        number = enrolments.apply(ca.records, sent, now())
    made.run("collector", "enrolments", "approve", number)
    made.run("collector", "revoke", "edge-2", "--reason", "lost")
    made.run("collector", "ca", "revoke", "client.office")
    made.run("collector", "ca", "renew", "--within", "400")
    lines = made.run("collector", "events").splitlines()
    told = [line.split(" ", 1)[1] for line in lines]
    assert [text.partition(":")[0] for text in told] == [
        "authority_made", "certificate_issued", "certificate_issued", "agent_invited",
        "agent_approved", "agent_revoked", "certificates_revoked", "certificate_issued",
        "certificate_issued",
    ]  # fmt: skip
    assert all("at the console" in text for text in told)
    assert fingerprint(key) in told[4]
    assert "edge-2: lost" in told[5]
    assert token.secret.hex() not in "".join(told)
    assert "as it was written" in made.run("collector", "events", "--check")


def test_what_ends_soon_is_listed_renewed_and_told(made, tmp_path, caplog):
    made.run("broker", "config", "--out", str(tmp_path / "broker"), "--host", HOST, "--days", "20")
    listed = made.told("collector", "ca", "list", code=1)
    assert listed["ends_soon"] == ["broker"]
    settings = load_collector(made.file)
    with caplog.at_level(logging.WARNING):
        tell_expiry(settings, now())
    [record] = [r for r in caplog.records if r.getMessage() == "certificate_expires"]
    assert "ca renew" in vars(record)["do"]
    assert made.told("collector", "ca", "renew")["renewed"] == [str(tmp_path / "broker/broker.pem")]
    assert made.told("collector", "ca", "renew")["renewed"] == []
    assert made.told("collector", "ca", "list")["ends_soon"] == []
    assert "Nothing ends soon" in made.run("collector", "ca", "renew")


def test_a_certificate_that_systemd_hands_over_is_not_made_anew_every_day(
    made, tmp_path, monkeypatch
):
    settings = load_collector(made.file)
    with SiteCa(ca_folder(settings.state_dir)) as ca:
        ca.equip(own_file(settings.state_dir), Role.COLLECTOR, now(), days=20, within_days=None)
        before = len(ca.records.issued())
        handed = tmp_path / "credentials"
        handed.mkdir()
        (handed / "collector.pem").write_bytes(own_file(settings.state_dir).read_bytes())
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
        renew_ours(settings, now())
        assert len(ca.records.issued()) == before
        monkeypatch.delenv("CREDENTIALS_DIRECTORY")
        renew_ours(settings, now())
        assert len(ca.records.issued()) == before + 1


def test_a_running_collector_renews_what_ends_soon_where_it_has_the_key(made, tmp_path, caplog):
    broker = ["broker", "config", "--out", str(tmp_path / "broker"), "--host", HOST]
    made.run(*broker, "--days", "20")
    settings = load_collector(made.file)
    key, away = ca_folder(settings.state_dir) / "ca.key", tmp_path / "safe"
    key.rename(away)
    renew_ours(settings, now())
    assert made.told("collector", "ca", "list", code=1)["ends_soon"] == ["broker"]
    away.rename(key)
    with caplog.at_level(logging.INFO):
        renew_ours(settings, now())
    assert made.told("collector", "ca", "list")["ends_soon"] == []
    [record] = [r for r in caplog.records if r.getMessage() == "certificate_renewed"]
    assert vars(record)["path"] == str(tmp_path / "broker/broker.pem")


def test_what_cannot_be_renewed_is_told_and_stops_nothing(made, caplog):
    settings = load_collector(made.file)
    own_file(settings.state_dir).write_text("no certificate")
    renew_ours(settings, now())
    [record] = [r for r in caplog.records if r.getMessage() == "certificate_not_renewed"]
    assert str(own_file(settings.state_dir)) in vars(record)["what"]


def test_a_certificate_is_taken_back_and_the_broker_told(made, tmp_path):
    made.run("broker", "config", "--out", str(tmp_path / "broker"), "--host", HOST)
    crl = tmp_path / "crl.pem"
    made.run("collector", "ca", "crl", "--out", str(crl))
    made.run("collector", "ca", "issue", "client", "office", "--out", str(tmp_path / "c.pem"))
    before = crl.read_bytes()
    assert made.told("collector", "ca", "revoke", "client.office")["revoked"] == 1
    made.run("collector", "ca", "crl", "--out", str(crl))
    assert crl.read_bytes() != before
    assert made.told("collector", "ca", "revoke", "client.office", code=1)["revoked"] == 0
    assert f"user {AGENT}\n" in (tmp_path / "broker" / ACL).read_text()


def test_a_token_is_for_ids_and_for_a_quarter_of_an_hour(made):
    words = ["collector", "enroll-token", "edge-2", "--site", SITE, "--devices"]
    assert made.told(*words, "press, oven")["token"].startswith("joulemark1.")
    assert "cannot be the id" in made.run(*words, "press,../oven", code=2)
    assert "Choose 1 to 15" in made.run(*words, "press", "--minutes", "60", code=2)
    assert "Nobody has applied" in made.run("collector", "enrolments")
    assert "No pending" in made.run("collector", "enrolments", "approve", "abc", code=2)


def test_a_token_never_stands_in_the_arguments(tmp_path, capsys):
    path = site(tmp_path).state_dir.with_suffix(".yaml")
    words = ["agent", "enroll", "-c", str(path)]
    assert main([*words, "--collector", "https://a:1"]) == 2
    assert main([*words, "--token-file", "a"]) == 2
    assert "go together" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--token", "joulemark1.secret"])
    token = f"joulemark1.{'7' * 64}.{'0' * 64}"
    assert main([*words, "--collector", "https://a:1", "--token-file", token]) == 2
    assert "7777" not in capsys.readouterr().err
    (tmp_path / "token").write_text("joulemark1.nonsense")
    words += ["--collector", "https://a:1", "--token-file", str(tmp_path / "token")]
    assert main(words) == 2
    assert "nonsense" not in capsys.readouterr().err


# ---------------------------------------------------- registry and certificates


def applied(agent: str, key: bytes, devices: tuple[str, ...] = DEVICES) -> Applied:
    return Applied("1", SITE, agent, devices, public_key(key), b"", now(), now(), "pending", None)


def test_who_joins_is_registered_unless_the_file_says_otherwise(made):
    settings = load_collector(made.file)
    register(settings, applied(AGENT, KEYS.agent))
    assert not read_added(settings.state_dir).agents, "it stands in the file just so"
    register(settings, applied("edge-2", FOREIGN.agent, ("press",)))
    assert set(read_added(settings.state_dir).agents) == {"edge-2"}
    for name, key, devices in (
        (AGENT, FOREIGN.agent, DEVICES),  # another key than in the file
        (AGENT, KEYS.agent, ("meter",)),  # other devices
        ("edge-3", KEYS.agent, ("oven",)),  # somebody else's key
        ("edge-3", KEYS.witness, ("press",)),  # somebody else's device
    ):
        with pytest.raises(Exception, match="edge-"):
            register(settings, applied(name, key, devices))


def test_rights_end_with_the_key_or_with_the_last_certificate(made):
    settings = load_collector(made.file)
    assert made.run("collector", "ca", "list")
    other = Agent("edge-2", SITE, public_key(FOREIGN.agent), frozenset({"press"}))
    registry = Registry({**settings.registry.agents, "edge-2": other}, frozenset())
    with SiteCa(ca_folder(settings.state_dir)) as ca:
        assert {agent.agent for agent in active_agents(registry, ca.records)} == {AGENT, "edge-2"}
    assert withdraw_certificates(settings, "edge-2", now()) == 0
    made.run("collector", "revoke", AGENT)
    with Records(ca_folder(settings.state_dir)) as records:
        registry = read_added(settings.state_dir).to(settings.registry)
        assert active_agents(registry, records) == []
    with pytest.raises(Exception, match="is revoked"):
        register(settings, applied(AGENT, KEYS.agent))


def test_without_an_authority_there_is_nothing_to_take_back(place):
    assert withdraw_certificates(load_collector(place.file), AGENT, now()) is None


def test_a_certificate_that_was_replaced_holds_until_it_ends(made):
    settings = load_collector(made.file)
    with SiteCa(ca_folder(settings.state_dir)) as ca:
        [first] = ca.records.issued("joulemark.collector")
        made.run("collector", "ca", "renew", "--within", "400")
        assert [one.revoked for one in ca.records.issued("joulemark.collector")] == [None, None]
        assert first.until - now() > timedelta(days=364)
