"""N13: what a second of 20 channels costs, compiled and interpreted, and that both agree.

`step_many` is what integrates power: gaps, windows of a quarter of an hour, signs apart, sums that
carry their rounding. The interpreted run is a process with NUMBA_DISABLE_JIT.
"""

import hashlib
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from joulemark_agent.kernels.jit import compiled
from joulemark_agent.kernels.stream import (
    INST,
    Rule,
    State,
    Times,
    Values,
    begun,
    rules_of,
    step_many,
)
from support.apart import apart
from support.rounds import in_turns, say, show
from support.streams import FIRST_US, QUARTER, S

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

CHANNELS, SECONDS = 20, 2000


@compiled
def does_nothing(
    _rules: Times,
    state: State,
    _t_us: Times,
    _x: Values,
    _q: NDArray[np.uint8],
    _cut: NDArray[np.bool_],
) -> Values:
    """The arrays of a step in, and one out."""
    return state[:0]


def stepped(seconds: int) -> tuple[float, str]:
    """CPU time of a second of the channels, and a mark of all that came of them. [us]"""
    draw = np.random.default_rng(13)
    t_us = FIRST_US + np.arange(seconds, dtype=np.int64) * S
    values = np.round(draw.normal(100, 80, (seconds, CHANNELS)), 1)
    quality, cut = np.zeros(values.shape, np.uint8), np.zeros(seconds, np.bool_)
    rules, state = rules_of([Rule(INST, 3 * S, QUARTER)] * CHANNELS), begun(CHANNELS)
    step_many(rules, begun(CHANNELS), t_us[:2], values[:2], quality[:2], cut[:2])
    rows = [(t_us[i : i + 1], values[i : i + 1], quality[i : i + 1], cut[i : i + 1])
            for i in range(seconds)]  # fmt: skip
    begun_s = time.process_time()
    found = [step_many(rules, state, *row) for row in rows]
    took_s = time.process_time() - begun_s
    mark = hashlib.sha256(b"".join(np.asarray(one).tobytes() for one in found))
    mark.update(np.asarray(state).tobytes())
    return took_s / seconds * 1e6, mark.hexdigest()


def test_a_second_of_twenty_channels() -> None:
    def interpreted() -> float:
        cost, mark = apart("bench.test_step", "stepped(300)", NUMBA_DISABLE_JIT="1")
        assert mark == stepped(300)[1], "compiled and interpreted differ"
        return float(cost)

    block = np.ones((1, CHANNELS)), np.zeros((1, CHANNELS), np.uint8), np.zeros(1, np.bool_)
    columns = rules_of([Rule(INST, 3 * S, QUARTER)] * CHANNELS), begun(CHANNELS), np.arange(1)

    def empty() -> float:
        begun_s = time.process_time()
        for _ in range(SECONDS):
            does_nothing(*columns, *block)
        return (time.process_time() - begun_s) / SECONDS * 1e6

    seen = in_turns(
        {
            "compiled": lambda: stepped(SECONDS)[0],
            "interpreted": interpreted,
            "a kernel that does nothing": empty,
        }
    )
    show(f"N13 a second of {CHANNELS} channels", seen, "us", to="compiled")
    say("  compiled and interpreted agree to the last bit; the goals are 0.6 us and 6 us")
