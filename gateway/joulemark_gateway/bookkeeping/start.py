"""From the collector's file to what keeps its log."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import decode64
from joulemark_gateway.access.chain import Ends
from joulemark_gateway.access.events import ends_in
from joulemark_gateway.bookkeeping.keeper import Bookkeeper, Others
from joulemark_gateway.bookkeeping.settings import LogSettings
from joulemark_gateway.bookkeeping.stamping import Authority
from joulemark_gateway.bookkeeping.witnesses import Peer
from joulemark_gateway.evidence.log import CollectorLog
from joulemark_gateway.evidence.timestamps import INSTALL, certificates_in, is_installed
from joulemark_gateway.ingest.registered import Registry
from joulemark_gateway.keys import witness_key

if TYPE_CHECKING:
    from joulemark_gateway.settings import CollectorSettings

_US_PER_S = 1_000_000


def open_log(settings: CollectorSettings) -> CollectorLog:
    """The collector's log, to be written.

    Raises:
        StoreError: there is no evidence store, or it cannot be used.
    """
    store = settings.evidence.log()
    try:
        return CollectorLog(store, settings.name, witness_key(settings.state_dir).private)
    except BaseException:
        store.close()
        raise


def open_bookkeeper(settings: CollectorSettings, registry: Callable[[], Registry]) -> Bookkeeper:
    """All of it, opened; errors as `open_log` and `others_of`."""
    others = others_of(settings.log)
    evidence = settings.evidence.reader()
    try:
        book = open_log(settings)
    except BaseException:
        evidence.close()
        raise
    every_us = settings.log.close_every_s * _US_PER_S
    security: Callable[[], Ends | None] = partial(ends_in, settings.state_dir)
    if settings.evidence.is_shared and settings.pages is None:
        security = _nobody  # the log follows one security log: that of the collector with the pages
    return Bookkeeper(book, evidence, registry, others, every_us, security=security)


def _nobody() -> Ends | None:
    return None


def others_of(settings: LogSettings) -> Others:
    """Who sees the heads of the log.

    Raises:
        ConfigError: a certificate cannot be read, or what time stamps need is not installed.
    """
    if settings.authorities and not is_installed():
        raise ConfigError(
            "The section 'log' names time-stamping authorities, and rfc3161-client is not"
            " installed.",
            f"Run: {INSTALL}, or take the authorities out.",
        )
    authorities = [
        Authority(item.name, item.url, _certificates(item.certificates))
        for item in settings.authorities
    ]
    return Others(peers_of(settings), tuple(authorities))


def peers_of(settings: LogSettings) -> tuple[Peer, ...]:
    """The witnesses of the log."""
    return tuple(Peer(item.name, decode64(item.key), item.url) for item in settings.witnesses)


def _certificates(path: Path) -> tuple[bytes, ...]:
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and who may read it."
        ) from error
    return certificates_in(pem)
