"""docs/api_examples.md: every block of it is run against a collector."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from joulemark_gateway.access.roles import Role
from support import guarded
from support.evidence import SITE
from support.needed import service

PAGE = Path(__file__).parents[3] / "docs/api_examples.md"
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
FAR_US = 4 * 10**15

pytestmark = pytest.mark.endurance


@pytest.fixture(scope="module")
def environment(state, tmp_path_factory):
    with guarded.serving(state, tmp_path_factory.mktemp("access")) as (let, url):
        add = let.access.tokens.add
        scopes = ["series:read", "reports:read", "evidence:read"]
        reporting = add("reporting", Role.VERIFIER, [SITE], 0, FAR_US, scopes=scopes)[1]
        metrics = add("prometheus", Role.VERIFIER, None, 0, FAR_US, scopes=["metrics:read"])[1]
        told = {"COLLECTOR": url, "TOKEN": reporting, "METRICS_TOKEN": metrics}
        yield {**os.environ, **told}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


def run(kind, text, environment, folder):
    shell = [sys.executable] if kind == "python" else ["bash", "-euo", "pipefail"]
    return subprocess.run(
        [*shell, "-c", text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("k", range(len(BLOCKS)))
def test_a_block_of_the_page_runs(k, environment, folder):
    kind, text = BLOCKS[k]
    if kind == "sh":
        service("curl", "curl")
    done = run(kind, text, environment, folder)
    assert done.returncode == 0, (text, done.stdout, done.stderr)
    assert done.stdout or "-o " in text


def test_there_are_blocks_of_both_kinds():
    assert [kind for kind, _ in BLOCKS].count("sh") >= 5
    assert [kind for kind, _ in BLOCKS].count("python") >= 2


def test_the_control_a_block_with_the_wrong_token_fails(environment, folder):
    kind, text = next(block for block in BLOCKS if block[0] == "python")
    done = run(kind, text, {**environment, "TOKEN": "jmt_00000000_none"}, folder)
    assert done.returncode != 0
    assert "401" in done.stderr
