"""Clocks that are set, drift, start in 1970 or say nothing: no energy is lost, every doubt is told.

A whole agent reads a meter that knows the truth while its clock is set by a second, an hour or a
year, forth and back, at random too; runs fast, is smeared or stands in 1970 at the start; and
crosses both changes of summer time. In virtual time, and as a process of its own whose wall clock
libfaketime sets while it runs. Agents that lie about the time meet a collector that knows when it
heard. Controls: power times the time between two wall clock stamps; slots taken for the time that
went by; any delay taken for an outage.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

from joulemark_gateway.evidence.clocks import agent_clock_events
from joulemark_gateway.measure.calendar import grid
from support import back_dating, faked_time, virtual_time
from support.faked_time import Life, until_s
from support.set_clocks import BEGUN_US, Course, Found, Judged, found_in, judge, lived, naive

HOUR, DAY, YEAR = 3600, 86_400, 31_536_000
BERLIN = "Europe/Berlin"
SEQUENCES, FEW_SEQUENCES = 300, 6
SETS, FEW_SETS = 30, 1
_SET = (
    Course("forth by 1 s", 60, ((20.3, 1),)),
    Course("back by 1 s", 60, ((20.3, -1),)),
    Course("back by 1 s at a slot, as a leap second", 60, ((20, -1),)),
    Course("forth by 1 h", 60, ((20.3, HOUR),)),
    Course("back by 1 h, to the end of it", HOUR + 90, ((20.3, -HOUR),)),
    Course("back by 1 h and put right", 130, ((20.3, -HOUR), (90.4, HOUR))),
    Course("forth by 1 year", 60, ((20.3, YEAR),)),
    Course("back by 1 year and put right", 130, ((20.3, -YEAR), (90.4, YEAR))),
    Course("1970 at the first start, then put right", 60, ((20.3, BEGUN_US // 10**6),), 500_000,
           unset_until_s=20.3),
)  # fmt: skip
_SLOW = (
    Course("both clocks fast by 100 ppm", 1800, fast=100e-6, unset_until_s=1e9, period_s=10),
    Course("the wall clock alone by 100 ppm", 1800, strays=100e-6, unset_until_s=1e9, period_s=10),
    Course("a leap second smeared over two hours", 2 * HOUR, fast=1 / (2 * HOUR), period_s=10),
)
_FEW = (
    Course("forth by 1 s, back by 1 s, forth by 1 h, back by 90 s", 190,
           ((20.3, 1), (40.3, -1), (60.3, HOUR), (80.3, -90))),
)  # fmt: skip
_BUSY = {"overrun", "timeout"}  # what a machine with too much to do says of its own processes
_CHANGES = ("2027-03-28T00:59:58Z", "2027-10-31T00:59:58Z")
_SUMMER = ("2027-03-28", "2027-10-31")  # of 23 and of 25 hours in Berlin


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Every case, and many at random; `full=False` a few."""
    rng = random.Random(seed)
    drawn = [_drawn(rng, k) for k in range(SETS if full else FEW_SETS)]
    courses = [*(_SET + _SLOW if full else _FEW), *drawn]
    figures = _all_of(courses)
    if full:
        figures |= _summer()
    figures |= _ended_ahead()
    figures |= asyncio.run(_real(full=full))
    return {**figures, **back_dating.run(seed, SEQUENCES if full else FEW_SEQUENCES)}


def _drawn(rng: random.Random, number: int) -> Course:
    """One to four sets of the clock; the last puts right what would be waited for too long."""
    steps, at_s, ahead_s = [], 10.0, 0
    for _ in range(rng.randrange(1, 5)):
        at_s += rng.uniform(5, 40)
        by_s = rng.choice([1, 2, 7, 60, HOUR, DAY, YEAR]) * rng.choice([-1, 1])
        steps.append((at_s, float(by_s)))
        ahead_s = max(ahead_s, 0) + by_s if by_s > 0 else ahead_s + by_s
    behind_s = -min(sum(by for _, by in steps[k:]) for k in range(len(steps)))
    if behind_s > 2 * 60:
        at_s += 20.0
        steps.append((at_s, float(behind_s)))
    return Course(f"at random {number}", at_s + 200, tuple(steps))


def _all_of(courses: Sequence[Course]) -> dict[str, str]:
    """Run each; the controls must fail wherever the clock was set."""
    told, causes, wrong_wh, lost = Counter[str](), Counter[str](), 0, 0
    for course in courses:
        found, judged = _lived([course])
        assert set(found.causes) <= {"clock_step"}, (course.name, found.causes)
        causes.update(found.causes)
        told += Counter(records=judged.records, steps=judged.steps, wh=judged.wh)
        told["flagged"] += len(found.flagged)
        naive_wh, negative = naive(judged.meter, course)
        told["set"] += bool(course.steps)
        told["naive"] += bool(course.steps and (naive_wh or negative))
        wrong_wh += abs(naive_wh)
        told["negative"] += negative
        lost += judged.lost_wh
    assert told["negative"], "the control must fail"
    assert told["naive"] >= 0.9 * told["set"], "the control must fail, but for +1 s and -1 s"
    assert lost, "the control must fail"
    return {
        "clocks, readings": f"{len(courses)}, {told['records']:,}",
        "energy of all, error": f"{told['wh']:,} Wh, 0 Wh",
        "negative intervals, counters called wrong": "0, 0",
        "readings whose clock was set or in doubt, flagged": back_dating.all_of(told["flagged"]),
        "steps of the clock told in size": f"{told['steps']} of {told['steps']}",
        "slots passed over, all `clock_step`": f"{causes['clock_step']:,}",
        "control by wall clock stamps: wrong for, by, negative intervals": (
            f"{told['naive']} of {told['set']} clocks that were set, {wrong_wh:,} Wh,"
            f" {told['negative']}"
        ),
        "control that takes slots for the time that went by: lost": f"{lost:,} Wh",
    }


def _lived(lives: Sequence[Course], epochs: Sequence[int] = ()) -> tuple[Found, Judged]:
    with tempfile.TemporaryDirectory(prefix="joulemark-clocks-") as name:
        meter = virtual_time.run(lived(Path(name), lives, epochs))
        found = found_in(Path(name) / "state", max(epochs, default=1))
        return found, judge(found, meter, lives)


def _summer() -> dict[str, str]:
    """Local days of 23 and 25 hours have what the meter counted in them, whatever the rules say."""
    hours = []
    for day in _SUMMER:
        start = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(hours=2, minutes=10)
        shows_us = int(start.timestamp()) * 10**6
        course = Course(day, 4 * HOUR, shows_us=shows_us, period_s=10, zone=BERLIN)
        found, judged = _lived([course])
        assert not found.flagged
        assert not found.causes
        for zone in (ZoneInfo(BERLIN), _other_rules()):
            first = date.fromisoformat(day) - timedelta(days=1)
            edges_us = grid(first, first + timedelta(days=4), "day", zone).edges_us
            totals = found.counted.totals(edges_us)
            assert (totals.total >= 0).all()
            assert int(totals.total.sum()) == judged.wh
            if zone.key == BERLIN and zone == ZoneInfo(BERLIN):
                hours.append(int(edges_us[2] - edges_us[1]) // (HOUR * 10**6))
    assert hours == [23, 25]
    return {
        "local days of 23 and of 25 hours, and under other rules of the zone: error": "0 Wh",
    }


def _other_rules() -> ZoneInfo:
    """The zone as if its country had given summer time up."""
    with files("tzdata").joinpath("zoneinfo/Europe/Istanbul").open("rb") as file:
        return ZoneInfo.from_file(file, key=BERLIN)


def _ended_ahead() -> dict[str, str]:
    """A clock that was a year ahead is put right: a new epoch reads at once, the old one waits."""
    ahead = Course("a year ahead", 30, shows_us=BEGUN_US + YEAR * 10**6)
    right = Course("right", 90, shows_us=BEGUN_US)
    with tempfile.TemporaryDirectory(prefix="joulemark-clocks-") as name:
        folder = Path(name)
        virtual_time.run(lived(folder, [ahead, replace(right, lasts_s=60)]))
        waited = found_in(folder / "state")
        meter = virtual_time.run(lived(folder, [right], [2]))
        found = found_in(folder / "state", 2)
        read = judge(found, meter).records
    begun = [one for one in waited.tree.records if one.t_utc_us < BEGUN_US + DAY * 10**6]
    assert not begun, "a slot of the future was waited for"
    return {
        "readings after a year ahead is put right, in the old epoch and in a new one": f"0, {read}"
    }


async def _real(*, full: bool) -> dict[str, str]:
    """The agent as a process of its own, with a wall clock that is set while it runs."""
    lives, wanted = [Life([0, 1, 0, HOUR])], [1, -1, HOUR]
    if full:
        past_s, spring_s, autumn_s = map(until_s, ("1970-01-01T00:01:00Z", *_CHANGES))
        lives = [
            Life([0, 1, 0, HOUR, 0, HOUR, YEAR, 0], silent=[4, 7]),
            Life([0], epoch=2),
            Life([past_s, 0], silent=[0]),
            Life([spring_s, autumn_s], environment={"TZ": BERLIN}),
        ]
        wanted = [1, -1, HOUR, YEAR - HOUR]
    with tempfile.TemporaryDirectory(prefix="joulemark-clocks-") as name:
        meter, said = await faked_time.lived(Path(name), lives)
        epochs = [found_in(Path(name) / "state", epoch) for epoch in ((1, 2) if full else (1,))]
    assert ('"clock_behind"' in said) == full, said[-2000:]
    judged = [judge(found, meter) for found in epochs]
    told = [event.step_us / 1e6 for event in agent_clock_events(epochs[0].tree)]
    assert len(told) == len(wanted), told
    assert all(abs(one - other) < 0.2 for one, other in zip(told, wanted, strict=True)), told
    causes = sum((Counter(found.causes) for found in epochs), Counter[str]())
    assert set(causes) <= {"clock_step", "agent_down", *_BUSY}, causes
    return {
        "process under libfaketime: readings, steps told": (
            f"{sum(one.records for one in judged)}, {sum(one.steps for one in judged)}"
        ),
        "its energy, error": f"{sum(one.wh for one in judged):,} Wh, 0 Wh",
        "its slots without a reading": ", ".join(f"{n:,} {c}" for c, n in sorted(causes.items())),
    }
