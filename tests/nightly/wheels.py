"""Every dependency of the agent has a wheel for 64-bit ARM: nothing is built on a gateway.

pip resolves the base install and the extra `[agent]` for Debian on 64-bit ARM, for the oldest and
the newest Python that is supported, and is allowed wheels only. Nothing is installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.13")
MACHINE = "aarch64"
GLIBC = ("2_28", "2_27", "2_17")


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Resolve for each Python; there is no shorter form of it."""
    del seed, full
    return {f"CPython {python}, {MACHINE}": _resolved(python) for python in PYTHONS}


def _resolved(python: str) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["agent"]]
    platforms = [f"--platform=manylinux_{glibc}_{MACHINE}" for glibc in GLIBC]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed",
             "--disable-pip-version-check", f"--target={folder}", "--only-binary=:all:",
             *platforms, f"--python-version={python}", "--report=-", *wanted],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    packages = json.loads(done.stdout)["install"]
    names = {one["metadata"]["name"].lower(): one["download_info"]["url"] for one in packages}
    assert all(url.endswith(".whl") for url in names.values())
    built = sum(f"{MACHINE}.whl" in url for url in names.values())
    assert {"numba", "llvmlite", "numpy", "cryptography"} <= set(names)
    return f"{len(names)} wheels, {built} of them for the machine, nothing to build"
