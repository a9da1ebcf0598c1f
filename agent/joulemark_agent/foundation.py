"""What an agent stands on: its stores, opened however long that takes, and who writes to them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial

from joulemark_agent import archive
from joulemark_agent.approved import recorded_devices, software_digest, terms_of
from joulemark_agent.archive import ArchivedOutbox
from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.reading import SIMULATED, Reading
from joulemark_agent.enrolment import pinned_collector
from joulemark_agent.evidence_mode import is_committed
from joulemark_agent.grants import forget_sites, keep_site, take_reserve
from joulemark_agent.keeper import DISK_FAILED, DISK_FULL, RESERVE, RETRY_S
from joulemark_agent.keys import Key
from joulemark_agent.outbox import Outbox
from joulemark_agent.plan import US_PER_S
from joulemark_agent.plausibility import Watch
from joulemark_agent.raw_requests import Desk
from joulemark_agent.recorded import Limits, Wall
from joulemark_agent.recorder import AGENT_DOWN, Recorder
from joulemark_agent.room import Reserve
from joulemark_agent.rotation import settled_key
from joulemark_agent.settings import SiteSettings, site_document
from joulemark_agent.sparkplug.session import Session
from joulemark_agent.sparkplug.site import sample_of, session_of
from joulemark_agent.sqlite_file import SICK
from joulemark_agent.store_thread import StoreThread
from joulemark_agent.troubles import Troubles
from joulemark_agent.watchdog import ServiceManager

log = logging.getLogger(__name__)
OUTBOX = "outbox.db"


@dataclass(frozen=True)
class Base:
    """What an agent stands on: its stores, and who writes to them."""

    key: Key
    outbox: Outbox
    desk: Desk | None
    recorder: Recorder
    watch: Watch
    store: StoreThread
    sparkplug: Session | None


async def opened(
    settings: SiteSettings, key: Key, stack: ExitStack, manager: ServiceManager
) -> Base:
    """Open the stores; a disk that is full or fails is waited for, however long that takes.

    Raises:
        ConfigError: a grant does not fit, or is missing.
        StoreError: waiting cannot help.
    """
    troubles, began_us, cause = Troubles(log), time.time_ns() // 1000, DISK_FULL
    while True:
        try:
            with ExitStack() as attempt:
                base = open_base(settings, key, attempt)
                if troubles.open() and settings.replay is None:
                    base.recorder.stop(AGENT_DOWN, began_us)
                    base.recorder.blame(cause)
                stack.push(attempt.pop_all())
        except StoreError as error:
            if error.code not in SICK | {DISK_FULL}:
                raise
            cause = DISK_FULL if error.code == DISK_FULL else DISK_FAILED
            if cause == DISK_FULL:  # else what fills it, if that is ours, would never be sent
                Reserve(settings.state_dir / RESERVE).release()
            troubles.say("outbox_full" if cause == DISK_FULL else "outbox_down", error)
            manager.ready()
            manager.status(error.what)
            await asyncio.sleep(RETRY_S)
        else:
            for event in ("outbox_full", "outbox_down"):
                troubles.say_over(event, "outbox_back")
            return base


def open_base(settings: SiteSettings, key: Key, stack: ExitStack) -> Base:
    """Open the stores, have ended trees gone on with by the reserve grants, and begin to record."""
    keep_site(settings.state_dir, site_document(settings))
    outbox, desk = stack.enter_context(_stores(settings))
    openings = [tree.opening for tree in outbox.trees()]
    forget_sites(settings.state_dir, site_document(settings), openings)
    if settings.evidence_key is None:
        key = settled_key(settings.state_dir, key, (tree.head for tree in outbox.trees()))
    devices = recorded_devices(settings, key)
    outbox.end_forgotten((device.device, device.epoch) for device in devices)
    ended = {(item.device, item.epoch) for item in outbox.ended()}
    if lost := {one.device for one in devices if (one.device, one.epoch) in ended}:
        for device in settings.devices:
            if device.id in lost:
                take_reserve(settings.state_dir, terms_of(settings, device, key))
        devices = recorded_devices(settings, key)
    watch = Watch({device.device: device.profile for device in devices})
    sparkplug = session_of(settings, devices)
    interval_us = settings.interval_s * US_PER_S if settings.is_committed else None
    recorder = Recorder(
        outbox,
        key,
        devices,
        limits=Limits(settings.batch.slots, settings.batch.seconds, interval_us),
        software=software_digest(),
        observe=partial(_observe, watch, sparkplug),
    )
    store = StoreThread()
    stack.callback(store.close)
    if sparkplug is not None:  # last: what fails above is tried again every second
        sparkplug.start()
        stack.callback(sparkplug.close)
    return Base(key, outbox, desk, recorder, watch, store, sparkplug)


@contextmanager
def _stores(settings: SiteSettings) -> Iterator[tuple[Outbox, Desk | None]]:
    """The outbox; with committed evidence one with an archive, and who answers for that.

    Where evidence is full now, an archive of former days stays: nothing is added once the old
    batches are gone, and nothing goes.

    Raises:
        StoreError: one of them cannot be used.
    """
    path = settings.state_dir / archive.FILE
    if not settings.is_committed and not path.exists():
        with closing(Outbox(settings.state_dir / OUTBOX)) as outbox:
            yield outbox, None
        return
    _, key = pinned_collector(settings)
    quota_mb = settings.archive.quota_mb if settings.is_committed else None
    mode = partial(is_committed, state_dir=settings.state_dir, otherwise=settings.is_committed)
    with (
        closing(archive.Archive(path, quota_mb)) as kept,
        closing(ArchivedOutbox(settings.state_dir / OUTBOX, kept, mode)) as outbox,
    ):
        wall_us = Wall().utc_us
        yield outbox, Desk(kept, settings.raw_requests, settings.site, key, wall_us)


def withholds(outbox: Outbox) -> Callable[[str, int], bool] | None:
    """Which trees' raw records stay here; None: there are none such."""
    return outbox.withholds if isinstance(outbox, ArchivedOutbox) else None


def _observe(
    watch: Watch,
    sparkplug: Session | None,
    reading: Reading,
    values: Mapping[str, str],
    quality: Mapping[str, str],
) -> None:
    """Say it when what a device says cannot be true any more, and when it can again."""
    if sparkplug is not None:
        sparkplug.offer(sample_of(reading, values, quality))
    is_simulated = reading.time_quality.sync == SIMULATED
    went_by_us = reading.t_utc_us if is_simulated else reading.t_mono_ns // 1000
    for change in watch.take(reading.device, went_by_us, values, quality):
        verdict = change.verdict
        fields = {"device": change.device, "check": verdict.rule, "points": list(verdict.points)}
        if change.begins:
            wrong = {"what": f"{verdict.found}.", "do": verdict.do}
            log.warning("device_implausible", extra={**fields, **wrong})
        else:
            log.info("device_plausible", extra=fields)
