"""Measurement and verification: baselines, savings with intervals that are true, and refusals.

For data of any origin, in numpy arrays or dataframes:

    data = Data.of(frame, drivers=["production_kg"], unit_us=DAY_US, zone="Asia/Seoul")
    plan = Plan("iso50006-production", "lower-bound-one-sided-95", production_cycle_days=7)
    baseline = Baseline.fit(data, plan)
    saving = avoided_energy(baseline, later)

Over the evidence of machines, `run.measure(project, histories, factors)` does the same and
`result` holds what it returns. Importing the package loads nothing but this file; each name loads
what it needs when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from joulemark_gateway.measure.baseline import Baseline
    from joulemark_gateway.measure.data import Data
    from joulemark_gateway.measure.engine import (
        Savings,
        avoided_energy,
        minimum_detectable_saving,
        normalised_savings,
        portfolio,
    )
    from joulemark_gateway.measure.plan import Plan

__all__ = [
    "Baseline",
    "Data",
    "Plan",
    "Savings",
    "avoided_energy",
    "minimum_detectable_saving",
    "normalised_savings",
    "portfolio",
]

_HOMES = {"Baseline": "baseline", "Data": "data", "Plan": "plan"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'engine')}"), name)
