"""Writes the dashboards beside this file: `python deploy/grafana/make_dashboards.py`.

Every quantity is a few lines below, in MetricsQL over what `series/lines.py` documents; the live
figures of machines are there in InfluxQL too. What a line shows at an instant covers the step that
ends there; a bar covers the step that begins there. Amounts are sums of intervals, never max - min
of a counter, which loses what lies between windows. A figure stands at the end of its window, so a
step has it where the window ends in the step, its last instant included and its first not.
"""

from __future__ import annotations

import json
from pathlib import Path

from forms import INFLUX, Dashboard, Panel, View, document

FOLDER = Path(__file__).parent / "dashboards"
STEP = "$__interval"
US_PER_H = 3_600_000_000
_OF_PROJECT = '{site="$site",project="$project"}'


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
    return _count_not_good(_where(".+", "kpi_.+"))


def flagged() -> str:
    """How many windows have each figure with a flag that limits it."""
    return _count_not_good(_where("kpi_.+", "kpi_u_.+"))


def _count_not_good(where: str) -> str:
    return during(f"count_ne_over_time(joulemark_point_quality{where}[{STEP}], 0)")


def figure(times_u: str = "") -> str:
    """The figure chosen, of the last window that ends in the step; plus so many times its u."""
    value = f"last_over_time(joulemark_point_value{_where('kpi_$figure')}[{STEP}])"
    spread = f"last_over_time(joulemark_point_value{_where('kpi_u_$figure')}[{STEP}])"
    return f"{value} + ignoring(point) ({times_u} * {spread})" if times_u else value


def stated(points: str) -> str:
    """The sum of figures that add up, over the windows that end in the step."""
    return during(f"sum_over_time(joulemark_point_value{_where(points)}[{STEP}])")


def day_of(field: str, times_half: str = "") -> str:
    """What a field of a project's saving says of the last day that begins in the step."""
    value = f"last_over_time(joulemark_saving_{field}{_OF_PROJECT}[{STEP}])"
    half = f"last_over_time(joulemark_saving_half_width_wh{_OF_PROJECT}[{STEP}])"
    return f"{value} + ({times_half} * {half})" if times_half else f"{value} keep_metric_names"


def days_of(field: str) -> str:
    """The sum of a field over the days that begin in the step, shown where it begins."""
    return during(f"sum_over_time(joulemark_saving_{field}{_OF_PROJECT}[{STEP}])")


def of_days(what: str) -> str:
    """The same in InfluxQL, where a step holds the instant at which it begins."""
    return (
        f'SELECT {what} FROM "joulemark_saving" WHERE "site" = \'$site\' AND "project" = '
        f"'$project' AND $timeFilter GROUP BY time({STEP}) fill(none)"
    )


def _where(point: str, unless: str = "") -> str:
    sign = "=~" if set(point) & set(".|*+") else "="
    other = f',point!~"{unless}"' if unless else ""
    return f'{{site="$site",device="$device",point{sign}"{point}"{other}}}'


def selected(what: str, condition: str, *, by_point: bool = False) -> str:
    """The same in InfluxQL: steps of it end where they begin, so they begin 1 ms later."""
    tags = ', "point"' if by_point else ""
    return (
        f'SELECT {what} FROM "joulemark_point" WHERE "site" = \'$site\' AND "device" = \'$device\''
        f" AND {condition} AND $timeFilter GROUP BY time({STEP}, 1ms){tags} fill(none)"
    )


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
STATE_ENERGIES = "kpi_(off|unload|load|running|idle|process|electricity|gas|net_ac)_wh"
STATE_TIMES = "kpi_(off|unload|load|running|unknown|idle|process|heat|soak|cool|cold|clipped)_s"

_FIGURE = (
    "Figure",
    "As the machine's agent states it for each window; in the unit that its name ends in.",
)
_SPREAD = "Standard uncertainty"
_ENERGIES = (
    "Energy by state",
    "Sums over the windows that end in the step. Of a furnace by source, of an inverter net.",
)
_TIMES = ("Time by state", "Sums over the windows that end in the step.")
_FLAGGED = (
    "Figures that something limits",
    "How many windows state each figure with a flag; the page of the machine names it.",
)

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
    Dashboard(
        "figures",
        "Joulemark: live figures",
        "utc",
        "kpi_.+",
        (COMPRESSOR, FURNACE),
        (
            Panel(
                *_FIGURE,
                "short",
                {
                    "value": figure(),
                    "value - U (k = 2)": figure("-2"),
                    "value + U (k = 2)": figure("2"),
                },
                step="15m",
                width=24,
            ),
            Panel(
                *_ENERGIES, "watth", {"{{point}}": stated(STATE_ENERGIES)}, step="1h", form="bars"
            ),
            Panel(*_TIMES, "s", {"{{point}}": stated(STATE_TIMES)}, step="1h", form="bars"),
            Panel(*_FLAGGED, "short", {"{{point}}": flagged()}, step="1h", form="bars"),
            QUALITY,
        ),
        figure="energy_wh",
    ),
    Dashboard(
        "figures-influxql",
        "Joulemark: live figures (InfluxDB)",
        "utc",
        "kpi_.+",
        (COMPRESSOR, FURNACE),
        (
            Panel(
                *_FIGURE,
                "short",
                {"value": selected('last("value")', "\"point\" = 'kpi_$figure'")},
                step="15m",
            ),
            Panel(
                _SPREAD,
                "Of the same figure, in the same unit; nothing is shown where it is not known.",
                "short",
                {"u": selected('last("value")', "\"point\" = 'kpi_u_$figure'")},
                step="15m",
            ),
            Panel(
                *_ENERGIES,
                "watth",
                {
                    "$tag_point": selected(
                        'sum("value")', f'"point" =~ /^{STATE_ENERGIES}$/', by_point=True
                    )
                },
                step="1h",
                form="bars",
            ),
            Panel(
                *_TIMES,
                "s",
                {
                    "$tag_point": selected(
                        'sum("value")', f'"point" =~ /^{STATE_TIMES}$/', by_point=True
                    )
                },
                step="1h",
                form="bars",
            ),
            Panel(
                *_FLAGGED,
                "short",
                {
                    "$tag_point": selected(
                        'count("quality")',
                        '"point" =~ /^kpi_/ AND "point" !~ /^kpi_u_/ AND "quality" > 0',
                        by_point=True,
                    )
                },
                step="1h",
                form="bars",
            ),
        ),
        figure="energy_wh",
        source=INFLUX,
    ),
)


_SAVED = (
    "Avoided energy since the measure, with its interval",
    "The model's running sum up to each day; the page of the project names policy and confidence.",
    "watth",
)
_DAYS = (
    "Predicted and measured by day",
    "Of the days that are in the saving; a day that is left out has no bar.",
    "watth",
)
_AVOIDED = (
    "Avoided CO2e since the measure",
    "The running sum, each day with the emission factor of that day. Without interval.",
    "masskg",
)
_BAND = ("upper", "lower")
_OF_DEMO = (View("gwangyang", "", "2018-07-01T00:00:00+09:00", "2019-01-01T00:00:00+09:00"),)

SAVINGS = (
    Dashboard(
        "savings",
        "Joulemark: savings",
        "browser",
        "",
        _OF_DEMO,
        (
            Panel(
                *_SAVED,
                {
                    "saving": day_of("cumulative_wh"),
                    "upper": day_of("cumulative_wh", "1"),
                    "lower": day_of("cumulative_wh", "-1"),
                },
                step="1d",
                width=24,
                band=_BAND,
            ),
            Panel(
                *_DAYS,
                {"predicted": days_of("predicted_wh"), "measured": days_of("measured_wh")},
                step="1d",
                form="bars",
            ),
            Panel(*_AVOIDED, {"avoided": day_of("co2e_kg")}, step="1d"),
        ),
        project="coil-line-day-shift",
    ),
    Dashboard(
        "savings-influxql",
        "Joulemark: savings (InfluxDB)",
        "browser",
        "",
        _OF_DEMO,
        (
            Panel(
                *_SAVED,
                {
                    "saving": of_days('last("cumulative_wh")'),
                    "upper": of_days('last("cumulative_wh") + last("half_width_wh")'),
                    "lower": of_days('last("cumulative_wh") - last("half_width_wh")'),
                },
                step="1d",
                width=24,
                band=_BAND,
            ),
            Panel(
                *_DAYS,
                {
                    "predicted": of_days('sum("predicted_wh")'),
                    "measured": of_days('sum("measured_wh")'),
                },
                step="1d",
                form="bars",
            ),
            Panel(*_AVOIDED, {"avoided": of_days('last("co2e_kg")')}, step="1d"),
        ),
        source=INFLUX,
        project="coil-line-day-shift",
    ),
)


def written() -> dict[str, str]:
    """Every file by its name."""
    all_of_them = (*DASHBOARDS, *SAVINGS)
    return {
        f"{dashboard.name}.json": json.dumps(document(dashboard, all_of_them), indent=2) + "\n"
        for dashboard in all_of_them
    }


if __name__ == "__main__":
    for name, text in written().items():
        (FOLDER / name).write_text(text, "utf-8")
