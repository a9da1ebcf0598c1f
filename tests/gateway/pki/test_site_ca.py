"""The authority under clocks that are wrong, under two who write at once, and as root."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.tls import new_key, own_certificate
from joulemark_gateway.pki.authority import Role, agent_holder, revocation_list
from joulemark_gateway.pki.enrolments import approve
from joulemark_gateway.pki.records import Applied
from joulemark_gateway.pki.site_ca import LIST, SiteCa
from support.identities import HOST, PlantCa, now, plant_ca

NOBODY = 65_534


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[PlantCa]:
    with plant_ca(tmp_path) as found:
        yield found


def listed(plant: PlantCa) -> x509.CertificateRevocationList:
    return x509.load_pem_x509_crl((plant.ca.folder / LIST).read_bytes())


def test_a_clock_that_was_ahead_once_shuts_nobody_out_later(plant):
    """A list that begins in the future refuses everybody until then."""
    plant.ca.revoked_list(now() + timedelta(days=3650))
    plant.ca.revoked_list(now())
    first = listed(plant)
    assert first.last_update_utc <= now()
    plant.ca.revoked_list(now())
    assert first.last_update_utc < listed(plant).last_update_utc <= now()


def test_a_certificate_of_a_clock_that_was_ahead_is_renewed(plant, tmp_path):
    own = tmp_path / "collector.pem"
    plant.ca.equip(own, Role.COLLECTOR, now() + timedelta(days=100), hosts=[HOST])
    assert own_certificate(own).not_valid_before_utc > now()
    assert plant.ca.equip(own, Role.COLLECTOR, now())
    assert own_certificate(own).not_valid_before_utc < now()


def test_under_a_clock_of_1970_nothing_is_signed_and_nothing_taken_back(plant, monkeypatch):
    """It would have ended before anybody could use it."""
    then = datetime(1970, 1, 1, 0, 5, tzinfo=UTC)
    held = agent_holder("plant", "edge-1")
    plant.ca.certify(new_key().public_key(), held, now(), 365)
    waits = Applied("ab", "plant", "edge-1", ("meter",), b"", b"", then, then, "pending", None)
    monkeypatch.setattr(plant.ca.records, "applications", lambda _: [waits])
    monkeypatch.setattr(
        "joulemark_gateway.pki.enrolments.requested_key", lambda _: new_key().public_key()
    )
    for attempt in (
        lambda: plant.ca.certify(new_key().public_key(), held, then, 365),
        lambda: approve(plant.ca, "ab", then, 365, lambda _: None),
    ):
        with pytest.raises(ConfigError, match="clock") as caught:
            attempt()
        assert "1970-01-01" in caught.value.what
    [issued] = plant.ca.records.issued("edge-1")
    assert issued.revoked is None


def test_an_authority_that_has_ended_says_so_and_signs_nothing(tmp_path):
    then = now() - timedelta(days=40)
    with SiteCa.created(tmp_path / "ca", then, days=30) as ca:
        key = new_key().public_key()
        for attempt in (
            lambda: ca.certify(key, agent_holder("plant", "edge-1"), now(), 365),
            lambda: ca.equip(tmp_path / "own.pem", Role.COLLECTOR, now(), hosts=[HOST]),
            lambda: ca.revoked_list(now()),
        ):
            with pytest.raises(ConfigError, match="has ended") as caught:
                attempt()
            assert "ca init" in caught.value.do
        assert ca.records.issued() == []


def test_who_is_revoked_while_a_list_is_written_is_on_the_list(plant, monkeypatch):
    """Somebody approves, somebody else revokes: the later list is never the older truth."""
    made = plant.agent("edge-1").certificate
    serial = own_certificate(made).serial_number
    others: list[threading.Thread] = []

    def revoke() -> None:
        with SiteCa(plant.ca.folder) as ca:
            ca.records.revoke("edge-1", now())
            ca.revoked_list(now())

    def meanwhile(*args):  # between reading who is revoked, and writing it
        if not others:
            others.append(threading.Thread(target=revoke))
            others[0].start()
            others[0].join(0.3)
        return revocation_list(*args)

    monkeypatch.setattr("joulemark_gateway.pki.site_ca.revocation_list", meanwhile)
    plant.ca.revoked_list(now())
    others[0].join()
    assert listed(plant).get_revoked_certificate_by_serial_number(serial) is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes files for others")
def test_what_root_renews_for_a_server_stays_the_servers(plant, tmp_path):
    folder = tmp_path / "broker"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    own = folder / "broker.pem"
    plant.ca.equip(own, Role.BROKER, now(), hosts=[HOST])
    plant.ca.equip(own, Role.BROKER, now(), within_days=None)
    assert (own.stat().st_uid, own.stat().st_gid) == (NOBODY, NOBODY)
    assert own.stat().st_mode & 0o777 == 0o600
