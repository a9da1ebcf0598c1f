"""The engine on the meters of a comparison, in a process of its own, as the peer is in its own.

`python -m support.peer_own time KIND CASE SEED` makes the call of a kind once for each line of its
input; `first CASE` imports, fits once and says what that took, from the interpreter's start;
`thousand SEED` says the most memory that a thousand years of hours take. Only what a word needs is
imported: memory is a figure here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from joulemark_gateway.measure import Baseline, Data, Plan, avoided_energy
from support.peer_wire import peak_mb, serve, tell

METERS, FLEET, HOURLY_METERS, YEARS = 1_000, 250, 200, 1_000
YEAR_H, WEEK_H = 8_760, 168
F_PER_K, WH_PER_KWH = 1.8, 1e3
NOISE = 0.05  # of the mean, by which the meters of a batch differ


class Both(NamedTuple):
    """The units of a meter before and after."""

    before: Data
    after: Data


def main(words: list[str]) -> None:
    """One of the commands."""
    if words[0] == "time":
        serve(KINDS[words[1]](case(words[2]), int(words[3])))
    elif words[0] == "thousand":
        _thousand(int(words[1]))
    else:
        one_meter(case(words[1]), 0)()
        tell({"cpu_s": time.process_time(), "peak_mb": peak_mb()})


def case(path: str) -> Both:
    """What `Case.written` wrote."""
    with np.load(path) as arrays:
        zone = str(arrays["zone"])
        columns = [
            {
                "start": arrays[f"{period}_us"],
                "energy_wh": arrays[f"{period}_kwh"] * WH_PER_KWH,
                "temperature_c": (arrays[f"{period}_f"] - 32) / F_PER_K,
            }
            for period in ("before", "after")
        ]
    unit_us = int(np.median(np.diff(columns[0]["start"])))
    before, after = (
        Data.of(one, drivers=["temperature_c"], unit_us=unit_us, zone=zone) for one in columns
    )
    return Both(before, after)


def plan() -> Plan:
    """Daily weather-driven meters; with the units' length the family follows."""
    return Plan("caltrack-daily-2.0", "art-trees-eq11")


def one_meter(both: Both, seed: int) -> Callable[[], Any]:
    """The whole of it: policy, model, saving of the year after with its interval."""
    del seed
    return lambda: avoided_energy(Baseline.fit(both.before, plan()), both.after)


def model_and_interval(both: Both, seed: int) -> Callable[[], Any]:
    """The model of one meter, the saving of the year after and its interval; no policy."""
    del seed
    from joulemark_gateway.measure.estimate import estimate_of  # noqa: PLC0415
    from joulemark_gateway.measure.families import Automatic  # noqa: PLC0415

    after = both.after
    whole = np.ones((1, after.n))

    def call() -> float:
        estimate = estimate_of(Automatic().fit(both.before).model, both.before)
        saved_wh = float((estimate.predict_wh(after) - after.energy_wh).sum())
        variance = float(estimate.covariance(after, whole)[0, 0])
        return saved_wh - estimate.process.half_width(variance, 0.9)

    return call


def many_choices(both: Both, seed: int) -> Callable[[], Any]:
    """The choice among all kinds and divisions for a thousand meters like this one; no interval."""
    from joulemark_gateway.measure.models.change_point import GRID, meters_of  # noqa: PLC0415
    from joulemark_gateway.measure.models.splits import cells_of  # noqa: PLC0415
    from joulemark_gateway.measure.models.temperature_choice import choose_many  # noqa: PLC0415

    many = [_like(both.before, draw) for draw in _draws(seed, METERS)]
    cell = cells_of(both.before)
    meters, rules = meters_of(many, [cell] * METERS), GRID.rules(1.0)
    return lambda: choose_many(meters, rules)


def many_models(both: Both, seed: int) -> Callable[[], Any]:
    """The models of meters like this one, each with the noise that its intervals are made of."""
    from joulemark_gateway.measure.fleet import baselines  # noqa: PLC0415

    many = _fleet(both, seed)
    return lambda: list(baselines(many, plan()))


def many_savings(both: Both, seed: int) -> Callable[[], Any]:
    """All that may be said of the savings of meters like this one, the policy's findings too."""
    from joulemark_gateway.measure.fleet import measure_many  # noqa: PLC0415

    many = _fleet(both, seed)
    return lambda: measure_many(many, plan())


def _fleet(both: Both, seed: int) -> list[Any]:
    from joulemark_gateway.measure.fleet import Meter  # noqa: PLC0415

    draws = enumerate(_draws(seed, FLEET))
    return [Meter(str(k), _like(both.before, draw), both.after) for k, draw in draws]


def many_hours(both: Both, seed: int) -> Callable[[], Any]:
    """The models of two hundred meters like this one, with the interval of a year's saving."""
    rows = [_like(both.before, draw).energy_wh for draw in _draws(seed, HOURLY_METERS)]
    data = both.before
    return _hours(np.array(rows), data.driver("temperature_c")[None], data)


def _hours(energy_wh: Any, temperature_c: Any, data: Data | None = None) -> Callable[[], Any]:
    from joulemark_gateway.measure.models.time_of_week_batch import (  # noqa: PLC0415
        Meters,
        avoided,
        fit_batch,
    )
    from joulemark_gateway.measure.models.time_of_week_temperature import (  # noqa: PLC0415
        times_of_week,
    )

    if data is None:
        position = np.arange(energy_wh.shape[1])
        cell = position % WEEK_H
    else:
        position, cell = data.position, times_of_week(data).of(data)
    meters = Meters(energy_wh, temperature_c, cell, position)
    return lambda: avoided(fit_batch(meters, WEEK_H, unit_h=1.0), meters, meters, 0.9)


def _draws(seed: int, count: int) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, k]) for k in range(count)]


def _like(data: Data, draw: np.random.Generator) -> Data:
    scale = NOISE * float(data.energy_wh.mean())
    return Data(
        data.start_us,
        data.length_us,
        data.position,
        data.energy_wh + scale * draw.standard_normal(data.n),
        data.drivers,
        data.zone,
    )


def _thousand(seed: int) -> None:
    """Two numbers for each hour of each meter, as they are where each has its own weather."""
    energy_wh = np.random.default_rng(seed).uniform(1e3, 5e4, (YEARS, YEAR_H))
    season = 14.0 - 14.0 * np.cos(2 * np.pi * np.arange(YEAR_H) / YEAR_H)
    temperature_c = season + np.linspace(-3.0, 3.0, YEARS)[:, None]
    before_mb = peak_mb()
    _hours(energy_wh, temperature_c)()
    tell({"before_mb": before_mb, "peak_mb": peak_mb()})


KINDS: dict[str, Callable[[Both, int], Callable[[], Any]]] = {
    "one-meter": one_meter,
    "model": model_and_interval,
    "many-choices": many_choices,
    "many-models": many_models,
    "many-savings": many_savings,
    "many-hours": many_hours,
}

if __name__ == "__main__":
    main(sys.argv[1:])
