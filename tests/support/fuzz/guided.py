"""`python -m support.fuzz.guided MODULE.TARGET SECONDS SEED`: the same target, led by coverage.

For what atheris (not a dependency; CPython on x86 only) can run; one line of JSON as `run` has it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import platform
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from support.child import search_path
from support.fuzz.harness import Outcome

_RUNS = re.compile(r"Done (\d+) runs in (\d+) second")
_LIMIT_MB = 2048  # of the whole process: its instrumented code is large


def absent() -> str:
    """Why it cannot be run here; empty: it can."""
    if platform.machine() not in {"x86_64", "AMD64"}:
        return f"atheris is for x86, and this is {platform.machine()}"
    return "" if find_spec("atheris") else "atheris is not installed"


def guided(name: str, *, seed: int, seconds: float) -> Outcome:
    """The target in a process of its own; an AssertionError holds what it ended with."""
    words = [sys.executable, "-m", "support.fuzz.guided", name, f"{seconds:.0f}", str(seed)]
    plain = {"NUMBA_DISABLE_JIT": "1"}  # what is compiled cannot be watched
    environment = {**os.environ, "PYTHONPATH": search_path(), **plain}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    found = _RUNS.search(done.stderr)
    assert done.returncode == 0, f"{name}: {done.stderr[-3000:]}"
    assert found is not None, done.stderr[-3000:]
    return Outcome(name, executions=int(found[1]), seconds=float(found[2]))


def main(name: str, seconds: str, seed: str) -> None:
    """Fuzz until the time is over or something is found."""
    atheris = import_module("atheris")  # which need not be there

    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(include=["joulemark_agent", "joulemark_gateway"]):
        from support.fuzz.run import targets  # noqa: PLC0415 - it imports what is instrumented

        [target] = targets([name])
    loop = asyncio.new_event_loop()

    def once(data: bytes) -> None:
        with suppress(*target.refusals):
            found: Any = target.run(data)
            if inspect.isawaitable(found):
                loop.run_until_complete(asyncio.ensure_future(found, loop=loop))

    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(target.corpus()):
            Path(folder, str(number)).write_bytes(data)
        flags = [f"-max_total_time={seconds}", f"-seed={seed}", f"-rss_limit_mb={_LIMIT_MB}"]
        atheris.Setup([sys.argv[0], *flags, "-timeout=5", folder], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
