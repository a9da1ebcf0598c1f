"""What many points did in every window, from readings that come block by block.

Each point has one row of state, so that a block may hold one tick or a year, and the windows are
the same. A value counts between two good samples; how, is for the point to say:

    INST        the value of an instant: trapezoids                                     (E1)
    MEAN_RIGHT  the mean of the time that ends at its sample                            (E2)
    HOLD        the value until the next sample, as of a register that is seldom written

Windows are cut exactly, and an instant on an edge belongs to the window that it begins (E3). What
flows out and what flows back are two sums, also within one step (E4). A longer step than allowed,
or one with a bad sample inside, is missing, or estimated with the last value where the point's rule
bridges such a gap (E5). Sums carry what they round off (E11). A sample that is not later than the
last one is counted and changes nothing (E12; `arrivals` puts late ones in order).

A window ends when a sample shows that nothing more can be said of it. One that stands for several
was wholly missing: covered + estimated + missing is its length, always.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.energy import US_PER_H
from joulemark_agent.kernels.jit import compiled
from joulemark_agent.kernels.rows import grown

Times = NDArray[np.int64]
Values = NDArray[np.float64]
Rows = NDArray[np.float64]  # of closed windows; `named` tells the columns
State = NDArray[np.float64]

INST, MEAN_RIGHT, HOLD = 0, 1, 2
GOOD, SUSPECT, BAD, NONE = 0, 1, 2, 3  # NONE: there is no sample, as where a point is not due
IS_SUSPECT, IS_CUT = 1, 2  # flags of a window: a suspect sample counted; a segment ended in it

LATENESS_PERIODS = 2
_GAP_PERIODS = 3

# Of a closed window. Times are whole microseconds, which a float64 holds until the year 2255.
(
    POINT, START_US, END_US, IMPORT_WH, EXPORT_WH, COVERED_US, ESTIMATED_US, MISSING_US,
    MEAN, LOW, HIGH, SAMPLES, BAD_SAMPLES, DUPLICATES, OUT_OF_ORDER, FLAGS, REVISION,
) = range(17)  # fmt: skip
COLUMNS = (
    "point", "start_us", "end_us", "import_wh", "export_wh", "covered_us", "estimated_us",
    "missing_us", "mean", "low", "high", "samples", "bad_samples", "duplicates", "out_of_order",
    "flags", "revision",
)  # fmt: skip
_NAMED = np.dtype([(name, np.float64) for name in COLUMNS])
_WIDTH = len(COLUMNS)

# The state has the columns of the open window and behind them where the point stands.
_SEEN_US, _AT_US, _HAS, _VALUE, _MARK, _BROKEN, _IMPORT_REST, _EXPORT_REST = range(_WIDTH, 25)
_SIZE = 25

# The rule of a point, as the kernel has it.
_KIND, _MAX_GAP, _BRIDGED, _LENGTH, _OFFSET = range(5)
_MISSING, _ESTIMATED, _MEASURED = range(3)  # how a step is booked
_COUNTED = 1  # of a counter's step: `counter.MEASURED`
_LAST_US = 2**53
_LARGEST = 1e150  # a larger number is no measurement, and its energy might be none


class Rule(NamedTuple):
    """How the samples of one point count, and in which windows."""

    kind: int  # INST, MEAN_RIGHT or HOLD
    max_gap_us: int  # the longest step between two good samples that counts as measured
    length_us: int  # of a window
    offset_us: int = 0  # windows begin at whole multiples of their length after it
    bridged_us: int = 0  # the longest gap that is estimated with the last value; 0: none is


def max_gap_us(period_us: int, most_us: int | None = None) -> int:
    """The longest step that counts where nothing else is declared: three periods. [us]

    Formula: E1.

    Args:
        period_us: from sample to sample. [us]
        most_us: never more than this: 60 s for a compressor, 5 min for a PV plant. [us]
    """
    longest_us = _GAP_PERIODS * period_us
    return longest_us if most_us is None else min(longest_us, most_us)


def rules_of(rules: Sequence[Rule]) -> Times:
    """The rules of all points as `step_many` takes them, shape (points, 5)."""
    for rule in rules:
        if rule.kind not in (INST, MEAN_RIGHT, HOLD) or min(rule[1:3]) <= 0 or rule.bridged_us < 0:
            raise ValueError(f"{rule}: a known kind, a window and a step longer than 0")
    fields = [
        [rule.kind, rule.max_gap_us, rule.bridged_us, rule.length_us, rule.offset_us]
        for rule in rules
    ]
    return np.array(fields, np.int64).reshape(len(fields), 5)


def begun(points: int) -> State:
    """The state of points of which nothing is known yet, shape (points, fields)."""
    state = np.zeros((points, _SIZE))
    state[:, POINT] = np.arange(points)
    state[:, _SEEN_US] = -np.inf
    state[:, LOW], state[:, HIGH] = np.inf, -np.inf
    return state


def named(rows: Rows) -> NDArray[np.void]:
    """The same windows by column: `named(rows)["import_wh"]`, shape (m,)."""
    return rows.view(_NAMED)[:, 0]


def ended(rules: Times, state: State, end_us: int) -> Rows:
    """The windows that end by an instant, where nothing more will come: the rest is missing.

    Args:
        rules: of the points.
        state: carried on in place.
        end_us: the instant; the end of a window for all of it. [us]
    """
    points = state.shape[0]
    nothing = np.full((1, points), NONE, np.uint8)
    t_us = np.array([end_us], np.int64)
    return step_many(rules, state, t_us, np.zeros((1, points)), nothing, np.ones(1, np.bool_))


def step_many(  # noqa: PLR0917 -- one block of samples: its columns
    rules: Times,
    state: State,
    t_us: Times,
    x: Values,
    q: NDArray[np.uint8],
    cut: NDArray[np.bool_],
) -> Rows:
    """The windows that a block of samples closes, those of a point in the order of time.

    Formula: E1, E2, E3, E4, E5, E10, E11, E12, E13.

    Args:
        rules: of the points, from `rules_of`.
        state: of the points, from `begun` or the block before; carried on in place.
        t_us: the instant of each row of samples, less than 2^53 from 1970, shape (n,). [us]
        x: values, shape (n, points). [W; of any other rate or level the integral is in units x h]
        q: GOOD, SUSPECT, BAD or NONE, shape (n, points). What is not finite is bad, whatever it
            says.
        cut: whether a segment ends before the row, as where the clock was set: no step leads
            across, and what was booked until then is not booked again, shape (n,).

    Returns:
        rows of closed windows, for `named`, shape (m, columns). `mean` is weighted with time over
        what is covered or estimated, `low` and `high` are the extremes of the curve that was
        integrated; without any they are NaN.

    Error: trapezoids at most h^2 * T * max|P''| / 12 over a covered time T sampled every h, the two
        other kinds h * T * max|P'| / 2; rounding below 1e-12 of a window's sum of absolute values.
    Source: NIST Digital Library of Mathematical Functions, section 3.5(i); A. Neumaier,
        Zeitschrift fuer angewandte Mathematik und Mechanik 54 (1974) 39.
    """
    shape = (t_us.shape[0], state.shape[0])
    if x.shape != shape or q.shape != shape or cut.shape != shape[:1] or len(rules) != shape[1]:
        raise ValueError(f"x is {x.shape}, q {q.shape}, cut {cut.shape}: of {shape} samples, rules")
    columns = np.ascontiguousarray(x), np.ascontiguousarray(q), np.ascontiguousarray(cut)
    return step_rows(rules, state, np.ascontiguousarray(t_us), *columns)


@compiled
def step_rows(  # noqa: PLR0917 -- compiled code takes its arguments by position
    rules: Times,
    state: State,
    t_us: Times,
    x: Values,
    q: NDArray[np.uint8],
    cut: NDArray[np.bool_],
) -> Rows:
    """As `step_many`, for compiled callers: arrays in C order, of shapes that agree."""
    for i in range(t_us.size):
        if not -_LAST_US < t_us[i] < _LAST_US:
            raise ValueError("an instant is 2^53 us from 1970 or more")
    rows = np.empty((max(state.shape[0], 8), _WIDTH))
    size = 0
    for p in range(state.shape[0]):
        rule, now = rules[p], state[p]
        for i in range(t_us.size):
            has_started = now[_SEEN_US] != -np.inf
            if cut[i] and has_started:
                now[_HAS], now[_MARK] = 0.0, IS_CUT
                _mark(now, IS_CUT)
            quality, value, t = q[i, p], x[i, p], float(t_us[i])
            span = t - now[_AT_US]
            is_good = quality < BAD and abs(value) <= _LARGEST  # NaN is not
            if quality < NONE:
                if t <= now[_SEEN_US] or (has_started and span < 0.0):
                    now[DUPLICATES if t == now[_SEEN_US] else OUT_OF_ORDER] += 1.0
                    continue
                if not has_started:
                    _open(rule, now, t)
                    span = 0.0
                now[_SEEN_US] = t
                if not is_good:
                    now[BAD_SAMPLES] += 1.0
                    now[_BROKEN] = 1.0
            elif not has_started or span <= 0.0:
                continue

            longest = 0 if now[_BROKEN] == 1.0 else rule[_MAX_GAP]
            step, first, last, mark = _MISSING, 0.0, 0.0, 0
            if now[_HAS] == 1.0:
                if not is_good and span <= max(longest, rule[_BRIDGED]):
                    continue  # a later sample may speak for this time
                if is_good and span <= longest:
                    step, first, last = _MEASURED, now[_VALUE], value
                    if rule[_KIND] == MEAN_RIGHT:
                        first = value
                    elif rule[_KIND] == HOLD:
                        last = first
                elif is_good and span <= rule[_BRIDGED]:
                    step, first, last = _ESTIMATED, now[_VALUE], now[_VALUE]
            if is_good and quality == SUSPECT:
                mark = IS_SUSPECT
            if t < now[END_US]:
                _book(now, t, step, first, last, mark)
            else:
                rows, size = _cross(rule[_LENGTH], now, t, step, first, last, mark, rows, size)
            now[_HAS], now[_BROKEN], now[_MARK] = 0.0, 0.0, 0.0
            if is_good:
                now[_HAS], now[_VALUE], now[_MARK] = 1.0, value, mark
                now[SAMPLES] += 1.0
    return rows[:size]


@compiled
def step_counts(rule: Times, now: State, nodes: Times, rows: Rows, size: int) -> tuple[Rows, int]:
    """Book what a counter counted from node to node, for compiled callers.

    Args:
        rule: of the counter; only its windows count.
        now: its state, carried on in place.
        nodes: instant, count and step of each node, as `counter.follow` tells them, the first
            being the last of the block before, shape (m, 3 or more).
        rows: closed windows, of which the first `size` are filled; more may come in a new array.
        size: how many those are.
    """
    for i in range(nodes.shape[0]):
        t = float(nodes[i, 0])
        if now[_SEEN_US] == -np.inf:
            _open(rule, now, t)
        elif t > now[_AT_US]:
            step = _MISSING
            if nodes[i, 2] > 0:
                step = _MEASURED if nodes[i, 2] == _COUNTED else _ESTIMATED
            rise = float(nodes[i, 1] - nodes[i - 1, 1])
            rate = rise * US_PER_H / (t - now[_AT_US])
            if t < now[END_US]:
                _book(now, t, step, rate, rate, 0)
            else:
                rows, size = _cross(rule[_LENGTH], now, t, step, rate, rate, 0, rows, size)
        else:
            continue
        now[_SEEN_US] = t
        now[SAMPLES] += 1.0
    return rows, size


@compiled
def _open(rule: Times, now: State, t: float) -> None:
    """Open the first window; what was before the first sample is missing."""
    length, offset = float(rule[_LENGTH]), float(rule[_OFFSET])
    now[START_US] = np.floor((t - offset) / length) * length + offset
    now[END_US] = now[START_US] + length
    now[_AT_US] = t
    now[MISSING_US] = t - now[START_US]


@compiled
def _cross(  # noqa: PLR0917 -- as above
    length: int,
    now: State,
    end: float,
    step: int,
    first: float,
    last: float,
    mark: int,
    rows: Rows,
    size: int,
) -> tuple[Rows, int]:
    """Book a step that reaches the end of the window or goes beyond it: cut at every edge."""
    begins = now[_AT_US]
    slope = (last - first) / (end - begins) if end > begins else 0.0
    left = first
    while end >= now[END_US]:
        edge = now[END_US]
        if step == _MISSING and now[_AT_US] == now[START_US]:
            edge += np.floor((end - edge) / length) * length
            now[END_US] = edge
        right = last if edge == end else first + slope * (edge - begins)
        _book(now, edge, step, left, right, mark)
        rows, size = _close(now, length, rows, size)
        left = right
    _book(now, end, step, left, last, mark)
    return rows, size


@compiled
def _book(  # noqa: PLR0917 -- as above
    now: State, end: float, step: int, first: float, last: float, mark: int
) -> None:
    """Add one straight piece, that ends in the open window or with it."""
    span = end - now[_AT_US]
    if span <= 0.0:
        return
    now[_AT_US] = end
    mark |= int(now[_MARK])
    if step == _MISSING:
        now[MISSING_US] += span
        mark &= IS_CUT
    else:
        now[COVERED_US if step == _MEASURED else ESTIMATED_US] += span
        low, high = min(first, last), max(first, last)
        now[LOW], now[HIGH] = min(now[LOW], low), max(now[HIGH], high)
        if low >= 0.0:
            _add(now, IMPORT_WH, _IMPORT_REST, 0.5 * (first + last) * span)
        elif high <= 0.0:
            _add(now, EXPORT_WH, _EXPORT_REST, -0.5 * (first + last) * span)
        else:
            per_unit = span / (high - low)
            _add(now, IMPORT_WH, _IMPORT_REST, 0.5 * high * high * per_unit)
            _add(now, EXPORT_WH, _EXPORT_REST, 0.5 * low * low * per_unit)
    if mark:
        _mark(now, mark)


@compiled
def _add(now: State, total: int, rest: int, amount: float) -> None:
    """Add what is not negative to a sum that is not negative, and keep what rounding loses."""
    before = now[total]
    after = before + amount
    if before >= amount:
        now[rest] += (before - after) + amount
    else:
        now[rest] += (amount - after) + before
    now[total] = after


@compiled
def _mark(now: State, mark: int) -> None:
    now[FLAGS] = float(int(now[FLAGS]) | mark)


@compiled
def _close(now: State, length: int, rows: Rows, size: int) -> tuple[Rows, int]:
    """Put the open window into the rows, and open the one after it."""
    rows = grown(rows, size, 1)
    row = rows[size]
    for k in range(row.size):
        row[k] = now[k]
    inward, back = now[IMPORT_WH] + now[_IMPORT_REST], now[EXPORT_WH] + now[_EXPORT_REST]
    row[IMPORT_WH], row[EXPORT_WH] = inward / US_PER_H, back / US_PER_H
    known = now[COVERED_US] + now[ESTIMATED_US]
    if known > 0.0:
        row[MEAN] = (inward - back) / known
    else:
        row[MEAN] = row[LOW] = row[HIGH] = np.nan
    end = now[END_US]
    for k in range(IMPORT_WH, row.size):
        now[k] = 0.0
    now[_IMPORT_REST] = now[_EXPORT_REST] = 0.0
    now[LOW], now[HIGH] = np.inf, -np.inf
    now[START_US], now[END_US] = end, end + length
    return rows, size + 1
