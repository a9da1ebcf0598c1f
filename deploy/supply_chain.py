"""Write what a release states of its dependencies: `requirements.txt` with hashes, and the SBOM.

`python deploy/supply_chain.py` resolves `joulemark[all]` under `constraints.txt` for every machine
and Python that is supported, wheels only, and writes beside itself

- `requirements.txt`: every package with the SHA-256 of every wheel that may be installed, for
  `pip install --require-hashes -r deploy/requirements.txt`;
- `docker/requirements-agent.txt`: of these what `joulemark[agent]` needs, for its image;
- `docker/requirements-build.txt`: what builds our own wheel there;
- `sbom.cdx.json`: the first as CycloneDX 1.6, with licences.

None names where a package is downloaded from.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MACHINES = ("x86_64", "aarch64")
PYTHONS = ("3.11", "3.12", "3.13")
GLIBC = ("2_28", "2_27", "2_17", "2_12", "2_5")
REQUIREMENTS, SBOM = "requirements.txt", "sbom.cdx.json"
AGENT, BUILD = "docker/requirements-agent.txt", "docker/requirements-build.txt"
PIP = 25  # tried: 24.3.1 leaves expressions out, 25.0 does not
_WHAT = {
    REQUIREMENTS: "Every package of joulemark[all]",
    AGENT: "Every package of joulemark[agent]",
    BUILD: "What builds the wheel of joulemark",
}
_HEAD = """# {what} with the SHA-256 of the wheels that may be installed:
# pip install --require-hashes -r deploy/{name}. Written by deploy/supply_chain.py.
"""


@dataclass(frozen=True)
class Package:
    """One package as it may be installed, on whatever machine."""

    name: str
    version: str
    licence: str
    hashes: frozenset[str]


def packages(wanted: Sequence[str]) -> list[Package]:
    """Every package of every machine and Python, hashes together."""
    found: dict[str, Package] = {}
    for machine in MACHINES:
        for python in PYTHONS:
            for item in _resolved(machine, python, wanted):
                one = _package(item)
                old = found.get(one.name, one)
                assert old.version == one.version, f"{one.name}: one version on every machine"
                found[one.name] = Package(*_same(one), old.hashes | one.hashes)
    return [found[name] for name in sorted(found)]


def everything() -> dict[str, list[Package]]:
    """The packages of each file, by its name."""
    project, builder = _project()
    extras = project["optional-dependencies"]
    base, of_agent = project["dependencies"], extras["agent"]
    whole = packages([*base, *(one for name in _extras(extras["all"]) for one in extras[name])])
    resolved = _resolved(MACHINES[0], PYTHONS[0], [*base, *of_agent])
    named = {_package(item).name for item in resolved}
    agent = [one for one in whole if one.name in named]
    return {REQUIREMENTS: whole, AGENT: agent, BUILD: packages(builder)}


def requirements_text(found: Iterable[Package], name: str = REQUIREMENTS) -> str:
    """The file for `pip install --require-hashes`."""
    lines = []
    for package in found:
        hashes = " \\\n".join(f"    --hash=sha256:{item}" for item in sorted(package.hashes))
        lines.append(f"{package.name}=={package.version} \\\n{hashes}\n")
    return _HEAD.format(what=_WHAT[name], name=name) + "".join(lines)


def sbom_text(found: Iterable[Package], version: str) -> str:
    """The CycloneDX document; without time and serial number, so equal input gives equal bytes."""
    own = _component("joulemark", version, "Apache-2.0", "application")
    return json.dumps(
        {
            "bomFormat": "CycloneDX",
            "components": [_component(p.name, p.version, p.licence) for p in found],
            "metadata": {"component": own},
            "specVersion": "1.6",
            "version": 1,
        },
        indent=1,
        sort_keys=True,
    ) + "\n"  # fmt: skip


def licence_of(stated: dict[str, Any]) -> str:
    """The licence as a package states it: the expression, else classifiers, else its own words."""
    if expression := stated.get("license_expression"):
        return str(expression)
    told = [text for text in stated.get("classifier", ()) if text.startswith("License ::")]
    names = [text.rpartition(" :: ")[2] for text in told]
    plain = [name for name in names if name != "OSI Approved"]
    return " OR ".join(plain) or str(stated.get("license") or "").strip().partition("\n")[0]


def _component(name: str, version: str, licence: str, kind: str = "library") -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version}"
    return {
        "bom-ref": purl,
        "licenses": [{"license": {"name": licence}}],
        "name": name,
        "purl": purl,
        "type": kind,
        "version": version,
    }


def _package(item: dict[str, Any]) -> Package:
    stated = item["metadata"]
    name = str(stated["name"]).lower().replace("_", "-").replace(".", "-")
    sha256 = item["download_info"]["archive_info"]["hashes"]["sha256"]
    return Package(name, stated["version"], licence_of(stated), frozenset({sha256}))


def _same(package: Package) -> tuple[str, str, str]:
    return package.name, package.version, package.licence


def _project() -> tuple[dict[str, Any], list[str]]:
    """The project's own table, and what builds it."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return document["project"], document["build-system"]["requires"]


def _resolved(machine: str, python: str, wanted: Sequence[str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed",
             "--disable-pip-version-check", f"--target={folder}", "--only-binary=:all:",
             *(f"--platform=manylinux_{glibc}_{machine}" for glibc in GLIBC),
             f"--platform=manylinux2014_{machine}", f"--platform=linux_{machine}",
             f"--python-version={python}", "-c", str(ROOT / "constraints.txt"), "--report=-",
             *wanted],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: list[dict[str, Any]] = json.loads(done.stdout)["install"]
    return found


def _extras(named: Iterable[str]) -> list[str]:
    """The extras inside `joulemark[a,b]`."""
    (text,) = named
    return text.partition("[")[2].rstrip("]").split(",")


def check_pip(version: str) -> None:
    """See that this pip reports licences as packages state them now.

    Raises:
        SystemExit: it leaves licence expressions (PEP 639) out, and others would be written down.
    """
    if int(version.partition(".")[0]) < PIP:
        raise SystemExit(
            f"pip {version} does not report licence expressions; {PIP}.0 and later do. "
            f"Run: python -m pip install 'pip>={PIP}', and then this again."
        )


def main() -> None:
    """Write both files."""
    check_pip(metadata.version("pip"))
    sys.path[:0] = [str(ROOT / "agent")]
    from joulemark_agent import __version__  # noqa: PLC0415 - only now found

    files, folder = everything(), Path(__file__).parent
    for name, listed in files.items():
        (folder / name).write_text(requirements_text(listed, name))
    found = files[REQUIREMENTS]
    (folder / SBOM).write_text(sbom_text(found, __version__))
    sys.stdout.write(f"{len(found)} packages, {sum(len(p.hashes) for p in found)} wheels\n")


if __name__ == "__main__":
    main()
