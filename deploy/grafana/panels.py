"""The form of panels, dashboards and alert rules as Grafana reads it, by Grafana's own types."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from queries import RANGE, STEP, Query, influxql, metricsql

METRICSQL, INFLUXQL = "metricsql", "influxql"
LANGUAGES = (METRICSQL, INFLUXQL)
SOURCES = {
    METRICSQL: dashboard.DataSourceRef("prometheus", "joulemark-victoriametrics"),
    INFLUXQL: dashboard.DataSourceRef("influxdb", "joulemark-influxdb"),
}
SUFFIXES = {METRICSQL: "", INFLUXQL: "-influxql"}
NAMES = {METRICSQL: "", INFLUXQL: " (InfluxDB)"}
TAGS = {METRICSQL: "joulemark", INFLUXQL: "joulemark-influxdb"}
DAY = "1d"


@dataclass(frozen=True)
class View:
    """What a dashboard shows of the demo: a site, a device or project, and the time of it."""

    site: str
    start: str
    end: str
    zone: str
    others: dict[str, str] = field(default_factory=dict)  # further variables

    @property
    def range_ms(self) -> tuple[int, int]:
        """Start and end. [ms UTC]"""
        start, end = (datetime.fromisoformat(text) for text in (self.start, self.end))
        return int(start.timestamp() * 1000), int(end.timestamp() * 1000)

    @property
    def name(self) -> str:
        """What tells it from the others."""
        named = (self.others.get(name) for name in ("device", "project"))
        return next((name for name in named if name), self.site)


@dataclass(frozen=True)
class Panel:
    """One panel; `queries` by legend, in which {{tag}} stands for the value of a tag."""

    title: str
    says: str
    unit: str
    queries: dict[str, Query]
    step: str = "15m"  # the shortest
    form: str = "lines"  # or bars, or number
    width: int = 12
    nothing: str = "No data: nothing is known of this time."
    steps: tuple[
        tuple[float | None, str], ...
    ] = ()  # thresholds: from which value on, which colour
    band: tuple[str, str] | None = None  # legends between which it is filled: upper and lower
    only: tuple[str, ...] = ()  # views of the demo that have data here; empty: every one
    is_empty: bool = False  # on the demo, where all is well
    units: dict[str, str] = field(default_factory=dict)  # of lines whose name is like the pattern

    @property
    def window(self) -> str:
        """Over what a number is made."""
        return RANGE if self.form == "number" else STEP


@dataclass(frozen=True)
class Dashboard:
    """One file a language; the first view is what it opens with."""

    name: str
    title: str
    views: tuple[View, ...]
    panels: tuple[Panel, ...]
    variables: dict[str, dict[str, str]]  # by name: the query for its values in each language
    patterns: dict[str, str] = field(default_factory=dict)  # of a variable: what of it is taken


class InfluxQuery(variants.Dataquery):
    """A query in InfluxQL: the library has no type of its own for it."""

    def __init__(self, ref_id: str, query: str, alias: str) -> None:
        """As Grafana's data source for InfluxDB keeps it."""
        self.ref_id, self.query, self.alias = ref_id, query, alias

    def build(self) -> InfluxQuery:
        """It is its own builder."""
        return self

    def to_json(self) -> dict[str, object]:
        """As it stands in a file."""
        return {
            "refId": self.ref_id,
            "datasource": SOURCES[INFLUXQL],
            "query": self.query,
            "rawQuery": True,
            "resultFormat": "time_series",
            "alias": self.alias,
        }


def document(made: Dashboard, language: str, linked: Sequence[Dashboard]) -> dict[str, Any]:
    """A dashboard in one language, as Grafana reads it, with links to the others."""
    first = made.views[0]
    built = (
        builders.Dashboard(f"Joulemark: {made.title}{NAMES[language]}")
        .uid(f"joulemark-{made.name}{SUFFIXES[language]}")
        .tags([TAGS[language]])
        .readonly()
        .timezone(first.zone)
        .time(first.start, first.end)
        .refresh("")
        .version(1)
        .variables(_variables(made, language))
        .links(
            [
                _all_of_them(language),
                *(_link(one, v, language) for one in linked for v in one.views),
            ]
        )
    )
    x = y = height = 0
    for number, panel in enumerate(made.panels, 1):
        if x + panel.width > 24:
            x, y = 0, y + height
        height = 4 if panel.form == "number" else 9
        place = dashboard.GridPos(h=height, w=panel.width, x=x, y=y)
        built = built.with_panel(_panel(panel, language, number).grid_pos(place))
        x += panel.width
    found: dict[str, Any] = json.loads(json.dumps(built.build(), cls=JSONEncoder))
    return found


def target(panel: Panel, query: Query, legend: str, ref_id: str, language: str) -> Any:
    """One query of a panel."""
    if language == INFLUXQL:
        words = influxql(query, window=panel.window, zone=panel.step == DAY)
        alias = legend
        for tag in query.by:
            alias = alias.replace(f"{{{{{tag}}}}}", f"$tag_{tag}")
        return InfluxQuery(ref_id, words, alias)
    made = (
        prometheus.Dataquery()
        .ref_id(ref_id)
        .datasource(SOURCES[METRICSQL])
        .expr(metricsql(query, window=panel.window))
        .legend_format(legend)
    )
    return made.instant() if panel.form == "number" else made.range()


def _panel(panel: Panel, language: str, number: int) -> Any:
    targets = [
        target(panel, query, legend, chr(ord("A") + k), language)
        for k, (legend, query) in enumerate(panel.queries.items())
    ]
    made = _number() if panel.form == "number" else _lines(panel)
    made = (
        made.id(number)
        .title(panel.title)
        .description(panel.says)
        .datasource(SOURCES[language])
        .interval(panel.step)
        .unit(panel.unit)
        .no_value(panel.nothing)
        .targets(targets)
    )
    if panel.unit == "percentunit":
        made = made.min(0).max(1)
    if panel.steps:
        steps = [dashboard.Threshold(value, color) for value, color in panel.steps]
        mode = dashboard.ThresholdsMode.ABSOLUTE
        made = made.thresholds(builders.ThresholdsConfig().mode(mode).steps(steps))
    for pattern, unit in panel.units.items():
        told = [dashboard.DynamicConfigValue("unit", unit)]
        made = made.override_by_regexp(f"/{pattern}/", told)
    return made


def _number() -> Any:
    options = common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False)
    return stat.Panel().reduce_options(options)


def _lines(panel: Panel) -> Any:
    is_bars = panel.form == "bars"
    style = common.GraphDrawStyle.BARS if is_bars else common.GraphDrawStyle.LINE
    made = timeseries.Panel().draw_style(style).fill_opacity(60 if is_bars else 0)
    if panel.band:
        upper, lower = panel.band
        thin = dashboard.DynamicConfigValue("custom.lineWidth", 0)
        filled = [
            dashboard.DynamicConfigValue("custom.fillBelowTo", lower),
            dashboard.DynamicConfigValue("custom.fillOpacity", 25),
        ]
        made = made.override_by_name(upper, [*filled, thin]).override_by_name(lower, [thin])
    return made


def _variables(made: Dashboard, language: str) -> list[Any]:
    first = made.views[0]
    values = {"site": first.site, **first.others}
    found: list[Any] = []
    for name, query in made.variables.items():
        words = query[language]
        asked: Any = {"query": words, "refId": name} if language == METRICSQL else words
        found.append(
            builders.QueryVariable(name)
            .label(name.capitalize())
            .datasource(SOURCES[language])
            .query(asked)
            .current(dashboard.VariableOption(text=values[name], value=values[name]))
            .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
            .regex(made.patterns.get(name, ""))
            .multi(multi=False)
            .include_all(include_all=False)
        )
    if language == INFLUXQL and any(panel.step == DAY for panel in made.panels):
        zone = builders.TextBoxVariable("zone").label("Time zone of days")
        found.append(zone.default_value(first.zone))
    return found


def _all_of_them(language: str) -> Any:
    kind = dashboard.DashboardLinkType.DASHBOARDS
    made = builders.DashboardLink("Joulemark").type(kind).tags([TAGS[language]])
    return (
        made.as_dropdown(as_dropdown=True).include_vars(include_vars=True).keep_time(keep_time=True)
    )


def _link(made: Dashboard, view: View, language: str) -> Any:
    start_ms, end_ms = view.range_ms
    others = {"site": view.site, **view.others}
    if language == INFLUXQL and any(panel.step == DAY for panel in made.panels):
        others["zone"] = view.zone
    place = {f"var-{name}": value for name, value in others.items()}
    url = f"/d/joulemark-{made.name}{SUFFIXES[language]}?" + urlencode(
        {**place, "from": start_ms, "to": end_ms}
    )
    title = f"demo: {made.title}: {view.name}, {view.start[:7]}"
    return builders.DashboardLink(title).type(dashboard.DashboardLinkType.LINK).url(url)
