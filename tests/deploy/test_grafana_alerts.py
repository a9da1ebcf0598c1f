"""Every alert rule fires on the device it is made for and on no other, on both servers.

Grafana is not run: A is asked as it stands in the provisioned file, B and C are done here.
"""

import json
import operator
import time

import numpy as np
import pytest

from joulemark_gateway.series.base import Carry, Intervals, Part, Points, Rows
from joulemark_gateway.series.influx import InfluxSeries
from joulemark_gateway.series.servers import Server
from joulemark_gateway.series.tables import BATCH, MEASUREMENTS, QUARTER, SLOT
from support import grafana, servers

pytestmark = pytest.mark.service

SITE = "alerts"
KINDS = {"metricsql": ("victoriametrics", "victoriametrics"), "influxql": ("influx", "influxdb")}
NAMES = ("silent", "gaps", "clock", "uncosigned", "late", "unmeasured", "demand")
QUARTER_US, QUARTERS = 900_000_000, 94  # most of a day
NONE = np.empty(0, np.int64)
NO_ROWS = (
    Points(np.empty(0, object), NONE, np.empty(0), np.empty(0, np.uint8)),
    Intervals(np.empty(0, object), *[NONE] * 6),
)


def device(name: str, now_us: int) -> Part:
    """A day of slots, batches and quarter-hours: all is well but what the name says."""
    t_us = now_us - 60_000_000 - QUARTER_US * np.arange(QUARTERS, dtype=np.int64)[::-1]
    one, is_last = np.ones(QUARTERS), np.arange(QUARTERS) == QUARTERS - 1
    is_sent = t_us < now_us - 4_000_000_000 if name == "silent" else np.full(QUARTERS, True)
    lost = 90 if name == "unmeasured" else 900
    missing_us = QUARTER_US - lost * 1e6 * one
    columns = {
        SLOT: (one, np.where(is_last & (name == "gaps"), 0, 1), is_last & (name == "clock")),
        BATCH: (
            np.arange(QUARTERS) + 9.0,
            one,
            one,
            np.where(is_last & (name == "uncosigned"), 0, 1),
            t_us / 1e6,
            np.where(is_last & (name == "late"), 7200, 10),
        ),
        QUARTER: (
            one,
            np.where(is_last & (name == "demand"), 2e6, 4),
            lost * 1e6 * one,
            0 * one,
            missing_us,
        ),
    }
    tags = {SLOT: {}, BATCH: {"epoch": "1"}, QUARTER: {"point": "energy_wh"}}
    tables = []
    for measurement, values in columns.items():
        fields = zip(MEASUREMENTS[measurement].fields, values, strict=True)
        labels = {k: np.full(int(is_sent.sum()), v, object) for k, v in tags[measurement].items()}
        told = {field: np.asarray(column, float)[is_sent] for field, column in fields}
        tables.append(Rows(measurement, labels, t_us[is_sent], told))
    return Part(f"joulemark/{SITE}/{name}/1", QUARTERS, Carry(), *NO_ROWS, tuple(tables))


@pytest.fixture(scope="module", params=KINDS)
def filled(request, tmp_path_factory):
    """The language, the address of a server with these devices, and the time of asking."""
    kind, fixture = KINDS[request.param]
    url = request.getfixturevalue(fixture)
    now_us = time.time_ns() // 1_000_000_000 * 1_000_000
    series = InfluxSeries(
        kind, Server(url, "joulemark", "joulemark"), tmp_path_factory.mktemp("alerts") / "progress"
    )
    series.write([device(name, now_us) for name in (*NAMES, "well")])
    series.settle()
    yield request.param, url, now_us // 1_000_000
    series._backend.settle()
    series._backend.drop(SITE)
    series.close()


def rules(language):
    path = grafana.FOLDER / f"provisioning/alerting/{language}.json"
    (group,) = json.loads(path.read_text("utf-8"))["groups"]
    return group["rules"]


def fired(url, rule, now_s):
    """The devices that a rule fires for."""
    query, _, threshold = (step["model"] for step in rule["data"])
    span_s = rule["data"][0]["relativeTimeRange"]["from"]
    if "expr" in query:
        fields = {"query": query["expr"], "time": now_s, "nocache": 1}
        rows = servers.json_of(f"{url}/api/v1/query", fields)["data"]["result"]
        numbers = [(row["metric"], float(row["value"][1])) for row in rows]
    else:
        span = f"time >= {now_s - span_s}s and time <= {now_s}s"
        words = query["query"].replace("$timeFilter", span).replace("now()", f"{now_s}s")
        numbers = [(tags, list(found.values())[-1]) for tags, found in grafana.influxql(url, words)]
    evaluator = threshold["conditions"][0]["evaluator"]
    (limit,) = evaluator["params"]
    beyond = {"gt": operator.gt, "lt": operator.lt}[evaluator["type"]]
    ours = [(tags, number) for tags, number in numbers if tags["site"] == SITE]
    firing = {tags["device"] for tags, number in ours if beyond(number, limit)}
    return firing, {tags["device"] for tags, _ in ours}


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_fires_on_its_device_and_on_no_other(filled, name):
    language, url, now_s = filled
    suffix = "-influxql" if language == "influxql" else ""
    [rule] = [one for one in rules(language) if one["uid"] == f"joulemark-{name}{suffix}"]
    firing, asked = fired(url, rule, now_s)
    assert firing == {name}
    assert asked - {"silent"} == {*NAMES, "well"} - {"silent"}


def test_there_is_a_case_for_every_rule():
    for language in KINDS:
        names = [one["uid"].removeprefix("joulemark-").partition("-")[0] for one in rules(language)]
        assert sorted(names) == sorted(NAMES)
