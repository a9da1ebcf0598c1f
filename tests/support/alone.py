"""`joulemark verify` in a process that can have no socket and no other process, and what it took.

`python -m support.alone BUNDLE ...` runs the command with these arguments and prints a `Took`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from joulemark_agent.cli import main

_TESTS = Path(__file__).parents[1]
_DENIED = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"}


class Took(NamedTuple):
    """The verdict, and what it took."""

    exit: int
    verdict: dict[str, Any]
    cpu_s: float
    wall_s: float
    peak_mb: float  # the most memory that the process ever had


def verified(*words: str | Path) -> Took:
    """The command in a process of its own.

    Args:
        words: its arguments: the bundle, and `--policy FILE`.
    """
    done = subprocess.run(
        [sys.executable, "-m", "support.alone", *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_TESTS), *sys.path])},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Took(**json.loads(done.stdout))


def deny(event: str, _arguments: tuple[Any, ...]) -> None:
    """An audit hook."""
    if event.startswith("socket.") or event in _DENIED:
        raise PermissionError(f"{event}: what is verified offline needs none")


def _measured(words: list[str]) -> Took:
    said = io.StringIO()
    sys.addaudithook(deny)
    begun_s, cpu_s = time.monotonic(), time.process_time()
    with contextlib.redirect_stdout(said):
        code = main(["verify", *words, "--json"])
    took_s, cpu_s = time.monotonic() - begun_s, time.process_time() - cpu_s
    # What this imports must not count.
    from support.fuzz.harness import peak_mb  # noqa: PLC0415

    return Took(code, json.loads(said.getvalue()), cpu_s, took_s, peak_mb())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measured(sys.argv[1:])._asdict()))
