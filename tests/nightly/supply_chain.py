"""The packages of a release: made again they are those stated, install by hash, known as sound.

A fresh environment takes `deploy/requirements.txt` with `--require-hashes` and this repository with
nothing else; one changed digit of a hash must stop it. pip-audit asks for known vulnerabilities
where its advisory service can be reached, and the figure says so where it cannot.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def run(seed: int, *, full: bool) -> dict[str, str]:
    """All of it; there is no shorter form."""
    del seed, full
    maker = _maker()
    files = maker.everything()
    for name, listed in files.items():
        written = (ROOT / "deploy" / name).read_text()
        assert written == maker.requirements_text(listed, name), "run python deploy/supply_chain.py"
    found, stated = files[maker.REQUIREMENTS], (ROOT / "deploy" / maker.REQUIREMENTS).read_text()
    with tempfile.TemporaryDirectory() as name:
        installed = _installed(Path(name), stated)
    return {
        "packages, wheels": f"{len(found)}, {sum(len(one.hashes) for one in found)}",
        "made again": "the same, to the byte",
        "installed by hash": installed,
        "one digit of a hash changed": "refused",
        "known vulnerabilities": _vulnerabilities(),
    }


def _maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("maker", ROOT / "deploy" / "supply_chain.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    sys.modules["maker"] = maker
    spec.loader.exec_module(maker)
    return maker


def _installed(folder: Path, stated: str) -> str:
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [str(folder / "venv" / "bin" / "pip"), "--disable-pip-version-check", "install", "-q"]
    hashed = [*pip, "--only-binary=:all:", "--require-hashes", "-r"]
    changed = folder / "changed.txt"
    changed.write_text(re.sub(r"sha256:(.)", lambda m: f"sha256:{'10'[m[1] == '1']}", stated))
    control = subprocess.run([*hashed, str(changed)], capture_output=True, text=True, check=False)
    assert control.returncode, "a wheel with another hash was installed"
    assert "DO NOT MATCH THE HASHES" in control.stderr, control.stderr[-500:]
    good = folder / "good.txt"
    good.write_text(stated)
    subprocess.run([*hashed, str(good)], check=True)
    subprocess.run([*pip, "--no-deps", str(ROOT)], check=True)
    command = folder / "venv" / "bin" / "joulemark"
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _vulnerabilities() -> str:
    if importlib.util.find_spec("pip_audit") is None:
        return "not run: pip-audit is not installed"
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "-r",
         str(ROOT / "deploy" / "requirements.txt")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    if "could not be audited" in said or "ConnectionError" in said:
        return "not run: the advisory service is out of reach"
    assert done.returncode == 0, said[-2000:]
    return "none"
