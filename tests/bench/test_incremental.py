"""What a new day costs: in a running saving, and in a baseline of a year that grows by it.

Times are printed beside those of the same figures from all units, measured in the same run, and
nothing is asserted about them. A day is counted from its arrival, checks included; `rows known`
leaves out the checks and the making of the row. A shared 2-core x86 machine, load 7, 2026-11:
grown 85 to 125 us, 35 to 50 with the row known, a third to a sixth of a fit to all days; running
60 to 85 us, 16 with the row known.
"""

import sys

import numpy as np
import pytest

from joulemark_gateway.measure import Baseline, Data, Plan, avoided_energy
from joulemark_gateway.measure.arrivals import arrived, line_of
from joulemark_gateway.measure.cusum import cumulative
from joulemark_gateway.measure.estimate import estimate_of
from joulemark_gateway.measure.families import Family, Production, Temperature
from joulemark_gateway.measure.growing import Growing
from joulemark_gateway.measure.incremental import RunningSaving
from joulemark_gateway.measure.models.production import activity
from support.five_parameters import ar1
from support.plants import days
from support.temperature_meters import made
from support.timing import best_ns

pytestmark = pytest.mark.bench

YEAR, CALLS = 365, 200


def plant(lines: int) -> tuple[Data, Production]:
    draw = np.random.default_rng(1)
    columns = {f"line_{k}_kg": draw.uniform(1e3, 2e3, 2 * YEAR) for k in range(lines)}
    energy_wh = 1e5 + 9e3 * ar1(draw, 2 * YEAR, 0.5)
    for column in columns.values():
        energy_wh += 100 * column
    family = Production(tuple(activity(name, "kg") for name in columns))
    return days(energy_wh, first=0, **columns), family


CASES: dict[str, tuple[Data, Family]] = {
    "5 terms": plant(4),
    "8 terms": plant(7),
    "5 parameters, 2 of them searched": (
        made(np.random.default_rng(1), n=2 * YEAR),
        Temperature(kinds=("5p",), divided=False),
    ),
}


def each_us(call, calls=CALLS):
    """The mean of some calls, in the quickest of some rounds. [us]"""

    def many():
        for _ in range(calls):
            call()

    return best_ns(many, rounds=15) / 1e3 / calls


@pytest.mark.parametrize("case", CASES)
def test_microseconds_per_new_day_and_of_all_days_again(case):
    data, family = CASES[case]
    asked = Plan("caltrack-daily-2.0", "art-trees-eq11", model=family)
    before, after = (data.where(np.arange(YEAR) + k * YEAR) for k in range(2))
    baseline = Baseline.fit(before, asked)
    day, half = after.where(np.arange(1)), after.where(np.arange(200))
    growing, follower = Growing.of(baseline), RunningSaving.of(baseline)
    came, fitted = arrived(baseline, growing.seen, day), line_of(baseline).fitted
    assert came is not None
    y = came.units.energy_wh
    scale = fitted.scale(came.units)
    known = (came.design, y, scale, came.units.position, came.seen)
    state, _ = follower.add(follower.begin(), half)
    new = after.where(np.arange(200, 201))
    longer = data.where(np.arange(YEAR + 1))
    rows = arrived(baseline, state.seen, new)
    assert rows is not None

    def again():
        chosen = asked.model.fit(longer)
        return estimate_of(chosen.model, chosen.data)

    grown_us = each_us(lambda: growing.add(day).estimate)
    grown_known_us = each_us(lambda: growing._with(*known).estimate)
    again_us, plan_us = each_us(again, 5), each_us(lambda: Baseline.fit(longer, asked), 5)
    run_us = each_us(lambda: follower.add(state, new))
    run_known_us = each_us(lambda: follower._after(state, rows))
    band_us = each_us(lambda: cumulative(line_of(baseline), half), 20)
    all_us = each_us(lambda: avoided_energy(baseline, half), 1)
    lines = [
        f"a baseline of {YEAR} days, {case}, and one day more; CPU us:",
        f"  grown, with its interval             {grown_us:9.1f}",
        f"    the same, rows known               {grown_known_us:9.1f}",
        f"  fitted again, with its interval      {again_us:9.1f} {again_us / grown_us:6.1f} times",
        f"  fitted again under its plan          {plan_us:9.1f} {plan_us / grown_us:6.1f} times",
        "a saving of 200 days and one day more; CPU us:",
        f"  running, with its months             {run_us:9.1f}",
        f"    the same, rows known               {run_known_us:9.1f}",
        f"  the band again, nothing checked      {band_us:9.1f} {band_us / run_us:6.1f} times",
        f"  avoided energy again, with months    {all_us:9.1f} {all_us / run_us:6.1f} times",
    ]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
