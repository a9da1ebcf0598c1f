"""Tariffs for tests: one with bands and a demand charge, and one price for everything."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from joulemark_gateway.costs.tariff import Tariff

_DAYS = ["weekday", "saturday", "sunday", "holiday"]


def flat(price: object = "100", **changes: Any) -> dict[str, Any]:
    """One price at all times."""
    return {
        "tariff": "flat",
        "title": "One price",
        "basis": "example",
        "source": "made for a test",
        "currency": "KRW",
        "decimals": 0,
        "valid_from": "2018-01-01",
        "time_zone": "Asia/Seoul",
        "seasons": [{"name": "year", "months": list(range(1, 13))}],
        "schedules": [
            {"seasons": ["year"], "days": _DAYS,
             "hours": [{"from": "00:00", "to": "24:00", "band": "all"}]},
        ],
        "energy": [{"season": "year", "band": "all", "price_per_kwh": price}],
        **changes,
    }  # fmt: skip


def banded(**changes: Any) -> dict[str, Any]:
    """Low by night and on days off, high by day; a demand charge, and a tax."""
    day = [
        {"from": "00:00", "to": "09:00", "band": "low"},
        {"from": "09:00", "to": "18:00", "band": "high"},
        {"from": "18:00", "to": "24:00", "band": "low"},
    ]
    whole = [{"from": "00:00", "to": "24:00", "band": "low"}]
    return {
        **flat(),
        "tariff": "banded",
        "schedules": [
            {"seasons": ["year"], "days": ["weekday"], "hours": day},
            {"seasons": ["year"], "days": ["saturday", "sunday", "holiday"], "hours": whole},
        ],
        "energy": [
            {"season": "year", "band": "low", "price_per_kwh": "50.5"},
            {"season": "year", "band": "high", "price_per_kwh": "150.25"},
        ],
        "demand": {
            "price_per_kw": "8000",
            "bands": ["high"],
            "months_back": 12,
            "of_months": [12, 1, 2, 7, 8, 9],
            "least_share_of_contract": "0.3",
            "step_kw": "1",
        },
        "fixed_per_month": "1000",
        "levies": [
            {"name": "climate", "per_kwh": "9"},
            {"name": "vat", "share": "0.1", "of": ["energy", "demand", "fixed", "climate"]},
        ],
        **changes,
    }


def made(mapping: dict[str, Any]) -> Tariff:
    """The tariff."""
    return Tariff.model_validate(deepcopy(mapping))
