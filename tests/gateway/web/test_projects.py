"""Folders of reports: what is read, what is handed out, and what is not."""

import json

import pytest

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_gateway.api.projects import projects_of
from joulemark_gateway.evidence.bundle import REPORT
from support.bundles import true_bundle, true_report


@pytest.fixture
def report():
    return parse_canonical(true_report().report_json)


def written(folder, report):
    (folder / REPORT).write_bytes(report if isinstance(report, bytes) else canonical_bytes(report))
    return projects_of([folder])


async def test_the_files_of_a_report_are_handed_out_and_nothing_else(client):
    base = "/projects/pump-house/files/"
    assert (await client.get(base + "bundle.zip")).content == true_bundle()
    page = await client.get(base + "report.html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src")
    assert "sandbox" in page.headers["content-security-policy"]
    assert "attachment" in (await client.get(base + "policy.json")).headers["content-disposition"]
    for name in ("secret.txt", "report.pdf", "..%2Fevidence.sqlite", "%2Fetc%2Fpasswd", "."):
        answer = await client.get(base + name)
        assert answer.status_code == 404, name
        assert b"not yours" not in answer.content


async def test_a_project_shows_its_saving_and_its_band(client):
    text = (await client.get("/projects/pump-house")).text
    head = parse_canonical(true_report().report_json)["headline"]
    assert f"{int(head['avoided_kwh']):,}" in text if "." not in head["avoided_kwh"] else True
    assert f"{head['confidence_percent']} % interval" in text
    assert 'class="band"' in text
    listed = (await client.get("/api/v1/projects")).json()["projects"][0]
    assert (listed["id"], listed["avoided_kwh"]) == ("pump-house", head["avoided_kwh"])


def test_a_report_that_is_there_is_read(tmp_path, report):
    found, unreadable = written(tmp_path, report)
    assert list(found) == ["pump-house"]
    assert not unreadable


def changed(report, *path, to):
    part = report
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = to
    return report


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("format",), "joulemark-report/4"),
        (("project", "id"), "../../etc"),
        (("headline", "avoided_kwh"), "1e999"),
        (("headline", "avoided_kwh"), "NaN"),
        (("series", "label"), ["x"]),
        (("series", "label", 0), "2018-13-01"),
        (("series", "cumulative_kwh", 0), "<svg>"),
        (("series", "kept"), []),
        (("findings",), "none"),
        (("periods", "baseline", "from"), "yesterday"),
        (("banners",), [{"code": "x", "text": "y" * 5000}]),
    ],
)
def test_a_report_of_another_form_is_refused_and_said(tmp_path, report, path, to):
    found, unreadable = written(tmp_path, changed(report, *path, to=to))
    assert not found
    assert "is not a report that can be shown" in unreadable[0].what


@pytest.mark.parametrize("data", [b"", b"{}", b"[1", b"\xff", json.dumps({"a": 1.5}).encode()])
def test_bytes_that_are_no_report_are_refused(tmp_path, data):
    assert not written(tmp_path, data)[0]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path, report):
    outside = tmp_path / "outside.json"
    outside.write_bytes(canonical_bytes(report))
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / REPORT).symlink_to(outside)
    assert not projects_of([folder])[0]


def test_two_folders_of_one_project_are_told(tmp_path, report):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / REPORT).write_bytes(canonical_bytes(report))
    found, unreadable = projects_of([tmp_path / "a", tmp_path / "b", tmp_path / "none"])
    assert len(found) == 1
    assert "stands in two folders" in unreadable[0].what
    assert "cannot be read" in unreadable[1].what
