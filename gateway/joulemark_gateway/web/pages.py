"""What stands on each page: answers of the API, put into words, figures and charts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import lru_cache, partial
from typing import Annotated, Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from joulemark_agent.contract.profile import own_period_us
from joulemark_agent.contract.signature import encode64
from joulemark_gateway.access.roles import Role
from joulemark_gateway.api import answers, models, overview, plant, projects, systems
from joulemark_gateway.api.answers import Open
from joulemark_gateway.api.doors import needs, visit_of
from joulemark_gateway.api.files import handed_out
from joulemark_gateway.api.live import live, live_of
from joulemark_gateway.api.problems import unknown
from joulemark_gateway.api.routes import (
    POINT,
    DeviceId,
    Epoch,
    FigureName,
    FirstDay,
    From,
    Here,
    LastDay,
    ProjectId,
    Reading,
    SiteId,
    To,
    span_asked,
)
from joulemark_gateway.reports import plots
from joulemark_gateway.reports import words as report_words
from joulemark_gateway.software import VERSION
from joulemark_gateway.web import charts, drawing, figures
from joulemark_gateway.web.machine import machine_of
from joulemark_gateway.web.trends import trends_of
from joulemark_gateway.web.words import COOKIE, WORDS, Words, language_of

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_LEAVES = 100  # of one page of records
_PAGES = 10  # of records, on either side of the one shown
_LOOKS = 30  # of what needs a look
_GAPS = 40  # of all devices of a site
_FOLLOWED = 3000  # leaves that are decoded for the events of counters, and of clocks
_SHARES = ("good", "uncertain", "bad", "missing")
_TO_RECORDS = re.compile(r'<a href="/sites/[^"]*/records[^"]*"[^>]*>(.*?)</a>', re.DOTALL)
# The page of a report is a document of its own: nothing of it may run or be fetched.
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates: everything is escaped, and a name that is missing is an error."""
    made = Environment(
        loader=PackageLoader("joulemark_gateway.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["f"] = figures
    made.globals["svg"] = Markup  # charts are escaped where they are made
    return made


def words_of(request: Request) -> Words:
    """The words in which this request is answered."""
    language = language_of(
        request.query_params.get("lang"),
        request.cookies.get(COOKIE),
        request.headers.get("accept-language"),
    )
    return WORDS[language]


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """A page in the language of the request."""
    words, visit = words_of(request), visit_of(request)
    others = [(key, value) for key, value in request.query_params.multi_items() if key != "lang"]
    text = (
        environment()
        .get_template(template)
        .render(
            t=words,
            lang=words.language,
            switch={language: f"?{urlencode([*others, ('lang', language)])}" for language in WORDS},
            path=request.url.path,
            version=VERSION,
            collector=request.app.state.sources.name,
            visit=visit,
            has_login=request.app.state.access.wanted.login,
            VERIFIER=Role.VERIFIER,
            ADMIN=Role.ADMIN,
            told=words.told,
            record_url=partial(answers.records_url, ""),
            iso=answers.iso,
            **values,
        )
    )
    if not visit.who.may(Role.VERIFIER):  # what would be refused is no link
        text = _TO_RECORDS.sub(r"\1", text)
    response = HTMLResponse(text, status)
    asked = request.query_params.get("lang")
    if asked == words.language:
        response.set_cookie(COOKIE, asked, max_age=31_536_000, httponly=True, samesite="lax")
    response.headers["Vary"] = "Cookie, Accept-Language"
    return response


def of_first_site(request: Request, read: Open, name: str) -> Response:
    """On to this page of the first site, which leads on to the others."""
    if not read.sites:
        return page(request, "no_sites.html", title=f"nav_{name}", banner=None)
    return RedirectResponse(f"/sites/{next(iter(read.sites))}/{name}", 303)


@router.get("/")
@needs(Role.VIEWER)
def get_overview(request: Request, here: Here) -> Response:
    """Every site now, today and this month beside the days before, and what needs a look."""
    with answers.opened(here) as read:
        found = answers.sites(read).sites
        zones = {site.id: read.sites[site.id].zone for site in found}
        glances = {site.id: overview.glance(read, read.sites[site.id]) for site in found}
        looks = [one for site in found for one in overview.attention(read, site, glances[site.id])]
    listed = answers.project_list(here)
    looks += overview.of_projects(listed)
    known = [one.power_w for one in found if one.power_w is not None]
    return page(
        request,
        "overview.html",
        sites=found,
        zones=zones,
        glances=glances,
        looks=looks[:_LOOKS],
        looks_in_all=len(looks),
        power_w=sum(known) if known else None,
        powered=len(known),
        totals={kind: _in_all(glances.values(), kind) for kind in ("today", "month")},
        carbon_today=_sum_kg([one.carbon for one in found]),
        projects=listed,
        banner=banner_of(found, zones),
    )


def _in_all(glances: Iterable[overview.Glance], kind: str) -> dict[str, Any]:
    """The energy and CO2e of all sites together, and of how many it is known."""
    parts: list[overview.Compared] = [
        one for look in glances if (one := getattr(look, kind)) is not None
    ]
    known = [one.energy_wh for one in parts if one.energy_wh is not None]
    kilograms = [one.co2e_kg for one in parts if one.co2e_kg is not None]
    return {
        "energy_wh": sum(known) if known else None,
        "sites": len(known),
        "co2e_kg": f"{sum(map(Decimal, kilograms)):f}" if kilograms else None,
        "with_co2e": len(kilograms),
    }


@router.get("/sites/{site}")
@needs(Role.VIEWER)
def get_site(
    request: Request, read: Reading, site: SiteId, first: FirstDay = None, last: LastDay = None
) -> Response:
    """One site: now, its devices, energy and CO2e by day."""
    words = words_of(request)
    place = read.site(site)
    now = answers.site_now(read, place)
    days = answers.days(read, site, None, first, last)
    rows, shares, gaps = [], {}, {}
    if days is not None:
        rows = _day_rows(days)
        for device in now.devices:
            if device.seen_us is not None:
                own = own_days(place, device, (days.first_day, days.last_day))
                own = answers.shortened(place.devices[device.id], own)
                given = answers.quality(read, site, device.id, own)
                shares[device.id], gaps[device.id] = given, given.gaps
    return page(
        request,
        "site.html",
        site=now,
        systems=systems.systems(read, site),
        has_costs=site in read.sources.costs.sites,
        zone=place.zone,
        agents=live(read, site).agents,
        days=days,
        rows=rows,
        energy_chart=_days_chart(words, rows, days, "energy"),
        carbon_chart=_days_chart(words, rows, days, "carbon"),
        total=_total(days),
        quality=shares,
        bars={name: _share_bar(words, given.shares) for name, given in shares.items()},
        gaps=[(name, gap) for name, rows_ in gaps.items() for gap in rows_][:_GAPS],
        gaps_in_all=sum(given.gaps_in_all for given in shares.values()),
        is_whole=all(given.is_whole for given in shares.values()),
        steps=[] if days is None else steps_of((days.first_day, days.last_day)),
        banner=banner_of([now], {site: place.zone}),
        live=not now.simulated,
    )


def own_days(
    place: plant.Site, device: models.Device, span: tuple[date, date]
) -> tuple[date, date]:
    """The days shown of a site; of a device that has none of them, its own last ones."""
    first, last = span
    if device.last_us is None or device.first_us is None:
        return first, last
    zone = place.zone
    own_first, own_last = plant.day_of(device.first_us, zone), plant.day_of(device.last_us, zone)
    if own_last < first or own_first > last:
        return max(own_first, own_last - plant.DAY * 30), own_last
    return first, last


@router.get("/sites/{site}/devices/{device}")
@needs(Role.VIEWER)
def get_device(
    request: Request,
    *,
    read: Reading,
    site: SiteId,
    device: DeviceId,
    point: Annotated[str | None, Query(pattern=POINT)] = None,
    figure: FigureName = None,
    first: FirstDay = None,
    last: LastDay = None,
) -> Response:
    """One device: its points, a chart, energy by day, what its model says, quality."""
    words = words_of(request)
    place = read.site(site)
    found = read.device(site, device)
    now = answers.device_now(read, site, device)
    values: dict[str, Any] = {
        "site": site,
        "device": now,
        "zone": place.zone,
        "points": [
            row for row in answers.points(read, site, device).points if row.source == "device"
        ],
        "source": found.profile.source,
        "ahead": live_of(read, site, device),
        "span": None,
        "banner": banner_of([answers.site_now(read, place)], {site: place.zone}),
        "live": not now.simulated,
    }
    extent = read.reader.extent(site, device)
    span = answers.span_of_days(
        read.shown(place), first, last, devices=[found], usual=7, extents=[extent]
    )
    if span is not None:
        if first is None:
            span = answers.shortened(found, span)
        span_us = answers.span_us_of(place, span)
        names = [row.name for row in found.profile.points]
        chosen = point if point is not None else (found.power or names[0])
        if chosen not in names:
            raise unknown("point", chosen)
        inside_us = _within(span_us, extent)
        chart_us = inside_us if found.is_simulated else span_us
        days = answers.days(read, site, [device], *span)
        assert days is not None  # it has samples
        rows = _day_rows(days)
        values |= {
            "span": span,
            "span_us": span_us,
            "chosen": chosen,
            "days": days,
            "rows": rows,
            "energy_chart": _days_chart(words, rows, days, "energy"),
            "steps": steps_of(span, kept := {"point": chosen, "figure": figure}),
            "hidden": [(name, value) for name, value in kept.items() if value is not None],
            "quality": (quality := answers.quality(read, site, device, span)),
            "bar": _share_bar(words, quality.shares),
            "checks": answers.checks(read, site, device),
            "counters": answers.counters(read, site, device, span, _FOLLOWED),
            "clocks": answers.clocks(read, site, device, span, _FOLLOWED),
            "chart": _point_chart(words, read, found, site=site, point=chosen, span_us=chart_us),
            "equipment": machine_of(words, read, place, device, inside_us),
            "trends": trends_of(words, read, found, site=site, span_us=inside_us, chosen=figure),
            "records": answers.records_url("", site, device, *span_us),
        }
    return page(request, "device.html", **values)


@router.get("/sites/{site}/devices/{device}/records")
@needs(Role.VERIFIER)
def get_records(
    request: Request,
    *,
    read: Reading,
    site: SiteId,
    device: DeviceId,
    start: From = None,
    end: To = None,
    seq: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
    epoch: Epoch = None,
) -> Response:
    """The records behind a figure."""
    span_us = span_asked(read, site, device, start, end)
    found = answers.records_of(
        read, site, device, span_us, epoch=epoch, after_seq=seq, limit=_LEAVES
    )
    place = read.site(site)
    span = {"from": answers.iso(span_us[0]), "to": answers.iso(span_us[1])}
    query = span if epoch is None else {**span, "epoch": str(epoch)}
    listed_from = found.leaves[0].seq if found.leaves else found.first_seq
    pages = [
        {"first": k, "url": f"?{urlencode({**query, 'seq': k})}"}
        for k in _near(found.first_seq, found.leaves_in_all, listed_from)
    ]
    heads = [one.head for one in read.device(site, device).epochs]
    [key] = [head.key_at(head.size) for head in heads if head.epoch == found.epoch]
    return page(
        request,
        "records.html",
        site=site,
        device=device,
        zone=place.zone,
        found=found,
        pages=pages,
        epochs={number: f"?{urlencode({**span, 'epoch': number})}" for number in found.epochs},
        listed_from=listed_from,
        leaf_url=f"/sites/{site}/devices/{device}/records",
        leaf_query=urlencode({**span, "epoch": found.epoch}),
        agent_key=encode64(key),
        api=f"/api/v1/sites/{site}/devices/{device}/records?{urlencode(query)}",
        banner=banner_of([answers.site_now(read, place)], {site: place.zone}),
    )


def _near(first: int, count: int, listed: int) -> list[int]:
    """Where pages of leaves begin: the first, the last, and those around the one that is listed."""
    starts = range(first, first + count, _LEAVES)
    here = (listed - first) // _LEAVES
    near = range(max(here - _PAGES, 0), min(here + _PAGES + 1, len(starts)))
    return [starts[k] for k in sorted({*near, 0, len(starts) - 1})] if starts else []


@router.get("/projects")
@needs(Role.VIEWER)
def get_projects(request: Request, here: Here) -> Response:
    """Every project."""
    return page(request, "projects.html", found=answers.project_list(here), banner=None)


@router.get("/projects/{project}")
@needs(Role.VIEWER)
def get_project(request: Request, here: Here, project: ProjectId) -> Response:
    """One project: its saving and band, rules, and the files of its report."""
    is_running = answers.is_running(here, project)
    if is_running and not answers.has_report(here, project):
        return RedirectResponse(f"/projects/{project}/saving", 303)
    found = answers.project(here, project)
    language = words_of(request).language
    files = {
        name: size
        for name, size in found.files.items()
        if name not in projects.EVIDENCE or here.who.may(Role.VERIFIER)
    }
    content = found.report.model_dump(by_alias=True)
    told = report_words.WORDS[language]
    return page(
        request,
        "project.html",
        files=files,
        is_running=is_running,
        report=found.report,
        r=told,
        time_chart=plots.energy_over_time(content, told),
        sum_chart=plots.cumulative(content, told),
        banner=None,
    )


@router.get("/projects/{project}/files/{name}")
@needs(Role.VIEWER)
def get_file(request: Request, here: Here, project: ProjectId, name: str) -> Response:
    """One of the files of a report, by its name."""
    is_page = name.endswith(".html")
    answer = handed_out(request, here, project, name, is_shown=is_page)
    if is_page:
        answer.headers["Content-Security-Policy"] = _REPORT_POLICY
    return answer


@router.get("/health", response_class=Response)
@needs(Role.ANYBODY)
def get_health(here: Here) -> Response:
    """Whether evidence and series can be read; 503 where not."""
    found = answers.health(here)
    status = 200 if found.status == "ok" else 503
    return Response(found.model_dump_json(), status, media_type="application/json")


def banner_of(
    sites: Sequence[models.SiteNow], zones: Mapping[str, ZoneInfo]
) -> dict[str, Any] | None:
    """What stands across the top where a clock is simulated: the sites and the years."""
    found = [site for site in sites if site.simulated and site.now_us is not None]
    if not found:
        return None
    years = set()
    for site in found:
        for device in site.devices:
            if device.first_us is not None and device.last_us is not None:
                zone, last_us = zones[site.id], max(device.last_us - 1, device.first_us)
                years |= {plant.local(at_us, zone).year for at_us in (device.first_us, last_us)}
    return {"sites": [site.id for site in found], "years": sorted(years)}


def _day_rows(days: models.Days) -> list[dict[str, Any]]:
    """A row a day: each device's energy, their sum, how much is known, and CO2e."""
    rows = []
    for k in range((days.last_day - days.first_day).days + 1):
        parts = [(item, item.days[k]) for item in days.devices if item.days]
        known = [day.energy_wh for _, day in parts if day.energy_wh is not None]
        kilograms = [day.carbon for _, day in parts if day.energy_wh is not None]
        whole = sum(day.covered_us + day.estimated_us + day.missing_us for _, day in parts)
        rows.append(
            {
                "day": days.first_day + plant.DAY * k,
                "parts": [(item.device, day) for item, day in parts],
                "energy_wh": sum(known) if known else None,
                "covered_us": sum(day.covered_us for _, day in parts),
                "estimated_us": sum(day.estimated_us for _, day in parts),
                "missing_us": sum(day.missing_us for _, day in parts),
                "passed_us": whole,
                "length_us": _due_us(parts),
                "co2e_kg": _sum_kg(kilograms),
                "why": next((part.why for part in kilograms if part.why), "no_energy"),
                "factors": sorted({name for part in kilograms for name in part.factors}),
            }
        )
    return rows


def _due_us(parts: Sequence[tuple[models.DeviceDays, models.DayEnergy]]) -> int:
    """The day's length for each device of which something is due in it; 1 where none is."""
    lengths = [
        day.end_us - day.start_us
        for _, day in parts
        if day.covered_us + day.estimated_us + day.missing_us
    ]
    return sum(lengths) or 1


def _sum_kg(parts: Sequence[models.Carbon]) -> str | None:
    if not parts or any(part.co2e_kg is None for part in parts):
        return None
    return f"{sum(Decimal(part.co2e_kg or 0) for part in parts):f}"


def _total(days: models.Days | None) -> dict[str, Any] | None:
    """The sums of the days shown; CO2e as each device's whole was summed and rounded."""
    if days is None:
        return None
    known = [item.total_wh for item in days.devices if item.total_wh is not None]
    parts = [item.carbon for item in days.devices if item.total_wh is not None]
    return {
        "energy_wh": sum(known) if known else None,
        "co2e_kg": _sum_kg(parts),
        "factors": sorted({name for part in parts for name in part.factors}),
        "why": next((part.why for part in parts if part.why), "no_energy"),
    }


def _days_chart(
    words: Words, rows: Sequence[Mapping[str, Any]], days: models.Days | None, kind: str
) -> str:
    if days is None or not any(row["parts"] for row in rows):
        return ""
    is_carbon = kind == "carbon"
    if is_carbon and all(row["co2e_kg"] is None for row in rows):
        return ""
    bars = []
    for row in rows:
        if is_carbon:
            value = None if row["co2e_kg"] is None else float(row["co2e_kg"])
            text = f"{figures.kilograms(row['co2e_kg'], 1)} kg CO2e"
        else:
            value = None if row["energy_wh"] is None else row["energy_wh"] / 1000
            text = f"{figures.kwh(row['energy_wh'])} kWh"
        single = row["parts"][0] if len(row["parts"]) == 1 else None
        url = f"#day-{row['day']}"
        if single is not None:
            name, day = single
            url = answers.records_url("", days.site, name, day.start_us, day.end_us)
        told = words(
            "bar_told",
            day=row["day"],
            value=text,
            measured=figures.percent(row["covered_us"], row["passed_us"]),
        )
        length = row["length_us"]
        bars.append(
            charts.Bar(
                row["day"],
                value,
                row["covered_us"] / length,
                row["estimated_us"] / length,
                row["missing_us"] / length,
                url,
                told,
            )
        )
    is_made = days.devices[0].generated and not is_carbon
    title = words(
        "chart_generated" if is_made else f"chart_{kind}", first=days.first_day, last=days.last_day
    )
    unit = "kg CO2e" if is_carbon else "kWh"
    css = "carbon" if is_carbon else "made" if is_made else "energy"
    return charts.day_bars(bars, title, unit, css)


_STEPS = {"step_day": 1, "step_week": 7, "step_month": 31, "step_year": 365}


def steps_of(
    span: tuple[date, date],
    kept: Mapping[str, str | None] | None = None,
    wanted: Sequence[str] = tuple(_STEPS),
) -> list[tuple[str, str]]:
    """Names and addresses of other spans: earlier, later, day, week, month, year.

    Args:
        span: first and last day.
        kept: what else stands in the address.
        wanted: which lengths are offered.
    """
    first, last = span
    length = last - first + plant.DAY
    more = {name: value for name, value in (kept or {}).items() if value is not None}

    def url(start: date, end: date) -> str:
        return f"?{urlencode({**more, 'from': start, 'to': end})}"

    found = []
    if first - length >= plant.FIRST_DAY:
        found.append(("step_earlier", url(first - length, last - length)))
    if last + length <= plant.LAST_DAY:
        found.append(("step_later", url(first + length, last + length)))
    return found + [(name, url(last - plant.DAY * (_STEPS[name] - 1), last)) for name in wanted]


def _share_bar(words: Words, shares: models.Shares) -> str:
    parts = [(name, float(getattr(shares, name))) for name in _SHARES]
    told = ", ".join(
        f"{words(f'share_{name}')} {figures.percent(value, shares.due)} %"
        for name, value in parts
        if value
    )
    return charts.share_bar(parts, told) if shares.due else ""


def _point_chart(
    words: Words,
    read: Open,
    device: plant.Device,
    *,
    site: str,
    point: str,
    span_us: tuple[int, int],
) -> dict[str, Any]:
    """The chart of a point over a span, and its least, greatest and mean value."""
    answers.require_readable(device, span_us)
    samples = read.reader.samples(site, device.id, point, *span_us)
    row = device.profile.point(point)
    line = charts.buckets_of(samples, span_us, own_period_us(row, device.period_us))
    how = figures.shown_as(point)
    title = words("chart_point", point=point, unit=how.unit or "1")
    svg = charts.line_chart(line, how, drawing.Frame(span_us, device.zone, title))
    good = sum(bucket.good for bucket in line.buckets)
    mean = sum(bucket.mean * bucket.good for bucket in line.buckets) / good if good else None
    return {
        "svg": svg,
        "low": min((bucket.low for bucket in line.buckets), default=None),
        "high": max((bucket.high for bucket in line.buckets), default=None),
        "mean": mean,
        "good": line.good,
        "samples": line.samples,
        "is_aggregated": line.is_aggregated,
        "is_counter": row.counter,
    }


def _within(span_us: tuple[int, int], extent: tuple[int, int] | None) -> tuple[int, int]:
    """The part of the span in which the device has samples."""
    if extent is None:
        return span_us
    first_us = extent[0] // figures.US_PER_S * figures.US_PER_S  # it was read just after
    inside_us = (max(span_us[0], first_us), min(span_us[1], extent[1] + 1))
    return inside_us if inside_us[0] < inside_us[1] else span_us
