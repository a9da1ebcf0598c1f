"""One call, made each time a line comes, and what it took: on both sides of a comparison.

It imports nothing but the standard library, for it also runs in the environment of a peer.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def serve(call: Callable[[], Any]) -> None:
    """Make the call once, so that everything is compiled, and again for each line."""
    call()
    tell({"ready": True})
    for _ in sys.stdin:
        begun_s, cpu_s = time.perf_counter(), time.process_time()
        call()
        spent_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - cpu_s
        tell({"s": spent_s, "cpu_s": cpu_s, "peak_mb": peak_mb()})


def tell(what: Any) -> None:
    """One line to whoever asked."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def peak_mb() -> float:
    """The most memory that this process has had in RAM, not what it was forked from. [MB]"""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("utf-8"))
    assert found is not None, "no Linux"
    return int(found[1]) / 1024
