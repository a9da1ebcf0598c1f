"""Energy from registers: eight events in thousands of cases, and a month with gaps reconciled.

An event is put into a short course of a register at a random place. What is booked, before it and
after it, must be the truth over the same time to one step of the register, and the event must be
found under its name. What a reset, another meter or a leap hides is not booked but missing, and is
no more than the machine can take in one period. Then a register and the integral of the power
beside it account for a month of which every twentieth reading is lost: the windows add up to the
register, whatever is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import cache

import numpy as np

from joulemark_agent.kernels.counter import Followed, Integers, Semantics, follow, semantics_of
from joulemark_agent.kernels.energy import counter_energy
from joulemark_agent.kernels.reconcile import WHOLE_RATIO, boundary_uncertainty, reconciled
from joulemark_agent.kernels.stream import INST, Rule, named
from support.counters import profile_of
from support.streams import DAY, FIRST_US, MINUTE, QUARTER, Fed, S, fed, windows

READS, LEAST_RATIO = 40, 0.99
_S_PER_H = 3600


@cache
def _declared(kind: str, scale: int, modulus: int | None, rated_w: int) -> Semantics:
    """What a profile says of the register: a rate of 1.2 times what the machine is rated at."""
    keys = {"type": kind, "scale": scale, "maximum_rate": Decimal(rated_w * 12 // 10) / _S_PER_H}
    if modulus is not None:
        keys["modulus"] = modulus
    profile = profile_of(**keys)
    return semantics_of(profile, profile.points[0], MINUTE)


class Case:
    """A register over some minutes, counted exactly, and what was done to what it shows."""

    def __init__(self, draw: np.random.Generator, kind: str, scale: int, modulus: int | None):
        """Draw a machine and its load."""
        rated_w = int(draw.choice([15_000, 75_000, 250_000]))
        self.rule = _declared(kind, scale, modulus, rated_w)
        self.draw, self.scale, self.rated_w = draw, scale, rated_w
        load_w = draw.uniform(0.2, 1.0, READS - 1) * rated_w
        phase_wh = draw.uniform(0, scale)
        self.counted_wh = np.append(0.0, np.cumsum(load_w / 60)) + phase_wh
        self.raw = (self.counted_wh // scale).astype(np.int64)
        self.at = int(draw.integers(3, READS - 4))  # where it happens
        self.size = modulus or 1 << 32
        self.raw += int(draw.integers(2**20, 2**24)) if modulus is None else 0

    def wrap(self) -> None:
        """It runs over just before the reading."""
        self.raw += self.size - int(self.raw[self.at - 1]) - 1
        self.at = int(np.argmax(self.raw >= self.size))
        self.raw %= self.size

    def begin(self, start: int) -> None:
        """It goes on from another count, which it had at the reading before."""
        self.raw[self.at :] += start - self.raw[self.at - 1]

    def follow(self) -> Followed:
        """What is booked."""
        t_us = FIRST_US + np.arange(READS) * MINUTE
        good = np.ones(READS, np.bool_)
        return follow(self.rule, t_us, self.raw * self.scale, good, good)


def _wraps(kind: str, scale: int, modulus: int) -> Callable[[np.random.Generator], Case]:
    def make(draw: np.random.Generator) -> Case:
        case = Case(draw, kind, scale, modulus)
        case.wrap()
        return case

    return make


def _to_zero(draw: np.random.Generator) -> Case:
    case = Case(draw, "uint32", 10, None)
    case.begin(0)
    return case


def _to_another(draw: np.random.Generator) -> Case:
    """A reset to a number that somebody set, below the old one."""
    case = Case(draw, "uint32", 10, None)
    case.begin(int(draw.integers(2**16, 2**19)))
    return case


def _swap(draw: np.random.Generator) -> Case:
    """A meter with a count of its own, lower or higher."""
    case = Case(draw, "uint32", 10, None)
    case.begin(int(draw.choice([draw.integers(2**16, 2**19), draw.integers(2**26, 2**30)])))
    return case


def _leap(draw: np.random.Generator) -> Case:
    """One more in the upper word, for good."""
    case = Case(draw, "uint32", 10, None)
    case.raw[case.at :] += 1 << 16
    return case


def _corrupt(draw: np.random.Generator) -> Case:
    case = Case(draw, "uint32", 10, None)
    case.raw[case.at] = int(draw.integers(0, 1 << 32))
    return case


KINDS: dict[str, tuple[Callable[[np.random.Generator], Case], set[str]]] = {
    "wrap at 2^16": (_wraps("uint16", 10, 1 << 16), {"rollover"}),
    "wrap at 2^32": (_wraps("uint32", 10, 1 << 32), {"rollover"}),
    "wrap at 9 999 999.9 kWh": (_wraps("uint32", 100, 10**8), {"rollover"}),
    "reset to 0": (_to_zero, {"reset"}),
    "reset to another count": (_to_another, {"replacement"}),
    "another meter": (_swap, {"replacement", "jump"}),
    "leap by 65,536": (_leap, {"jump"}),
    "one corrupt reading": (_corrupt, {"spike", "false_zero"}),
}


def run(seed: int, *, full: bool) -> dict[str, str]:
    """All events and the month; the sum of the rises must fail."""
    draw = np.random.default_rng(seed)
    rounds = 1250 if full else 40
    return {**_events(draw, rounds), **_month(draw), **_wrong_ratio(draw)}


def _events(draw: np.random.Generator, rounds: int) -> dict[str, str]:
    figures, right_in_all, naive_in_all = {}, 0, 0
    for name, (make, codes) in KINDS.items():
        right, worst, hidden, worst_naive = 0, 0.0, 0.0, 0
        for _ in range(rounds):
            case = make(draw)
            found = case.follow()
            right += len(found.events) == 1 and found.events[0].code in codes
            off, lost = _errors(case, found)
            worst, hidden = max(worst, off), max(hidden, lost)
            assert off <= 1.0, f"{name}: what is booked is {off:.2f} steps off"
            assert lost <= 1.0, f"{name}: more is missing than one step can hold"
            rises = np.diff(case.raw) * case.scale
            truth = case.counted_wh[-1] - case.counted_wh[0]
            worst_naive += abs(rises[rises > 0].sum() - truth) > 2 * case.scale
        figures[name] = (
            f"named right in {right / rounds:.2%}; booked within {worst:.2f} steps of the register"
            f", missing at most {hidden:.2f} of what one period can hold"
        )
        right_in_all, naive_in_all = right_in_all + right, naive_in_all + worst_naive
        assert right / rounds >= LEAST_RATIO, f"{name}: named right in {right} of {rounds}"
    cases = rounds * len(KINDS)
    assert naive_in_all > cases / 2, "the sum of the rises should fail"
    return {
        "cases": f"{cases:,}",
        "named right": f"{right_in_all / cases:.2%}",
        **figures,
        "naive: sum of the rises": f"wrong in {naive_in_all / cases:.0%} of the cases",
    }


def _errors(case: Case, found: Followed) -> tuple[float, float]:
    """How far what is booked is off, and how much is missing.

    Returns:
        the difference to the truth over the booked time, in steps of the register for each part of
        it; the truth of the missing time over what the machine can take in that time.
    """
    rise, true = np.diff(found.count), np.diff(case.counted_wh[found.index])
    booked = found.step[1:] > 0
    off = float((rise - true)[booked].sum()) / case.scale
    parts = int((~booked).sum()) + 1
    lost = float(true[~booked].sum())
    periods = float(np.diff(found.t_us)[~booked].sum()) / MINUTE
    most = case.rated_w / 60 * periods
    return abs(off) / parts, lost / most if most else 0.0


def _readings(draw: np.random.Generator) -> tuple[Integers, Integers, Fed]:
    """30 days of power each minute and of a register with steps of 100 Wh; every 20th is lost."""
    t_us = FIRST_US + 17 * S + np.arange(30 * 1440) * MINUTE
    noise = draw.normal(0, 2e4, t_us.size).cumsum() % 1.5e5
    power_w = 5e4 + noise
    counted = np.append(0, np.cumsum((power_w[1:] + power_w[:-1]) / 120))
    register_wh = (counted // 100).astype(np.int64) * 100 + 7_000_000
    kept = draw.random(t_us.size) >= 0.05
    for start in draw.integers(1, t_us.size - 200, 5):
        kept[start : start + int(draw.integers(10, 180))] = False
    kept[[0, -1]] = True
    block = fed(t_us, power_w)
    block.q[~kept] = 2
    return register_wh, np.flatnonzero(kept), block


def _month(draw: np.random.Generator) -> dict[str, str]:
    register_wh, kept, block = _readings(draw)
    t_us = block.t_us
    last_us = (int(t_us[-1]) // QUARTER + 1) * QUARTER
    edges_us = np.arange(int(t_us[0]) // QUARTER * QUARTER, last_us + 1, QUARTER)
    good, steps = np.ones(kept.size, np.bool_), np.ones(kept.size - 1, np.bool_)
    counted, *_ = counter_energy(t_us[kept], register_wh[kept], good, steps, edges_us, 30 * DAY)
    rows = named(windows([Rule(INST, 90 * S, QUARTER)], block, end_us=last_us))
    integral, ratio = np.zeros(counted.size), np.zeros(counted.size)
    for row in rows:
        k = int((row["start_us"] - edges_us[0]) // QUARTER)
        integral[k], ratio[k] = row["import_wh"], row["covered_us"] / QUARTER
    u_wh = np.sqrt(2) * boundary_uncertainty(100.0, 2e4, MINUTE / 2)
    found = reconciled(counted.astype(np.float64), integral, ratio, np.full(ratio.size, u_wh), 0.01)
    total = int(register_wh[-1] - register_wh[0])
    off = abs(float(found.energy_wh.sum()) - total)
    assert off <= 100, f"the windows are {off} Wh off the register"
    parts = found.gap_wh + integral
    is_gap = found.measured_by_register
    assert np.abs(parts - found.energy_wh)[is_gap].max() < 1e-6
    is_whole = ratio >= WHOLE_RATIO
    alarms = int(found.is_alarm.sum())
    assert alarms <= 0.02 * ratio.size, f"{alarms} alarms of a meter that is right"
    return {
        "month: windows against the register": f"{off:.0f} Wh off of {total / 1e6:,.1f} MWh",
        "month: energy of gaps, measured by the register": f"{found.gap_wh.sum() / 1e6:.2f} MWh in"
        f" {int(is_gap.sum())} windows",
        "month: register over integral": f"{np.nanmin(found.kappa_ratio):.3f} to"
        f" {np.nanmax(found.kappa_ratio):.3f} in {int(is_whole.sum())} whole windows",
        "month: alarms": str(alarms),
    }


def _wrong_ratio(draw: np.random.Generator) -> dict[str, str]:
    """A current transformer that is entered 10 % too high is found in nearly every window."""
    register = draw.uniform(1e4, 4e4, 1000)
    ones = np.ones(register.size)
    u_wh = np.full(register.size, boundary_uncertainty(100.0, 0.0, 0.0))
    found = reconciled(register, register * 1.1, ones, u_wh, 0.01)
    share = float(found.is_alarm.mean())
    assert share >= LEAST_RATIO
    return {"power entered 10 % too high": f"alarm in {share:.1%} of the windows"}
