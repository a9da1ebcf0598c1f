"""Processes that start in milliseconds: forks of one that has imported everything and waits.

What runs in a fork is the command itself: its own pid, files, locks, sockets and signals. Only the
start of Python and its imports, about a second of CPU, are not paid for again at each of thousands
of starts. `python -m support.forks MODULE[:FUNCTION] ...` is the one that waits; it has one thread.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Self, cast

from support.child import search_path

_NETWORK = 0x40000000  # CLONE_NEWNET
JOULEMARK = "joulemark_agent.cli:main"


class Forked:
    """One fork, with what tests use of `subprocess.Popen`."""

    def __init__(self, forks: Forks, pid: int, output: Path) -> None:
        self._forks, self.pid, self._output = forks, pid, output
        self._descriptor = os.pidfd_open(pid)
        self.returncode: int | None = None
        self.stdout = None

    def poll(self) -> int | None:
        """How it ended; None: it runs."""
        if self.returncode is None and select.select([self._descriptor], [], [], 0)[0]:
            self.returncode = self._forks.ask(reap=self.pid)
            os.close(self._descriptor)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """How it ended, when it has.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        if self.returncode is None:
            select.select([self._descriptor], [], [], timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """As `os.kill`: its pid stays its own until it was waited for."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def said(self) -> str:
        """What it has printed so far."""
        return self._output.read_text("utf-8") if self._output.exists() else ""

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """All it has printed, when it has ended."""
        self.wait(timeout)
        return self.said(), None


class Forks:
    """Starts forks; as a context manager it ends them all."""

    def __init__(self, *preload: str) -> None:
        """Start the process that waits.

        Args:
            preload: modules it imports, or `module:function` that it calls, before it says ready.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="joulemark-forks-")
        self._count, self._lock = itertools.count(), threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.forks", *preload],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Threads of a linear algebra that nobody uses here would have to be forked too.
            env={**os.environ, "PYTHONPATH": search_path(), "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._said() == "ready"

    def start(
        self, target: str, words: Sequence[str], log: Path, *, network: str | None = None
    ) -> Forked:
        """A fork that calls `module:function` with a list of words.

        Args:
            target: what it calls.
            words: as of a command line.
            log: where its standard error goes, after what stands there.
            network: the network namespace it lives in.
        """
        output = Path(self._folder.name) / f"{next(self._count)}.out"
        asked = {"target": target, "words": list(words), "log": str(log), "network": network}
        pid = self.ask(start=asked, output=str(output))
        return Forked(self, pid, output)

    def joulemark(self, command: Sequence[str], log: Path, **named: Any) -> subprocess.Popen[str]:
        """A `joulemark` command, given as for `subprocess`: its words after `-m MODULE`."""
        words = list(command)[list(command).index("-m") + 2 :]
        return cast("subprocess.Popen[str]", self.start(JOULEMARK, words, log, **named))

    def ask(self, **question: Any) -> Any:
        """The answer of the one that waits."""
        assert self._process.stdin is not None
        with self._lock:  # one question at a time
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            return self._said()

    def close(self) -> None:
        """End all."""
        self._process.communicate("")
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _said(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that forks has ended"
        return json.loads(line)


# ------------------------------------------------------------ in the process that waits


def _main(preload: Sequence[str]) -> None:
    for name in preload:
        module, _, function = name.partition(":")
        found = import_module(module)
        if function:
            getattr(found, function)()
    gc.freeze()  # what is shared stays shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    running: set[int] = set()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _answer(answers, "ready")
    for line in sys.stdin:
        question = json.loads(line)
        if (pid := question.get("reap")) is not None:
            _, status = os.waitpid(pid, 0)
            running.discard(pid)
            _answer(answers, os.waitstatus_to_exitcode(status))
            continue
        pid = os.fork()
        if pid == 0:
            _become(question["start"], question["output"])
        running.add(pid)
        _answer(answers, pid)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    os._exit(0)  # what forks shared is left as it is


def _answer(answers: Any, value: Any) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def _become(asked: dict[str, Any], output: str) -> None:
    """Run what is asked for, and end as a process does."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        for number, place in ((0, os.devnull), (1, output), (2, asked["log"])):
            descriptor = os.open(place, flags if number else os.O_RDONLY, 0o600)
            os.dup2(descriptor, number)
            os.close(descriptor)
        if asked["network"]:
            _enter(asked["network"])
        module, _, function = asked["target"].partition(":")
        code = int(getattr(import_module(module), function)(asked["words"]) or 0)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if (leaving := sys.modules.get("support.leaving")) is not None:
            leaving.tell()
        os._exit(code)


def _enter(network: str) -> None:
    """As `os.setns`, which Python has from 3.12 on."""
    descriptor = os.open(f"/run/netns/{network}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _NETWORK) != 0:
        raise OSError(ctypes.get_errno(), f"the network {network} cannot be entered")
    os.close(descriptor)


def until(condition: Any, what: str, within_s: float = 60.0) -> float:
    """Wait for something that only another process can bring about; how long it took. [s]"""
    begun_s = time.monotonic()
    while not condition():
        assert time.monotonic() - begun_s < within_s, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.005)
    return time.monotonic() - begun_s


if __name__ == "__main__":
    _main(sys.argv[1:])
