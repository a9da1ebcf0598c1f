"""The explorer of evidence: one record and what vouches for it, and the figures of a report."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from joulemark_agent.contract.profile import AnyPoint
from joulemark_gateway.access.roles import Role
from joulemark_gateway.api import answers, energy, plant, records
from joulemark_gateway.api.answers import Open
from joulemark_gateway.api.chain import chain_of
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.api.projects import Report
from joulemark_gateway.api.routes import (
    DeviceId,
    Epoch,
    From,
    Here,
    ProjectId,
    Reading,
    SiteId,
    To,
    span_asked,
)
from joulemark_gateway.reports import words as report_words
from joulemark_gateway.web.pages import banner_of, page, words_of

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

LeafIndex = Annotated[int, Path(ge=0, lt=2**53, description="index of a leaf")]
_UNITS = 62  # of a report on one page
_SOURCES = ("table", "address", "node", "path", "type", "word_order", "scale", "offset")
_HOUR_US = 3_600_000_000
Page = Annotated[int, Query(ge=0, lt=10_000)]


@router.get("/sites/{site}/devices/{device}/records/{seq}")
@needs(Role.VERIFIER)
def get_leaf(
    request: Request,
    *,
    read: Reading,
    site: SiteId,
    device: DeviceId,
    seq: LeafIndex,
    epoch: Epoch = None,
    start: From = None,
    end: To = None,
) -> Response:
    """One record, step by step up to the witness; `from` and `to` name the figure it came from."""
    place, found = read.site(site), read.device(site, device)
    chain = chain_of(read, site, device, seq, epoch)
    number = int(chain.proof.origin.rpartition("/")[2])
    of = next(one for one in found.epochs if one.head.epoch == number)
    span_us = None if start is None else span_asked(read, site, device, start, end)
    slot_us = chain.leaf.slot_us
    if span_us is not None and slot_us is not None and not span_us[0] <= slot_us < span_us[1]:
        span_us = None  # the leaf is none of this figure's
    kept: dict[str, Any] = {"epoch": number}
    if span_us is not None:
        kept |= {"from": answers.iso(span_us[0]), "to": answers.iso(span_us[1])}
    query = f"?{urlencode(kept)}"
    base = f"/sites/{site}/devices/{device}/records"
    return page(
        request,
        "leaf.html",
        site=site,
        device=device,
        zone=place.zone,
        chain=chain,
        epoch=number,
        query=query,
        span=span_us,
        sum=None if span_us is None else _sum(read, of, site, span_us),
        points={point.name: point for point in of.profile.points},
        profile=of.profile,
        unit_of=plant.unit,
        source_of=_source,
        list_url=f"{base}{query}&seq={seq}" if span_us is not None else None,
        before=f"{base}/{seq - 1}{query}" if seq else None,
        after=f"{base}/{seq + 1}{query}" if seq + 1 < of.head.size else None,
        downloads=f"{base}/{seq}",
        banner=banner_of([answers.site_now(read, place)], {site: place.zone}),
    )


def _sum(read: Open, device: plant.Device, site: str, span_us: tuple[int, int]) -> Any:
    """The energy of the figure, computed anew from its records; None where it cannot be."""
    basis, _ = energy.basis_of(device)
    if basis == "none":
        return None
    return answers.records_of(read, site, device.id, span_us, epoch=device.head.epoch, limit=1).sum


def _source(point: AnyPoint) -> str:
    """Where in the raw words the value stands, as the profile says."""
    told = point.model_dump(mode="json", exclude_defaults=True)
    return ", ".join(f"{name} {told[name]}" for name in _SOURCES if name in told)


@router.get("/sites/{site}/devices/{device}/records/{seq}/leaf", response_class=Response)
@needs(Role.VERIFIER)
def get_leaf_bytes(
    read: Reading, site: SiteId, device: DeviceId, seq: LeafIndex, epoch: Epoch = None
) -> Response:
    """The bytes that were hashed, as they are."""
    head = answers.head_of(read, site, device, seq, epoch)
    [data] = read.store.leaves(head.origin, seq, seq + 1)
    return _download(data, "application/json", f"leaf-{device}-{seq}.json")


@router.get("/sites/{site}/devices/{device}/records/{seq}/checkpoint", response_class=Response)
@needs(Role.VERIFIER)
def get_checkpoint(
    read: Reading, site: SiteId, device: DeviceId, seq: LeafIndex, epoch: Epoch = None
) -> Response:
    """The signed head over the leaf, as a note."""
    head = answers.head_of(read, site, device, seq, epoch)
    over = records.checkpoint_over(read.store, head, seq, read.witness)
    name = f"checkpoint-{device}-{over.size}.txt"
    return _download(over.note.encode(), "text/plain; charset=utf-8", name)


def _download(data: bytes, kind: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type=kind, headers=headers)


@router.get("/projects/{project}/records")
@needs(Role.VERIFIER)
def get_figures(
    request: Request, read: Reading, here: Here, project: ProjectId, number: Page = 0
) -> Response:
    """Each day or hour of a report with its figure, and where the records behind it are."""
    report = answers.project(here, project).report
    words = words_of(request)
    rows = _units(report)
    pages = range(0, len(rows), _UNITS)
    number = min(number, max(len(pages) - 1, 0))
    try:
        place = read.site(report.project.site)
    except Problem:  # the report is of another collector's site
        place = None
    devices = [] if place is None else _used(place, report)
    return page(
        request,
        "project_records.html",
        report=report,
        r=report_words.WORDS[words.language],
        rows=rows[number * _UNITS : (number + 1) * _UNITS],
        pages=[(k, rows[start]["label"][:10]) for k, start in enumerate(pages)],
        number=number,
        site=report.project.site,
        is_here=place is not None,
        devices=devices,
        spans=[_span_us(place, row["label"]) for row in rows[number * _UNITS :][:_UNITS]]
        if place is not None
        else [],
        banner=None,
    )


def _used(place: plant.Site, report: Report) -> list[str]:
    """The devices whose trees the report was computed from, its meter first."""
    wanted = [report.project.energy.device, *(tree.device for tree in report.evidence)]
    return [name for name in dict.fromkeys(wanted) if name in place.devices]


def _units(report: Report) -> list[dict[str, Any]]:
    columns = report.series
    names = ("label", "period", "kept", "energy_kwh", "counterfactual_kwh")
    return [
        dict(zip(names, row, strict=True))
        for row in zip(*(getattr(columns, name) for name in names), strict=True)
    ]


def _span_us(place: plant.Site, label: str) -> tuple[int, int]:
    """The day or hour that a label names: 2018-07-01, or with its hour behind. [us UTC]"""
    day, hour = date.fromisoformat(label[:10]), label[11:13]
    start_us = plant.midnight_us(day, place.zone)
    if not hour.isdecimal():
        return start_us, plant.midnight_us(day + plant.DAY, place.zone)
    return start_us + int(hour) * _HOUR_US, start_us + (int(hour) + 1) * _HOUR_US
