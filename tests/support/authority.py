"""A real time-stamping authority: a certificate of our own, `openssl ts`, and a little HTTP."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from support.certificates import der, key, key_pem, pem
from support.servers import answer_with, serving

NAME = "tsa-one"
_CONFIG = """
[tsa]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
"""


@cache
def root(owner: str = "stamping root") -> x509.Certificate:
    """The root that a verifier trusts."""
    return _certificate(owner, owner, is_authority=True)


def root_der(owner: str = "stamping root") -> bytes:
    """The same, DER."""
    return der(root(owner))


def stamped(folder: Path, query: bytes, owner: str = "stamping root") -> bytes:
    """What the authority answers to a query."""
    folder.mkdir(exist_ok=True)
    signer = f"{owner}'s clock"
    files = {
        "config": _CONFIG.format(folder=folder).encode(),
        "query": query,
        "certificate": pem(_certificate(signer, owner, is_authority=False)),
        "key": key_pem(signer),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    serial = folder / "serial"
    if not serial.exists():
        serial.write_text("01\n")
    subprocess.run(
        [
            "openssl", "ts", "-reply", "-config", str(folder / "config"), "-section", "tsa",
            "-queryfile", str(folder / "query"), "-signer", str(folder / "certificate"),
            "-inkey", str(folder / "key"), "-out", str(folder / "answer"),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return (folder / "answer").read_bytes()


@contextmanager
def authority(folder: Path) -> Iterator[str]:
    """The address of the authority."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/timestamp-query"
            query = self.rfile.read(int(self.headers["Content-Length"]))
            answer_with(self, 200, stamped(folder, query))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with serving(Handler) as url:
        yield url


@cache
def _certificate(owner: str, issuer: str, *, is_authority: bool) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(owner))
        .issuer_name(_name(issuer))
        .public_key(key(owner).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    )
    if not is_authority:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(purpose, critical=True)
    return builder.sign(key(issuer), hashes.SHA256())


def _name(owner: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, owner)])
