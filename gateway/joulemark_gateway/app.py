"""The collector's wiring: keys, evidence store, series, broker; all decisions are elsewhere."""

from __future__ import annotations

import logging
import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from joulemark_gateway import alive
from joulemark_gateway.alerts import store as alerts
from joulemark_gateway.alerts.deliver import Deliverer, ways_of
from joulemark_gateway.api.sources import SERIES_CLOSED, OpenSeries, Sources
from joulemark_gateway.bookkeeping.keeper import BookkeepingThread
from joulemark_gateway.bookkeeping.start import open_bookkeeper, open_log, others_of
from joulemark_gateway.costs.files import load_tariffs
from joulemark_gateway.costs.months import CostBook
from joulemark_gateway.daily import TURN_S, Daily
from joulemark_gateway.evidence.compactor import CompactorThread
from joulemark_gateway.following.so_far import Board
from joulemark_gateway.ingest.intake import Intake, Witness
from joulemark_gateway.ingest.live import LiveBoard
from joulemark_gateway.ingest.mqtt import Subscriber
from joulemark_gateway.ingest.requests import Requests
from joulemark_gateway.ingest.tally import Tally
from joulemark_gateway.keys import witness_key
from joulemark_gateway.pki.running import serve_enrolment, watch_certificates
from joulemark_gateway.registry import LiveRegistry
from joulemark_gateway.reports import stored
from joulemark_gateway.series import embedded, influx, progress
from joulemark_gateway.series.base import Series
from joulemark_gateway.series.mirror import Mirror
from joulemark_gateway.series.retention import Retention
from joulemark_gateway.series.servers import Server
from joulemark_gateway.settings import CollectorSettings
from joulemark_gateway.sharing import RegistryExchange
from joulemark_gateway.stopping import asked_to_stop
from joulemark_gateway.turning import TurningThread
from joulemark_gateway.web.server import start_pages

if TYPE_CHECKING:
    from joulemark_gateway.following.follower import FollowerThread

_OTHERS_S = 5.0  # after which evidence that another collector took is in the series, too

log = logging.getLogger(__name__)


def run(settings: CollectorSettings) -> None:
    """Collect until SIGTERM or Ctrl-C; then finish the message at hand and leave in order.

    Raises:
        JoulemarkError: a key, the evidence store or the login cannot be used.
    """
    with asked_to_stop() as stop:
        collect(settings, stop)


def collect(settings: CollectorSettings, stop: threading.Event) -> None:
    """Collect until told to stop; errors as `run`."""
    key, living = witness_key(settings.state_dir), alive.Alive()
    ledger, limits = settings.evidence, settings.limits
    ledger.claim(settings.name, key.public)
    open_store = partial(
        ledger.writer,
        quarantine_bytes=limits.quarantine_bytes,
        quarantine_messages=limits.quarantine_messages,
    )
    witness = Witness(settings.name, key.private)
    exchange = RegistryExchange(
        settings.state_dir, ledger, living.beat("registry", alive.REGISTRY_S)
    )
    registry = LiveRegistry(settings.registry, settings.state_dir)
    others_of(settings.log)  # what is wrong with it is told before anything starts
    costs = CostBook(load_tariffs(settings.costs))  # likewise
    deliverer = open_deliverer(settings)
    reports = [project.report for project in settings.projects if project.report is not None]
    copies = stored.Copies([one for one in reports if isinstance(one, str)], settings.state_dir)
    requests = Requests(settings.state_dir)
    board = LiveBoard()
    tally = Tally()
    intake = Intake(open_store, registry, witness, _now_us, requests.note, board=board, tally=tally)
    open_log(settings).store.close()
    books = BookkeepingThread(
        partial(open_bookkeeper, settings, registry), _now_us, living.beat("log", alive.LOG_S)
    )
    series = OpenSeries()
    mirror = None
    if settings.series.kind != "none":
        mirror = Mirror(
            ledger.reader,
            partial(series.opened, partial(open_series, settings)),
            lambda: subscriber.is_busy,
            living.beat("series", alive.SERIES_S),
            look_every_s=_OTHERS_S if ledger.is_shared else None,
        )
    subscriber = Subscriber(
        settings.broker,
        intake,
        agents=registry,
        waiting_batches=limits.waiting_batches,
        on_growth=partial(_poke, mirror, books),
        greetings=intake.greetings,
        requests=requests,
        group=settings.broker.group,
        sharing=intake,
        tls=None if settings.broker.tls is None else settings.broker.tls.files(settings.state_dir),
        on_turn=living.beat("messages", alive.MESSAGES_S).on,
    )
    fields = {
        "state_dir": str(settings.state_dir),
        "ledger": ledger.where,
        "witness": key.fingerprint,
    }
    log.info("collector_started", extra=fields)
    beat = living.beat("compaction", alive.COMPACTION_S)
    compactor = CompactorThread(ledger.compactor, _now_us, beat)
    exchange.start()
    if mirror is not None:
        mirror.start()
    books.start()
    compactor.start()
    savings = Board()
    follower = open_follower(settings, savings)
    sources = Sources(
        settings.name,
        key.public,
        ledger,
        series,
        [one for one in reports if isinstance(one, Path)],
        copies,
        registry=registry,
        settings=settings,
        live=board,
        savings=savings,
        tally=tally,
        costs=costs,
        alerts=alerts.Alerts(alerts_path(settings)),
    )
    looker = Daily(sources, settings.alerts, alerts_path(settings))
    daily = TurningThread(
        "daily",
        lambda _: looker.turn(),
        every_s=TURN_S,
        beat=living.beat("daily", alive.DAILY_S),
        untold=frozenset({SERIES_CLOSED}),
    )
    copier = TurningThread(
        "reports",
        copies.turn,
        every_s=stored.EVERY_S,
        beat=living.beat("reports", alive.REPORTS_S),
    )
    beat = living.beat("pages", alive.PAGES_S)
    pages = start_pages(settings.pages, settings.state_dir, sources, beat)
    enrolment = serve_enrolment(settings, key.public, registry)
    watch_certificates(settings, stop)
    if follower is not None:
        follower.start()
    daily.start()
    copier.start()
    if deliverer is not None:
        deliverer.start()
    living.start()
    try:
        subscriber.run(stop)
    finally:
        living.ending()
        if pages is not None:
            pages.stop()
        if enrolment is not None:
            enrolment.stop()
        if follower is not None:
            follower.stop()
        daily.stop()
        copier.stop()
        if deliverer is not None:
            deliverer.stop()
        if mirror is not None:
            mirror.stop()
        exchange.stop()
        books.stop()
        compactor.stop()
        intake.close()
        living.stop()
        log.info("collector_stopped")


def _now_us() -> int:
    return time.time_ns() // 1000


def _poke(mirror: Mirror | None, books: BookkeepingThread) -> None:
    if mirror is not None:
        mirror.poke()
    books.poke()


def series_path(settings: CollectorSettings) -> Path:
    """Where the embedded series is kept."""
    return settings.state_dir / embedded.FILE


def alerts_path(settings: CollectorSettings) -> Path | None:
    """Where alerts are kept; None where the file tells nobody of anything."""
    return None if settings.alerts is None else settings.state_dir / alerts.FILE


def open_deliverer(settings: CollectorSettings) -> Deliverer | None:
    """What delivers notices; None where nobody is told.

    Raises:
        ConfigError: a secret or password is missing.
        StoreError: the file of alerts cannot be used.
    """
    path = alerts_path(settings)
    if settings.alerts is None or path is None:
        return None
    ways = ways_of(settings.alerts, os.environ)
    alerts.AlertStore(path).close()  # what is wrong with it is told before anything starts
    return Deliverer(path, settings.alerts, ways, _now_us)


def open_follower(settings: CollectorSettings, board: Board) -> FollowerThread | None:
    """What keeps running projects up to date; None where the file follows none."""
    paths = [project.follow for project in settings.projects if project.follow is not None]
    if not paths:
        return None
    from joulemark_gateway.following.child import found_by_a_child  # noqa: PLC0415 - heavy
    from joulemark_gateway.following.follower import (  # noqa: PLC0415 - likewise
        Follower,
        FollowerThread,
    )
    from joulemark_gateway.following.rows import SavingRows  # noqa: PLC0415 - likewise

    is_embedded = settings.series.kind == "embedded"
    rows = None if is_embedded else SavingRows(series_on_server(settings))
    return FollowerThread(
        Follower(paths, settings.state_dir, board, found_by_a_child, rows), _now_us
    )


def open_series(settings: CollectorSettings) -> Series:
    """The series that the file names; each part of the program that needs it opens its own.

    Raises:
        StoreError: it cannot be used.
    """
    if settings.series.kind == "embedded":
        return embedded.EmbeddedSeries(series_path(settings), kept_of(settings))
    return series_on_server(settings)


def kept_of(settings: CollectorSettings) -> Retention:
    """For how long the rows of the embedded series are kept."""
    return Retention(settings.series.raw_days, settings.series.quarter_days)


def series_on_server(settings: CollectorSettings) -> influx.InfluxSeries:
    """The same where it is kept on a server."""
    wanted = settings.series
    token = wanted.token.get_secret_value() if wanted.token else ""
    server = Server(wanted.url or "", wanted.org, wanted.bucket, token)
    return influx.InfluxSeries(wanted.kind, server, settings.state_dir / progress.FILE)
