"""A server proves little by answering 204: what is checked before it is asked, and after."""

import logging
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

import numpy as np
import pytest

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.series import influx
from joulemark_gateway.series.base import Carry, Intervals, Part, Points
from joulemark_gateway.series.influx import InfluxSeries
from joulemark_gateway.series.lines import Lines, lines_of
from joulemark_gateway.series.servers import Server
from support import servers
from support.series import ALWAYS_US, rows_of

T_US = 1_577_836_800_000_000  # 2020-01-01T00:00:00Z
NO_TIMES = np.empty(0, np.int64)
NO_INTERVALS = Intervals(np.empty(0, object), *[NO_TIMES] * 6)


def part(values, *, site="checks", device="meter", t_us=T_US, size=1, step_us=1_000_000):
    """The samples of one point."""
    n = len(values)
    points = Points(
        np.full(n, "power_w", object),
        t_us + step_us * np.arange(n, dtype=np.int64),
        np.array(values, np.float64),
        np.zeros(n, np.uint8),
    )
    return Part(f"joulemark/{site}/{device}/1", size, Carry(), points, NO_INTERVALS)


@pytest.fixture
def series(victoriametrics, tmp_path):
    opened = on(victoriametrics, tmp_path, read_back=True)
    opened.reset(["checks"])
    yield opened
    opened.close()


def on(url, folder, **options):
    server = Server(url, "joulemark", "joulemark", token=options.pop("token", ""))
    kind = options.pop("kind", "victoriametrics")
    return InfluxSeries(kind, server, folder / "series.progress", **options)


def values_of(series, device="meter"):
    return series.samples("checks", device, "power_w", *ALWAYS_US).value.tolist()


@pytest.mark.service
@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ('value=7.5 kW,quality="good"', []),
        ("value=7.5W,quality=0", [0.0]),
        ("value=n/a,quality=0", [0.0]),
    ],
)
def test_a_naive_writer_is_acknowledged_and_found_out_by_reading_back(
    series, monkeypatch, fields, stored
):
    """The control: 204 for lines that are dropped, or stored as 0."""

    def naive(*_, **__):
        line = f"joulemark_point,site=checks,device=meter,point=power_w {fields} {T_US // 1000}"
        return Lines([line], T_US, 0, 0)

    monkeypatch.setattr(influx, "lines_of", naive)
    with pytest.raises(StoreError, match=r"did not keep checks/meter/power_w as it was written"):
        series.write([part([7.5])])
    assert values_of(series) == stored
    assert series.progress() == {}
    monkeypatch.undo()
    series.write([part([7.5])])
    assert values_of(series) == [7.5]


@pytest.mark.service
def test_decimal_numbers_come_back_as_they_were(series):
    """Whole numbers to 2^53, and what registers times scales give, side by side in one block."""
    rng = np.random.default_rng(3)
    whole = [2.0**53, 2.0**53 - 1, 0.0, 7.0]
    fine = [*(rng.integers(-(10**8), 10**8, 300) / 1000).tolist(), -0.1, 123456789.123, 1e-3]
    digits = (rng.integers(10**9, 10**10, 1000) / 10**7).tolist()
    parts = [
        part(values, device=device)
        for device, values in (("whole", whole), ("fine", fine), ("digits", digits))
    ]
    series.write(parts)
    assert values_of(series, "whole") == whole
    assert values_of(series, "fine") == fine
    assert values_of(series, "digits") == digits


@pytest.mark.service
def test_doubles_of_17_digits_come_back_within_1e_12(series):
    """The price of its compression; the embedded series and InfluxDB keep every digit."""
    values = np.random.default_rng(4).normal(900.0, 40.0, 500)
    series.write([part(values.tolist())])
    found = np.array(values_of(series))
    assert not (found == values).all()
    assert (np.abs(found - values) <= 1e-12 * np.abs(values)).all()


@pytest.mark.service
def test_microseconds_are_lost_and_nothing_else(series):
    series.write([part([1.0, 2.0], t_us=T_US + 1_999)])
    t_us = series.samples("checks", "meter", "power_w", *ALWAYS_US).t_utc_us
    assert t_us.tolist() == [T_US + 1000, T_US + 1_001_000]


@pytest.mark.service
def test_what_no_server_can_hold_is_left_out_and_said(series, caplog):
    soon_us = (time.time_ns() // 1_000_000_000 + 10 * 86_400) * 1_000_000
    with caplog.at_level(logging.WARNING):
        series.write(
            [part([1.0, float("inf"), 2.0**60]), part([3.0], device="clock", t_us=soon_us)]
        )
    assert values_of(series) == [1.0, pytest.approx(2.0**60, rel=1e-15)]
    assert values_of(series, "clock") == []
    told = [(record.tree, record.left_out, record.rounded) for record in caplog.records]
    assert told == [("joulemark/checks/meter/1", 1, 1), ("joulemark/checks/clock/1", 1, 0)]
    assert set(series.progress()) == {tree for tree, _, _ in told}


@pytest.mark.service
def test_a_server_with_too_short_a_memory_and_one_that_keeps_rows_twice_are_found_out(
    victoriametrics, tmp_path
):
    """Its defaults: a month, and no deduplication."""
    del victoriametrics  # the program is there
    program = servers.program("victoria-metrics")
    assert program is not None
    yesterday_us = (time.time_ns() // 1_000_000_000 - 86_400) * 1_000_000
    with servers.victoriametrics(program, tmp_path) as url:
        series = on(url, tmp_path)
        with pytest.raises(StoreError, match="retention may be too short") as caught:
            series.write([part([1.0, 2.0])])
        assert caught.value.code == "series_unkept"
        assert series.progress() == {}
        series.write([part([1.0, 2.0], t_us=yesterday_us)])
        series.close()
        (tmp_path / "series.progress").unlink()
        again = on(url, tmp_path)
        with pytest.raises(StoreError, match="-dedup"):
            again.write([part([1.0, 2.0], t_us=yesterday_us)])
        again.close()


@pytest.mark.service
def test_only_the_first_write_is_read_back_unless_told_otherwise(
    victoriametrics, tmp_path, monkeypatch
):
    series = on(victoriametrics, tmp_path)
    series.reset(["checks"])
    series.write([part([1.0])])
    monkeypatch.setattr(influx, "lines_of", lambda *_, **__: Lines([], None, 0, 0))
    series.write([part([2.0], t_us=T_US + 10**7, size=2)])
    series.close()
    series = on(victoriametrics, tmp_path)
    with pytest.raises(StoreError, match="did not keep"):
        series.write([part([3.0], t_us=T_US + 2 * 10**7, size=3)])
    series.close()


@pytest.mark.service
def test_progress_on_one_server_says_nothing_of_another(series, victoriametrics, tmp_path):
    series.write([part([1.0])])
    assert set(series.progress()) == {"joulemark/checks/meter/1"}
    series.close()
    other = InfluxSeries(
        "victoriametrics",
        Server(victoriametrics, "joulemark", "another"),
        tmp_path / "series.progress",
    )
    assert other.progress() == {}
    other.close()


@pytest.mark.parametrize("kind", ["victoriametrics", "influx"])
def test_a_server_that_is_down_is_named_and_nothing_is_said_to_be_written(
    kind, tmp_path, monkeypatch
):
    monkeypatch.setattr("joulemark_gateway.series.victoriametrics.SETTLED_S", 0.0)
    series = on(f"http://127.0.0.1:{servers.free_port()}", tmp_path, kind=kind)
    with pytest.raises(StoreError, match=r"does not answer.*series\.url"):
        series.write([part([1.0])])
    with pytest.raises(StoreError, match="does not answer"):
        series.latest("checks")
    assert series.progress() == {}
    series.close()


class Refusing(BaseHTTPRequestHandler):
    """Says no, and remembers what it was told."""

    tokens: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.tokens.append(self.headers.get("Authorization"))
        servers.answer_with(self, 401, b'{"message": "unauthorized"}')

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("kind", ["victoriametrics", "influx"])
def test_the_token_goes_to_the_server_and_into_no_message(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("joulemark_gateway.series.victoriametrics.SETTLED_S", 0.0)
    with servers.serving(Refusing) as url:
        Refusing.tokens.clear()
        series = on(url, tmp_path, kind=kind, token="hush")
        found = []
        for ask in (lambda: series.write([part([1.0])]), lambda: series.latest("checks")):
            with pytest.raises(StoreError, match="answered 401") as caught:
                ask()
            found.append(str(caught.value))
        series.close()
    assert set(Refusing.tokens) == {"Token hush"}
    assert "hush" not in "".join(found)
    assert "hush" not in repr(Server("http://x", "o", "b", "hush"))
    assert b"hush" not in (tmp_path / "series.progress").read_bytes()


def test_an_empty_bucket_of_points_gives_no_lines():
    found = lines_of(part([]), tick_us=1, until_us=2**60)
    assert found == Lines([], None, 0, 0)


@pytest.mark.service
@pytest.mark.parametrize("kind", ["victoriametrics", "influxdb"])
def test_an_interval_lies_in_its_own_window_in_both_languages(request, kind, tmp_path):
    """Days from edge to edge: InfluxQL's are [start, end), MetricsQL's (start, end]."""
    url = request.getfixturevalue(kind)
    names = {"victoriametrics": "victoriametrics", "influxdb": "influx"}
    series = on(url, tmp_path, kind=names[kind], read_back=True)
    series.reset(["checks"])
    quarter_us, n = 900_000_000, 3 * 96
    starts_us = T_US + quarter_us * np.arange(n, dtype=np.int64)
    counted = np.arange(n, dtype=np.int64)
    nothing = np.zeros(n, np.int64)
    intervals = Intervals(
        np.full(n, "energy_wh", object),
        starts_us,
        starts_us + quarter_us,
        counted,
        np.full(n, quarter_us, np.int64),
        nothing,
        nothing,
    )
    series.write([replace(part([]), intervals=intervals)])
    assert rows_of(series.amounts("checks", "meter", "energy_wh", *ALWAYS_US))[5][:3] == (
        starts_us[5],
        starts_us[6],
        5.0,
    )
    series.close()
    start_s, ends_s = T_US // 10**6, T_US // 10**6 + 3 * 86_400
    if kind == "victoriametrics":
        found = servers.json_of(
            f"{url}/api/v1/query_range",
            {
                "query": 'sum_over_time(joulemark_interval_amount{site="checks"}[1d])',
                "start": start_s + 86_400,
                "end": ends_s,
                "step": "1d",
                "nocache": 1,
            },
        )
        days = [float(value) for _, value in found["data"]["result"][0]["values"]]
    else:
        found = servers.json_of(
            f"{url}/query",
            {
                "db": "joulemark",
                "q": "SELECT sum(amount) FROM joulemark_interval WHERE site = 'checks' AND time >= "
                f"{start_s}s AND time < {ends_s}s GROUP BY time(1d)",
            },
        )
        days = [value for _, value in found["results"][0]["series"][0]["values"]]
    assert days == counted.reshape(3, 96).sum(axis=1).tolist()
