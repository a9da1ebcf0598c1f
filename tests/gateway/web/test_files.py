"""The files of a report over the API: list, digest, ETag, and parts of them."""

import base64
import hashlib
import secrets
import threading

import pytest

from joulemark_gateway.access.roles import Role
from joulemark_gateway.api import projects
from joulemark_gateway.reports import stored
from support import guarded, pages
from support.guarded import browser_of

FILES = "/api/v1/projects/pump-house/files"
BUNDLE = f"{FILES}/bundle.zip"


@pytest.fixture(scope="module")
def let_and_app(state, tmp_path_factory):
    with guarded.guarded(state, tmp_path_factory.mktemp("access")) as found:
        yield found


@pytest.fixture
def verifier(let_and_app):
    let, app = let_and_app
    client = browser_of(app)
    client.headers.update(let.header(Role.VERIFIER))
    return client


@pytest.fixture
def bundle(state):
    return (state.report / "bundle.zip").read_bytes()


async def test_the_list_tells_the_digest_of_what_is_sent(verifier):
    rows = (await verifier.get(FILES)).json()["files"]
    assert {row["name"] for row in rows} >= {"bundle.zip", "policy.json", "report.json"}
    assert "secret.txt" not in {row["name"] for row in rows}
    for row in rows:
        answer = await verifier.get(row["url"])
        assert hashlib.sha256(answer.content).hexdigest() == row["sha256"]
        assert (len(answer.content), answer.headers["etag"]) == (row["bytes"], f'"{row["sha256"]}"')
        digest = base64.b64encode(bytes.fromhex(row["sha256"])).decode()
        assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
        assert answer.headers["content-type"] == row["media_type"]
        assert answer.headers["content-disposition"].startswith("attachment")


async def test_evidence_is_neither_listed_nor_given_to_a_viewer(let_and_app):
    let, app = let_and_app
    async with browser_of(app) as client:
        client.headers.update(let.header(Role.VIEWER))
        rows = (await client.get(FILES)).json()["files"]
        assert {row["role"] for row in rows} == {"viewer"}
        assert (await client.get(BUNDLE)).status_code == 403
        assert (await client.get(f"{FILES}/report.json")).status_code == 200


@pytest.mark.parametrize(
    ("header", "cut"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=10-", slice(10, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=5-99999999999999999", slice(5, None)),
        ("bytes=-99999999999999999", slice(0, None)),
    ],
)
async def test_a_part_is_that_part(verifier, bundle, header, cut):
    answer = await verifier.get(BUNDLE, headers={"Range": header})
    assert (answer.status_code, answer.content) == (206, bundle[cut])
    first, last = bundle.index(bundle[cut]), len(bundle) - 1 if cut.stop is None else cut.stop - 1
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(bundle)}"
    assert int(answer.headers["content-length"]) == len(bundle[cut])


async def test_a_part_of_a_head_is_passed_over(verifier, bundle):
    for part in ("bytes=0-9", f"bytes={len(bundle)}-"):
        answer = await verifier.head(f"{FILES}/bundle.zip", headers={"Range": part})
        assert answer.status_code == 200
        assert answer.headers["content-length"] == str(len(bundle))


@pytest.mark.parametrize(
    "header",
    ["bytes=5-4", "bytes=0-1,4-5", "lines=1-2", "bytes=", "bytes=-", "x" * 500, "bytes=\u0661-"],
)
async def test_what_is_no_range_is_passed_over(verifier, bundle, header):
    answer = await verifier.get(BUNDLE, headers={"Range": header.encode()})
    assert (answer.status_code, answer.content) == (200, bundle)


@pytest.mark.parametrize("header", ["bytes=-0", "bytes=999999999-", "bytes=999999999-9999999999"])
async def test_a_part_outside_of_the_file_is_refused(verifier, bundle, header):
    answer = await verifier.get(BUNDLE, headers={"Range": header})
    assert (answer.status_code, answer.json()["code"]) == (416, "no_such_range")
    assert answer.headers["content-range"] == f"bytes */{len(bundle)}"
    assert answer.headers["content-type"] == "application/problem+json"


async def test_parts_together_are_the_file_and_a_stale_one_is_begun_anew(verifier, bundle):
    tag = (await verifier.head(BUNDLE)).headers["etag"]
    parts = b""
    while len(parts) < len(bundle):
        asked = {"Range": f"bytes={len(parts)}-{len(parts) + 4095}", "If-Range": tag}
        parts += (await verifier.get(BUNDLE, headers=asked)).content
    assert parts == bundle
    asked = {"Range": "bytes=5-9", "If-Range": '"another"'}
    answer = await verifier.get(BUNDLE, headers=asked)
    assert (answer.status_code, answer.content) == (200, bundle)


@pytest.mark.parametrize(
    ("form", "status"), [("{}", 304), ("W/{}", 304), ('"a", {}', 304), ("*", 304), ('"a"', 200)]
)
async def test_what_somebody_has_already_is_not_sent_again(verifier, form, status):
    tag = (await verifier.head(BUNDLE)).headers["etag"]
    answer = await verifier.get(BUNDLE, headers={"If-None-Match": form.format(tag)})
    assert answer.status_code == status
    assert answer.headers["etag"] == tag
    assert bool(answer.content) == (status == 200)


@pytest.mark.parametrize("name", ["secret.txt", "..%2fsecret.txt", "%00", "a" * 81])
async def test_nothing_else_of_the_folder_is_given(verifier, name):
    answer = await verifier.get(f"{FILES}/{name}")
    assert answer.status_code in {404, 405, 422}
    assert "not yours" not in answer.text


async def test_a_file_that_is_made_anew_has_another_digest(tmp_path):
    own = pages.fill(tmp_path / "state")
    with guarded.guarded(own, tmp_path / "access") as (let, app):
        async with browser_of(app) as client:
            client.headers.update(let.header(Role.VERIFIER))
            tag = (await client.get(BUNDLE)).headers["etag"]
            data = (own.report / "bundle.zip").read_bytes()
            (own.report / "bundle.zip").write_bytes(data + b"x")
            answer = await client.get(BUNDLE, headers={"If-None-Match": tag})
            assert answer.status_code == 200
            assert answer.headers["etag"] == f'"{hashlib.sha256(data + b"x").hexdigest()}"'
            (own.report / "bundle.zip").unlink()
            (own.report / "bundle.zip").symlink_to(own.report / "secret.txt")
            assert (await client.get(BUNDLE)).status_code == 404


async def test_collectors_of_one_object_store_offer_the_same_also_while_it_is_away(state, tmp_path):
    """Two state folders, one address: the same list, the same ETag, the same parts."""
    url, empty = f"memory://{secrets.token_hex(4)}", "memory://empty"
    made = {
        name: (state.report / name).read_bytes() for name in projects.FILES.keys() & files_in(state)
    }
    stored.publish(stored.open_place(url), made)
    answers = []
    for name in ("north", "south"):
        place = tmp_path / name
        place.mkdir()
        copies = stored.Copies([empty, url], place)
        copies.turn(threading.Event())
        shown = copies if name == "north" else stored.Copies([url], place, no_store)
        with guarded.guarded(state, place, reports=[], copies=shown) as (let, app):
            async with browser_of(app) as client:
                client.headers.update(let.header(Role.VERIFIER))
                listed = (await client.get(FILES)).json()
                given = await client.get(BUNDLE, headers={"Range": "bytes=10-99"})
                hidden = (await client.get("/api/v1/projects")).json()["unreadable"]
                client.headers.update(let.header(Role.ADMIN))
                told = (await client.get("/api/v1/projects")).json()["unreadable"]
        answers.append((listed, given.headers["etag"], given.content))
        assert hidden == [], "whose it is nobody knows"
        assert len(told) == (name == "north")
        assert all(f"There is no report at {empty}." in one for one in told)
    assert answers[0] == answers[1]
    assert {row["name"]: row["sha256"] for row in listed["files"]} == {
        name: hashlib.sha256(data).hexdigest() for name, data in made.items()
    }
    assert given.headers["etag"] == f'"{hashlib.sha256(made["bundle.zip"]).hexdigest()}"'
    assert given.content == made["bundle.zip"][10:100]


def files_in(state):
    return {path.name for path in state.report.iterdir()}


def no_store(_url):
    """What a collector that starts while the store is away may have of it."""
