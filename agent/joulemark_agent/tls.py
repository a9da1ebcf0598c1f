"""TLS between agent, broker and collector: which files, the context made of them, and their time.

A certificate and its private key stand in one PEM file, mode 0600, which is replaced as a whole:
after a power cut both are the old ones or both the new. The files are read again for every
connection, so that what was renewed is used from the next one on.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.files import credential, require_private

FOLDER, CA, OWN = "tls", "ca.pem", "agent.pem"
WARN_DAYS = 30
EXPIRES, FILES = "certificate_expires", "tls_files"


@dataclass(frozen=True)
class TlsFiles:
    """Where the authority's certificate is, and our own with its private key."""

    ca: Path
    certificate: Path
    key: Path | None = None  # None: it stands beside the certificate, in the same file


def client_context(files: TlsFiles | None) -> ssl.SSLContext:
    """How to reach a server: its certificate and name are checked, TLS 1.2 or later.

    Args:
        files: of the site; None: any authority that this machine believes, without a certificate
            of our own.

    Raises:
        ConfigError: a file is not there, not private, or not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which checks both
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _Socket
    if files is None:
        context.load_default_certs()
    else:
        read_again(context, files)
    return context


def read_again(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Have the next connection of a context use the files as they are now; errors as above."""
    load_own(context, files.certificate, files.key)
    try:
        context.load_verify_locations(files.ca)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(files.ca, "the authority's certificate", error) from error


def load_own(context: ssl.SSLContext, certificate: Path, key: Path | None = None) -> None:
    """Have a context show our own certificate.

    Raises:
        ConfigError: a file is not there, not private, or not what it should be.
    """
    certificate = credential(certificate)
    secret = certificate if key is None else credential(key)
    try:
        require_private(secret)
        context.load_cert_chain(certificate, secret, password=_no_password)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(certificate, f"our certificate with its key {secret}", error) from error


def own_certificate(path: Path) -> x509.Certificate:
    """Our own certificate as it is now.

    Raises:
        ConfigError: it cannot be read.
    """
    path = credential(path)
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError, x509.InvalidVersion) as error:
        raise _unusable(path, "our certificate", error) from error


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """The names and addresses of the server that a certificate names."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = found.get_values_for_type(x509.IPAddress)
    return [*found.get_values_for_type(x509.DNSName), *map(str, addresses)]


def expiry_warning(
    path: Path, now: datetime, renew: str, days: int = WARN_DAYS
) -> ConfigError | None:
    """What to say of our own certificate where its time is soon over; None: nothing.

    Args:
        path: its file.
        now: aware.
        renew: what to do.
        days: how soon.

    Raises:
        ConfigError: it cannot be read.
    """
    end = own_certificate(path).not_valid_after_utc
    left = (end - now).total_seconds() / 86_400
    if left > days:
        return None
    how = f"ends in {left:.0f} days" if left > 0 else "has ended"
    what = f"The certificate {path} {how}: it is valid until {end.astimezone(UTC):%Y-%m-%d %H:%M}"
    return ConfigError(f"{what} UTC.", renew, code=EXPIRES)


def certificate_fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate, 64 digits: what stands in a token and in `openssl x509`."""
    return hashlib.sha256(der).hexdigest()


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new private key for TLS: ECDSA on P-256, which browsers and security chips know too."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as its file holds it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def signing_request(key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    """A request for a certificate in that name, in PEM; the authority writes all the rest."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class _Socket(ssl.SSLSocket):
    """Closed where the handshake fails: paho leaves it open until nobody knows it any more."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _unusable(path: Path, what: str, error: Exception) -> ConfigError:
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return ConfigError(
        f"{path} cannot be used as {what}: {why}.",
        "Check the path and who may read it; 'joulemark agent enroll --collector URL' and"
        " 'joulemark collector ca' make such files.",
        code=FILES,
    )


def _no_password() -> str:
    """Asked for where a key is encrypted; without it OpenSSL would ask at the terminal."""
    return ""
