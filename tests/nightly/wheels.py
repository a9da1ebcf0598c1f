"""Every dependency has a wheel for 64-bit ARM: nothing is built on a gateway or a collector.

pip fetches every package of constraints.txt, and what those need, for Debian on 64-bit ARM, for the
oldest and the newest Python that is supported, wheels only. That is the base install, every extra,
and the tests. Then the ranges of the base install and of each extra, without the exact versions.
Nothing is installed. The same for 32-bit ARM, as a control, must fail.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.13")
MACHINE, OTHER = "aarch64", "armv7l"
GLIBC = ("2_36", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17")  # Debian 12, and older
KERNELS = {"numba", "llvmlite", "numpy", "cryptography"}


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Fetch and resolve for each Python; there is no shorter form of it."""
    del seed, full
    found = {}
    for python in PYTHONS:
        found[f"constraints.txt, CPython {python}, {MACHINE}"] = _fetched(python)
        for name, wanted in _extras().items():
            found[f"{name}, CPython {python}, newest releases"] = _resolved(python, wanted)
    refused = pip(PYTHONS[0], "download", OTHER, "--no-deps", "numba")
    assert refused.returncode, "control: numba has a wheel for 32-bit ARM now"
    found[f"control: numba for {OTHER}"] = "refused, as there is none"
    return found


def _extras() -> dict[str, list[str]]:
    """The requirements of the base install and of each extra that stands for itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    base = project["dependencies"]
    extras = project["optional-dependencies"].items()
    own = {name: [*base, *wanted] for name, wanted in extras if name not in {"all", "test"}}
    return {"base install": base, **{f"[{name}]": wanted for name, wanted in own.items()}}


def _fetched(python: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        done = pip(python, "download", MACHINE, f"--dest={folder}",
                   "-r", str(ROOT / "constraints.txt"))  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        files = sorted(path.name for path in Path(folder).iterdir())
    assert all(name.endswith(".whl") for name in files)
    built = sum(MACHINE in name for name in files)
    names = {name.partition("-")[0].lower().replace("_", "-") for name in files}
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    stated = {line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert not names - stated, f"needed, and not in constraints.txt: {sorted(names - stated)}"
    return f"{len(files)} wheels, {built} of them for the machine, nothing to build"


def _resolved(python: str, wanted: list[str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        done = pip(python, "install", MACHINE, "--dry-run", "--ignore-installed",
                   f"--target={folder}", "--report=-", *wanted)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    packages = json.loads(done.stdout)["install"]
    urls = {one["metadata"]["name"].lower(): one["download_info"]["url"] for one in packages}
    assert all(url.endswith(".whl") for url in urls.values())
    assert set(urls) >= KERNELS
    return f"{len(urls)} wheels, {sum(MACHINE in url for url in urls.values())} for the machine"


def pip(python: str, verb: str, machine: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What pip does for another machine; run by that Python where it is here, for its markers."""
    own = shutil.which(f"python{python}") or sys.executable
    tried = subprocess.run([own, "-m", "pip", "--version"], capture_output=True, check=False)
    program = sys.executable if tried.returncode else own
    platforms = [f"--platform=manylinux_{glibc}_{machine}" for glibc in GLIBC]
    return subprocess.run(
        [program, "-m", "pip", "--disable-pip-version-check", verb, "--quiet",
         "--only-binary=:all:", *platforms, f"--platform=manylinux2014_{machine}",
         f"--platform=linux_{machine}", f"--python-version={python}", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
