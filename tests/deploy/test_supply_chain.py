"""What a release depends on is named, hashed and licensed as we allow; some we never take."""

from __future__ import annotations

import json
import re
import runpy
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Licences that may enter, by the words in which packages state them.
ALLOWED = {
    "0BSD", "Apache Software License", "Apache-2.0", "Apache-2.0 WITH LLVM-exception",
    "BSD License", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "EPL-2.0", "ISC", "MIT",
    "MIT License", "MIT-0", "MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)", "PSF-2.0", "Zlib",
}  # fmt: skip
# Why a package with another licence may stay, each with its place.
EXCEPTIONS = {
    "psycopg": "LGPL-3.0-only",  # unchanged and by itself: whoever likes puts another in its place
    "psycopg-binary": "LGPL-3.0-only",
    "asyncua": "GNU Lesser General Public License v3 or later (LGPLv3+)",  # serves the simulator
}
# Drone simulator; rounds integers; a server under BUSL; GPL; a name that resolves to nothing.
NEVER = {"dsse", "jcs", "immudb-py", "pymerkle", "rekor-types"}


@pytest.fixture(scope="module")
def components():
    sbom = json.loads((ROOT / "deploy" / "sbom.cdx.json").read_text())
    return {item["name"]: item for item in sbom["components"]}


@pytest.fixture(scope="module")
def hashed():
    """Version and hashes by package, from the requirements file."""
    text = (ROOT / "deploy" / "requirements.txt").read_text()
    blocks = re.findall(
        r"^([a-z0-9-]+)==(\S+) \\\n((?:    --hash=\S+(?: \\)?\n)+)", text, re.MULTILINE
    )
    return {name: (version, lines.split()) for name, version, lines in blocks}


def _constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {name.lower().replace("_", "-").replace(".", "-"): version for name, version in pairs}


def _licences(component) -> set[str]:
    text = component["licenses"][0]["license"]["name"]
    return {part.strip() for part in re.split(r" AND | OR ", text)}


def test_every_licence_is_on_the_list(components):
    wrong = {
        name: sorted(found - ALLOWED)
        for name, component in components.items()
        if (found := _licences(component)) - ALLOWED and EXCEPTIONS.get(name) not in found
    }
    assert wrong == {}


def test_a_licence_that_is_not_on_the_list_would_be_found():
    gpl = {"licenses": [{"license": {"name": "MIT AND GPL-3.0-or-later"}}]}
    assert _licences(gpl) - ALLOWED == {"GPL-3.0-or-later"}


def test_a_pip_that_leaves_licence_expressions_out_writes_nothing():
    check_pip = runpy.run_path(str(ROOT / "deploy" / "supply_chain.py"))["check_pip"]
    check_pip("25.0")
    for old in ("24.3.1", "23.2.1"):
        with pytest.raises(SystemExit, match=rf"pip {old} does not report .* Run: python -m pip"):
            check_pip(old)


def test_none_of_the_traps_is_taken(components):
    assert not NEVER & (components.keys() | _constraints().keys())


def test_every_package_has_the_hash_of_a_wheel_and_the_tested_version(hashed, components):
    constraints = _constraints()
    assert hashed.keys() == components.keys()
    for name, (version, lines) in hashed.items():
        assert version == constraints[name] == components[name]["version"], name
        found = [line for line in lines if line != "\\"]
        assert found, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in found), name


def test_what_the_project_asks_for_is_there(hashed):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    (whole,) = extras["all"]
    named = whole.removeprefix("joulemark[").removesuffix("]").split(",")
    asked = [*project["dependencies"], *(one for name in named for one in extras[name])]
    names = {re.split(r"[^A-Za-z0-9_.-]", one)[0].lower().replace("_", "-") for one in asked}
    assert names <= hashed.keys(), "run python deploy/supply_chain.py"


@pytest.mark.parametrize("name", ["requirements.txt", "sbom.cdx.json"])
def test_no_address_is_written_down(name):
    assert "://" not in (ROOT / "deploy" / name).read_text()
