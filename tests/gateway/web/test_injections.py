"""Hostile text from devices, agents, site files, reports and requests: on no page does it do
anything, and in no file that is handed out.

A page is compared with the same page of harmless words: tag for tag, attribute for attribute. The
control draws the same pages without escaping, and the same comparison finds it.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from httpx import URL, AsyncClient

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.errors import EvidenceError
from joulemark_gateway.access.roles import Role
from joulemark_gateway.access.settings import PagesSettings
from joulemark_gateway.api import projects
from joulemark_gateway.evidence.bundle import REPORT
from joulemark_gateway.web import pages as drawn
from support import guarded, pages
from support.bundles import true_report
from support.evidence import METER, SITE, meter_readings, with_gap
from support.guarded import browser_of
from support.injections import payloads
from support.pages import COMPRESSOR, PLACE, State, asking
from support.skeleton import skeleton

CORPUS = Path(__file__).parents[2] / "data" / "page_injections.json"
KINDS = (
    "html", "html_attribute", "javascript", "csv_formula", "format", "unicode", "header", "log",
)  # fmt: skip # those of the whole corpus that a page could be taken in by
KINDS_ASKED = ("sql", "series", "path", "ssrf")  # and those that what answers it could be
MOST_LETTERS = 200  # of a name in a report: what is longer is refused as a whole


def can_travel(text: str) -> bool:
    """Whether it comes as far as a page: canonical JSON refuses half a surrogate pair."""
    return len(text) <= MOST_LETTERS and not any("\ud800" <= c <= "\udfff" for c in text)


def texts(*kinds: str) -> list[str]:
    """Those of these kinds that can travel."""
    return [one.text for one in payloads(*kinds) if can_travel(one.text)]


OWN: list[str] = json.loads(CORPUS.read_text("utf-8"))
PAYLOADS = list(dict.fromkeys([*filter(can_travel, OWN), *texts(*KINDS)]))
ASKED = [  # of every change some, and all of them where there is time
    payload if k % 8 == 0 else pytest.param(payload, marks=pytest.mark.endurance)
    for k, payload in enumerate(dict.fromkeys([*PAYLOADS, *texts(*KINDS_ASKED)]))
]
MOST_GAPS = 185  # of the 384 slots
MACHINE = f"/sites/{SITE}/devices/{COMPRESSOR}"
DAYS = "?from=2018-01-01&to=2018-01-04"
SHOWN = ["/", f"/sites/{SITE}{DAYS}", f"{PLACE}{DAYS}", f"{MACHINE}{DAYS}", "/refused"]
FIELDS = [
    ("project", "title"), ("project", "measure", "name"), ("project", "measure", "description"),
    ("policy", "text"), ("policy", "source"), ("policy", "id"), ("policy", "version"), ("issued",),
]  # fmt: skip


def filled(folder: Path, texts: list[str]) -> State:
    """Evidence in which a device's model, its source and the cause of every gap are these texts."""
    source = " ".join(texts) + " and so on"
    made = pages.site_documents()
    profile = parse_canonical(made.profiles[COMPRESSOR]) | {"source": source, "model": texts[0]}
    site = replace(made, profiles={**made.profiles, COMPRESSOR: document_bytes(profile)})
    rows = meter_readings(site, pages.energies(4))
    for k, text in enumerate(texts[:MOST_GAPS]):
        rows = with_gap(rows, 4 + 2 * k, 1, text)
    folder.mkdir()
    machine = pages.compressor_readings(site, 4 * pages.STEPS_A_DAY)
    pages._collect(folder, site, {METER: rows, COMPRESSOR: machine})
    (folder / "report").mkdir()
    return State(folder, folder / "report")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("hostile") / "state", PAYLOADS)


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    words = [f"harmless words {k}" for k in range(len(PAYLOADS))]
    return filled(tmp_path_factory.mktemp("harmless") / "state", words)


async def answered(state: State, paths: list[str]) -> dict[str, str]:
    with state.sources(reports=[]) as sources:
        async with asking(sources) as client:
            found = {}
            for path in paths:
                answer = await client.get(path)
                assert answer.status_code == 200, path
                found[path] = answer.text
            return found


@pytest.mark.endurance
async def test_what_a_device_or_site_file_says_does_nothing_on_any_page(hostile, harmless):
    one, other = await answered(hostile, SHOWN), await answered(harmless, SHOWN)
    for path in SHOWN:
        assert skeleton(one[path]) == skeleton(other[path]), path
    assert "harmless words 3" in other[SHOWN[2]], "or nothing was looked at"
    assert len(PAYLOADS) >= 150


@pytest.mark.endurance
async def test_the_control_without_escaping_every_page_with_a_payload_is_found(
    hostile, harmless, monkeypatch
):
    plain = drawn.environment().overlay(autoescape=False)
    monkeypatch.setattr(drawn, "environment", lambda: plain)
    one, other = await answered(hostile, SHOWN), await answered(harmless, SHOWN)
    changed = [path for path in SHOWN if skeleton(one[path]) != skeleton(other[path])]
    assert {SHOWN[1], SHOWN[2], SHOWN[3]} <= set(changed)


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_no_payload_alone_changes_a_page_that_repeats_it(payload):
    """The smallest page there is: what is escaped there is escaped everywhere."""
    page = drawn.environment().from_string('<p title="{{ text }}">{{ text }}</p>')
    assert skeleton(page.render(text=payload)) == ["<p title>", "</p>"]


def with_text(report: dict[str, Any], place: tuple[str, ...], text: str) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(report))
    part = changed
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = text
    return changed


@pytest.mark.endurance
async def test_what_a_report_says_does_nothing(state, tmp_path):
    report = parse_canonical(true_report().report_json)
    shown = 0
    with state.sources(reports=[tmp_path]) as sources:
        async with asking(sources) as client:
            wanted: dict[str, list[str]] = {}
            for k, text in enumerate(["harmless words", *PAYLOADS]):
                changed = with_text(report, FIELDS[k % len(FIELDS)], text)
                for field in FIELDS if k == 0 else ():
                    changed = with_text(changed, field, text)
                for row in changed["findings"]:
                    row["rule"] = row["subject"] = row["unit"] = text
                for row in changed["banners"]:
                    row["text"] = text
                (tmp_path / REPORT).write_bytes(canonical_bytes(changed))
                projects._parsed.cache_clear()
                for path in ("/projects", "/projects/pump-house"):
                    answer = await client.get(path)
                    if answer.status_code == 404:
                        continue  # the report was refused as a whole
                    found = skeleton(answer.text)
                    assert found == wanted.setdefault(path, found), (path, text)
                    shown += 1
    assert shown > len(PAYLOADS)


@pytest.mark.parametrize("payload", ASKED)
async def test_what_is_asked_for_does_nothing(asked, payload):
    client, wanted = asked
    for path, name in (
        (PLACE, "point"), (PLACE, "figure"), (PLACE, "from"), ("/", "lang"), ("/login", "next"),
        (f"{PLACE}/records", "seq"), ("/admin/log", "before"),
    ):  # fmt: skip
        answer = await client.get(path, params={name: payload})
        assert answer.status_code < 500
        found = [row for row in skeleton(answer.text) if not row.startswith(("<p ", "</p>"))]
        key = (path, name, answer.status_code)
        assert found == wanted.setdefault(key, found), key
        for header, value in answer.headers.items():
            assert "\n" not in value
            assert header != "set-cookie" or value.startswith("lang=")
            assert header != "location" or (value[0] == "/" and value[1:2] not in {"/", "\\"})


@pytest.fixture(scope="module")
def app(state, tmp_path_factory):
    wanted = PagesSettings(login=False, limits=pages.FREE)
    with guarded.guarded(state, tmp_path_factory.mktemp("access"), wanted) as (_, made):
        yield made


@pytest.fixture(scope="module")
def seen():
    return {}


@pytest.fixture
async def asked(app, seen):
    async with browser_of(app) as client:
        yield client, seen


def raw(client: AsyncClient, path: str) -> URL:
    """An address of exactly these bytes."""
    return client.base_url.copy_with(raw_path=path.encode("ascii"))


@pytest.mark.parametrize("payload", ASKED)
async def test_as_a_path_or_a_host_it_is_not_found_and_not_repeated_raw(asked, payload):
    client: AsyncClient = asked[0]
    for base in ("/", "/sites/", "/api/v1/sites/"):
        answer = await client.get(raw(client, base + quote(payload, safe="")))
        assert answer.status_code in {404, 422}
        if "json" in answer.headers["content-type"]:
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert json.loads(answer.text)["do"]
        else:
            assert "<script>" not in answer.text.replace('<script src="/static/live.js" defer>', "")
    host = payload.encode("utf-8", "replace")
    answer = await client.get("/", headers={"Host": host})
    assert answer.status_code == 421


@pytest.mark.parametrize(
    "name",
    [
        "../secret.txt", "..%2fsecret.txt", "secret.txt", "/etc/passwd", "report.pdf/../secret.txt",
        "report.json\0", "....//secret.txt", "report.html.", "%2e%2e%2fsecret.txt", "~", "con",
    ],
)  # fmt: skip
async def test_no_name_of_a_file_leads_out_of_a_report(asked, name):
    client = asked[0]
    for base in ("/projects/pump-house/files/", "/static/"):
        answer = await client.get(raw(client, base + quote(name, safe="%/.")))
        assert answer.status_code in {400, 404}
        assert "not yours" not in answer.text
        assert "root:" not in answer.text


async def test_a_link_in_the_folder_of_a_report_is_not_followed(state, tmp_path):
    (tmp_path / REPORT).write_bytes(true_report().report_json)
    (tmp_path / "bundle.zip").symlink_to(state.report / "secret.txt")
    with state.sources(reports=[tmp_path]) as sources:
        async with asking(sources) as client:
            assert "bundle.zip" not in (await client.get("/api/v1/projects/pump-house")).text
            answer = await client.get("/projects/pump-house/files/bundle.zip")
            assert answer.status_code == 404


async def test_what_stands_in_the_log_is_one_line_of_text(state, tmp_path):
    with guarded.guarded(state, tmp_path) as (let, app):
        viewer = let.header(Role.VIEWER)
        async with browser_of(app) as client:
            evil = "/admin/users/" + quote("a\x1b[2J\nfake_event: admin") + "/remove"
            assert (await client.post(raw(client, evil), headers=viewer)).status_code == 403
            admin = let.header(Role.ADMIN)
            text = (await client.get("/admin/log", headers=admin)).text
            assert "\x1b" not in text
            events = (await client.get("/api/v1/events", headers=admin)).json()["events"]
    assert any("fake_event" in row["what"] for row in events)
    assert all(row["what"].isprintable() for row in events)


def test_a_report_of_hostile_shape_is_refused_without_harm(tmp_path):
    """Deep, long, or twice the same key: refused by its form before anything is built of it."""
    deep = b"[" * 100_000 + b"]" * 100_000
    for data in (deep, b'{"a":1,"a":2}', b"{" * 10, b"\xff\xfe{}", b'{"format":NaN}', b""):
        (tmp_path / REPORT).write_bytes(data)
        projects._parsed.cache_clear()
        with pytest.raises(EvidenceError):
            projects.report_in(tmp_path)
