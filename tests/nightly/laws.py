"""Every law with many more examples, drawn anew each time: what holds for 40 holds for these.

The tests that hypothesis feeds run with the profile `search` (2,000 examples, another choice on
every run); those that name a number of their own keep it. What breaks one is printed, and shrunk.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from support.child import search_path

TESTS = Path(__file__).parents[1]
EXAMPLES, FEW_EXAMPLES = "search", "same"


def run(seed: int, *, full: bool) -> dict[str, str]:
    """All laws of the ordinary tier; `full=False` with the examples that they have there."""
    files = [path for path in sorted(TESTS.rglob("test_*.py")) if "@given" in path.read_text()]
    profile = EXAMPLES if full else FEW_EXAMPLES
    marked = "hypothesis and not (endurance or bench or nightly)"
    words = [sys.executable, "-m", "pytest", "-q", "-m", marked]
    words += [f"--hypothesis-profile={profile}", f"--hypothesis-seed={seed}", "--timeout=3600"]
    done = subprocess.run(
        [*words, *map(str, files)],
        cwd=TESTS.parent, env={**os.environ, "PYTHONPATH": search_path()},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout[-2000:]
    return {"laws": passed[1], "profile": profile}
