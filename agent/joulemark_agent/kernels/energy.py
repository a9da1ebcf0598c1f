"""Energy per window from readings: exact for counters, by holding the value for power.

Two rules for power, by what the device reports: `power_energy` where a reading is the mean of the
time before it, `left_hold` where it is the value of an instant.

Time is integer microseconds and a window is [edges_us[k], edges_us[k + 1]). Nothing is filled in:
what no two readings vouch for is counted as missing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.kernels.jit import compiled

US_PER_H = 3_600_000_000
_MOST = np.int64(2**63 - 1)
_STRETCH = 32  # readings that are booked as one where nothing about them is odd

Times = NDArray[np.int64]


@compiled
def counter_energy(  # noqa: PLR0917 -- compiled code takes its arguments by position
    t_us: Times,
    counter: NDArray[np.int64],
    good: NDArray[np.bool_],
    step_ok: NDArray[np.bool_] | NDArray[np.int64],
    edges_us: Times,
    max_gap_us: int,
) -> tuple[NDArray[np.int64], Times, Times, Times, int]:
    """What a counter counted in each window, to the last unit.

    A step is the time between two consecutive good readings. Its difference is booked; across a
    window's edge it is split by integer cumulative shares, floor(difference * elapsed / step), so
    the windows add up to the difference of the registers exactly, however they are cut. It works
    for any counter (kg, m3, varh), in the counter's own unit.

    Args:
        t_us: instants of the readings, increasing, shape (n,). A good reading that is not later
            than the good one before it is passed over. [us]
        counter: register values from 0 to 2^63 - 1, read only where `good`, shape (n,). [Wh]
        good: whether the reading has a value, shape (n,).
        step_ok: whether the time between readings i and i + 1 counts as measured, shape (n - 1,);
            or a code: 0 and below it does not, 1 it does, 2 (estimated) only its sum is known.
        edges_us: edges of the windows, strictly increasing, shape (w + 1,). [us]
        max_gap_us: a longer step is booked, but as estimated: only its sum is known. [us]

    Returns:
        energy [Wh], time covered, time estimated, time missing [us] per window, shape (w,) each,
        and how many steps fell. Covered + estimated + missing is the length of the window. Steps
        that fall, are not ok, or lift the whole above 2^63 - 1 book nothing and are missing.

    Error: none; integers throughout. No overflow while every instant lies within 2^60 us of the
        epoch of time (36,000 years) and counters are as above.
    """
    windows = max(edges_us.size - 1, 0)
    energy_wh = np.zeros(windows, np.int64)
    covered_us = np.zeros(windows, np.int64)
    estimated_us = np.zeros(windows, np.int64)
    fallen = 0
    last = -1
    left = _MOST  # that can still be booked: a counter that falls may rise as far again
    is_masked = is_sum = False
    window = 0
    looked = done = 0  # readings before these were looked at, or booked, as a stretch
    for i in range(t_us.size):
        if i < done:
            continue
        if i >= looked and 0 <= last == i - 1 and i + _STRETCH <= t_us.size:
            looked = i + _STRETCH
            while window < windows and edges_us[window + 1] <= t_us[last]:
                window += 1
            difference = counter[looked - 1] - counter[last]
            if (
                window < windows
                and edges_us[window] <= t_us[last]
                and t_us[looked - 1] <= edges_us[window + 1]
                and 0 <= difference <= left
                and _is_plain(t_us, counter, good, step_ok, i, max_gap_us)
            ):
                left -= difference
                energy_wh[window] += difference
                covered_us[window] += t_us[looked - 1] - t_us[last]
                last, done = looked - 1, looked
                continue
        if i > 0 and step_ok[i - 1] <= 0:
            is_masked = True
        if i > 0 and step_ok[i - 1] == 2:
            is_sum = True
        if not good[i]:
            continue
        if last >= 0:
            start_us, end_us = t_us[last], t_us[i]
            if end_us <= start_us:
                continue
            difference = counter[i] - counter[last]
            if difference < 0:
                fallen += 1
            elif not is_masked and difference <= left:
                left -= difference
                while window < windows and edges_us[window + 1] <= start_us:
                    window += 1
                is_known = end_us - start_us <= max_gap_us and not is_sum
                if window < windows and (
                    edges_us[window] <= start_us and end_us <= edges_us[window + 1]
                ):
                    energy_wh[window] += difference
                    if is_known:  # an array that is chosen would cost more than all the rest
                        covered_us[window] += end_us - start_us
                    else:
                        estimated_us[window] += end_us - start_us
                elif is_known:
                    _book(start_us, end_us, difference, edges_us, window, energy_wh, covered_us)
                else:
                    _book(start_us, end_us, difference, edges_us, window, energy_wh, estimated_us)
        last = i
        is_masked = is_sum = False
    missing_us = np.empty(windows, np.int64)
    for k in range(windows):
        missing_us[k] = edges_us[k + 1] - edges_us[k] - covered_us[k] - estimated_us[k]
    return energy_wh, covered_us, estimated_us, missing_us, fallen


@compiled
def power_energy(
    t_us: Times,
    power_w: NDArray[np.float64],
    edges_us: Times,
    max_gap_us: int,
) -> tuple[NDArray[np.float64], Times]:
    """The energy of power readings: each value holds for the time that ends at its reading.

    Args:
        t_us: instants of the readings, increasing, shape (n,). [us]
        power_w: power, NaN where it is bad, shape (n,). [W]
        edges_us: edges of the windows, strictly increasing, shape (w + 1,). [us]
        max_gap_us: a longer time is not bridged and stays uncovered. [us]

    Returns:
        energy [Wh] and time covered [us] per window, shape (w,) each; the rest of a window is
        missing. Steps are cut exactly at the edges.

    Error: at most max|P'| * h * T / 2 over a covered time T read every h; rounding below 1e-12 of
        the window's energy for up to 4,000 readings per window.
    """
    windows = max(edges_us.size - 1, 0)
    energy_wh = np.zeros(windows)
    covered_us = np.zeros(windows, np.int64)
    if windows == 0 or t_us.size == 0:
        return energy_wh, covered_us
    window = 0
    low_us, high_us = edges_us[0], edges_us[1]
    held_w_us, held_us = 0.0, np.int64(0)
    start_us = t_us[0]
    for i in range(1, t_us.size):
        end_us = t_us[i]
        step_us = end_us - start_us
        if step_us <= 0:
            continue
        power = power_w[i]
        is_held = step_us <= max_gap_us and not np.isnan(power)
        if start_us >= low_us and end_us <= high_us:
            if is_held:
                held_w_us += power * step_us
                held_us += step_us
            start_us = end_us
            continue
        # The step crosses an edge or lies outside the window: cut it and carry the window on.
        while True:
            if is_held and min(end_us, high_us) > max(start_us, low_us):
                part_us = min(end_us, high_us) - max(start_us, low_us)
                held_w_us += power * part_us
                held_us += part_us
            if end_us <= high_us or window + 1 >= windows:
                break
            energy_wh[window] += held_w_us / US_PER_H
            covered_us[window] += held_us
            held_w_us, held_us = 0.0, np.int64(0)
            window += 1
            low_us, high_us = edges_us[window], edges_us[window + 1]
        start_us = end_us
        if start_us >= high_us and window + 1 >= windows:
            break
    energy_wh[window] += held_w_us / US_PER_H
    covered_us[window] += held_us
    return energy_wh, covered_us


@compiled
def left_hold(
    t_us: Times,
    value: NDArray[np.float64],
    edges_us: Times,
    max_gap_us: int,
) -> tuple[NDArray[np.float64], Times]:
    """The integral of instantaneous values: each holds from its instant until the next one.

    A step counts where both its ends have a value: the later one vouches that the device still
    answered. Instants that are equal enclose no time, and the last of them holds on.

    Args:
        t_us: instants, never decreasing, shape (n,). [us]
        value: a rate such as power, NaN where it is bad, shape (n,). [W, A, W/m2 ...]
        edges_us: edges of the windows, strictly increasing, shape (w + 1,). [us]
        max_gap_us: a longer step is not bridged and stays uncovered. [us]

    Returns:
        integral [the value's unit times h] and time covered [us] per window, shape (w,) each; the
        rest of a window is missing. Steps are cut exactly at the edges.

    Error: at most max|P'| * h * T / 2 over a covered time T sampled every h. Over samples evenly
        apart it differs from the trapezoids by half a step of the difference of the last and the
        first value, whatever lies between.
    """
    windows = max(edges_us.size - 1, 0)
    amount_h = np.zeros(windows)
    covered_us = np.zeros(windows, np.int64)
    window = 0
    for i in range(t_us.size - 1):
        start_us, end_us = t_us[i], t_us[i + 1]
        if end_us <= start_us or end_us - start_us > max_gap_us:
            continue
        if np.isnan(value[i]) or np.isnan(value[i + 1]):
            continue
        while window < windows and edges_us[window + 1] <= start_us:
            window += 1
        k = window
        while k < windows and edges_us[k] < end_us:
            part_us = min(end_us, edges_us[k + 1]) - max(start_us, edges_us[k])
            amount_h[k] += value[i] * part_us
            covered_us[k] += part_us
            k += 1
    for k in range(windows):
        amount_h[k] /= US_PER_H
    return amount_h, covered_us


@compiled
def _is_plain(  # noqa: PLR0917 -- as above
    t_us: Times,
    counter: NDArray[np.int64],
    good: NDArray[np.bool_],
    step_ok: NDArray[np.bool_] | NDArray[np.int64],
    first: int,
    max_gap_us: int,
) -> bool:
    """Whether every step to the readings of the stretch from `first` on is a good one, and known.

    All of them are looked at, which is faster than to leave at the first that is not: the loop has
    no branches, so eight readings are compared at a time.
    """
    end = first + _STRETCH
    t0, t1 = t_us[first - 1 : end - 1], t_us[first:end]
    count0, count1 = counter[first - 1 : end - 1], counter[first:end]
    is_good, code = good[first:end], step_ok[first - 1 : end - 1]
    odd = 0
    for k in range(_STRETCH):
        step_us = t1[k] - t0[k]
        odd |= (
            (step_us <= 0)
            | (step_us > max_gap_us)
            | (count1[k] < count0[k])
            | (not is_good[k])
            | (code[k] != 1)
        )
    return odd == 0


@compiled
def _book(  # noqa: PLR0917 -- as above
    start_us: int,
    end_us: int,
    difference: int,
    edges_us: Times,
    window: int,
    energy_wh: NDArray[np.int64],
    booked_us: Times,
) -> None:
    """Book one step into its windows, of which `window` is the first that can touch it."""
    span_us = end_us - start_us
    while window < energy_wh.size and edges_us[window] < end_us:
        low_us = max(start_us, edges_us[window])
        high_us = min(end_us, edges_us[window + 1])
        if low_us == start_us and high_us == end_us:
            energy_wh[window] += difference
        else:
            until_high = _share(difference, high_us - start_us, span_us)
            energy_wh[window] += until_high - _share(difference, low_us - start_us, span_us)
        booked_us[window] += high_us - low_us
        window += 1


@compiled
def _share(total: int, part: int, whole: int) -> int:
    """floor(total * part / whole) for 0 <= part <= whole < 2^61, without a 128-bit product.

    Where the product does not fit, the quotient is built bit by bit: every remainder stays below
    `whole`, so no term exceeds 3 * whole < 2^63.
    """
    if part == 0 or total <= _MOST // part:
        return total * part // whole
    quotient = total // whole * part
    rest = total % whole
    share, remainder = 0 * part, 0 * part
    for bit in range(61, -1, -1):
        remainder = 2 * remainder + ((part >> bit) & 1) * rest
        share = 2 * share + remainder // whole
        remainder = remainder % whole
    return quotient + share
