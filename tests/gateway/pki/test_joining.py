"""An agent joins over the network and renews: with real TLS, from the agent's own commands."""

from __future__ import annotations

import itertools
import logging
import ssl
import stat
import threading
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from joulemark_agent import enrolment
from joulemark_agent.cli import main
from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.enrolment import Token, parse_message, parse_token
from joulemark_agent.contract.errors import ConfigError, EvidenceError, UplinkError
from joulemark_agent.contract.signature import encode64, public_key, sign
from joulemark_agent.enrolment import join, pinned_collector, renew
from joulemark_agent.keys import Key
from joulemark_agent.settings import SiteSettings
from joulemark_agent.tls import (
    TlsFiles,
    client_context,
    key_pem,
    new_key,
    own_certificate,
    signing_request,
)
from joulemark_gateway.ingest.registered import Agent
from joulemark_gateway.pki.authority import (
    Role,
    agent_holder,
    common_name,
    issue,
    requested_key,
    server_holder,
)
from joulemark_gateway.pki.contexts import server_context
from joulemark_gateway.pki.enrolments import new_token, refuse
from joulemark_gateway.pki.records import FILE, Invited
from joulemark_gateway.pki.service import FREE_TRIES, MOST_A_DAY
from joulemark_gateway.pki.site_ca import pem, written
from joulemark_gateway.web.listener import Listener
from support.evidence import FOREIGN, KEYS, WITNESS
from support.identities import HOST, now, plant_ca
from support.joining import AGENT, SITE, WITNESS_KEY, Joinable, evidence_key, joinable, site


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Joinable]:
    hours_s = itertools.count(0.0, 3600.0)  # wrong tokens of other tests are long ago
    with (
        plant_ca(tmp_path_factory.mktemp("collector")) as plant,
        joinable(plant, now_s=hours_s.__next__) as found,
    ):
        yield found


def joined(place: Joinable, folder: Path, agent: str = AGENT) -> SiteSettings:
    """An agent that has joined, its files written as joining writes them."""
    settings, own = site(folder, agent), new_key()
    made = place.ca.certify(own.public_key(), agent_holder(SITE, agent), now(), 365)
    remembered = {"key": encode64(WITNESS_KEY), "name": WITNESS, "url": place.url}
    enrolment._kept(settings, own, made, place.ca.authority.certificate, remembered)
    devices = frozenset(device.id for device in settings.devices)
    place.registered[agent] = Agent(agent, SITE, evidence_key(settings).public, devices)
    return settings


def test_an_agent_joins_and_the_key_stays_where_it_was_made(place, tmp_path):
    settings = site(tmp_path)
    done = join(settings, evidence_key(settings), place.url, place.token(), sleep=place.approve)
    files = enrolment.enrolled_files(settings.state_dir)
    assert done.certificate == files.certificate
    made = own_certificate(files.certificate)
    key = load_pem_private_key(files.certificate.read_bytes(), None)
    assert key.public_key() == made.public_key()
    assert common_name(made) == AGENT
    assert files.ca.read_bytes() == place.ca.certificate_pem
    assert pinned_collector(settings) == (WITNESS, WITNESS_KEY)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files.ca.parent.iterdir()}
    assert modes == {"agent.pem": 0o600, "ca.pem": 0o600, "collector.json": 0o600}
    client_context(files)  # it can be used
    known = place.registered[AGENT]
    assert (known.key, known.site, known.devices) == (
        evidence_key(settings).public, SITE, {"furnace", "meter"},
    )  # fmt: skip
    record = (place.ca.folder / FILE).read_bytes()
    assert b"PRIVATE" not in record
    assert b"PRIVATE" in files.certificate.read_bytes(), "the search can find one"


def test_joining_again_takes_the_certificates_before_back(place, tmp_path):
    settings = joined(place, tmp_path, "edge-2")
    first = place.ca.records.issued("edge-2")
    token = place.token("edge-2")
    join(settings, evidence_key(settings), place.url, token, sleep=place.approve)
    states = [one.revoked is not None for one in place.ca.records.issued("edge-2")]
    assert [one.revoked is not None for one in first] == [False]
    assert states == [True, False]


def test_a_token_is_taken_once_and_a_newer_one_replaces_it(place, tmp_path):
    settings = site(tmp_path, "edge-3")
    key = evidence_key(settings)
    old, new = place.token("edge-3"), place.token("edge-3")
    with pytest.raises(UplinkError) as caught:
        join(settings, key, place.url, old, sleep=place.approve)
    assert caught.value.code == "no_token"
    join(settings, key, place.url, new, sleep=place.approve)
    with pytest.raises(UplinkError) as caught:
        join(settings, key, place.url, new, sleep=place.approve)
    assert caught.value.code == "no_token"


def test_of_many_who_use_one_token_at_once_one_gets_in(place, tmp_path):
    token, results = place.token("edge-4"), []

    def attempt(number: int) -> None:
        folder = tmp_path / f"{number}"
        folder.mkdir()
        settings = site(folder, "edge-4")
        with pytest.raises(UplinkError) as caught:  # nobody approves: the one who got in waits
            join(settings, evidence_key(settings), place.url, token, wait_s=0.0)
        results.append(caught.value.code)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["no_token"] * 3 + ["not_approved"]


def test_a_token_of_too_long_ago_lets_nobody_in(place, tmp_path):
    settings = site(tmp_path, "edge-5")
    for minutes, code in ((14, "not_approved"), (15, "no_token")):
        token = place.token("edge-5", at=now() - timedelta(minutes=minutes))
        with pytest.raises(UplinkError) as caught:
            join(settings, evidence_key(settings), place.url, token, wait_s=0.0)
        assert caught.value.code == code
    with pytest.raises(ConfigError, match="16 minutes"):
        new_token(place.ca.records, Invited(SITE, AGENT, ("a",)), "0" * 64, now(), 16)


def test_a_token_is_for_one_agent_and_its_devices_and_outlives_a_mistake(place, tmp_path):
    settings, key = site(tmp_path, "edge-6"), Key(KEYS.agent, public_key(KEYS.agent))
    for agent, devices, code in (
        ("edge-7", ("furnace", "meter"), "not_invited"),
        ("edge-6", ("meter",), "other_devices"),
        ("edge-6", ("meter", "furnace", "third"), "other_devices"),
    ):
        with pytest.raises(UplinkError) as caught:
            join(settings, key, place.url, place.token(agent, devices), wait_s=0.0)
        assert caught.value.code == code
    token = place.token("edge-6", ("meter",))
    with pytest.raises(UplinkError):
        join(settings, key, place.url, token, wait_s=0.0)
    assert place.ca.records.invited(token.secret, now()) is not None
    assert not place.ca.records.issued("edge-6")


def test_a_request_that_the_evidence_key_did_not_sign_is_refused(place, tmp_path, monkeypatch):
    """Who stole a token and swaps the TLS key cannot keep the fingerprint that is compared."""
    settings, key = site(tmp_path, "edge-8"), Key(KEYS.agent, public_key(KEYS.agent))
    monkeypatch.setattr(enrolment, "sign", lambda _key, message: sign(FOREIGN.agent, message))
    with pytest.raises(UplinkError) as caught:
        join(settings, key, place.url, place.token("edge-8"), wait_s=0.0)
    assert caught.value.code == "bad_proof"


class Impostor:
    """Serves another certificate of the same authority, and notes what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes] = []

    async def __call__(self, _scope, receive, send) -> None:
        message = await receive()
        self.told.append(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": canonical_bytes({"state": "refused"})})


def test_an_impostor_is_told_nothing(place, tmp_path):
    """Not even one who has a certificate of the same authority; without the check it gets all."""
    own = tmp_path / "impostor.pem"
    place.ca.equip(own, Role.COLLECTOR, now(), hosts=[HOST])
    impostor, token = Impostor(), place.token("edge-9")
    listener = Listener("impostor", lambda: impostor, HOST, 0, tls=server_context(own))
    settings = site(tmp_path, "edge-9")
    url = listener.url.rstrip("/")
    try:
        with pytest.raises(EvidenceError) as caught:
            join(settings, evidence_key(settings), url, token, wait_s=0.0)
        assert caught.value.code == "other_collector"
        assert impostor.told == []
        naive = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        naive.check_hostname, naive.verify_mode = False, ssl.CERT_NONE
        enrolment._Collector(url, naive).ask("enrol", b"the secret")
        assert impostor.told == [b"the secret"]
    finally:
        listener.stop()


def test_a_secret_stands_nowhere_but_in_the_token(place, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    token, settings = place.token("edge-10"), site(tmp_path, "edge-10")
    join(settings, evidence_key(settings), place.url, token, sleep=place.approve)
    with pytest.raises(UplinkError) as caught:
        join(settings, evidence_key(settings), place.url, token)
    secret = token.secret.hex()
    said = f"{caught.value} {token!r} {[vars(record) for record in caplog.records]}"
    assert secret not in said
    kept = [*place.ca.folder.iterdir(), *settings.state_dir.rglob("*")]
    held = b"".join(path.read_bytes() for path in kept if path.is_file())
    assert secret.encode() not in held
    assert token.secret not in held
    assert sha256(token.secret).digest() in held, "the search looks where it would be"
    with pytest.raises(EvidenceError) as refused:
        parse_token(token.text[:-1])
    assert secret not in str(refused.value)


def test_after_some_wrong_tokens_an_address_has_to_wait(tmp_path):
    clock = [0.0]
    with plant_ca(tmp_path) as plant, joinable(plant, now_s=lambda: clock[0]) as place:
        settings = site(tmp_path)
        key, good = evidence_key(settings), place.token()
        codes = []
        for number in range(FREE_TRIES + 1):
            wrong = Token(bytes([number]) * 32, good.fingerprint)
            with pytest.raises(UplinkError) as caught:
                join(settings, key, place.url, wrong)
            codes.append(caught.value.code)
        assert codes == ["no_token"] * FREE_TRIES + ["too_often"]
        with pytest.raises(UplinkError) as caught:
            join(settings, key, place.url, good)
        assert caught.value.code == "too_often", "not even the right one is looked at"
        clock[0] += 60.0
        join(settings, key, place.url, good, sleep=place.approve)


def test_who_is_refused_gets_nothing(place, tmp_path):
    settings = site(tmp_path, "edge-11")

    def refused(_wait_s: float) -> None:
        [waits] = [one for one in place.ca.records.applications(now()) if one.agent == "edge-11"]
        refuse(place.ca.records, waits.id, now())

    with pytest.raises(UplinkError) as caught:
        join(settings, evidence_key(settings), place.url, place.token("edge-11"), sleep=refused)
    assert caught.value.code == "enrolment_refused"
    assert not (settings.state_dir / "tls").exists()


def test_a_collector_with_another_key_than_the_site_file_names_changes_nothing(place, tmp_path):
    settings = site(tmp_path, "edge-12", pinned=public_key(FOREIGN.witness))
    token = place.token("edge-12")
    with pytest.raises(EvidenceError) as caught:
        join(settings, evidence_key(settings), place.url, token, sleep=place.approve)
    assert caught.value.code == "not_ours"
    assert not (settings.state_dir / "tls").exists()
    assert pinned_collector(settings) == (WITNESS, public_key(FOREIGN.witness))


@pytest.mark.parametrize("change", ["key", "name", "authority", "text"])
def test_a_certificate_that_is_not_ours_changes_nothing(place, tmp_path, monkeypatch, change):
    settings = joined(place, tmp_path, "edge-13")
    files = enrolment.enrolled_files(settings.state_dir)
    before = files.certificate.read_bytes()
    ask = enrolment._Collector.ask

    def changed(self, path, body):
        answer = dict(ask(self, path, body))
        if change == "key":
            request = signing_request(new_key(), "edge-13").decode()
            answer = dict(ask(self, path, canonical_bytes({"csr": request})))
        elif change == "name":
            key = requested_key(parse_message(body)["csr"].encode())
            other = place.ca.certify(key, agent_holder(SITE, "edge-14"), now(), 1)
            answer["certificate"] = pem(other).decode()
        elif change == "authority":
            with plant_ca(tmp_path) as stranger:
                answer["ca"] = stranger.ca.certificate_pem.decode()
        else:
            answer["certificate"] = "no certificate"
        return answer

    monkeypatch.setattr(enrolment._Collector, "ask", changed)
    with pytest.raises(EvidenceError) as caught:
        renew(settings)
    assert caught.value.code == "not_ours"
    assert files.certificate.read_bytes() == before


# ------------------------------------------------------------------- renewing


def test_an_agent_renews_with_the_certificate_it_has(place, tmp_path):
    settings = joined(place, tmp_path, "edge-20")
    files = enrolment.enrolled_files(settings.state_dir)
    before = files.certificate.read_bytes()
    renew(settings)
    after = own_certificate(files.certificate)
    assert files.certificate.read_bytes() != before
    assert common_name(after) == "edge-20"
    states = [one.revoked is None for one in place.ca.records.issued("edge-20")]
    assert states == [True, True], "the one before runs out by itself"
    renew(settings)


def other_files(place: Joinable, folder: Path, kind: str) -> TlsFiles:
    """The certificate with which somebody tries to renew the one of `edge-21`."""
    settings = joined(place, folder, "edge-21")
    files = enrolment.enrolled_files(settings.state_dir)
    if kind == "revoked":
        place.ca.records.revoke("edge-21", now())
    elif kind == "unregistered":
        del place.registered["edge-21"]
    elif kind == "expired":
        files = place.plant.expired("edge-21")
    elif kind == "rogue":
        files = place.plant.rogue("edge-21")
    elif kind == "collector":
        files = place.plant.own("strange", server_holder(Role.COLLECTOR, [HOST]))
    elif kind == "forgotten":  # signed by our key, but not in the record
        key = new_key()
        made = issue(place.ca.authority, key.public_key(), agent_holder(SITE, "edge-21"), now())
        path = folder / "forgotten.pem"
        written(path, pem(made) + key_pem(key))
        files = TlsFiles(files.ca, path)
    return files


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("own", None),
        ("revoked", "no_certificate"),
        ("unregistered", "no_certificate"),
        ("expired", "unreachable"),
        ("rogue", "unreachable"),
        ("collector", "no_certificate"),
        ("forgotten", "no_certificate"),
        ("none", "no_certificate"),
    ],
)
def test_nobody_else_renews(place, tmp_path, kind, code):
    files = other_files(place, tmp_path, kind)
    before = len(place.ca.records.issued())
    if kind == "none":
        context = ssl.create_default_context(cafile=str(files.ca))
    else:
        context = client_context(files)
    body = canonical_bytes({"csr": signing_request(new_key(), "edge-21").decode()})
    collector = enrolment._Collector(place.url, context)
    if code is None:
        assert collector.ask("renew", body)["state"] == "approved"
        return
    with pytest.raises(UplinkError) as caught:
        collector.ask("renew", body)
    assert caught.value.code == code
    assert len(place.ca.records.issued()) == before


def test_a_stolen_certificate_is_not_renewed_without_end(place, tmp_path):
    """Each one more would stand in the revocation list for as long as the authority."""
    settings = joined(place, tmp_path, "edge-24")
    files = enrolment.enrolled_files(settings.state_dir)
    collector = enrolment._Collector(place.url, client_context(files))
    body = canonical_bytes({"csr": signing_request(new_key(), "edge-24").decode()})
    for _ in range(MOST_A_DAY - 1):  # the first was given when it joined
        collector.ask("renew", body)
    with pytest.raises(UplinkError) as caught:
        collector.ask("renew", body)
    assert caught.value.code == "too_often"
    assert len(place.ca.records.issued("edge-24")) == MOST_A_DAY


def test_a_certificate_that_has_ended_says_how_to_enrol_again(place, tmp_path, capsys):
    """The collector ends the connection in TLS, which says nothing of why."""
    settings = joined(place, tmp_path, "edge-25")
    written(
        enrolment.enrolled_files(settings.state_dir).certificate,
        place.plant.expired("edge-25").certificate.read_bytes(),
    )
    assert main(["agent", "renew", "-c", str(tmp_path / "edge-25.yaml")]) == 2
    said = capsys.readouterr().err
    assert "has ended" in said
    assert "agent enroll" in said
    assert "clock" in said


def test_a_name_that_the_collectors_certificate_does_not_bear_is_told_at_once(place, tmp_path):
    """Joining would go well by the fingerprint, and the first renewal, months later, would not."""
    settings, token = site(tmp_path, "edge-26"), place.token("edge-26")
    url = place.url.replace(HOST, "localhost")
    with pytest.raises(EvidenceError) as caught:
        join(settings, evidence_key(settings), url, token, wait_s=0.0)
    assert caught.value.code == "other_name"
    assert HOST in caught.value.what
    assert place.ca.records.invited(token.secret, now()) is not None, "the token is still good"


def test_renewing_waits_for_a_key_that_is_kept_elsewhere(place, tmp_path):
    settings = joined(place, tmp_path, "edge-22")
    away = tmp_path / "safe"
    (place.ca.folder / "ca.key").rename(away)
    try:
        with pytest.raises(UplinkError) as caught:
            renew(settings)
        assert caught.value.code == "ca_away"
    finally:
        away.rename(place.ca.folder / "ca.key")
    renew(settings)


def test_a_renewed_certificate_of_the_collector_is_shown_without_a_restart(place, tmp_path):
    settings = joined(place, tmp_path, "edge-23")
    before = place.fingerprint
    place.ca.equip(place.own, Role.COLLECTOR, now(), within_days=None)
    assert place.fingerprint != before
    renew(settings)  # over a connection that shows the new one, whose name is checked too
    old = Token(bytes(32), before)
    with pytest.raises(EvidenceError) as caught:
        join(settings, evidence_key(settings), place.url, old)
    assert place.fingerprint in caught.value.what


# ---------------------------------------------------------------- other ways


def test_a_certificate_is_carried_by_hand(place, tmp_path):
    settings = site(tmp_path, "edge-30", pinned=WITNESS_KEY)
    request, back = tmp_path / "edge-30.csr", tmp_path / "edge-30.pem"
    enrolment.request_by_hand(settings, request)
    assert b"PRIVATE" not in request.read_bytes()
    key = requested_key(request.read_bytes())
    made = place.ca.certify(key, agent_holder(SITE, "edge-30"), now(), 30)
    back.write_bytes(pem(made))
    with pytest.raises(EvidenceError, match="1 certificates"):
        enrolment.take_by_hand(settings, back)
    back.write_bytes(pem(made) + place.ca.certificate_pem)
    done = enrolment.take_by_hand(settings, back)
    assert own_certificate(done.certificate) == made
    client_context(enrolment.enrolled_files(settings.state_dir))
    assert not list((settings.state_dir / "tls").glob("*.key")), "the key stands in one place"
    with pytest.raises(ConfigError, match="--csr"):
        enrolment.take_by_hand(settings, back)


def test_a_certificate_that_systemd_hands_over_is_not_replaced(place, tmp_path, monkeypatch):
    settings = joined(place, tmp_path, "edge-31")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "agent.pem").touch(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    with pytest.raises(ConfigError, match="cannot be written here"):
        renew(settings)


@pytest.mark.parametrize("url", ["http://a:1", "https://a", "https://:1", "https://u@a:1", "a:1"])
def test_an_address_that_is_none_is_told(tmp_path, url):
    settings = site(tmp_path)
    with pytest.raises(ConfigError, match=r"https://192\.0\.2\.10:8443"):
        join(settings, evidence_key(settings), url, Token(bytes(32), "0" * 64))


def test_what_is_no_question_gets_no_answer(place):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    collector = enrolment._Collector(place.url, context, place.fingerprint)
    for path, body, code in (
        ("enrol", b"", "not_canonical"),
        ("enrol", b"[]", "bad_message"),
        ("enrol", canonical_bytes({"v": 1}), "bad_message"),
        ("enrol", bytes(200_000), "too_large"),
        ("enrol/00", b"{}", "not_found"),
        ("renew", b"{}", "no_certificate"),
        ("", b"{}", "not_found"),
        ("../ca.key", b"{}", "not_found"),
    ):
        with pytest.raises(UplinkError) as caught:
            collector.ask(path, body)
        assert caught.value.code == code, path
