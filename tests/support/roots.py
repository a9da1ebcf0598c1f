"""A throw-away root over this machine's own: what is installed in it is gone in the end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.needed import lacking

BASE = Path(os.path.realpath(sys.executable)).parent  # a Python, as the base image would have one


@contextmanager
def throw_away_root(folder: Path) -> Iterator[Path]:
    """The root, with this machine's devices and processes; everybody in it may use BASE."""
    for name in ("upper", "work", "root"):
        (folder / name).mkdir(parents=True)
    root = folder / "root"
    options = f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work"
    done = _call("mount", "-t", "overlay", "overlay", "-o", options, str(root))
    if done.returncode:
        lacking(f"no root can be laid over this machine's: {done.stderr.strip()}")
    try:
        _call("mount", "-t", "proc", "proc", str(root / "proc"))
        _call("mount", "--bind", "/dev", str(root / "dev"))
        for parent in BASE.parents[:-1]:
            (root / str(parent).lstrip("/")).chmod(0o755)
        yield root
    finally:
        for part in ("dev", "proc", ""):
            _call("umount", str(root / part))


def _call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)
