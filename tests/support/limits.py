"""C programs that show what the work costs at the least: built once, from `tests/data/limits`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from support import needed

SOURCES = Path(__file__).parents[1] / "data" / "limits"
_LIBRARIES = {
    "factory": ["-lmodbus"],
    "agent": ["-lmodbus", "-lmosquitto"],
    "reader": ["-lmodbus", "-lpthread"],
    "publisher": ["-lmosquitto"],
}


def program(name: str) -> Path:
    """The compiled program; without compiler or library the caller is skipped with the reason."""
    source = SOURCES / f"{name}.c"
    mark = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    made = Path(tempfile.gettempdir()) / f"joulemark-{name}-{mark}"
    if made.exists():
        return made
    if shutil.which("gcc") is None:
        needed.missing("gcc", "Debian: apt-get install gcc")
    words = ["gcc", "-O2", "-o", f"{made}.new", str(source), *_LIBRARIES[name]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        libraries = "Debian: apt-get install libmodbus-dev libmosquitto-dev"
        needed.missing(f"what {source.name} is built with", f"{libraries}; {done.stderr[-300:]}")
    Path(f"{made}.new").rename(made)
    return made


def ran(name: str, *words: object) -> tuple[float, float]:
    """What a program that measures itself says: seconds it took, and CPU seconds."""
    command = [str(program(name)), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr[-300:]}"
    took_s, cpu_s = map(float, done.stdout.split())
    return took_s, cpu_s
