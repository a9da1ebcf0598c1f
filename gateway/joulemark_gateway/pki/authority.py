"""Certificates of a site and the list of those taken back. Pure: time and keys are arguments.

ECDSA on P-256 with SHA-256 throughout: mosquitto 2.0 and paho take Ed25519 just as well, but
browsers, which open the pages, do not, and neither do most security chips.
Source: RFC 5280 (fields and extensions), RFC 9525 (names of servers).
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.topics import is_id

CA_DAYS, DAYS, MOST_DAYS = 7300, 365, 3650
BEHIND = timedelta(hours=1)  # a certificate holds so long before it was made: for slow clocks
_UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion
)  # fmt: skip


class Role(StrEnum):
    """What a certificate is for: the broker is a server, the collector both, others are clients."""

    AGENT = "agent"
    CLIENT = "client"  # a program or person that asks for pages and API
    COLLECTOR = "collector"
    BROKER = "broker"


COLLECTOR_NAME, BROKER_NAME = "joulemark.collector", "joulemark.broker"  # a point: no agent's id
_PURPOSES = {
    Role.AGENT: (ExtendedKeyUsageOID.CLIENT_AUTH,),
    Role.CLIENT: (ExtendedKeyUsageOID.CLIENT_AUTH,),
    Role.COLLECTOR: (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    Role.BROKER: (ExtendedKeyUsageOID.SERVER_AUTH,),
}


@dataclass(frozen=True)
class Authority:
    """The site's authority: its certificate, and the key that signs all others."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey = field(repr=False)


@dataclass(frozen=True)
class Holder:
    """Whom a certificate names: the common name, and further names of a server or an agent."""

    role: Role
    name: str
    names: tuple[x509.GeneralName, ...] = ()


def agent_holder(site: str, agent: str) -> Holder:
    """An agent: its id is the common name, and so its user name at the broker."""
    return Holder(
        Role.AGENT, agent, (x509.UniformResourceIdentifier(f"urn:joulemark:{site}:{agent}"),)
    )


def client_holder(name: str) -> Holder:
    """A program or person; the point in the common name makes it no agent at the broker."""
    return Holder(Role.CLIENT, f"client.{name}")


def server_holder(role: Role, hosts: Sequence[str], part: str = "") -> Holder:
    """The broker or the collector at these names or addresses.

    Args:
        role: which.
        hosts: its names and addresses.
        part: the name of one of several collectors, each of which has its own at the broker.

    Raises:
        ValueError: one of them is neither; says which.
    """
    name = BROKER_NAME if role is Role.BROKER else COLLECTOR_NAME
    if part:
        name = f"{name}.{part}"
    return Holder(role, name, tuple(_host_name(host) for host in hosts))


def new_authority(key: EllipticCurvePrivateKey, now: datetime, days: int = CA_DAYS) -> Authority:
    """An authority that signs itself, and may sign certificates but no other authority's.

    Its name holds eight random digits: a new authority is never taken for the one before.
    """
    name = _common_name(f"Joulemark site CA {secrets.token_hex(4)}")
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = _builder(name, name, key.public_key(), now, now + timedelta(days=days))
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def issue(
    authority: Authority,
    key: EllipticCurvePublicKey,
    holder: Holder,
    now: datetime,
    days: int = DAYS,
) -> x509.Certificate:
    """A certificate in which the authority says whose key it is; it never outlives the authority.

    Args:
        authority: who says so.
        key: the holder's public key.
        holder: whom it names.
        now: aware; it holds from an hour before.
        days: for how long.
    """
    issuer = authority.certificate
    end = min(now + timedelta(days=days), issuer.not_valid_after_utc)
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = (
        _builder(_common_name(holder.name), issuer.subject, key, now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_PURPOSES[holder.role]), critical=True)
        .add_extension(signer, critical=False)
    )
    if holder.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(holder.names), critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def revocation_list(
    authority: Authority, revoked: Iterable[tuple[int, datetime]], since: datetime, number: int
) -> x509.CertificateRevocationList:
    """The serial numbers that are taken back, and when each was.

    It holds as long as the authority: a broker whose list has expired refuses everybody, at a time
    that nobody chose.

    Args:
        authority: who takes them back.
        revoked: serial numbers and instants.
        since: when the list begins to hold; later than any before it, and not in the future.
        number: of the list, counting up.
    """
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    listed = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(since)
        .next_update(authority.certificate.not_valid_after_utc)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(signer, critical=False)
    )
    for serial, at in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at)
        listed = listed.add_revoked_certificate(entry.build())
    return listed.sign(authority.key, hashes.SHA256())


def requested_key(csr: bytes) -> EllipticCurvePublicKey:
    """The public key of a request for a certificate; of the rest of it nothing is taken.

    Raises:
        EvidenceError: it is no request, its signature is not its key's, or the key is another kind.
    """
    try:
        request = x509.load_pem_x509_csr(csr)
        key = request.public_key()
        is_signed = request.is_signature_valid
    except _UNREADABLE as error:
        raise _bad_request("it cannot be read") from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise _bad_request("its key is not ECDSA on P-256")
    if not is_signed:
        raise _bad_request("it is not signed with its own key")
    return key


def common_name(certificate: x509.Certificate) -> str:
    """The one common name of a certificate; empty where it has none or several."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def part_of(certificate: x509.Certificate) -> str:
    """The name of one of several collectors; empty: it is the only one, or none."""
    own, _, part = common_name(certificate).partition(f"{COLLECTOR_NAME}.")
    return "" if own else part


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePublicKey,
    now: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BEHIND)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    labels = host.split(".")
    if len(host) > 253 or not all(is_id(label) for label in labels):
        raise ValueError(f"{host[:80]!r} is neither the name nor the address of a machine")
    return x509.DNSName(host)


def _bad_request(why: str) -> EvidenceError:
    return EvidenceError(
        f"This is no request for a certificate: {why}.",
        "Make one with 'joulemark agent enroll -c SITE.yaml --csr FILE'.",
        code="bad_csr",
    )
