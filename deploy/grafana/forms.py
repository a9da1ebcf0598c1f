"""The form of a dashboard as Grafana reads it, of MetricsQL or of InfluxQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

SOURCE = {"type": "prometheus", "uid": "joulemark-victoriametrics"}
INFLUX = {"type": "influxdb", "uid": "joulemark-influxdb"}


@dataclass(frozen=True)
class View:
    """A device of the demo and the time of its recording."""

    site: str
    device: str
    start: str
    end: str

    @property
    def range_ms(self) -> tuple[int, int]:
        """Start and end. [ms UTC]"""
        start, end = (datetime.fromisoformat(text) for text in (self.start, self.end))
        return int(start.timestamp() * 1000), int(end.timestamp() * 1000)


@dataclass(frozen=True)
class Panel:
    """One panel; `queries` by legend."""

    title: str
    says: str
    unit: str
    queries: dict[str, str]
    step: str = "1m"  # the shortest
    form: str = "lines"  # or bars, or number
    width: int = 12
    units: dict[str, str] = field(default_factory=dict)  # of some of the names, by pattern
    band: tuple[str, str] | None = None  # legends between which it is filled: upper and lower


@dataclass(frozen=True)
class Dashboard:
    """One file; the first view is what it opens with."""

    name: str
    title: str
    time_zone: str
    with_point: str  # devices are offered that have a point like this
    views: tuple[View, ...]
    panels: tuple[Panel, ...]
    figure: str = ""  # the live figure it opens with; empty: it is not of figures
    source: dict[str, str] = field(default_factory=lambda: SOURCE)
    project: str = ""  # the running project it opens with, instead of a device

    @property
    def is_influxql(self) -> bool:
        """Whether its queries are InfluxQL."""
        return self.source is INFLUX


def document(dashboard: Dashboard, linked: Sequence[Dashboard]) -> dict[str, Any]:
    """A dashboard as Grafana reads it, with links to the others."""
    first = dashboard.views[0]
    return {
        "uid": f"joulemark-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["joulemark"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "timezone": dashboard.time_zone,
        "time": {"from": first.start, "to": first.end},
        "refresh": "",
        "links": [_link(other, view) for other in linked for view in other.views],
        "templating": {"list": _variables(dashboard)},
        "panels": _panels(dashboard),
    }


def _variables(dashboard: Dashboard) -> list[dict[str, Any]]:
    first = dashboard.views[0]
    asked = {"site": (_values_of(dashboard, "site"), first.site)}
    if dashboard.project:
        asked["project"] = (_values_of(dashboard, "project", "site"), dashboard.project)
    else:
        asked["device"] = (_values_of(dashboard, "device", "site"), first.device)
    if dashboard.figure:
        asked["figure"] = (_values_of(dashboard, "point", "site", "device"), dashboard.figure)
    return [
        {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": dashboard.source,
            "query": query if dashboard.is_influxql else {"query": query, "refId": name},
            "definition": query,
            "regex": "/^kpi_(?!u_)(.+)$/" if name == "figure" else "",
            "current": {"text": value, "value": value},
            "refresh": 2,
            "sort": 1,
            "multi": False,
            "includeAll": False,
        }
        for name, (query, value) in asked.items()
    ]


def _values_of(dashboard: Dashboard, label: str, *chosen: str) -> str:
    """The query for the values of a label, of what is chosen, where there is such a point."""
    if dashboard.project:
        return _values_of_savings(dashboard, label, *chosen)
    if dashboard.is_influxql:
        places = "".join(f" AND \"{name}\" = '${name}'" for name in chosen)
        return (
            f'SHOW TAG VALUES FROM "joulemark_point" WITH KEY = "{label}"'
            f' WHERE "point" =~ /^{dashboard.with_point}$/{places}'
        )
    places = "".join(f'{name}="${name}",' for name in chosen)
    where = f'{places}point=~"{dashboard.with_point}"'
    return f"label_values(joulemark_point_quality{{{where}}}, {label})"


def _values_of_savings(dashboard: Dashboard, label: str, *chosen: str) -> str:
    """The same where there is a saving."""
    if dashboard.is_influxql:
        places = " AND ".join(f"\"{name}\" = '${name}'" for name in chosen)
        where = f" WHERE {places}" if places else ""
        return f'SHOW TAG VALUES FROM "joulemark_saving" WITH KEY = "{label}"{where}'
    places = ",".join(f'{name}="${name}"' for name in chosen)
    return f"label_values(joulemark_saving_cumulative_wh{{{places}}}, {label})"


def _link(dashboard: Dashboard, view: View) -> dict[str, Any]:
    start_ms, end_ms = view.range_ms
    kind, name = ("project", dashboard.project) if dashboard.project else ("device", view.device)
    place = {"var-site": view.site, f"var-{kind}": name, "from": start_ms, "to": end_ms}
    return {
        "title": f"{dashboard.title.removeprefix('Joulemark: ')}: {name}, {view.start[:7]}",
        "type": "link",
        "url": f"/d/joulemark-{dashboard.name}?{urlencode(place)}",
    }


def _panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    made, x, y, height = [], 0, 0, 0
    for number, panel in enumerate(dashboard.panels, 1):
        if x + panel.width > 24:
            x, y = 0, y + height
        height = 4 if panel.form == "number" else 9
        place = {"x": x, "y": y, "w": panel.width, "h": height}
        made.append(_panel(dashboard, number, panel, place))
        x += panel.width
    return made


def _panel(
    dashboard: Dashboard, number: int, panel: Panel, place: dict[str, int]
) -> dict[str, Any]:
    is_number = panel.form == "number"
    shown: dict[str, Any] = {"unit": panel.unit}
    if panel.unit == "percentunit":
        shown |= {"min": 0, "max": 1}
    if not is_number:
        style = "bars" if panel.form == "bars" else "line"
        shown["custom"] = {"drawStyle": style, "fillOpacity": 60 if style == "bars" else 0}
    return {
        "id": number,
        "type": "stat" if is_number else "timeseries",
        "title": panel.title,
        "description": panel.says,
        "datasource": dashboard.source,
        "gridPos": place,
        "interval": panel.step,
        "fieldConfig": {
            "defaults": shown,
            "overrides": [
                {
                    "matcher": {"id": "byRegexp", "options": f"/{name}/"},
                    "properties": [{"id": "unit", "value": unit}],
                }
                for name, unit in panel.units.items()
            ]
            + _filled(panel.band),
        },
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}} if is_number else {},
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": dashboard.source,
                **(_influxql if dashboard.is_influxql else _metricsql)(panel, legend, query),
            }
            for i, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def _filled(band: tuple[str, str] | None) -> list[dict[str, Any]]:
    """The room between two lines, which are thin themselves."""
    if band is None:
        return []
    upper, lower = band
    filled = [
        {"id": "custom.fillBelowTo", "value": lower},
        {"id": "custom.fillOpacity", "value": 25},
    ]
    thin = {"id": "custom.lineWidth", "value": 0}
    return [
        {"matcher": {"id": "byName", "options": upper}, "properties": [*filled, thin]},
        {"matcher": {"id": "byName", "options": lower}, "properties": [thin]},
    ]


def _metricsql(panel: Panel, legend: str, query: str) -> dict[str, Any]:
    is_number = panel.form == "number"
    return {
        "expr": query,
        "legendFormat": legend,
        "instant": is_number,
        "range": not is_number,
    }


def _influxql(_panel: Panel, legend: str, query: str) -> dict[str, Any]:
    return {"query": query, "rawQuery": True, "resultFormat": "time_series", "alias": legend}
