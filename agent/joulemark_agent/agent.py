"""The running agent: reads slot after slot, keeps what was read, and takes care of itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from joulemark_agent.approved import recorded_devices, warm_kernels
from joulemark_agent.archive import ArchivedOutbox
from joulemark_agent.clock import Clock, ReplayClock, SystemClock, next_slot_us
from joulemark_agent.contract.errors import ConfigError, DeviceError, JoulemarkError, StoreError
from joulemark_agent.contract.health import health_bytes
from joulemark_agent.contract.reading import Gap, Instant, Reading, clock_step_us
from joulemark_agent.contract.topics import health_topic
from joulemark_agent.foundation import Base
from joulemark_agent.grants import keep_site
from joulemark_agent.guard import Guard
from joulemark_agent.health import HEALTH_EVERY_S, health_of, state_of, troubles_of
from joulemark_agent.keeper import RETRY_S, Keeper
from joulemark_agent.lines import by_line
from joulemark_agent.outbox import Sealed
from joulemark_agent.plan import PlannedDevice
from joulemark_agent.poll import CLOCK_STEP, instant
from joulemark_agent.raw_requests import Desk
from joulemark_agent.recorded import Recorded
from joulemark_agent.refused import FILE, Book
from joulemark_agent.reload import Crew, check_can_change, differences
from joulemark_agent.rotation import next_key, note_former, take_over
from joulemark_agent.settings import SiteSettings, site_document
from joulemark_agent.slots import Slots
from joulemark_agent.sparkplug.site import told
from joulemark_agent.sqlite_file import PASSING
from joulemark_agent.tls import expiry_warning
from joulemark_agent.together import Together
from joulemark_agent.troubles import Troubles
from joulemark_agent.uplink import Uplink
from joulemark_agent.watchdog import ServiceManager

log = logging.getLogger(__name__)
GROUP_SLOTS = 10  # per commit in a replay; the simulator waits for the commit
THINNED = "thinned"  # cause of slots that were not read for want of room on the disk
MB = 1_000_000
_DAY_S = 86_400.0
_RENEW = (
    "Run 'joulemark agent renew -c SITE.yaml'; the new one is used from the next connection on."
)
_CLOSING_S = 0.25  # so long a commit is waited for that closes what is due
_LATE_US = 1_000_000  # so far behind its clock the agent says so, and commits what it has
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Agent:
    """The loop that reads slot after slot, and what it has read and not yet committed."""

    def __init__(
        self,
        settings: SiteSettings,
        base: Base,
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
        self._slots = Slots(self._clock, planned, recorder.committed_us, is_replay=self._is_replay)
        self._pending: list[Reading | Gap] = []
        self._committing, self._together = asyncio.Lock(), Together()
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
        self._begun = instant(self._clock)
        self._behind: set[str] = set()  # devices with slots ahead of a clock that was set back
        self._thinned: set[str] = set()  # devices that were read last while room was short
        self._guard = Guard(manager, base.store)

    def _crew(self, devices: Iterable[PlannedDevice], lost: Collection[str] = ()) -> Crew:
        return Crew(devices, self._clock, self._book, is_shared=not self._is_replay, lost=lost)

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """The job that reads; its end is the end of the agent."""
        return [self._replay() if self._is_replay else self._read_all()]

    def care(self, again: Callable[[], SiteSettings] | None) -> list[Coroutine[Any, Any, None]]:
        """The jobs that go on beside reading."""
        care = [self._keeper.care(), self._close_batches(), self._tell_health()]
        if self._settings.evidence_key is None:  # one in a token is not changed here
            care.append(self._renew_key())
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
                if error.code not in PASSING:
                    raise
                self._say("archive_down", error)
            else:
                self._say_over("archive_down", "archive_back")
            await asyncio.sleep(RETRY_S)

    async def _replay(self) -> None:
        """Read, commit and send until the recording has ended and every receipt is here."""
        slots = 0
        (crew,) = self._crews.values()
        while going_on := self._slots.going_on():
            slot_us, due = self._slots.next(going_on)
            comes = await self._comes(slot_us)
            if comes is False:
                break
            if comes is None:
                continue
            await self._keeper.may_read()
            self._pending += await crew.poller.read_slot(slot_us, due)
            self._slots.done_us |= dict.fromkeys(due, slot_us)
            slots += 1
            if slots % GROUP_SLOTS == 0:
                await self._commit()
        await self._commit()
        with suppress(DeviceError):  # tell the simulator that all is kept, if it still listens
            await self._clock.until(self._slots.end_us(), self._slots.committed_us())
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
        self._slots.begin(crew.names)
        while True:
            is_thin = self._keeper.is_thin
            slots_us = {name: self._slots.next_of(name, is_thin=is_thin) for name in crew.names}
            await self._guard.until(crew, self._clock, min(slots_us.values()))
            if self._keeper.is_stopped:
                self._guard.rest(crew)
                await self._keeper.may_read()
                continue
            async with crew.reading:
                ready_us = {
                    name: at_us
                    for name, at_us in slots_us.items()
                    if self._slots.is_now(name, at_us)
                }
                if not ready_us:
                    continue  # the clock was set, or something took long
                name = crew.poller.most_urgent(ready_us)
                slot_us = ready_us[name]
                asked = crew.poller.asked(name)
                with self._together.asking():
                    results = await crew.poller.read_slot(slot_us, (name,))
                try:
                    await self._foresee(results)
                finally:
                    self._pending += [*self._left_out(name, slot_us, asked), *results]
                    self._slots.done_us[name] = slot_us
                del ready_us[name]
                is_last = not any(self._slots.is_now(*other) for other in ready_us.items())
                if is_last or self._clock.now_us() - slot_us >= _LATE_US:
                    await self._commit()

    def _left_out(self, name: str, slot_us: int, asked: Instant | None) -> list[Gap]:
        """The slots before this one that were not read for want of room or of a right clock.

        Args:
            name: the device.
            slot_us: of its newest result. [us UTC]
            asked: when it was asked before; None: never.
        """
        was_thin, period_us = name in self._thinned, self._slots.period_us[name]
        (self._thinned.add if self._keeper.is_thin else self._thinned.discard)(name)
        first_us = (self._slots.done_us[name] or slot_us) + period_us
        cause, now = THINNED if was_thin else None, instant(self._clock)
        if cause is None and (name in self._behind or clock_step_us(asked, now)):
            cause = CLOCK_STEP
            if asked is None:  # what passed before we were here has another cause
                here_us = now.t_mono_us - self._begun.t_mono_us
                first_us = max(first_us, next_slot_us(now.t_utc_us - here_us, period_us))
        self._behind.discard(name)
        slots = (slot_us - first_us) // period_us
        if cause is None or slots < 1:
            return []
        return [Gap(name, first_us, slot_us - period_us, slots, cause)]

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
            except (ConfigError, StoreError) as error:
                fields = {"code": error.code, "what": error.what, "do": error.do}
                log.error("reload_refused", extra=fields)  # noqa: TRY400 - said in full
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
        warm_kernels(devices)
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
        same = {name for name, device in planned.items() if before.get(name) == device}
        self._slots.change(planned.values(), same)
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
        """Say it when the clock was set, and while it shows times whose slots are recorded."""
        before = instant(self._clock)
        while True:
            now = instant(self._clock)
            if step_us := clock_step_us(before, now):
                log.warning("clock_set", extra=_clock_set(step_us))
            before = now
            done_us = self._slots.done_us
            last_us = max((at_us for at_us in done_us.values() if at_us), default=0)
            now_us = now.t_utc_us
            ahead_us = {name: (at_us or 0) - now_us for name, at_us in done_us.items()}
            self._behind |= {name for name, us in ahead_us.items() if us > _LATE_US}
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
        """Close batches that have been open long enough, where no commit has done it."""
        while True:
            due_s = self._recorder.due_in_s()
            await asyncio.sleep(RETRY_S if due_s is None else due_s + _CLOSING_S)
            if self._recorder.due_in_s() == 0.0:
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
            content = health_of(
                self._settings,
                self._keeper,
                self._uplink,
                self._guard.late,
                self._clock.time_quality(),
            )
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

    async def _comes(self, slot_us: int) -> bool | None:
        """Wait for the slot; False: the recording has ended, None: the simulator is away.

        A simulator that was away may have started anew and shown anything since it last spoke, so
        what was read and not committed is read again.
        """
        try:
            comes = await self._clock.until(slot_us, self._slots.committed_us())
        except DeviceError as error:
            if error.code == "replay_refused":
                raise
            self._say("clock_down", error)
            self._pending = []
            self._slots.begin_again()
            await asyncio.sleep(RETRY_S)
            return None
        self._say_over("clock_down", "clock_back")
        return comes

    async def _commit(self) -> None:
        """Keep what was read; a line whose results another line has kept finds nothing to do."""
        async with self._committing:
            if self._pending:
                await self._together.gathered()
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


def _clock_set(step_us: int) -> dict[str, Any]:
    return {
        "step_s": round(step_us / 1e6, 3),
        "what": f"The computer's clock was set by {step_us / 1e6:+.1f} s, or the computer slept.",
        "do": "Look why if it happens again: a working time service sets it at the start only.",
    }


def _clock_behind(now_us: int, last_us: int) -> JoulemarkError:
    now, last = (_EPOCH + timedelta(microseconds=at_us) for at_us in (now_us, last_us))
    return JoulemarkError(
        f"The clock shows {now:%Y-%m-%d %H:%M:%S} UTC, and slots up to"
        f" {last:%Y-%m-%d %H:%M:%S} UTC are recorded already.",
        "Check the computer's clock and its time service. Reading goes on by itself after the last"
        " of these slots: none is ever recorded twice. If the clock is right now and was wrong"
        " then, have the operator open a new epoch: 'joulemark agent enroll ... --epoch N'.",
        code="clock_behind",
    )
