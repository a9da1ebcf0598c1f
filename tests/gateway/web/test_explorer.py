"""From a record to its witness: every step is computed from what is shown, and a lie is seen."""

import hashlib
import re

import pytest

from joulemark_agent.contract.signature import is_log_signed, public_key
from joulemark_gateway.access.roles import Role
from joulemark_gateway.api import answers, records
from joulemark_gateway.api.chain import chain_of
from joulemark_gateway.evidence.store import SqliteStore
from support import guarded
from support.evidence import KEYS, METER, SITE
from support.pages import PLACE

DAY = "from=2017-12-31T15:00:00Z&to=2018-01-01T15:00:00Z"

FOREIGN = "A" * 43 + "="  # a key of nobody


@pytest.fixture(scope="module")
def read(state):
    with state.sources() as sources, answers.opened(sources) as opened:
        yield opened


@pytest.mark.parametrize("seq", [0, 1, 97, 150, 384])
def test_all_that_is_said_to_hold_holds(read, seq):
    found = chain_of(read, SITE, METER, seq, None)
    assert found.hash_holds
    assert found.root_holds
    assert found.agent_holds
    assert found.cosigned_s is not None
    assert not found.others
    assert found.proof.leaf_index == seq


def test_a_head_of_another_key_or_a_path_that_was_changed_is_said_not_to_hold(read, monkeypatch):
    true = records.proof_of
    lies = {
        "path_sha256": lambda path: ["0" * 64, *path[1:]],
        "agent_key": lambda _: "A" * 43 + "=",
    }
    for field, lie in lies.items():
        monkeypatch.setattr(
            records, "proof_of", lambda *a, f=field, y=lie: (p := true(*a)) | {f: y(p[f])}
        )
        found = chain_of(read, SITE, METER, 120, None)
        assert (found.root_holds, found.agent_holds) == (
            field != "path_sha256",
            field != "agent_key",
        )


async def test_the_downloads_are_what_was_hashed_and_signed(client, state):
    base = f"{PLACE}/records/120"
    text = (await client.get(f"{base}?{DAY}&lang=en")).text
    leaf = (await client.get(f"{base}/leaf")).content
    shown = re.search(r"<code class=\"hex\">([0-9a-f]{64})</code>", text)
    assert shown is not None
    assert hashlib.sha256(b"\0" + leaf).hexdigest() == shown[1]
    note = (await client.get(f"{base}/checkpoint")).text
    assert is_log_signed(note, public_key(KEYS.agent))
    assert note.split("\n")[2] in text
    with SqliteStore(state.folder / "evidence.sqlite") as store:
        [head] = [head for head in store.heads() if head.grant["dev"] == METER]
        assert list(store.leaves(head.origin, 120, 121)) == [leaf]


async def test_a_leaf_outside_the_figure_does_not_say_it_is_of_it(client):
    inside = (await client.get(f"{PLACE}/records/50?{DAY}&lang=en")).text
    outside = (await client.get(f"{PLACE}/records/300?{DAY}&lang=en")).text
    assert 'id="s-figure"' in inside
    assert 'id="s-figure"' not in outside
    assert (await client.get(f"{PLACE}/records/99999")).status_code == 404


async def test_a_viewer_is_shown_the_figures_and_no_way_to_records(state, tmp_path):
    pages = (f"/sites/{SITE}/energy", f"/sites/{SITE}/quality", "/projects/pump-house")
    with guarded.guarded(state, tmp_path) as (let, app):
        async with guarded.browser_of(app) as client:
            for path in pages:
                shown = {
                    role: (await client.get(path, headers=let.header(role))).text.count("/records")
                    for role in (Role.VIEWER, Role.VERIFIER)
                }
                assert shown[Role.VIEWER] == 0 < shown[Role.VERIFIER], path


async def test_each_row_of_a_report_leads_to_the_records_of_its_day(client):
    text = (await client.get("/projects/pump-house/records?lang=en")).text
    links = re.findall(rf'href="({PLACE}/records\?from=[^"]+)"', text)
    assert links[0].startswith(f"{PLACE}/records?from=2017-12-31T15%3A00%3A00Z")
    answer = await client.get(links[0].replace("&amp;", "&"))
    assert answer.status_code == 200
