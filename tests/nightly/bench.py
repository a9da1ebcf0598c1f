"""Everything that must stay fast: ratios against a peer or a limit, measured in one run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LEFT = re.compile(r"^(\.|F|s|=|-|$)|passed|failed|skipped")


def run(seed: int, *, full: bool) -> dict[str, str]:  # noqa: ARG001 -- as every check
    """What each benchmark prints, under the file that it stands in."""
    files = sorted((ROOT / "tests/bench").glob("test_*.py"))
    return {
        file.stem.removeprefix("test_"): _printed(file) for file in files[: None if full else 1]
    }


def _printed(file: Path) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-n", "0", "-m", "bench", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    return "; ".join(line for line in lines if not _LEFT.search(line))
