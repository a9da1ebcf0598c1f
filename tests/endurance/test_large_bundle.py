"""A million values are verified offline in little memory, by one process."""

import subprocess
import sys

import pytest

from support.alone import verified
from support.large_bundles import BUNDLE, POLICY, Size, write_bundle

pytestmark = [pytest.mark.endurance, pytest.mark.timeout(600)]

MILLION = Size(feeders=10, records=10_000, points=10)
MOST_MB = 200.0


def test_a_million_values_are_verified_in_two_hundred_megabytes_without_a_socket(tmp_path):
    write_bundle(tmp_path, MILLION)
    took = verified(tmp_path / BUNDLE, "--policy", tmp_path / POLICY)
    counts = took.verdict["counts"]
    sys.stdout.write(
        f"\n{counts['values']:,} values, {counts['records']:,} records: {took.cpu_s:.1f} s of CPU,"
        f" {took.wall_s:.1f} s, {took.peak_mb:.0f} MB\n"
    )

    assert (took.exit, took.verdict["verdict"]) == (0, "valid, simulated")
    assert (counts["values"], counts["records"]) > (MILLION.values, MILLION.values // 10)
    assert took.peak_mb <= MOST_MB


def test_what_is_denied_there_cannot_be_had():
    """The control."""
    for line in ("import socket; socket.socket()", "import os; os.fork()"):
        source = f"import sys; from support.alone import deny; sys.addaudithook(deny); {line}"
        done = subprocess.run(
            [sys.executable, "-c", source], env={"PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "needs none" in done.stderr
