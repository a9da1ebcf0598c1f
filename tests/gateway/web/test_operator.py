"""What an operator does by HTTP: corrections signed elsewhere, and asking for raw records."""

import shutil

import pytest
import pytest_asyncio

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.signature import encode64, public_key, sign
from joulemark_gateway.access.roles import Role
from joulemark_gateway.api import operator
from joulemark_gateway.evidence.corrections import EXCLUDED, Correction
from joulemark_gateway.ingest.requests import Requests
from support import guarded, pages
from support.evidence import FOREIGN, KEYS, METER, SITE
from support.guarded import browser_of, collector_of

URL = f"/api/v1/sites/{SITE}/corrections"
RAW = f"/api/v1/sites/{SITE}/raw-requests"


@pytest.fixture(scope="module")
def collector(state, tmp_path_factory):
    """A collector's state for all of these: each adds at a place of its own, or adds nothing."""
    folder = shutil.copytree(state.folder, tmp_path_factory.mktemp("operator") / "state")
    own = pages.State(folder, folder / "report")
    settings = collector_of(folder)
    with guarded.guarded(own, folder, settings=settings) as (let, app):
        yield let, app, settings


@pytest_asyncio.fixture
async def client(collector):
    async with browser_of(collector[1]) as found:
        yield found


def correction(first=10, last=12, reason="the meter was tested"):
    tree = f"joulemark/{SITE}/{METER}/1"
    return Correction(tree, first, last, "energy_wh", EXCLUDED, reason, "J. Kim")


def signed(made, key=KEYS.operator):
    content = made.content()
    return {
        "correction": content,
        "operator_key": encode64(public_key(key)),
        "operator_signature": encode64(sign(key, canonical_bytes(content))),
    }


async def test_a_correction_that_an_operator_signed_stands_in_the_log(client, collector):
    let = collector[0]
    made = correction()
    answer = await client.post(URL, json=signed(made), headers=let.header(Role.OPERATOR))
    assert answer.status_code == 201, answer.text
    assert answer.json()["digest"] == made.digest
    told = (await client.get(URL, headers=let.header(Role.VERIFIER))).json()["corrections"]
    assert told[-1]["correction"] == made.content()
    assert told[-1]["position"] < answer.json()["log_size"]
    [event] = [row for row in let.access.events.listed() if row.code == "correction_logged"]
    assert event.who.startswith("program-operator")
    again = await client.post(URL, json=signed(made), headers=let.header(Role.OPERATOR))
    assert again.status_code == 409
    after = (await client.get(URL, headers=let.header(Role.VERIFIER))).json()["corrections"]
    assert after == told


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda sent: sent | {"operator_signature": encode64(bytes(64))}, 422),
        (lambda _: signed(correction(), FOREIGN.operator), 422),
        (lambda sent: sent | {"correction": sent["correction"] | {"reason": "another"}}, 422),
        (lambda sent: sent | {"correction": {}}, 409),
        (lambda sent: sent | {"operator_key": "x" * 44}, 422),
        (lambda _: signed(correction(10**9, 10**9)), 409),
        (lambda sent: sent | {"correction": sent["correction"] | {"site": "other"}}, 409),
    ],
)
async def test_what_no_operator_signed_or_is_nowhere_changes_nothing(
    client, collector, change, status
):
    let = collector[0]
    before = (await client.get(URL, headers=let.header(Role.VERIFIER))).json()
    sent = change(signed(correction(20, 22)))
    answer = await client.post(URL, json=sent, headers=let.header(Role.OPERATOR))
    assert answer.status_code == status, answer.text
    assert (await client.get(URL, headers=let.header(Role.VERIFIER))).json() == before


async def test_raw_records_that_are_here_are_not_asked_for(client, collector):
    let = collector[0]
    wanted = {"device": METER, "from": "2018-01-01T00:00:00Z", "to": "2018-01-02T00:00:00Z"}
    answer = await client.post(RAW, json=wanted, headers=let.header(Role.OPERATOR))
    assert answer.status_code == 201
    assert (answer.json()["id"], answer.json()["missing"]) == (None, 0)
    assert answer.json()["batches"] > 0


async def test_raw_records_that_are_not_are_asked_for_once_and_told(client, collector, monkeypatch):
    let, _, settings = collector
    monkeypatch.setattr(operator, "missing_in", lambda *_: 7)
    wanted = {"device": METER, "from": "2018-01-01T00:00:00Z", "to": "2018-01-02T00:00:00Z"}
    answer = await client.post(RAW, json=wanted, headers=let.header(Role.OPERATOR))
    number = answer.json()["id"]
    asked = Requests(settings.state_dir).get(number)
    assert asked is not None
    assert parse_canonical(asked.payload)["request"]["by"] == settings.name
    told = (await client.get(RAW, headers=let.header(Role.VERIFIER))).json()["requests"]
    assert [row["id"] for row in told] == [number]
    foreign = {"Authorization": f"Bearer {let.foreign}"}
    assert (await client.get(RAW, headers=foreign)).status_code == 404


@pytest.mark.parametrize(
    "wanted",
    [
        {"device": "nothing", "from": "2018-01-01T00:00:00Z", "to": "2018-01-02T00:00:00Z"},
        {"device": METER, "from": "2018-01-02T00:00:00Z", "to": "2018-01-01T00:00:00Z"},
        {"device": METER, "from": "2018-01-01T00:00:00", "to": "2018-01-02T00:00:00"},
        {"device": METER, "from": 0, "to": 1},
        {"device": METER},
    ],
)
async def test_a_time_that_is_none_is_refused(client, collector, wanted):
    let, _, settings = collector
    before = len(Requests(settings.state_dir).all())
    answer = await client.post(RAW, json=wanted, headers=let.header(Role.OPERATOR))
    assert answer.status_code in {404, 422}
    assert len(Requests(settings.state_dir).all()) == before
