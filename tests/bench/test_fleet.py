"""What many meters cost: days in batches, hours, memory, and two Dask workers against one process.

Figures are printed and nothing is asserted about time; that results are the same is asserted. The
peer's seconds are those of opendsm 1.2.7 on a 2-core machine, as published with the comparison.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure import Baseline, Plan, avoided_energy
from joulemark_gateway.measure.families import Temperature, TimeOfWeek
from joulemark_gateway.measure.fleet import Meter, baselines, measure_many
from support.fleets import building, meter_of
from support.hourly_meters import office
from support.temperature_meters import made
from support.timing import best_ns

pytestmark = pytest.mark.bench

DAILY = Plan("caltrack-daily-2.0", "lower-bound-one-sided-95", model=Temperature())
HOURLY = replace(DAILY, model=TimeOfWeek())
PEER_DAILY_S, PEER_HOURLY_S, YEAR_H = 1.32, 0.516, 8_760


def years(count):
    """So many meters that heat and cool, two years of days each."""
    return [meter_of(str(k), made(np.random.default_rng(k), n=730)) for k in range(count)]


def intervals(meters, plan):
    """The half-width of each meter's saving, without any verdict."""
    found = []
    for meter, baseline in zip(meters, baselines(meters, plan), strict=True):
        assert not isinstance(baseline, MeasureError)
        units, estimate = baseline.units_of(meter.reporting), baseline.required()
        variance = estimate.variances(units, np.ones((1, units.n)))[0]
        found.append(estimate.process.half_width(float(variance), plan.confidence))
    return found


def alone(meter, plan):
    return avoided_energy(Baseline.fit(meter.baseline, plan), meter.reporting).document()


def test_a_thousand_meters_of_days():
    meters = years(1_000)
    fit_us = best_ns(intervals, meters, DAILY, rounds=3) / 1e3 / len(meters)
    all_us = best_ns(measure_many, meters, DAILY, rounds=2) / 1e3 / len(meters)
    one_ms = best_ns(alone, meters[0], DAILY) / 1e6
    sys.stdout.write(
        "\na meter of days, CPU: fit with divisions, choice, QR and interval "
        f"{fit_us:.0f} us ({PEER_DAILY_S / fit_us * 1e6:,.0f} x the peer); with the verdict of its "
        f"policy and its document {all_us:.0f} us; one warm call {one_ms:.1f} ms\n"
    )


def test_meters_of_hours_and_their_memory():
    both = office(1, 2 * YEAR_H)
    before, after = both.where(both.position < YEAR_H), both.where(both.position >= YEAR_H)
    draw = np.random.default_rng(1)
    meters = [
        Meter(str(k), replace(before, energy_wh=energy_wh), after)
        for k, energy_wh in enumerate(before.energy_wh + draw.normal(0, 4_000, (1_000, YEAR_H)))
    ]
    some = meters[:20]
    fit_ms = best_ns(intervals, some, HOURLY) / 1e6 / len(some)
    all_ms = best_ns(measure_many, some, HOURLY, rounds=3) / 1e6 / len(some)
    measure_many(meters, HOURLY)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(
        f"\na meter and year of hours, CPU: fit and interval {fit_ms:.1f} ms "
        f"({PEER_HOURLY_S / fit_ms * 1e3:,.0f} x the peer); with verdict and document "
        f"{all_ms:.1f} ms; 1,000 of them in one process: peak {peak_mb:.0f} MB\n"
    )


def test_two_workers_against_one_process():
    pytest.importorskip("distributed", reason="the extra [fleet] is not installed")
    from joulemark_gateway.fleet.cluster import local_workers, measure_on  # noqa: PLC0415

    meters = [meter_of(str(seed), building(seed)) for seed in range(400)]
    batches = [meters[first : first + 50] for first in range(0, len(meters), 50)]
    begun = time.perf_counter()
    one = measure_many(meters, DAILY)
    one_s = time.perf_counter() - begun
    with local_workers(2) as client:
        measure_on(client, iter(batches[:2]), DAILY)  # kernels are loaded
        begun = time.perf_counter()
        two = measure_on(client, iter(batches), DAILY)
        two_s = time.perf_counter() - begun
    assert [json.dumps(a.document) for a in two] == [json.dumps(a.document) for a in one]
    sys.stdout.write(
        f"\n400 meters: one process {one_s:.2f} s, two Dask workers {two_s:.2f} s "
        f"({one_s / two_s:.2f} x)\n"
    )
