"""The collector's wiring: keys, evidence store, series, broker; all decisions are elsewhere."""

from __future__ import annotations

import logging
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from joulemark_gateway.api.sources import OpenSeries, Sources
from joulemark_gateway.evidence import store as evidence
from joulemark_gateway.ingest.intake import Intake, Witness
from joulemark_gateway.ingest.mqtt import Subscriber
from joulemark_gateway.keys import witness_key
from joulemark_gateway.series import embedded, influx, progress
from joulemark_gateway.series.base import Series
from joulemark_gateway.series.mirror import Mirror
from joulemark_gateway.series.servers import Server
from joulemark_gateway.settings import CollectorSettings, PagesSettings

if TYPE_CHECKING:
    from joulemark_gateway.web.server import PagesServer

log = logging.getLogger(__name__)


def run(settings: CollectorSettings) -> None:
    """Collect until SIGTERM or Ctrl-C; then finish the message at hand and leave in order.

    Raises:
        JoulemarkError: a key, the evidence store or the login cannot be used.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    collect(settings, stop)


def collect(settings: CollectorSettings, stop: threading.Event) -> None:
    """Collect until told to stop; errors as `run`."""
    key = witness_key(settings.state_dir)
    path, limits = evidence_path(settings), settings.limits
    open_store = partial(
        evidence.SqliteStore,
        path,
        quarantine_bytes=limits.quarantine_bytes,
        quarantine_messages=limits.quarantine_messages,
    )
    witness = Witness(settings.name, key.private)
    intake = Intake(open_store, settings.registry, witness, lambda: time.time_ns() // 1000)
    series = OpenSeries()
    mirror = Mirror(
        partial(evidence.SqliteStore, path, create=False),
        partial(series.opened, partial(open_series, settings)),
        lambda: subscriber.is_busy,
    )
    subscriber = Subscriber(
        settings.broker,
        intake,
        agents=frozenset(settings.registry.agents),
        waiting_batches=limits.waiting_batches,
        on_growth=mirror.poke,
    )
    fields = {"state_dir": str(settings.state_dir), "witness": key.fingerprint}
    log.info("collector_started", extra=fields)
    mirror.start()
    reports = [project.report for project in settings.projects]
    sources = Sources(settings.name, key.public, path, series, reports)
    pages = _serve(settings.pages, sources)
    try:
        subscriber.run(stop)
    finally:
        if pages is not None:
            pages.stop()
        mirror.stop()
        intake.close()
        log.info("collector_stopped")


def _serve(wanted: PagesSettings | None, sources: Sources) -> PagesServer | None:
    """The pages, where they are wanted and their address can be had: evidence goes on without."""
    if wanted is None:
        return None
    from joulemark_gateway.web.server import PagesServer  # noqa: PLC0415 - only where wanted

    try:
        return PagesServer(sources, wanted.host, wanted.port)
    except OSError as error:
        what = f"The pages cannot listen on {wanted.host}:{wanted.port}"
        do = "Set another pages.port in the collector's file, or 'pages: null'."
        fields = {"what": f"{what}: {error.strerror}.", "do": do}
        log.error("pages_down", extra=fields)  # noqa: TRY400 - said in full
        return None


def evidence_path(settings: CollectorSettings) -> Path:
    """Where the evidence is kept."""
    return settings.state_dir / evidence.FILE


def series_path(settings: CollectorSettings) -> Path:
    """Where the embedded series is kept."""
    return settings.state_dir / embedded.FILE


def open_series(settings: CollectorSettings) -> Series:
    """The series that the file names; each part of the program that needs it opens its own.

    Raises:
        StoreError: it cannot be used.
    """
    if settings.series.kind == "embedded":
        return embedded.EmbeddedSeries(series_path(settings))
    return series_on_server(settings)


def series_on_server(settings: CollectorSettings) -> influx.InfluxSeries:
    """The same where it is kept on a server."""
    wanted = settings.series
    token = wanted.token.get_secret_value() if wanted.token else ""
    server = Server(wanted.url or "", wanted.org, wanted.bucket, token)
    return influx.InfluxSeries(wanted.kind, server, settings.state_dir / progress.FILE)
