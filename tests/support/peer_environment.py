"""The environment of a peer beside ours: made once from exact versions, and kept between runs."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

PINS = Path(__file__).parents[1] / "nightly" / "peers.txt"
ASKED = "JOULEMARK_PEERS"


def python(*, make: bool, pins: Path = PINS) -> Path:
    """The Python of the environment; without it the caller is skipped with the reason.

    Args:
        make: whether it may be made, which takes a network, and for opendsm a few minutes and
            1.2 GB.
        pins: the exact versions of all that is in it.
    """
    folder = place(pins)
    found = folder / "bin/python"
    if (folder / "complete").exists():
        return found
    if not make:
        pytest.skip(f"the peer's environment is not there: {ASKED}=1 makes it ({pins.name})")
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    words = ("-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", pins)
    done = subprocess.run([found, *words], env=clean(), capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"the peer cannot be installed here: {done.stderr.strip()[-500:]}")
    (folder / "complete").touch()
    return found


def place(pins: Path = PINS) -> Path:
    """Its folder; another list of versions, or another Python, has another."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    said = pins.read_bytes() + platform.python_version().encode()
    return root / "joulemark" / f"{pins.stem}-{hashlib.sha256(said).hexdigest()[:16]}"


def clean() -> dict[str, str]:
    """Our settings without those of our Python and compiler."""
    own = ("PYTHON", "NUMBA_", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}
