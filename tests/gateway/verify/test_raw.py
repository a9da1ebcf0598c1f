"""A stranger checks a bundle on committed evidence, and raw records that were handed out later."""

import json
from dataclasses import replace

import pytest

from joulemark_agent.cli import main
from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.raw import raw_file
from joulemark_agent.contract.sparse import Withheld, withheld
from joulemark_gateway.evidence.container import container_bytes, read_container
from joulemark_gateway.verify import raw
from joulemark_gateway.verify.verdict import verify
from support.bundles import policy, policy_mapping
from support.committed import SLOTS, resealed
from support.committed_bundles import INTERVALS, batches_of, bundle, sparse_parts
from support.evidence import COUNTER, METER

FULL = batches_of(METER)
ASKED = FULL[4:6]


def codes(data, **more):
    return [finding.code for finding in verify(data, policy(), **more).findings]


def test_it_is_verified_and_says_how_much_is_withheld():
    verdict = verify(bundle(), policy())
    assert verdict.findings == ()
    assert verdict.status == "verified"
    away = 2 * INTERVALS * (SLOTS - 1)
    assert (verdict.counts["withheld"], verdict.counts["lost"]) == (away, 0)
    assert verdict.counts["records"] == 2 * (INTERVALS + 1)
    said = {item["code"]: item["text"] for item in verdict.report["limits"]}
    assert "92.5620 % of the readings" in said["withheld"]


def test_raw_records_in_the_bundle_itself_fit_their_heads():
    parts = sparse_parts(METER)
    parts[4] = FULL[4].leaves
    verdict = verify(bundle({METER: parts}, follows=True), policy())
    assert verdict.findings == ()
    assert verdict.counts["withheld"] == (2 * INTERVALS - 1) * (SLOTS - 1)
    found = codes(bundle({METER: parts}))
    assert set(found) == {"report_differs", "page_differs", "statement_differs"}, "it tells of less"


def change(parts, name):
    """Each a way to make the sparse tree say something else."""
    run = next(part for part in parts[4] if isinstance(part, Withheld))
    at = parts[4].index(run)
    if name == "another cover":
        parts[4] = (*parts[4][:at], replace(run, hashes=(bytes(32), *run.hashes[1:])))
        parts[4] += sparse_parts(METER)[4][at + 1 :]
    elif name == "a longer run":
        parts[4] = (replace(run, count=run.count + 1), *parts[4][1:])
    elif name == "a run too many":
        parts[4] = (run, *parts[4])
    elif name == "the last record withheld":
        parts[4] = (withheld(FULL[4].leaves[:-1], FULL[4].first_seq), FULL[4].leaves[-1])
    elif name == "a whole batch withheld":
        parts[4] = (withheld(FULL[4].leaves, FULL[4].first_seq),)
    elif name == "two batches as one run":
        leaves = [*FULL[4].leaves, *FULL[5].leaves]
        parts[4:6] = [(withheld(leaves, FULL[4].first_seq),)]
    elif name == "the first leaf withheld":
        parts[0] = (withheld(FULL[0].leaves[:1], 0), *FULL[0].leaves[1:])
    return parts


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("another cover", "root_mismatch"),
        ("a longer run", "bad_batch"),
        ("a run too many", "bad_batch"),
        ("the last record withheld", "interval_record_missing"),
        ("a whole batch withheld", "lost_unexplained"),
        ("two batches as one run", "bad_batch"),
        ("the first leaf withheld", "bad_sequence"),
    ],
)
def test_whoever_withholds_more_or_other_leaves_is_found(name, code):
    found = codes(bundle({METER: change(sparse_parts(METER), name)}))
    assert code in found, found


def test_the_first_format_has_all_leaves():
    members = read_container(bundle())
    manifest = json.loads(members["manifest.json"])
    members["manifest.json"] = canonical_bytes({**manifest, "format": "joulemark-bundle/1"})
    findings = verify(container_bytes(members), policy()).findings
    assert any("has them all" in finding.what for finding in findings)


# ------------------------------------------------------------------------- raw


def test_raw_records_that_came_later_are_those_that_the_heads_bind():
    verdict = verify(bundle(), policy(), raw={"raw.gz": raw_file(ASKED)})
    assert verdict.findings == ()
    assert verdict.counts["raw_leaves"] == 2 * (SLOTS - 1)
    twice = verify(bundle(), policy(), raw={"a": raw_file(FULL), "b": raw_file(ASKED)})
    assert twice.findings == ()
    assert twice.counts["raw_leaves"] == INTERVALS * (SLOTS - 1)


def forged(change_):
    batch = resealed(FULL, 4, change_)
    return raw_file([replace(batch, checkpoint=FULL[4].checkpoint)])


def value(contents):
    contents[3]["val"]["energy_wh"] = "1"


def forgeries():
    leaves = FULL[4].leaves
    yield "a value", forged(value), "raw_mismatch"
    yield (
        "changed places",
        raw_file([replace(FULL[4], leaves=(leaves[1], leaves[0], *leaves[2:]))]),
        "raw_mismatch",
    )
    yield (
        "of another interval",
        raw_file([replace(FULL[5], first_seq=FULL[4].first_seq, checkpoint=FULL[4].checkpoint)]),
        "raw_mismatch",
    )
    yield (
        "of another device",
        raw_file([replace(batches_of(COUNTER)[4], checkpoint=FULL[4].checkpoint)]),
        "raw_mismatch",
    )
    yield "shorter", raw_file([replace(FULL[4], leaves=leaves[:-1])]), "raw_unknown"
    yield "under its own head", raw_file([resealed(FULL, 4, value)]), "raw_unknown"
    yield "damaged", raw_file(ASKED)[:-5], "bad_raw_file"
    lies = tuple(b'{"power_w":"0"}' for _ in (*leaves, *FULL[5].leaves))
    both = replace(FULL[5], first_seq=FULL[4].first_seq, leaves=lies)
    yield "two as one", raw_file([both]), "raw_unknown"
    lie = replace(FULL[4], leaves=lies[: len(leaves)])
    yield "a lie, then the truth", raw_file([lie, FULL[4]]), "raw_mismatch"


@pytest.mark.parametrize(
    ("name", "data", "code"), list(forgeries()), ids=lambda item: str(item)[:9]
)
def test_other_raw_records_refute(name, data, code):
    verdict = verify(bundle(), policy(), raw={"raw.gz": data})
    assert code in [finding.code for finding in verdict.findings], name
    assert verdict.status == "refuted"


def test_without_the_check_of_the_cover_forged_records_pass(monkeypatch):
    """The control: a forgery that nothing else could find."""
    data = forged(lambda contents: contents[3].update(t_mono_ns="9"))
    assert codes(bundle(), raw={"raw.gz": data}) == ["raw_mismatch"]
    monkeypatch.setattr(raw, "is_same_tree", lambda *_: True)
    assert codes(bundle(), raw={"raw.gz": data}) == []


def test_the_command_says_that_they_fit(tmp_path, capsys):
    (tmp_path / "bundle.zip").write_bytes(bundle())
    (tmp_path / "policy.json").write_bytes(canonical_bytes(policy_mapping()))
    (tmp_path / "raw.gz").write_bytes(raw_file(ASKED))
    (tmp_path / "forged.gz").write_bytes(forged(value))
    words = ["verify", str(tmp_path / "bundle.zip"), "--policy", str(tmp_path / "policy.json")]
    assert main([*words, "--raw", str(tmp_path / "raw.gz")]) == 0
    assert "28 raw leaves" in capsys.readouterr().out
    assert main([*words, "--raw", str(tmp_path / "forged.gz"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [finding["code"] for finding in told["findings"]] == ["raw_mismatch"]
