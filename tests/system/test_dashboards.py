"""Every panel of every dashboard shows the ledger's numbers of the demo, on both servers.

Grafana is not run: what it would ask is asked here. What must come back is computed from the leaves
(`support.ledger`), not from the series and not from the definitions of the panels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.series import mirror
from joulemark_gateway.series.base import Carry
from joulemark_gateway.series.influx import InfluxSeries
from joulemark_gateway.series.savings import FIELDS, SavingDays
from joulemark_gateway.series.servers import Server
from support import grafana, servers
from support.ledger import Column, Device, Edges, added, devices_of, us

pytestmark = [pytest.mark.endurance, pytest.mark.service, pytest.mark.timeout(420)]

DASHBOARDS = grafana.module("dashboards")
MOST_LEAVES = 7000  # of a tree: January of the steel works, and the whole of the hall
KINDS = {"metricsql": "victoriametrics", "influxql": "influx"}
DAY_S, DAY_US = 86_400, 86_400_000_000
PROJECTS = {  # days, and the first of them: what two running projects saved
    ("gwangyang", "coil-line-day-shift"): (184, 1),
    ("gwangyang", "second-line"): (150, 2),
}
Columns = dict[str, Column]


@dataclass
class Plant:
    """What the ledger holds of the site of a view, and the device that is looked at."""

    devices: dict[str, Device]
    view: Any
    savings: dict[tuple[str, str], SavingDays]

    @property
    def here(self) -> Device:
        return self.devices[self.view.others["device"]]

    @property
    def meters(self) -> dict[str, Device]:
        return {name: one for name, one in self.devices.items() if one.has("energy_wh")}

    def each(self, column: Callable[[Device], Column], *, meters: bool = False) -> Columns:
        return {name: column(d) for name, d in (self.meters if meters else self.devices).items()}

    def saving(self, field: str, edges: Edges, place: tuple[str, str] | None = None) -> Column:
        """What a project's days say, each in the window that it begins in; else the last there."""
        days = self.savings[place or (self.view.site, self.view.others["project"])]
        column = np.full(edges.size - 1, np.nan)
        k = np.searchsorted(edges, days.start_us, side="right") - 1
        inside = (k >= 0) & (k < column.size)
        column[k[inside]] = days.values[inside, FIELDS.index(field)]
        return column

    def newest(self, field: str, edges: Edges) -> Columns:
        each = [self.saving(field, edges, place) for place in self.savings]
        return {"all": added(each[0], each[1])}


Expected = Callable[[Plant, Edges], Columns]
STATES = ("off", "unload", "load", "running", "unknown", "idle", "process", "heat", "soak", "cool")


def means(*points: str) -> Expected:
    return lambda p, e: {name: p.here.mean(name, e) for name in points if p.here.has(name)}


def sums(*names: str) -> Expected:
    return lambda p, e: p.here.figures(names, e)


def figure(name: str, part: str = "value", prefix: str = "kpi_") -> Expected:
    return lambda p, e: {f"{prefix}{name}": p.here.figure(name, e, part)}


def amount(point: str, legend: str) -> Expected:
    return lambda p, e: {legend: p.here.amount(point, e)}


def batches(field: str, scale: int = 1) -> Expected:
    return lambda p, e: p.each(lambda d: d.batches(e)[field] * scale)


def by_factor(p: Plant, e: Edges) -> Columns:
    found = {(d, f): column for d, one in p.meters.items() for f, column in one.co2e(e).items()}
    return {f"{device}, {factor}": column for (device, factor), column in found.items()}


def co2e(p: Plant, e: Edges) -> Columns:
    return p.each(lambda d: total(d.co2e(e)), meters=True)


def total(columns: Columns) -> Column:
    first, *rest = columns.values()
    for one in rest:
        first = added(first, one)
    return first


def factors(p: Plant, e: Edges) -> Columns:
    found: Columns = {}
    for one in p.meters.values():
        found |= one.factors(e)
    return found


def missing(d: Device, e: Edges) -> Column:
    return d.expected(e) - np.nan_to_num(d.received(e))


def share(p: Plant, e: Edges) -> Columns:
    found = p.here.totals("energy_wh", e)
    passed = found.covered_us + found.estimated_us + found.missing_us
    return {"measured": found.covered_us / passed}


def times(p: Plant, e: Edges) -> Columns:
    if not p.here.has("energy_wh"):
        return {}
    found = p.here.totals("energy_wh", e)
    three = (found.covered_us, found.estimated_us, found.missing_us)
    names = ("measured", "as a sum", "missing")
    return {name: np.array(one, float) for name, one in zip(names, three, strict=True)}


def energy_of_all(p: Plant, e: Edges) -> Columns:
    return p.each(lambda d: d.amount("energy_wh", e), meters=True)


def band(p: Plant, e: Edges) -> Columns:
    middle, half = p.saving("cumulative_wh", e), p.saving("half_width_wh", e)
    return {"saving": middle, "upper": middle + half, "lower": middle - half}


def demand(p: Plant, e: Edges) -> Columns:
    return {"demand": p.here.peak("energy_wh", e)}


def not_good(p: Plant, e: Edges) -> Columns:
    return p.here.not_good(e)


CO2E_BY_DEVICE = ("masskg", co2e)
NEWEST = ("dateTimeFromNow", batches("cosigned_s", 1000))
NOT_GOOD = ("short", not_good)
TIMES = ("s", sums(*(f"{state}_s" for state in (*STATES, "cold", "clipped"))))
ENERGIES = (
    "watth",
    sums(
        *(f"{one}_wh" for one in (*STATES[:4], "idle", "process", "electricity", "gas", "net_ac"))
    ),
)
UNSET = (
    "short",
    lambda p, e: {"unsynchronised": p.here.unsynchronised(e)},
)
EXPECTED: dict[str, dict[str, tuple[str, Expected]]] = {
    "site": {
        "Energy of the range": ("watth", energy_of_all),
        "CO2e of the range": CO2E_BY_DEVICE,
        "Highest quarter-hour": (
            "watt",
            lambda p, e: p.each(lambda d: d.peak("energy_wh", e), meters=True),
        ),
        "Slots without a reading": ("short", lambda p, e: p.each(lambda d: missing(d, e))),
        "Power": ("watt", lambda p, e: p.each(lambda d: d.power("energy_wh", e), meters=True)),
        "CO2e by day": CO2E_BY_DEVICE,
        "Newest evidence": NEWEST,
    },
    "compressor": {
        "Load": ("watt", means("power_w", "motor_current_a")),
        "Pressure": (
            "pressurepa",
            means(
                *(f"{k}_gauge_pressure_pa" for k in ("header", "compressor", "panel", "reservoir"))
            ),
        ),
        "Time by state": TIMES,
        "Energy by state": ENERGIES,
        "Fall of pressure by leaks": ("suffix:Pa/s", figure("leak_pa_s")),
        "Readings that are not good": NOT_GOOD,
    },
    "photovoltaics": {
        "AC and DC power": ("watt", means("ac_power_w", "dc_power_w")),
        "Irradiance": ("Wm2", means("irradiance_w_m2")),
        "Generated by day": ("watth", amount("generated_wh", "generated")),
        "AC energy over DC energy": ("percentunit", figure("efficiency_ratio")),
        "DC voltage and current": ("volt", means("dc_voltage_v", "dc_current_a")),
        "Readings that are not good": NOT_GOOD,
    },
    "furnace": {
        "Temperature": ("kelvin", means("temperature_k", "set_point_k")),
        "Door": ("percentunit", means("door_state")),
        "Gas by hour": ("dm3", amount("gas_dm3", "gas")),
        "Electricity by hour": ("watth", amount("energy_wh", "electricity")),
        "Time by state": TIMES,
        "Energy by state": ENERGIES,
        "Readings that are not good": NOT_GOOD,
    },
    "energy": {
        "Energy of the range": ("watth", amount("energy_wh", "energy")),
        "Measured share": ("percentunit", share),
        "Highest quarter-hour": ("watt", demand),
        "Energy known as a sum only": (
            "µs",
            lambda p, e: {"time": np.array(p.here.totals("energy_wh", e).estimated_us, float)},
        ),
        "Demand": ("watt", lambda p, e: {"demand": p.here.power("energy_wh", e)}),
        "Power as read": ("watt", means("power_w")),
        "Energy by day": ("watth", amount("energy_wh", "energy")),
        "Highest quarter-hour of each day": ("watt", demand),
    },
    "co2e": {
        "CO2e of the range": ("masskg", by_factor),
        "Factor": ("suffix: kg/kWh", factors),
        "Energy with a factor": (
            "watth",
            lambda p, e: p.each(lambda d: total(d.energy_with_factor(e)), meters=True),
        ),
        "CO2e by hour": CO2E_BY_DEVICE,
        "CO2e by day": CO2E_BY_DEVICE,
    },
    "quality": {
        "Slots with a reading": (
            "percentunit",
            lambda p, e: {"received": p.here.received(e) / p.here.expected(e)},
        ),
        "Slots expected": ("short", lambda p, e: {"expected": p.here.expected(e)}),
        "Slots without a reading": ("short", lambda p, e: {"missing": missing(p.here, e)}),
        "Readings by a clock that was not set": UNSET,
        "Slots": (
            "short",
            lambda p, e: {"expected": p.here.expected(e), "received": p.here.received(e)},
        ),
        "Slots without a reading, by cause": ("short", lambda _p, _e: {}),
        "Time of which the energy is known": ("µs", times),
        "Readings that are not good": NOT_GOOD,
    },
    "evidence": {
        "Newest batch": NEWEST,
        "Cosignatures of a batch": ("short", batches("cosignatures")),
        "Size of the head": (
            "short",
            lambda p, e: {
                f"{name}, epoch 1": column for name, column in batches("size")(p, e).items()
            },
        ),
        "Leaves signed": ("short", batches("leaves")),
        "Readings signed": ("short", batches("readings")),
        "Readings by a clock that was not set": (
            "short",
            lambda p, e: p.each(lambda d: d.unsynchronised(e)),
        ),
    },
    "savings": {
        "Avoided energy since the measure, with its interval": ("watth", band),
        "Predicted and measured by day": (
            "watth",
            lambda p, e: {
                "predicted": p.saving("predicted_wh", e),
                "measured": p.saving("measured_wh", e),
            },
        ),
        "Avoided CO2e since the measure": (
            "masskg",
            lambda p, e: {"avoided": p.saving("co2e_kg", e)},
        ),
    },
    "programme": {
        "Avoided energy of all projects": (
            "watth",
            lambda p, e: {"saving": p.newest("cumulative_wh", e)["all"]},
        ),
        "Half width, added": (
            "watth",
            lambda p, e: {"half width": p.newest("half_width_wh", e)["all"]},
        ),
        "Avoided CO2e of all projects": (
            "masskg",
            lambda p, e: {"avoided": p.newest("co2e_kg", e)["all"]},
        ),
        "Avoided energy by project": (
            "watth",
            lambda p, e: {
                f"{site}, {name}": p.saving("cumulative_wh", e, (site, name))
                for site, name in p.savings
            },
        ),
    },
    "figures": {
        "Figure": ("short", lambda p, e: figure(p.view.others["figure"])(p, e)),
        "Standard uncertainty": (
            "short",
            lambda p, e: figure(p.view.others["figure"], "u", "kpi_u_")(p, e),
        ),
        "Figures that something limits": ("short", lambda p, e: p.here.flagged(e)),
        "Time by state": TIMES,
        "Energy by state": ENERGIES,
    },
}


@dataclass
class Shown:
    """The servers by language, loaded, and the ledger they were loaded from."""

    urls: dict[str, str]
    sites: dict[str, dict[str, Device]]
    savings: dict[tuple[str, str], SavingDays]

    def plant(self, view: Any) -> Plant:
        return Plant(self.sites[view.site], view, self.savings)


@pytest.fixture(scope="module")
def shown(demo, victoriametrics, influxdb, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dashboards")
    with SqliteStore(demo.folder / "collector/state" / FILE, create=False) as store:
        yield from filled(store, {"metricsql": victoriametrics, "influxql": influxdb}, folder)


def filled(store: SqliteStore, urls: dict[str, str], folder: Any) -> Any:
    """The servers with the demo's first leaves and the savings, and the ledger; then without."""
    heads = [(head, (0, min(head.size, MOST_LEAVES))) for head in store.heads()]
    parts = [mirror._part(store, head, span, Carry(), {}) for head, span in heads]
    savings = {place: saved(days, seed) for place, (days, seed) in PROJECTS.items()}
    names = {part.origin.split("/")[1] for part in parts}
    opened = []
    for language, url in urls.items():
        server = Server(url, "joulemark", "joulemark")
        series = InfluxSeries(KINDS[language], server, folder / language)
        series.reset(names)
        series.write(parts)
        for (site, project), days in savings.items():
            series.keep_saving(site, project, days)
        series.settle()
        opened.append(series)
    sites = {site: devices_of(store, site, MOST_LEAVES) for site in names}
    yield Shown(urls, sites, savings)
    for series in opened:
        series.reset(names)
        for (site, project), days in savings.items():
            series.keep_saving(site, project, days.chosen(np.zeros(days.start_us.size, np.bool_)))
        series.close()


def saved(days: int, seed: int) -> SavingDays:
    """Days in Korea from July 2018 on, of which one is left out; the sums grow."""
    draw = np.random.default_rng(seed)
    starts = us("2018-07-01T00:00:00+09:00") + DAY_US * np.arange(days, dtype=np.int64)
    predicted = np.round(draw.uniform(9e5, 1e6, days))
    measured = np.round(predicted * draw.uniform(0.9, 0.95, days))
    running = np.cumsum(predicted - measured)
    half = np.round(np.sqrt(np.arange(days) + 1) * 2e4)
    values = np.array([measured, predicted, running, half, np.round(running * 4.8e-4, 3)]).T
    return SavingDays(starts, values).chosen(np.arange(days) != 23)


def edges_of(view: Any, panel: dict[str, Any]) -> Edges:
    """The windows of a panel: the whole range, steps, or local days."""
    start_us, end_us = us(view.start), us(view.end)
    if panel["type"] == "stat":
        return np.array([start_us, end_us], np.int64)
    if panel["interval"] == "1d":
        zone = ZoneInfo(view.zone)
        first = datetime.fromisoformat(view.start).astimezone(zone)
        n = (end_us - start_us) // DAY_US + 1
        days = [first.replace(hour=0) + timedelta(days=k) for k in range(n)]
        return np.array([us(day.isoformat()) for day in days if us(day.isoformat()) <= end_us])
    step_us = grafana.STEPS_S[panel["interval"]] * 1_000_000
    return np.arange(-(-start_us // step_us) * step_us, end_us + 1, step_us, dtype=np.int64)


def differences(
    shown: Shown, language: str, name: str, panel: dict[str, Any], view: Any
) -> list[str]:
    """What a panel shows otherwise than the ledger, and whether it shows anything at all."""
    unit, expected = EXPECTED[name][panel["title"]]
    found_unit = panel["fieldConfig"]["defaults"]["unit"]
    wrong = [] if found_unit == unit else [f"the unit is {found_unit}, not {unit}"]
    edges = edges_of(view, panel)
    span_s = int(edges[0]) // 1_000_000, int(edges[-1]) // 1_000_000
    values = grafana.values_of(view, language)
    lines = grafana.asked(shown.urls[language], panel, values, span_s)
    wanted = {
        legend: column
        for legend, column in expected(shown.plant(view), edges).items()
        if not np.isnan(column).all()
    }
    if set(lines) != set(wanted):
        return [*wrong, f"lines {sorted(lines)}, not {sorted(wanted)}"]
    for legend, column in wanted.items():
        got = _columns(lines[legend], edges, is_number=panel["type"] == "stat")
        if not np.allclose(got, column, rtol=1e-9, atol=1e-9, equal_nan=True):
            k = int(np.flatnonzero(~np.isclose(got, column, rtol=1e-9, equal_nan=True))[0])
            at = datetime.fromtimestamp(int(edges[k]) / 1e6, ZoneInfo(view.zone))
            wrong.append(f"{legend} at {at}: {got[k]}, not {column[k]}")
    return wrong


def _columns(numbers: dict[int, float], edges: Edges, *, is_number: bool) -> Column:
    if is_number:
        (value,) = numbers.values()
        return np.array([value])
    starts = (edges[:-1] // 1_000_000).tolist()
    step_s = int(edges[1] - edges[0]) // 1_000_000
    around = {starts[0] - step_s, int(edges[-1]) // 1_000_000}  # steps that the range cuts
    strange = set(numbers) - set(starts) - around
    assert not strange, f"instants {sorted(strange)[:3]} begin no step"
    return np.array([numbers.get(t_s, np.nan) for t_s in starts])


CASES = [
    pytest.param(language, made, view, id=f"{language}-{made.name}-{view.name}")
    for language in KINDS
    for made in DASHBOARDS.DASHBOARDS
    for view in made.views
]


@pytest.mark.parametrize(("language", "made", "view"), CASES)
def test_every_panel_shows_the_ledgers_numbers(shown, language, made, view):
    panels = grafana.loaded(language, made.name)["panels"]
    assert {panel["title"] for panel in panels} == set(EXPECTED[made.name])
    wrong = {
        panel["title"]: found
        for panel in panels
        if (found := differences(shown, language, made.name, panel, view))
    }
    assert not wrong


@pytest.mark.parametrize("language", KINDS)
def test_no_panel_is_without_data_on_the_demo_but_those_that_show_what_is_wrong(shown, language):
    for made in DASHBOARDS.DASHBOARDS:
        for panel, file in zip(
            made.panels, grafana.loaded(language, made.name)["panels"], strict=True
        ):
            for view in made.views:
                values = grafana.values_of(view, language)
                span_s = us(view.start) // 1_000_000, us(view.end) // 1_000_000
                has_data = bool(grafana.asked(shown.urls[language], file, values, span_s))
                if not panel.is_empty:
                    is_wanted = not panel.only or view.name in panel.only
                    assert has_data == is_wanted, (made.name, panel.title, view.name)


MUTANTS = {
    "a renamed field": ("expr", "query", "amount", "amounts"),
    "another unit": ("", "", "", ""),
    "another scale": ("expr", "query", "3600000000", "3600000"),
    "another measurement": ("expr", "query", "joulemark_quarter", "joulemark_day"),
}


@pytest.mark.parametrize("language", KINDS)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_of_a_panel_is_found(shown, language, mutant):
    view = DASHBOARDS.STEEL
    [panel] = [
        one for one in grafana.loaded(language, "energy")["panels"] if one["title"] == "Demand"
    ]
    assert not differences(shown, language, "energy", panel, view), "the control"
    changed = copy.deepcopy(panel)
    expr, query, old, new = MUTANTS[mutant]
    if old:
        for target in changed["targets"]:
            name = expr if expr in target else query
            assert old in target[name]
            target[name] = target[name].replace(old, new)
    else:
        changed["fieldConfig"]["defaults"]["unit"] = "kwatt"
    assert differences(shown, language, "energy", changed, view)


@pytest.mark.parametrize("language", KINDS)
def test_what_a_variable_offers_holds_what_the_dashboard_opens_with(shown, language):
    for made in DASHBOARDS.DASHBOARDS:
        values = grafana.values_of(made.views[0], language)
        for variable in grafana.loaded(language, made.name)["templating"]["list"]:
            if variable["type"] == "query":
                offered = grafana.offered(shown.urls[language], variable, values)
                wanted = values[variable["name"]]
                prefix = "kpi_" if variable["name"] == "figure" else ""
                assert f"{prefix}{wanted}" in offered, (made.name, variable["name"])


def test_a_device_has_as_many_series_as_the_documentation_says(shown):
    """2 P + 14 C + 4 (P - C) + 3 F + 3 + G + 7 E, less the delay of a simulated clock."""
    match = '{site="gwangyang",device="main-meter"}'
    years = {"start": 1_262_304_000, "end": 1_893_456_000}
    url = f"{shown.urls['metricsql']}/api/v1/series"
    found = servers.json_of(url, {"match[]": match, **years})["data"]
    assert len(found) == 10 + 42 + 8 + 3 + 3 + 0 + 6 == 72
