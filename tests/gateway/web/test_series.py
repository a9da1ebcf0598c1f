"""Exports of the series: the ledger's numbers, in pages and files, and what is refused."""

import csv
import http.client
import io
import json
import shutil
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pytest

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.api import answers, plant, series_files, series_rows
from joulemark_gateway.api import series as series_routes
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.api.series_rows import Resolution
from joulemark_gateway.evidence.store import FILE as STORE
from joulemark_gateway.evidence.store import SqliteStore
from joulemark_gateway.series.base import Carry, Intervals, Part, Points
from joulemark_gateway.series.embedded import EmbeddedSeries
from joulemark_gateway.series.mirror import catch_up
from joulemark_gateway.series.retention import Retention
from joulemark_gateway.web.application import application
from joulemark_gateway.web.server import PagesServer
from support import pages
from support.evidence import METER, SITE, START_US
from support.pages import COMPRESSOR, DAY_US, PLACE

API = f"/api/v1{PLACE}"
SERIES = f"{API}/series"
FIRST, AFTER = "2017-12-31T15:00:00Z", "2018-01-04T15:00:00Z"  # of the local days that are filled
SPAN = {"from": FIRST, "to": AFTER}
MACHINE = f"/api/v1/sites/{SITE}/devices/{COMPRESSOR}"


async def rows_of(client, url, **params):
    """Every row, page after page, as a dict of a column's cells."""
    found, cursor = [], None
    while True:
        asked = params if cursor is None else {**params, "cursor": cursor}
        page = (await client.get(url, params=asked)).json()
        names = [column["name"] for column in page["columns"]]
        found += [dict(zip(names, row, strict=True)) for row in page["rows"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def table_of(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("resolution", ["15min", "hour", "day"])
async def test_windows_add_up_to_the_days_that_are_shown(client, resolution):
    days = (await client.get(f"{API}/days")).json()["devices"][0]
    rows = await rows_of(client, SERIES, resolution=resolution, limit=37, **SPAN)
    known = [row["energy_wh"] for row in rows if row["energy_wh"] is not None]
    assert sum(known) == days["total_wh"]
    for part in ("covered", "estimated", "missing"):
        told = sum(day[f"{part}_us"] for day in days["days"])
        assert sum(row[f"energy_wh_{part}_s"] for row in rows) * 1e6 == pytest.approx(told)
    assert any(row["energy_wh_missing_s"] for row in rows), "there is a gap to be told"


async def test_what_is_forgotten_is_told_as_it_was_known_and_never_as_whole(state, tmp_path):
    """The gap of a day whose readings are forgotten is still missing, in days and in windows."""
    found = {}
    for name, kept in (("whole", Retention()), ("kept", Retention(raw_days=2))):
        (tmp_path / name).mkdir()
        shutil.copy(state.folder / STORE, tmp_path / name / STORE)
        with SqliteStore(tmp_path / name / STORE) as store:
            series = EmbeddedSeries(tmp_path / name / "series.duckdb", kept)
            while catch_up(store, series):
                pass
            series.close()
        shown = pages.State(tmp_path / name, state.report)
        with shown.sources() as sources:
            access = pages.gate(tmp_path / name)
            async with pages.asking(sources, application(sources, access)) as client:
                asked = {"from": "2018-01-01", "to": "2018-01-04"}
                days = (await client.get(f"{API}/days", params=asked)).json()["devices"][0]
                rows = await rows_of(client, SERIES, resolution="15min", point="energy_wh")
                means = await rows_of(client, SERIES, resolution="day", point="power_w", **SPAN)
                found[name] = days["days"], rows, means
    for whole, some in zip(*(one[0] for one in found.values()), strict=True):
        assert [some[k] for k in ("energy_wh", "missing_us")] == [
            whole[k] for k in ("energy_wh", "missing_us")
        ]
    assert found["kept"][1] == found["whole"][1]
    assert found["kept"][2][0]["mean_power_w"] is None
    assert found["kept"][2][0]["power_w_missing_s"] == 86_400


async def test_the_days_are_those_of_the_site(client):
    days = (await client.get(f"{API}/days")).json()["devices"][0]["days"]
    rows = await rows_of(client, SERIES, resolution="day", point="energy_wh", **SPAN)
    assert [row["energy_wh"] for row in rows] == [day["energy_wh"] for day in days]
    assert [row["start_local"][:10] for row in rows] == [day["day"] for day in days]
    assert {row["start_local"][10:] for row in rows} == {"T00:00:00+09:00"}


async def test_an_energy_that_is_held_is_the_one_that_is_shown(client):
    days = (await client.get(f"{MACHINE}/days")).json()["devices"][0]
    assert days["basis"] == "held"
    rows = await rows_of(client, f"{MACHINE}/series", resolution="day", **SPAN)
    assert [row["energy_wh"] for row in rows] == [day["energy_wh"] for day in days["days"]]
    for row in rows:
        mean_wh = row["mean_power_w"] * row["power_w_covered_s"] / 3600
        assert mean_wh == pytest.approx(row["energy_wh"])
        assert row["least_power_w"] <= row["mean_power_w"] <= row["greatest_power_w"]


async def test_raw_samples_are_those_of_the_evidence_with_their_quality(client):
    rows = await rows_of(client, SERIES, resolution="raw", limit=50)
    samples = (await client.get(f"{API}/samples?point=power_w&limit=10000")).json()["samples"]
    assert [row["power_w"] for row in rows] == [sample["value"] for sample in samples]
    assert [row["power_w_quality"] for row in rows] == [sample["quality"] for sample in samples]
    leaves: dict[int, dict[str, str]] = {}
    seq = 0
    while seq is not None:
        url = f"{API}/records?limit=500&seq={seq}&from={FIRST}"
        page = (await client.get(url)).json()
        leaves |= {
            leaf["t_utc_us"]: leaf["values"] for leaf in page["leaves"] if leaf["kind"] == "record"
        }
        seq = page["next_seq"]
    values = [leaves[t_us] for t_us in sorted(leaves)]
    good = [
        (row["energy_wh"], value.get("energy_wh")) for row, value in zip(rows, values, strict=True)
    ]
    assert all(
        held is not None and shown == float(held) for shown, held in good if shown is not None
    )


@pytest.mark.parametrize("resolution", ["raw", "15min", "hour", "day"])
async def test_every_form_of_a_table_is_the_same_table(client, tmp_path, resolution):
    rows = await rows_of(client, SERIES, resolution=resolution)
    asked = {"resolution": resolution}
    answers = {
        form: await client.get(SERIES, params={**asked, "format": form})
        for form in ("csv", "ndjson", "parquet")
    }
    assert {a.status_code for a in answers.values()} == {200}
    written = table_of(answers["csv"].text)
    assert [list(row) for row in written] == [list(row) for row in rows]
    for row, told in zip(written, rows, strict=True):
        for name, cell in row.items():
            value = told[name]
            assert cell == ("" if value is None else value) or float(cell) == value
    assert [json.loads(line) for line in answers["ndjson"].text.splitlines()] == rows
    (tmp_path / "t.parquet").write_bytes(answers["parquet"].content)
    found = duckdb.sql(f"SELECT * FROM '{tmp_path / 't.parquet'}'")
    assert found is not None
    assert found.columns == list(rows[0])
    for row, told in zip(found.fetchall(), rows, strict=True):
        cells = [f"{c.isoformat()}Z" if hasattr(c, "isoformat") else c for c in row]
        assert cells == list(told.values())


async def test_what_is_missing_is_an_empty_cell_and_never_0(client):
    text = (await client.get(f"{SERIES}?resolution=15min&format=csv")).text
    rows = table_of(text)
    unknown = [row for row in rows if float(row["energy_wh_missing_s"]) == 900]
    assert unknown
    assert {row["energy_wh"] for row in unknown} == {""}
    assert {row["mean_power_w"] for row in rows if not float(row["power_w_covered_s"])} <= {""}


@pytest.mark.parametrize(
    ("resolution", "limit"), [("raw", 1), ("raw", 96), ("15min", 95), ("day", 1)]
)
async def test_pages_together_are_the_whole(client, resolution, limit):
    span = {"from": "2018-01-01T00:00:00Z", "to": "2018-01-02T12:00:00Z"} if limit == 1 else {}
    whole = await rows_of(client, SERIES, resolution=resolution, limit=10_000, **span)
    assert await rows_of(client, SERIES, resolution=resolution, limit=limit, **span) == whole
    times = [row.get("t_utc", row.get("start_utc")) for row in whole]
    assert all(one < following for one, following in pairwise(times))


@pytest.mark.parametrize("resolution", ["raw", "hour"])
async def test_what_comes_meanwhile_shifts_no_page(tmp_path, resolution):
    """New rows are appended while somebody reads page after page."""
    grown = pages.fill(tmp_path / "state", days=3)
    async with grown_client(grown) as (client, opened):
        before = await rows_of(client, SERIES, resolution=resolution, point="power_w")
        page = (
            await client.get(
                SERIES, params={"resolution": resolution, "point": "power_w", "limit": 7}
            )
        ).json()
        seen = list(page["rows"])
        number = 0
        while page["next_cursor"] is not None:
            opened.write([later(number)])
            number += 1
            asked = {
                "resolution": resolution,
                "point": "power_w",
                "limit": 7,
                "cursor": page["next_cursor"],
            }
            page = (await client.get(SERIES, params=asked)).json()
            seen += page["rows"]
        assert number > 3
        whole = [list(row.values()) for row in before]
        running = 1 if resolution == "hour" else 0  # the last window goes on meanwhile
        assert len(seen) == len(whole)
        assert seen[: len(seen) - running] == whole[: len(whole) - running]
        after = await rows_of(client, SERIES, resolution="raw", point="power_w")
        assert len(after) > 288 - 3, "the control: without a cursor they are there"


def later(number):
    """A sample of the meter after all others."""
    one = np.array([START_US + 3 * DAY_US + (number + 1) * 900_000_000], np.int64)
    none = np.empty(0, np.int64)
    points = Points(np.array(["power_w"], object), one, np.array([5.0]), np.zeros(1, np.uint8))
    intervals = Intervals(np.empty(0, object), none, none, none, none, none, none)
    return Part(f"joulemark/{SITE}/{METER}/1", 10_000 + number, Carry(), points, intervals)


@asynccontextmanager
async def grown_client(grown):
    """A client of a state of its own, and its series."""
    with grown.sources() as sources:
        async with pages.asking(sources) as client:
            yield client, sources.series.reader


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("text/*", "text/csv; charset=utf-8"),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ("text/csv;q=0.2, application/x-ndjson", "application/x-ndjson"),
        ("application/json;q=0, */*;q=0.1", "text/csv; charset=utf-8"),
        ("text/html, */*;q=0.8", "application/json"),
    ],
)
async def test_the_form_is_the_one_that_is_accepted(client, accept, media):
    answer = await client.get(f"{SERIES}?resolution=day", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)
    assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize("accept", ["image/png", "text/csv;q=0", "application/json;q=nan", "x;q=x"])
async def test_a_form_that_there_is_not_is_refused(client, accept):
    answer = await client.get(SERIES, headers={"Accept": accept})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert "text/csv" in answer.json()["do"]


async def test_a_format_that_is_named_is_stronger_than_what_is_accepted(client):
    answer = await client.get(
        f"{SERIES}?format=csv&resolution=day", headers={"Accept": "image/png"}
    )
    assert answer.headers["content-type"].startswith("text/csv")
    assert 'filename="gwangyang-' in answer.headers["content-disposition"]
    head = await client.head(f"{SERIES}?format=csv&resolution=day")
    assert (head.status_code, head.content) == (200, b"")


CURSOR = "eyJmcm9tX3VzIjowLCJrIjoic2VyaWVzIiwibmV4dF91cyI6LTEsIm9mIjoieCIsInRvX3VzIjoxfQ"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("point=nothing_w", 404, "no_point"),
        ("point='; DROP TABLE points; --", 422, "bad_parameter"),
        ("point=../../etc/passwd", 422, "bad_parameter"),
        ("resolution=5min", 422, "bad_parameter"),
        ("format=xlsx", 422, "bad_parameter"),
        ("limit=0", 422, "bad_parameter"),
        ("limit=10001", 422, "bad_parameter"),
        ("from=2018-01-01T00:00:00", 422, "no_offset"),
        ("from=0", 422, "bad_parameter"),
        ("from=2019-01-01T00:00:00Z&to=2018-01-01T00:00:00Z", 422, "bad_span"),
        ("cursor=x", 422, "bad_cursor"),
        ("cursor=%00", 422, "bad_cursor"),
        (f"cursor={CURSOR}", 422, "bad_cursor"),
        ("cursor=" + "W1tb" * 99, 422, "bad_cursor"),
        ("cursor=" + "A" * 401, 422, "bad_parameter"),
        ("cursor=e30&format=csv", 422, "no_pages"),
        ("&".join(f"point=p{k}" for k in range(101)), 422, "bad_parameter"),
    ],
)
async def test_what_cannot_be_given_is_said(client, query, status, code):
    answer = await client.get(f"{SERIES}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_cursor_of_another_question_is_refused(client):
    page = (await client.get(f"{SERIES}?resolution=raw&limit=3")).json()
    for other in ("resolution=hour", "resolution=raw&point=power_w"):
        answer = await client.get(f"{SERIES}?{other}&cursor={page['next_cursor']}")
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_cursor")
    answer = await client.get(f"{MACHINE}/series?resolution=raw&cursor={page['next_cursor']}")
    assert answer.json()["code"] == "bad_cursor"


async def test_a_span_of_ages_gives_what_there_is(client):
    url = f"{SERIES}?resolution=15min&format=csv&from=1971-01-01T00:00:00Z&to=2900-01-01T00:00:00Z"
    answer = await client.get(url)
    assert answer.status_code == 200
    whole = (await client.get(f"{SERIES}?resolution=15min&format=csv")).text
    assert answer.text == whole


async def test_a_file_with_too_many_values_is_not_begun(client, monkeypatch):
    monkeypatch.setattr(series_routes, "MOST_VALUES", 10)
    answer = await client.get(f"{SERIES}?resolution=raw&format=csv")
    assert (answer.status_code, answer.json()["code"]) == (422, "span_too_long")


async def test_files_wait_for_each_other_and_say_so(client, monkeypatch):
    monkeypatch.setattr(series_routes, "_exporting", threading.BoundedSemaphore(1))
    held: Any = series_routes._in_turn(iter([b"a", b"b"]), "held")
    assert next(held) == b""
    answer = await client.get(f"{SERIES}?format=csv")
    assert (answer.status_code, answer.json()["code"]) == (503, "export_busy")
    assert int(answer.headers["retry-after"]) > 0
    held.close()
    assert (await client.get(f"{SERIES}?format=csv")).status_code == 200


async def test_a_disk_that_is_full_is_said_before_anything_is_sent(client, monkeypatch):
    def full(*_):
        raise StoreError("The Parquet file cannot be made: no room.", "Look.", code="export")

    monkeypatch.setattr(series_files, "_gather", full)
    answer = await client.get(f"{SERIES}?format=parquet")
    assert (answer.status_code, answer.json()["code"]) == (503, "export")
    assert (await client.get(f"{SERIES}?format=csv")).status_code == 200


async def test_nothing_is_left_of_a_parquet_file(client, state):
    assert (await client.get(f"{SERIES}?format=parquet")).content[:4] == b"PAR1"
    assert not list(state.folder.glob(".export-*"))


def asked(url):
    """What an address answers with over a socket, and whether it was whole."""
    connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=60)
    connection.request("GET", f"{SERIES}?resolution=raw&format=csv")
    answer = connection.getresponse()
    try:
        return answer.status, answer.read(), True
    except http.client.IncompleteRead as cut:
        return answer.status, cut.partial, False
    finally:
        connection.close()


def test_a_file_that_cannot_be_read_to_its_end_is_cut_off_and_seen_to_be(
    state, tmp_path, monkeypatch
):
    monkeypatch.setattr(series_rows, "_VALUES_A_CHUNK", 200)
    monkeypatch.setattr(series_routes, "_exporting", threading.BoundedSemaphore(1))
    plain, calls = EmbeddedSeries.samples, []

    def failing(self, *place):
        calls.append(place)
        if len(calls) > 30:
            raise StoreError("The series is closed.", "Try again.", code="series")
        return plain(self, *place)

    with state.sources() as sources:
        server = PagesServer(sources, pages.gate(tmp_path), port=0)
        try:
            status, whole, is_whole = asked(server.url)
            assert (status, is_whole) == (200, True), "the control"
            with monkeypatch.context() as broken:
                broken.setattr(EmbeddedSeries, "samples", failing)
                status, part, is_whole = asked(server.url)
            assert (status, is_whole) == (200, False)
            assert whole.startswith(part)
            assert 0 < len(part) < len(whole)
            assert asked(server.url) == (200, whole, True), "the place was given back"
        finally:
            server.stop()


@pytest.mark.parametrize(
    ("day", "hours", "quarters"),
    [("2024-03-31", 23, 92), ("2024-10-27", 25, 100), ("2024-07-01", 24, 96)],
)
def test_a_local_day_has_the_hours_that_its_clock_has(state, day, hours, quarters):
    with state.sources() as sources, answers.opened(sources) as read:
        device = replace(read.device(SITE, METER), zone=ZoneInfo("Europe/Berlin"))
        wanted = date.fromisoformat(day)
        counts: dict[Resolution, int] = {"day": 1, "hour": hours, "15min": quarters}
        for resolution, count in counts.items():
            table = series_rows.Table(read.reader, SITE, device, ["power_w"], resolution, (0, 1), 0)
            edges_us = table._edges(wanted, wanted)
            assert edges_us.size == count + 1
            assert edges_us[-1] - edges_us[0] == hours * 3_600_000_000
            first = plant.local(int(edges_us[0]), device.zone)
            assert (first.date(), first.hour, first.minute) == (wanted, 0, 0)


def test_windows_that_are_shorter_than_the_steps_are_refused(state):
    with state.sources() as sources, answers.opened(sources) as read:
        device = replace(read.device(SITE, METER), period_us=3_600_000_000)
        with pytest.raises(Problem) as refused:
            series_routes._points(read, SITE, device, ["power_w"], "15min")
        assert refused.value.code == "too_fine"
        assert series_routes._points(read, SITE, device, ["power_w"], "hour") == ["power_w"]
