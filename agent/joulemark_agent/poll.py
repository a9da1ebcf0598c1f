"""One slot: every device that is due, line by line; a device that fails gives a gap, not an error.

Devices of one line are read in turn, lines side by side, so a dead device delays only those that
share its wire. Whose slot is lost first has the first turn (`most_urgent`). What failed is said
once when it begins and once when it ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence

from joulemark_agent.clock import UNSYNCHRONISED, Clock
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.reading import (
    SIMULATED,
    Gap,
    Instant,
    Reading,
    TimeQuality,
    clock_step_us,
    patience_us,
)
from joulemark_agent.lines import Line, Lines
from joulemark_agent.plan import PlannedDevice

log = logging.getLogger(__name__)

OVERRUN = "overrun"  # cause: the slot had passed before its reading was there
CLOCK_STEP = "clock_step"  # cause: the clock was set, and passed over the slot


def instant(clock: Clock) -> Instant:
    """Now, by both clocks; comparable with others of this process."""
    return Instant(0, clock.now_us(), clock.mono_ns() // 1000)


class Poller:
    """Reads devices over their lines."""

    def __init__(self, devices: Sequence[PlannedDevice], lines: Lines, clock: Clock) -> None:
        self._clock = clock
        self._order = [device.id for device in devices]
        self._lines: dict[Line, list[PlannedDevice]] = {}
        for device in devices:
            self._lines.setdefault(lines.of(device), []).append(device)
        self._places = {d.id: (line, d) for line, those in self._lines.items() for d in those}
        self._down: dict[str, tuple[int, int]] = {}  # since (monotonic ns), slots missed
        self._asked: dict[str, Instant] = {}  # when each was asked last
        self._read: dict[str, Instant] = {}  # when each was read last

    def lines(self) -> list[list[str]]:
        """The ids of the devices of each line."""
        return [[device.id for device in devices] for devices in self._lines.values()]

    def most_urgent(self, slots_us: Mapping[str, int]) -> str:
        """The device to be read next: whose slot is lost first, then who answers, then who waited.

        Args:
            slots_us: the slot of each device whose slot has come. [us UTC]
        """

        def urgency(name: str) -> tuple[int, bool, float]:
            line, device = self._places[name]
            standing = line.standing(device)
            lost_us = slots_us[name] + patience_us(device.period_us)
            return lost_us, standing.is_suspect, standing.asked_s

        return min(slots_us, key=urgency)

    def asked(self, name: str) -> Instant | None:
        """When the device was asked last; None: never."""
        return self._asked.get(name)

    async def read_slot(self, slot_us: int, due: Collection[str]) -> list[Reading | Gap]:
        """A reading or a gap for each device whose id is in `due`, in the order of the site file.

        Args:
            slot_us: the slot. [us UTC]
            due: ids of the devices to read.
        """
        found: dict[str, Reading | Gap] = {}
        turns = [
            (line, asked)
            for line, devices in self._lines.items()
            if (asked := [device for device in devices if device.id in due])
        ]
        if len(turns) == 1:  # the usual case needs no task
            await self._read_line(*turns[0], slot_us, found)
        else:
            async with asyncio.TaskGroup() as group:
                for line, asked in turns:
                    group.create_task(self._read_line(line, asked, slot_us, found))
        return [found[name] for name in self._order if name in found]

    async def _read_line(
        self,
        line: Line,
        devices: Sequence[PlannedDevice],
        slot_us: int,
        found: dict[str, Reading | Gap],
    ) -> None:
        for device in devices:
            try:
                found[device.id] = await self._read_device(line, device, slot_us)
            except DeviceError as error:
                found[device.id] = Gap(device.id, slot_us, slot_us, 1, error.code)
                self._note_failure(device.id, error)
            else:
                if self._down:
                    self._note_success(device.id)

    async def _read_device(self, line: Line, device: PlannedDevice, slot_us: int) -> Reading:
        """The reading, unless its time has come to be that of another slot."""
        before = self._asked.get(device.id)
        self._asked[device.id] = begun = instant(self._clock)
        self._check_slot(device, slot_us, before, begun)
        responses = await line.read(device, slot_us)
        t_utc_us, t_mono_ns = self._clock.now_us(), self._clock.mono_ns()
        done = Instant(0, t_utc_us, t_mono_ns // 1000)
        self._check_slot(device, slot_us, begun, done)
        step_us = clock_step_us(self._read.get(device.id), done)
        self._read[device.id] = done
        return Reading(
            device=device.id,
            slot_us=slot_us,
            t_utc_us=t_utc_us,
            t_mono_ns=t_mono_ns,
            time_quality=_doubted(self._clock.time_quality(), step_us),
            responses=responses,
        )

    @staticmethod
    def _check_slot(
        device: PlannedDevice, slot_us: int, before: Instant | None, now: Instant
    ) -> None:
        """A period after the slot the next one is due; a period before it the clock was set."""
        now_us = now.t_utc_us
        if abs(now_us - slot_us) >= device.period_us:
            raise DeviceError(
                f"{device.id} is read every {device.period_us / 1e6:g} s, and at"
                f" {(now_us - slot_us) / 1e6:+.1f} s from its slot it was not read yet.",
                "Raise 'period_s', lower 'timeout_s' on its line, or check the computer's clock.",
                code=CLOCK_STEP if clock_step_us(before, now) else OVERRUN,
            )

    def _note_failure(self, device: str, error: DeviceError) -> None:
        if device not in self._down:
            log.warning(
                "device_down",
                extra={"device": device, "cause": error.code, "what": error.what, "do": error.do},
            )
        since_ns, slots = self._down.get(device, (self._clock.mono_ns(), 0))
        self._down[device] = (since_ns, slots + 1)

    def _note_success(self, device: str) -> None:
        if (state := self._down.pop(device, None)) is not None:
            since_ns, slots = state
            down_s = (self._clock.mono_ns() - since_ns) / 1e9
            log.info(
                "device_back", extra={"device": device, "down_s": round(down_s, 3), "slots": slots}
            )


def _doubted(known: TimeQuality, step_us: int) -> TimeQuality:
    """What is known of the clock at a reading; not set, where it was set since the one before."""
    if not step_us or known.sync == SIMULATED:
        return known
    return TimeQuality(UNSYNCHRONISED, max(known.error_us, abs(step_us)))
