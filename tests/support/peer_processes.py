"""Processes that answer line by line, so that two sides can take turns."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

ROUNDS = 5


class Took(NamedTuple):
    """One call."""

    s: float
    cpu_s: float
    peak_mb: float  # of the process so far


@dataclass(frozen=True)
class Side:
    """How a process is started: which Python, which words, which settings."""

    python: Path
    words: tuple[str, ...]
    environment: Mapping[str, str]


class Caller:
    """A started process, which has said that it is ready."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self._process, self._errors = process, errors
        self._line()

    def once(self) -> Took:
        """Its call made once more."""
        return Took(**self.ask())

    def ask(self, what: Any = None) -> dict[str, Any]:
        """Its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._errors.read_text("utf-8")[-2000:]
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def caller(side: Side) -> Iterator[Caller]:
    """A process that waits to be told, and ends with the block."""
    with tempfile.TemporaryDirectory() as name:
        errors = Path(name) / "stderr"
        with errors.open("w") as file:
            process = subprocess.Popen(
                [side.python, *side.words], env=dict(side.environment), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file,
            )  # fmt: skip
        try:
            yield Caller(process, errors)
        finally:
            process.kill()
            process.communicate()


def taken_in_turn(callers: Sequence[Caller], rounds: int = ROUNDS) -> list[list[Took]]:
    """What each call took, round by round; one list for each caller."""
    found = [[one.once() for one in callers] for _ in range(rounds)]
    return [list(column) for column in zip(*found, strict=True)]


def said(side: Side) -> dict[str, Any]:
    """The one line that a process prints.

    Raises:
        AssertionError: it fails.
    """
    done = subprocess.run(
        [side.python, *side.words], env=dict(side.environment),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found
