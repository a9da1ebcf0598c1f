"""The public engine on anything: savings, refusals with codes, never NaN and no other exception."""

import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure import (
    Baseline,
    Plan,
    avoided_energy,
    minimum_detectable_saving,
    normalised_savings,
    portfolio,
)
from joulemark_gateway.measure.families import (
    Automatic,
    Mean,
    Production,
    ProductionTemperature,
    Temperature,
    TimeOfWeek,
)
from joulemark_gateway.measure.meter_error import MeterClass
from joulemark_gateway.measure.models.production import activity
from support.measure_cases import ANYBODY, cases

FAMILIES = {
    "automatic": Automatic(),
    "mean": Mean(),
    "temperature": Temperature(),
    "by-adjusted-r2": Temperature(rule="adjusted-r2"),
    "time-of-week": TimeOfWeek(),
    "blended": TimeOfWeek(blend="by-distance"),
    "production": Production((activity("production_kg", "kg"),)),
    "chosen": Production((activity("production_kg", "kg"),), "iso50006-regression"),
    "both": ProductionTemperature((activity("production_kg", "kg"),)),
}
DRIVERS = ("production_kg", "temperature_c")


def with_drivers(data):
    """The same with both drivers, of whatever is there."""
    columns = [*data.drivers.values(), np.arange(data.n) % 7.0, np.arange(data.n) % 11.0]
    return replace(data, drivers=dict(zip(DRIVERS, columns, strict=False)))


def looked_at(case, family, policy):
    """Everything that can be asked of a baseline; what is told has no NaN in it."""
    plan = Plan(
        policy,
        "unfccc-conservativeness",
        model=family,
        carrier=case.carrier,
        production_cycle_days=1,
        meter=MeterClass(0.01, 0.001),
        override=ANYBODY,
    )
    before = with_drivers(case.baseline)
    after = before if case.reporting is None else with_drivers(case.reporting)
    baseline = Baseline.fit(before, plan, billing=case.billing, covered_ratio=case.covered_ratio)
    saving = avoided_energy(baseline, after)
    json.dumps(saving.document(), allow_nan=False)
    assert (saving.value_wh is None) == bool(saving.refused_by)
    for ask in (
        lambda: baseline.predict(after).half_width_wh,
        lambda: minimum_detectable_saving(baseline, after).ratio,
        lambda: normalised_savings(baseline, baseline, after).document(),
        lambda: portfolio({"one": saving, "other": saving}).total,
    ):
        with suppress(MeasureError):
            ask()


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@settings(max_examples=15, deadline=None)
@given(case=cases(any_shape=False), policy=st.sampled_from(["iso50006-production"]))
def test_orderly_data_give_savings_or_codes(family, case, policy):
    with suppress(MeasureError):
        looked_at(case, family, policy)


@pytest.mark.endurance
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@settings(max_examples=50, deadline=None)
@given(
    case=cases(any_shape=False),
    policy=st.sampled_from(["iso50006-production", "caltrack-daily-2.0"]),
)
def test_orderly_data_looked_at_longer(family, case, policy):
    with suppress(MeasureError):
        looked_at(case, family, policy)
