"""The report of the demo, recomputed from raw words on 64-bit ARM, is equal to the last digit.

The demo runs here; its bundle is verified in a Debian for 64-bit ARM (debootstrap, qemu-user) that
has the wheel of this repository with its base dependencies and no network. `joulemark verify`
measures again from raw words and compares `report.json` byte for byte. The control is the bundle
of a report with one digit changed and all digests and signatures made anew: it must be refuted by
that step alone. Needs root, debootstrap, qemu-user-static with binfmt_misc, and Debian's mirror.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from support.bundles import forged_bundle, policy_mapping

ROOT = Path(__file__).parents[2]
MACHINE, SUITE = "aarch64", "bookworm"


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Set the other machine up, and verify there; there is no shorter form of it."""
    del seed, full
    with tempfile.TemporaryDirectory(prefix="arm64-") as name:
        folder = Path(name)
        root, out = folder / "root", folder / "demo"
        _install(root)
        _run("joulemark demo", Path(sys.executable).with_name("joulemark"), "demo", "--no-serve",
             "--out", out)  # fmt: skip
        forged = folder / "forged"
        forged.mkdir()
        (forged / "bundle.zip").write_bytes(forged_bundle())
        (forged / "policy.json").write_text(json.dumps(policy_mapping()))
        here, there = _verified(None, out), _verified(root, out)
        control = _verified(root, forged)
    assert here["status"] == there["status"] == "verified", there["findings"]
    assert here == there, "the two machines say different things of one bundle"
    found = {finding["code"] for finding in control["findings"]}
    assert control["status"] == "refuted", control
    assert found >= {"report_differs"}, found
    counts = there["counts"]
    return {
        "machine": f"Debian {SUITE}, {MACHINE}, qemu-user, no network",
        "records, values": f"{counts['records']:,}, {counts['values']:,}",
        "the demo's report": "equal, byte for byte",
        "headline there": f"{there['headline']['avoided_kwh']} kWh avoided",
        "a report with one digit changed": f"refuted: {', '.join(sorted(found))}",
    }


def _install(root: Path) -> None:
    _run("debootstrap", "debootstrap", "--arch=arm64", "--variant=minbase",
         "--include=python3,python3-venv,ca-certificates", SUITE, root)  # fmt: skip
    for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
        shutil.copy(Path("/") / name, root / name)
    wheels = root / "wheels"
    _run("the wheel", sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, ROOT)
    shutil.copy(ROOT / "constraints.txt", wheels)
    (wheel,) = wheels.glob("joulemark-*.whl")
    _run("python there", "chroot", root, "python3", "-m", "venv", "/venv")
    _run("wheels there", "chroot", root, "/venv/bin/pip", "install", "-q", "--no-cache-dir",
         "--only-binary=:all:", "-c", "/wheels/constraints.txt",
         f"/wheels/{wheel.name}")  # fmt: skip


def _verified(root: Path | None, files: Path) -> dict[str, Any]:
    """What the verifier says of bundle.zip in a folder, on this machine or on the other."""
    if root is None:
        start = [str(Path(sys.executable).with_name("joulemark"))]
        folder = files
    else:
        folder = Path("/") / files.name
        for name in ("bundle.zip", "policy.json"):
            (root / files.name).mkdir(exist_ok=True)
            shutil.copy(files / name, root / files.name)
        start = ["unshare", "--net", "chroot", str(root), "env", "NUMBA_CACHE_DIR=/cache",
                 "/venv/bin/joulemark"]  # fmt: skip
    done = subprocess.run(
        [*start, "verify", folder / "bundle.zip", "--policy", folder / "policy.json", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _run(what: str, *command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, f"{what}: {done.stderr[-2000:]}"
