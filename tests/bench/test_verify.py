"""What a verdict takes by how many values stand in a record, and against limits per million values.

One process, one core: everything from the command to the verdict, its start included.
"""

import sys

import pytest

from support.alone import verified
from support.large_bundles import BUNDLE, POLICY, Size, write_bundle

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

LIMIT_S, LIMIT_MB, MILLION = 10.0, 200.0, 1_000_000
SIZES = [
    Size(feeders=10, records=2_000, points=10),
    Size(feeders=1, records=20_000, points=10),
    Size(feeders=10, records=400, points=50),
    Size(feeders=10, records=10_000, points=1),
    Size(feeders=10, records=1_000, points=10, batch=5),
]


@pytest.mark.parametrize(
    "size", SIZES, ids=lambda size: f"{size.feeders}x{size.records}x{size.points}"
)
def test_values_a_second_and_megabytes_against_the_limits(size, tmp_path):
    write_bundle(tmp_path, size)
    took = verified(tmp_path / BUNDLE, "--policy", tmp_path / POLICY)
    counts = took.verdict["counts"]
    packed_mb = (tmp_path / BUNDLE).stat().st_size / 1e6
    limit_s = LIMIT_S * counts["values"] / MILLION
    sys.stdout.write(
        f"\n{size.feeders} devices, {size.points} points a record: {counts['values']:,} values,"
        f" {counts['records']:,} records, {packed_mb:.1f} MB packed\n"
        f"  CPU {took.cpu_s:.2f} s: {counts['values'] / took.cpu_s:,.0f} values/s,"
        f" {counts['records'] / took.cpu_s:,.0f} records/s, {took.cpu_s / limit_s:.2f} of the limit"
        f" ({limit_s:.1f} s); wall {took.wall_s:.2f} s\n"
        f"  memory {took.peak_mb:.0f} MB: {took.peak_mb / LIMIT_MB:.2f} of the limit\n"
    )
    assert took.exit == 0
