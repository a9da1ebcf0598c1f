"""As a verifier would: the wheel in an environment of its own, an empty folder, and no network.

Only installing needs an index; what is verified runs in a network namespace that has nothing.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.bundles import forged_bundle, policy_mapping, true_bundle
from support.needed import lacking, service

pytestmark = [pytest.mark.endurance, pytest.mark.service, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
REACHES = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)"
NAMES = "from importlib.metadata import distributions as all; print(*(d.name for d in all()))"
PIP = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")
PARTS = ("agent", "gateway", "configs", "pyproject.toml", "README.md", "LICENSE")


def run(*words, cwd):
    """A command that sees nothing of where this test runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd, env={**kept, "HOME": str(cwd)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def installed(*words, cwd):
    done = run(*words, cwd=cwd)
    if done.returncode:
        lacking(
            f"nothing can be installed here: {done.stderr.strip()[-300:] or done.stdout[-300:]}"
        )


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """The folder of the programs of an environment that has the base install alone."""
    folder = tmp_path_factory.mktemp("stranger")
    source = folder / "source"  # a build writes beside what it builds
    source.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, source / part)
    installed(*PIP, "wheel", "--no-deps", "-w", folder, source, cwd=folder)
    (wheel,) = folder.glob("joulemark-*.whl")
    installed(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    fixed = ("--only-binary=:all:", "-c", ROOT / "constraints.txt", wheel)
    installed(*PIP, "--python", python, "install", *fixed, cwd=folder)
    return python.parent


@pytest.fixture
def apart():
    """How a command begins that has no network."""
    unshare = service("unshare", "util-linux")
    for words in ((unshare, "--net"), (unshare, "--user", "--map-root-user", "--net")):
        if run(*words, "true", cwd="/").returncode == 0:
            return words
    return lacking("this machine lets nobody have a network of their own (unshare --net)")


def test_whoever_has_the_wheel_verifies_in_an_empty_folder_without_a_network(
    there, apart, tmp_path
):
    given = tmp_path / "given"
    given.mkdir()
    (given / "policy.json").write_text(json.dumps(policy_mapping()))
    bundles = {
        "true": true_bundle(),
        "forged": forged_bundle(),
        "nonsense": b"PK\x03\x04 no bundle",
    }
    for name, data in bundles.items():
        (given / name).write_bytes(data)
    empty = tmp_path / "empty"
    empty.mkdir()

    said = {}
    for name in bundles:
        words = ("verify", given / name, "--policy", given / "policy.json", "--json")
        done = run(*apart, there / "joulemark", *words, cwd=empty)
        assert done.stderr == ""
        said[name] = done.returncode, json.loads(done.stdout)

    assert {name: code for name, (code, _) in said.items()} == {
        "true": 0,
        "forged": 1,
        "nonsense": 2,
    }
    assert said["true"][1]["verdict"] == "valid, simulated"
    assert said["true"][1]["signers"] == "checked"
    assert {row["code"] for row in said["forged"][1]["findings"]} == {"report_differs"}
    assert said["nonsense"][1]["findings"][0]["code"] == "bad_container"
    assert list(empty.iterdir()) == []


def test_the_base_install_is_all_there_is_and_no_network_is_there(there, apart, tmp_path):
    """The controls: what runs above is the wheel, and what it could reach outside it cannot."""
    names = set(run(there / "python", "-c", NAMES, cwd=tmp_path).stdout.lower().split())
    assert "joulemark" in names
    assert not names & {"pyyaml", "duckdb", "h11", "pytest"}
    asked = "import joulemark_agent; print(joulemark_agent.__file__)"
    place = run(there / "python", "-c", asked, cwd=tmp_path).stdout
    assert place.startswith(str(there.parent))
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = (there / "python", "-c", REACHES, server.getsockname()[1])
        assert run(*words, cwd=tmp_path).returncode == 0
        assert "Network is unreachable" in run(*apart, *words, cwd=tmp_path).stderr
