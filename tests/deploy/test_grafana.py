"""The dashboards: every panel's query gives the series' numbers, and every panel has data.

Grafana itself is not run: what it would ask is asked here, with its variables filled in.
"""

import importlib.util
import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import joulemark_profiles
from joulemark_agent.contract.document import parse_yaml
from joulemark_gateway.series.base import QUALITY, Carry, Intervals, Part, Points, SeriesReader
from joulemark_gateway.series.embedded import EmbeddedSeries
from joulemark_gateway.series.influx import InfluxSeries
from joulemark_gateway.series.servers import Server
from support import servers

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/grafana"
US_PER_S = 1_000_000
PERIODS_S = {
    "main-meter": 900, "compressor-a1": 59, "rail-compressor": 9, "pv-inverter": 900, "furnace": 30,
}  # fmt: skip
LONGEST_S = 40 * 3600  # of each recording; what is after it is not needed to compare


def maker() -> Any:
    """The script that writes the dashboards."""
    spec = importlib.util.spec_from_file_location("make_dashboards", FOLDER / "make_dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(FOLDER))  # as where the script is run
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module


MAKER = maker()
forms = sys.modules["forms"]
PAIRS = [(dashboard, view) for dashboard in MAKER.DASHBOARDS for view in dashboard.views]


def cases(pairs: list[tuple[Any, Any]]) -> list[Any]:
    """The dashboards with their views, named."""
    return [pytest.param(d, view, id=f"{d.name}-{view.device}") for d, view in pairs]


CASES = cases(PAIRS)
METRICSQL = cases([pair for pair in PAIRS if not pair[0].is_influxql])
IN_INFLUXQL = [pair for pair in PAIRS if pair[0].is_influxql]
INFLUXQL = cases(IN_INFLUXQL)
STATED_S = 3600  # windows of the figures written here
STATED = {
    "compressor-a1": ("energy_wh", "unload_wh", "load_wh", "off_s", "mean_pressure_pa"),
    "furnace": ("energy_wh", "gas_wh", "electricity_wh", "heat_s", "soak_s"),
}


def test_the_files_are_those_the_script_writes():
    found = {path.name: path.read_text("utf-8") for path in FOLDER.glob("dashboards/*")}
    assert found == MAKER.written(), "run: python deploy/grafana/make_dashboards.py"


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("dashboards/*.json")), ids=lambda path: path.stem
)
def test_every_panel_has_a_title_a_unit_a_source_and_a_place_of_its_own(path):
    found = json.loads(path.read_text("utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in {
            "watt", "watth", "percentunit", "short", "pressurepa", "Wm2", "volt", "kelvin", "dm3",
            "s", "masskg",
        }, "an id that Grafana has"  # fmt: skip
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        wanted = MAKER.INFLUX if path.stem.endswith("influxql") else forms.SOURCE
        assert all(source == wanted for source in sources)
        place = panel["gridPos"]
        cells = set(
            itertools.product(
                range(place["x"], place["x"] + place["w"]),
                range(place["y"], place["y"] + place["h"]),
            )
        )
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])
    all_of_them = (*MAKER.DASHBOARDS, *MAKER.SAVINGS)
    uids = {f"/d/joulemark-{dashboard.name}" for dashboard in all_of_them}
    assert {link["url"].partition("?")[0] for link in found["links"]} == uids


def test_the_provisioned_sources_are_those_the_dashboards_name():
    found = {}
    for path in (FOLDER / "provisioning/datasources").iterdir():
        (source,) = parse_yaml(path.read_text("utf-8"), path.name).mapping["datasources"]
        found[path.stem] = source
    both = {"joulemark": forms.SOURCE, "joulemark-influxdb": forms.INFLUX}
    assert {
        name: {"type": source["type"], "uid": source["uid"]} for name, source in found.items()
    } == both
    assert found["joulemark"]["jsonData"]["customQueryParameters"] == "nocache=1"
    assert found["joulemark-influxdb"]["jsonData"]["version"] == "InfluxQL"
    assert [source["isDefault"] for source in found.values()].count(True) == 1
    text = (FOLDER / "provisioning/dashboards/joulemark.yaml").read_text("utf-8")
    assert parse_yaml(text, "dashboards").mapping["providers"][0]["type"] == "file"


def test_no_query_is_flux():
    for path in FOLDER.glob("dashboards/*.json"):
        text = path.read_text("utf-8")
        assert "|>" not in text
        assert "from(bucket" not in text


def site_of(name: str) -> dict[str, Any]:
    path = ROOT / f"configs/sites/{name}.yaml"
    return parse_yaml(path.read_text("utf-8"), str(path)).mapping


def profile_of(view: Any) -> dict[str, Any]:
    (row,) = (row for row in site_of(view.site)["devices"] if row["id"] == view.device)
    name = row["profile"]
    return parse_yaml(joulemark_profiles.text("devices", name), name, is_shipped=True).mapping


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(("dashboard", "view"), CASES)
def test_a_dashboard_opens_where_the_demo_has_a_recording(dashboard, view):
    del dashboard
    site = site_of(view.site)
    (row,) = (row for row in site["devices"] if row["id"] == view.device)
    assert row["period_s"] == PERIODS_S[view.device]
    first = row.get("first_slot", site["replay"]["first_slot"])
    assert seconds(first) <= seconds(view.start) < seconds(view.end)
    if "last_slot" in row:
        assert seconds(view.end) <= seconds(row["last_slot"]) + row["period_s"]


@dataclass
class Written:
    """The same rows in both series."""

    url: str
    embedded: EmbeddedSeries


def rows_of_device(view: Any) -> Part:
    """Readings of every point of the profile over the recording, some of them not good."""
    profile = profile_of(view)
    rng = np.random.default_rng(len(view.device))
    period_s = PERIODS_S[view.device]
    start_s = -(-seconds(view.start) // period_s) * period_s
    end_s = min(seconds(view.end), start_s + LONGEST_S)
    slots_us = np.arange(start_s, end_s, period_s, dtype=np.int64) * US_PER_S
    n = slots_us.size
    columns: list[tuple[Any, ...]] = []
    counted: list[tuple[Any, ...]] = []
    for point in profile["points"]:
        name, is_counter = point["name"], bool(point.get("counter"))
        steps = rng.integers(0, 5000, n)
        value = np.cumsum(steps) + 1e6 if is_counter else np.round(rng.normal(900, 50, n), 3)
        quality = np.where(rng.random(n) < 0.02, QUALITY["range"], 0).astype(np.uint8)
        quality[rng.random(n) < 0.01] = QUALITY["nan"]
        value = np.where(quality == QUALITY["nan"], np.nan, value)
        columns.append((np.full(n, name, object), slots_us + 20_000, value, quality))
        if is_counter:
            whole = np.full(n - 1, period_s * US_PER_S, np.int64)
            kind = rng.choice(3, n - 1, p=[0.9, 0.06, 0.04])
            times = [np.where(kind == i, whole, 0) for i in range(3)]
            amount = np.where(kind == 2, 0, steps[1:])
            counted.append(
                (np.full(n - 1, name, object), slots_us[:-1], slots_us[1:], amount, *times)
            )
    if view.device in STATED:
        columns += _figures(view.device, start_s, end_s, rng)
    if not counted:
        counted = [(np.empty(0, object), *[np.empty(0, np.int64)] * 6)]
    return Part(
        f"joulemark/{view.site}/{view.device}/1",
        n,
        Carry(),
        Points(*map(np.concatenate, zip(*columns, strict=True))),
        Intervals(*map(np.concatenate, zip(*counted, strict=True))),
    )


def _figures(device: str, start_s: int, end_s: int, rng: Any) -> list[tuple[Any, ...]]:
    """What an agent states, as points at the ends of windows; uncertainty of every other figure."""
    first_s = -(-start_s // STATED_S) * STATED_S
    ends_us = np.arange(first_s + STATED_S, end_s, STATED_S, dtype=np.int64) * US_PER_S
    n, made = ends_us.size, []
    for k, name in enumerate(STATED[device]):
        quality = np.where(rng.random(n) < 0.2, QUALITY["uncertain"], 0).astype(np.uint8)
        value = np.round(rng.normal(900, 50, n), 3)
        made.append((np.full(n, f"kpi_{name}", object), ends_us, value, quality))
        if k % 2 == 0:
            spread = np.round(rng.random(n) + 1, 3)
            made.append((np.full(n, f"kpi_u_{name}", object), ends_us, spread, quality))
    return made


@pytest.fixture(scope="module")
def both(victoriametrics, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grafana")
    views = {view.device: view for dashboard in MAKER.DASHBOARDS for view in dashboard.views}
    parts = [rows_of_device(view) for view in views.values()]
    server = InfluxSeries(
        "victoriametrics",
        Server(victoriametrics, "joulemark", "joulemark"),
        folder / "series.progress",
    )
    server.reset({view.site for view in views.values()})
    server.write(parts)
    server.settle()
    embedded = EmbeddedSeries(folder / "series.duckdb")
    embedded.write(parts)
    yield Written(victoriametrics, embedded)
    server.reset({view.site for view in views.values()})
    server.close()
    embedded.close()


Numbers = dict[str, float]  # by legend
Expected = Callable[[SeriesReader, Any, int, int], Numbers]


def means(*points: str) -> Expected:
    """Of the good and not so good values in (end - step, end]."""

    def expected(series: SeriesReader, view: Any, end_s: int, step_s: int) -> Numbers:
        span_us = (end_s - step_s) * US_PER_S + 1000, end_s * US_PER_S + 1000
        found = {
            point: series.samples(view.site, view.device, point, *span_us).value for point in points
        }
        return {
            point: float(np.nanmean(value))
            for point, value in found.items()
            if not np.isnan(value).all()
        }

    return expected


def amounts(series: SeriesReader, view: Any, point: str, start_s: int, end_s: int) -> Any:
    span_us = start_s * US_PER_S, end_s * US_PER_S
    return series.amounts(view.site, view.device, point, *span_us)


def totals(legend: str, point: str, *, ahead: bool = True) -> Expected:
    """What was counted in the step that begins, or ends, at the instant."""

    def expected(series: SeriesReader, view: Any, at_s: int, step_s: int) -> Numbers:
        start_s = at_s if ahead else at_s - step_s
        found = amounts(series, view, point, start_s, start_s + step_s)
        return {legend: float(found.amount.sum())} if found.amount.size else {}

    return expected


def shares(point: str, *, ahead: bool) -> Expected:
    def expected(series: SeriesReader, view: Any, at_s: int, step_s: int) -> Numbers:
        start_s = at_s if ahead else at_s - step_s
        found = amounts(series, view, point, start_s, start_s + step_s)
        span_us = (found.end_us - found.start_us).sum()
        return {"measured": float(found.covered_us.sum() / span_us)} if span_us else {}

    return expected


def power(series: SeriesReader, view: Any, at_s: int, step_s: int) -> Numbers:
    found = amounts(series, view, "energy_wh", at_s - step_s, at_s)
    known_h = (found.covered_us.sum() + found.estimated_us.sum()) / 3.6e9
    read = means("power_w")(series, view, at_s, step_s)
    told = {"as read": read["power_w"]} if read else {}
    if known_h:
        told["by the energy counter"] = float(found.amount.sum() / known_h)
    return told


def not_good(series: SeriesReader, view: Any, at_s: int, step_s: int) -> Numbers:
    return counts(series, view, [p for p in points(series, view) if "kpi_" not in p], at_s, step_s)


def flagged(series: SeriesReader, view: Any, at_s: int, step_s: int) -> Numbers:
    names = [p for p in points(series, view) if "kpi_" in p and "kpi_u_" not in p]
    return counts(series, view, names, at_s, step_s)


def points(series: SeriesReader, view: Any) -> list[str]:
    return [row.point for row in series.latest(view.site) if row.device == view.device]


def counts(series: SeriesReader, view: Any, names: list[str], at_s: int, step_s: int) -> Numbers:
    """How many of the rows in (at, at + step] are not good."""
    span_us = at_s * US_PER_S + 1000, (at_s + step_s) * US_PER_S + 1000
    found = {p: series.samples(view.site, view.device, p, *span_us).quality for p in names}
    return {point: float((quality != 0).sum()) for point, quality in found.items() if quality.size}


def course(series: SeriesReader, view: Any, at_s: int, step_s: int) -> Numbers:
    """The chosen figure of the last window that ends in (at - step, at], and its band."""
    span_us = (at_s - step_s) * US_PER_S + 1000, at_s * US_PER_S + 1000
    value, spread = (
        series.samples(view.site, view.device, f"{prefix}energy_wh", *span_us).value
        for prefix in ("kpi_", "kpi_u_")
    )
    if not value.size:
        return {}
    middle, half = float(value[-1]), 2 * float(spread[-1])
    return {
        "value": middle,
        "value - U (k = 2)": middle - half,
        "value + U (k = 2)": middle + half,
    }


def sums(ending: str) -> Expected:
    """The sums of the states' figures over the windows that end in (at, at + step]."""

    def expected(series: SeriesReader, view: Any, at_s: int, step_s: int) -> Numbers:
        span_us = at_s * US_PER_S + 1000, (at_s + step_s) * US_PER_S + 1000
        names = [f"kpi_{name}" for name in STATED[view.device] if name.endswith(ending)]
        found = {
            name: series.samples(view.site, view.device, name, *span_us).value
            for name in names
            if name != "kpi_energy_wh"
        }
        return {name: float(value.sum()) for name, value in found.items() if value.size}

    return expected


PRESSURES = ("header", "compressor", "panel", "reservoir")
EXPECTED: dict[str, Expected] = {
    "Energy of the range": totals("energy", "energy_wh", ahead=False),
    "Measured share of the range": shares("energy_wh", ahead=False),
    "Power": power,
    "Energy by day": totals("energy", "energy_wh"),
    "Measured share by day": shares("energy_wh", ahead=True),
    "Readings that are not good": not_good,
    "Load": means("power_w", "motor_current_a"),
    "Pressure": means(*(f"{name}_gauge_pressure_pa" for name in PRESSURES)),
    "AC and DC power": means("ac_power_w", "dc_power_w"),
    "Irradiance": means("irradiance_w_m2"),
    "Generated by day": totals("generated", "generated_wh"),
    "DC voltage and current": means("dc_voltage_v", "dc_current_a"),
    "Temperature": means("temperature_k", "set_point_k"),
    "Gas by hour": totals("gas", "gas_dm3"),
    "Electricity by hour": totals("electricity", "energy_wh"),
    "Door": means("door_state"),
    "Figure": course,
    "Energy by state": sums("_wh"),
    "Time by state": sums("_s"),
    "Figures that something limits": flagged,
}
STEPS_S = {"1m": 60, "15m": 900, "1h": 3600, "1d": 86_400}


def asked(url: str, panel: Any, view: Any) -> tuple[dict[int, Numbers], int]:
    """What Grafana would get: the numbers by instant and legend, and the step. [s]"""
    start_s, end_s = seconds(view.start), seconds(view.end)
    range_s = end_s - start_s
    is_number = panel["targets"][0]["instant"]
    step_s = max(STEPS_S[panel["interval"]], -(-range_s // 1000) // 60 * 60)
    found: dict[int, Numbers] = {}
    for target in panel["targets"]:
        query = target["expr"]
        for name, value in {
            "$site": view.site,
            "$device": view.device,
            "$figure": "energy_wh",
            "$__interval": f"{step_s}s",
            "$__range": f"{range_s}s",
        }.items():
            query = query.replace(name, value)
        assert "$" not in query
        times = {"time": end_s} if is_number else {"start": start_s, "end": end_s, "step": step_s}
        path = "query" if is_number else "query_range"
        answer = servers.json_of(f"{url}/api/v1/{path}", {"query": query, "nocache": 1, **times})
        for row in answer["data"]["result"]:
            legend = target["legendFormat"].replace("{{point}}", row["metric"].get("point", ""))
            for at_s, text in [row["value"]] if is_number else row["values"]:
                found.setdefault(int(at_s), {})[legend] = float(text)
    return found, range_s if is_number else step_s


@pytest.mark.service
@pytest.mark.parametrize(("dashboard", "view"), METRICSQL)
def test_every_panel_shows_the_numbers_of_the_series(both, dashboard, view):
    for panel in MAKER.document(dashboard, ())["panels"]:
        found, step_s = asked(both.url, panel, view)
        assert found, f"{panel['title']}: no data"
        last_s = seconds(view.end)
        is_number = panel["targets"][0]["instant"]
        instants = [last_s] if is_number else [*range(seconds(view.start), last_s + 1, step_s)]
        assert set(found) <= set(instants)
        for at_s in [*instants[:12], *instants[12::17]]:
            expected = EXPECTED[panel["title"]](both.embedded, view, at_s, step_s)
            where = f"{panel['title']} at {at_s}"
            assert found.get(at_s, {}) == pytest.approx(expected, rel=1e-9), where


@pytest.fixture(scope="module")
def in_influxdb(influxdb, both, tmp_path_factory):
    """The same rows in an InfluxDB."""
    folder = tmp_path_factory.mktemp("influxql")
    views = {view.device: view for _, view in IN_INFLUXQL}
    server = InfluxSeries("influx", Server(influxdb, "joulemark", "joulemark"), folder / "progress")
    server.write([rows_of_device(view) for view in views.values()])
    yield Written(influxdb, both.embedded)
    server.reset({view.site for view in views.values()})
    server.close()


@pytest.mark.service
@pytest.mark.parametrize(("dashboard", "view"), INFLUXQL)
def test_every_panel_in_influxql_shows_the_numbers_of_the_series(in_influxdb, dashboard, view):
    start_s, step_s = seconds(view.start), 3600
    end_s = start_s + LONGEST_S // 2
    for panel in MAKER.document(dashboard, ())["panels"]:
        (target,) = panel["targets"]
        query = target["query"]
        for name, value in {
            "$site": view.site,
            "$device": view.device,
            "$figure": "energy_wh",
            "$__interval": f"{step_s}s",
            "$timeFilter": f"time >= {start_s}s AND time < {end_s}s",
        }.items():
            query = query.replace(name, value)
        assert "$" not in query.replace("$/", "")
        fields = {"db": "joulemark", "q": query, "epoch": "ms"}
        (result,) = servers.json_of(f"{in_influxdb.url}/query", fields)["results"]
        found: dict[int, Numbers] = {}
        for row in result["series"]:
            legend = target["alias"].replace("$tag_point", row.get("tags", {}).get("point", ""))
            for at_ms, value in row["values"]:
                found.setdefault(at_ms // 1000, {})[legend] = float(value)
        for at_s in range(start_s + step_s, end_s - step_s, step_s):
            expected = _in_influxql(in_influxdb.embedded, view, panel["title"], at_s, step_s)
            assert found.get(at_s, {}) == pytest.approx(expected, rel=1e-9), panel["title"]


def _in_influxql(series: SeriesReader, view: Any, title: str, at_s: int, step_s: int) -> Numbers:
    """What the panel is to show of (at, at + step]: nothing is 0 where nothing was counted."""
    if title == "Figure":
        return {
            k: v for k, v in course(series, view, at_s + step_s, step_s).items() if k == "value"
        }
    if title == "Standard uncertainty":
        found = course(series, view, at_s + step_s, step_s)
        return {"u": (found["value + U (k = 2)"] - found["value"]) / 2} if found else {}
    return {k: v for k, v in EXPECTED[title](series, view, at_s, step_s).items() if v}


@pytest.mark.service
def test_a_day_between_local_midnights_is_the_ledgers_day(both):
    """January 1 in Korea begins at 15:00 UTC; the window is not moved to a day of UTC."""
    (panel,) = (
        panel
        for panel in MAKER.document(MAKER.DASHBOARDS[0], ())["panels"]
        if panel["title"] == "Energy by day"
    )
    found, _ = asked(both.url, panel, MAKER.STEEL)
    midnight_s = seconds("2018-01-01T00:00:00+09:00")
    day = amounts(both.embedded, MAKER.STEEL, "energy_wh", midnight_s, midnight_s + 86_400)
    assert day.amount.size == 96
    assert found[midnight_s] == {"energy": day.amount.sum()}


@pytest.mark.service
def test_max_minus_min_would_show_other_numbers(both):
    """The control: the common query, and a field that was renamed, are found out."""
    view = MAKER.STEEL
    place = f'site="{view.site}",device="{view.device}",point="energy_wh"'
    midnight_s = seconds(view.start)
    row = f"joulemark_point_value{{{place}}}[1d] offset -1d"

    def value(query: str) -> list[Any]:
        fields = {"query": query, "time": midnight_s, "nocache": 1}
        rows = servers.json_of(f"{both.url}/api/v1/query", fields)["data"]["result"]
        return [float(row["value"][1]) for row in rows]

    ours = f"sum_over_time(joulemark_interval_amount{{{place}}}[1d] offset -1d)"
    day = amounts(both.embedded, view, "energy_wh", midnight_s, midnight_s + 86_400)
    assert value(ours) == [day.amount.sum()]
    (common,) = value(f"max_over_time({row}) - min_over_time({row})")
    assert common != day.amount.sum()
    assert value(ours.replace("amount", "amounts")) == []
