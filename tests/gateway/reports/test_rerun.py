"""A report run again from its bundle has the same bytes; one reading, factor or setting has not."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from joulemark_agent.contract.canonical import digest_hex
from joulemark_agent.contract.document import document_bytes
from joulemark_gateway.evidence.bundle import PAGE, REPORT, open_bundle
from joulemark_gateway.evidence.history import parse_tree
from joulemark_gateway.reports.issue import issue
from support.bundles import CLAIMS, Recipe, groups_of, true_report
from support.evidence import METER, build_tree, documents, factor_mapping, leaves_of
from support.forgeries.base import decoded_again, flip_word
from support.forgeries.plans import registering
from support.plant import plan_mapping, small

ROOT = Path(__file__).parents[3]
AGAIN = """
import hashlib, sys
from pathlib import Path
from joulemark_gateway.evidence.bundle import open_bundle
from joulemark_gateway.reports.issue import issue
from joulemark_gateway.reports.provenance import claims_of
from joulemark_gateway.verify.case import Case, readable
case = Case(open_bundle(Path(sys.argv[1]).read_bytes()))
files = readable(case.files)
trees = [(tree, files[place].checkpoints) for place, tree in readable(case.trees).items()]
claims = claims_of(case.statement.predicate)
found = issue(case.bundle.members["plan.json"], trees, case.documents, claims, case.account)
print(*(hashlib.sha256(data).hexdigest() for data in (found.report_json, found.report_html)))
"""


def test_a_report_run_again_elsewhere_from_its_bundle_alone_has_the_same_bytes(tmp_path):
    """In a fresh process and another folder, its kernels not compiled; here they are."""
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(registering().make())
    path = os.pathsep.join(str(ROOT / part) for part in ("agent", "gateway", "configs"))
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, str(bundle)],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "NUMBA_DISABLE_JIT": "1",
             "TZ": "America/Lima"},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    members = open_bundle(bundle.read_bytes()).members
    printed = [hashlib.sha256(members[name]).hexdigest() for name in (REPORT, PAGE)]
    assert done.stdout.split() == printed


def another_reading():
    """One bit of the raw words of one reading; its value follows from them."""
    groups = groups_of(METER)
    leaf = groups[4][10]
    flip_word(leaf)
    decoded_again(leaf)
    return Recipe(groups={METER: groups})


@pytest.mark.parametrize(
    "change",
    [
        {"confidence": "0.91"},
        {"creditable_policy": "art-trees-eq11"},
        {"production_cycle_days": 8},
        {"title": "Another title"},
    ],
)
def test_a_setting_of_the_plan_changes_the_digest_of_the_report(change):
    found = Recipe(plan=document_bytes(plan_mapping(**change))).report()
    assert digest_hex(found.report_json) != digest_hex(true_report().report_json)
    assert found.report["plan_sha256"] != true_report().report["plan_sha256"]


def test_one_raw_reading_changes_the_digest_of_the_report():
    assert another_reading().report().report_json != true_report().report_json


def test_the_factor_changes_the_digest_of_the_report():
    mapping = factor_mapping("korea")
    before = on_factors(mapping)
    for factor in mapping["factors"]:
        factor["factor_kg_per_kwh"] = "0.4782"
    after = on_factors(mapping)
    assert before.report["carbon"] == true_report().report["carbon"]
    assert after.report["carbon"] != before.report["carbon"]
    assert after.report_json != before.report_json


def on_factors(mapping):
    """The report on the same readings, approved with these factors."""
    site = documents(period_s=10_800, factors=mapping)
    made = [build_tree(site, device, results) for device, results in small().results.items()]
    trees = [(parse_tree(leaves_of(one)), [batch.checkpoint for batch in one]) for one in made]
    return issue(small().plan, trees, site.by_digest(), CLAIMS)
