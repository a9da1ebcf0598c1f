"""TLS of a server of ours: its certificate, looked at with every connection, so that it is renewed.

Whoever reaches it may be asked for a certificate of the site. One that is shown and does not hold
ends the connection.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.files import credential
from joulemark_agent.tls import load_own

log = logging.getLogger(__name__)


def server_context(
    certificate: Path,
    key: Path | None = None,
    *,
    clients: Path | None = None,
    revoked: Path | None = None,
    must_show: bool = False,
) -> ssl.SSLContext:
    """TLS 1.2 or later with this certificate, as the files are when somebody connects.

    Where clients may show a certificate it is TLS 1.3 without session tickets: a session that is
    resumed is not checked again, and who was revoked since would come in with it.

    Args:
        certificate: in PEM.
        key: its private key; None: it stands in the same file.
        clients: the certificate of the authority whose clients may show one; None: nobody is asked.
        revoked: its list of those that were taken back; None: it is not looked at.
        must_show: whether nobody gets in who shows none.

    Raises:
        ConfigError: a file cannot be used; later the one before is shown on.
    """
    return _Renewed([certificate, *([key] if key else [])], clients, revoked, must_show).context


class _Renewed:
    """A context that has another one take its place when the files have changed."""

    def __init__(
        self, own: list[Path], clients: Path | None, revoked: Path | None, must_show: bool
    ) -> None:
        self._own, self._clients, self._revoked = own, clients, revoked
        self._must_show = must_show
        self._seen = self._mark()
        self.context = self._now = self._made()
        self.context.sni_callback = self._connected

    def _connected(self, connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        if (mark := self._mark()) != self._seen:
            self._seen = mark
            try:
                self._now = self._made()
            except ConfigError as error:
                fields = {"what": error.what, "do": error.do}
                log.error("certificate_unusable", extra=fields)  # noqa: TRY400 - said in full
            else:
                log.info("certificates_changed")
        connection.context = self._now

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        load_own(context, *self._own)
        if self._clients is None:
            return context
        context.minimum_version, context.num_tickets = ssl.TLSVersion.TLSv1_3, 0
        context.verify_mode = ssl.CERT_REQUIRED if self._must_show else ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(self._clients)
            if self._revoked is not None:
                context.load_verify_locations(self._revoked)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"{self._clients} and {self._revoked} cannot be used for clients: {error}.",
                "Name the authority's certificate and its revocation list, both in PEM.",
            ) from error
        return context

    def _mark(self) -> tuple[tuple[int, int] | None, ...]:
        """What tells one state of the files from another."""
        files = [*map(credential, self._own), *filter(None, (self._clients, self._revoked))]
        return tuple(map(_mark_of, files))


def _mark_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
