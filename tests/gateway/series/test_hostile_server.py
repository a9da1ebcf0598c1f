"""What a series server may answer in place of rows: told as what it is, never a mistake of ours."""

import json
import math
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.series import servers as asked
from joulemark_gateway.series.base import Carry
from joulemark_gateway.series.influx import KINDS, InfluxSeries
from joulemark_gateway.series.progress import Progress
from joulemark_gateway.series.servers import Http, Server
from support import servers

SERVER = Server("http://192.0.2.1:8428", "joulemark", "joulemark")
ROW = {"metric": {"__name__": "joulemark_point_quality"}, "values": [0], "timestamps": [1000]}
SERIES = {"tags": {"device": "meter", "point": "power_w"}, "values": [[1, 2.0, 0, 0, 0]]}
TRUE: dict[str, list[Any]] = {
    "victoriametrics": [ROW, {"status": "success", "data": {"result": []}}],
    "influx": [{"results": [{"series": [SERIES]}]}],
}
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    1e999,
    10**400,
    "",
    "x",
    [],
    {},
    [[]],
    {"": 1},
    [None],
    math.nan,
)
WHOLE = (
    b"", b"<html>Log in</html>", b"\xff\xfe", b"null", b"[]", b"{}", b"1", b'"x"', b"[" * 100_000,
    b'{"a":' * 100_000, b"{}\n{}", b"\0" * 1000, b'{"status":"error"}', b"9" * 5000,
)  # fmt: skip


def changed(value):
    """The value with something odd at each of its places in turn."""
    yield from ODD
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(inside):
        for other in changed(item) if isinstance(item, dict | list) else ODD:
            made = value.copy()
            made[key] = other
            yield made


def answers(kind):
    """Bodies."""
    yield from WHOLE
    for true in TRUE[kind]:
        yield from (json.dumps(one).encode() for one in changed(true))


def told(monkeypatch, body, *questions):
    """What was said of those that got no answer."""
    monkeypatch.setattr(Http, "ask", lambda *_: body)
    found = []
    for question in questions:
        try:
            question()
        except StoreError as error:
            found.append(str(error))
    return found


@pytest.fixture(params=sorted(KINDS))
def kind(request, monkeypatch):
    monkeypatch.setattr("joulemark_gateway.series.victoriametrics.SETTLED_S", 0.0)
    return request.param


def test_what_is_no_answer_is_told_as_one(kind, tmp_path, monkeypatch):
    series = InfluxSeries(kind, SERVER, tmp_path / "series.progress")
    span = ("hall", "meter", "power_w", 0, 2**52)
    questions = (
        lambda: series.samples(*span),
        lambda: series.amounts(*span),
        lambda: series.latest("hall"),
        lambda: series.extent("hall", "meter"),
    )
    found = [text for body in answers(kind) for text in told(monkeypatch, body, *questions)]
    assert len(found) > 100
    assert all("The series server" in text and len(text) < 1000 for text in found)


@pytest.mark.parametrize("body", WHOLE)
def test_a_mark_that_cannot_be_read_stops_the_series_and_nothing_is_forgotten(
    kind, tmp_path, monkeypatch, body
):
    path, tree = tmp_path / "series.progress", "joulemark/hall/meter/1"
    with closing(Progress(path, SERVER.name)) as progress:
        progress.keep({tree: (7, Carry())}, {tree: (7, 10**15)})
    with closing(InfluxSeries(kind, SERVER, path)) as series:
        is_refused = bool(told(monkeypatch, body, series.progress))
    with closing(Progress(path, SERVER.name)) as progress:
        assert (tree in progress.trees()) == is_refused, "what is not there is written again"


def test_an_answer_without_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(asked, "MOST_BYTES", 1000)

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            servers.answer_with(self, 200, b"x" * 3000)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with servers.serving(Endless) as url:
        http = Http(Server(url, "joulemark", "joulemark"))
        with pytest.raises(StoreError, match="more than 1000 bytes"):
            http.ask("GET", "/query", {})
        monkeypatch.setattr(asked, "MOST_BYTES", 3000)
        assert len(http.ask("GET", "/query", {})) == 3000
        http.close()
