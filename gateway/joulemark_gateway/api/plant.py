"""Sites and devices as the evidence knows them: what the operators approved, and what is held."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.committed import interval_us_in
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.profile import AnyPoint, Profile
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.contract.reading import SIMULATED
from joulemark_agent.envelope import Carbon
from joulemark_gateway.evidence.base import EvidenceStore, Head
from joulemark_gateway.evidence.emission_factors import approved_carbon
from joulemark_gateway.evidence.history import profile_at
from joulemark_gateway.series.base import Latest, SeriesReader

ENERGY, GENERATED = "energy_wh", "generated_wh"  # what a device used, and what it made
POWER = "power_w"
METER_KIND = "power_meter"
LATE_PERIODS = 3  # without a reading, after which a device is late
DAY = timedelta(days=1)
US = timedelta(microseconds=1)
_UTC_0 = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MOST_US = 253_000_000_000_000_000  # in the year 9987
FIRST_DAY, LAST_DAY = date(1970, 1, 2), date(9980, 12, 31)  # that a page or answer is of


@dataclass(frozen=True)
class Device:
    """One device in its latest epoch, with the documents the operator approved for it."""

    head: Head
    id: str
    profile: Profile
    period_us: int  # of the readings that are here: of committed evidence, its interval
    slot_period_us: int  # between two slots, also where their records stay at the gateway
    zone: ZoneInfo
    carbon: Carbon | None  # None: the documents do not say which factors apply
    equipment: Mapping[str, Any] | None  # its section of the site document
    last_slot_us: int | None  # of its recording; None: it has no end
    figures_every_us: int | None = None  # length of the windows its figures are stated of
    earlier: tuple[Device, ...] = ()  # the same device in the epochs before, newest first

    @property
    def is_simulated(self) -> bool:
        """Whether its slots come from a simulated clock."""
        return bool(self.head.grant["clock"] == SIMULATED)

    @property
    def counter(self) -> AnyPoint | None:
        """The counter of its energy: used, or else generated."""
        found = {point.name: point for point in self.profile.points if point.counter}
        return found.get(ENERGY) or found.get(GENERATED)

    @property
    def power(self) -> str | None:
        """The point of its electric power; of an inverter, what it feeds in."""
        names = {point.name for point in self.profile.points}
        return next((name for name in (POWER, "ac_power_w") if name in names), None)

    @property
    def epochs(self) -> tuple[Device, ...]:
        """The device in every epoch whose documents can be read, the latest first."""
        return (self, *self.earlier)

    @property
    def is_generator(self) -> bool:
        """Whether its energy is made, not used."""
        return self.profile.kind == "pv_inverter"


@dataclass(frozen=True)
class Broken:
    """A device whose documents cannot be read, and why."""

    head: Head
    id: str
    why: str


@dataclass(frozen=True)
class Site:
    """One site: its devices by id, and its own time zone."""

    id: str
    zone: ZoneInfo
    devices: Mapping[str, Device]
    broken: tuple[Broken, ...] = ()

    @property
    def is_simulated(self) -> bool:
        """Whether any of its devices lives on a simulated clock."""
        return any(device.is_simulated for device in self.devices.values())

    @property
    def consumers(self) -> tuple[Device, ...]:
        """The devices whose power and energy make up the site's: its meters, else its machines.

        A meter and the machines behind it are never added: that would count twice.
        """
        users = [d for d in self.devices.values() if not d.is_generator]
        meters = tuple(d for d in users if d.profile.kind == METER_KIND)
        return meters or tuple(d for d in users if d.counter is not None or d.power is not None)


def sites_of(store: EvidenceStore) -> dict[str, Site]:
    """Every site of which evidence is held."""
    heads: dict[tuple[str, str], list[Head]] = {}
    for head in store.heads():  # they come by epoch
        heads.setdefault((head.grant["site"], head.grant["dev"]), []).append(head)
    documents = store.documents()
    devices: dict[str, dict[str, Device]] = {}
    broken: dict[str, list[Broken]] = {}
    for (site, name), (*before, head) in sorted(heads.items()):
        known, lost = devices.setdefault(site, {}), broken.setdefault(site, [])
        try:
            earlier = _readable(reversed(before), documents)
            known[name] = replace(_device(head, documents), earlier=earlier)
        except EvidenceError as error:
            lost.append(Broken(head, name, error.what))
    return {
        site: Site(site, _zone_of(known.values()), known, tuple(broken[site]))
        for site, known in devices.items()
    }


def _readable(heads: Iterable[Head], documents: Mapping[str, bytes]) -> tuple[Device, ...]:
    found = []
    for head in heads:
        with suppress(EvidenceError):  # its latest epoch is what is shown
            found.append(_device(head, documents))
    return tuple(found)


def _device(head: Head, documents: Mapping[str, bytes]) -> Device:
    named, name = head.grant["documents"], head.grant["dev"]
    try:
        site = _parsed(documents[named["site"]])
        profile = profile_at(documents[named["profile"]], site, name)
        row = next(item for item in site["devices"] if item["id"] == name)
        period_us, last = int(row["period_s"]) * 1_000_000, row.get("last_slot")
        step_us = interval_us_in(site) or period_us
        zone, equipment = ZoneInfo(site["time_zone"]), row.get("equipment")
        last_slot_us = None if last is None else int(last)
        every_s = row.get("figures_every_s")
        every_us = None if every_s is None else int(every_s) * 1_000_000
        _require(period_us > 0, f"its period is {period_us} us")
        _require(every_us is None or every_us > 0, f"its figures are due every {every_s} s")
        _require(isinstance(equipment, dict | None), f"its equipment is {equipment!r:.40}")
    except (KeyError, ValueError, TypeError, OSError, StopIteration, AttributeError) as error:
        raise EvidenceError(
            f"The documents of {head.origin} cannot be read: {error!r:.200}.",
            "Compare them with the copy of the operator who approved them.",
            code="bad_document",
        ) from error
    carbon = approved_carbon(documents, named, zone)
    return Device(
        head, name, profile, step_us, period_us, zone, carbon, equipment, last_slot_us, every_us
    )


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _zone_of(devices: Iterable[Device]) -> ZoneInfo:
    zones = [device.zone for device in devices]
    return zones[0] if zones else ZoneInfo("UTC")


@lru_cache(maxsize=64)
def _parsed(document: bytes) -> Any:
    return parse_canonical(document)


@dataclass(frozen=True)
class Shown:
    """A site with the newest samples of its points, and the time it has there."""

    site: Site
    latest: Mapping[str, Mapping[str, Latest]]  # by device and point
    now_us: int | None  # the site's clock; None: nothing was read yet

    def seen_us(self, device: str) -> int | None:
        """When the device was last read."""
        times = [sample.t_utc_us for sample in self.latest.get(device, {}).values()]
        return max(times, default=None)

    def state(self, device: Device) -> str:
        """`current`, `late`, `ended` (its recording is over) or `silent` (never read)."""
        seen_us = self.seen_us(device.id)
        if seen_us is None or self.now_us is None:
            return "silent"
        if device.last_slot_us is not None and seen_us >= device.last_slot_us:
            return "ended"
        age_us = self.now_us - seen_us
        return "current" if age_us <= LATE_PERIODS * device.period_us else "late"

    def counts_now(self, device: Device) -> bool:
        """Whether its newest values belong to the site's present."""
        seen_us = self.seen_us(device.id)
        if seen_us is None or self.now_us is None:
            return False
        return self.now_us - seen_us <= LATE_PERIODS * device.period_us


def shown(site: Site, reader: SeriesReader, now_us: int) -> Shown:
    """The site now. A simulated clock stands at the newest sample: wall time says nothing there.

    Args:
        site: the site.
        reader: the series.
        now_us: wall time, UTC. [us]

    Raises:
        StoreError: the series cannot be read.
    """
    latest: dict[str, dict[str, Latest]] = {}
    for sample in reader.latest(site.id):
        if sample.device in site.devices:
            latest.setdefault(sample.device, {})[sample.point] = sample
    newest_us = max((s.t_utc_us for row in latest.values() for s in row.values()), default=None)
    return Shown(site, latest, newest_us if site.is_simulated else now_us)


def day_of(instant_us: int, zone: ZoneInfo) -> date:
    """The local day of an instant."""
    return local(instant_us, zone).date()


def local(instant_us: int, zone: ZoneInfo) -> datetime:
    """The instant as local time; what lies beyond the calendar stands at its end."""
    bounded_us = min(max(instant_us, 0), _MOST_US)
    return (_UTC_0 + bounded_us * US).astimezone(zone)


def midnight_us(day: date, zone: ZoneInfo) -> int:
    """When a local day begins. [us UTC]"""
    day = min(max(day, FIRST_DAY - DAY), LAST_DAY + DAY)
    return (datetime.combine(day, time(), zone) - _UTC_0) // US


def points_of(device: Device) -> list[AnyPoint]:
    """The points, what a person looks for first before the rest: power and energy."""
    first = (device.power, device.counter.name if device.counter else None)
    rank = {name: index for index, name in enumerate(filter(None, first))}
    return sorted(device.profile.points, key=lambda point: rank.get(point.name, len(rank)))


def unit(point: str) -> str:
    """The SI unit that the name of the point tells; empty where it tells none."""
    return unit_of(point) or ""
