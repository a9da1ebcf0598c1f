"""Whether what a device says can be true: power against its phases, energy against power.

A profile names rules (`checks`); more follow from the names of its points, because a name says what
a point is: the phases of a power, the voltage and current it is made of, the counter it feeds. A
check looks at a window of samples and passes, fails, or says why it cannot be decided: a counter
too coarse, no load. A failure changes no value and no quality: it says that the profile, the
wiring or the device is wrong. Rules, limits and what they cannot see: docs/decisions/0018.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise

from joulemark_agent.contract.profile import (
    AnyPoint,
    AtMostCheck,
    MonotonicCheck,
    Profile,
    RateCheck,
    SumCheck,
)
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.kernels.decode import DISPUTED, RANGE

Number = int | float

WINDOWS = ((600.0, 5.0), (6 * 3600.0, 60.0))  # that are looked at: how long, a sample how often [s]
EARLIEST_RATIO = 0.9  # of the step: a line answers now sooner, now later
FEWEST_SAMPLES = 3  # without which nothing is said

S_PER_H = 3600.0
LONGEST_STEP_S = 300.0  # between samples whose power is taken as known in between
_MOST_STEP_RATIO = 2.5  # of the usual step: beyond it something was not read
_FEWEST = 3  # steps that a rate needs
_FEWEST_POINTS = 2  # without which nothing is said of a device that shows only 0
_SIGMAS, _FEW_STEPS = 4.0, 10.0  # of what sampling a restless power costs; more for few samples
_LONGEST_STILL_S = 180.0  # a meter writes its energy register now and then, not at every instant
_POWER_OF_TEST = 0.5  # of the expected energy: a wider allowance decides nothing
_LEAST_LOAD_VA, _LEAST_LOAD_W = 20.0, 100.0  # below it steps of voltage and current are too large
_LEAST_SUM_W = 10.0  # a meter shows 0 for a phase below its starting current
_HIGHEST_FACTOR, _LOWEST_FACTOR = 1.1, 0.105  # of real to apparent power; the rest is a wrong scale
_OFF_RATIO = 0.1  # of a product of two readings of one instant
_LOWEST_EFFICIENCY, _HIGHEST_EFFICIENCY = 0.5, 1.05  # of an inverter under load
_LONGEST_MEASURED = 30  # characters of a fraction: a float with its words swapped is often 1e-40
_MOST = 1e60  # beyond it no product or quotient of two values is sure to be a number
_UNSEEN_STEPS = 9  # n samples show what lasts 9/n of the time with 99.99 %: (1 - 9/n)^n < e^-9
_UNSEEN_W, _UNSEEN_RATIO = 50_000.0, 3.0  # what a machine may take between samples: so much, or
# so many times the most that was seen
_NEW_DAY_RATIO = 0.1  # a daily counter that starts again is at most so much of what it was

# What a quantity can be at all, in SI: limits of physics and of equipment, not of one model.
PHYSICAL: Mapping[str, tuple[float, float]] = {
    "Hz": (0.0, 1000.0),
    "V": (-1e6, 1e6),
    "A": (-1e6, 1e6),
    "W": (-1e10, 1e10),
    "var": (-1e10, 1e10),
    "VA": (-1e10, 1e10),
    "K": (120.0, 3300.0),
    "Pa": (-1.1e5, 1e9),
    "s": (-1e9, 2e9),  # 63 years of running
}
# The same by the names of points, of the kind of device that is named, or of all.
_BY_NAME: Sequence[tuple[str, str, tuple[float, float]]] = (
    ("", r".*power_factor.*_ratio", (-1.0, 1.0)),
    ("", r"frequency_hz", (40.0, 70.0)),  # of the mains; 0 is a line that is off
    ("", r"voltage(_l[123]){0,2}_v", (60.0, 1e6)),
    ("", r"(string|dc|module).*voltage_v", (-2000.0, 2000.0)),  # IEC 60364: 1500 V is low voltage
    ("", r"(internal|heatsink|screw|stage).*temperature_k", (220.0, 520.0)),  # of electronics, oil
    ("", r"(.*_)?(output|efficiency|speed)_ratio", (-1.05, 1.5)),
    ("air_compressor", r".*gauge_pressure_pa", (-1.1e5, 4.5e6)),
)


@dataclass(frozen=True)
class Sample:
    """What one reading says: numbers by point, those of disputed points too."""

    t_s: float
    values: Mapping[str, Number]
    tiny: frozenset[str] = frozenset()  # points whose float is too small to have been measured


@dataclass(frozen=True)
class Verdict:
    """What came out of one check."""

    rule: str
    points: tuple[str, ...]
    holds: bool | None  # None: it cannot be decided
    found: str  # with figures; of what cannot be decided: why
    do: str = ""

    @property
    def name(self) -> str:
        """One word for the check and its first point, unique within a device."""
        return f"{self.rule}:{','.join(self.points)}"


Window = Sequence[Sample]
_Test = Callable[[Window], Verdict]


def sample_of(t_s: float, values: Mapping[str, str], quality: Mapping[str, str]) -> Sample:
    """The sample of what was decoded.

    Args:
        t_s: when it was read. [s]
        values: decimal text by point.
        quality: code by point, where it is not good.
    """
    usable = (None, DISPUTED, RANGE)
    return Sample(
        t_s,
        {name: _number(text) for name, text in values.items() if quality.get(name) in usable},
        frozenset(name for name, text in values.items() if _is_tiny(text)),
    )


def verdicts(profile: Profile, window: Window) -> list[Verdict]:
    """What every check says of the samples, which are of one device in the order of time."""
    window = _without_false_zeros(profile, window)
    return [test(window) for test in _tests(profile)]


def failures(profile: Profile, window: Window) -> list[Verdict]:
    """The checks that do not hold."""
    return [verdict for verdict in verdicts(profile, window) if verdict.holds is False]


def in_windows(times_s: Sequence[float]) -> list[list[int]]:
    """Which of the samples each of `WINDOWS` holds that ends with the last, none where few are.

    Args:
        times_s: when they were read, in order. [s]
    """
    found = []
    for span_s, step_s in WINDOWS:
        kept: list[int] = []
        for i, t_s in enumerate(times_s):
            is_due = not kept or t_s - times_s[kept[-1]] >= EARLIEST_RATIO * step_s
            if t_s >= times_s[-1] - span_s and is_due:
                kept.append(i)
        found.append(kept if len(kept) >= FEWEST_SAMPLES else [])
    return found


def _without_false_zeros(profile: Profile, window: Window) -> Window:
    """The samples, without each 0 that is no count by its profile, where others have a count."""
    named = {point.name for point in profile.points if point.counter and point.false_zero}
    false = {name for name in named if any(sample.values.get(name) for sample in window)}
    if not false:
        return window
    return [
        replace(s, values={n: v for n, v in s.values.items() if v or n not in false})
        for s in window
    ]


def _number(text: str) -> Number:
    """The number of a text; a float that has its words swapped may be beyond all computing."""
    number = float(text) if "." in text else int(text)
    if abs(number) > _MOST:
        return math.copysign(_MOST, number)
    return number if abs(number) >= 1 / _MOST else 0


def _is_tiny(text: str) -> bool:
    return len(text) > _LONGEST_MEASURED and text.lstrip("-").startswith("0.")


# ------------------------------------------------------------------- which checks a profile has


@lru_cache(maxsize=256)
def _tests(profile: Profile) -> tuple[_Test, ...]:
    points = {point.name: point for point in profile.points if not point.name.endswith("_text")}
    tests: list[_Test] = [_alive_test(points)]
    tests += [
        _range_test(point, limits)
        for point in points.values()
        if (limits := _limits(profile.kind, point)) is not None
    ]
    tests += [_sum_test(points, check) for check in _sums(profile, points)]
    tests += [_rate_test(points, check) for check in _rates(profile, points)]
    tests += [_monotonic_test(points[name]) for name in _counted(profile)]
    tests += [
        _seconds_test(point) for point in points.values() if point.counter and _is_s(point.name)
    ]
    tests += [_at_most_test(check) for check in _bounds(profile, points)]
    tests += [_product_test(points, power, pairs) for power, pairs in _products(points)]
    if {"dc_power_w", "ac_power_w"} <= set(points):
        tests.append(_efficiency)
    tests += [_string_test(*names) for names in _strings(points)]
    return tuple(tests)


def _is_most(wrong: int, seen: Sequence[object], window: Window = ()) -> bool:
    """Whether two thirds are wrong: not all of a reading is of one instant.

    Of those under load three must be, where the window has so many samples: a machine that has
    just been switched on is under load in one.
    """
    return 3 * wrong > 2 * len(seen) and wrong >= min(FEWEST_SAMPLES, len(window))


def _is_s(name: str) -> bool:
    return unit_of(name) == "s"


def _sums(profile: Profile, points: Mapping[str, AnyPoint]) -> list[SumCheck]:
    declared = [check for check in profile.checks if isinstance(check, SumCheck)]
    parts = tuple(f"power_l{i}_w" for i in (1, 2, 3))
    is_declared = any(check.total == "power_w" for check in declared)
    if not is_declared and {"power_w", *parts} <= set(points):
        declared.append(SumCheck(rule="sum_of_phases", total="power_w", parts=parts))
    return declared


_FED_BY = re.compile(
    r"(?P<kind>energy|imported|exported|imported_and_exported|generated|generated_today)"
    r"(?P<phase>_l[123])?_wh"
)
_FLOWS = {"energy": "import", "imported": "import", "exported": "export"}


def _rates(profile: Profile, points: Mapping[str, AnyPoint]) -> list[RateCheck]:
    declared = [check for check in profile.checks if isinstance(check, RateCheck)]
    known = {(check.counter, check.power) for check in declared}
    for name in points:
        found = _FED_BY.fullmatch(name)
        if found is None:
            continue
        stem = "ac_power" if found["kind"].startswith("generated") else "power"
        power = f"{stem}{found['phase'] or ''}_w"
        if power in points and (name, power) not in known:
            declared.append(RateCheck(rule="rate", counter=name, power=power))
    return declared


def _counted(profile: Profile) -> list[str]:
    declared = [check.counter for check in profile.checks if isinstance(check, MonotonicCheck)]
    return list(dict.fromkeys([*declared, *(p.name for p in profile.points if p.counter)]))


def _bounds(profile: Profile, points: Mapping[str, AnyPoint]) -> list[AtMostCheck]:
    declared = [check for check in profile.checks if isinstance(check, AtMostCheck)]
    known = {check.point for check in declared}
    for part, whole in (("loaded_s", "running_s"), ("generated_today_wh", "generated_wh")):
        if {part, whole} <= set(points) and part not in known:
            declared.append(AtMostCheck(rule="at_most", point=part, limit=whole))
    return declared


def _products(points: Mapping[str, AnyPoint]) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Powers, by their names, with voltage and current of the conductors that carry them."""
    found = []
    for name in points:
        matched = re.fullmatch(r"(?P<before>.*?)power(?P<phase>_l[123])?_w", name)
        if matched is None:
            continue
        before, phase = matched["before"], matched["phase"] or ""
        one = ((f"{before}voltage{phase}_v", f"{before}current{phase}_a"),)
        three = tuple((f"voltage_l{i}_v", f"current_l{i}_a") for i in (1, 2, 3))
        for pairs in (one, three) if name == "power_w" else (one,):
            if all({*pair} <= set(points) for pair in pairs):
                found.append((name, pairs))
                break
    return found


def _strings(points: Mapping[str, AnyPoint]) -> list[tuple[str, str]]:
    """Voltage and current of each string of an inverter that says its whole DC power."""
    found = [name for name in points if re.fullmatch(r"string_\d+_voltage_v", name)]
    pairs = [(name, name.replace("voltage_v", "current_a")) for name in found]
    return [pair for pair in pairs if {*pair, "dc_power_w"} <= set(points)]


# ------------------------------------------------------------------------------- single samples


def _alive_test(points: Mapping[str, AnyPoint]) -> _Test:
    """A device all of whose registers are 0, or none a value, is not the device of the profile."""
    zeros = {name: float(getattr(point, "offset", 0)) for name, point in points.items()}

    def test(window: Window) -> Verdict:
        values = [item for sample in window for item in sample.values.items()]
        is_alive = any(value != zeros.get(name, 0.0) for name, value in values)
        verdict = Verdict("alive", (), is_alive or None, f"{len(values)} values")
        if is_alive or len(points) < _FEWEST_POINTS or not window:
            return verdict
        return replace(
            verdict,
            holds=False,
            found="every register was 0" if values else "no point had a value",
            do="Check 'unit', 'table' and the addresses of the profile: another device may answer.",
        )

    return test


def _limits(kind: str, point: AnyPoint) -> tuple[float, float] | None:
    """Below and above which the point is implausible; None: nothing is known."""
    low, high = PHYSICAL.get(unit_of(point.name) or "", (-math.inf, math.inf))
    for of_kind, pattern, limits in _BY_NAME:
        if of_kind in ("", kind) and re.fullmatch(pattern, point.name):
            low, high = limits
    if point.counter:
        low = max(low, 0.0)
    if point.minimum is not None:
        low = max(low, float(point.minimum))
    if point.maximum is not None:
        high = min(high, float(point.maximum))
    return None if (low, high) == (-math.inf, math.inf) else (low, high)


def _range_test(point: AnyPoint, limits: tuple[float, float]) -> _Test:
    low, high = limits
    may_be_0 = point.minimum is None or point.minimum <= 0
    do = f"Check address, type, word order and scale of {point.name}."

    def test(window: Window) -> Verdict:
        seen = [sample.values[point.name] for sample in window if point.name in sample.values]
        wrong = [v for v in seen if not low <= v <= high and not (v == 0 and may_be_0)]
        tiny = sum(point.name in sample.tiny for sample in window)
        verdict = Verdict("range", (point.name,), None, "no value", do)
        if not seen:
            return verdict
        if _is_most(tiny, seen):
            return replace(verdict, holds=False, found="so small a number that nothing measures it")
        if not _is_most(len(wrong), seen):
            return replace(verdict, holds=True, found=_from_to(seen))
        found = f"{_from_to(wrong)}, where {low:g} to {high:g} can be"
        return replace(verdict, holds=False, found=found)

    return test


def _sum_test(points: Mapping[str, AnyPoint], check: SumCheck) -> _Test:
    step = sum(_resolution(points[name]) for name in check.names)
    step += _LEAST_SUM_W if unit_of(check.total) == "W" else 0.0
    tolerance = float(check.tolerance_ratio)

    def test(window: Window) -> Verdict:
        rows = [
            (float(s.values[check.total]), [float(s.values[part]) for part in check.parts])
            for s in window
            if set(check.names) <= set(s.values)
        ]
        loaded = [
            (total, sum(parts), sum(map(abs, parts)) + abs(total))
            for total, parts in rows
            if total or any(parts)
        ]
        verdict = Verdict("sum_of_phases", check.names, None, "no load" if rows else "no value")
        if not loaded:
            return verdict
        off = [abs(total - added) > tolerance * size + step for total, added, size in loaded]
        total, added, _ = loaded[-1]
        found = f"{check.total} {total:,.6g}, sum of its parts {added:,.6g}"
        totals, sums, sizes = (sum(column) for column in zip(*loaded, strict=True))
        is_off = abs(totals - sums) > tolerance * sizes + len(loaded) * step  # on average
        if not (is_off and _is_most(sum(off), off, window)):
            return replace(verdict, holds=True, found=found)
        return replace(
            verdict,
            holds=False,
            found=f"{found}{_times(total, added)}",
            do="Check addresses and scales of these points, and which way each current"
            " transformer looks.",
        )

    return test


def _product_test(
    points: Mapping[str, AnyPoint], power: str, pairs: Sequence[tuple[str, str]]
) -> _Test:
    is_dc = "dc_" in power
    factor = power.replace("power", "power_factor").removesuffix("_w") + "_ratio"
    reactive = power.replace("power", "reactive").removesuffix("_w") + "_var"
    step_a = _resolution(points[pairs[0][1]])
    names = (power, *(name for pair in pairs for name in pair))
    product = "voltages x currents" if len(pairs) > 1 else " x ".join(pairs[0])

    def highest_lowest(values: Mapping[str, Number], apparent_va: float) -> tuple[float, float]:
        """Between which real over apparent power must be."""
        if is_dc:
            return 1 + _OFF_RATIO, 1 - _OFF_RATIO
        if factor in values and abs(values[factor]) <= 1:
            said = abs(values[factor])
            return said + _OFF_RATIO, said - _OFF_RATIO
        if reactive in values:
            said = math.sqrt(max(0.0, 1 - (values[reactive] / apparent_va) ** 2))
            return _HIGHEST_FACTOR, said - 2 * _OFF_RATIO
        return _HIGHEST_FACTOR, _LOWEST_FACTOR

    def limits_of(sample: Sample) -> tuple[float, float, float, float] | None:
        """Real and apparent power, and between which the real one must be; None: no load."""
        values = sample.values
        real = abs(float(values[power]))
        apparent_va = sum(abs(float(values[v]) * float(values[a])) for v, a in pairs)
        if apparent_va < _LEAST_LOAD_VA and real < _LEAST_LOAD_W:
            return None
        slack = step_a * sum(abs(float(values[v])) for v, _ in pairs) + 1.0
        high, low = highest_lowest(values, max(apparent_va, 1e-9))
        lowest_w = low * apparent_va - slack if real > _LEAST_LOAD_W else 0.0
        return real, apparent_va, lowest_w, high * apparent_va + slack

    def test(window: Window) -> Verdict:
        whole = (sample for sample in window if set(names) <= set(sample.values))
        loaded = [found for sample in whole if (found := limits_of(sample)) is not None]
        verdict = Verdict("product", names, None, "no load")
        if not loaded:
            return verdict
        off = [not low <= real <= high for real, _, low, high in loaded]
        total, _, lowest, highest = (sum(column) for column in zip(*loaded, strict=True))
        is_off = not lowest <= total <= highest  # on average: not all is read at one instant
        real, apparent_va, *_ = loaded[-1]
        return replace(
            verdict,
            holds=not (is_off and _is_most(sum(off), off, window)),
            found=f"{power} {real:,.6g}, {product} {apparent_va:,.6g}{_times(real, apparent_va)}",
            do="Check addresses, scales and transformer ratios of these points.",
        )

    return test


def _efficiency(window: Window) -> Verdict:
    """An inverter gives out a little less than it takes."""
    rows = [
        (float(s.values["ac_power_w"]), float(s.values["dc_power_w"]))
        for s in window
        if {"ac_power_w", "dc_power_w"} <= set(s.values)
    ]
    loaded = [(ac, dc) for ac, dc in rows if max(abs(ac), abs(dc)) > _LEAST_LOAD_W]
    verdict = Verdict("efficiency", ("ac_power_w", "dc_power_w"), None, "no load")
    if not loaded:
        return verdict

    def is_off(ac: float, dc: float) -> bool:
        return not _LOWEST_EFFICIENCY * dc <= ac <= _HIGHEST_EFFICIENCY * dc

    off = sum(is_off(ac, dc) for ac, dc in loaded)
    ac, dc = loaded[-1]
    totals = map(sum, zip(*loaded, strict=True))
    return replace(
        verdict,
        holds=not (is_off(*totals) and _is_most(off, loaded, window)),
        found=f"ac_power_w {ac:,.6g}, dc_power_w {dc:,.6g}{_times(ac, dc)}",
        do="Check addresses and scales of both, and whether a battery stands between them.",
    )


def _string_test(voltage: str, current: str) -> _Test:
    """A string gives no more than all of them."""
    names = (voltage, current, "dc_power_w")

    def test(window: Window) -> Verdict:
        rows = [
            (float(s.values[voltage]) * float(s.values[current]), float(s.values["dc_power_w"]))
            for s in window
            if set(names) <= set(s.values)
        ]
        loaded = [(one, whole) for one, whole in rows if max(one, whole) > _LEAST_LOAD_W]
        verdict = Verdict("string", names, None, "no load")
        if not loaded:
            return verdict
        off = [one > (1 + _OFF_RATIO) * whole + _LEAST_LOAD_W for one, whole in loaded]
        one, whole = loaded[-1]
        return replace(
            verdict,
            holds=not _is_most(sum(off), off, window),
            found=f"{voltage} x {current} {one:,.6g}, dc_power_w {whole:,.6g}{_times(one, whole)}",
            do="Check addresses and scales of these three points.",
        )

    return test


def _at_most_test(check: AtMostCheck) -> _Test:
    def test(window: Window) -> Verdict:
        rows = [
            (sample.values[check.point], sample.values[check.limit])
            for sample in window
            if set(check.names) <= set(sample.values)
        ]
        verdict = Verdict("at_most", check.names, None, "no value")
        if not rows:
            return verdict
        part, whole = rows[-1]
        off = sum(part > whole for part, whole in rows)
        return replace(
            verdict,
            holds=not _is_most(off, rows),
            found=f"{check.point} {part:,}, {check.limit} {whole:,}",
            do="Check addresses and scales of both: a part cannot be more than the whole.",
        )

    return test


# -------------------------------------------------------------------------------- steps of time


def _monotonic_test(point: AnyPoint) -> _Test:
    def test(window: Window) -> Verdict:
        seen = [sample.values[point.name] for sample in window if point.name in sample.values]
        verdict = Verdict("monotonic", (point.name,), None, "one value" if seen else "no value")
        falls = [(a, b) for a, b in pairwise(seen) if _delta(point, a, b) is None]
        if len(seen) < 2:
            return verdict
        if not falls:
            return replace(verdict, holds=True, found=_from_to(seen))
        before, after = falls[-1]
        return replace(
            verdict,
            holds=False,
            found=f"{point.name} fell from {before:,} to {after:,}",
            do="The device was reset or replaced, or the register is no counter: check its"
            " address, type and word order.",
        )

    return test


def _delta(point: AnyPoint, before: Number, after: Number) -> Number | None:
    """What a counter has counted; None: it fell and nothing explains it."""
    if after >= before:
        return after - before
    if point.modulus is not None:
        span = int(point.modulus * point.scale)
        if before - after > span // 2:
            return after - before + span
    if point.daily and after <= _NEW_DAY_RATIO * before:
        return after
    step = max(float(point.quantum or 0), _float_step(point, float(before)))
    return 0 if before - after <= step else None


def _seconds_test(point: AnyPoint) -> _Test:
    """Hours of running are counted no faster than time passes."""
    step_s = _resolution(point)

    def test(window: Window) -> Verdict:
        seen = [(s.t_s, s.values[point.name]) for s in window if point.name in s.values]
        verdict = Verdict("seconds", (point.name,), None, "no value")
        if len(seen) < 2:
            return verdict
        passed_s = seen[-1][0] - seen[0][0]
        counted_s = seen[-1][1] - seen[0][1]
        moved_s = max(b[1] - a[1] for a, b in pairwise(seen))  # it may be written now and then
        slack_s = max(step_s, min(moved_s, _LONGEST_STILL_S))
        return replace(
            verdict,
            holds=counted_s <= 1.01 * passed_s + slack_s,
            found=f"{point.name} counted {counted_s:,.0f} s in {passed_s:,.0f} s",
            do=f"Check address and scale of {point.name}: another quantity may stand there.",
        )

    return test


@dataclass(frozen=True)
class _Flow:
    """A counter and the power that feeds it, over the steps that were read whole."""

    counted_wh: float
    expected_wh: float
    step_wh: float  # what the counter's steps cost, at most
    noise_wh: float  # what sampling costs
    unseen_wh: float  # what short loads cost that no sample, or every one of them, has met
    span_s: float


def _rate_test(points: Mapping[str, AnyPoint], check: RateCheck) -> _Test:
    counter, tolerance = points[check.counter], float(check.tolerance_ratio)
    shares = _shares(counter, points[check.power], points.get("power_w"))

    def test(window: Window) -> Verdict:
        made = [verdict_of(window, share) for share in shares]
        return min(made, key=lambda verdict: (True, None, False).index(verdict.holds))

    def verdict_of(window: Window, share: Callable[[float], float]) -> Verdict:
        flow = _flow(counter, check.power, share, window)
        verdict = Verdict("rate", check.names, None, "too few samples, or too far apart")
        if flow is None:
            return verdict
        allowed_wh = tolerance * flow.expected_wh + flow.step_wh + flow.noise_wh
        off_wh = abs(flow.counted_wh - flow.expected_wh)
        found = (
            f"{check.counter} counted {flow.counted_wh:,.6g} in {flow.span_s:,.0f} s,"
            f" {check.power} makes it {flow.expected_wh:,.6g} +-{allowed_wh:,.3g}"
        )
        if flow.counted_wh == 0 < flow.expected_wh and flow.span_s < _LONGEST_STILL_S:
            do = f"Read for {_LONGEST_STILL_S:.0f} s or more."
            return replace(verdict, found=f"{found}: the counter has not moved yet", do=do)
        if off_wh > allowed_wh >= off_wh - flow.unseen_wh:
            do = "Read it more often: short loads between two readings may explain it."
            return replace(verdict, found=found, do=do)
        if off_wh > allowed_wh:
            return replace(
                verdict,
                holds=False,
                found=found + _times(flow.counted_wh, flow.expected_wh),
                do=_rate_advice(flow, check),
            )
        if allowed_wh > _POWER_OF_TEST * flow.expected_wh:
            if flow.expected_wh <= 0:
                return replace(verdict, found=f"{found}: no load")
            longer = (flow.step_wh + flow.noise_wh) / (_POWER_OF_TEST - tolerance)
            needed_s = math.ceil(flow.span_s * longer / flow.expected_wh / 60) * 60
            return replace(
                verdict,
                found=f"{found}: the load is small for the counter's steps",
                do=f"Read for {needed_s} s or more, or under more load.",
            )
        return replace(verdict, holds=True, found=found)

    return test


def _shares(
    counter: AnyPoint, power: AnyPoint, total: AnyPoint | None
) -> tuple[Callable[[float], float], ...]:
    """Which part of a power feeds the counter; both where no source says what its sign means."""
    found = _FED_BY.fullmatch(counter.name)
    counted = counter.direction or _FLOWS.get("" if found is None else found["kind"])
    flowing = power.direction or (None if total is None else total.direction)
    if counted in (None, "sum"):
        return (abs,)
    if flowing is None:
        return _forwards, _backwards
    return (_forwards,) if counted == flowing else (_backwards,)


def _forwards(watts: float) -> float:
    return max(watts, 0.0)


def _backwards(watts: float) -> float:
    return max(-watts, 0.0)


def _flow(
    counter: AnyPoint, power: str, share: Callable[[float], float], window: Window
) -> _Flow | None:
    """What was counted and what the power says, over neighbouring samples that have both."""
    rows = [
        (sample.t_s, sample.values[counter.name], share(float(sample.values[power])))
        for sample in window
        if counter.name in sample.values and power in sample.values
    ]
    steps = sorted(b[0] - a[0] for a, b in pairwise(rows))
    if len(steps) < _FEWEST:
        return None
    longest_s = min(LONGEST_STEP_S, _MOST_STEP_RATIO * steps[len(steps) // 2])
    counted = expected = unrest = span_s = 0.0
    moves: list[float] = []
    excess: list[float] = []
    segments, before_broken = 0, True
    used = 0
    for (t0, e0, p0), (t1, e1, p1) in pairwise(rows):
        delta = _delta(counter, e0, e1)
        if not 0 < t1 - t0 <= longest_s or delta is None:
            before_broken = True
            continue
        segments += before_broken
        before_broken = False
        counted += float(delta)
        step_expected = (p0 + p1) / 2 * (t1 - t0) / S_PER_H
        expected += step_expected
        excess.append(float(delta) - step_expected)
        unrest += (p1 - p0) ** 2
        span_s += t1 - t0
        used += 1
        if delta:
            moves.append(float(delta))
    if used < _FEWEST:
        return None
    # A power that jumps from sample to sample: the standard error of its mean (von Neumann's
    # estimate of the variance, from successive differences), times the span.
    sigma_w = math.sqrt(unrest / used / 2)
    sigmas = _SIGMAS * (1 + _FEW_STEPS / used)
    noise_wh = sigmas * sigma_w * span_s / S_PER_H / math.sqrt(used)
    usual_move = sorted(moves)[len(moves) // 2] if moves else 0.0
    step_wh = max(_resolution(counter), usual_move, _float_step(counter, float(rows[-1][1])))
    sign = 1 if counted > expected else -1
    most_w = max(_UNSEEN_W, _UNSEEN_RATIO * max(power_w for _, _, power_w in rows))
    unseen_wh = min(
        _UNSEEN_STEPS * span_s / used * most_w / S_PER_H,
        sum(sorted(sign * one for one in excess)[-max(_UNSEEN_STEPS, used // 10) :]),  # few such
    )
    return _Flow(counted, expected, segments * step_wh, noise_wh, unseen_wh, span_s)


def _rate_advice(flow: _Flow, check: RateCheck) -> str:
    if flow.expected_wh <= flow.step_wh < flow.counted_wh:
        return (
            f"{check.counter} counts while power flows the other way: import and export are"
            " swapped, or current transformers look backwards."
        )
    if flow.counted_wh <= flow.step_wh:
        return (
            f"{check.counter} stands still under load: check its address, word order and direction."
        )
    return f"Check scale, address and transformer ratios of {check.counter} and {check.power}."


# ------------------------------------------------------------------------------------- figures


def _resolution(point: AnyPoint) -> float:
    """The least step of a point that is no float; where a scale register says it, as given."""
    if point.quantum is not None:
        return float(point.quantum)
    return 0.0 if getattr(point, "type", "").startswith("float") else abs(float(point.scale))


_DIGITS = {"float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}


def _float_step(point: AnyPoint, value: float) -> float:
    """The step of a float at a value: it grows with it."""
    return abs(value) * _DIGITS.get(getattr(point, "type", ""), 0.0)


def _times(a: float, b: float) -> str:
    """A factor of ten, in words, where that is what the two differ by."""
    if a * b <= 0:
        return ": the signs differ" if a * b < 0 else ""
    tens = math.log10(a / b)
    nearest = round(tens)
    if nearest and abs(tens - nearest) < 0.1:
        return f": a factor of {Decimal(10) ** abs(nearest):,f}"
    return ""


def _from_to(values: Sequence[Number]) -> str:
    low, high = min(values), max(values)
    return f"{low:,.6g}" if low == high else f"{low:,.6g} to {high:,.6g}"
