"""What a process of its own finds out, without what tests look at: for costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.child import search_path

TESTS = Path(__file__).parents[1]


def apart(module: str, call: str, **environment: str) -> list[str]:
    """The words that a call prints as its result, in a new process.

    Args:
        module: where the function stands, from the folder of the tests on.
        call: of that function.
        environment: what it has beside ours.
    """
    hooked = str(TESTS / "support/hooked")
    paths = [path for path in search_path().split(os.pathsep) if path != hooked]
    own = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, str(TESTS)]), **environment}
    name = call.partition("(")[0]
    words = [sys.executable, "-c", f"from {module} import {name}\nprint(*{call})"]
    done = subprocess.run(words, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{call} ended with {done.returncode}: {done.stderr[-1500:]}"
    return done.stdout.split()
