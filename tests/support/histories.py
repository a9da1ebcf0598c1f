"""Histories of devices straight from arrays, and a plan for them: what `measure` starts from."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

import joulemark_profiles
from joulemark_agent.contract.document import parse_yaml, validate
from joulemark_agent.contract.factor import FactorSet
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import Gap
from joulemark_agent.simulate.factory import UNITS, build_factory
from joulemark_agent.simulate.recording import Recording, parse_recording
from joulemark_agent.simulate.scenario import Scenario
from joulemark_gateway.evidence.history import DeviceHistory
from joulemark_gateway.measure.project import Project

SITE, METER, COUNTER = "gwangyang", "main-meter", "production-counter"
QUARTER_US, HOUR_US, DAY_US = 900_000_000, 3_600_000_000, 86_400_000_000


def profile(name: str) -> Profile:
    """A shipped device profile."""
    return validate(
        Profile, parse_yaml(joulemark_profiles.text("devices", name), name, is_shipped=True)
    )


def factor_set(name: str = "korea") -> FactorSet:
    """A shipped set of emission factors."""
    return validate(
        FactorSet, parse_yaml(joulemark_profiles.text("factors", name), name, is_shipped=True)
    )


def counter_profile(name: str, *, synthetic: bool = False) -> Profile:
    """A device with one counter of the name."""
    return Profile.model_validate(
        {
            "model": "counter",
            "kind": "production_counter",
            "protocol": "modbus",
            "source": "made for a test, no device",
            "confidence": "bench",
            "synthetic": synthetic,
            "points": [
                {"name": name, "table": "holding", "address": 0, "type": "uint32", "counter": True}
            ],
            "golden": [{"point": name, "words": [0, 1], "value": 1}],
        }
    )


def history(
    device: str,
    point: str,
    counter: Sequence[int] | NDArray[np.int64],
    *,
    first_us: int = 0,
    period_us: int = DAY_US,
    lost: Sequence[int] = (),
    bad: Sequence[int] = (),
    cause: str = "timeout",
    clock: str = "system",
    synthetic: bool = False,
    site: str = SITE,
) -> DeviceHistory:
    """One counter read every period; `lost` slots are a gap, `bad` ones a reading without value."""
    values = np.asarray(counter, np.int64)
    slots = first_us + np.arange(values.size) * period_us
    kept = np.setdiff1d(np.arange(values.size), np.array(lost, np.int64))
    good = np.ones(values.size, np.bool_)
    good[list(bad)] = False
    return DeviceHistory(
        site=site,
        device=device,
        epoch=1,
        clock=clock,
        profile=counter_profile(point, synthetic=synthetic),
        period_us=period_us,
        slot_us=slots[kept],
        counters={point: np.where(good, values, 0)[kept]},
        gauges={},
        good={point: good[kept]},
        unsynchronised=np.zeros(kept.size, np.bool_),
        gaps=tuple(Gap(device, int(slots[k]), int(slots[k]), 1, cause) for k in lost),
        sources=np.arange(kept.size),
        documents={},
    )


def plan(**changes: Any) -> Project:
    """A plan over 70 + 70 days from 1970-01-01 UTC, one driver, by day."""
    content: dict[str, Any] = {
        "id": "pump-house",
        "title": "Pump house: variable speed drives",
        "site": SITE,
        "measure": {
            "name": "Variable speed drives",
            "description": "Two pumps run at the speed that is needed.",
            "implemented": "1970-03-12",
        },
        "time_zone": "UTC",
        "energy": {"device": METER, "point": "energy_wh"},
        "drivers": [
            {"device": COUNTER, "point": "production_kg", "name": "product", "synthetic": False}
        ],
        "baseline": {"from": "1970-01-01", "to": "1970-03-12"},
        "reporting": {"from": "1970-03-12", "to": "1970-05-21"},
        "unit": "day",
        "production_cycle_days": 7,
        "sufficiency_policy": "iso50006-production",
        "confidence": "0.9",
        "creditable_policy": "lower-bound-one-sided-95",
        "factors": {"set": "test", "rule_set": "ESG", "jurisdiction": "KR"},
    }
    return Project.model_validate({**content, **changes})


def day_of(days: int) -> str:
    """The date so many days after 1970-01-01."""
    return date.fromordinal(date(1970, 1, 1).toordinal() + days).isoformat()


def factors(*rows: tuple[str, str, str, str], boundary: str = "consumption_end") -> FactorSet:
    """A set from (factor, uncertainty ratio, valid from, valid to) rows; one row by default."""
    return FactorSet.model_validate(
        {
            "factor_set": "test",
            "factors": [
                {
                    "id": f"test-{k}",
                    "factor_kg_per_kwh": Decimal(factor),
                    "standard_uncertainty_ratio": Decimal(ratio),
                    "uncertainty_source": "made for a test",
                    "boundary": boundary,
                    "jurisdiction": "KR",
                    "rule_sets": ["ESG"],
                    "valid_from": first,
                    "valid_to": end,
                    "published": "never",
                    "source": "made for a test, no source",
                }
                for k, (factor, ratio, first, end) in enumerate(
                    rows or (("0.4173", "0.05", "1960-01-01", "2030-01-01"),)
                )
            ],
        }
    )


def total(steps: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """The counter that made these steps, from 1,000 on."""
    return np.append(0, np.cumsum(np.asarray(steps, np.int64))) + 1000


def daily_plant(
    *, days: int = 140, saved_wh: int = 0, noise_wh: float = 3000.0, seed: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Daily kg and Wh: 100 kWh and 10 Wh/kg with noise; from day 70 on, `saved_wh` a day less."""
    draw = np.random.default_rng(seed)
    kg = draw.integers(10_000, 40_000, days)
    energy = 100_000 + 10 * kg + np.rint(draw.normal(0.0, noise_wh, days)).astype(np.int64)
    energy[70:] -= saved_wh
    return kg, energy


def histories(
    kg: NDArray[np.int64], energy_wh: NDArray[np.int64], **changes: Any
) -> dict[str, DeviceHistory]:
    """Meter and counter of a daily plant; `changes` are those of the meter."""
    return {
        METER: history(METER, "energy_wh", total(energy_wh), **changes),
        COUNTER: history(COUNTER, "production_kg", total(kg)),
    }


def recorded_year() -> Recording:
    """The recording that the virtual factory replays."""
    folder = resources.files("joulemark_agent.simulate").joinpath("recordings")
    packed = folder.joinpath("steel_gwangyang_2018.csv.gz").read_bytes()
    return parse_recording(gzip.decompress(packed).decode())


def factory_histories(scenario: Scenario, recording: Recording) -> dict[str, DeviceHistory]:
    """The histories that the virtual factory's registers give when every slot is read."""
    profiles = {name: profile(name) for name in UNITS.values()}
    factory = build_factory(scenario, recording, profiles)
    slots = recording.first_us + np.arange(factory.slots) * recording.interval_us
    found = {}
    for unit, device in ((1, METER), (2, COUNTER)):
        model = profiles[UNITS[unit]]
        block = factory.units[unit]["holding"]
        words = np.frombuffer(block.data, ">u2").reshape(factory.slots, block.words)
        counters, gauges, good = {}, {}, {}
        for point in model.registers:
            start = point.address - block.address
            raw = np.ascontiguousarray(words[:, start : start + point.words])
            values = raw.view(np.dtype(point.type).newbyteorder(">")).ravel()
            good[point.name] = np.ones(factory.slots, np.bool_)
            if point.counter:
                counters[point.name] = values.astype(np.int64)
            else:
                gauges[point.name] = values.astype(np.float64) * float(point.scale)
        found[device] = DeviceHistory(
            site=SITE,
            device=device,
            epoch=1,
            clock="simulated",
            profile=model,
            period_us=QUARTER_US,
            slot_us=slots,
            counters=counters,
            gauges=gauges,
            good=good,
            unsynchronised=np.zeros(factory.slots, np.bool_),
            gaps=(),
            sources=np.arange(factory.slots),
            documents={},
        )
    return found


def steel_plan(**changes: Any) -> Project:
    """The plan of the demonstration: January to June against July to December 2018."""
    content: dict[str, Any] = {
        "measure": {
            "name": "Retrofit",
            "description": "Day-time consumption is cut.",
            "implemented": "2018-07-01",
        },
        "time_zone": "Asia/Seoul",
        "drivers": [
            {"device": COUNTER, "point": "production_kg", "name": "product", "synthetic": True}
        ],
        "baseline": {"from": "2018-01-01", "to": "2018-07-01"},
        "reporting": {"from": "2018-07-01", "to": "2019-01-01"},
        "factors": {"set": "korea", "rule_set": "ESG", "jurisdiction": "KR"},
    }
    return plan(**{**content, **changes})


def utc_us(text: str) -> int:
    """Microseconds of an ISO instant in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000
