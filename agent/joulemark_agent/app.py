"""The running agent: clock -> poller -> recorder -> uplink. Wiring and order, nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import signal
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from joulemark_agent.clock import Clock, ReplayClock, SystemClock, next_slot_us
from joulemark_agent.contract.canonical import digest_hex
from joulemark_agent.contract.errors import ConfigError, DeviceError, JoulemarkError, StoreError
from joulemark_agent.contract.reading import Gap, Reading
from joulemark_agent.contract.signature import decode64
from joulemark_agent.envelope import Carbon, warm
from joulemark_agent.grants import Terms, load_grant
from joulemark_agent.keys import AGENT_KEY, Key, has_key, load_key
from joulemark_agent.lines import Lines
from joulemark_agent.mqtt import Login
from joulemark_agent.outbox import Outbox, Sealed
from joulemark_agent.poll import Poller
from joulemark_agent.recorder import Limits, Recorded, Recorder
from joulemark_agent.settings import DeviceSettings, SiteSettings, site_document
from joulemark_agent.uplink import Collector, Uplink

log = logging.getLogger(__name__)

OUTBOX = "outbox.db"
GROUP_SLOTS = 10  # per commit in a replay; the simulator waits for the commit
DISK_FULL = "disk_full"
_RETRY_S = 1.0
_LATE_US = 1_000_000  # a slot that is further in the past, or half a period, is not read any more
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def run(settings: SiteSettings) -> dict[str, Any]:
    """Run the agent until SIGTERM, SIGINT or the end of the recording.

    Returns:
        what was recorded: slots, records, gap slots, the head of every device.

    Raises:
        ConfigError: not enrolled, or enrolled for something else.
        StoreError: the outbox cannot be used.
        DeviceError: the simulator refuses this state folder.
    """
    key = evidence_key(settings)
    devices = recorded_devices(settings, key)
    with closing(Outbox(settings.state_dir / OUTBOX)) as outbox:
        limits = Limits(settings.batch.slots, settings.batch.seconds)
        recorder = Recorder(outbox, key, devices, limits=limits, software=software_digest())
        uplink = Uplink(_login(settings), _collector(settings, key), outbox)
        agent = _Agent(settings, recorder, uplink)
        fields = {"site": settings.site, "agent": settings.agent, "devices": len(devices)}
        log.info("agent_started", extra={**fields, "unconfirmed": uplink.unconfirmed})
        warming = asyncio.create_task(asyncio.to_thread(_warm, devices))
        try:
            has_ended = await _until_stopped(*agent.work(), uplink.start(), *agent.care())
            agent.finish()
        finally:
            await uplink.close()
            await agent.close()
            await warming
        return _summary(settings, recorder, uplink, has_ended=has_ended)


def evidence_key(settings: SiteSettings) -> Key:
    """The agent's key, which enrolling made.

    Raises:
        ConfigError: there is none, or others may read it.
    """
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

    def __init__(self, settings: SiteSettings, recorder: Recorder, uplink: Uplink) -> None:
        planned = settings.planned_devices()
        self._recorder, self._uplink = recorder, uplink
        self._is_replay = settings.replay is not None
        self._clock: Clock = ReplayClock(settings.replay.url) if settings.replay else SystemClock()
        self._lines = Lines(planned)
        self._poller = Poller(planned, self._lines, self._clock)
        self._period_us = {device.id: device.period_us for device in planned}
        self._done_us = {name: recorder.committed_us(name) for name in self._period_us}
        self._windows = {device.id: (device.first_us, device.last_us) for device in planned}
        self._pending: list[Reading | Gap] = []
        self._committing = asyncio.Lock()
        self._troubles: dict[str, float] = {}  # since, by what was said

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """The jobs that read: one for a replay, else one for each line, none waiting for another.

        The end of any of them is the end of the agent.
        """
        if self._is_replay:
            return [self._replay()]
        return [self._read_on(names) for names in self._poller.lines()]

    def care(self) -> list[Coroutine[Any, Any, None]]:
        """The jobs that go on beside reading."""
        return [self._close_batches()] + ([] if self._is_replay else [self._watch_clock()])

    async def _replay(self) -> None:
        """Read, commit and send until the recording has ended and every receipt is here."""
        slots = 0
        while going_on := [name for name in self._period_us if not self._has_ended(name)]:
            slot_us, due = self._next(going_on)
            comes = await self._comes(slot_us)
            if comes is False:
                break
            if comes is None:
                continue
            self._pending += await self._poller.read_slot(slot_us, due)
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

    async def _read_on(self, names: Collection[str]) -> None:
        """Read the devices of one line for ever, each slot while it is one."""
        while True:
            slot_us, due = self._next(names)
            await self._clock.until(slot_us, None)
            if self._is_past(slot_us, min(self._period_us[name] for name in due)):
                continue  # the clock was set, or something took long
            results = await self._poller.read_slot(slot_us, due)
            self._pending += results
            self._done_us |= dict.fromkeys(due, slot_us)
            await asyncio.sleep(0)  # lines that were answered together share a commit
            await self._commit()

    async def _watch_clock(self) -> None:
        """Say it when the clock shows a time whose slots are recorded: it was set back."""
        while True:
            last_us = max((at_us for at_us in self._done_us.values() if at_us), default=0)
            now_us = self._clock.now_us()
            if last_us - now_us > _LATE_US:
                self._say("clock_behind", _clock_behind(now_us, last_us))
            else:
                self._say_over("clock_behind", "clock_caught_up")
            await asyncio.sleep(_RETRY_S)

    async def _close_batches(self) -> None:
        """Close batches that have been open long enough, also while no slot comes."""
        while True:
            due_s = self._recorder.due_in_s()
            await asyncio.sleep(_RETRY_S if due_s is None else due_s)
            await self._keep(self._recorder.seal_due)

    def finish(self) -> None:
        """Keep what was read and close the batches; what a full disk refuses becomes a gap."""
        try:
            self._uplink.offer(self._recorder.commit(self._pending))
            self._uplink.offer(self._recorder.seal_all())
        except StoreError as error:
            if error.code != DISK_FULL:
                raise
            self._say("outbox_full", error)

    async def close(self) -> None:
        """Give connections back."""
        await self._lines.close()
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
            slot_us = next_slot_us(self._clock.now_us() - _patience_us(period_us), period_us)
        return slot_us

    def _is_past(self, slot_us: int, period_us: int) -> bool:
        """Whether a reading now would no longer be one of this slot."""
        late_us = self._clock.now_us() - slot_us
        return not self._is_replay and late_us >= _patience_us(period_us)

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
            await asyncio.sleep(_RETRY_S)
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
                was_full = await self._keep(lambda: self._recorder.commit(self._pending))
                self._pending = []
                if was_full:
                    self._recorder.blame(DISK_FULL)  # for the slots that passed meanwhile

    async def _keep(self, change: Callable[[], Sequence[Sealed]]) -> bool:
        """Make a change of the outbox and send what it closed; whether its disk was full before."""
        was_full = False
        while True:
            try:
                sealed = change()
            except StoreError as error:
                if error.code != DISK_FULL:
                    raise
                self._say("outbox_full", error)
                was_full = True
                await asyncio.sleep(_RETRY_S)
            else:
                self._say_over("outbox_full", "outbox_back")
                self._uplink.offer(sealed)
                return was_full

    def _say(self, event: str, error: JoulemarkError) -> None:
        """Say once that something is wrong, and what to do."""
        if event not in self._troubles:
            self._troubles[event] = time.monotonic()
            fields = {"code": error.code, "what": error.what, "do": error.do}
            log.error(event, extra=fields)

    def _say_over(self, event: str, over: str) -> None:
        if (since_s := self._troubles.pop(event, None)) is not None:
            log.info(over, extra={"down_s": round(time.monotonic() - since_s, 3)})


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


def _patience_us(period_us: int) -> int:
    return min(_LATE_US, period_us // 2)


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


def _summary(
    settings: SiteSettings, recorder: Recorder, uplink: Uplink, *, has_ended: bool
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
        "unconfirmed": uplink.unconfirmed,
    }


def _documents(settings: SiteSettings, device: DeviceSettings) -> dict[str, bytes]:
    return {
        "profile": settings.profile(device)[1],
        "site": site_document(settings),
        "factors": settings.factor_set()[1],
    }


def _login(settings: SiteSettings) -> Login:
    uplink = settings.uplink
    password = uplink.password.get_secret_value() if uplink.password else None
    return Login(uplink.url, settings.agent, uplink.username, password)


def _collector(settings: SiteSettings, key: Key) -> Collector:
    return Collector(
        site=settings.site,
        agent=settings.agent,
        log_key=key.public,
        name=settings.uplink.collector_name,
        key=decode64(settings.uplink.collector_key),
    )


def _warm(devices: Sequence[Recorded]) -> None:
    """Have the kernels ready before the first batch closes."""
    for device in devices:
        warm(device.profile, device.carbon)
