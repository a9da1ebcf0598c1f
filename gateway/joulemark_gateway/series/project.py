"""From leaves to rows, a part at a time; however the parts are cut, the rows are the same. Pure.

Intervals are differences of carried counters, never max - min (which loses what lies between two
windows), followed as measurement follows them: what a reading alone cannot tell waits for the next.
A step over more than LONGEST_STEP slots, or windows.LONGEST_US, stands as one row, or as one for
each local day, so that no reading asks for rows without end and every day has its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

import numpy as np

from joulemark_agent.contract.profile import Profile
from joulemark_agent.figures import POINT_PREFIX, UNCERTAINTY_PREFIX
from joulemark_agent.kernels.clean import all_zero_steps
from joulemark_agent.kernels.counter import (
    LARGEST,
    Flags,
    Followed,
    follow,
    midnights_us,
    semantics_of,
)
from joulemark_agent.kernels.energy import counter_energy
from joulemark_agent.kernels.stamps import late_us
from joulemark_gateway.evidence.history import Record, Tree
from joulemark_gateway.series.accounts import batches_in, slots_of
from joulemark_gateway.series.base import (
    QUALITY,
    Carry,
    Integers,
    Intervals,
    Part,
    Points,
)
from joulemark_gateway.series.gauges import gauges_of
from joulemark_gateway.series.said import NO_COUNT, Said, count_in, said_by
from joulemark_gateway.series.tables import QUARTER
from joulemark_gateway.series.windows import (
    DAY_US,
    LONGEST_US,
    FactorOn,
    co2e_of,
    days,
    quarters,
    windows_of,
)

LONGEST_STEP = 1000  # slots that a step is spread over, or days


@dataclass(frozen=True)
class Known:
    """What the documents say besides of the device, and the ledger of the leaves."""

    factor_on: FactorOn = lambda _day: None
    slot_us: int | None = None  # distance of the slots; None: their records stay at the gateway
    notes: Mapping[int, str] = field(default_factory=dict)  # cosigned checkpoints by size


_NOTHING = Known()


def part_of(  # noqa: PLR0917 -- the leaves, and four things that are known of their device
    tree: Tree,
    size: int,
    profile: Profile,
    period_us: int,
    zone: ZoneInfo,
    carry: Carry,
    known: Known = _NOTHING,
) -> Part:
    """The rows of some leaves of a tree.

    Args:
        tree: the leaves, parsed.
        size: of the whole tree after them.
        profile: of the device.
        period_us: distance of its slots. [us]
        zone: of its site.
        carry: what the part before left.
        known: what CO2e, slots and batches need; without it there are none.
    """
    others, due_us = batches_in(tree, known.notes), carry.due_us
    if known.slot_us is not None:
        slots, due_us = slots_of(tree, known.slot_us, _due_us(tree, carry))
        others += slots
    records, said = tree.records, said_by(tree.records, profile)
    points = _points(said, tree)
    if not records:
        rest = replace(carry, due_us=due_us)
        return Part(tree.origin, size, rest, points, _intervals([]), tuple(others))
    slot_us, instants = tree.columns.slot_us, tree.instants
    late = late_us([carry.instant, *instants])[1:]
    states: dict[str, tuple[int, ...]] = {}
    windows = dict(carry.open)
    found: list[tuple[str, Sequence[Integers]]] = []
    for point in profile.points:
        if not point.counter:
            continue
        counts = said.counts[point.name]
        followed = follow(
            semantics_of(profile, point, period_us),
            slot_us,
            counts,
            (counts >= 0) & (slot_us % period_us == 0),
            _steps_ok(profile, point.name, said, carry),
            zone,
            carry.followed.get(point.name, ()),
            late,
        )
        states[point.name] = followed.state
        found.append((point.name, _counted(followed, period_us, zone)))
        for kind in (quarters(), days(zone)):
            place = f"{kind.measurement} {point.name}"
            rows, windows[place] = windows_of(kind, point.name, followed, windows.get(place, ()))
            if rows is not None:
                others.append(rows)
                if kind.measurement == QUARTER:
                    others += co2e_of(rows, profile, zone, known.factor_on)
    names = [point.name for point in profile.points if not point.counter]
    gauges, open_gauges = gauges_of(names, slot_us, said.good(names), carry.gauges)
    others += gauges
    rest = Carry(_good_values(records[-1]), states, instants[-1], windows, open_gauges, due_us)
    return Part(tree.origin, size, rest, points, _intervals(found), tuple(others))


def _due_us(tree: Tree, carry: Carry) -> int | None:
    first = tree.grant["first_slot"]
    if carry.due_us is not None or tree.first_seq or first is None:
        return carry.due_us
    return int(first)


def _good_values(record: Record) -> dict[str, str]:
    return {name: text for name, text in record.values.items() if name not in record.quality}


def _points(said: Said, tree: Tree) -> Points:
    is_sample = said.is_sample()
    rows, columns = np.nonzero(is_sample)
    names: list[str] = []
    times_us: list[int] = []
    values: list[float] = []
    codes: list[int] = []
    for event in tree.figures:
        for name, figure in sorted(event.fields["figures"].items()):
            for prefix, part in ((POINT_PREFIX, "value"), (UNCERTAINTY_PREFIX, "u")):
                if figure[part] is not None:
                    names.append(prefix + name)
                    times_us.append(int(event.fields["end"]))
                    values.append(float(figure[part]))
                    codes.append(QUALITY["uncertain" if figure["flags"] else "good"])
    return Points(
        np.append(np.array(said.names, object)[columns], np.array(names, object)),
        np.append(tree.columns.t_utc_us[rows], np.array(times_us, np.int64)),
        np.append(said.value[is_sample], np.array(values, np.float64)),
        np.append(said.quality[is_sample], np.array(codes, np.uint8)),
    )


def _counted(followed: Followed, period_us: int, zone: ZoneInfo) -> Sequence[Integers]:
    """The intervals between the nodes."""
    if followed.t_us.size == 0:
        return ()
    edges_us = _edges(followed.t_us, period_us, zone)
    all_good = np.ones(followed.t_us.size, np.bool_)
    amount, covered, estimated, missing, _ = counter_energy(
        followed.t_us, followed.count, all_good, followed.step[1:], edges_us, LARGEST
    )
    return edges_us[:-1], edges_us[1:], amount, covered, estimated, missing


def _edges(t_us: Integers, period_us: int, zone: ZoneInfo) -> Integers:
    """The slots from the first node to the last; of a very long step only the midnights in it.

    Where such a step has no quarter-hours of its own, it is cut as they are at its ends.
    """
    is_long = np.flatnonzero(np.diff(t_us) > min(LONGEST_STEP * period_us, LONGEST_US))
    starts = t_us[np.append(0, is_long + 1)].tolist()
    ends = t_us[np.append(is_long, t_us.size - 1)].tolist()
    edges: list[Integers] = []
    for start, end, following in zip(starts, ends, [*starts[1:], ends[-1]], strict=True):
        edges.append(np.arange(start, end + 1, period_us, dtype=np.int64))
        edges.append(midnights_us(end, following, zone, LONGEST_STEP))
        if LONGEST_US < following - end <= LONGEST_STEP * DAY_US:
            edges.append(quarters().edges(end, following, True))
    return np.unique(np.concatenate(edges))


def _steps_ok(profile: Profile, name: str, said: Said, carry: Carry) -> Flags:
    """Whether the step to each record counts: no rule of the profile takes it away."""
    before = carry.values
    step_ok = np.ones(len(said.value), np.bool_)
    for rule in profile.rules:
        if name not in rule.counters:
            continue
        counted = [count_in(before[c]) if c in before else NO_COUNT for c in rule.counters]
        counters = np.array([said.counts[c] for c in rule.counters], np.int64)
        read = [float(before.get(g, "nan")) for g in rule.gauges]
        step_ok &= all_zero_steps(
            np.insert(counters, 0, counted, axis=1),
            np.insert(said.good(rule.gauges).T, 0, read, axis=1),
        )
    return step_ok


def _intervals(found: Sequence[tuple[str, Sequence[Integers]]]) -> Intervals:
    rows = [(name, columns) for name, columns in found if columns]
    names = [name for name, columns in rows for _ in range(columns[0].size)]
    none = np.empty(0, np.int64)
    joined = [np.concatenate([none, *(columns[i] for _, columns in rows)]) for i in range(6)]
    start, end, amount, covered, estimated, missing = joined
    return Intervals(np.array(names, object), start, end, amount, covered, estimated, missing)
