"""An agent joins its collector over the network, and renews its certificate later.

Keys are made here and stay here. The token names the collector's certificate, so the first
connection already tells its secret to nobody else; a person then compares the fingerprint of the
evidence key, which signs the request for the TLS certificate, on both sides.
"""

from __future__ import annotations

import hmac
import json
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.enrolment import (
    APPROVED,
    MAX_BYTES,
    PENDING,
    Application,
    Token,
    parse_message,
    proof_message,
)
from joulemark_agent.contract.errors import ConfigError, EvidenceError, UplinkError
from joulemark_agent.contract.signature import decode64, encode64, sign
from joulemark_agent.files import credential, replace_file
from joulemark_agent.keys import Key
from joulemark_agent.settings import SiteSettings
from joulemark_agent.tls import (
    CA,
    FOLDER,
    OWN,
    TlsFiles,
    certificate_fingerprint,
    client_context,
    hosts_of,
    key_pem,
    new_key,
    signing_request,
)

COLLECTOR, REQUEST = "collector.json", "request.key"
WAIT_S, ASK_EVERY_S = 900.0, 2.0
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Joined:
    """What joining or renewing brought."""

    certificate: Path
    until: datetime


def enrolled_files(state_dir: Path) -> TlsFiles:
    """Where enrolling writes."""
    return TlsFiles(state_dir / FOLDER / CA, state_dir / FOLDER / OWN)


def join(
    settings: SiteSettings,
    key: Key,
    url: str,
    token: Token,
    *,
    wait_s: float = WAIT_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Joined:
    """Apply with a token, wait until somebody approves, and keep what is then given.

    Args:
        settings: the site.
        key: the evidence key.
        url: of the collector: `https://HOST:PORT`.
        token: what lets this agent apply once.
        wait_s: how long to wait for the approval. [s]
        sleep: how to wait.

    Raises:
        ConfigError: the address is none, or a file cannot be written.
        EvidenceError: the collector is another than the token names, or what it gives is not ours.
        UplinkError: it cannot be reached, refuses, or nobody approved in time.
    """
    _require_writable(settings)
    own = new_key()
    csr = signing_request(own, settings.agent)
    sent = Application(
        site=settings.site,
        agent=settings.agent,
        devices=tuple(device.id for device in settings.devices),
        key=key.public,
        csr=csr,
        proof=sign(key.private, proof_message(settings.site, settings.agent, csr)),
        secret=token.secret,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the fingerprint says more
    collector = _Collector(url, context, token.fingerprint)
    number = str(collector.ask("enrol", sent.data()).get("id"))
    until_s = time.monotonic() + wait_s
    while (found := collector.ask(f"enrol/{number}", canonical_bytes({})))["state"] == PENDING:
        if time.monotonic() >= until_s:
            raise UplinkError(
                f"Nobody approved within {wait_s:.0f} s.",
                "Have the fingerprint compared and 'joulemark collector enrolments approve' run;"
                " then enrol again with a new token.",
                code="not_approved",
            )
        sleep(ASK_EVERY_S)
    if found["state"] != APPROVED:
        raise UplinkError(
            "The collector's administrator refused this agent.",
            "Ask why; compare the fingerprints again.",
            code="enrolment_refused",
        )
    return _given(settings, own, found, url)


def renew(settings: SiteSettings) -> Joined:
    """A new key and certificate from the collector this agent joined; the old ones are replaced.

    Raises:
        ConfigError: it never joined one, or a file cannot be read or written.
        EvidenceError: what it gives is not ours.
        UplinkError: it cannot be reached, or refuses.
    """
    _require_writable(settings)
    url = str(_remembered(settings.state_dir)["url"])
    context = client_context(enrolled_files(settings.state_dir))
    own = new_key()
    csr = signing_request(own, settings.agent).decode()
    found = _Collector(url, context).ask("renew", canonical_bytes({"csr": csr}))
    return _given(settings, own, found, url)


def request_by_hand(settings: SiteSettings, path: Path) -> None:
    """Make a key, and write the request for its certificate that somebody carries to the authority.

    Raises:
        ConfigError: a file cannot be written.
    """
    own = new_key()
    _write(_request_key(settings), key_pem(own))
    _write(path, signing_request(own, settings.agent), 0o644)


def take_by_hand(settings: SiteSettings, path: Path) -> Joined:
    """Keep what somebody carried back: our certificate, and behind it the authority's.

    Raises:
        ConfigError: a file cannot be read or written.
        EvidenceError: it is not ours.
    """
    key_path = _request_key(settings)
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
        own = load_pem_private_key(key_path.read_bytes(), None)
    except (OSError, ValueError, TypeError, x509.InvalidVersion) as error:
        raise ConfigError(
            f"{path}, or the key {key_path} of the request, cannot be used: {error}.",
            "Make a request with '--csr FILE' first, and carry its certificate back.",
        ) from error
    if len(found) != 2 or not isinstance(own, EllipticCurvePrivateKey):
        raise _not_ours(f"it holds {len(found)} certificates, not ours and the authority's")
    joined = _kept(settings, own, found[0], found[1])
    key_path.unlink()
    return joined


def _request_key(settings: SiteSettings) -> Path:
    return settings.state_dir / FOLDER / REQUEST


def pinned_collector(settings: SiteSettings) -> tuple[str, bytes]:
    """Name and public key of the collector whose receipts count.

    Raises:
        ConfigError: neither the site file nor enrolling says.
    """
    uplink = settings.uplink
    if uplink.collector_name is not None and uplink.collector_key is not None:
        return uplink.collector_name, decode64(uplink.collector_key)
    found = _remembered(settings.state_dir)
    return str(found["name"]), decode64(str(found["key"]))


def _given(
    settings: SiteSettings, own: EllipticCurvePrivateKey, found: Mapping[str, Any], url: str
) -> Joined:
    """Check and keep what the collector gave, itself included."""
    try:
        certificate = x509.load_pem_x509_certificate(str(found["certificate"]).encode())
        authority = x509.load_pem_x509_certificate(str(found["ca"]).encode())
        name, key = str(found["collector"]), decode64(str(found["key"]))
    except (KeyError, ValueError, EvidenceError, x509.InvalidVersion) as error:
        raise _not_ours(f"it cannot be used: {error}") from error
    uplink = settings.uplink
    wanted = uplink.collector_key and (uplink.collector_name, decode64(uplink.collector_key))
    if wanted and wanted != (name, key):
        raise _not_ours(f"its key {encode64(key)} of {name!r} is not the one in the site file")
    remembered = {"key": encode64(key), "name": name, "url": url}
    return _kept(settings, own, certificate, authority, remembered)


def _kept(
    settings: SiteSettings,
    own: EllipticCurvePrivateKey,
    certificate: x509.Certificate,
    authority: x509.Certificate,
    remembered: Mapping[str, str] | None = None,
) -> Joined:
    """Check that a certificate is ours, and write all: it comes last, and makes the rest count."""
    try:
        certificate.verify_directly_issued_by(authority)
        is_ours = certificate.public_key() == own.public_key()
    except (ValueError, TypeError, InvalidSignature) as error:
        raise _not_ours(f"the authority that came with it did not sign it: {error}") from error
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not is_ours or [one.value for one in names] != [settings.agent]:
        raise _not_ours("it is another's")
    files = enrolled_files(settings.state_dir)
    _write(files.ca, authority.public_bytes(Encoding.PEM))
    if remembered is not None:
        _write(files.ca.with_name(COLLECTOR), json.dumps(remembered, indent=1).encode() + b"\n")
    _write(files.certificate, certificate.public_bytes(Encoding.PEM) + key_pem(own))
    return Joined(files.certificate, certificate.not_valid_after_utc)


def _require_writable(settings: SiteSettings) -> None:
    """Raise `ConfigError` where systemd hands our certificate over: it would not be replaced."""
    path = enrolled_files(settings.state_dir).certificate
    if (given := credential(path)) != path:
        raise ConfigError(
            f"The certificate comes from {given}, which cannot be written here.",
            "Run this command without CREDENTIALS_DIRECTORY, and put the new file where systemd"
            " takes the credential from.",
        )


class _Collector:
    """Where an agent joins; each question is a connection of its own."""

    def __init__(self, url: str, context: ssl.SSLContext, fingerprint: str | None = None) -> None:
        parts = urlsplit(url)
        try:
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            self._host, self._port = "", None
        if parts.scheme != "https" or not self._host or self._port is None or "@" in url:
            raise ConfigError(
                f"{url[:120]!r} is not the address of a collector.",
                "Write it as 'https://192.0.2.10:8443'.",
            )
        self._context, self._fingerprint = context, fingerprint

    def ask(self, path: str, body: bytes) -> Mapping[str, Any]:
        """The answer to a question.

        Raises:
            EvidenceError: another collector answered, or what is no answer.
            UplinkError: it cannot be reached, or refuses.
        """
        connection = HTTPSConnection(
            self._host, self._port, context=self._context, timeout=_TIMEOUT_S
        )
        try:
            with closing(connection):
                connection.connect()
                self._check(connection)
                connection.request("POST", f"/{path}", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                status, data = answer.status, answer.read(MAX_BYTES + 1)
        except (OSError, HTTPException) as error:
            raise UplinkError(
                f"The collector at {self._host}:{self._port} cannot be asked: {error}.",
                "Check the address and port, that its file has an 'enrolment' section, and the"
                " firewall between.",
                code="unreachable",
            ) from error
        found = parse_message(data)
        if status not in {200, 202} or "state" not in found:
            raise UplinkError(
                f"The collector refuses: {str(found.get('what'))[:400]}",
                str(found.get("do"))[:400],
                code=str(found.get("code"))[:40],
            )
        return found

    def _check(self, connection: HTTPSConnection) -> None:
        """Raise before anything is told where it is not the collector that the token names."""
        if self._fingerprint is None:
            return
        assert isinstance(connection.sock, ssl.SSLSocket)
        shown = connection.sock.getpeercert(binary_form=True) or b""
        found = certificate_fingerprint(shown)
        if not hmac.compare_digest(found, self._fingerprint):
            raise EvidenceError(
                f"{self._host}:{self._port} shows the certificate {found}, and the token is for"
                f" {self._fingerprint}.",
                "Nothing was told. Check the address; if it is right, somebody stands in between.",
                code="other_collector",
            )
        names = hosts_of(x509.load_der_x509_certificate(shown))
        if self._host not in names:  # by which it is known later, when no token vouches for it
            raise EvidenceError(
                f"The collector's certificate does not bear the name {self._host!r}; it bears"
                f" {', '.join(names) or 'none'}.",
                "Nothing was told. Use one of these names as '--collector', or have the certificate"
                " made again with 'collector ca issue collector --host NAME', and a new token.",
                code="other_name",
            )


def _remembered(state_dir: Path) -> dict[str, Any]:
    path = state_dir / FOLDER / COLLECTOR
    try:
        found = json.loads(path.read_bytes())
        return {name: found[name] for name in ("key", "name", "url")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} does not say which collector this agent joined.",
            "Write 'uplink.collector_key' and 'collector_name' into the site file, or run"
            " 'joulemark agent enroll -c SITE.yaml --collector URL --token-file FILE'.",
        ) from error


def _write(path: Path, data: bytes, mode: int = 0o600) -> None:
    try:
        replace_file(path, data, mode)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.",
            "Check the folder, who may write to it, and the free space.",
        ) from error


def _not_ours(why: str) -> EvidenceError:
    return EvidenceError(
        f"What the collector gave is no certificate for this agent: {why}.",
        "Nothing was changed. Look who answers at that address.",
        code="not_ours",
    )
