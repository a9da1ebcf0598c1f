"""The process that finds one saving: `python -m joulemark_gateway.following.child FILE NOW_US`.

It says one canonical JSON document: `{"found": ...}`, or `{"trouble": ...}` and exit code 1.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import JoulemarkError, StoreError
from joulemark_gateway.children import environment

# What the settings of the collector need of the environment; no password and no token among it.
_KEPT = tuple(
    f"JOULEMARK_COLLECTOR_{name}"
    for name in (
        "STATE_DIR", "BROKER__URL", "BROKER__USERNAME", "SERIES__URL", "SERIES__ORG",
        "SERIES__BUCKET",
    )
)  # fmt: skip
LONGEST_S = 3600.0
_LOOK_S = 0.5
_NICE = 10  # below everything that collects


def told_to_the_child(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables for the process: what the collector's settings need, and no secret."""
    return environment(*_KEPT, given=given)


def found_by_a_child(path: Path, now_us: int, stop: threading.Event) -> Mapping[str, Any]:
    """What `calculated` gives of a project file, found in a process of its own.

    Raises:
        StoreError: `saving_unfinished`, it was stopped, took too long or died.
        JoulemarkError: what went wrong there, with its code.
    """
    search = os.pathsep.join(part for part in sys.path if part)  # the child finds what we found
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(path), str(now_us)],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={**told_to_the_child(), "PYTHONPATH": search},
        )
    except OSError as error:
        raise StoreError(
            f"The process that finds the saving cannot be started: {error.strerror}.",
            "Look whether memory or the number of processes is short; it is tried again.",
            code="saving_unfinished",
        ) from error
    waited_s = 0.0
    while True:
        try:
            said, _ = process.communicate(timeout=_LOOK_S)
            break
        except subprocess.TimeoutExpired:
            waited_s += _LOOK_S
            if stop.is_set() or waited_s >= LONGEST_S:
                process.kill()
                process.communicate()
                raise _unfinished(process.returncode) from None
    match _answer(said):
        case {"found": dict() as found}:
            return found
        case {"trouble": {"what": str() as what, "do": str() as do, "code": str() as code}}:
            raise JoulemarkError(what, do, code=code)
    raise _unfinished(process.returncode)


def _answer(said: bytes) -> Any:
    try:
        return parse_canonical(said)
    except JoulemarkError:
        return None


def _unfinished(code: int | None) -> StoreError:
    return StoreError(
        f"The process that finds the saving ended with {code} and said nothing of use.",
        "Look at the collector's log; it is tried again. Where it says 'Killed', memory is short.",
        code="saving_unfinished",
    )


def main(path: str, now_us: str) -> int:
    """Find it and say it."""
    from joulemark_gateway.following.calculation import calculated  # noqa: PLC0415 - heavy
    from joulemark_gateway.reports.project_file import gather, load_project  # noqa: PLC0415

    answer: dict[str, Any]
    try:
        answer = {"found": calculated(gather(load_project(Path(path))), int(now_us))}
    except JoulemarkError as error:
        answer = {"trouble": {"code": error.code, "what": error.what, "do": error.do}}
    sys.stdout.buffer.write(canonical_bytes(answer))
    return 1 if "trouble" in answer else 0


if __name__ == "__main__":
    os.nice(_NICE)
    signal.alarm(int(LONGEST_S))  # should nobody be left who waits for it
    sys.exit(main(*sys.argv[1:]))
