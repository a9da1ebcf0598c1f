"""The running agent: clock -> poller -> recorder -> uplink. Wiring and order, nothing else."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

from joulemark_agent.agent import Agent
from joulemark_agent.answers import Collector
from joulemark_agent.approved import evidence_key, recorded_devices, warm_kernels
from joulemark_agent.archive import ArchivedOutbox
from joulemark_agent.contract.errors import StoreError
from joulemark_agent.enrolment import pinned_collector
from joulemark_agent.foundation import opened, withholds
from joulemark_agent.keys import Key
from joulemark_agent.mending import TREE_LOST
from joulemark_agent.mqtt import Login
from joulemark_agent.plausibility import Watch
from joulemark_agent.recorder import Recorder
from joulemark_agent.rotation import former_keys
from joulemark_agent.settings import SiteSettings
from joulemark_agent.uplink import Uplink
from joulemark_agent.watchdog import ServiceManager

log = logging.getLogger(__name__)

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
    warm_kernels(devices)  # before anything is due: compiling stops everything else
    manager = ServiceManager()
    with ExitStack() as stack:
        base = await opened(settings, key, stack, manager)
        uplink = Uplink(
            _login(settings),
            _collector(settings, base.key),
            base.outbox,
            on_request=None if base.desk is None else base.desk.ask,
            withholds=withholds(base.outbox),
            store=base.store,
        )
        agent = Agent(settings, base, uplink, manager, hung_up=hung_up)
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
