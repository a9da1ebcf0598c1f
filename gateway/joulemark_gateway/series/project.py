"""From leaves to rows, a part at a time; however the parts are cut, the rows are the same. Pure.

Intervals are differences of carried counters, never max - min (which loses what lies between two
windows), and take the same steps away as measurement does. One thing differs, because the future is
not known here: a counter that reads 0 after it counted is passed over until it counts again. A step
over more than LONGEST_STEP slots stands as one row, so that no reading asks for rows without end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.profile import Profile
from joulemark_agent.kernels.clean import all_zero_steps
from joulemark_agent.kernels.energy import counter_energy
from joulemark_gateway.evidence.history import Record, Tree
from joulemark_gateway.series.base import (
    OTHER_QUALITY,
    QUALITY,
    Carry,
    Integers,
    Intervals,
    Last,
    Part,
    Points,
)

LONGEST_STEP = 1000  # slots that a step is spread over
_LARGEST = 2**63 - 1


def part_of(tree: Tree, size: int, profile: Profile, period_us: int, carry: Carry) -> Part:
    """The rows of some leaves of a tree.

    Args:
        tree: the leaves, parsed.
        size: of the whole tree after them.
        profile: of the device.
        period_us: distance of its slots. [us]
        carry: what the part before left.
    """
    records = tree.records
    goods = [_good_values(record) for record in records]
    slots_us = [record.slot_us for record in records]
    counters: dict[str, Last] = dict(carry.counters)
    found: list[tuple[str, Sequence[Integers]]] = []
    for point in profile.points:
        if not point.counter or not records:
            continue
        step_ok = _steps_ok(profile, point.name, goods, carry)
        values = [_counter(good, point.name) for good in goods]
        columns, last = _counted(slots_us, values, step_ok, period_us, counters.get(point.name))
        if last is not None:
            counters[point.name] = last
        found.append((point.name, columns))
    after = Carry(goods[-1], counters) if records else carry
    return Part(tree.origin, size, after, _points(records), _intervals(found))


def _good_values(record: Record) -> dict[str, str]:
    return {name: text for name, text in record.values.items() if name not in record.quality}


def _points(records: Sequence[Record]) -> Points:
    names: list[str] = []
    times_us: list[int] = []
    values: list[float] = []
    codes: list[int] = []
    for record in records:
        for name in sorted({*record.values, *record.quality}):
            names.append(name)
            times_us.append(record.t_utc_us)
            values.append(float(record.values.get(name, "nan")))
            codes.append(QUALITY.get(record.quality.get(name, "good"), OTHER_QUALITY))
    return Points(
        np.array(names, object),
        np.array(times_us, np.int64),
        np.array(values, np.float64),
        np.array(codes, np.uint8),
    )


def _counted(
    slots_us: list[int],
    values: list[int],
    step_ok: NDArray[np.bool_],
    period_us: int,
    last: Last | None,
) -> tuple[Sequence[Integers], Last | None]:
    """The intervals up to the counter's last reading that counts, and that reading."""
    if last is not None:
        slots_us, values = [last.slot_us, *slots_us], [last.value, *values]
        step_ok = step_ok.copy()
        step_ok[0] &= not last.is_masked
    else:
        step_ok = step_ok[1:]
    t_us, counter = np.array(slots_us, np.int64), np.array(values, np.int64)
    good = _usable(t_us, counter, period_us)
    index = np.flatnonzero(good)
    if index.size == 0:
        return (), last
    end = int(index[-1])
    edges_us = _edges(t_us[index], period_us)
    amount, covered, estimated, missing, _ = counter_energy(
        t_us, counter, good, step_ok, edges_us, period_us * 3 // 2
    )
    is_masked = not bool(step_ok[end:].all())
    columns = (edges_us[:-1], edges_us[1:], amount, covered, estimated, missing)
    return columns, Last(int(t_us[end]), int(counter[end]), is_masked)


def _edges(t_us: Integers, period_us: int) -> Integers:
    """The slots from the first reading to the last, without those inside a very long step."""
    is_long = np.flatnonzero(np.diff(t_us) > LONGEST_STEP * period_us)
    starts = t_us[np.append(0, is_long + 1)]
    ends = t_us[np.append(is_long, t_us.size - 1)]
    pairs = zip(starts.tolist(), ends.tolist(), strict=True)
    runs = [np.arange(start, end + 1, period_us, dtype=np.int64) for start, end in pairs]
    return np.concatenate(runs)


def _usable(t_us: Integers, counter: Integers, period_us: int) -> NDArray[np.bool_]:
    """On the grid, later than those before, a value, and no 0 after the counter has counted."""
    good = (counter >= 0) & (t_us % period_us == 0)
    highest = np.maximum.accumulate(np.where(good, counter, -1))
    good &= (counter > 0) | (highest <= 0)
    latest_us = np.maximum.accumulate(np.where(good, t_us, -1))
    good[1:] &= t_us[1:] > latest_us[:-1]
    return np.asarray(good, np.bool_)


def _steps_ok(
    profile: Profile, name: str, goods: Sequence[Mapping[str, str]], carry: Carry
) -> NDArray[np.bool_]:
    """Whether the step to each record counts: no rule of the profile takes it away."""
    rows = [carry.values, *goods]
    step_ok = np.ones(len(goods), np.bool_)
    for rule in profile.rules:
        if name not in rule.counters:
            continue
        counters = np.array([[_counter(row, c) for row in rows] for c in rule.counters], np.int64)
        gauges = np.array([[float(row.get(g, "nan")) for row in rows] for g in rule.gauges])
        step_ok &= all_zero_steps(counters, gauges.reshape(len(rule.gauges), len(rows)))
    return step_ok


def _counter(good: Mapping[str, str], name: str) -> int:
    """The counter's value, -1 where it has none that counts."""
    value = int(good.get(name, "-1"))
    return value if value <= _LARGEST else -1


def _intervals(found: Sequence[tuple[str, Sequence[Integers]]]) -> Intervals:
    rows = [(name, columns) for name, columns in found if columns]
    names = [name for name, columns in rows for _ in range(columns[0].size)]
    none = np.empty(0, np.int64)
    joined = [np.concatenate([none, *(columns[i] for _, columns in rows)]) for i in range(6)]
    start, end, amount, covered, estimated, missing = joined
    return Intervals(np.array(names, object), start, end, amount, covered, estimated, missing)
