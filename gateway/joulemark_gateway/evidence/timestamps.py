"""RFC 3161 time stamps over the heads of the collector's log; the only file that knows the library.

What is stamped is the text of the head, its three lines: SHA-256 of these bytes stands in the
token. Some bits of a token are neither signed nor looked at, so its bytes must stand under a hash
of their own: in a bundle that of the manifest.

Needs `rfc3161-client`, the extra `[timestamp]`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from joulemark_agent.contract.errors import ConfigError, EvidenceError

QUERY_TYPE = "application/timestamp-query"
INSTALL = "pip install 'joulemark[timestamp]'"


def is_installed() -> bool:
    """Whether tokens can be asked for and checked here."""
    return importlib.util.find_spec("rfc3161_client") is not None


def query(message: bytes) -> tuple[bytes, int]:
    """What an authority is asked, DER, and the number that its answer must repeat.

    Raises:
        ConfigError: the library is not installed.
    """
    _require()
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder  # noqa: PLC0415 - an extra

    builder = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256)
    request = builder.nonce(nonce=True).cert_request(cert_request=True).build()
    assert request.nonce is not None, "it was asked for"
    return bytes(request.as_bytes()), int(request.nonce)


def stamped_at(
    token: bytes, message: bytes, certificates: Sequence[bytes], *, nonce: int | None = None
) -> datetime:
    """When the authority saw the message, UTC, if the token is its.

    Args:
        token: the answer of the authority, DER.
        message: what was stamped.
        certificates: that are trusted, DER: its root, and what lies between.
        nonce: the number that stood in the query; None: any.

    Raises:
        EvidenceError: `timestamp_bad`: of other bytes, of another authority, or no token.
        ConfigError: the library is not installed.
    """
    _require()
    from rfc3161_client import VerifierBuilder, decode_timestamp_response  # noqa: PLC0415

    try:
        found = decode_timestamp_response(token)
        builder = VerifierBuilder(nonce=nonce)
        for certificate in dict.fromkeys(certificates):
            builder = builder.add_root_certificate(x509.load_der_x509_certificate(certificate))
        builder.build().verify_message(found, message)
        time = found.tst_info.gen_time
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a hostile token; a panic of the library is no Exception
        why = " ".join(str(error).split())[:200]
        raise EvidenceError(
            f"A time stamp does not hold: {type(error).__name__} {why}.",
            "Compare it with the copy of whoever asked for it.",
            code="timestamp_bad",
        ) from error
    return time.astimezone(UTC)


def certificates_in(pem: bytes) -> tuple[bytes, ...]:
    """The certificates of a PEM file, DER.

    Raises:
        ConfigError: it holds none.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)
    except (ValueError, x509.InvalidVersion) as error:
        raise ConfigError(
            f"There is no certificate in these {len(pem)} bytes: {error}.",
            "Name the PEM file with the authority's root certificate.",
        ) from error
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in found)


def _require() -> None:
    if not is_installed():
        raise ConfigError(
            "Time stamps need the package rfc3161-client, which is not installed.",
            f"Run: {INSTALL}",
            code="timestamp_unchecked",
        )
