"""Every answer as a function of the sources: the JSON API gives it out, the pages show it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import numpy as np

from joulemark_agent.contract.errors import JoulemarkError
from joulemark_agent.contract.reading import Gap
from joulemark_agent.figures import POINT_PREFIX, UNCERTAINTY_PREFIX
from joulemark_agent.kernels.counter import Event
from joulemark_gateway.access.roles import Role
from joulemark_gateway.api import energy, models, plant, projects, records
from joulemark_gateway.api.plant import Device, Shown, Site
from joulemark_gateway.api.problems import Problem, unknown
from joulemark_gateway.api.slots import slots_of, windows_of
from joulemark_gateway.api.sources import Sources
from joulemark_gateway.evidence.base import EvidenceStore, Head
from joulemark_gateway.evidence.clocks import states_time
from joulemark_gateway.evidence.slots import total
from joulemark_gateway.following.so_far import SoFar
from joulemark_gateway.measure.intervals import Counted
from joulemark_gateway.series.base import QUALITY, Latest, SeriesReader
from joulemark_gateway.software import VERSION

MOST_DAYS = 400
MOST_SLOTS = 250_000  # of a device in a span that is analysed
MOST_READ = 4_000_000  # slots of a device in a span that is summed or drawn
MOST_GAPS = 200
MOST_ROWS = 10_000
MOST_LEAVES = 500
MOST_CHECKED = 5_000  # leaves that are parsed to check what a device says: some 0.2 s
MOST_FOLLOWED = 20_000  # leaves that are decoded to follow counters: some 2 s
MOST_EVENTS = 500
MOST_ACCOUNTED, MOST_WINDOWS = 100_000, 400  # slots whose leaves are counted: some 10 s
US_PER_S = 1_000_000
QUALITY_NAMES = {code: name for name, code in QUALITY.items()}
_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Open:
    """What one request reads from."""

    sources: Sources
    store: EvidenceStore
    sites: dict[str, Site]

    @property
    def reader(self) -> SeriesReader:
        """The series; StoreError where it is not open."""
        return self.sources.series.reader

    @property
    def witness(self) -> tuple[str, bytes]:
        """Name and public key of the collector."""
        return self.sources.name, self.sources.witness_key

    def site(self, name: str) -> Site:
        """The site; Problem where there is none."""
        if name not in self.sites:
            raise unknown("site", name)
        return self.sites[name]

    def device(self, site: str, name: str) -> Device:
        """The device; Problem where there is none or its documents cannot be read."""
        found = self.site(site)
        if name in found.devices:
            return found.devices[name]
        for broken in found.broken:
            if broken.id == name:
                raise Problem(
                    503, "bad_document", broken.why, "Compare the documents with the operator's."
                )
        raise unknown("device", name)

    def shown(self, site: Site) -> Shown:
        """The site now."""
        return plant.shown(site, self.reader, self.sources.now_us())


@contextmanager
def opened(sources: Sources) -> Iterator[Open]:
    """The evidence and those sites in it that whoever asks may see, for one request.

    Raises:
        StoreError: there is no evidence, or it cannot be read.
    """
    with sources.store() as store:
        held = plant.sites_of(store)
        seen = {name: site for name, site in held.items() if sources.who.sees(name)}
        yield Open(sources, store, seen)


def health(sources: Sources) -> models.Health:
    """Whether evidence and series can be read; more than that only for who has a role."""
    evidence, series, trees = "ok", "ok", 0
    try:
        with sources.store() as store:
            trees = len(store.heads())
    except JoulemarkError as error:
        evidence = error.code
    try:
        sources.series.reader.extent("", "")
    except JoulemarkError as error:
        series = error.code
    status: Literal["ok", "degraded"] = "ok" if evidence == series == "ok" else "degraded"
    if not sources.who.may(Role.VIEWER):
        return models.Health(status=status)
    return models.Health(
        status=status,
        collector=sources.name,
        version=VERSION,
        evidence=evidence,
        series=series,
        trees=trees,
    )


def sites(read: Open) -> models.Sites:
    """Every site as it is now."""
    found = [site_now(read, site) for site in read.sites.values()]
    return models.Sites(collector=read.sources.name, sites=found)


def site_now(read: Open, site: Site) -> models.SiteNow:
    """The site as it is now: power of what is current, energy and CO2e of its day."""
    shown = read.shown(site)
    users = [device for device in site.consumers if device.power is not None]
    current = [device for device in users if shown.counts_now(device)]
    makers = [d for d in site.devices.values() if d.is_generator and shown.counts_now(d)]
    day = last_day(shown)
    of_day: list[tuple[Device, energy.Days]] = []
    if day is not None and shown.now_us is not None:
        for device in site.consumers:
            days = energy.days_of(read.reader, site.id, device, (day, day), shown.now_us)
            if days.basis != "none":
                of_day.append((device, days))
    known = [(device, days) for device, days in of_day if days.total_wh is not None]
    parts = [days.carbon for _, days in known]
    return models.SiteNow(
        id=site.id,
        time_zone=site.zone.key,
        simulated=site.is_simulated,
        now_us=shown.now_us,
        devices=[_device(read, shown, device) for device in site.devices.values()],
        broken=[models.Broken(id=broken.id, why=broken.why) for broken in site.broken],
        power_w=_sum([_power_w(shown, device) for device in current]),
        power_of=[device.id for device in current if _power_w(shown, device) is not None],
        not_current=[device.id for device in users if not shown.counts_now(device)],
        generation_w=_sum([_power_w(shown, device) for device in makers]),
        day=day,
        energy_wh=_sum([days.total_wh for _, days in known]),
        covered_us=sum(day.covered_us for _, days in of_day for day in days.days),
        passed_us=sum(day.passed_us for _, days in of_day for day in days.days),
        energy_of=[device.id for device, _ in known],
        carbon=_joined(parts),
    )


def last_day(shown: Shown) -> date | None:
    """Today; of a replay the day of its last step, since its clock stands at the step's end."""
    if shown.now_us is None:
        return None
    shortest_us = min((device.period_us for device in shown.site.devices.values()), default=0)
    back_us = shortest_us if shown.site.is_simulated else 0
    return plant.day_of(shown.now_us - back_us, shown.site.zone)


def _joined(parts: Sequence[energy.Carbonised]) -> models.Carbon:
    """The CO2e of several devices: only where every one of them has some."""
    if len(parts) == 1:
        return _carbon(parts[0])
    whys = sorted({part.why for part in parts if part.why})
    if whys or not parts:
        return models.Carbon(co2e_kg=None, factors=[], why=whys[0] if whys else energy.NO_ENERGY)
    total = sum(Decimal(part.co2e_kg or "0") for part in parts)
    factors = sorted({name for part in parts for name in part.factors})
    return models.Carbon(co2e_kg=f"{total:f}", factors=factors, why="")


def _carbon(part: energy.Carbonised) -> models.Carbon:
    return models.Carbon(co2e_kg=part.co2e_kg, factors=list(part.factors), why=part.why)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def _power_w(shown: Shown, device: Device) -> float | None:
    sample = shown.latest.get(device.id, {}).get(device.power or "")
    if sample is None or sample.value is None or sample.quality != QUALITY["good"]:
        return None
    return sample.value


def _device(read: Open, shown: Shown, device: Device) -> models.Device:
    profile, head = device.profile, device.head
    extent = read.reader.extent(shown.site.id, device.id)
    return models.Device(
        id=device.id,
        kind=profile.kind,
        model=profile.model,
        protocol=profile.protocol,
        confidence=profile.confidence,
        synthetic=profile.synthetic,
        simulated=device.is_simulated,
        epoch=head.epoch,
        agent=head.grant["agent"],
        period_us=device.period_us,
        leaves=head.size,
        received_us=head.received_us,
        state=shown.state(device),
        seen_us=shown.seen_us(device.id),
        power_w=_power_w(shown, device),
        power_point=device.power or "",
        generates=device.is_generator,
        first_us=None if extent is None else extent[0],
        last_us=None if extent is None else extent[1],
    )


def device_now(read: Open, site: str, name: str) -> models.Device:
    """One device as it is now."""
    device = read.device(site, name)
    return _device(read, read.shown(read.site(site)), device)


def devices(read: Open, site: str) -> models.Devices:
    """The devices of a site."""
    found = read.site(site)
    shown = read.shown(found)
    return models.Devices(
        site=site,
        devices=[_device(read, shown, device) for device in found.devices.values()],
        broken=[models.Broken(id=broken.id, why=broken.why) for broken in found.broken],
    )


def points(read: Open, site: str, name: str) -> models.Points:
    """The points of a device with their newest samples."""
    device = read.device(site, name)
    latest = read.shown(read.site(site)).latest.get(name, {})
    rows = [
        models.Point(
            name=point.name,
            unit=plant.unit(point.name),
            counter=point.counter,
            latest=_latest(latest[point.name]) if point.name in latest else None,
        )
        for point in plant.points_of(device)
    ]
    rows += [
        models.Point(
            name=point,
            unit=plant.unit(point),
            counter=False,
            latest=_latest(latest[point]),
            source="uncertainty" if point.startswith(UNCERTAINTY_PREFIX) else "figure",
        )
        for point in stated_points(device, latest)
    ]
    return models.Points(site=site, device=name, points=rows)


def stated_points(device: Device, known: Iterable[str]) -> list[str]:
    """Those of the points of a series that are figures of the device's agent, by name."""
    registers = {point.name for point in device.profile.points}
    return sorted(name for name in known if name.startswith(POINT_PREFIX) and name not in registers)


def latest(read: Open, site: str) -> models.LatestValues:
    """The newest sample of every point of a site."""
    found = read.shown(read.site(site)).latest
    rows = [_latest(sample) for row in found.values() for sample in row.values()]
    return models.LatestValues(site=site, values=rows)


def _latest(sample: Latest) -> models.LatestValue:
    return models.LatestValue(
        device=sample.device,
        point=sample.point,
        unit=plant.unit(sample.point),
        t_utc_us=sample.t_utc_us,
        value=finite(sample.value),
        quality=QUALITY_NAMES.get(sample.quality, "other"),
    )


def finite(value: float | None) -> float | None:
    """The value; None where it is no number."""
    return None if value is None or not math.isfinite(value) else float(value)


def span_of_days(
    shown: Shown,
    first: date | None,
    last: date | None,
    *,
    devices: Sequence[Device],
    usual: int,
    extents: Sequence[tuple[int, int] | None],
) -> tuple[date, date] | None:
    """The local days asked for; unasked the last ones of which the devices have samples.

    Args:
        shown: the site.
        first: asked for.
        last: asked for.
        devices: whose days.
        usual: how many days are shown unasked.
        extents: of the devices.

    Raises:
        Problem: the days are in another order, or too many.
    """
    for name, day in (("first", first), ("last", last)):
        if day is not None and not plant.FIRST_DAY <= day <= plant.LAST_DAY:
            raise Problem(
                422,
                "bad_span",
                f"The {name} day is {day}.",
                f"Name days from {plant.FIRST_DAY} to {plant.LAST_DAY}.",
            )
    ends = [extent for extent in extents if extent is not None]
    if last is None:
        if first is not None:
            last = min(first + plant.DAY * (usual - 1), plant.LAST_DAY)
        elif not ends or shown.now_us is None:
            return None
        else:
            end_us = max(end for _, end in ends)
            back_us = min(device.period_us for device in devices) if shown.site.is_simulated else 0
            until_us = end_us - back_us if shown.site.is_simulated else shown.now_us
            last = plant.day_of(max(until_us, min(start for start, _ in ends)), shown.site.zone)
    if first is None:
        begin = min((plant.day_of(start, shown.site.zone) for start, _ in ends), default=last)
        first = max(last - plant.DAY * (usual - 1), min(begin, last))
    if first > last:
        raise Problem(
            422,
            "bad_span",
            f"The first day is {first}, the last day {last}.",
            "Let the first day not be after the last.",
        )
    if (last - first).days >= MOST_DAYS:
        raise Problem(
            422,
            "span_too_long",
            f"{first} to {last} are {(last - first).days + 1} days; {MOST_DAYS} are the most.",
            "Ask for fewer days at a time.",
        )
    return first, last


def span_us_of(site: Site, span: tuple[date, date]) -> tuple[int, int]:
    """From the first local midnight to the one after the last day. [us UTC]"""
    return plant.midnight_us(span[0], site.zone), plant.midnight_us(span[1] + plant.DAY, site.zone)


def require_readable(device: Device, span_us: tuple[int, int], most: int = MOST_READ) -> None:
    """Refuse a span with more slots than one request may read.

    Raises:
        Problem: it has more.
    """
    slots = (span_us[1] - span_us[0]) // device.period_us
    if slots > most:
        raise Problem(
            422,
            "span_too_long",
            f"The span has {slots} slots of {device.id}; {most} are the most for this.",
            "Ask for a shorter span.",
        )


def shortened(device: Device, span: tuple[date, date], most: int = MOST_SLOTS) -> tuple[date, date]:
    """The last days of the span, so few that the device has at most so many slots in them."""
    count = max(most * device.period_us // _DAY_US, 1)
    return max(span[0], span[1] - plant.DAY * (count - 1)), span[1]


def days(
    read: Open, site: str, names: Sequence[str] | None, first: date | None, last: date | None
) -> models.Days | None:
    """Energy by local day of some devices, or of those that make up the site; None: no samples.

    Raises:
        Problem: there is no such site or device, or the days cannot be given.
    """
    found = read.site(site)
    shown = read.shown(found)
    chosen = list(found.consumers) if names is None else [read.device(site, name) for name in names]
    extents = [read.reader.extent(site, device.id) for device in chosen]
    span = span_of_days(shown, first, last, devices=chosen, usual=31, extents=extents)
    if span is None or shown.now_us is None:
        return None
    rows = []
    for device in chosen:
        require_readable(device, span_us_of(found, span))
        given = energy.days_of(read.reader, site, device, span, shown.now_us)
        rows.append(
            models.DeviceDays(
                device=device.id,
                basis=given.basis,
                point=given.point,
                generated=device.is_generator,
                days=[_day(site, device.id, day) for day in given.days],
                total_wh=given.total_wh,
                carbon=_carbon(given.carbon),
            )
        )
    return models.Days(
        site=site,
        time_zone=found.zone.key,
        first_day=span[0],
        last_day=span[1],
        devices=rows,
    )


def _day(site: str, device: str, day: energy.Day) -> models.DayEnergy:
    return models.DayEnergy(
        day=day.day,
        start_us=day.start_us,
        end_us=day.end_us,
        energy_wh=day.energy_wh,
        covered_us=day.covered_us,
        estimated_us=day.estimated_us,
        missing_us=day.missing_us,
        carbon=_carbon(day.carbon),
        records=records_url("/api/v1", site, device, day.start_us, day.end_us),
    )


def records_url(base: str, site: str, device: str, start_us: int, end_us: int) -> str:
    """Where the records of a span are; `base` is empty for the page."""
    query = urlencode({"from": iso(start_us), "to": iso(end_us)})
    return f"{base}/sites/{site}/devices/{device}/records?{query}"


def iso(instant_us: int) -> str:
    """An instant in UTC, to the microsecond where it has a fraction."""
    text = plant.local(instant_us, _UTC).replace(tzinfo=None).isoformat()
    return f"{text}Z"


_UTC = ZoneInfo("UTC")


def samples(
    read: Open, site: str, name: str, point: str, *, span_us: tuple[int, int], limit: int
) -> models.Samples:
    """Samples of a point, at most `limit`."""
    device = read.device(site, name)
    if point.startswith(POINT_PREFIX):  # what its agent states has no register
        known = [row.point for row in read.reader.latest(site) if row.device == name]
        if point not in stated_points(device, known):
            raise unknown("point", point)
    else:
        _require_point(device, point)
    found: list[tuple[int, float, int]] = []
    for start_us, end_us in _windows(device, span_us, limit):
        part = read.reader.samples(site, name, point, start_us, end_us)
        columns = (part.t_utc_us.tolist(), part.value.tolist(), part.quality.tolist())
        found += zip(*columns, strict=True)
        if len(found) > limit:
            break
    rows = [
        models.SampleRow(
            t_utc_us=t_us, value=finite(value), quality=QUALITY_NAMES.get(code, "other")
        )
        for t_us, value, code in found[:limit]
    ]
    return models.Samples(
        site=site,
        device=name,
        point=point,
        unit=plant.unit(point),
        start_us=span_us[0],
        end_us=span_us[1],
        samples=rows,
        next_us=found[limit][0] if len(found) > limit else None,
    )


def amounts(
    read: Open, site: str, name: str, point: str, *, span_us: tuple[int, int], limit: int
) -> models.Amounts:
    """Steps of a counter, at most `limit`."""
    device = read.device(site, name)
    _require_point(device, point)
    if not device.profile.point(point).counter:
        raise Problem(
            422,
            "no_counter",
            f"{point!r} of {name} is no counter.",
            "Ask for its samples, or for a counter: see the device's points.",
        )
    found: list[tuple[int, int, float, int, int, int]] = []
    for start_us, end_us in _windows(device, span_us, limit):
        part = read.reader.amounts(site, name, point, start_us, end_us)
        columns = (part.start_us, part.end_us, part.amount)
        times = (part.covered_us, part.estimated_us, part.missing_us)
        found += zip(*(column.tolist() for column in (*columns, *times)), strict=True)
        if len(found) > limit:
            break
    rows = [
        models.AmountRow(
            start_us=start,
            end_us=end,
            amount=amount,
            covered_us=covered,
            estimated_us=estimated,
            missing_us=missing,
        )
        for start, end, amount, covered, estimated, missing in found[:limit]
    ]
    return models.Amounts(
        site=site,
        device=name,
        point=point,
        unit=plant.unit(point),
        start_us=span_us[0],
        end_us=span_us[1],
        amounts=rows,
        next_us=found[limit][0] if len(found) > limit else None,
    )


def _windows(device: Device, span_us: tuple[int, int], limit: int) -> Iterator[tuple[int, int]]:
    """The span in parts of about so many rows, each twice as long as the one before.

    Whoever wants no more stops: so little is read where rows are many, and a long time without
    rows is passed in few steps.
    """
    start_us, length_us = span_us[0], (limit + 2) * device.period_us
    while start_us < span_us[1]:
        end_us = min(start_us + length_us, span_us[1])
        yield start_us, end_us
        start_us, length_us = end_us, 2 * length_us


def _require_point(device: Device, point: str) -> None:
    if all(point != known.name for known in device.profile.points):
        raise unknown("point", point)


def quality(read: Open, site: str, name: str, span: tuple[date, date]) -> models.Quality:
    """Shares of the values due in the local days, and the gaps among their leaves."""
    device = read.device(site, name)
    found = read.site(site)
    shown = read.shown(found)
    span_us = span_us_of(found, span)
    require_readable(device, span_us)
    shares = energy.quality_of(read.reader, site, device, span_us, shown.now_us or 0)
    gaps: list[tuple[int, Gap]] = []
    is_whole = True
    for one in reversed(device.epochs):
        leaves = records.span_of(read.store, one.head, *span_us)
        given, is_all = records.gaps_in(read.store, one.head, leaves)
        gaps, is_whole = gaps + given, is_whole and is_all
    return models.Quality(
        device=name,
        shares=models.Shares(**asdict(shares)),
        gaps=[
            models.Gap(
                seq=seq,
                first_slot_us=gap.first_slot_us,
                last_slot_us=gap.last_slot_us,
                slots=gap.slots,
                cause=gap.cause,
            )
            for seq, gap in gaps[:MOST_GAPS]
        ],
        gaps_in_all=len(gaps),
        gap_slots=sum(gap.slots for _, gap in gaps),
        is_whole=is_whole,
    )


def slots(read: Open, site: str, name: str, span_us: tuple[int, int], step_s: int) -> models.Slots:
    """What became of the device's slots in a span, cut at the multiples of a step.

    Raises:
        Problem: the span has too many slots, or windows.
    """
    device = read.device(site, name)
    require_readable(device, span_us, MOST_ACCOUNTED)
    windows = windows_of(span_us, step_s * US_PER_S)
    if len(windows) > MOST_WINDOWS:
        raise Problem(
            422,
            "span_too_long",
            f"The span has {len(windows)} windows of {step_s} s; {MOST_WINDOWS} are the most.",
            "Ask for a shorter span, or a longer 'step_s'.",
        )
    now_us = read.sources.now_us()
    found = [slots_of(read.store, device, window_us, now_us) for window_us in windows]
    told = [
        models.SlotAccount(**asdict(one), reconciles=one.reconciles)
        for one in (*found, total(found))
    ]
    return models.Slots(device=name, windows=told[:-1], total=told[-1])


def counters(
    read: Open, site: str, name: str, span: tuple[date, date], most: int = MOST_FOLLOWED
) -> models.Counters:
    """How the device's counters count, and what they did besides counting in the local days."""
    device = read.device(site, name)
    span_us = span_us_of(read.site(site), span)
    rows: dict[str, models.Counter] = {}
    events: list[models.CounterEvent] = []
    is_whole = True
    for one in reversed(device.epochs):
        found, is_all = records.counted_of(read.store, one, span_us, most)
        is_whole = is_whole and is_all
        for counter in found:
            rows[counter.point.name] = _counter(counter)
            events += [
                _counter_event(counter, event)
                for event in counter.events
                if span_us[0] <= event.at_us < span_us[1]
            ]
    events.sort(key=lambda event: (event.at_us, event.point))
    return models.Counters(
        device=name,
        counters=list(rows.values()),
        events=events[:MOST_EVENTS],
        events_in_all=len(events),
        by_code=dict(sorted(Counter(event.code for event in events).items())),
        is_whole=is_whole,
    )


def clocks(
    read: Open, site: str, name: str, span: tuple[date, date], most: int = MOST_FOLLOWED
) -> models.Clocks:
    """Where the device's own times stood still or went back in the local days."""
    device = read.device(site, name)
    span_us = span_us_of(read.site(site), span)
    events: list[models.ClockEvent] = []
    is_whole = True
    for one in reversed(device.epochs):
        found, is_all = records.clock_events_of(read.store, one, span_us, most)
        is_whole = is_whole and is_all
        events += [
            models.ClockEvent(
                point=event.point,
                code=event.code,
                at_us=event.slot_us,
                before_us=event.before_us,
                after_us=event.after_us,
                epoch=one.head.epoch,
                seq=event.seq,
            )
            for event in found
        ]
    events.sort(key=lambda event: (event.code, event.at_us, event.point))
    return models.Clocks(
        device=name,
        states_time=any(states_time(one.profile) for one in device.epochs),
        events=events[:MOST_EVENTS],
        events_in_all=len(events),
        by_code=dict(sorted(Counter(event.code for event in events).items())),
        is_whole=is_whole,
    )


def checks(read: Open, site: str, name: str) -> models.Checks:
    """The checks that the device's last readings fail."""
    device = read.device(site, name)
    found, looked_at, newest_us = records.implausible_in(read.store, device, MOST_CHECKED)
    return models.Checks(
        device=name,
        readings=looked_at,
        newest_us=newest_us,
        findings=[
            models.Implausible(rule=v.rule, points=list(v.points), found=v.found, do=v.do)
            for v in found
        ],
    )


def _counter(counter: Counted) -> models.Counter:
    semantics = counter.semantics
    return models.Counter(
        point=counter.point.name,
        unit=counter.unit,
        daily=bool(semantics.is_daily),
        wraps_at=str(semantics.modulus) if semantics.modulus else None,
        step=str(counter.step),
        most_per_hour=str(semantics.most_per_h) if semantics.most_per_h else None,
    )


def _counter_event(counter: Counted, event: Event) -> models.CounterEvent:
    history = counter.history
    row = int(np.searchsorted(history.slot_us, event.at_us))
    return models.CounterEvent(
        point=counter.point.name,
        code=event.code,
        start_us=event.start_us,
        at_us=event.at_us,
        before=str(event.before),
        after=str(event.after),
        booked=str(event.booked),
        epoch=history.epoch,
        seq=int(history.sources[row]),
    )


def records_of(
    read: Open,
    site: str,
    name: str,
    span_us: tuple[int, int],
    *,
    epoch: int | None = None,
    after_seq: int | None = None,
    limit: int = 100,
) -> models.Records:
    """The leaves of a span, its energy computed from them anew, and what covers them.

    Args:
        read: where from.
        site: id of the site.
        name: of the device.
        span_us: from, and before which. [us UTC]
        epoch: of the tree; None: the latest that has leaves of the span.
        after_seq: the first leaf to list; None: the first of the span.
        limit: how many leaves are listed.
    """
    every = read.device(site, name).epochs
    spans = {one.head.epoch: records.span_of(read.store, one.head, *span_us) for one in every}
    filled = [number for number, (first, after) in spans.items() if first < after]
    wanted = next(iter([*filled, *spans])) if epoch is None else epoch
    device = _of_epoch(every, wanted)
    head, (first, after) = device.head, spans[wanted]
    start = min(max(first, first if after_seq is None else after_seq), after)
    rows = records.leaves_of(read.store, head, start, min(start + limit, after))
    checkpoints: list[records.Checkpoint] = []
    for row in rows:
        if not checkpoints or row.seq >= checkpoints[-1].size:
            checkpoints.append(records.checkpoint_over(read.store, head, row.seq, read.witness))
    basis, point = energy.basis_of(device)
    given, refused = None, ""
    if basis == "none":
        refused = energy.NO_ENERGY
    elif epoch is None and len(filled) > 1:
        refused = "several_epochs"  # one tree's records are not the whole of the span
    elif (given := records.sum_of(read.store, device, point, basis, span_us)) is None:
        refused = "too_many_records"
    following = start + len(rows)
    return models.Records(
        site=site,
        device=name,
        epoch=head.epoch,
        epochs=sorted({*filled, wanted}),
        origin=head.origin,
        start_us=span_us[0],
        end_us=span_us[1],
        first_seq=first,
        leaves_in_all=after - first,
        leaves=[leaf_answer(site, name, wanted, row) for row in rows],
        next_seq=following if rows and following < after else None,
        checkpoints=[models.Checkpoint(**asdict(item)) for item in checkpoints],
        sum=None if given is None else models.Sum(**asdict(given)),
        sum_refused=refused,
    )


def _of_epoch(devices: Sequence[Device], epoch: int) -> Device:
    for device in devices:
        if device.head.epoch == epoch:
            return device
    raise unknown("epoch", str(epoch))


def leaf_answer(site: str, device: str, epoch: int, leaf: records.Leaf) -> models.Leaf:
    """A leaf as it is answered."""
    content = leaf.content
    is_record = leaf.kind == "record"
    shown = {
        key: value
        for key, value in content.items()
        if key not in {"dev", "epoch", "seq", "v", "type", "grant", "operator_signature"}
    }
    return models.Leaf(
        seq=leaf.seq,
        kind=leaf.kind,
        slot_us=leaf.slot_us,
        t_utc_us=int(content["t_utc_us"]) if is_record else None,
        raw=(
            [models.Raw(table=str(t), address=int(a), words=str(w)) for t, a, w in content["raw"]]
            if is_record
            else []
        ),
        values={str(k): str(v) for k, v in content["val"].items()} if is_record else {},
        quality={str(k): str(v) for k, v in content["q"].items()} if is_record else {},
        note="" if is_record else json.dumps(shown, ensure_ascii=False, sort_keys=True)[:2000],
        leaf_sha256=leaf.hash_hex,
        proof=f"/api/v1/sites/{site}/devices/{device}/proof?epoch={epoch}&seq={leaf.seq}",
    )


def proof(read: Open, site: str, name: str, seq: int, epoch: int | None = None) -> models.Proof:
    """The proof that a leaf stands under a cosigned checkpoint."""
    head = head_of(read, site, name, seq, epoch)
    return models.Proof(**records.proof_of(read.store, head, seq, read.witness))


def head_of(read: Open, site: str, name: str, seq: int, epoch: int | None = None) -> Head:
    """The head of the tree that a leaf is asked for of; unasked, of the latest epoch.

    Raises:
        Problem: there is no such device, epoch or leaf.
    """
    device = read.device(site, name)
    head = device.head if epoch is None else _of_epoch(device.epochs, epoch).head
    if seq >= head.size:
        raise unknown("leaf", str(seq))
    return head


def project_list(sources: Sources) -> models.Projects:
    """Every project whose report can be shown, and every one that runs."""
    found, unreadable = _reports(sources)
    sees = sources.who.sees
    rows = [_project(one) for one in found.values() if sees(one.report.project.site)]
    running = [_running(one) for one in sources.savings.projects.values() if sees(one.site)]
    told = [f"{one.what} {one.do}" for one in unreadable]
    if sources.copies is not None:
        told += [f"{one.what} {one.do}" for one in sources.copies.troubles]
    told += [f"{one.what} {one.do}" for one in sources.savings.unfollowed]
    folders = told if sources.who.sites is None else []  # whose they are nobody knows
    return models.Projects(projects=rows, running=running, unreadable=folders)


def _reports(sources: Sources) -> tuple[dict[str, projects.Project], list[projects.Unreadable]]:
    """Those in folders, and copies of those in an object store."""
    copies = [] if sources.copies is None else sources.copies.folders
    return projects.projects_of([*sources.reports, *copies])


def project(sources: Sources, name: str) -> projects.Project:
    """One project; Problem where there is none."""
    found, _ = _reports(sources)
    if name not in found or not sources.who.sees(found[name].report.project.site):
        raise unknown("project", name)
    return found[name]


def has_report(sources: Sources, name: str) -> bool:
    """Whether there is a report of this project that whoever asks may see."""
    found, _ = _reports(sources)
    return name in found and sources.who.sees(found[name].report.project.site)


def is_running(sources: Sources, name: str) -> bool:
    """Whether this project is followed, and whoever asks may see it."""
    found = sources.savings.projects.get(name)
    return found is not None and sources.who.sees(found.site)


def saving(sources: Sources, name: str) -> SoFar:
    """The saving so far of a running project; Problem where it is not followed."""
    found = sources.savings.projects.get(name)
    if found is None or not sources.who.sees(found.site):
        raise unknown("project", name)
    return found


def _running(found: SoFar) -> models.RunningRow:
    head = found.headline
    return models.RunningRow(
        id=found.id,
        title=found.title,
        site=found.site,
        state=found.state,
        stands_to=found.stands_to,
        is_final=found.is_final,
        avoided_kwh=head.avoided_kwh if head else None,
        half_width_kwh=head.half_width_kwh if head else None,
        confidence_percent=head.confidence_percent if head else None,
        avoided_t=head.avoided_t if head else None,
        half_width_t=head.half_width_t if head else None,
        policy_id=head.sufficiency_policy if head else found.policy_id,
        baseline_days=found.baseline_days,
        baseline_days_in_all=found.baseline_days_in_all,
        refused_because=list(found.refused_because),
        trouble=found.trouble,
    )


def _project(found: projects.Project) -> models.ProjectRow:
    report = found.report
    head = report.headline
    return models.ProjectRow(
        id=report.project.id,
        title=report.project.title,
        site=report.project.site,
        result=report.result,
        issued=report.issued,
        avoided_kwh=head.avoided_kwh if head else None,
        half_width_kwh=head.half_width_kwh if head else None,
        confidence_percent=head.confidence_percent if head else None,
        avoided_t=head.avoided_t if head else None,
        refused_because=list(report.refused_because),
        files=dict(found.files),
    )
