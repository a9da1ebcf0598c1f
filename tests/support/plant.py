"""A small plant with a plan: 70 + 70 days of hourly readings, one gap, one hole, one driver."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.reading import Gap, Reading
from joulemark_gateway.evidence.history import parse_tree
from joulemark_gateway.reports.issue import Witnessed
from support.evidence import (
    COUNTER,
    METER,
    Documents,
    build_tree,
    counter_readings,
    documents,
    leaves_of,
    meter_readings,
    with_gap,
)

DAYS, SAVED = 70, 0.08
HOLE, LOST = 24 * 20 + 5, 24 * 100 + 7  # interval of the hole; reading that the gap replaces


@dataclass(frozen=True)
class Plant:
    """Documents, readings by device, and the plan."""

    site: Documents
    results: Mapping[str, Sequence[Reading | Gap]]
    plan: bytes


def plan_mapping(**changes: Any) -> dict[str, Any]:
    """The plan of the small plant, with changes."""
    first = date(2018, 1, 1)
    middle, end = first + timedelta(days=DAYS), first + timedelta(days=2 * DAYS)
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


def plant(*, period_s: int = 3600, clock: str = "simulated", **changes: Any) -> Plant:
    """The small plant; the same arguments give the same bytes."""
    site = documents(period_s=period_s, clock=clock)
    draw = random.Random(7)
    per_day = 86_400 // period_s
    made_kg, energy_wh = [], []
    for day in range(2 * DAYS):
        busy = 0.25 if day % 7 in (5, 6) else 0.6 + 0.4 * draw.random()
        for _ in range(per_day):
            kg = int(busy * draw.uniform(8_000, 12_000) / per_day * 24)
            wh = (9_000 * 24 / per_day + 10 * kg) * draw.gauss(1, 0.04)
            made_kg.append(kg)
            energy_wh.append(round(wh * (1 - SAVED) if day >= DAYS else wh))
    meter = meter_readings(site, energy_wh, frozen=[HOLE])
    results = {METER: with_gap(meter, LOST, 2), COUNTER: counter_readings(site, made_kg)}
    return Plant(site, results, document_bytes(plan_mapping(**changes)))


def witnessed(batches: Sequence[Batch]) -> Witnessed:
    """The batches of one device as a tree and its notes."""
    return parse_tree(leaves_of(batches)), [batch.checkpoint for batch in batches]


def trees_of(source: Plant) -> list[Witnessed]:
    """The signed evidence of the plant, device by device."""
    return [
        witnessed(build_tree(source.site, device, results))
        for device, results in source.results.items()
    ]
