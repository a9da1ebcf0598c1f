"""Disks small enough to fill."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """The folder as a disk of its own of this size; where nothing may be mounted, a skip."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tmpfs needs CAP_SYS_ADMIN: not run")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
