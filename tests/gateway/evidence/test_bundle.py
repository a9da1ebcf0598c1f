"""A bundle holds everything, says what it holds, and unpacks within limits."""

import gzip
import io
import zipfile
from dataclasses import replace

import pytest

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_gateway.evidence import bundle
from joulemark_gateway.evidence.bundle import (
    Bundle,
    Contents,
    TreeFiles,
    make_bundle,
    open_bundle,
    packed,
)
from joulemark_gateway.evidence.container import container_bytes
from joulemark_gateway.reports.provenance import predicate_of
from support.bundles import Recipe, policy_mapping, true_bundle, true_report
from support.evidence import COUNTER, KEYS, METER, leaves_of
from support.plant import small

LEAVES = f"evidence/{METER}/1/leaves.jsonl.gz"
NOTES = f"evidence/{METER}/1/checkpoints.json"


def contents():
    report, made = true_report(), Recipe().made_batches()
    trees = [
        TreeFiles(device, 1, leaves_of(batches), [batch.checkpoint for batch in batches])
        for device, batches in made.items()
    ]
    return Contents(
        report.report_json,
        report.report_html,
        small().plan,
        small().site.by_digest(),
        trees,
        Recipe().made_log(made),
    )


def test_the_same_contents_and_key_give_the_same_bundle():
    predicate = predicate_of(true_report().provenance, policy_mapping(), true_report().report)
    first = make_bundle(contents(), predicate, KEYS.reporter)
    turned = replace(contents(), trees=contents().trees[::-1])
    assert make_bundle(turned, predicate, KEYS.reporter) == first == true_bundle()


def test_a_zip_tool_a_hash_and_a_json_parser_are_enough_to_read_it():
    with zipfile.ZipFile(io.BytesIO(true_bundle())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = parse_canonical(members["manifest.json"])
    assert manifest["format"] == "joulemark-bundle/2"
    listed = manifest["files"]
    assert set(listed) == set(members) - {"manifest.json", "statement.json"}
    assert all(digest_hex(members[name]) == digest for name, digest in listed.items())
    leaves = gzip.decompress(members[LEAVES]).decode().splitlines()
    assert [int(parse_canonical(leaf.encode())["seq"]) for leaf in leaves] == list(
        range(len(leaves))
    )
    assert b"joulemark verify" in members["readme.txt"]


def test_leaves_documents_and_checkpoints_come_back_as_they_were():
    opened = open_bundle(true_bundle())
    assert opened.trees() == [(METER, 1), (COUNTER, 1)]
    made = Recipe().made_batches()[METER]
    tree = opened.tree(METER, 1, bundle.MAX_LEAVES_BYTES)
    assert tree.leaves == leaves_of(made)
    assert tree.checkpoints == [batch.checkpoint for batch in made]
    assert opened.documents() == small().site.by_digest()


def test_packed_leaves_carry_no_time():
    assert packed([b"{}"]) == packed([b"{}"])
    assert packed([b"{}"])[4:8] == bytes(4)


def tree_of(leaves=None, notes=None):
    members = {LEAVES: packed([b"{}"]), NOTES: b"[]"}
    members |= {LEAVES: leaves} if leaves is not None else {}
    members |= {NOTES: notes} if notes is not None else {}
    return Bundle(members).tree(METER, 1, bundle.MAX_LEAVES_BYTES)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no gzip",
        packed([b"{}"])[:-1],
        packed([b"{}"]) + b"\0",
        packed([b"{}"]) * 2,
        gzip.compress(b"{}", mtime=0),
    ],
    ids=["empty", "other", "cut", "more", "twice", "no end of line"],
)
def test_leaves_in_another_form_are_refused(data):
    with pytest.raises(EvidenceError) as caught:
        tree_of(leaves=data)
    assert caught.value.code == "bad_leaves"


def test_a_bomb_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(bundle, "MAX_LEAVES_BYTES", 1000)
    with pytest.raises(EvidenceError, match="more than 1000 bytes"):
        tree_of(leaves=gzip.compress(b"\n" * 10_000_000))
    assert len(tree_of(leaves=packed([b"x" * 999])).leaves) == 1


@pytest.mark.parametrize("notes", [b"", b"{}", b"[1]", b"[[]]", b'["a"] '])
def test_checkpoints_in_another_form_are_refused(notes):
    with pytest.raises(EvidenceError):
        tree_of(notes=notes)


def test_only_a_bundle_is_opened():
    members = Recipe().made_members()
    manifest = canonical_bytes({**parse_canonical(members["manifest.json"]), "format": "other/1"})
    for broken in ({**members, "manifest.json": manifest}, {"readme.txt": b""}):
        with pytest.raises(EvidenceError) as caught:
            open_bundle(container_bytes(broken))
        assert caught.value.code == "not_a_bundle"


def test_a_damaged_manifest_is_for_the_verifier_to_name():
    members = {**Recipe().made_members(), "manifest.json": b"damaged"}
    assert open_bundle(container_bytes(members)).members == members
