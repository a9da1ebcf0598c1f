"""System calls of a running process, tampered with by strace: killed at, failed or held up.

The process waits until it is traced (`wait_for_tracer`), so the n-th call is always the same one.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.needed import service

WRITES = "pwrite64,write,fsync,fdatasync,ftruncate,fallocate,rename,unlink,mkdir"
_SET_PTRACER, _ANYBODY = 0x59616D61, -1  # prctl(2), for machines where only parents may trace


def wait_for_tracer() -> None:
    """Of the process itself: go on when it is traced."""
    ctypes.CDLL(None).prctl(_SET_PTRACER, ctypes.c_long(_ANYBODY), 0, 0, 0)
    while _tracer_of("self") == 0:
        time.sleep(0.002)


@contextmanager
def traced(pid: int, *options: str, log: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """The process under strace with these options until the end of the block, or until it is told.

    Args:
        pid: of a process in `wait_for_tracer`.
        options: of strace: what is traced, and what is done to it.
        log: where the calls are listed.
    """
    strace = service("strace", "strace")
    listed = str(log) if log is not None else os.devnull
    words = [strace, "-f", "-qq", "-o", listed, *options, "-p", str(pid)]
    tracer = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        yield tracer
    finally:
        release(tracer)


def release(tracer: subprocess.Popen[str]) -> None:
    """Let the process go on untampered with, if it still runs."""
    if tracer.poll() is None:
        tracer.send_signal(signal.SIGINT)
    _, said = tracer.communicate(timeout=20)
    assert "rror" not in said, said


def _tracer_of(process: str) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("TracerPid:"):
            return int(line.split()[1])
    return 0
