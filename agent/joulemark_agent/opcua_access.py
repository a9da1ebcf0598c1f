"""What the site file says of a locked OPC UA server, and the files it speaks of.

All files are read again for every connection and every renewal of a channel's keys, so that a
certificate is renewed, and a server trusted or trusted no more, without a restart.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from joulemark_agent import opcua_certificate
from joulemark_agent.contract.errors import ConfigError, DeviceError
from joulemark_agent.files import PRIVATE, replace_file
from joulemark_agent.opcua_certificate import CertificateError, TrustList
from joulemark_agent.opcua_security import MIN_KEY_BITS, NONE, Identity, Mode

OWN_CERTIFICATE, LOGIN = "own_certificate", "login"  # causes of a gap; a server's: certificate_...
FOLDER, CERTIFICATE, KEY, TRUSTED, REJECTED = (
    "opcua",
    "agent.der",
    "agent.key",
    "trusted",
    "rejected",
)
VALID_DAYS = 1826
_MAX_BYTES = 1 << 20  # of a file of certificates
_PEM = b"-----BEGIN "


@dataclass(frozen=True)
class Access:
    """How one server is reached; the defaults are those of the site file."""

    trust: Path  # the folder of whom is trusted
    certificate: Path
    key: Path
    policy: str = "Basic256Sha256"
    mode: Mode = Mode.SIGN_AND_ENCRYPT
    host: str | None = None  # that the certificate bears, where it is not the URL's
    user: str | None = None
    password_variable: str | None = None
    password_file: Path | None = None
    user_certificate: Path | None = None
    user_key: Path | None = None

    @property
    def is_secured(self) -> bool:
        """Whether the channel is signed."""
        return self.policy != NONE

    @property
    def has_user(self) -> bool:
        """Whether somebody logs in."""
        return self.user is not None or self.user_certificate is not None


def own_identity(access: Access) -> Identity:
    """The agent's certificate and key, as they are now.

    Raises:
        DeviceError: there is none, or it cannot be used.
    """
    if is_missing(access.certificate):
        raise DeviceError(
            f"There is no certificate {access.certificate}.",
            "Make one with 'joulemark agent certificate -c SITE.yaml', and have the server trust"
            " it.",
            code=OWN_CERTIFICATE,
        )
    return _identity(access.certificate, access.key, OWN_CERTIFICATE)


def is_missing(path: Path) -> bool:
    """Whether there is no such file; one that may not be looked at may be there."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def require_valid(own: Identity, access: Access, now: datetime) -> None:
    """Raise `DeviceError` where the agent's own certificate is out of its time.

    Args:
        own: as `own_identity` gives it.
        access: where it is from.
        now: aware.
    """
    try:
        opcua_certificate.check_dates(opcua_certificate.parsed(own.certificate)[0], now)
    except CertificateError as error:
        raise DeviceError(
            f"The agent's own certificate {access.certificate} {error.what}",
            "Check this machine's clock, or run 'joulemark agent certificate -c SITE.yaml --renew'"
            " and have the server trust the new one.",
            code=OWN_CERTIFICATE,
        ) from error


def user_identity(certificate: Path, key: Path | None) -> Identity:
    """A user's certificate and key, as they are now; the key's file is beside it.

    Raises:
        DeviceError: they cannot be used.
    """
    return _identity(certificate, key or certificate.with_suffix(".key"), LOGIN)


def password(access: Access) -> bytes:
    """The user's password, as it is now.

    Raises:
        DeviceError: there is none where the site file says.
    """
    if access.password_file is not None:
        return _read(access.password_file, LOGIN, is_secret=True).rstrip(b"\r\n")
    name = access.password_variable or ""
    if not (found := os.environ.get(name)):
        raise DeviceError(
            f"The variable {name} with the password of {access.user!r} is not set.",
            "Set it for the service and start it again.",
            code=LOGIN,
        )
    return found.encode()


def server_key(
    access: Access, blob: bytes, *, application_uri: str, peer: str, host: str, now: datetime
) -> RSAPublicKey:
    """The key of a server whose certificate holds; one that is not trusted is kept to look at.

    Args:
        access: whom to trust.
        blob: the certificate, or several from it upwards.
        application_uri: what the server calls itself.
        peer: what to call it here.
        host: where it was reached.
        now: aware.

    Raises:
        DeviceError: `certificate_...`.
    """
    try:
        return opcua_certificate.check(
            opcua_certificate.parsed(blob),
            trust_list(access.trust),
            application_uri=application_uri,
            host=access.host or host,
            now=now,
        )
    except CertificateError as error:
        do = error.do or _how_to_trust(access.trust, peer, blob)
        raise DeviceError(
            f"The certificate of {peer} {error.what}", do, code=f"certificate_{error.code}"
        ) from error


def trust_list(folder: Path) -> TrustList:
    """Every certificate and revocation list in the folder, as it is now.

    Raises:
        DeviceError: a file in it is neither.
    """
    certificates: list[x509.Certificate] = []
    revocations: list[x509.CertificateRevocationList] = []
    try:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        files = []
    except OSError as error:
        raise _unusable(folder, error.strerror or "", "certificate_trust") from error
    for path in files:
        data = _read(path, "certificate_trust")
        try:
            if path.suffix == ".crl":
                load = x509.load_pem_x509_crl if _PEM in data else x509.load_der_x509_crl
                revocations.append(load(data))
            elif _PEM in data:
                certificates += x509.load_pem_x509_certificates(data)
            else:
                certificates.append(x509.load_der_x509_certificate(data))
        except opcua_certificate.UNREADABLE as error:
            raise _unusable(path, "it holds no certificate", "certificate_trust") from error
    return TrustList(tuple(certificates), tuple(revocations))


def make_identity(
    certificate: Path, key: Path, *, application_uri: str, host: str, now: datetime
) -> None:
    """A new key and a certificate for it, in place of those that are there.

    Raises:
        ConfigError: they cannot be written.
    """
    made = rsa.generate_private_key(public_exponent=65537, key_size=MIN_KEY_BITS)
    blob = opcua_certificate.new_certificate(
        made, application_uri=application_uri, host=host, now=now, days=VALID_DAYS
    )
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        for path, data, mode in ((key, pem, PRIVATE), (certificate, blob, 0o644)):
            replace_file(path, data, mode)
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be written: {error.strerror}.",
            "Check the folder, who may write to it, and the free space.",
        ) from error


def _how_to_trust(folder: Path, peer: str, blob: bytes) -> str:
    """Keeps the certificate, one file for each server, and says where it belongs."""
    kept = folder.with_name(REJECTED) / f"{peer.replace(':', '_').replace('/', '_')}.der"
    with suppress(OSError, CertificateError):
        data = opcua_certificate.der(opcua_certificate.parsed(blob)[0])
        # Asked every few seconds: spare the card.
        if not kept.exists() or kept.read_bytes() != data:
            replace_file(kept, data, 0o644)
        return (
            f"If the machine's own display or tool shows that thumbprint, move {kept} to {folder}/."
        )
    return f"If it is the machine's own, put its file into {folder}/."


def _identity(certificate: Path, key: Path, code: str) -> Identity:
    data, secret = _read(certificate, code), _read(key, code, is_secret=True)
    try:
        load = x509.load_pem_x509_certificate if _PEM in data else x509.load_der_x509_certificate
        found = load(data)
        load_key = load_pem_private_key if _PEM in secret else load_der_private_key
        # Checking our own key anew takes tens of milliseconds, in which nothing else would be read.
        private = load_key(secret, None, unsafe_skip_rsa_key_validation=True)
        public = opcua_certificate.public_key(found)
        uri = opcua_certificate.application_uri_of(found)
    except (*opcua_certificate.UNREADABLE, TypeError) as error:  # TypeError: it has a password
        raise _unusable(certificate, "it or its key is unreadable", code) from error
    except CertificateError as error:
        raise _unusable(certificate, f"it {error.what.rstrip('.')}", code) from error
    if not isinstance(private, RSAPrivateKey) or private.public_key() != public:
        raise _unusable(certificate, f"{key} holds the key of another one", code)
    return Identity(opcua_certificate.der(found), private, uri)


def _read(path: Path, code: str, *, is_secret: bool = False) -> bytes:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            mode, data = os.fstat(file.fileno()).st_mode, file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _unusable(path, error.strerror or "", code) from error
    if not stat.S_ISREG(mode) or len(data) > _MAX_BYTES:
        raise _unusable(path, f"it is no file of at most {_MAX_BYTES} bytes", code)
    if is_secret and stat.S_IMODE(mode) & ~PRIVATE:
        raise DeviceError(
            f"{path} has mode {stat.S_IMODE(mode):04o}: others on this machine may read the secret"
            " in it.",
            f"Run 'chmod 600 {path}'; change the secret if somebody may have read it.",
            code=code,
        )
    return data


def _without_waiting(path: str, flags: int) -> int:
    """Opens what may be a pipe into which nobody writes."""
    return os.open(path, flags | os.O_NONBLOCK)


def _unusable(path: Path, why: str, code: str) -> DeviceError:
    return DeviceError(
        f"{path} cannot be used: {why}.",
        "Check the path, who may read it, and that it is a certificate (or its RSA key without a"
        " password) in PEM or DER.",
        code=code,
    )
