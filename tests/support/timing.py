"""How long computing takes, for benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def best_ns(function: Callable[..., Any], *arguments: Any, rounds: int = 5) -> int:
    """The quickest of some CPU times, after one call to warm up. [ns]"""
    function(*arguments)
    times = []
    for _ in range(rounds):
        begun = time.process_time_ns()
        function(*arguments)
        times.append(time.process_time_ns() - begun)
    return min(times)
