"""The running agent: clock -> poller -> recorder -> uplink. Wiring and order, nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import signal
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from joulemark_agent import archive
from joulemark_agent.answers import Collector
from joulemark_agent.archive import ArchivedOutbox
from joulemark_agent.clock import Clock, ReplayClock, SystemClock, next_slot_us
from joulemark_agent.contract.canonical import digest_hex
from joulemark_agent.contract.errors import ConfigError, DeviceError, JoulemarkError, StoreError
from joulemark_agent.contract.health import health_bytes
from joulemark_agent.contract.reading import Gap, Reading
from joulemark_agent.contract.topics import health_topic
from joulemark_agent.enrolment import pinned_collector
from joulemark_agent.envelope import Carbon, warm
from joulemark_agent.figures import warm as warm_model
from joulemark_agent.grants import Terms, keep_site, kept_site, load_grant, take_reserve
from joulemark_agent.guard import Guard
from joulemark_agent.health import HEALTH_EVERY_S, health_of, state_of, troubles_of
from joulemark_agent.keeper import DISK_FULL, RETRY_S, Keeper
from joulemark_agent.keys import AGENT_KEY, Key, agent_key, has_key, load_key
from joulemark_agent.lines import by_line
from joulemark_agent.mending import TREE_LOST
from joulemark_agent.mqtt import Login
from joulemark_agent.outbox import Outbox, Sealed
from joulemark_agent.plan import PlannedDevice
from joulemark_agent.plausibility import Watch
from joulemark_agent.poll import patience_us
from joulemark_agent.raw_requests import Desk
from joulemark_agent.recorder import AGENT_DOWN, Limits, Recorded, Recorder, Wall
from joulemark_agent.refused import FILE, Book
from joulemark_agent.reload import Crew, check_can_change, differences
from joulemark_agent.room import thinned_us
from joulemark_agent.rotation import (
    former_keys,
    next_key,
    note_former,
    settled_key,
    take_over,
)
from joulemark_agent.settings import US_PER_S, DeviceSettings, SiteSettings, site_document
from joulemark_agent.sparkplug.session import Session
from joulemark_agent.sparkplug.site import sample_of, session_of, told
from joulemark_agent.store_thread import StoreThread
from joulemark_agent.tls import expiry_warning
from joulemark_agent.troubles import Troubles
from joulemark_agent.uplink import Uplink
from joulemark_agent.watchdog import ServiceManager

log = logging.getLogger(__name__)

OUTBOX = "outbox.db"
GROUP_SLOTS = 10  # per commit in a replay; the simulator waits for the commit
THINNED = "thinned"  # cause of slots that were not read for want of room on the disk
MB = 1_000_000
_DAY_S = 86_400.0
_RENEW = (
    "Run 'joulemark agent renew -c SITE.yaml'; the new one is used from the next connection on."
)
_LATE_US = 1_000_000  # so far behind its clock the agent says so, and commits what it has
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def run(
    settings: SiteSettings, again: Callable[[], SiteSettings] | None = None
) -> dict[str, Any]:
    """Run the agent until SIGTERM, SIGINT or the end of the recording.

    Args:
        settings: the site.
        again: reads the site file anew, at every SIGHUP; ConfigError: the old one stays.

    Returns:
        what was recorded: slots, records, gap slots, the head of every device.

    Raises:
        ConfigError: not enrolled, or enrolled for something else.
        StoreError: the outbox cannot be used.
        DeviceError: the simulator refuses this state folder.
    """
    hung_up = asyncio.Event()
    if again is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up.set)
    try:
        while True:
            try:
                return await _run(settings, again, hung_up)
            except StoreError as error:
                if error.code != TREE_LOST:
                    raise
                fields = {"code": error.code, "what": error.what, "do": error.do}
                log.error("starting_anew", extra=fields)  # noqa: TRY400 - said in full
    finally:
        if again is not None:  # ending is no time to be ended
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)


async def _run(
    settings: SiteSettings, again: Callable[[], SiteSettings] | None, hung_up: asyncio.Event
) -> dict[str, Any]:
    key = evidence_key(settings)
    devices = recorded_devices(settings, key)
    _warm(devices)  # before anything is due: compiling stops everything else
    manager = ServiceManager()
    with ExitStack() as stack:
        base = await _opened(settings, key, stack, manager)
        uplink = Uplink(
            _login(settings),
            _collector(settings, base.key),
            base.outbox,
            on_request=None if base.desk is None else base.desk.ask,
            store=base.store,
        )
        agent = _Agent(settings, base, uplink, manager, hung_up=hung_up)
        fields = {"site": settings.site, "agent": settings.agent, "devices": len(devices)}
        log.info("agent_started", extra={**fields, "unconfirmed": uplink.unconfirmed})
        manager.ready()
        try:
            care = agent.care(again)
            if isinstance(base.outbox, ArchivedOutbox) and base.desk is not None:
                care.append(agent.answer(base.desk, base.outbox))
            has_ended = await _until_stopped(*agent.work(), uplink.start(), *care)
            manager.stopping()
            await agent.finish()
        finally:
            await uplink.close()
            await agent.close()
        return _summary(settings, base.recorder, uplink, base.watch, has_ended=has_ended)


@dataclass(frozen=True)
class _Base:
    """What an agent stands on: its stores, and who writes to them."""

    key: Key
    outbox: Outbox
    desk: Desk | None
    recorder: Recorder
    watch: Watch
    store: StoreThread
    sparkplug: Session | None


async def _opened(
    settings: SiteSettings, key: Key, stack: ExitStack, manager: ServiceManager
) -> _Base:
    """Open the stores; a disk that is full or fails is waited for, however long that takes.

    Raises:
        ConfigError: a grant does not fit, or is missing.
        StoreError: waiting cannot help.
    """
    troubles, began_us = Troubles(log), time.time_ns() // 1000
    while True:
        try:
            with ExitStack() as attempt:
                base = _open(settings, key, attempt)
                if troubles.open() and settings.replay is None:
                    base.recorder.stop(AGENT_DOWN, began_us)
                    base.recorder.blame(DISK_FULL)
                stack.push(attempt.pop_all())
        except StoreError as error:
            if error.code not in {DISK_FULL, "io_error"}:
                raise
            troubles.say("outbox_full", error)
            manager.ready()
            manager.status(error.what)
            await asyncio.sleep(RETRY_S)
        else:
            troubles.say_over("outbox_full", "outbox_back")
            return base


def _open(settings: SiteSettings, key: Key, stack: ExitStack) -> _Base:
    """Open the stores, have ended trees gone on with by the reserve grants, and begin to record."""
    keep_site(settings.state_dir, site_document(settings))
    outbox, desk = stack.enter_context(_stores(settings))
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
    if (sparkplug := session_of(settings, devices)) is not None:
        sparkplug.start()
        stack.callback(sparkplug.close)
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
    return _Base(key, outbox, desk, recorder, watch, store, sparkplug)


@contextmanager
def _stores(settings: SiteSettings) -> Iterator[tuple[Outbox, Desk | None]]:
    """The outbox; in committed mode one with an archive, and who answers for that.

    Raises:
        StoreError: one of them cannot be used.
    """
    if not settings.is_committed:
        with closing(Outbox(settings.state_dir / OUTBOX)) as outbox:
            yield outbox, None
        return
    path = settings.state_dir / archive.FILE
    _, key = pinned_collector(settings)
    with (
        closing(archive.Archive(path, settings.archive.quota_mb)) as kept,
        closing(ArchivedOutbox(settings.state_dir / OUTBOX, kept)) as outbox,
    ):
        wall_us = Wall().utc_us
        yield outbox, Desk(kept, settings.raw_requests, settings.site, key, wall_us)


def evidence_key(settings: SiteSettings, *, create: bool = False) -> Key:
    """The agent's key, in a file or a token, which enrolling made.

    Args:
        settings: the site.
        create: whether to make it where there is none: when enrolling.

    Raises:
        ConfigError: there is none, or others may read it.
    """
    if settings.evidence_key is not None:
        from joulemark_agent.pkcs11_key import token_key  # noqa: PLC0415 - an extra

        return token_key(settings.evidence_key.place(), create=create)
    if create:
        return agent_key(settings.state_dir)
    path = settings.state_dir / AGENT_KEY
    if not has_key(path):
        raise ConfigError(
            f"The agent {settings.agent!r} has no key in {settings.state_dir}.",
            "Run 'joulemark agent enroll -c SITE.yaml --operator-key FILE' first.",
        )
    return load_key(path)


def terms_of(settings: SiteSettings, device: DeviceSettings, key: Key) -> Terms:
    """What the operator must have approved for a device to be read as configured."""
    return Terms(
        former_keys=former_keys(settings.state_dir),
        site=settings.site,
        device=device.id,
        clock=settings.clock,
        agent=settings.agent,
        agent_key=key.public,
        first_slot_us=settings.first_slot_us(device),
        documents={name: digest_hex(data) for name, data in _documents(settings, device).items()},
    )


def recorded_devices(settings: SiteSettings, key: Key) -> list[Recorded]:
    """Every device with its grant and documents.

    Raises:
        ConfigError: a device has no grant, or for something else than is configured.
    """
    carbon = Carbon(
        settings.factor_set()[0],
        settings.factors.rule_set,
        settings.factors.jurisdiction,
        ZoneInfo(settings.time_zone),
    )
    return [
        Recorded(
            profile=settings.profile(device)[0],
            period_us=device.period_us,
            grant=load_grant(settings.state_dir, terms_of(settings, device, key)),
            documents=_documents(settings, device),
            carbon=carbon,
            figures=settings.figures_of(device),
        )
        for device in settings.devices
    ]


def software_digest() -> str:
    """SHA-256 over the agent's own code: a line of path and SHA-256 for each .py file, sorted."""
    package = Path(__file__).parent
    lines = [
        f"{path.relative_to(package).as_posix()} {digest_hex(path.read_bytes())}\n"
        for path in sorted(package.rglob("*.py"))
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class _Agent:
    """The loop that reads slot after slot, and what it has read and not yet committed."""

    def __init__(
        self,
        settings: SiteSettings,
        base: _Base,
        uplink: Uplink,
        manager: ServiceManager,
        *,
        hung_up: asyncio.Event,
    ) -> None:
        planned = settings.planned_devices()
        recorder = base.recorder
        self._settings, self._key = settings, base.key
        self._recorder, self._uplink, self._watch = recorder, uplink, base.watch
        self._sparkplug = base.sparkplug
        self._is_replay = settings.replay is not None
        self._clock: Clock = ReplayClock(settings.replay.url) if settings.replay else SystemClock()
        crews = {"": planned} if self._is_replay else by_line(planned)
        self._book = Book(settings.state_dir / FILE)
        self._crews = {url: self._crew(those) for url, those in crews.items()}
        self._crews_changed, self._hung_up = asyncio.Event(), hung_up
        self._period_us = {device.id: device.period_us for device in planned}
        self._done_us = {name: recorder.committed_us(name) for name in self._period_us}
        self._windows = {device.id: (device.first_us, device.last_us) for device in planned}
        self._pending: list[Reading | Gap] = []
        self._committing = asyncio.Lock()
        self._troubles = Troubles(log)
        self._keeper = Keeper(
            recorder,
            base.outbox,
            uplink,
            base.store,
            folder=settings.state_dir,
            quota_bytes=settings.outbox.quota_mb * MB,
            now_us=self._clock.now_us,
            is_replay=self._is_replay,
        )
        self._thinned: set[str] = set()  # devices that were read last while room was short
        self._guard = Guard(manager, base.store)

    def _crew(self, devices: Iterable[PlannedDevice], lost: Collection[str] = ()) -> Crew:
        return Crew(devices, self._clock, self._book, is_shared=not self._is_replay, lost=lost)

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """The job that reads; its end is the end of the agent."""
        return [self._replay() if self._is_replay else self._read_all()]

    def care(self, again: Callable[[], SiteSettings] | None) -> list[Coroutine[Any, Any, None]]:
        """The jobs that go on beside reading."""
        care = [self._keeper.care(), self._close_batches(), self._renew_key(), self._tell_health()]
        care.append(self._guard.watch(self._restart_line, lambda: self._keeper.is_stopped))
        if self._is_replay:
            return care
        follow = [] if again is None else [self._follow(again)]
        return [*care, self._watch_clock(), self._watch_certificate(), *follow]

    async def answer(self, desk: Desk, outbox: ArchivedOutbox) -> None:
        """Answer requests for raw records, and keep the archive within its quota, for ever."""

        async def note(device: str, kind: str, fields: Mapping[str, Any]) -> None:
            async with self._committing:
                await self._keep(partial(self._recorder.note, device, kind, fields))

        while True:
            try:
                await desk.work(note, self._uplink.send_raw, outbox.received)
            except StoreError as error:
                if error.code != DISK_FULL:
                    raise
                self._say("archive_full", error)
            else:
                self._say_over("archive_full", "archive_back")
            await asyncio.sleep(RETRY_S)

    async def _replay(self) -> None:
        """Read, commit and send until the recording has ended and every receipt is here."""
        slots = 0
        (crew,) = self._crews.values()
        while going_on := [name for name in self._period_us if not self._has_ended(name)]:
            slot_us, due = self._next(going_on)
            comes = await self._comes(slot_us)
            if comes is False:
                break
            if comes is None:
                continue
            await self._keeper.may_read()
            self._pending += await crew.poller.read_slot(slot_us, due)
            self._done_us |= dict.fromkeys(due, slot_us)
            slots += 1
            if slots % GROUP_SLOTS == 0:
                await self._commit()
        await self._commit()
        with suppress(DeviceError):  # tell the simulator that all is kept, if it still listens
            ends_us = [(at or 0) + self._period_us[name] for name, at in self._done_us.items()]
            await self._clock.until(max(ends_us), self._committed_us())
        await self._keep(self._recorder.seal_all)
        await self._uplink.wait_drained()

    async def _read_all(self) -> None:
        """Read every line in a task of its own, for ever; none waits for another."""
        for crew in self._crews.values():
            crew.start(self._read_on)
        try:
            while True:
                changed = asyncio.create_task(self._crews_changed.wait())
                reading = [
                    task
                    for crew in self._crews.values()
                    if (task := crew.task) is not None and not task.cancelled()  # by a change
                ]
                await asyncio.wait([changed, *reading], return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                self._crews_changed.clear()
                for task in reading:
                    if task.done() and not task.cancelled():
                        task.result()
        finally:
            for crew in self._crews.values():
                await crew.cancel()

    async def _read_on(self, crew: Crew) -> None:
        """Read the devices of one line for ever, each slot while it is one."""
        for name in crew.names:
            if self._done_us[name] is None:  # its first slot stays the first until it is read
                self._done_us[name] = self._next_of(name) - self._period_us[name]
        while True:
            slots_us = {name: self._next_of(name) for name in crew.names}
            await self._guard.until(crew, self._clock, min(slots_us.values()))
            if self._keeper.is_stopped:
                self._guard.rest(crew)
                await self._keeper.may_read()
                continue
            async with crew.reading:
                ready_us = {
                    name: at_us for name, at_us in slots_us.items() if self._is(name, at_us)
                }
                if not ready_us:
                    continue  # the clock was set, or something took long
                name = crew.poller.most_urgent(ready_us)
                slot_us = ready_us[name]
                results = await crew.poller.read_slot(slot_us, (name,))
                try:
                    await self._foresee(results)
                finally:
                    self._pending += [*self._left_out(name, slot_us), *results]
                    self._done_us[name] = slot_us
                del ready_us[name]
                is_last = not any(self._is(other, at_us) for other, at_us in ready_us.items())
                if is_last or self._clock.now_us() - slot_us >= _LATE_US:
                    await asyncio.sleep(0)  # lines that were answered together share a commit
                    await self._commit()

    def _left_out(self, name: str, slot_us: int) -> list[Gap]:
        """The slots before this one that were not read for want of room on the disk."""
        was_thin, period_us = name in self._thinned, self._period_us[name]
        (self._thinned.add if self._keeper.is_thin else self._thinned.discard)(name)
        first_us = (self._done_us[name] or slot_us) + period_us
        slots = (slot_us - first_us) // period_us
        if not was_thin or slots < 1:
            return []
        return [Gap(name, first_us, slot_us - period_us, slots, THINNED)]

    async def _foresee(self, results: Iterable[Reading | Gap]) -> None:
        """Compute what these results make due in a thread: other lines are read meanwhile."""
        for result in results:
            if (work := self._recorder.foresee(result)) is not None:
                await asyncio.to_thread(work)

    async def _follow(self, again: Callable[[], SiteSettings]) -> None:
        """Read the site file again at every SIGHUP; one with a mistake changes nothing."""
        while True:
            await self._hung_up.wait()
            self._hung_up.clear()
            try:
                settings, devices = await asyncio.to_thread(self._read_again, again)
                self._recorder.check(devices)
            except ConfigError as error:
                fields = {"code": error.code, "what": error.what, "do": error.do}
                log.error("reload_refused", extra=fields)  # noqa: TRY400 - a person's mistake
            else:
                await self._change_to(settings, devices)

    def _read_again(
        self, again: Callable[[], SiteSettings]
    ) -> tuple[SiteSettings, Sequence[Recorded]]:
        """The new settings with the grants they need, and kernels ready for them."""
        settings = again()
        check_can_change(self._settings, settings)
        devices = recorded_devices(settings, self._key)
        keep_site(settings.state_dir, site_document(settings))
        _warm(devices)
        return settings, devices

    async def _change_to(self, settings: SiteSettings, devices: Sequence[Recorded]) -> None:
        """Read and record what the new settings say; lines that are as they were go on."""
        planned = {device.id: device for device in settings.planned_devices()}
        before = {device.id: device for crew in self._crews.values() for device in crew.devices}
        wanted = by_line(planned.values())
        ending = {u: crew for u, crew in self._crews.items() if crew.devices != wanted.get(u)}
        await asyncio.gather(*(crew.stop() for crew in ending.values()))
        for crew in ending.values():
            self._guard.rest(crew)
        for url in ending:
            del self._crews[url]
        lost = set[str]().union(*(crew.lines.untold for crew in ending.values()))
        await self._commit()
        async with self._committing:
            await self._keep(lambda: self._recorder.change(devices))
        self._settings = settings
        self._period_us = {name: device.period_us for name, device in planned.items()}
        self._windows = {name: (at.first_us, at.last_us) for name, at in planned.items()}
        self._done_us = {
            name: self._done_us[name]
            if before.get(name) == planned[name]
            else self._recorder.committed_us(name)
            for name in planned
        }
        self._watch.change({device.device: device.profile for device in devices})
        if self._sparkplug is not None:
            self._sparkplug.change(*told(settings, devices))
        for url, those in wanted.items():
            if url not in self._crews:
                self._crews[url] = crew = self._crew(those, lost)
                crew.start(self._read_on)
        self._crews_changed.set()
        log.info("reloaded", extra=differences(before, planned))

    async def _watch_clock(self) -> None:
        """Say it when the clock shows a time whose slots are recorded: it was set back."""
        while True:
            last_us = max((at_us for at_us in self._done_us.values() if at_us), default=0)
            now_us = self._clock.now_us()
            if last_us - now_us > _LATE_US:
                self._say("clock_behind", _clock_behind(now_us, last_us))
            else:
                self._say_over("clock_behind", "clock_caught_up")
            await asyncio.sleep(RETRY_S)

    async def _watch_certificate(self) -> None:
        """Say it once a day when the certificate that the broker knows us by ends soon."""
        while True:
            if self._settings.uplink.tls is not None:
                path = self._settings.uplink.tls.files(self._settings.state_dir).certificate
                try:
                    warning = expiry_warning(path, datetime.now(UTC), _RENEW)
                except ConfigError as error:
                    warning = error
                if warning is not None:
                    fields = {"code": warning.code, "what": warning.what, "do": warning.do}
                    log.warning("certificate_expires", extra=fields)
            await asyncio.sleep(_DAY_S)

    async def _close_batches(self) -> None:
        """Close batches that have been open long enough, also while no slot comes."""
        while True:
            due_s = self._recorder.due_in_s()
            await asyncio.sleep(RETRY_S if due_s is None else due_s)
            await self._keep(self._recorder.seal_due)

    async def _restart_line(self, name: str) -> None:
        """Read a line anew whose task hangs: with a new task and a new connection."""
        found = [(url, crew) for url, crew in self._crews.items() if crew.name == name]
        if not found:
            return
        ((url, crew),) = found
        await crew.cancel()
        await crew.lines.close()
        self._crews[url] = new = self._crew(crew.devices, crew.lines.untold)
        new.start(self._read_on)
        self._crews_changed.set()

    async def _tell_health(self) -> None:
        """Publish how the agent is: when that changes, and now and then."""
        told, told_s = None, 0.0
        while True:
            content = health_of(self._settings, self._keeper, self._uplink, self._guard.late)
            content["troubles"] += troubles_of(self._troubles)
            now_s = time.monotonic()
            if (state := state_of(content)) != told or now_s - told_s >= HEALTH_EVERY_S:
                told, told_s = state, now_s
                data = health_bytes(content, self._key.private)
                self._uplink.tell(health_topic(self._settings.agent), data)
            await asyncio.sleep(RETRY_S)

    async def _renew_key(self) -> None:
        """Take a new key into use as soon as there is one, see `rotation`."""
        while True:
            try:
                await self._take_next_key()
            except ConfigError as error:
                self._say("key_not_renewed", error)
            else:
                self._say_over("key_not_renewed", "key_renewed")
            await asyncio.sleep(RETRY_S)

    async def _take_next_key(self) -> None:
        folder, old = self._settings.state_dir, self._key
        if (new := next_key(folder)) is None:
            return
        if new != old:  # else only the last step is left
            note_former(folder, old)
            async with self._committing:
                await self._keep(partial(self._recorder.rotate, new))
            self._key = new
            self._uplink.know(new.public)
            log.info("key_rotated", extra={"old": old.fingerprint, "new": new.fingerprint})
        take_over(folder, new)

    async def finish(self) -> None:
        """Keep what was read and close the batches; what a full disk refuses becomes a gap."""
        await self._keeper.finish(self._pending)

    async def close(self) -> None:
        """Give connections back."""
        for crew in self._crews.values():
            await crew.lines.close()
        await self._clock.close()

    def _next(self, names: Iterable[str]) -> tuple[int, list[str]]:
        """The next slot of any of these devices, and those that are due at it."""
        slots_us = {name: self._next_of(name) for name in names}
        slot_us = min(slots_us.values())
        return slot_us, [name for name, at_us in slots_us.items() if at_us == slot_us]

    def _has_ended(self, name: str) -> bool:
        """Whether the device's recording has been read to its end."""
        done_us, (_, last_us) = self._done_us[name], self._windows[name]
        return done_us is not None and last_us is not None and done_us >= last_us

    def _next_of(self, name: str) -> int:
        done_us, period_us = self._done_us[name], self._period_us[name]
        if done_us is None:
            return next_slot_us(self._clock.now_us(), period_us)
        slot_us = done_us + period_us
        if self._is_past(slot_us, period_us):
            slot_us = next_slot_us(self._clock.now_us() - patience_us(period_us), period_us)
        return thinned_us(slot_us, period_us) if self._keeper.is_thin else slot_us

    def _is(self, name: str, slot_us: int) -> bool:
        """Whether a device's slot has come and may still be read."""
        has_come = slot_us <= self._clock.now_us()
        return has_come and not self._is_past(slot_us, self._period_us[name])

    def _is_past(self, slot_us: int, period_us: int) -> bool:
        """Whether a reading now would no longer be one of this slot."""
        late_us = self._clock.now_us() - slot_us
        return not self._is_replay and late_us >= patience_us(period_us)

    async def _comes(self, slot_us: int) -> bool | None:
        """Wait for the slot; False: the recording has ended, None: the simulator is away.

        A simulator that was away may have started anew and shown anything since it last spoke, so
        what was read and not committed is read again.
        """
        try:
            comes = await self._clock.until(slot_us, self._committed_us())
        except DeviceError as error:
            if error.code == "replay_refused":
                raise
            self._say("clock_down", error)
            self._pending = []
            self._done_us = {name: self._recorder.committed_us(name) for name in self._period_us}
            await asyncio.sleep(RETRY_S)
            return None
        self._say_over("clock_down", "clock_back")
        return comes

    def _committed_us(self) -> int | None:
        """The last slot of any device before which, and at which, nothing is left to commit."""
        known_us = {name: self._recorder.committed_us(name) for name in self._period_us}
        return last_committed_us(
            [(*self._windows[name], self._period_us[name], at) for name, at in known_us.items()]
        )

    async def _commit(self) -> None:
        """Keep what was read; a line whose results another line has kept finds nothing to do."""
        async with self._committing:
            if self._pending:
                pending, self._pending = self._pending, []
                try:
                    await self._keeper.commit(pending)
                except BaseException:
                    self._pending = pending + self._pending
                    raise

    async def _keep(self, change: Callable[[], Sequence[Sealed]]) -> None:
        """Make a change of the outbox, however long that takes, and send what it closed."""
        await self._keeper.change(change)

    def _say(self, event: str, error: JoulemarkError) -> None:
        self._troubles.say(event, error)

    def _say_over(self, event: str, over: str) -> None:
        self._troubles.say_over(event, over)


_Progress = tuple[int | None, int | None, int, int | None]


def last_committed_us(devices: Sequence[_Progress]) -> int | None:
    """The last slot of any device up to which every slot of every device is committed.

    Args:
        devices: of each the first slot (None: what was committed says), the last (None: open), the
            period, and the last committed slot (before the first: none is). [us UTC]

    Returns:
        None: there is no such slot. [us UTC]
    """
    left_us: list[int] = []  # the first slot of each device that is still to be committed
    done: list[tuple[int, int, int]] = []  # first, period, last committed
    for first_us, last_us, period_us, committed_us in devices:
        if committed_us is None:
            return None
        begin_us = committed_us if first_us is None else first_us
        if committed_us >= begin_us:
            done.append((begin_us, period_us, committed_us))
        if last_us is None or committed_us < last_us:
            left_us.append(max(committed_us + period_us, begin_us))
    edge_us = min(left_us, default=None)
    found = [
        committed if edge_us is None else min(committed, (edge_us - 1) // period * period)
        for first, period, committed in done
        if edge_us is None or first < edge_us
    ]
    return max(found, default=None)


def _clock_behind(now_us: int, last_us: int) -> JoulemarkError:
    now, last = (_EPOCH + timedelta(microseconds=at_us) for at_us in (now_us, last_us))
    return JoulemarkError(
        f"The clock shows {now:%Y-%m-%d %H:%M:%S} UTC, and slots up to"
        f" {last:%Y-%m-%d %H:%M:%S} UTC are recorded already.",
        "Check the computer's clock and its time service. Reading goes on by itself after the last"
        " of these slots: none is ever recorded twice.",
        code="clock_behind",
    )


async def _until_stopped(*jobs: Coroutine[Any, Any, None] | asyncio.Task[None]) -> bool:
    """Run the jobs until the first of them ends; False: a signal ended it.

    Raises:
        JoulemarkError: what a job raised.
    """
    loop = asyncio.get_running_loop()
    tasks = [asyncio.ensure_future(job) for job in jobs]
    work = tasks[0]
    for number in _SIGNALS:
        loop.add_signal_handler(number, work.cancel)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()
        return not work.cancelled()
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
    for change in watch.take(reading.device, reading.t_utc_us, values, quality):
        verdict = change.verdict
        fields = {"device": change.device, "check": verdict.rule, "points": list(verdict.points)}
        if change.begins:
            wrong = {"what": f"{verdict.found}.", "do": verdict.do}
            log.warning("device_implausible", extra={**fields, **wrong})
        else:
            log.info("device_plausible", extra=fields)


def _summary(
    settings: SiteSettings, recorder: Recorder, uplink: Uplink, watch: Watch, *, has_ended: bool
) -> dict[str, Any]:
    devices = recorder.summary()
    return {
        "site": settings.site,
        "agent": settings.agent,
        "clock": settings.clock,
        "ended": "recording" if has_ended else "stopped",
        "slots": sum(device["slots"] for device in devices.values()),
        "records": sum(device["records"] for device in devices.values()),
        "gaps": sum(device["gap_slots"] for device in devices.values()),
        "heads": devices,
        "implausible": {
            device: [verdict.name for verdict in found]
            for device, found in watch.findings().items()
        },
        "unconfirmed": uplink.unconfirmed,
    }


def _documents(settings: SiteSettings, device: DeviceSettings) -> dict[str, bytes]:
    return {
        "profile": settings.profile(device)[1],
        "site": kept_site(settings.state_dir, device.id, site_document(settings)),
        "factors": settings.factor_set()[1],
    }


def _login(settings: SiteSettings) -> Login:
    uplink = settings.uplink
    password = uplink.password.get_secret_value() if uplink.password else None
    files = None if uplink.tls is None else uplink.tls.files(settings.state_dir)
    return Login(uplink.url, settings.agent, uplink.username, password, files)


def _collector(settings: SiteSettings, own: Key) -> Collector:
    name, key = pinned_collector(settings)
    return Collector(
        site=settings.site,
        agent=settings.agent,
        name=name,
        key=key,
        own_keys=(own.public, *former_keys(settings.state_dir)),
    )


def _warm(devices: Sequence[Recorded]) -> None:
    """Have the kernels ready before the first batch closes, and the models that are asked for."""
    for device in devices:
        warm(device.profile, device.carbon)
        if device.figures is not None:
            warm_model(device.figures)
