"""The page of data quality: values by device and day, and one device's slots, codes and clocks."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from joulemark_gateway.access.roles import Role
from joulemark_gateway.api import answers, plant, upkeep
from joulemark_gateway.api.answers import Open
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.energy import Quality
from joulemark_gateway.api.live import live
from joulemark_gateway.api.plant import Device
from joulemark_gateway.api.routes import ID, FirstDay, LastDay, Reading, SiteId
from joulemark_gateway.evidence.slots import GOOD
from joulemark_gateway.web.pages import banner_of, of_first_site, own_days, page, steps_of

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_USUAL_DAYS = 14
_MOST_DAYS = 31  # that stand side by side
_FOLLOWED = 3000  # leaves that are decoded for the events of counters, and of clocks
_LISTED = 20  # of gaps, and of events
_HIGH = 0.95  # of the values of a day, from which little is missing
Chosen = Annotated[str | None, Query(pattern=ID, description="the device that is looked into")]


@router.get("/quality")
@needs(Role.VIEWER)
def get_quality(request: Request, read: Reading) -> Response:
    """The page of the first site; it leads on to the others."""
    return of_first_site(request, read, "quality")


@router.get("/sites/{site}/quality")
@needs(Role.VIEWER)
def get_site_quality(
    request: Request,
    *,
    read: Reading,
    site: SiteId,
    device: Chosen = None,
    first: FirstDay = None,
    last: LastDay = None,
) -> Response:
    """Every device by day, and one of them in full."""
    place = read.site(site)
    devices = list(place.devices.values())
    extents = [read.reader.extent(site, one.id) for one in devices]
    shown = read.shown(place)
    span = answers.span_of_days(
        shown, first, last, devices=devices, usual=_USUAL_DAYS, extents=extents
    )
    now = answers.site_now(read, place)
    values: dict[str, Any] = {
        "site": site,
        "now": now,
        "sites": list(read.sites),
        "zone": place.zone,
        "span": span,
        "agents": live(read, site).agents,
        "banner": banner_of([now], {site: place.zone}),
    }
    if span is not None and shown.now_us is not None:
        span = max(span[0], span[1] - plant.DAY * (_MOST_DAYS - 1)), span[1]
        causes = {one.id: upkeep.causes_of(read, site, one, span) for one in devices}
        worst = max(devices, key=lambda one: sum(causes[one.id].values()))
        chosen = read.device(site, device) if device else worst
        kept = {"device": device} if device else {}
        strips = []
        for one in devices:
            days = upkeep.by_day(read, site, one, span, shown.now_us)
            strips.append((one.id, days, upkeep.together(days)))
        values |= {
            "span": span,
            "days": [span[0] + plant.DAY * k for k in range((span[1] - span[0]).days + 1)],
            "strips": strips,
            "states": {row.id: row for row in now.devices},
            "causes": causes,
            "grade": grade,
            "steps": steps_of(span, kept, ("step_day", "step_week", "step_month")),
            "hidden": list(kept.items()),
            "url": _url,
            **_device(read, chosen, place, span),
        }
    return page(request, "quality.html", **values)


def _url(device: str, first: date, last: date) -> str:
    return f"?{urlencode({'device': device, 'from': first, 'to': last})}#h-device"


def grade(values: Quality) -> str:
    """How the cell of a day is marked: void, full, high or low."""
    if not values.due:
        return "void"
    if values.good == values.due:
        return "full"
    return "high" if values.good >= _HIGH * values.due else "low"


def _device(
    read: Open, device: Device, place: plant.Site, span: tuple[date, date]
) -> dict[str, Any]:
    """Slots by day with their causes, codes by point, gaps and the events of clocks.

    Of a device that was not read in these days, its own last ones.
    """
    site, row = place.id, answers.device_now(read, place.id, device.id)
    own = own_days(place, row, span)
    accounts, whole = upkeep.accounts_of(read, site, device, own)
    inside = accounts[0].day, own[1]
    codes = sorted({code for row in whole.points.values() for code in row} - {GOOD})
    return {
        "chosen": device,
        "asked": own[0],
        "inside": inside,
        "accounts": [one for one in accounts if one.slots.expected],
        "whole": whole,
        "codes": codes,
        "quality": answers.quality(read, site, device.id, inside),
        "clocks": answers.clocks(read, site, device.id, inside, _FOLLOWED),
        "checks": answers.checks(read, site, device.id),
        "LISTED": _LISTED,
    }
