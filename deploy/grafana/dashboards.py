"""What is shown: ten dashboards of the plant and its evidence, and one of any live figure.

Every quantity is a query of `queries.py` over what docs/series.md documents. Amounts are sums of
windows, never max - min of a counter, which loses what lies between two windows.
"""

from __future__ import annotations

from dataclasses import replace

from panels import DAY, Dashboard, Panel, View
from queries import US_PER_H, Query, values_of

STEEL = View(
    "gwangyang",
    "2018-01-01T00:00:00+09:00",
    "2018-02-01T00:00:00+09:00",
    "Asia/Seoul",
    {"device": "main-meter"},
)
HALL = "equipment-hall"
COMPRESSOR = View(
    HALL,
    "2022-05-01T06:00:00+00:00",
    "2022-05-08T00:00:00+00:00",
    "UTC",
    {"device": "compressor-a1"},
)
RAIL = View(
    HALL,
    "2020-02-01T00:00:00+00:00",
    "2020-02-01T02:45:00+00:00",
    "UTC",
    {"device": "rail-compressor"},
)
INVERTER = View(
    HALL,
    "2022-01-02T00:00:00+00:00",
    "2022-01-07T00:00:00+00:00",
    "UTC",
    {"device": "pv-inverter"},
)
FURNACE = View(
    HALL, "2022-05-09T00:00:00+00:00", "2022-05-11T00:00:00+00:00", "UTC", {"device": "furnace"}
)
PROJECT = View(
    "gwangyang",
    "2018-07-01T00:00:00+09:00",
    "2019-01-01T00:00:00+09:00",
    "Asia/Seoul",
    {"project": "coil-line-day-shift"},
)

SITE = {"site": "$site"}
HERE = {**SITE, "device": "$device"}
ENERGY = "energy_wh"
KNOWN = ("covered_us", "estimated_us")
PASSED = (*KNOWN, "missing_us")
BELOW_IS_BAD = ((None, "red"), (0.95, "orange"), (0.99, "green"))
ANY_IS_BAD = ((None, "green"), (1, "red"))
PLAIN = ((None, "blue"),)
UNMEASURED = "Nothing is known of the energy of this time: that is not 0."


def _of_demo(view: View) -> View:
    """The same of the whole site."""
    return replace(view, others={})


def counted(point: str, **more: object) -> Query:
    """What a counter of the device counted."""
    return Query("quarter", "sum", ("amount",), where={**HERE, "point": point}, **more)  # type: ignore[arg-type]


def by_day(point: str, *fields: str, **more: object) -> Query:
    """The same by local day."""
    return Query("day", "sum", fields, where={**HERE, "point": point}, **more)  # type: ignore[arg-type]


def mean(points: str) -> Query:
    """The mean of the readings that have a value, by point."""
    return Query("point", "mean", ("value",), where={**HERE, "point": f"=~{points}"}, by=("point",))


def stated(points: str) -> Query:
    """The sum of what the machine's agent states of windows, by figure."""
    return Query("point", "sum", ("value",), where={**HERE, "point": f"=~{points}"}, by=("point",))


def latest(point: str) -> Query:
    """What was stated last."""
    return Query("point", "last", ("value",), where={**HERE, "point": point}, by=("point",))


POINT, DEVICE = "{{point}}", "{{device}}"
NOT_GOOD = Panel(
    "Readings that are not good",
    "How many readings of each point are not good: docs/series.md has the codes. Nothing is "
    "shown where "
    "all of them are good, and where nothing was read.",
    "short",
    {
        POINT: Query(
            "point",
            "not_zero",
            ("quality",),
            where={**HERE, "point": "!~kpi_.+"},
            by=("point",),
        )
    },
    step="1h",
    form="bars",
    nothing="Every reading of this time is good, or nothing was read.",
    is_empty=True,
)
STATE_ENERGIES = "kpi_(off|unload|load|running|idle|process|electricity|gas|net_ac)_wh"
STATE_TIMES = "kpi_(off|unload|load|running|unknown|idle|process|heat|soak|cool|cold|clipped)_s"
UNSTATED = "The agent states no such figure of this machine in this time."
BY_STATE = (
    Panel(
        "Time by state",
        "Sums over the windows of which the agent states figures that end in the step.",
        "s",
        {POINT: stated(STATE_TIMES)},
        step="1h",
        form="bars",
        nothing=UNSTATED,
    ),
    Panel(
        "Energy by state",
        "Likewise; of a furnace by source. Where a device states no power there is none.",
        "watth",
        {POINT: stated(STATE_ENERGIES)},
        step="1h",
        form="bars",
        nothing=UNSTATED,
        only=("compressor-a1", "furnace"),
    ),
)
MEASURED = Panel(
    "Measured share",
    "The part of the time that was measured from slot to slot: over a gap, energy is known as a "
    "sum "
    "or is missing.",
    "percentunit",
    {"measured": Query("quarter", "sum", ("covered_us",), PASSED, where={**HERE, "point": ENERGY})},
    form="number",
    width=6,
    steps=BELOW_IS_BAD,
    nothing=UNMEASURED,
)
USED = {**SITE, "point": ENERGY}
BY_DEVICE = ("device",)

SITE_OVERVIEW = Dashboard(
    "site",
    "site overview",
    (_of_demo(STEEL), _of_demo(FURNACE)),
    (
        Panel(
            "Energy of the range",
            "By device: a meter and the machines behind it are never added.",
            "watth",
            {DEVICE: Query("quarter", "sum", ("amount",), where=USED, by=BY_DEVICE)},
            form="number",
            width=6,
            steps=PLAIN,
            nothing=UNMEASURED,
        ),
        Panel(
            "CO2e of the range",
            "By device, each quarter-hour with the factor that the approved documents name for "
            "its day.",
            "masskg",
            {DEVICE: Query("co2e", "sum", ("co2e_kg",), where=SITE, by=BY_DEVICE)},
            form="number",
            width=6,
            steps=PLAIN,
            nothing="No energy with an emission factor is known of this time.",
        ),
        Panel(
            "Highest quarter-hour",
            "The highest mean power of a quarter-hour of UTC, by device.",
            "watt",
            {DEVICE: Query("quarter", "max", ("rate_per_h",), where=USED, by=BY_DEVICE)},
            form="number",
            width=6,
            steps=PLAIN,
            nothing=UNMEASURED,
        ),
        Panel(
            "Slots without a reading",
            "Expected less received, by device; the quality dashboard says why.",
            "short",
            {DEVICE: Query("slot", "sum", ("expected", "-received"), where=SITE, by=BY_DEVICE)},
            form="number",
            width=6,
            steps=ANY_IS_BAD,
            nothing="No slot of this time is accounted for: no evidence has arrived.",
        ),
        Panel(
            "Power",
            "The mean by the energy counters, over the time that is known.",
            "watt",
            {
                DEVICE: Query(
                    "quarter", "sum", ("amount",), KNOWN, US_PER_H, where=USED, by=BY_DEVICE
                )
            },
            nothing=UNMEASURED,
        ),
        Panel(
            "CO2e by day",
            "Days of the dashboard's time zone.",
            "masskg",
            {DEVICE: Query("co2e", "sum", ("co2e_kg",), where=SITE, by=BY_DEVICE)},
            step=DAY,
            form="bars",
            nothing="No energy with an emission factor is known of this time.",
        ),
        Panel(
            "Newest evidence",
            "When the newest batch of the range was cosigned, by device: wall time, also of a "
            "replay.",
            "dateTimeFromNow",
            {DEVICE: Query("batch", "max", ("cosigned_s",), scale=1000, where=SITE, by=BY_DEVICE)},
            form="number",
            width=24,
            steps=PLAIN,
            nothing="No cosigned batch of this time.",
        ),
    ),
    {"site": values_of("site", "batch", {})},
)

ENERGY_AND_DEMAND = Dashboard(
    "energy",
    "energy and demand",
    (STEEL, FURNACE),
    (
        Panel(
            "Energy of the range",
            "The sum of the counter over the quarter-hours that begin in the range.",
            "watth",
            {"energy": counted(ENERGY)},
            form="number",
            width=6,
            steps=PLAIN,
            nothing=UNMEASURED,
        ),
        MEASURED,
        Panel(
            "Highest quarter-hour",
            "The highest mean power of a quarter-hour of UTC: what a demand charge is about.",
            "watt",
            {"demand": Query("quarter", "max", ("rate_per_h",), where={**HERE, "point": ENERGY})},
            form="number",
            width=6,
            steps=PLAIN,
            nothing=UNMEASURED,
        ),
        Panel(
            "Energy known as a sum only",
            "Time between two readings that are further apart than they should be.",
            "µs",
            {"time": Query("quarter", "sum", ("estimated_us",), where={**HERE, "point": ENERGY})},
            form="number",
            width=6,
            steps=ANY_IS_BAD,
            nothing=UNMEASURED,
        ),
        Panel(
            "Demand",
            "The mean power of each quarter-hour by the energy counter, over the time that is "
            "known.",
            "watt",
            {"demand": counted(ENERGY, bottom=KNOWN, scale=US_PER_H)},
            nothing=UNMEASURED,
        ),
        Panel(
            "Power as read",
            "The mean of what the device states of itself, where it states power.",
            "watt",
            {POINT: mean("power_w")},
            nothing="This device states no power.",
            only=("main-meter",),
        ),
        Panel(
            "Energy by day",
            "Days of the site. Over a range of years a bar is several days.",
            "watth",
            {"energy": by_day(ENERGY, "amount")},
            step=DAY,
            form="bars",
            nothing=UNMEASURED,
        ),
        Panel(
            "Highest quarter-hour of each day",
            "Days of the dashboard's time zone.",
            "watt",
            {"demand": Query("quarter", "max", ("rate_per_h",), where={**HERE, "point": ENERGY})},
            step=DAY,
            form="bars",
            nothing=UNMEASURED,
        ),
    ),
    {
        "site": values_of("site", "point", {"point": ENERGY}),
        "device": values_of("device", "point", {"site": "$site", "point": ENERGY}),
    },
)

COMPRESSOR_ROOM = Dashboard(
    "compressor",
    "compressor room",
    (COMPRESSOR, RAIL),
    (
        Panel(
            "Load",
            "Electric power, or the motor's current where the device states no power.",
            "watt",
            {POINT: mean("power_w|motor_current_a")},
            units={"motor_current_a": "amp"},
        ),
        Panel(
            "Pressure",
            "Gauge pressure, above the ambient.",
            "pressurepa",
            {POINT: mean(".+_gauge_pressure_pa")},
        ),
        *BY_STATE,
        Panel(
            "Fall of pressure by leaks",
            "While nothing is delivered, as the agent states it of each window; only where the "
            "machine is "
            "the only source of its air.",
            "suffix:Pa/s",
            {POINT: latest("kpi_leak_pa_s")},
            nothing="No leak can be told: see the findings on the page of the machine.",
            only=("rail-compressor",),
        ),
        NOT_GOOD,
    ),
    {
        "site": values_of("site", "point", {"point": "=~.+_gauge_pressure_pa"}),
        "device": values_of(
            "device", "point", {"site": "$site", "point": "=~.+_gauge_pressure_pa"}
        ),
    },
)

PHOTOVOLTAICS = Dashboard(
    "photovoltaics",
    "photovoltaics",
    (INVERTER,),
    (
        Panel(
            "AC and DC power",
            "Sun and no AC power is a fault of the inverter or the grid.",
            "watt",
            {POINT: mean("ac_power_w|dc_power_w")},
        ),
        Panel(
            "Irradiance",
            "In the plane of the modules.",
            "Wm2",
            {POINT: mean("irradiance_w_m2")},
        ),
        Panel(
            "Generated by day",
            "What the inverter's counter counted. It is generation: no CO2e is attached to it.",
            "watth",
            {"generated": by_day("generated_wh", "amount")},
            step=DAY,
            form="bars",
        ),
        Panel(
            "AC energy over DC energy",
            "As the agent states it of each day.",
            "percentunit",
            {POINT: latest("kpi_efficiency_ratio")},
            step=DAY,
            form="bars",
            nothing=UNSTATED,
        ),
        Panel(
            "DC voltage and current",
            "Their product is the DC power.",
            "volt",
            {POINT: mean("dc_voltage_v|dc_current_a")},
            units={"dc_current_a": "amp"},
        ),
        NOT_GOOD,
    ),
    {
        "site": values_of("site", "point", {"point": "generated_wh"}),
        "device": values_of("device", "point", {"site": "$site", "point": "generated_wh"}),
    },
)

HEAT = Dashboard(
    "furnace",
    "furnace and heat treatment",
    (FURNACE,),
    (
        Panel(
            "Temperature",
            "The furnace of the demo is SYNTHETIC.",
            "kelvin",
            {POINT: mean("temperature_k|set_point_k")},
            step="1m",
        ),
        Panel(
            "Door",
            "1 is open; in between, open for that part of the step.",
            "percentunit",
            {POINT: mean("door_state")},
            step="1m",
        ),
        Panel(
            "Gas by hour",
            "At 0 degrees Celsius and 101,325 Pa.",
            "dm3",
            {"gas": counted("gas_dm3")},
            step="1h",
            form="bars",
        ),
        Panel(
            "Electricity by hour",
            "Fans and controls.",
            "watth",
            {"electricity": counted(ENERGY)},
            step="1h",
            form="bars",
        ),
        *BY_STATE,
        NOT_GOOD,
    ),
    {
        "site": values_of("site", "point", {"point": "set_point_k"}),
        "device": values_of("device", "point", {"site": "$site", "point": "set_point_k"}),
    },
)

NO_CARBON = "No energy with an emission factor is known of this time."
CO2E = Dashboard(
    "co2e",
    "CO2e",
    (_of_demo(STEEL), _of_demo(FURNACE)),
    (
        Panel(
            "CO2e of the range",
            "Scope 2 of the energy that meters counted, by device and factor: summed first, "
            "rounded last. "
            "Energy that is made, and that of devices without a counter, is not in it.",
            "masskg",
            {
                "{{device}}, {{factor}}": Query(
                    "co2e", "sum", ("co2e_kg",), where=SITE, by=("device", "factor")
                )
            },
            form="number",
            steps=PLAIN,
            nothing=NO_CARBON,
        ),
        Panel(
            "Factor",
            "The newest of the range, by its id in the approved documents.",
            "suffix: kg/kWh",
            {
                "{{factor}}": Query(
                    "co2e", "max", ("factor_kg_per_kwh",), where=SITE, by=("factor",)
                )
            },
            form="number",
            width=6,
            steps=PLAIN,
            nothing=NO_CARBON,
        ),
        Panel(
            "Energy with a factor",
            "What the CO2e is of; the energy dashboard has all of it.",
            "watth",
            {DEVICE: Query("co2e", "sum", ("energy_wh",), where=SITE, by=BY_DEVICE)},
            form="number",
            width=6,
            steps=PLAIN,
            nothing=NO_CARBON,
        ),
        Panel(
            "CO2e by hour",
            "By device: a meter and the machines behind it are never added.",
            "masskg",
            {DEVICE: Query("co2e", "sum", ("co2e_kg",), where=SITE, by=BY_DEVICE)},
            step="1h",
            form="bars",
            nothing=NO_CARBON,
        ),
        Panel(
            "CO2e by day",
            "Days of the dashboard's time zone.",
            "masskg",
            {DEVICE: Query("co2e", "sum", ("co2e_kg",), where=SITE, by=BY_DEVICE)},
            step=DAY,
            form="bars",
            nothing=NO_CARBON,
        ),
    ),
    {"site": values_of("site", "batch", {})},
)

NO_SLOTS = "No slot of this time is accounted for: no evidence has arrived."
SLOTS_OF = {**HERE}
QUALITY = Dashboard(
    "quality",
    "data quality and gaps",
    (STEEL, COMPRESSOR, FURNACE, INVERTER),
    (
        Panel(
            "Slots with a reading",
            "Received over expected: expected is counted from the grid of slots alone.",
            "percentunit",
            {"received": Query("slot", "sum", ("received",), ("expected",), where=HERE)},
            form="number",
            width=6,
            steps=BELOW_IS_BAD,
            nothing=NO_SLOTS,
        ),
        Panel(
            "Slots expected",
            "How many were due in the range, as far as evidence has arrived.",
            "short",
            {"expected": Query("slot", "sum", ("expected",), where=HERE)},
            form="number",
            width=6,
            steps=PLAIN,
            nothing=NO_SLOTS,
        ),
        Panel(
            "Slots without a reading",
            "Expected less received.",
            "short",
            {"missing": Query("slot", "sum", ("expected", "-received"), where=HERE)},
            form="number",
            width=6,
            steps=ANY_IS_BAD,
            nothing=NO_SLOTS,
        ),
        Panel(
            "Readings by a clock that was not set",
            "Their times may be wrong; their order is not.",
            "short",
            {"unsynchronised": Query("slot", "sum", ("unsynchronised",), where=HERE)},
            form="number",
            width=6,
            steps=ANY_IS_BAD,
            nothing=NO_SLOTS,
        ),
        Panel(
            "Slots",
            "Expected and received in each step.",
            "short",
            {
                "expected": Query("slot", "sum", ("expected",), where=HERE),
                "received": Query("slot", "sum", ("received",), where=HERE),
            },
            step="1h",
            nothing=NO_SLOTS,
        ),
        Panel(
            "Slots without a reading, by cause",
            "As the agent signed it; `unaccounted` is what no leaf says anything of.",
            "short",
            {"{{cause}}": Query("gap", "sum", ("slots",), where=HERE, by=("cause",))},
            step="1h",
            form="bars",
            nothing="No gap: every slot that evidence has arrived of has a reading.",
            is_empty=True,
        ),
        Panel(
            "Time of which the energy is known",
            "By local day: measured from slot to slot, known as a sum, or missing.",
            "µs",
            {
                "measured": by_day(ENERGY, "covered_us"),
                "as a sum": by_day(ENERGY, "estimated_us"),
                "missing": by_day(ENERGY, "missing_us"),
            },
            step=DAY,
            form="bars",
            nothing="This device counts no energy.",
            only=("main-meter", "furnace"),
        ),
        NOT_GOOD,
    ),
    {
        "site": values_of("site", "batch", {}),
        "device": values_of("device", "batch", {"site": "$site"}),
    },
)

NO_BATCH = "No batch of this time is held."
EVIDENCE = Dashboard(
    "evidence",
    "evidence health",
    (_of_demo(STEEL), _of_demo(FURNACE)),
    (
        Panel(
            "Newest batch",
            "When it was cosigned, by device: wall time, also of a replay.",
            "dateTimeFromNow",
            {DEVICE: Query("batch", "max", ("cosigned_s",), scale=1000, where=SITE, by=BY_DEVICE)},
            form="number",
            steps=PLAIN,
            nothing=NO_BATCH,
        ),
        Panel(
            "Cosignatures of a batch",
            "The least of the range, by device. One is the collector's own; others are those of "
            "witnesses.",
            "short",
            {DEVICE: Query("batch", "min", ("cosignatures",), where=SITE, by=BY_DEVICE)},
            form="number",
            steps=((None, "red"), (1, "green")),
            nothing=NO_BATCH,
        ),
        Panel(
            "Size of the head",
            "Leaves of each tree after its batches; it never falls.",
            "short",
            {
                "{{device}}, epoch {{epoch}}": Query(
                    "batch", "max", ("size",), where=SITE, by=("device", "epoch")
                )
            },
            step="1h",
            nothing=NO_BATCH,
        ),
        Panel(
            "Leaves signed",
            "In the batches that end in the step.",
            "short",
            {DEVICE: Query("batch", "sum", ("leaves",), where=SITE, by=BY_DEVICE)},
            step="1h",
            form="bars",
            nothing=NO_BATCH,
        ),
        Panel(
            "Readings signed",
            "Of these leaves.",
            "short",
            {DEVICE: Query("batch", "sum", ("readings",), where=SITE, by=BY_DEVICE)},
            step="1h",
            form="bars",
            nothing=NO_BATCH,
        ),
        Panel(
            "Readings by a clock that was not set",
            "Their times may be wrong; their order is not.",
            "short",
            {DEVICE: Query("slot", "sum", ("unsynchronised",), where=SITE, by=BY_DEVICE)},
            step="1h",
            form="bars",
            steps=ANY_IS_BAD,
            nothing=NO_SLOTS,
        ),
    ),
    {"site": values_of("site", "batch", {})},
)

OF_PROJECT = {**SITE, "project": "$project"}
NOT_RUN = "No project here runs, or none has a saving yet."


def day_of(*fields: str) -> Query:
    """What a project's saving says of the last day that begins in the step."""
    return Query("saving", "last", fields, where=OF_PROJECT)


SAVING = Dashboard(
    "savings",
    "saving",
    (PROJECT,),
    (
        Panel(
            "Avoided energy since the measure, with its interval",
            "The model's running sum up to each day; the page of the project names policy and "
            "confidence.",
            "watth",
            {
                "saving": day_of("cumulative_wh"),
                "upper": day_of("cumulative_wh", "half_width_wh"),
                "lower": day_of("cumulative_wh", "-half_width_wh"),
            },
            step=DAY,
            width=24,
            band=("upper", "lower"),
            nothing=NOT_RUN,
        ),
        Panel(
            "Predicted and measured by day",
            "Of the days that are in the saving; a day that is left out has no bar.",
            "watth",
            {
                "predicted": Query("saving", "sum", ("predicted_wh",), where=OF_PROJECT),
                "measured": Query("saving", "sum", ("measured_wh",), where=OF_PROJECT),
            },
            step=DAY,
            form="bars",
            nothing=NOT_RUN,
        ),
        Panel(
            "Avoided CO2e since the measure",
            "The running sum, each day with the emission factor of that day. Without interval.",
            "masskg",
            {"avoided": day_of("co2e_kg")},
            step=DAY,
            nothing=NOT_RUN,
        ),
    ),
    {
        "site": values_of("site", "saving", {}),
        "project": values_of("project", "saving", {"site": "$site"}),
    },
)

EVERY = ("site", "project")
PROGRAMME = Dashboard(
    "programme",
    "programme",
    (replace(PROJECT, others={}),),
    (
        Panel(
            "Avoided energy of all projects",
            "The sum of the newest running sums of the range. Projects that share a meter are "
            "not told apart "
            "here: the programme's ledger does that.",
            "watth",
            {"saving": Query("saving", "last", ("cumulative_wh",), of_each=EVERY)},
            form="number",
            width=8,
            steps=PLAIN,
            nothing=NOT_RUN,
        ),
        Panel(
            "Half width, added",
            "The sum of the half widths: what the interval is if the errors of all projects go "
            "together.",
            "watth",
            {"half width": Query("saving", "last", ("half_width_wh",), of_each=EVERY)},
            form="number",
            width=8,
            steps=PLAIN,
            nothing=NOT_RUN,
        ),
        Panel(
            "Avoided CO2e of all projects",
            "The sum of the newest running sums of the range.",
            "masskg",
            {"avoided": Query("saving", "last", ("co2e_kg",), of_each=EVERY)},
            form="number",
            width=8,
            steps=PLAIN,
            nothing=NOT_RUN,
        ),
        Panel(
            "Avoided energy by project",
            "The running sum up to each day.",
            "watth",
            {
                "{{site}}, {{project}}": Query("saving", "last", ("cumulative_wh",), by=EVERY),
            },
            step=DAY,
            width=24,
            nothing=NOT_RUN,
        ),
    ),
    {},
)

FIGURES = Dashboard(
    "figures",
    "live figures",
    (
        replace(COMPRESSOR, others={**COMPRESSOR.others, "figure": "energy_wh"}),
        replace(FURNACE, others={**FURNACE.others, "figure": "electricity_wh"}),
    ),
    (
        Panel(
            "Figure",
            "As the machine's agent states it for each window; in the unit that its name ends in.",
            "short",
            {"{{point}}": latest("kpi_$figure")},
            nothing=UNSTATED,
        ),
        Panel(
            "Standard uncertainty",
            "Of the same figure, in the same unit; nothing is shown where it is not known.",
            "short",
            {"{{point}}": latest("kpi_u_$figure")},
            nothing="The uncertainty of this figure is not known.",
            is_empty=True,
        ),
        Panel(
            "Figures that something limits",
            "How many windows state each figure with a flag; the page of the machine names it.",
            "short",
            {
                POINT: Query(
                    "point",
                    "not_zero",
                    ("quality",),
                    where={**HERE, "point": ("=~kpi_.+", "!~kpi_u_.+")},
                    by=("point",),
                )
            },
            step="1h",
            form="bars",
            nothing="Nothing limits the figures of this time, or none is stated.",
            is_empty=True,
        ),
        *BY_STATE,
    ),
    {
        "site": values_of("site", "point", {"point": "=~kpi_.+"}),
        "device": values_of("device", "point", {"site": "$site", "point": "=~kpi_.+"}),
        "figure": values_of(
            "point", "point", {"site": "$site", "device": "$device", "point": "=~kpi_.+"}
        ),
    },
    {"figure": "/^kpi_(?!u_)(.+)$/"},
)

DASHBOARDS = (
    SITE_OVERVIEW,
    COMPRESSOR_ROOM,
    PHOTOVOLTAICS,
    HEAT,
    ENERGY_AND_DEMAND,
    CO2E,
    QUALITY,
    EVIDENCE,
    SAVING,
    PROGRAMME,
    FIGURES,
)
