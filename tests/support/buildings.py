"""A building whose energy follows the weather, and plans that name their model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from joulemark_agent.contract.profile import Profile
from joulemark_gateway.evidence.history import DeviceHistory
from joulemark_gateway.measure.project import Project
from joulemark_gateway.measure.qr import Array
from support.histories import HOUR_US, METER, SITE, history, plan, total

WEATHER = "weather-station"
EVENT = {
    "id": "shift", "cause": "a second shift was tried out", "evidence_sha256": "0" * 64,
    "author": "J. Kim", "approval": "A. Park",
}  # fmt: skip


def planned(family: str = "production", **changes: Any) -> Project:
    """The plan of a plant, or with changes of anything, that names its model."""
    return plan(model={"family": family}, **changes)


def thermometer(
    kelvin: ArrayLike, period_us: int = HOUR_US, lost: Sequence[int] = ()
) -> DeviceHistory:
    """A gauge that is read every period; the slots that are lost have no reading."""
    values = np.asarray(kelvin, np.float64)
    kept = np.setdiff1d(np.arange(values.size), np.array(lost, np.int64))
    profile = Profile.model_validate(
        {
            "model": "thermometer",
            "kind": "gas_meter",
            "protocol": "modbus",
            "source": "made for a test, no device",
            "confidence": "bench",
            "synthetic": False,
            "points": [{"name": "outdoor_k", "table": "holding", "address": 0, "type": "float32"}],
            "golden": [{"point": "outdoor_k", "words": [0x4396, 0], "value": 300}],
        }
    )
    return DeviceHistory(
        site=SITE,
        device=WEATHER,
        epoch=1,
        clock="system",
        profile=profile,
        period_us=period_us,
        slot_us=kept * period_us,
        counters={},
        gauges={"outdoor_k": values[kept]},
        good={"outdoor_k": np.ones(kept.size, np.bool_)},
        unsynchronised=np.zeros(kept.size, np.bool_),
        gaps=(),
        sources=np.arange(kept.size),
        documents={},
    )


def weather_driver() -> dict[str, Any]:
    """The thermometer as a driver."""
    return {"device": WEATHER, "point": "outdoor_k", "name": "outdoors", "synthetic": False}


def heated(
    days: int = 730, saved_ratio: float = 0.1
) -> tuple[dict[str, DeviceHistory], Array, Array]:
    """A building that is heated below 15 C, for two years from 1970: hours and days."""
    draw = np.random.default_rng(4)
    hours = np.arange(days * 24 + 1)
    celsius = 11 - 10 * np.cos(hours / 24 * 2 * np.pi / 365) + 4 * np.sin(hours * 2 * np.pi / 24)
    day_mean = (celsius[:-1] + celsius[1:]).reshape(days, 24).sum(axis=1) / 48
    energy = 400_000 + 30_000 * np.maximum(15 - day_mean, 0) + draw.normal(0, 8_000, days)
    energy[days // 2 :] *= 1 - saved_ratio
    found = {
        METER: history(METER, "energy_wh", total(np.rint(energy).astype(np.int64))),
        WEATHER: thermometer(celsius + 273.15),
    }
    return found, energy, day_mean


def heated_plan(**changes: Any) -> Project:
    """The plan of that building."""
    return planned(
        "temperature",
        **{
            "drivers": [weather_driver()],
            "baseline": {"from": "1970-01-01", "to": "1971-01-01"},
            "reporting": {"from": "1971-01-01", "to": "1972-01-01"},
            "measure": {"name": "m", "description": "d", "implemented": "1971-01-01"},
            "sufficiency_policy": "caltrack-daily-2.0",
            **changes,
        },
    )
