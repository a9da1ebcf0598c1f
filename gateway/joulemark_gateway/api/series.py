"""Exports: the series of a device as pages of JSON, or whole as CSV, lines of JSON, or Parquet."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Generator, Iterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from joulemark_agent.contract.errors import JoulemarkError
from joulemark_gateway.access.roles import Role, Scope
from joulemark_gateway.api import answers, models
from joulemark_gateway.api.answers import MOST_ROWS, Open
from joulemark_gateway.api.cursors import bad_cursor, cursor_of, parse_cursor
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.models import PROBLEMS, Responses
from joulemark_gateway.api.plant import Device, day_of, midnight_us
from joulemark_gateway.api.problems import Problem, unknown
from joulemark_gateway.api.routes import (
    POINT,
    Cursor,
    DeviceId,
    From,
    Reading,
    SiteId,
    To,
    span_asked,
)
from joulemark_gateway.api.series_files import MEDIA, Format, form_of, told, writer_of
from joulemark_gateway.api.series_rows import NO_MEAN, STEP_US, Resolution, Table, finest_us
from joulemark_gateway.api.streamed import Streamed

MOST_POINTS = 100
MOST_VALUES = 100_000_000  # of one file
MOST_AT_A_TIME = 4  # files that are made for all who ask
_KIND = "series"
_exporting = threading.BoundedSemaphore(MOST_AT_A_TIME)

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)
log = logging.getLogger(__name__)

Points = Annotated[
    list[Annotated[str, Query(pattern=POINT)]] | None,
    Query(alias="point", max_length=MOST_POINTS, description="repeatable; unsaid: all points"),
]
_FILES: Responses = {
    200: {
        "description": "By `format` or `Accept`; of JSON a page, of all others the whole.",
        "content": {
            MEDIA["csv"]: {"schema": {"type": "string"}},
            MEDIA["ndjson"]: {"schema": {"type": "string"}},
            MEDIA["parquet"]: {"schema": {"type": "string", "format": "binary"}},
        },
    },
    406: PROBLEMS[404],
}


@router.get(
    "/sites/{site}/devices/{device}/series", response_model=models.SeriesPage, responses=_FILES
)
@needs(Role.VIEWER, Scope.SERIES)
def get_series(
    *,
    request: Request,
    read: Reading,
    site: SiteId,
    device: DeviceId,
    points: Points = None,
    resolution: Annotated[
        Resolution, Query(description="raw samples, or windows of the site's local time")
    ] = "15min",
    start: From = None,
    end: To = None,
    form: Annotated[Format | None, Query(alias="format", description="unsaid: by Accept")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS, description="rows of a page of JSON")] = 1000,
    cursor: Cursor = None,
) -> Response:
    """The series of a device: samples, or windows that begin in the span, oldest first.

    Beside each number stands how good it is: its quality, or the seconds of the window that are
    covered, estimated and missing. What is missing is null or an empty cell, never 0.
    """
    wanted = form_of(form, request.headers.get("accept", ""))
    if wanted is None:
        raise Problem(
            406,
            "not_acceptable",
            f"The request accepts {request.headers.get('accept', '')!r:.80}.",
            f"Accept one of: {', '.join(MEDIA.values())}; or say ?format=.",
        )
    found = read.device(site, device)
    chosen = _points(read, site, found, points, resolution)
    span_us = span_asked(read, site, device, start, end)
    if start is None and resolution != "raw":  # the first window began before its first reading
        first_us = read.reader.begun_us(site, found.id) or span_us[0]
        span_us = (midnight_us(day_of(first_us, found.zone), found.zone), span_us[1])
    now_us = read.shown(read.site(site)).now_us or 0
    table = Table(read.reader, site, found, chosen, resolution, span_us, now_us)
    if wanted == "json":
        page = _page(table, cursor, limit)
        return JSONResponse(page.model_dump(mode="json"), headers={"Vary": "Accept"})
    if cursor is not None:
        raise Problem(
            422,
            "no_pages",
            f"A cursor was given with the format {wanted}.",
            "Leave it out: a file is whole. Pages are JSON.",
        )
    _require_few(table)
    return _file(request, table, wanted, read)


def _points(
    read: Open, site: str, device: Device, asked: Sequence[str] | None, resolution: Resolution
) -> list[str]:
    """The points that are given.

    Raises:
        Problem: there is no such point, or it has no windows of this length.
    """
    registers = [point.name for point in device.profile.points]
    if asked is None:
        asked = registers
        if resolution != "raw":
            asked = [name for name in registers if not name.endswith(NO_MEAN)]
    chosen = list(dict.fromkeys(asked))
    others = [name for name in chosen if name not in registers]
    if others:
        known = [row.point for row in read.reader.latest(site) if row.device == device.id]
        stated = answers.stated_points(device, known)
        wrong = [name for name in others if name not in stated or resolution != "raw"]
        if wrong and wrong[0] in stated:
            raise Problem(
                422,
                "no_windows",
                f"{wrong[0]!r} is a figure that the agent states of windows of its own.",
                "Ask for it with resolution=raw, or see the device's figures.",
            )
        if wrong:
            raise unknown("point", wrong[0])
    if not chosen:
        raise Problem(
            404,
            "no_point",
            f"No point of {device.id} has windows.",
            "Ask with resolution=raw.",
        )
    if resolution == "raw":
        return chosen
    for name in chosen:
        if name.endswith(NO_MEAN):
            raise Problem(
                422,
                "no_windows",
                f"{name!r} is a state, a text or without a unit: there is no mean of it.",
                "Ask for it with resolution=raw.",
            )
    finest = finest_us(device, chosen)
    if resolution in STEP_US and STEP_US[resolution] < finest:
        raise Problem(
            422,
            "too_fine",
            f"Windows of {STEP_US[resolution] // 1_000_000} s were asked for; {device.id} is read "
            f"every {finest // 1_000_000} s.",
            "Ask for longer windows, or for resolution=raw.",
        )
    return chosen


def _page(table: Table, cursor: str | None, limit: int) -> models.SeriesPage:
    """One page; the first fixes the end of the span, so that pages hold together."""
    mark = hashlib.sha256(
        "\n".join([table.site, table.device.id, table.resolution, *table.points]).encode()
    ).hexdigest()[:16]
    start_us: int | None = None
    if cursor is not None:
        wanted = {"next_us": int, "from_us": int, "to_us": int, "of": str}
        said = parse_cursor(cursor, _KIND, wanted)
        if said["of"] != mark or not said["from_us"] <= said["next_us"] < said["to_us"]:
            raise bad_cursor(cursor)
        start_us = said["next_us"]
        table = Table(
            table.reader, table.site, table.device, table.points, table.resolution,
            (said["from_us"], said["to_us"]), table.now_us,
        )  # fmt: skip
    rows: list[list[Any]] = []
    next_us: int | None = None
    for chunk in table.chunks(start_us):
        left = limit - len(rows)
        rows += [list(row) for row in told(table.columns, [cells[:left] for cells in chunk])]
        if chunk[0].size > left:
            next_us = int(chunk[0][left])
            break
    first_us, last_us = table.span_us
    return models.SeriesPage(
        site=table.site,
        device=table.device.id,
        time_zone=table.device.zone.key,
        resolution=table.resolution,
        start_us=first_us,
        end_us=last_us,
        columns=[models.SeriesColumn(name=c.name, unit=c.unit) for c in table.columns],
        rows=rows,
        next_cursor=None
        if next_us is None
        else cursor_of(_KIND, next_us=next_us, from_us=first_us, to_us=last_us, of=mark),
    )


def _require_few(table: Table) -> None:
    extent = table.reader.extent(table.site, table.device.id)
    values = table.rows(extent) * len(table.points)
    if values > MOST_VALUES:
        raise Problem(
            422,
            "span_too_long",
            f"The span has up to {values} values; {MOST_VALUES} are the most of one file.",
            "Ask for a shorter span, fewer points, or longer windows.",
        )


def _file(request: Request, table: Table, form: Format, read: Open) -> Response:
    name = f"{table.site}-{table.device.id}-{table.resolution}.{form}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Vary": "Accept"}
    media = f"{MEDIA[form]}; charset=utf-8" if form == "csv" else MEDIA[form]
    if request.scope["state"].get("is_head"):
        return Response(headers=headers, media_type=media)
    pieces = _in_turn(writer_of(form, read.sources.state_dir)(table), name)
    next(pieces)  # what is wrong at the begin is told as a problem
    return Streamed(pieces, 200, headers, media)


def _in_turn(pieces: Iterator[bytes], name: str) -> Generator[bytes]:
    """The pieces, of at most some files at a time; before them an empty one, once there is one.

    Raises:
        Problem: `export_busy`: as many are made already.
    """
    if not _exporting.acquire(blocking=False):
        raise Problem(
            503,
            "export_busy",
            f"{MOST_AT_A_TIME} files are being made already.",
            "Ask again in a minute, or for pages of JSON.",
            headers={"Retry-After": "60"},
        )
    is_begun = False
    try:
        first = next(pieces, b"")
        yield b""
        is_begun = True
        yield first
        yield from pieces
    except JoulemarkError as error:
        if is_begun:  # the answer is cut off, and whoever reads it sees that
            fields = {"file": name, "code": error.code, "what": error.what, "do": error.do}
            log.error("export_cut", extra=fields)  # noqa: TRY400 - said in full
        raise
    finally:
        _exporting.release()
