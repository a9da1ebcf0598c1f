"""Certificates of OPC UA: whether a server's may be believed; how the agent's is made. Pure.

A server is trusted by its own certificate in the trust list, or by that of an authority that signed
it. Nothing else is taken in place of it: no setting turns a check off.
Source: OPC UA specification (1.05), part 4, section 6.1.3 (the checks, in table 100) and part 6,
section 6.2.2 (what stands in a certificate).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from joulemark_agent.opcua_security import MAX_KEY_BITS, MIN_KEY_BITS, shown

MAX_CHAIN = 5
_SHOWN = 80  # characters of a name in a message
# What a strange certificate may raise, when it is parsed or when something of it is looked at.
UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
E = TypeVar("E", bound=x509.ExtensionType)


class CertificateError(Exception):
    """Says what is wrong with a certificate; `code` is the end of the gap's cause."""

    def __init__(self, code: str, what: str, do: str) -> None:
        super().__init__(f"{what} {do}")
        self.code, self.what, self.do = code, what, do


@dataclass(frozen=True)
class TrustList:
    """What somebody put into the folder of what is trusted."""

    certificates: tuple[x509.Certificate, ...] = ()
    revocations: tuple[x509.CertificateRevocationList, ...] = ()


def parsed(blob: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates in what a server sends: its own first, then those who signed it.

    Raises:
        CertificateError: there is none, or it is none.
    """
    found: list[x509.Certificate] = []
    try:
        while blob and len(found) < MAX_CHAIN:
            size = _der_size(blob)
            found.append(x509.load_der_x509_certificate(blob[:size]))
            blob = blob[size:]
    except (*UNREADABLE, IndexError) as error:
        raise _unreadable(str(error)) from error
    if not found:
        raise _unreadable("it is empty")
    return tuple(found)


def der(certificate: x509.Certificate) -> bytes:
    """Its bytes."""
    return certificate.public_bytes(Encoding.DER)


def public_key(certificate: x509.Certificate) -> RSAPublicKey:
    """Its key.

    Raises:
        CertificateError: it is none of the policies' keys.
    """
    try:
        key = certificate.public_key()
    except UNREADABLE as error:
        raise _unreadable(str(error)) from error
    bits = key.key_size if isinstance(key, RSAPublicKey) else 0
    if not isinstance(key, RSAPublicKey) or not MIN_KEY_BITS <= bits <= MAX_KEY_BITS:
        kind = f"an RSA key of {bits} bits" if bits else "no RSA key"
        raise CertificateError(
            "key",
            f"has {kind} where {MIN_KEY_BITS} to {MAX_KEY_BITS} bits are wanted.",
            f"Give the server a certificate with an RSA key of {MIN_KEY_BITS} bits or more.",
        )
    return key


def check(
    chain: Sequence[x509.Certificate],
    trusted: TrustList,
    *,
    application_uri: str,
    host: str,
    now: datetime,
) -> RSAPublicKey:
    """The server's key, if all that its certificate says is so.

    Args:
        chain: as `parsed` gives it.
        trusted: the trust list.
        application_uri: what the server calls itself.
        host: the name or address under which it was reached.
        now: aware.

    Raises:
        CertificateError: what is not so, and what to do.
    """
    certificate = chain[0]
    key = public_key(certificate)
    try:
        check_dates(certificate, now)
        _check_use(certificate)
        _check_names(certificate, application_uri, host)
        _check_trust(chain, trusted, now)
    except UNREADABLE as error:
        raise _unreadable(str(error)) from error
    return key


def new_certificate(
    key: RSAPrivateKey, *, application_uri: str, host: str, now: datetime, days: int
) -> bytes:
    """A certificate that the key signs for itself, in DER.

    Args:
        key: its own.
        application_uri: what the agent calls itself.
        host: the name of this machine.
        now: from when it holds; an hour less, for clocks that are behind.
        days: for how long.
    """
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Joulemark agent")])
    names = [x509.UniformResourceIdentifier(application_uri), x509.DNSName(host)]
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(own, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(_USE, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    return der(built)


def application_uri_of(certificate: x509.Certificate) -> str:
    """What its owner calls itself; empty where it does not say."""
    uris = _names(certificate).get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if uris else ""


_USE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=True,
    key_encipherment=True,
    data_encipherment=True,
    key_cert_sign=True,  # as of one that signs itself: part 6, table 43
    key_agreement=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _der_size(blob: bytes) -> int:
    """How long the DER element is that begins here."""
    first = blob[1]
    if first < 0x80:
        return 2 + first
    return 2 + (first & 0x7F) + int.from_bytes(blob[2 : 2 + (first & 0x7F)])


def check_dates(certificate: x509.Certificate, now: datetime) -> None:
    """Raise `CertificateError` before or after its time."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        raise CertificateError(
            "expired",
            f"expired on {end:%Y-%m-%d %H:%M} UTC; it is {now.astimezone(UTC):%Y-%m-%d %H:%M}.",
            "Renew it on the server; check this machine's clock if that is wrong.",
        )
    if now < begin:
        raise CertificateError(
            "not_yet_valid",
            f"holds from {begin:%Y-%m-%d %H:%M} UTC on; it is"
            f" {now.astimezone(UTC):%Y-%m-%d %H:%M}.",
            "Check this machine's clock, and the one on which the certificate was made.",
        )


def _check_use(certificate: x509.Certificate) -> None:
    use = _extension(certificate, x509.KeyUsage)
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    is_for_messages = use is None or (
        use.digital_signature and (use.key_encipherment or use.data_encipherment)
    )
    is_for_servers = purposes is None or ExtendedKeyUsageOID.SERVER_AUTH in purposes
    if not (is_for_messages and is_for_servers):
        raise CertificateError(
            "use",
            "is not made for a server's messages.",
            "Give the server one whose key usage holds digitalSignature and keyEncipherment, and"
            " whose extended key usage holds serverAuth.",
        )


def _check_names(certificate: x509.Certificate, application_uri: str, host: str) -> None:
    if (uri := application_uri_of(certificate)) != application_uri or not uri:
        raise CertificateError(
            "uri",
            f"is of the application {_short(uri)!r}, and the server says that it is"
            f" {_short(application_uri)!r}.",
            "Make the server's certificate anew: it was made for another one.",
        )
    names = _names(certificate)
    hosts = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    addresses = names.get_values_for_type(x509.IPAddress)
    try:
        is_same = ipaddress.ip_address(host) in addresses
    except ValueError:
        is_same = False
    if not (is_same or host.lower() in hosts):
        known = ", ".join(sorted(hosts | {str(address) for address in addresses})) or "no host"
        raise CertificateError(
            "host",
            f"is of {_short(known)}, not of {host}.",
            "If that is the machine, write 'host: NAME' with that name under 'security', or use it"
            " in the 'url'; else look who answers there.",
        )


def _check_trust(chain: Sequence[x509.Certificate], trusted: TrustList, now: datetime) -> None:
    """From the server's certificate up to one that is in the trust list."""
    known = {certificate.fingerprint(hashes.SHA256()) for certificate in trusted.certificates}
    below = chain[0]
    for depth in range(MAX_CHAIN):
        if below.fingerprint(hashes.SHA256()) in known:
            return
        above = _issuer(below, (*trusted.certificates, *chain[1:]), depth, now)
        if above is None:
            break
        _check_revocation(below, above, trusted.revocations)
        below = above
    subject = _short(chain[0].subject.rfc4514_string())
    raise CertificateError(
        "untrusted",
        f"is not trusted: thumbprint {shown(der(chain[0]))}, of {subject!r}.",
        "",
    )


def _issuer(
    below: x509.Certificate, known: Iterable[x509.Certificate], depth: int, now: datetime
) -> x509.Certificate | None:
    """The authority that signed it."""
    for above in known:
        constraints = _extension(above, x509.BasicConstraints)
        use = _extension(above, x509.KeyUsage)
        if (
            above == below
            or constraints is None
            or not constraints.ca
            or (constraints.path_length is not None and constraints.path_length < depth)
            or not (use is None or use.key_cert_sign)
            or not above.not_valid_before_utc <= now <= above.not_valid_after_utc
            or isinstance(below.signature_hash_algorithm, hashes.SHA1 | hashes.MD5)
        ):
            continue
        try:
            below.verify_directly_issued_by(above)
        except (*UNREADABLE, TypeError, InvalidSignature):
            continue
        return above
    return None


def _check_revocation(
    below: x509.Certificate,
    above: x509.Certificate,
    lists: Iterable[x509.CertificateRevocationList],
) -> None:
    key = above.public_key()
    for found in lists:
        if (
            found.issuer == above.subject
            and isinstance(key, RSAPublicKey)
            and found.is_signature_valid(key)
            and found.get_revoked_certificate_by_serial_number(below.serial_number) is not None
        ):
            raise CertificateError(
                "revoked",
                "was revoked by who signed it.",
                "Give the server a new certificate.",
            )


def _names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return _extension(certificate, x509.SubjectAlternativeName) or x509.SubjectAlternativeName([])


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _short(text: str) -> str:
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable if len(printable) <= _SHOWN else printable[:_SHOWN] + "..."


def _unreadable(why: str) -> CertificateError:
    return CertificateError(
        "invalid",
        f"cannot be read: {_short(why)}.",
        "Make the server's certificate anew.",
    )
