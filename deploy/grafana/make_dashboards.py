"""Writes the dashboards beside this file: `python deploy/grafana/make_dashboards.py`.

Every quantity is a few lines below, in MetricsQL over what `series/lines.py` documents. What a
line shows at an instant covers the step that ends there; a bar covers the step that begins there.
Amounts are sums of intervals, never max - min of a counter, which loses what lies between windows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "joulemark-victoriametrics"}
STEP = "$__interval"
US_PER_H = 3_600_000_000


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


@dataclass(frozen=True)
class Dashboard:
    """One file; the first view is what it opens with."""

    name: str
    title: str
    time_zone: str
    with_point: str  # devices are offered that have a point like this
    views: tuple[View, ...]
    panels: tuple[Panel, ...]


def mean(point: str) -> str:
    """The mean of the good readings."""
    return f"avg_over_time(joulemark_point_value{_where(point)}[{STEP}]) keep_metric_names"


def total(point: str, what: str = "amount", window: str = STEP) -> str:
    """What a counter counted."""
    return f"sum_over_time(joulemark_interval_{what}{_where(point)}[{window}])"


def during(query: str) -> str:
    """A sum, shown where its step begins."""
    return query.replace(f"[{STEP}]", f"[{STEP}] offset -{STEP}")


def known(point: str, window: str = STEP) -> str:
    """The time of which the amount is known, as it ran or as a sum. [us]"""
    return f"({total(point, 'covered_us', window)} + {total(point, 'estimated_us', window)})"


def share(point: str, window: str = STEP) -> str:
    """The part of the time that was measured from slot to slot."""
    covered = total(point, "covered_us", window)
    return f"{covered} / ({known(point, window)} + {total(point, 'missing_us', window)})"


def not_good() -> str:
    """How many readings of each point have another quality than good."""
    return during(f"count_ne_over_time(joulemark_point_quality{_where('.+')}[{STEP}], 0)")


def _where(point: str) -> str:
    sign = "=~" if set(point) & set(".|*+") else "="
    return f'{{site="$site",device="$device",point{sign}"{point}"}}'


STEEL = View("gwangyang", "main-meter", "2018-01-01T00:00:00+09:00", "2018-02-01T00:00:00+09:00")
COMPRESSOR = View(
    "equipment-hall", "compressor-a1", "2022-05-01T06:00:00+00:00", "2022-05-09T00:00:00+00:00"
)
RAIL = View(
    "equipment-hall", "rail-compressor", "2020-02-01T00:00:00+00:00", "2020-02-01T02:45:00+00:00"
)
INVERTER = View(
    "equipment-hall", "pv-inverter", "2022-01-02T00:00:00+00:00", "2022-01-07T00:00:00+00:00"
)
FURNACE = View(
    "equipment-hall", "furnace", "2022-05-09T00:00:00+00:00", "2022-05-11T00:00:00+00:00"
)

QUALITY = Panel(
    "Readings that are not good",
    "How many readings of each point are not good: `QUALITY` in series/base.py says why. 0 is the "
    "good case; nothing is shown where nothing was read.",
    "short",
    {"{{point}}": not_good()},
    step="1h",
    form="bars",
)
ENERGY = "energy_wh"

DASHBOARDS = (
    Dashboard(
        "energy",
        "Joulemark: energy",
        "Asia/Seoul",
        ENERGY,
        (STEEL, FURNACE),
        (
            Panel(
                "Energy of the range",
                "The sum of the counter's intervals that begin in the range shown.",
                "watth",
                {"energy": total(ENERGY, window="$__range")},
                form="number",
                width=6,
            ),
            Panel(
                "Measured share of the range",
                "1 where every slot was read. Over a gap, energy is known as a sum or missing.",
                "percentunit",
                {"measured": share(ENERGY, "$__range")},
                form="number",
                width=6,
            ),
            Panel(
                "Power",
                "The mean by the energy counter, over the time that is known; and as the device "
                "states it, where it does.",
                "watt",
                {
                    "by the energy counter": (
                        f"{total(ENERGY)} * {US_PER_H} / ({known(ENERGY)} > 0)"
                    ),
                    "as read": mean("power_w"),
                },
                step="15m",
            ),
            Panel(
                "Energy by day",
                "Days of the dashboard's time zone. Over a range of years a bar is several days.",
                "watth",
                {"energy": during(total(ENERGY))},
                step="1d",
                form="bars",
            ),
            Panel(
                "Measured share by day",
                "1 where every slot was read.",
                "percentunit",
                {"measured": during(share(ENERGY))},
                step="1d",
                form="bars",
            ),
            QUALITY,
        ),
    ),
    Dashboard(
        "compressor",
        "Joulemark: compressed air",
        "utc",
        ".+_gauge_pressure_pa",
        (COMPRESSOR, RAIL),
        (
            Panel(
                "Load",
                "Electric power, or the motor's current where the device states no power.",
                "watt",
                {"{{point}}": mean("power_w|motor_current_a")},
                units={"motor_current_a": "amp"},
            ),
            Panel(
                "Pressure",
                "Gauge pressure, above the ambient.",
                "pressurepa",
                {"{{point}}": mean(".+_gauge_pressure_pa")},
            ),
            QUALITY,
        ),
    ),
    Dashboard(
        "photovoltaics",
        "Joulemark: photovoltaics",
        "utc",
        "generated_wh",
        (INVERTER,),
        (
            Panel(
                "AC and DC power",
                "Sun and no AC power is a fault of the inverter or the grid.",
                "watt",
                {"{{point}}": mean("ac_power_w|dc_power_w")},
                step="15m",
            ),
            Panel(
                "Irradiance",
                "In the plane of the modules.",
                "Wm2",
                {"{{point}}": mean("irradiance_w_m2")},
                step="15m",
            ),
            Panel(
                "Generated by day",
                "What the inverter's counter counted. It is generation: no CO2e is attached to it.",
                "watth",
                {"generated": during(total("generated_wh"))},
                step="1d",
                form="bars",
            ),
            Panel(
                "DC voltage and current",
                "Their product is the DC power.",
                "volt",
                {"{{point}}": mean("dc_voltage_v|dc_current_a")},
                step="15m",
                units={"dc_current_a": "amp"},
            ),
            QUALITY,
        ),
    ),
    Dashboard(
        "furnace",
        "Joulemark: furnace",
        "utc",
        "set_point_k",
        (FURNACE,),
        (
            Panel(
                "Temperature",
                "The furnace of the demo is SYNTHETIC.",
                "kelvin",
                {"{{point}}": mean("temperature_k|set_point_k")},
            ),
            Panel(
                "Gas by hour",
                "At 0 degrees Celsius and 101,325 Pa. SYNTHETIC in the demo.",
                "dm3",
                {"gas": during(total("gas_dm3"))},
                step="1h",
                form="bars",
            ),
            Panel(
                "Electricity by hour",
                "Fans and controls. SYNTHETIC in the demo.",
                "watth",
                {"electricity": during(total(ENERGY))},
                step="1h",
                form="bars",
            ),
            Panel(
                "Door",
                "1 is open; in between, open for that part of the step. SYNTHETIC in the demo.",
                "percentunit",
                {"{{point}}": mean("door_state")},
            ),
            QUALITY,
        ),
    ),
)


def document(dashboard: Dashboard) -> dict[str, Any]:
    """A dashboard as Grafana reads it."""
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
        "links": [_link(other, view) for other in DASHBOARDS for view in other.views],
        "templating": {"list": _variables(dashboard)},
        "panels": _panels(dashboard.panels),
    }


def _variables(dashboard: Dashboard) -> list[dict[str, Any]]:
    first = dashboard.views[0]
    has_point = f'point=~"{dashboard.with_point}"'
    asked = {
        "site": (f"label_values(joulemark_point_quality{{{has_point}}}, site)", first.site),
        "device": (
            f'label_values(joulemark_point_quality{{site="$site",{has_point}}}, device)',
            first.device,
        ),
    }
    return [
        {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": query, "refId": name},
            "definition": query,
            "current": {"text": value, "value": value},
            "refresh": 2,
            "sort": 1,
            "multi": False,
            "includeAll": False,
        }
        for name, (query, value) in asked.items()
    ]


def _link(dashboard: Dashboard, view: View) -> dict[str, Any]:
    start_ms, end_ms = view.range_ms
    place = {"var-site": view.site, "var-device": view.device, "from": start_ms, "to": end_ms}
    return {
        "title": f"{dashboard.title.removeprefix('Joulemark: ')}: {view.device}, {view.start[:7]}",
        "type": "link",
        "url": f"/d/joulemark-{dashboard.name}?{urlencode(place)}",
    }


def _panels(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    made, x, y, height = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > 24:
            x, y = 0, y + height
        height = 4 if panel.form == "number" else 9
        place = {"x": x, "y": y, "w": panel.width, "h": height}
        made.append(_panel(number, panel, place))
        x += panel.width
    return made


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
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
        "datasource": SOURCE,
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
            ],
        },
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}} if is_number else {},
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": SOURCE,
                "expr": query,
                "legendFormat": legend,
                "instant": is_number,
                "range": not is_number,
            }
            for i, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def written() -> dict[str, str]:
    """Every file by its name."""
    return {
        f"{dashboard.name}.json": json.dumps(document(dashboard), indent=2) + "\n"
        for dashboard in DASHBOARDS
    }


if __name__ == "__main__":
    for name, text in written().items():
        (FOLDER / name).write_text(text, "utf-8")
