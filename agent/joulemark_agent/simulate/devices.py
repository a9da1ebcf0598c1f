"""Any devices that a profile is shipped for, with plausible values and faults; all SYNTHETIC."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import Point, Profile
from joulemark_agent.simulate.encode import Registers, Value, WordPoint, registers
from joulemark_agent.simulate.faults import (
    Fault,
    Faults,
    Injected,
    Record,
    value_faults,
    wire_fault,
)
from joulemark_agent.simulate.plausible import plausible
from joulemark_agent.simulate.scenario import DevicesScenario, VirtualDevice
from joulemark_agent.simulate.slots import Slots

_KEPT = 64  # registers of as many devices and slots; a slot is asked for several times


@dataclass(frozen=True, eq=False)
class Devices:
    """What every unit holds at every slot: a function of the slot, so a clock may go back."""

    slots: Slots
    units: Mapping[int, VirtualDevice]
    profiles: Mapping[int, Profile]
    faults: Faults

    def shown(self, unit: int, slot: int, second: int = 0) -> Registers:
        """The registers of a unit at a slot, with what is wrong with its values then."""
        profile = self.profiles[unit]
        values = self._values(unit, slot)
        for fault in value_faults(self.faults, unit, slot=slot, second=second):
            point = profile.point(fault.point)
            assert isinstance(point, WordPoint)
            if fault.kind != "counter_reset" or slot >= fault.first:
                values[fault.point] = self._changed(fault, point, unit, slot)
        return registers(profile, values)

    def _values(self, unit: int, slot: int) -> dict[str, Value]:
        device = self.units[unit]
        t_s = slot * self.slots.period_us // 1_000_000
        return plausible(self.profiles[unit], t_s, device.seed)

    def _changed(self, fault: Fault, point: WordPoint, unit: int, slot: int) -> Value:
        if fault.kind == "sentinel":
            return None
        if fault.kind == "false_zero":
            return Decimal(0)
        now, then = (self._values(unit, at)[point.name] for at in (slot, fault.first))
        assert isinstance(now, Decimal)
        assert isinstance(then, Decimal)
        if slot >= fault.first:
            return now - then
        # A counter that will run over stands so far below its top, and by two steps at least: the
        # highest raw value often means that there is none.
        return modulus(point) + min(now - then, -2 * point.scale)


def modulus(point: WordPoint) -> Decimal:
    """Where a counter starts again from 0, in SI."""
    declared = point.modulus if isinstance(point, Point) else None
    return (declared or 1 << 16 * point.words) * point.scale


def build_devices(scenario: DevicesScenario, profile_of: Callable[[str], Profile]) -> Devices:
    """The devices of a scenario.

    Args:
        scenario: what stands where.
        profile_of: the shipped profile of a name.

    Raises:
        ConfigError: no profile of that name, not one of registers, or a fault that does not fit.
    """
    units = {device.unit: device for device in scenario.devices}
    profiles = {unit: profile_of(device.profile) for unit, device in units.items()}
    for unit, profile in profiles.items():
        if profile.protocol == "opcua":
            raise ConfigError(
                f"Unit {unit}: {profile.model} speaks OPC UA.",
                "Only the virtual furnace does here: write 'furnace'.",
            )
    devices = Devices(scenario.slots, units, profiles, scenario.faults)
    for fault in scenario.faults.plan:
        if fault.unit is not None and fault.point:
            _check_point(profiles[fault.unit], fault)
            devices.shown(fault.unit, fault.first)
    return devices


def _check_point(profile: Profile, fault: Fault) -> None:
    found = [point for point in profile.points if point.name == fault.point]
    if not found or (fault.kind != "sentinel" and not found[0].counter):
        wanted = "point" if fault.kind == "sentinel" else "counter"
        names = [point.name for point in profile.points if point.counter or wanted == "point"]
        raise ConfigError(
            f"A fault {fault.kind} of unit {fault.unit} names {fault.point!r}, which is no"
            f" {wanted} of {profile.model}.",
            f"Name one of: {', '.join(names) or 'none has one'}.",
        )


@dataclass
class Shown:
    """The devices as they stand now, and what of their faults was met."""

    devices: Devices
    now_us: Callable[[], int]
    record: Record = field(default_factory=Record)

    def __post_init__(self) -> None:
        self._began_s = time.monotonic()
        self._registers = lru_cache(_KEPT)(self.devices.shown)

    @property
    def slot(self) -> int:
        """The slot that is shown; in real time it may be after the last."""
        slots = self.devices.slots
        return max((self.now_us() - slots.first_us) // slots.period_us, 0)

    @property
    def second(self) -> int:
        """Since serving began, by the wall."""
        return int(time.monotonic() - self._began_s)

    def has_unit(self, unit: int) -> bool:
        """Whether a device answers under this number."""
        return unit in self.devices.units

    def read(self, unit: int, table: str, address: int, count: int) -> bytes | None:
        """The words now."""
        slot, second, faults = self.slot, self.second, self.devices.faults
        wrong = value_faults(faults, unit, slot=slot, second=second)
        held = self._registers(unit, slot, second if wrong else 0)
        data = held.read(table, address, count)
        for fault in wrong if data is not None else ():
            if fault.first <= slot or fault.by == "second":
                self.note(fault, slot)
        return data

    def wire_fault(self, unit: int) -> Fault | None:
        """What is wrong with the answers of a unit now."""
        return wire_fault(self.devices.faults, unit, slot=self.slot, second=self.second)

    def note(self, fault: Fault, slot: int) -> None:
        """A client has met it; what is for good counts once."""
        is_lasting = fault.kind in {"counter_reset", "rollover"}
        at = fault.first if is_lasting else slot
        slots = self.devices.slots
        self.record.add(
            Injected(
                at,
                slots.first_us + at * slots.period_us,
                fault.unit,
                fault.kind,
                fault.point,
                fault.code,
            )
        )
