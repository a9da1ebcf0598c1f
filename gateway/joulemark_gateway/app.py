"""The collector's wiring: keys, evidence store, series, broker; all decisions are elsewhere."""

from __future__ import annotations

import logging
import signal
import threading
import time
from functools import partial
from pathlib import Path

from joulemark_gateway.evidence import store as evidence
from joulemark_gateway.ingest.intake import Intake, Witness
from joulemark_gateway.ingest.mqtt import Subscriber
from joulemark_gateway.keys import witness_key
from joulemark_gateway.series import embedded
from joulemark_gateway.series.mirror import Mirror
from joulemark_gateway.settings import CollectorSettings

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
    mirror = Mirror(
        partial(evidence.SqliteStore, path, create=False),
        partial(embedded.EmbeddedSeries, series_path(settings)),
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
    try:
        subscriber.run(stop)
    finally:
        mirror.stop()
        intake.close()
        log.info("collector_stopped")


def evidence_path(settings: CollectorSettings) -> Path:
    """Where the evidence is kept."""
    return settings.state_dir / evidence.FILE


def series_path(settings: CollectorSettings) -> Path:
    """Where the series is kept."""
    return settings.state_dir / embedded.FILE
