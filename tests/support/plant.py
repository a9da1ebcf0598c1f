"""A small plant with a plan: 66 + 30 days of readings, one gap, one hole, one driver."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Any

from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.reading import Gap, Reading
from support.evidence import (
    COUNTER,
    METER,
    Documents,
    counter_readings,
    documents,
    meter_readings,
    with_gap,
)

BASELINE_DAYS, REPORTING_DAYS, SAVED = 66, 30, 0.08
HOLE_DAY, LOST_DAY, DOUBT_DAY = 20, 80, 30  # of the hole, the gap, and the doubtful power


@dataclass(frozen=True)
class Plant:
    """Documents, readings by device, and the plan."""

    site: Documents
    results: Mapping[str, Sequence[Reading | Gap]]
    plan: bytes


def plan_mapping(**changes: Any) -> dict[str, Any]:
    """The plan of the small plant, with changes."""
    first = date(2018, 1, 1)
    middle = first + timedelta(days=BASELINE_DAYS)
    end = middle + timedelta(days=REPORTING_DAYS)
    return {
        "id": "pump-house",
        "title": "Pump house: variable speed drives",
        "site": "gwangyang",
        "measure": {
            "name": "Variable speed drives",
            "description": "Two pumps run at the speed that is needed.",
            "implemented": middle.isoformat(),
        },
        "time_zone": "Asia/Seoul",
        "energy": {"device": METER, "point": "energy_wh"},
        "drivers": [
            {
                "device": COUNTER,
                "point": "production_kg",
                "name": "production",
                "synthetic": True,
            }
        ],
        "baseline": {"from": first.isoformat(), "to": middle.isoformat()},
        "reporting": {"from": middle.isoformat(), "to": end.isoformat()},
        "unit": "day",
        "production_cycle_days": 7,
        "sufficiency_policy": "iso50006-production",
        "confidence": "0.9",
        "creditable_policy": "lower-bound-one-sided-95",
        "factors": {"set": "korea", "rule_set": "ESG", "jurisdiction": "KR"},
        **changes,
    }


def plant(*, period_s: int = 10_800, clock: str = "simulated", **changes: Any) -> Plant:
    """The small plant; the same arguments give the same bytes."""
    site = documents(period_s=period_s, clock=clock)
    draw = random.Random(7)
    per_day = 86_400 // period_s
    made_kg, energy_wh = [], []
    for day in range(BASELINE_DAYS + REPORTING_DAYS):
        busy = 0.25 if day % 7 in (5, 6) else 0.6 + 0.4 * draw.random()
        for _ in range(per_day):
            kg = int(busy * draw.uniform(8_000, 12_000) / per_day * 24)
            wh = (9_000 * 24 / per_day + 10 * kg) * draw.gauss(1, 0.04)
            made_kg.append(kg)
            energy_wh.append(round(wh * (1 - SAVED) if day >= BASELINE_DAYS else wh))
    meter = meter_readings(
        site,
        energy_wh,
        frozen=[HOLE_DAY * per_day + 1],
        doubtful=[DOUBT_DAY * per_day + 1],
    )
    results = {
        METER: with_gap(meter, LOST_DAY * per_day + 2, 2),
        COUNTER: counter_readings(site, made_kg),
    }
    return Plant(site, results, document_bytes(plan_mapping(**changes)))


@cache
def small() -> Plant:
    """The plant most tests share; take care to copy before changing anything."""
    return plant()
