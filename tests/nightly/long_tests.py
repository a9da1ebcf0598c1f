"""What takes minutes and is no simulation: whole recordings read over sockets, pages in Korean."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(seed: int, *, full: bool) -> dict[str, str]:  # noqa: ARG001 -- as every check
    """The tests that are marked so; they need the plant data."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "nightly", str(ROOT / "tests")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {"tests": done.stdout.strip().splitlines()[-1]}
