"""A verifier in another language, written from docs/format.md alone, gives the same verdicts.

What it leaves out the page says: report.html and the words for readers in report.json. Bundles that
differ in these alone are not among those compared, but in a test of their own.
"""

import gzip
import json
import random
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_gateway.evidence.bundle import (
    PAGE,
    README,
    REPORT,
    STATEMENT,
    open_bundle,
    packed,
    signed,
)
from joulemark_gateway.evidence.container import container_bytes
from joulemark_gateway.evidence.corrections import Correction
from joulemark_gateway.evidence.statement import open_statement
from joulemark_gateway.verify import manifest, recompute
from joulemark_gateway.verify.policy import policy_of
from joulemark_gateway.verify.verdict import STEPS, verify
from support import committed_bundles, lost_bundles
from support.bundles import CLAIMS, Recipe, policy_mapping, true_bundle, true_report
from support.evidence import KEYS, METER, SITE
from support.forgeries import (
    accounts,
    corrections,
    keys,
    kinds,
    papers,
    plans,
    records,
    reports,
    statements,
    trees,
    versions,
)
from support.forgeries.base import MUTATIONS, edited_report
from support.forgeries.keys import SIGNED_BY_NEW, both_rotated
from support.log_recipes import LogRecipe
from support.second_verifier import Asked, judged

GOLDEN = Path(__file__).parents[2] / "golden"
SUBJECTS = (
    accounts, corrections, keys, kinds, papers, plans, records, reports, statements, trees,
    versions,
)  # fmt: skip
FLIPS, CONTAINERS, SEALED, FIGURES = 250, 250, 20, 12
WORDS = {"text", "rule", "why", "source", "kind", "warnings"}  # for readers, see docs/format.md
CHEAP = tuple(step for step in STEPS if step is not recompute.check)
OTHER = Recipe(claims=replace(CLAIMS, software_version="9.0.0"))


def exit_code(asked):
    """The verdict of the first verifier; what a cheap step refutes need not be measured."""
    policy = None if asked.policy is None else policy_of(asked.policy)
    for steps in ((manifest.check,), CHEAP, STEPS):
        verdict = verify(asked.data, policy, steps)
        if verdict.exit_code:
            break
    return verdict.exit_code


def compared(node, asked, folder, *, quick=False):
    """The exit codes of the first verifier, and what the second judges otherwise."""
    folder.mkdir(exist_ok=True)
    second = judged(node, asked, folder, quick=quick)
    codes = [exit_code(one) for one in asked]
    rows = zip(asked, codes, second, strict=True)
    return codes, [(one.name, code, v) for one, code, v in rows if code != v["exit"]]


def flipped(data, bit):
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


@cache
def true_members():
    return dict(open_bundle(true_bundle()).members)


def sealed(members):
    """These members under a manifest and a statement of the true reporter."""
    predicate = open_statement(true_members()[STATEMENT]).predicate
    content = {n: d for n, d in members.items() if n not in {"manifest.json", STATEMENT}}
    return container_bytes(signed(content, predicate, KEYS.reporter))


def golden():
    """The kept bundles, each under its policy and without one."""
    for path in sorted(GOLDEN.glob("bundle-*.zip")):
        policy = json.loads((GOLDEN / f"policy-{path.stem[7:]}.json").read_text())
        yield Asked(path.stem, path.read_bytes(), policy)
        yield Asked(f"{path.stem}, no policy", path.read_bytes(), None)


def correction(treatment, value=None, first=300, last=303):
    return Correction(f"joulemark/{SITE}/{METER}/1", first, last, "energy_wh", treatment,
                      "the meter was opened", "an engineer", value=value)  # fmt: skip


def valid():
    """Bundles of every kind that should be accepted, and one of a software nobody knows."""
    yield from golden()
    for name, policy in (("true", policy_mapping()), ("true, no policy", None)):
        yield Asked(name, true_bundle(), policy)
    yield Asked("committed evidence", committed_bundles.bundle(), policy_mapping())
    yield Asked("a lost batch", lost_bundles.bundle(), policy_mapping())
    made = LogRecipe(corrections=[(correction("excluded"), KEYS.operator)])
    yield Asked("corrected", Recipe(log=made).make(), policy_mapping())
    yield Asked("a registered plan", plans.registering().make(), plans.one_of_the_firm())
    changed = Recipe(groups=both_rotated(), sealing=SIGNED_BY_NEW)
    yield Asked("key changed", changed.make(), policy_mapping())
    yield Asked("another software", OTHER.make(), policy_mapping())


def flips():
    """One bit of a member, or of the container."""
    draw = random.Random(6)
    members, data = true_members(), true_bundle()
    for _ in range(FLIPS):
        name = draw.choice(sorted(members))
        changed = {**members, name: flipped(members[name], draw.randrange(8 * len(members[name])))}
        yield Asked(f"a bit of {name}", container_bytes(changed), policy_mapping())
    for _ in range(CONTAINERS):
        bit = draw.randrange(8 * len(data))
        yield Asked(f"bit {bit} of the container", flipped(data, bit), policy_mapping())


def sealed_again():
    """One bit of a member, which the true reporter then signs: only deeper layers can object."""
    draw = random.Random(7)
    members = true_members()
    names = sorted(set(members) - {PAGE, README, REPORT, "manifest.json", STATEMENT})
    for _ in range(SEALED):
        name = draw.choice(names)
        plain = gzip.decompress(members[name]) if name.endswith(".gz") else members[name]
        plain = flipped(plain, draw.randrange(8 * len(plain)))
        data = packed(plain[:-1].split(b"\n")) if name.endswith(".gz") else plain
        yield Asked(f"a signed bit of {name}", sealed({**members, name: data}), policy_mapping())


def texts_of(value, path=()):
    """The place of every text of a report that is no word for readers."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in items:
        if name in WORDS and not (name == "source" and "profile" in path):
            continue
        if isinstance(item, (dict, list)):
            yield from texts_of(item, (*path, name))
        elif isinstance(item, str) and item:
            yield (*path, name)


def figures():
    """One letter of a text of the report, which the true reporter then signs."""
    draw = random.Random(8)
    places = sorted(texts_of(parse_canonical(true_members()[REPORT])), key=str)
    for place in draw.sample(places, FIGURES):
        report = parse_canonical(true_members()[REPORT])
        *parents, last = place
        inside = report
        for name in parents:
            inside = inside[name]
        inside[last] = inside[last][:-1] + ("7" if inside[last][-1] != "7" else "8")
        changed = {**true_members(), REPORT: canonical_bytes(report)}
        yield Asked(f"figure {place}", sealed(changed), policy_mapping())


@pytest.mark.endurance
def test_the_second_verifier_accepts_kept_bundles_and_no_others(node, tmp_path):
    """What the first says of them is in test_golden.py."""
    kept, *_ = valid_ones = list(golden())
    members = dict(open_bundle(kept.data).members)
    readme = container_bytes({**members, README: b"All is well."})
    page = container_bytes({**members, PAGE: members[PAGE] + b" "})
    broken = [readme, page, kept.data[:-1], b""]
    asked = [*valid_ones, *(Asked("broken", data, kept.policy) for data in broken)]
    second = judged(node, asked, tmp_path)
    assert [verdict["exit"] for verdict in second] == [0] * len(valid_ones) + [1, 1, 2, 2]
    assert all(verdict["undecided"] == [] for verdict in second)


@pytest.mark.endurance
def test_both_verifiers_agree_on_every_valid_bundle(node, tmp_path):
    asked = list(valid())
    codes, wrong = compared(node, asked, tmp_path)
    assert (set(codes), wrong) == ({0}, [])


@pytest.mark.endurance
@pytest.mark.timeout(600)
@pytest.mark.parametrize("make", [flips, sealed_again, figures])
def test_both_verifiers_agree_on_every_broken_bundle(make, node, tmp_path):
    """A bit that is signed again and that nothing depends on is verified by both."""
    asked = list(make())
    codes, wrong = compared(node, asked, tmp_path, quick=True)
    counts = ", ".join(f"exit {code}: {codes.count(code)}" for code in (0, 1, 2))
    sys.stdout.write(f"{make.__name__}: {counts}, judged otherwise: {len(wrong)}\n")
    assert wrong == []
    assert codes.count(0) <= (len(codes) // 4 if make is sealed_again else 0)


@pytest.mark.endurance
@pytest.mark.timeout(600)
def test_the_second_verifier_refutes_every_forgery_for_the_right_reason(node, tmp_path):
    """As the first does (test_mutations.py); but what the page alone tells it does not compare."""
    asked = [Asked(n, f.make().make(), f.policy()) for n, f in MUTATIONS.items()]
    verdicts = judged(node, asked, tmp_path)
    told = {
        one.name: {code for _, code in v["findings"]}
        for one, v in zip(asked, verdicts, strict=True)
    }
    missed = {n for n, forgery in MUTATIONS.items() if forgery.code not in told[n]}
    sys.stdout.write(
        f"{len(asked)} kinds of forgery ({len(SUBJECTS)} subjects), reasons missed: {missed}\n"
    )
    assert {verdict["exit"] for verdict in verdicts} == {1}
    assert missed == {n for n, forgery in MUTATIONS.items() if forgery.code == "page_differs"}
    assert not any(code.startswith("unforeseen") for codes in told.values() for code in codes)


@pytest.mark.endurance
def test_what_it_does_not_compare_it_says(node, tmp_path):
    """The control: here both differ, as docs/format.md says they do."""
    page = {**true_members(), PAGE: true_members()[PAGE] + b" "}
    words = edited_report(warnings=lambda _: []).report_json
    asked = [
        Asked("page", sealed(page), policy_mapping()),
        Asked("words", sealed({**true_members(), REPORT: words}), policy_mapping()),
        Asked("true", true_bundle(), policy_mapping()),
    ]
    assert [exit_code(one) for one in asked] == [1, 1, 0]
    second = judged(node, asked, tmp_path)
    assert [verdict["exit"] for verdict in second] == [0, 0, 0]
    assert all(verdict["compared"] for verdict in second)
    assert true_report().report_json == true_members()[REPORT]
