"""The page of energy: a site or one device by day, week or month, its usual day and its demand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlencode

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from joulemark_gateway.access.roles import Role
from joulemark_gateway.api import answers, energy, plant, usage
from joulemark_gateway.api.answers import Open
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.plant import Device
from joulemark_gateway.api.routes import ID, FirstDay, LastDay, Reading, SiteId
from joulemark_gateway.evidence.emission_factors import factor_on
from joulemark_gateway.series.base import QUALITY, Samples
from joulemark_gateway.web import charts, figures, usage_charts
from joulemark_gateway.web.drawing import Frame
from joulemark_gateway.web.figures import Shown
from joulemark_gateway.web.pages import banner_of, of_first_site, page, steps_of, words_of
from joulemark_gateway.web.words import Words

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_USUAL_DAYS = 31
_PEAKS = 5
_SHARES = ("covered", "estimated", "missing")
_KW = Shown("kW", 1e-3, digits=2)
_STEPS = ("step_week", "step_month", "step_year")
Of = Annotated[str | None, Query(pattern=ID, description="one device; unsaid: the whole site")]


@router.get("/energy")
@needs(Role.VIEWER)
def get_energy(request: Request, read: Reading) -> Response:
    """The page of the first site; it leads on to the others."""
    return of_first_site(request, read, "energy")


@router.get("/sites/{site}/energy")
@needs(Role.VIEWER)
def get_site_energy(
    request: Request,
    *,
    read: Reading,
    site: SiteId,
    of: Of = None,
    by: usage.By = "day",
    first: FirstDay = None,
    last: LastDay = None,
) -> Response:
    """One site, or one device of it."""
    words, place = words_of(request), read.site(site)
    choices = [d for d in place.devices.values() if energy.basis_of(d)[0] != "none"]
    chosen = list(place.consumers) if of is None else [read.device(site, of)]
    extents = [read.reader.extent(site, device.id) for device in chosen]
    shown = read.shown(place)
    span = answers.span_of_days(
        shown, first, last, devices=chosen, usual=_USUAL_DAYS, extents=extents
    )
    values: dict[str, Any] = {
        "site": site,
        "sites": list(read.sites),
        "zone": place.zone,
        "of": of,
        "by": by,
        "choices": choices,
        "devices": chosen,
        "span": span,
        "banner": banner_of([answers.site_now(read, place)], {site: place.zone}),
    }
    if span is not None and shown.now_us is not None:
        kept = {name: text for name, text in (("of", of), ("by", by)) if text}
        values |= {
            "hidden": list(kept.items()),
            "steps": steps_of(span, kept, _STEPS),
            "bys": {name: _url({**kept, "by": name}, span) for name in ("day", "week", "month")},
            "ofs": {None: _url({"by": by}, span)}
            | {d.id: _url({"of": d.id, "by": by}, span) for d in choices},
            **_used(words, read, place, chosen, span, by, shown.now_us),
            **_demand(words, read, place, chosen, span),
        }
        hours = usage.hours_of(read, site, chosen, span)
        values["hours"] = hours
        values["day_chart"] = usage_charts.usual_day(
            hours, words("chart_usual_day", first=span[0], last=span[1])
        )
    return page(request, "energy.html", **values)


def _used(  # noqa: PLR0917 -- where, what, when and in which words
    words: Words,
    read: Open,
    place: plant.Site,
    devices: Sequence[Device],
    span: tuple[date, date],
    by: usage.By,
    now_us: int,
) -> dict[str, Any]:
    """A row a period, the sums, and the charts of both."""
    by_device = []
    for device in devices:
        answers.require_readable(device, answers.span_us_of(place, span))
        by_device.append((device, energy.days_of(read.reader, place.id, device, span, now_us)))
    by_device = [(device, days) for device, days in by_device if days.basis != "none"]
    periods = [usage.periods_of(device, days.days, by) for device, days in by_device]
    rows = [_row(by_device, those) for those in zip(*periods, strict=True)]
    known = [days.total_wh for _, days in by_device if days.total_wh is not None]
    total = {
        "energy_wh": sum(known) if known else None,
        "co2e_kg": _sum_kg([days.carbon for _, days in by_device if days.total_wh is not None]),
        "covered_us": sum(row["covered_us"] for row in rows),
        "passed_us": sum(row["passed_us"] for row in rows),
        "why": next((days.carbon.why for _, days in by_device if days.carbon.why), "no_energy"),
    }
    return {
        "rows": rows,
        "parts": [(device.id, days) for device, days in by_device],
        "total": total,
        "factors": _factors(by_device),
        "energy_chart": _chart(words, rows, span, by, "energy"),
        "carbon_chart": _chart(words, rows, span, by, "carbon"),
    }


def _row(
    by_device: Sequence[tuple[Device, energy.Days]], those: Sequence[usage.Period]
) -> dict[str, Any]:
    """One period: each device's part, their sum and how much of it is known."""
    known = [part.energy_wh for part in those if part.energy_wh is not None]
    covered = sum(part.covered_us for part in those)
    estimated = sum(part.estimated_us for part in those)
    missing = sum(part.missing_us for part in those)
    due_us = sum(
        part.end_us - part.start_us
        for part in those
        if part.covered_us + part.estimated_us + part.missing_us
    )
    carbons = [part.carbon for part in those if part.energy_wh is not None]
    return {
        "first": those[0].first,
        "last": those[0].last,
        "parts": [(device.id, part) for (device, _), part in zip(by_device, those, strict=True)],
        "energy_wh": sum(known) if known else None,
        "covered_us": covered,
        "estimated_us": estimated,
        "missing_us": missing,
        "passed_us": covered + estimated + missing,
        "length_us": due_us or 1,
        "co2e_kg": _sum_kg(carbons),
        "why": next((part.why for part in carbons if part.why), "no_energy"),
    }


def _sum_kg(parts: Sequence[energy.Carbonised]) -> str | None:
    """The CO2e of several devices; none where one of them has none."""
    if not parts or any(part.co2e_kg is None for part in parts):
        return None
    return f"{sum(Decimal(part.co2e_kg or 0) for part in parts):f}"


def _factors(by_device: Sequence[tuple[Device, energy.Days]]) -> list[Any]:
    """The emission factors that were used, each once."""
    found = {}
    for device, days in by_device:
        for day in days.days:
            if device.carbon is None or not day.carbon.factors:
                continue
            factor = factor_on(device.carbon, day.day)
            if factor is not None:
                found[factor.id] = factor
    return [found[name] for name in sorted(found)]


def _chart(
    words: Words,
    rows: Sequence[dict[str, Any]],
    span: tuple[date, date],
    by: usage.By,
    kind: str,
) -> str:
    is_carbon = kind == "carbon"
    if all(row["co2e_kg" if is_carbon else "energy_wh"] is None for row in rows):
        return ""
    bars = []
    for row in rows:
        kg, wh = row["co2e_kg"], row["energy_wh"]
        if is_carbon:
            value = None if kg is None else float(kg)
            text = f"{figures.kilograms(kg, 1)} kg CO2e"
        else:
            value = None if wh is None else wh / 1000
            text = f"{figures.kwh(wh)} kWh"
        measured = figures.percent(row["covered_us"], row["passed_us"])
        covered, estimated, missing = (row[f"{name}_us"] / row["length_us"] for name in _SHARES)
        bars.append(
            charts.Bar(
                row["first"],
                value,
                covered,
                estimated,
                missing,
                f"#p-{row['first']}",
                words("bar_told", day=row["first"], value=text, measured=measured),
                row["first"].strftime("%Y-%m") if by == "month" else "",
            )
        )
    title = words(f"chart_{kind}", first=span[0], last=span[1])
    return charts.day_bars(bars, title, "kg CO2e" if is_carbon else "kWh", kind)


def _demand(
    words: Words,
    read: Open,
    place: plant.Site,
    devices: Sequence[Device],
    span: tuple[date, date],
) -> dict[str, Any]:
    """The demand by quarter of an hour: its chart, its peaks, and how much of the time is known."""
    edges_us = usage.quarters_us(read, place.id, span)
    found = usage.demand_of(read, place.id, devices, edges_us)
    if found is None or not found.known.size:
        return {"demand": None}
    peaks = found.peaks(_PEAKS)
    good = np.where(np.isnan(found.power_w), QUALITY["missing"], QUALITY["good"]).astype(np.uint8)
    middle_us = (found.start_us + found.end_us) // 2
    span_us = edges_us[0], edges_us[-1]
    line = charts.buckets_of(Samples(middle_us, found.power_w, good), span_us, usage.QUARTER_US)
    title = words("chart_demand", first=plant.day_of(span_us[0], place.zone), last=span[1])
    marks = [(int(middle_us[peaks[0]]), float(found.power_w[peaks[0]]))]
    mean_w, most_w = float(found.known.mean()), float(found.power_w[peaks[0]])
    return {
        "demand": found,
        "demand_first": plant.day_of(span_us[0], place.zone),
        "demand_chart": charts.line_chart(line, _KW, Frame(span_us, place.zone, title), marks),
        "peaks": [
            (int(found.start_us[k]), int(found.end_us[k]), float(found.power_w[k])) for k in peaks
        ],
        "mean_w": mean_w,
        "least_w": float(found.known.min()),
        "load_ratio": mean_w / most_w if most_w > 0 else None,
    }


def _url(kept: dict[str, str], span: tuple[date, date]) -> str:
    return f"?{urlencode({**kept, 'from': span[0], 'to': span[1]})}"
