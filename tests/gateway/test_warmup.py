"""`joulemark collector warmup`: no kernel that a batch needs is left to be compiled."""

import os
import subprocess
import sys

import pytest

from support.child import search_path

RUN = """
from joulemark_agent import cli
from joulemark_agent.kernels.jit import standing
from joulemark_gateway.evidence import record_block
if {is_warmed}:
    assert cli.main(["collector", "warmup"]) == 0
print(*standing().waiting)
"""


@pytest.mark.parametrize("is_warmed", [True, False], ids=["warmed", "control"])
def test_what_reads_records_waits_for_its_first_call_unless_warmed(is_warmed):
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(is_warmed=is_warmed)],
        env={**os.environ, "PYTHONPATH": search_path()},
        capture_output=True, text=True, check=True, timeout=110,
    )  # fmt: skip
    *said, waiting = done.stdout.splitlines()
    assert ("The kernels are ready" in "\n".join(said)) is is_warmed
    assert ("record_block" in waiting) is not is_warmed
    assert ("decode_block" in waiting) is not is_warmed
