"""What stands in a certificate, and what OpenSSL makes of it."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.topics import is_id
from joulemark_agent.tls import hosts_of, new_key, signing_request
from joulemark_gateway.pki.authority import (
    BROKER_NAME,
    COLLECTOR_NAME,
    Role,
    agent_holder,
    common_name,
    issue,
    new_authority,
    requested_key,
    revocation_list,
    server_holder,
)
from joulemark_gateway.pki.site_ca import pem
from support.needed import service

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
AUTHORITY = new_authority(new_key(), NOW)
HOSTS = ["broker.plant.example", "192.0.2.10"]


def extension(certificate: x509.Certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def verified(tmp_path, *options: str, certificate: x509.Certificate, at: datetime = NOW) -> str:
    """What OpenSSL says of a certificate at a time."""
    (tmp_path / "ca.pem").write_bytes(pem(AUTHORITY.certificate))
    (tmp_path / "c.pem").write_bytes(pem(certificate))
    words = [
        service("openssl", "openssl"),
        "verify",
        "-x509_strict",
        "-attime",
        f"{at.timestamp():.0f}",
        "-CAfile",
    ]
    done = subprocess.run(
        [*words, str(tmp_path / "ca.pem"), *options, str(tmp_path / "c.pem")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.service
def test_a_client_is_a_client_and_a_server_a_server(tmp_path):
    agent = issue(AUTHORITY, new_key().public_key(), agent_holder("plant", "edge-1"), NOW)
    broker = issue(AUTHORITY, new_key().public_key(), server_holder(Role.BROKER, HOSTS), NOW)
    collector = issue(AUTHORITY, new_key().public_key(), server_holder(Role.COLLECTOR, HOSTS), NOW)
    accepted = {
        (name, purpose): "OK" in verified(tmp_path, "-purpose", purpose, certificate=one)
        for name, one in (("agent", agent), ("broker", broker), ("collector", collector))
        for purpose in ("sslclient", "sslserver")
    }
    assert accepted == {
        ("agent", "sslclient"): True,
        ("agent", "sslserver"): False,
        ("broker", "sslclient"): False,
        ("broker", "sslserver"): True,
        ("collector", "sslclient"): True,
        ("collector", "sslserver"): True,
    }
    assert [common_name(one) for one in (agent, broker, collector)] == [
        "edge-1", BROKER_NAME, COLLECTOR_NAME,
    ]  # fmt: skip
    assert hosts_of(broker) == HOSTS
    names = extension(agent, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        "urn:joulemark:plant:edge-1"
    ]


def test_no_name_of_a_server_can_be_an_agents():
    assert not is_id(BROKER_NAME)
    assert not is_id(COLLECTOR_NAME)


def test_a_certificate_holds_from_an_hour_before_to_its_last_day_and_not_beyond_its_authority():
    made = issue(AUTHORITY, new_key().public_key(), agent_holder("p", "a"), NOW, days=30)
    assert made.not_valid_before_utc == NOW - timedelta(hours=1)
    assert made.not_valid_after_utc == NOW + timedelta(days=30)
    long = issue(AUTHORITY, new_key().public_key(), agent_holder("p", "a"), NOW, days=36_500)
    assert long.not_valid_after_utc == AUTHORITY.certificate.not_valid_after_utc


def test_serial_numbers_are_random_and_names_of_authorities_differ():
    key = new_key().public_key()
    serials = {issue(AUTHORITY, key, agent_holder("p", "a"), NOW).serial_number for _ in range(50)}
    assert len(serials) == 50
    assert min(serial.bit_length() for serial in serials) > 100
    other = new_authority(new_key(), NOW)
    assert other.certificate.subject != AUTHORITY.certificate.subject


def test_an_authority_signs_no_other_authority_and_nothing_else_signs():
    constraints = extension(AUTHORITY.certificate, x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    agent = issue(AUTHORITY, new_key().public_key(), agent_holder("p", "a"), NOW)
    assert not extension(agent, x509.BasicConstraints).value.ca
    purposes = extension(agent, x509.ExtendedKeyUsage)
    assert purposes.critical
    assert list(purposes.value) == [ExtendedKeyUsageOID.CLIENT_AUTH]


@pytest.mark.service
def test_openssl_refuses_before_after_of_another_authority_and_what_was_taken_back(tmp_path):
    made = issue(AUTHORITY, new_key().public_key(), agent_holder("p", "a"), NOW, days=30)
    stranger = issue(
        new_authority(new_key(), NOW), new_key().public_key(), agent_holder("p", "a"), NOW
    )
    begin, end = made.not_valid_before_utc, made.not_valid_after_utc
    assert "OK" in verified(tmp_path, certificate=made)
    assert "not yet valid" in verified(tmp_path, certificate=made, at=begin - timedelta(seconds=1))
    assert "expired" in verified(tmp_path, certificate=made, at=end + timedelta(seconds=1))
    assert "unable to get local issuer" in verified(tmp_path, certificate=stranger)
    crl = tmp_path / "crl.pem"
    for revoked in ([], [(made.serial_number, NOW)]):
        listed = revocation_list(AUTHORITY, revoked, NOW - timedelta(hours=1), 1)
        crl.write_bytes(listed.public_bytes(serialization.Encoding.PEM))
        said = verified(tmp_path, "-crl_check", "-CRLfile", str(crl), certificate=made)
        assert ("certificate revoked" in said) == bool(revoked)
    far = AUTHORITY.certificate.not_valid_after_utc - timedelta(days=1)
    listed = revocation_list(AUTHORITY, [], NOW, 1)
    assert listed.next_update_utc is not None
    assert listed.next_update_utc > far, "a list that ends would lock everybody out one day"


def test_of_a_request_only_the_key_is_taken():
    key = new_key()
    found = requested_key(signing_request(key, "joulemark.collector"))
    assert found == key.public_key()


def foreign_requests() -> dict[str, bytes]:
    name = x509.Name([])
    empty = x509.CertificateSigningRequestBuilder().subject_name(name)
    pems = serialization.Encoding.PEM
    large = empty.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256()).public_bytes(pems)
    other = empty.sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(pems)
    good = signing_request(new_key(), "edge-1")
    request = x509.load_pem_x509_csr(good)
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(pems)
    return {"P-384": large, "Ed25519": other, "forged": forged, "none": b"", "cut": good[:200]}


@pytest.mark.parametrize("what", foreign_requests())
def test_a_request_of_another_kind_is_refused(what):
    with pytest.raises(EvidenceError) as caught:
        requested_key(foreign_requests()[what])
    assert caught.value.code == "bad_csr"


@pytest.mark.parametrize("host", ["", "*", "a b", "-a", "a..b", "http://a", "x" * 300, "a_b", "é"])
def test_a_host_that_is_none_is_refused(host):
    with pytest.raises(ValueError, match="neither the name nor the address"):
        server_holder(Role.BROKER, [host])
