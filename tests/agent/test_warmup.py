"""`joulemark agent warmup`, with a compiler, without one, and with nowhere to keep it."""

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from joulemark_agent import cli, equipment, kernels, physics
from joulemark_agent.contract.profile import Profile
from joulemark_agent.documents import load_profile
from joulemark_agent.kernels.warm import warm_up
from support.child import search_path


def warmed(*program: str, **environment: str) -> dict[str, object]:
    """What a process of its own says."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
    done = subprocess.run(
        [sys.executable, *program, "agent", "warmup", "--json"],
        env={**inherited, "PYTHONPATH": search_path(), **environment},
        capture_output=True, text=True, check=True, timeout=110,
    )  # fmt: skip
    found: dict[str, object] = json.loads(done.stdout)
    return found


def any_profile() -> Profile:
    return load_profile("virtual_main_meter", None)[0]


def test_no_kernel_of_the_agent_is_left_to_be_compiled_when_a_value_is_due():
    for package in (kernels, physics, equipment):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found = warm_up(any_profile())
    assert not [name for name in found.waiting if name.startswith("joulemark_agent.")]
    assert (found.is_compiled, found.why) == (True, "")
    assert found.cache is not None


def test_it_says_whether_and_where_the_kernels_are_ready(capsys):
    assert cli.main(["agent", "warmup", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["jit_ready"] is True
    assert Path(found["cache"]).is_dir()
    assert cli.main(["agent", "warmup"]) == 0
    assert "They are kept in " in capsys.readouterr().out


def test_plain_kernels_are_asked_for_by_name_and_need_no_compiler():
    found = warmed("-m", "joulemark_agent.cli", JOULEMARK_KERNELS="plain")
    assert (found["jit_ready"], found["compiled"], found["cache"]) == (False, False, None)
    assert str(found["why"]).startswith("numba cannot be imported")


def test_another_name_for_the_kernels_is_one_message(monkeypatch, capsys):
    monkeypatch.setenv(cli.KERNELS, "fast")
    assert cli.main(["agent", "warmup"]) == 2
    assert capsys.readouterr().err == (
        "error: JOULEMARK_KERNELS is 'fast'. Set it to 'compiled', to 'plain' on a gateway with"
        " little memory, or not.\n"
    )


RUN = """
import numpy as np
from joulemark_agent.kernels.jit import standing
from joulemark_agent.kernels.reconcile import weighted_mean
assert weighted_mean(np.ones(3), np.ones(3)) == 1.0
print(standing().is_compiled, standing().cache)
"""
NOWHERE = """
from numba.core import caching
caching.CacheImpl._locator_classes = []  # as where neither the code nor a home can be written
"""
FULL = """
import errno
from numba.core import caching
def save(*_):
    raise OSError(errno.ENOSPC, "No space left on device")
caching.IndexDataCacheFile.save = save
"""


@pytest.mark.parametrize(
    "trouble", [NOWHERE, pytest.param(FULL, marks=pytest.mark.endurance)], ids=["read-only", "full"]
)
def test_an_install_with_nowhere_to_write_compiles_and_keeps_nothing(trouble, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", trouble + RUN],
        env={**os.environ, "PYTHONPATH": search_path(), "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True, text=True, check=True, timeout=110,
    )  # fmt: skip
    assert done.stdout == "True None\n"


def test_a_cache_folder_that_cannot_be_made_is_no_reason_to_stop(tmp_path):
    file = tmp_path / "a_file"
    file.write_text("")
    code = "from joulemark_agent.kernels.stuck import stuck; print(stuck.stats.cache_path)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": search_path(), "NUMBA_CACHE_DIR": str(file / "below")},
        capture_output=True, text=True, check=True, timeout=110,
    )  # fmt: skip
    assert str(file) not in done.stdout
