"""Machines of every kind over some hours, with what their agent states: evidence, series, pages."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

from joulemark_agent.figures import VERSION
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.series.embedded import EmbeddedSeries
from joulemark_gateway.series.mirror import catch_up
from support.book import NOW_US, Book, registry
from support.evidence import (
    KEYS,
    START_US,
    Documents,
    Leaf,
    documents,
    leaf_groups,
    reading,
    seal,
)
from support.pages import State

SCREW, OVEN, ROOF, PLAIN = "screw", "oven", "roof", "plain"
HOUR_US = 3_600_000_000
PERIODS_S = {SCREW: 60, OVEN: 60, ROOF: 900, PLAIN: 60}
HOURS = {SCREW: 30, OVEN: 30, ROOF: 72, PLAIN: 6}
POINTS = {
    SCREW: ("power_w", "line_gauge_pressure_pa", "air_m3_s"),
    OVEN: ("electric_w", "temperature_k", "set_point_k", "door_state", "load_kg"),
    ROOF: ("ac_power_w", "dc_power_w", "irradiance_w_m2", "module_temperature_k"),
    PLAIN: ("power_w",),
}
KINDS = {SCREW: "air_compressor", OVEN: "furnace", ROOF: "pv_inverter", PLAIN: "air_compressor"}
SECTIONS: dict[str, dict[str, Any]] = {
    SCREW: {
        "pressure": "line_gauge_pressure_pa",
        "only_source": True,
        "flow": {"point": "air_m3_s", "reference": "fad"},
        "capacity_m3_s": "0.1",
        "control": {
            "type": "load_unload",
            "full_load_w": "40000",
            "no_load_w": "12000",
            "storage_m3": "2",
            "full_load_gauge_pa": "650000",
            "most_gauge_pa": "750000",
        },
    },
    OVEN: {"electricity": "electric_w", "mass": "load_kg"},
    ROOF: {"dc_peak_w": "10000", "gamma_per_k": "-0.004", "ac_limit_w": "6720"},
    PLAIN: {},
}


def site_documents() -> Documents:
    """The four machines beside the virtual site's meters; the plain compressor states none."""
    return documents(
        profiles={device: _profile(device) for device in POINTS},
        settings={
            device: {
                "period_s": PERIODS_S[device],
                "equipment": SECTIONS[device],
                **({} if device == PLAIN else {"figures_every_s": 3600}),
            }
            for device in POINTS
        },
    )


def _profile(device: str) -> dict[str, Any]:
    names = POINTS[device]
    return {
        "model": f"test_{device}",
        "kind": KINDS[device],
        "protocol": "modbus",
        "source": "made for a test",
        "confidence": "bench",
        "points": [
            {"name": name, "table": "holding", "address": 2 * k, "type": "float32"}
            for k, name in enumerate(names)
        ],
        "golden": [{"point": names[0], "words": [0x3F80, 0], "value": 1}],
    }


def _shown(device: str, k: int) -> dict[str, float]:
    """What the machine shows at its slot `k`."""
    hour = k * PERIODS_S[device] / 3600
    if device == SCREW:  # loaded 10 min, unloaded 20 min, off for half an hour, leaking
        minute = k % 60
        power_w = 40_000 + 10 * (k % 7) if minute < 10 else 12_000 if minute < 30 else 0
        fall_pa = 2_000 * max(minute - 30, 0)
        return dict(
            zip(POINTS[device], (power_w, 700_000 - fall_pa, 0.1 * (minute < 10)), strict=True)
        )
    if device == OVEN:  # every six hours a charge: half an hour at the door, heating, soaking
        minute = k % 360
        is_open = minute < 10
        temperature = 500 + min(max(minute - 10, 0) * 5, 400)
        power_w = 2_000 if is_open else 80_000 if temperature < 900 else 25_000
        values = (
            power_w,
            temperature,
            900,
            float(is_open),
            0 if is_open else 800 + 50 * (k // 360),
        )
        return dict(zip(POINTS[device], values, strict=True))
    if device == ROOF:
        sun_w_m2 = 900 * max(math.sin((hour % 24 - 6) / 12 * math.pi), 0.0)
        dc_w = min(9.0 * sun_w_m2, 7_000)
        return dict(zip(POINTS[device], (0.96 * dc_w, dc_w, sun_w_m2, 298.15), strict=True))
    return {"power_w": 20_000.0 + k % 7 if k % 60 < 20 else 6_000.0}


def stated(hour: int, first_seq: int, last_seq: int) -> Leaf:
    """The figures of one hour: with uncertainty, with a flag, without, and one that is absent."""

    def figure(value: str, u: str | None = None, nu: str | None = None, *flags: str) -> Leaf:
        return {"covered": "0.98", "flags": list(flags), "nu": nu, "u": u, "value": value}

    start_us = START_US + hour * HOUR_US
    return {
        "type": "figures",
        "absent": ["free_air_m3"] if hour % 5 else ["free_air_m3", "specific_power_j_m3"],
        "end": str(start_us + HOUR_US),
        "figures": {
            "energy_wh": figure(str(10_000 + 100 * hour), "50", "inf"),
            "leak_pa_s": figure("-33.3", "0.5", "12", "estimated", "newly_made"),
            "off_s": figure("1800"),
            **({"specific_power_j_m3": figure("400000", "4000", "7.5")} if hour % 5 else {}),
        },
        "findings": [],
        "first_seq": str(first_seq),
        "last_seq": str(last_seq),
        "start": str(start_us),
        "version": VERSION,
    }


def _groups(site: Documents, device: str) -> list[list[Leaf]]:
    """The leaves of each batch, the statements after the readings that close their windows."""
    profile, period_us = site.profile(device), site.period_us(device)
    count = HOURS[device] * HOUR_US // period_us + 1
    results = [
        reading(
            profile,
            device,
            START_US + k * period_us,
            {name: Decimal(repr(value)) for name, value in _shown(device, k).items()},
        )
        for k in range(count)
    ]
    groups = leaf_groups(site, device, results, KEYS, slots_per_batch=count)
    if device == PLAIN:
        return groups
    [leaves] = groups
    made: list[Leaf] = []
    first = 2  # after the two leaves that open the epoch
    for leaf in leaves:
        made.append(leaf)
        passed_us = int(leaf["slot"]) - START_US if "slot" in leaf else 0
        if passed_us and passed_us % HOUR_US == 0:
            closing = len(made) - 1
            made.append(stated(passed_us // HOUR_US - 1, first, closing))
            first = closing
    return [made]


def fill(folder: Path) -> State:
    """The evidence of the machines, and its series."""
    site = site_documents()
    book = Book(registry(devices=tuple(POINTS)))
    folder.mkdir(parents=True, exist_ok=True)
    with SqliteStore(folder / FILE) as store:
        for device in POINTS:
            for batch in seal(site, device, _groups(site, device), KEYS):
                verdict, note = book.accepted(batch)
                store.accept(verdict, note=note, received_us=NOW_US)
        series = EmbeddedSeries(folder / "series.duckdb")
        while catch_up(store, series):
            pass
        series.close()
    return State(folder, folder)
