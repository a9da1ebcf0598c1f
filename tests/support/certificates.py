"""Certificates and keys for tests, made once: a 2048 bit key takes a tenth of a second or more."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PLANT_URI, AGENT_URI = "urn:example:plant", "urn:joulemark:gwangyang:edge-1"
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def key(owner: str, bits: int = 2048) -> RSAPrivateKey:
    """The owner's key of that size, the same in the whole run."""
    return _key(owner, bits)


@cache
def _key(owner: str, bits: int) -> RSAPrivateKey:
    del owner
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def certificate(
    owner: str,
    *,
    uri: str = PLANT_URI,
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost"),
    begin: datetime | None = None,
    end: datetime | None = None,
    issuer: str | None = None,
    is_authority: bool = False,
    path_length: int | None = None,
    bits: int = 2048,
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    encipherment: bool = True,
    now: datetime | None = None,
) -> x509.Certificate:
    """What `issuer` signs for `owner`, by default for a year around now."""
    now = now or datetime.now(UTC)
    signer = key(issuer or owner)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    use = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=encipherment,
        data_encipherment=encipherment, key_agreement=False, encipher_only=False,
        key_cert_sign=is_authority or issuer is None, crl_sign=is_authority, decipher_only=False,
    )  # fmt: skip
    own = x509.SubjectKeyIdentifier.from_public_key(key(owner, bits).public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(_name(owner))
        .issuer_name(_name(issuer or owner))
        .public_key(key(owner, bits).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin or now - timedelta(days=180))
        .not_valid_after(end or now + timedelta(days=180))
        .add_extension(
            x509.BasicConstraints(is_authority, path_length if is_authority else None), True
        )
        .add_extension(use, True)
        .add_extension(x509.ExtendedKeyUsage([purpose, ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(own, False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
        )
        .sign(signer, hashes.SHA256())
    )


def revocations(
    issuer: str, *revoked: x509.Certificate, now: datetime
) -> x509.CertificateRevocationList:
    """The list in which the issuer takes certificates back."""
    listed = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(_name(issuer))
        .last_update(now)
        .next_update(now + timedelta(days=30))
    )
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.serial_number)
        listed = listed.add_revoked_certificate(entry.revocation_date(now).build())
    return listed.sign(key(issuer), hashes.SHA256())


def der(found: x509.Certificate) -> bytes:
    """Its bytes."""
    return found.public_bytes(Encoding.DER)


def pem(found: x509.Certificate) -> bytes:
    """Its bytes as text."""
    return found.public_bytes(Encoding.PEM)


def key_pem(owner: str) -> bytes:
    """The owner's key as text."""
    return key(owner).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def written(folder: Path, name: str, found: x509.Certificate, owner: str) -> tuple[Path, Path]:
    """Files of a certificate and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{name}.der", folder / f"{name}.key"
    paths[0].write_bytes(der(found))
    paths[1].write_bytes(key_pem(owner))
    paths[1].chmod(0o600)
    return paths


def _name(owner: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, owner)])
