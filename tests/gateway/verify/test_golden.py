"""Bundles of every format that was ever released verify for ever, byte for byte as they were made.

`bundle-N.zip` is of format N. A new format adds a file here and leaves the others alone.
"""

from pathlib import Path

import pytest

from joulemark_gateway.evidence.bundle import (
    FIRST_FORMAT,
    FORMAT,
    LOG_HEADS,
    REPORT,
    REQUIRED,
    open_bundle,
)
from joulemark_gateway.evidence.container import container_bytes
from joulemark_gateway.verify.policy import parse_policy
from joulemark_gateway.verify.verdict import verify
from support.bundles import Recipe

FOLDER = Path(__file__).parents[2] / "golden"
BUNDLES = sorted(FOLDER.glob("bundle-*.zip"))


def policy_of(path):
    return parse_policy((FOLDER / f"policy-{path.stem.partition('-')[2]}.json").read_bytes())


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem)
def test_a_bundle_of_every_format_is_verified_under_its_policy_and_without(path):
    data = path.read_bytes()
    for policy in (policy_of(path), None):
        verdict = verify(data, policy)
        assert verdict.findings == ()
        assert (verdict.status, verdict.exit_code) == ("verified", 0)
        assert verdict.report["saving"] is not None


def test_there_is_a_bundle_of_every_format():
    formats = [open_bundle(path.read_bytes()).format for path in BUNDLES]
    assert sorted(set(formats)) == sorted(REQUIRED)


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem)
def test_a_figure_changed_in_an_old_bundle_is_found_today(path):
    """The control: old formats are recomputed, not waved through."""
    members = dict(open_bundle(path.read_bytes()).members)
    avoided = verify(path.read_bytes(), None).report["saving"]["avoided_kwh"].encode()
    changed = avoided[:-1] + bytes([avoided[-1] ^ 1])
    members[REPORT] = members[REPORT].replace(avoided, changed)
    codes = {finding.code for finding in verify(container_bytes(members), None).findings}
    assert {"file_changed", "report_differs"} <= codes


def test_the_first_format_has_no_log_and_the_second_must_have_one():
    first = dict(open_bundle((FOLDER / "bundle-1.zip").read_bytes()).members)
    second = Recipe().made_members()
    assert open_bundle(container_bytes(first)).format == FIRST_FORMAT
    assert open_bundle(container_bytes(second)).format == FORMAT

    def codes(members):
        return {finding.code for finding in verify(container_bytes(members), None).findings}

    assert {"file_unknown", "file_extra"} <= codes({**first, LOG_HEADS: second[LOG_HEADS]})
    without = {name: data for name, data in second.items() if not name.startswith("collector/")}
    assert {"file_missing", "log_missing"} <= codes(without)
