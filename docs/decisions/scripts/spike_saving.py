"""Can a saving be proven on the Gwangyang recording? Figures of decision 0001.

Run from the root of the repository, with numpy and scipy installed; about 10 seconds:
    JOULEMARK_DATA=data python docs/decisions/scripts/spike_saving.py
JOULEMARK_DATA is the folder that holds `steel_gwangyang_2018/`; without it, `data`.
The tonnes are SYNTHETIC: made from the recorded kWh, never measured.
"""

import csv
import gzip
import os
import random
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import t as student

Array = NDArray[np.float64]
CSV = "steel_gwangyang_2018/Steel_industry_data.csv.gz"
RHO, SD_SHARE, SEEDS = 0.4, 0.064, range(1, 201)
JULY = 181 * 96  # quarter-hours from 1 January to 1 July
QUARTERS = {"hour": 4, "day": 96, "week": 672}
RULES = ("negative allowed", "clip at 0", "symmetric limit", "hold and repay")


def recorded_cwh(path: Path) -> Array:
    """Energy of the quarter-hours of 2018 in 0.01 kWh, by start, NaN where missing."""
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        rows = [(r["date"], r["NSM"] == "0", float(r["Usage_kWh"])) for r in csv.DictReader(file)]
    # Stamps are ends; the midnight row is written with the date of the day that it closes.
    ends = [
        datetime.strptime(f"{date} +0900", "%d/%m/%Y %H:%M %z") + timedelta(days=int(is_midnight))
        for date, is_midnight, _ in rows
    ]
    start = datetime(2018, 1, 1, tzinfo=timezone(timedelta(hours=9)))
    if ends != [start + timedelta(minutes=15 * (i + 1)) for i in range(35_040)]:
        raise SystemExit("The recording is not 35,040 quarter-hours in order. Fetch it again.")
    return np.array([round(kwh * 100) if kwh > 0 else np.nan for *_, kwh in rows])


def noise_cwh(seed: int, sd_cwh: float) -> Array:
    """One AR(1) value per hour, in whole 0.01 kWh, the resolution of the meter."""
    # Python promises this uniform stream for ever; numpy's generators make no such promise.
    stream, quantile = random.Random(seed), NormalDist().inv_cdf
    shocks = sd_cwh * np.array([quantile(stream.random()) for _ in range(8760)])
    shocks[1:] *= np.sqrt(1 - RHO**2)
    noise: Array = np.rint(lfilter([1.0], [1.0, -RHO], shocks))
    return noise


def counter_kg(energy_cwh: Array, noise: Array, base_kwh: int, rule: str) -> Array:
    """Whole kilograms on the counter at each quarter-hour boundary, shape (35_041,)."""
    quarters = energy_cwh.reshape(-1, 4)
    base_cwh = 100 * base_kwh * np.isfinite(quarters).mean(1)  # no base where nothing was read
    active = np.nansum(quarters, 1) - base_cwh
    exact = active - noise  # at 10 kWh/t, 0.01 kWh is 1 kg: sums of whole hours are exact
    if rule == "clip at 0":
        exact = np.maximum(exact, 0)
    elif rule == "symmetric limit":
        limit = np.maximum(active, 0)
        exact = limit - np.clip(noise, -limit, limit)
    elif rule == "hold and repay":
        exact = np.diff(np.maximum.accumulate(np.append(0.0, np.cumsum(exact))))
    at_hour = np.cumsum(exact) - exact
    share = np.nancumsum(quarters, 1) / np.nansum(quarters, 1)[:, None]
    return np.append(0, np.rint(at_hour[:, None] + exact[:, None] * share))  # half to even


def ar1_sum(weights: Array, rho: float) -> float:
    """Get a' R a for R_ij = rho^|i-j|."""
    return float(2 * weights @ lfilter([1.0], [1.0, -rho], weights) - weights @ weights)


def avoided(x: Array, y: Array, x_r: Array, y_r: Array) -> tuple[float, float, float]:
    """Avoided energy, its 90 % half-width (AR(1), bias-corrected) and the slope b1."""
    q, r = np.linalg.qr(np.column_stack([np.ones_like(x), x]))
    beta = np.linalg.solve(r, q.T @ y)
    e = y - q @ (r @ beta)
    n, p, v = x.size, 2, np.array([x_r.size, x_r.sum()])
    rho = np.corrcoef(e[1:], e[:-1])[0, 1]
    rho_b = min(max(rho + (1 + 4 * rho) / n + (p - 1) / n, 0.0), 0.99)  # never widens n
    s2 = e @ e / (n - p * (1 + rho_b) / (1 - rho_b))
    a = q @ np.linalg.solve(r.T, v)  # X (X'X)^-1 v
    variance = s2 * (ar1_sum(np.ones_like(x_r), rho_b) + ar1_sum(a, rho_b))
    t = student.ppf(0.95, n * (1 - rho_b) / (1 + rho_b) - p)
    return v @ beta - y_r.sum(), t * np.sqrt(variance), beta[1]


def by_unit(quarters: Array, size: int) -> tuple[Array, Array]:
    """Sums over whole units, before and from 1 July; a unit with a missing part is NaN."""
    halves = (quarters[:JULY], quarters[JULY:])
    first, second = (h[: h.size // size * size].reshape(-1, size).sum(1) for h in halves)
    return first, second


def main() -> None:
    """Print the options, the shipped seed and the model without a driver."""
    cwh = recorded_cwh(Path(os.environ.get("JOULEMARK_DATA", "data")) / CSV)
    kwh, quarter = cwh / 100, np.arange(cwh.size)
    is_cut = (quarter >= JULY) & (quarter % 96 >= 32) & (quarter % 96 < 80)
    injected = np.where(is_cut, 0.08 * kwh, 0 * kwh)
    sd_cwh = SD_SHARE * float(np.nanmean(cwh.reshape(-1, 4).sum(1)))
    noises = [noise_cwh(seed, sd_cwh) for seed in SEEDS]
    print(
        f"noise: {sd_cwh / 100:.4f} kWh per hour; {len(noises)} seeds; per cent of counterfactual"
    )
    print("b0 kWh/h  rule              unit  cover: unchanged  retrofit  half-width   bias  slope")
    for base_kwh in (0, 9, 12):
        for rule in RULES:
            tonnes = [np.diff(counter_kg(cwh, noise, base_kwh, rule)) / 1000 for noise in noises]
            for unit, size in QUARTERS.items():
                (y, y_r), truth = by_unit(kwh, size), by_unit(injected, size)[1]
                seen, seen_r = np.isfinite(y), np.isfinite(y_r)
                y, y_r, cut = y[seen], y_r[seen_r], truth[seen_r]
                runs = []
                for x, x_r in (by_unit(z, size) for z in tonnes):
                    same = avoided(x[seen], y, x_r[seen_r], y_r)
                    less = avoided(x[seen], y, x_r[seen_r], y_r - cut)
                    runs.append((*same, less[0] - cut.sum(), less[1]))
                error, half, slope, error_cut, half_cut = np.array(runs).T
                print(
                    f"{base_kwh:8}  {rule:16}  {unit:4}"
                    f"  {100 * np.mean(abs(error) <= half):16.1f}"
                    f"  {100 * np.mean(abs(error_cut) <= half_cut):8.1f}"
                    f"  {100 * np.median(half) / y_r.sum():10.3f}"
                    f"  {100 * error.mean() / y_r.sum():+5.3f}  {slope.mean():.4f}"
                )
                if (base_kwh, rule, unit) == (9, "hold and repay", "day"):
                    shipped = (
                        f"seed 1, day, b0 9, hold and repay:"
                        f" unchanged {error[0]:+.0f} +- {half[0]:.0f}"
                        f" kWh, truth 0;"
                        f" retrofit {error_cut[0] + cut.sum():.0f} +- {half_cut[0]:.0f}"
                        f" kWh, truth {cut.sum():.0f}; counterfactual {y_r.sum():.0f} kWh"
                    )
    print(shipped)
    week = np.array([kwh[:JULY][i::672].mean() for i in range(672)])
    guess, meter = week[quarter[JULY:] % 672], kwh[JULY:]
    for name, kept in (("unmasked", guess >= 0), ("masked", np.isfinite(meter))):
        predicted, used = guess[kept].sum(), np.nansum(meter)
        print(
            f"time of week, {name}: predicts {predicted:.0f}, meter {used:.0f} kWh,"
            f" 'saving' {predicted - used:.0f} kWh = {100 * (1 - used / predicted):.2f} %"
        )


if __name__ == "__main__":
    main()
