"""The dashboards of savings: every panel shows the days that were written, and nothing between.

What Grafana would ask is asked of the real servers, with its variables filled in.
"""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from joulemark_agent.contract.document import parse_yaml
from joulemark_gateway.series.influx import InfluxSeries
from joulemark_gateway.series.savings import FIELDS, SavingDays
from joulemark_gateway.series.servers import Server
from support import servers
from support.followed import at

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/grafana/dashboards"
SITE, PROJECT = "gwangyang", "coil-line-day-shift"
DAYS, LEFT_OUT, DAY_S = 60, 23, 86_400
KINDS = {"savings": "victoriametrics", "savings-influxql": "influxdb"}
NAMES = sorted(KINDS)
pytestmark = pytest.mark.service


def days():
    """Two months in Korea of which one day is left out; the sums grow."""
    draw = np.random.default_rng(5)
    starts = at(date(2018, 7, 1)) + DAY_S * 1_000_000 * np.arange(DAYS, dtype=np.int64)
    predicted = np.round(draw.uniform(9e5, 1e6, DAYS))
    measured = np.round(predicted * draw.uniform(0.9, 0.95, DAYS))
    total = np.cumsum(predicted - measured)
    half = np.round(np.sqrt(np.arange(DAYS) + 1) * 2e4)
    values = np.array([measured, predicted, total, half, np.round(total * 4.8e-4, 3)]).T
    return SavingDays(starts, values).chosen(np.arange(DAYS) != LEFT_OUT)


@pytest.fixture(params=NAMES)
def shown(request, tmp_path):
    """The address of a server with these days, and the dashboard that reads it."""
    name = request.param
    url = request.getfixturevalue(KINDS[name])
    kind = "influx" if name.endswith("influxql") else "victoriametrics"
    series = InfluxSeries(kind, Server(url, "joulemark", "joulemark"), tmp_path / "progress")
    series.keep_saving(SITE, PROJECT, days())
    yield url, json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    series.keep_saving(SITE, PROJECT, days().chosen(np.zeros(DAYS - 1, np.bool_)))
    series.close()


def filled(query: str, **others: str) -> str:
    for name, value in {"$site": SITE, "$project": PROJECT, **others}.items():
        query = query.replace(name, value)
    assert "$" not in query
    return query


def asked(url: str, target: Any, span_s: tuple[int, int]) -> dict[int, float]:
    """The numbers by instant, as Grafana would get them at steps of a day that begin in Korea."""
    start_s, end_s = span_s
    if "expr" in target:
        query = filled(target["expr"], **{"$__interval": "1d"})
        fields = {"query": query, "start": start_s, "end": end_s, "step": DAY_S, "nocache": 1}
        result = servers.json_of(f"{url}/api/v1/query_range", fields)["data"]["result"]
        return {int(t): float(v) for row in result for t, v in row["values"]}
    times = f"time >= {start_s}s AND time < {end_s}s"
    query = filled(target["query"], **{"$timeFilter": times, "$__interval": "1d"})
    fields = {"db": "joulemark", "q": query, "epoch": "ms"}
    (result,) = servers.json_of(f"{url}/query", fields)["results"]
    return {t // 1000: v for row in result.get("series", []) for t, v in row["values"]}


def expected(legend: str) -> list[float]:
    column = dict(zip(FIELDS, days().values.T, strict=True))
    total, half = column["cumulative_wh"], column["half_width_wh"]
    known = {
        "saving": total, "upper": total + half, "lower": total - half,
        "predicted": column["predicted_wh"], "measured": column["measured_wh"],
        "avoided": column["co2e_kg"],
    }  # fmt: skip
    return list(known[legend].tolist())


def test_every_panel_shows_each_day_once_and_none_that_is_left_out(shown):
    url, dashboard = shown
    start_s = int(days().start_us[0]) // 1_000_000
    span_s = start_s, start_s + DAYS * DAY_S + 1
    seen = []
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            legend = target.get("legendFormat") or target["alias"]
            found = asked(url, target, span_s)
            assert [found[t] for t in sorted(found)] == pytest.approx(expected(legend)), legend
            seen.append(legend)
    assert sorted(seen) == ["avoided", "lower", "measured", "predicted", "saving", "upper"]


def test_the_band_is_filled_between_lines_that_are_there(shown):
    _, dashboard = shown
    panel = dashboard["panels"][0]
    legends = {target.get("legendFormat") or target["alias"] for target in panel["targets"]}
    [upper] = [
        (row["matcher"]["options"], item["value"])
        for row in panel["fieldConfig"]["overrides"]
        for item in row["properties"]
        if item["id"] == "custom.fillBelowTo"
    ]
    assert set(upper) < legends


def test_site_and_project_can_be_chosen(shown):
    url, dashboard = shown
    for variable, value in zip(dashboard["templating"]["list"], (SITE, PROJECT), strict=True):
        query = filled(variable["definition"])
        if "influx" in dashboard["uid"]:
            fields = {"db": "joulemark", "q": query}
            (result,) = servers.json_of(f"{url}/query", fields)["results"]
            assert [variable["name"], value] in result["series"][0]["values"]
        else:
            match = query.removeprefix("label_values(").rpartition(", ")[0]
            asked_of = f"{url}/api/v1/label/{variable['name']}/values"
            assert value in servers.json_of(asked_of, {"match[]": match})["data"]


def test_the_demo_has_the_project_that_they_open_with():
    path = ROOT / "gateway/joulemark_gateway/demo/files/project.yaml"
    lines = path.read_text("utf-8")
    assert f"id: {PROJECT}" in lines
    assert "reporting: {from: 2018-07-01, to: 2019-01-01}" in lines


def test_the_sources_are_those_that_are_provisioned():
    known = {
        parse_yaml(path.read_text("utf-8"), path.name).mapping["datasources"][0]["uid"]
        for path in (FOLDER.parent / "provisioning/datasources").iterdir()
    }
    for name in NAMES:
        panels = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))["panels"]
        assert {panel["datasource"]["uid"] for panel in panels} <= known
