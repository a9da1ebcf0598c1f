"""A PDF handed on with a bundle is the one that was signed, or the verdict says that it is not."""

import argparse

import pytest

from joulemark_agent.contract.canonical import digest_hex, parse_canonical
from joulemark_agent.contract.signature import decode64
from joulemark_gateway.evidence.bundle import MANIFEST, PAGE, RENDERINGS, REPORT, STATEMENT, signed
from joulemark_gateway.evidence.container import container_bytes
from joulemark_gateway.evidence.statement import open_statement, sign_statement
from joulemark_gateway.verify import command, signers
from joulemark_gateway.verify.verdict import verify
from support.bundles import Recipe, policy, true_bundle
from support.evidence import KEYS

PDF = b"%PDF-1.7 the report"
STEPS = (signers.check,)


def with_subjects(change):
    """The members, their statement over the subjects that `change` makes of the true ones."""
    members = Recipe().made_members()
    predicate = open_statement(members[STATEMENT]).predicate
    subjects = change({name: members[name] for name in (MANIFEST, REPORT)})
    return {**members, STATEMENT: sign_statement(subjects, predicate, KEYS.reporter)}


def bundle(renderings):
    members = Recipe().made_members()
    predicate = open_statement(members[STATEMENT]).predicate
    inside = {name: data for name, data in members.items() if name not in {MANIFEST, STATEMENT}}
    return container_bytes(signed(inside, predicate, KEYS.reporter, renderings))


def codes(data, **arguments):
    return [finding.code for finding in verify(data, policy(), STEPS, **arguments).findings]


def test_a_bundle_verifies_without_the_files_beside_it():
    verdict = verify(bundle({"report.pdf": PDF}), policy())
    assert verdict.findings == ()
    assert verdict.files == ()


def test_a_file_beside_it_is_known_by_its_bytes_and_not_by_its_name():
    made = bundle({"report.pdf": PDF, "report.ko.pdf": PDF + b" ko"})
    assert codes(made, files={"for-the-bank.pdf": PDF}) == []
    assert codes(made, files={"a.pdf": PDF, "b.pdf": PDF + b" ko"}) == []


def test_another_file_refutes_and_without_the_comparison_nobody_would_know():
    made = bundle({"report.pdf": PDF})
    forged = {"report.pdf": PDF.replace(b"report", b"rep0rt")}
    verdict = verify(made, policy(), STEPS, files=forged)
    assert [(item.code, item.layer) for item in verdict.findings] == [("file_not_signed", "beside")]
    assert (verdict.status, verdict.exit_code) == ("refuted", 1)
    assert verify(made, policy(), STEPS).findings == (), "the naive control: it is not looked at"


def test_neither_report_nor_manifest_passes_as_a_file_beside():
    made = bundle({"report.pdf": PDF})
    members = Recipe().made_members()
    assert codes(made, files={"report.pdf": members[REPORT]}) == ["file_not_signed"]


def test_a_bundle_that_signed_no_pdf_vouches_for_none():
    assert codes(true_bundle(), files={"report.pdf": PDF}) == ["file_not_signed"]


@pytest.mark.parametrize(
    "change",
    [
        lambda subjects: {**subjects, "report.docx": b"x"},
        lambda subjects: {**subjects, "report.html": b"x"},
        lambda subjects: {**subjects, "REPORT.PDF": PDF},
        lambda subjects: {MANIFEST: subjects[MANIFEST], "report.pdf": PDF},
        lambda subjects: {REPORT: subjects[REPORT], "report.pdf": PDF},
        lambda subjects: {**subjects, REPORT: b"x", "report.pdf": PDF},
    ],
)
def test_a_statement_over_other_subjects_is_refuted(change):
    assert codes(container_bytes(with_subjects(change))) == ["statement_subject"]


@pytest.mark.parametrize("digest", ["", "x" * 64, "0" * 63, "0" * 65, "A" * 64, 7, None, [], {}])
def test_a_digest_that_is_none_is_refuted(digest, monkeypatch):
    monkeypatch.setattr(
        "joulemark_gateway.evidence.statement.digest_hex",
        lambda data: digest if data == PDF else digest_hex(data),
    )
    members = with_subjects(lambda subjects: {**subjects, "report.pdf": PDF})
    monkeypatch.undo()
    payload = parse_canonical(decode64(parse_canonical(members[STATEMENT])["payload"]))
    assert [digest] == [
        item["digest"]["sha256"] for item in payload["subject"] if item["name"] in RENDERINGS
    ]
    made = container_bytes(members)
    assert codes(made) == ["statement_subject"]
    assert codes(made, files={"report.pdf": PDF}) == ["statement_subject", "file_not_signed"]


def run(args):
    parser = argparse.ArgumentParser()
    command.add_command(parser.add_subparsers())
    parsed = parser.parse_args(["verify", *map(str, args)])
    return parsed.run(parsed)


def test_the_command_compares_the_files_it_is_given(tmp_path, capsys):
    (tmp_path / "bundle.zip").write_bytes(bundle({"report.pdf": PDF}))
    (tmp_path / "report.pdf").write_bytes(PDF)
    (tmp_path / "other.pdf").write_bytes(PDF + b" ")
    given = [tmp_path / "bundle.zip", "--file", tmp_path / "report.pdf"]
    assert run(given) == 0
    assert f"{tmp_path / 'report.pdf'} is as it was signed" in capsys.readouterr().out
    assert run([*given, "--file", tmp_path / "other.pdf"]) == 1
    told = capsys.readouterr().out
    assert f"file_not_signed: {tmp_path / 'other.pdf'} is not" in told


def test_the_page_beside_the_bundle_is_the_one_inside_it():
    members = Recipe().made_members()
    assert codes(bundle({"report.pdf": PDF}), files={"report.html": members[PAGE]}) == []
    forged = {"report.html": members[PAGE] + b"<!-- -->"}
    assert codes(bundle({"report.pdf": PDF}), files=forged) == ["file_not_signed"]
    swapped = container_bytes({**members, PAGE: forged["report.html"]})
    assert verify(swapped, policy(), files=forged).status == "refuted"
