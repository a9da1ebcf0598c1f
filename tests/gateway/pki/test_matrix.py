"""Who may do what, every cell tried with real servers: mosquitto, collector, enrolment, API.

A cell is what came of the attempt; what was refused is looked for where it would have arrived, not
in what the sender was told. docs/figures/access.md shows the table, and is compared here.
"""

from __future__ import annotations

import json
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
from cryptography import x509

from joulemark_agent.contract.batch import batch_bytes
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.enrolment import Token
from joulemark_agent.contract.errors import UplinkError
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.contract.topics import batch_topic, receipt_topic, refusal_topic
from joulemark_agent.enrolment import _Collector, join
from joulemark_agent.tls import TlsFiles, client_context, new_key, signing_request
from joulemark_gateway.access.roles import Role as ApiRole
from joulemark_gateway.access.settings import PagesSettings, PagesTls
from joulemark_gateway.evidence.bundle import MANIFEST, REPORT, STATEMENT
from joulemark_gateway.evidence.statement import open_statement, sign_statement
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.ingest.intake import Answer, Intake
from joulemark_gateway.ingest.mqtt import Subscriber
from joulemark_gateway.ingest.registered import Agent, Registry
from joulemark_gateway.pki.authority import Role, client_holder, common_name, server_holder
from joulemark_gateway.pki.mosquitto import write_rights
from joulemark_gateway.settings import BrokerSettings
from joulemark_gateway.verify.policy import policy_of
from joulemark_gateway.verify.verdict import verify
from support import evidence, guarded, pages
from support.bundles import Recipe, policy, policy_mapping, true_bundle, true_report
from support.evidence import AGENT, COUNTER, FOREIGN, KEYS, METER, SITE
from support.identities import (
    HOST,
    Mosquitto,
    PlantCa,
    Refused,
    Talker,
    mosquitto_of,
    mqtt_client,
    now,
    plant_ca,
)
from support.intakes import new_intake
from support.joining import Joinable, evidence_key, joinable, site

pytestmark = [pytest.mark.endurance, pytest.mark.service, pytest.mark.usefixtures("mosquitto")]

ROWS = ("own", "other", "revoked", "expired", "rogue CA", "none", "wrong client id")
COLUMNS = ("publish", "subscribe", "ack", "enrol", "API read", "API admin", "report sign")
FIGURES = Path(__file__).parents[3] / "docs/figures/access.md"
NO_CONNECTION, NOT_AUTHORIZED, NOTHING = "no connection", "not authorized", "hears nothing"
OTHER, LOST, BELL = "edge-2", "edge-3", "edge-9"
DOCS = evidence.documents()
TREE = [
    evidence.uncosigned(batch)
    for batch in evidence.build_tree(
        DOCS, METER, evidence.meter_readings(DOCS, [1000] * 11), slots_per_batch=3
    )
]
COUNTED = [
    evidence.uncosigned(batch)
    for batch in evidence.build_tree(
        DOCS, COUNTER, evidence.counter_readings(DOCS, [100] * 3), slots_per_batch=3
    )
]
WAIT_S = 20.0

# What a cell must be; everything that is not in bold is refused.
EXPECTED = {
    "publish": {
        "own": "**in the evidence, with receipt**", "other": NOT_AUTHORIZED,
        "revoked": NO_CONNECTION, "expired": NO_CONNECTION, "rogue CA": NO_CONNECTION,
        "none": NO_CONNECTION, "wrong client id": NOT_AUTHORIZED,
    },
    "subscribe": {
        "own": "**hears its answers**", "other": NOTHING, "revoked": NO_CONNECTION,
        "expired": NO_CONNECTION, "rogue CA": NO_CONNECTION, "none": NO_CONNECTION,
        "wrong client id": NOTHING,
    },
    "ack": {
        "own": NOT_AUTHORIZED, "other": NOT_AUTHORIZED, "revoked": NO_CONNECTION,
        "expired": NO_CONNECTION, "rogue CA": NO_CONNECTION, "none": NO_CONNECTION,
        "wrong client id": NOT_AUTHORIZED,
    },
    "enrol": {
        "own": "**certificate, once approved**", "other": "not invited",
        "revoked": "no certificate", "expired": "no token", "rogue CA": NO_CONNECTION,
        "none": "no token", "wrong client id": "**only for itself**",
    },
    "API read": {
        "own": "**200**", "other": "404", "revoked": NO_CONNECTION, "expired": NO_CONNECTION,
        "rogue CA": NO_CONNECTION, "none": NO_CONNECTION, "wrong client id": "401",
    },
    "API admin": {
        "own": "**200**", "other": "403", "revoked": "401", "expired": "401",
        "rogue CA": NO_CONNECTION, "none": "401", "wrong client id": "401",
    },
    "report sign": {
        "own": "**verified**", "other": "refuted", "revoked": "refuted", "expired": "refuted",
        "rogue CA": "refuted", "none": "refuted", "wrong client id": "refuted",
    },
}  # fmt: skip
MEANT = {
    "publish": "a batch, signed by edge-1, on edge-1's topic (of `revoked`: on its own)",
    "subscribe": "to edge-1's answers, and to everything",
    "ack": "a receipt to edge-1: only the collector may",
    "enrol": "`own`, `other`, `expired`, `none`: with such a token; the others: renewing with such"
    " a certificate. `wrong client id`: the request names edge-1, edge-2 shows its certificate",
    "API read": "a site, by token, from a client with such a certificate (of `other` and `wrong"
    " client id`: token of another site, secret of another token)",
    "API admin": "the users. `other`: an operator's token; `revoked`, `expired`, `none`: the"
    " administrator's token",
    "report sign": "a bundle under the verifier's policy. `other`: the agent's key; `revoked`: a"
    " key that the policy names no more; `expired`: the statement of another report; `rogue CA`:"
    " keys of another collector; `wrong client id`: the true key's id, another's signature",
}


class Heard:
    """The collector's taker, and the topics that came to it."""

    def __init__(self, intake: Intake) -> None:
        self.intake, self.topics = intake, list[str]()
        self.rang = threading.Semaphore(0)

    def take(self, topic: str, payload: bytes) -> Answer | None:
        if topic == batch_topic(BELL, "bell"):
            self.rang.release()
            return None
        self.topics.append(topic)
        return self.intake.take(topic, payload)

    def expected(self, agent: str, device: str) -> Answer | None:
        return self.intake.expected(agent, device)

    def reopen(self) -> None:
        self.intake.reopen()


@dataclass
class World:
    """All servers, and who there is."""

    plant: PlantCa
    folder: Path
    broker: Mosquitto
    heard: Heard
    subscriber: Subscriber
    enrolling: Joinable
    pages: str
    let: guarded.Let
    files: dict[str, TlsFiles] = field(default_factory=dict)

    @property
    def ca(self) -> Path:
        return self.plant.ca.folder / "ca.pem"

    @contextmanager
    def as_(self, row: str) -> Iterator[Talker]:
        """A client of the broker with the certificate, or none, of a row."""
        client_id = AGENT if row == "wrong client id" else row.replace(" ", "-")
        with mqtt_client(self.broker.port, self.files[row], self.ca, client_id) as found:
            yield found

    def arrived(self) -> list[str]:
        """What came to the collector up to now: after a bell, which is sent last."""
        with mqtt_client(self.broker.port, self.files["bell"], self.ca, BELL) as bell:
            assert bell.publish(batch_topic(BELL, "bell"), b"") == 0
        assert self.heard.rang.acquire(timeout=WAIT_S)
        return self.heard.topics

    def say(self, agent: str, device: str, payload: bytes) -> str:
        """Have the collector answer an agent; the topic."""
        topic = receipt_topic(agent, device)
        self.subscriber._client.publish(topic, payload, qos=1)
        return topic


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    agents = {
        AGENT: Agent(AGENT, SITE, public_key(KEYS.agent), frozenset({METER})),
        OTHER: Agent(OTHER, SITE, public_key(FOREIGN.agent), frozenset({"press", COUNTER})),
        LOST: Agent(LOST, SITE, bytes([3]) * 32, frozenset({"oven"})),
        BELL: Agent(BELL, SITE, bytes([9]) * 32, frozenset({"bell"})),
    }
    with ExitStack() as opened:
        plant = opened.enter_context(plant_ca(folder))
        files: dict[str, TlsFiles] = {
            "own": plant.agent(AGENT), "other": plant.agent(OTHER), "revoked": plant.agent(LOST),
            "bell": plant.agent(BELL), "expired": plant.expired(AGENT),
            "rogue CA": plant.rogue(AGENT), "none": None,  # type: ignore[dict-item] # none it is
            "program": plant.own("program", client_holder("program")),
            "program revoked": plant.own("program-revoked", client_holder("gone")),
            "program expired": plant.expired("client.old"),
            "program rogue": plant.rogue("client.program"),
            "collector": plant.own("collector-broker", server_holder(Role.COLLECTOR, [HOST])),
        }  # fmt: skip
        files["wrong client id"] = files["other"]
        broker = opened.enter_context(mosquitto_of(plant, folder / "broker", list(agents.values())))
        operators = frozenset({public_key(KEYS.operator)})
        trusted = Registry(agents, operators, accept_simulated=True)
        heard = Heard(opened_intake(opened, folder, trusted))
        subscriber = opened.enter_context(collecting(broker, heard, agents, files["collector"]))
        enrolling = opened.enter_context(joinable(plant))
        enrolling.registered |= agents
        state = pages.fill(folder / "state")
        tls = PagesTls(certificate=enrolling.own, key=enrolling.own, clients=plant.ca.folder
                       / "ca.pem", revoked=plant.ca.folder / "crl.pem")  # fmt: skip
        wanted = PagesSettings(host=HOST, tls=tls, limits=pages.FREE)
        let, url = opened.enter_context(guarded.serving(state, folder / "access", wanted))
        made = World(plant, folder, broker, heard, subscriber, enrolling, url, let, files)
        for name in (LOST, "client.gone"):
            plant.ca.records.revoke(name, now())
        holding = [agent for agent in agents.values() if agent.agent != LOST]
        write_rights(broker.folder, plant.ca, holding, now())
        broker.reload()
        while connects(made, "revoked"):
            pass
        yield made


def opened_intake(opened: ExitStack, folder: Path, trusted: Registry) -> Intake:
    intake = new_intake(folder / FILE, trusted)
    opened.callback(intake.close)
    return intake


@contextmanager
def collecting(
    broker: Mosquitto, heard: Heard, agents: dict[str, Agent], files: TlsFiles
) -> Iterator[Subscriber]:
    """A collector that is connected over mTLS."""
    settings = BrokerSettings(url=f"mqtts://{HOST}:{broker.port}")
    made = Subscriber(settings, heard, agents=agents, waiting_batches=64, tls=files)
    stop = threading.Event()
    thread = threading.Thread(target=made.run, args=(stop,))
    thread.start()
    try:
        assert made.is_ready.wait(WAIT_S)
        yield made
    finally:
        stop.set()
        thread.join()


def connects(world: World, row: str) -> bool:
    try:
        with world.as_(row):
            return True
    except Refused:
        return False


def reason(code: int) -> str:
    assert code in {0, 0x10, 0x87}, hex(code)
    return NOT_AUTHORIZED if code == 0x87 else "taken"


# ------------------------------------------------------------- at the broker


def publish(world: World, row: str) -> str:
    agent, device = (LOST, "oven") if row == "revoked" else (AGENT, METER)
    topic, payload = batch_topic(agent, device), batch_bytes(TREE[0])
    before = len(world.arrived())
    with world.as_(row) as client:
        if row == "own":
            client.subscribe(f"joulemark/v1/down/{AGENT}/#")
        said = reason(client.publish(topic, payload))
        arrived = world.arrived()[before:]
        if said == NOT_AUTHORIZED:
            assert arrived == []
            return said
        assert arrived == [topic]
        kind = client.next()[0].rpartition("/")[2]
    with SqliteStore(world.folder / FILE, create=False) as store:
        [head] = store.heads()
    assert head.size == TREE[0].size
    return f"**in the evidence, with {kind}**"


def subscribe(world: World, row: str) -> str:
    with world.as_(row) as client:
        assert client.subscribe(f"joulemark/v1/down/{AGENT}/#") == 1
        assert client.subscribe("#") == 1, "granted, whatever it is worth"
        world.say(AGENT, METER, b"a secret")
        its_own = (AGENT, COUNTER) if row == "own" else (OTHER, "press")
        before = client.heard_before(world.say(*its_own, b"last"))
    return "**hears its answers**" if before else NOTHING


def ack(world: World, row: str) -> str:
    forged = receipt_topic(AGENT, METER)
    if row == "own":  # the one that would be deceived is the one that tries
        with world.as_("own") as both:
            both.subscribe("#")
            said = reason(both.publish(forged, b"forged"))
            assert both.heard_before(world.say(AGENT, COUNTER, b"last")) == []
        return said
    with world.as_("own") as victim:
        victim.subscribe(f"joulemark/v1/down/{AGENT}/#")
        with world.as_(row) as client:
            said = reason(client.publish(forged, b"forged"))
        assert victim.heard_before(world.say(AGENT, COUNTER, b"last")) == []
        assert victim.heard_before(world.say(AGENT, METER, b"the collector's")) == []
    return said


# ------------------------------------------------------------------ enrolling


def enrol(world: World, row: str) -> str:
    place = world.enrolling
    before = len(place.ca.records.issued())
    folder = world.folder / f"enrol-{row}"
    folder.mkdir(exist_ok=True)
    settings = site(folder, "edge-5")
    key = evidence_key(settings)
    try:
        if row == "own":
            join(settings, key, place.url, place.token("edge-5"), sleep=place.approve)
            return "**certificate, once approved**"
        tokens: dict[str, Callable[[], Token]] = {
            "other": lambda: place.token("edge-6"),
            "expired": lambda: place.token("edge-5", at=now() - timedelta(minutes=15)),
            "none": lambda: Token(bytes(32), place.fingerprint),
        }
        if row in tokens:
            join(settings, key, place.url, tokens[row](), wait_s=0.0)
        body = canonical_bytes({"csr": signing_request(new_key(), AGENT).decode()})
        collector = _Collector(place.url, client_context(world.files[row]))
        given = str(collector.ask("renew", body)["certificate"])
    except UplinkError as error:
        assert len(place.ca.records.issued()) == before
        return NO_CONNECTION if error.code == "unreachable" else error.code.replace("_", " ")
    assert common_name(x509.load_pem_x509_certificate(given.encode())) == OTHER
    return "**only for itself**"


# ------------------------------------------------------------------- HTTP API


def asked(world: World, path: str, files: TlsFiles | None, token: str | None) -> str:
    """The status of an answer of the API, to a client with that certificate and that token."""
    context = ssl.create_default_context(cafile=world.ca)
    if files is not None:
        context = client_context(files)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{world.pages}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, context=context, timeout=WAIT_S) as answer:
            assert json.load(answer)
            return f"**{answer.status}**"
    except HTTPError as error:
        with error:
            return str(error.code)
    except (URLError, ConnectionError, ssl.SSLError):
        return NO_CONNECTION


CERTIFICATES = {
    "revoked": "program revoked", "expired": "program expired", "rogue CA": "program rogue",
}  # fmt: skip


def api_read(world: World, row: str) -> str:
    tokens, path = world.let.tokens, f"/api/v1/sites/{SITE}/devices"
    files = None if row == "none" else world.files[CERTIFICATES.get(row, "program")]
    token = {"other": world.let.foreign, "wrong client id": mixed(world)}.get(row)
    return asked(world, path, files, token or tokens[ApiRole.VIEWER])


def api_admin(world: World, row: str) -> str:
    tokens = world.let.access.tokens
    at = world.let.access.now_us()
    made, text = tokens.add("program-admin-2", ApiRole.ADMIN, None, at, at + 10**12)
    if row == "revoked":
        tokens.revoke(made.id, at)
    given = {
        "other": world.let.tokens[ApiRole.OPERATOR],
        "expired": tokens.add("program-old", ApiRole.ADMIN, None, at - 2, at - 1)[1],
        "none": None, "wrong client id": mixed(world),
    }.get(row, text)  # fmt: skip
    files = world.files["program rogue" if row == "rogue CA" else "program"]
    return asked(world, "/api/v1/users", files, given)


def mixed(world: World) -> str:
    """The id of the administrator's token with the secret of a viewer's."""
    (mark, number, _), (_, _, secret) = (
        world.let.tokens[role].split("_", 2) for role in (ApiRole.ADMIN, ApiRole.VIEWER)
    )
    return f"{mark}_{number}_{secret}"


# --------------------------------------------------------------------- report


def report_sign(_world: World, row: str) -> str:
    trusted = policy()
    if row == "revoked":
        others = [encode64(public_key(FOREIGN.reporter))]
        trusted = policy_of({**policy_mapping(), "reporters": others})
    signers = {"other": replace(KEYS, reporter=KEYS.agent), "rogue CA": FOREIGN}
    if row in signers:
        data = Recipe(reporter=signers[row], issued=true_report()).make()
    elif row in {"expired", "none", "wrong client id"}:
        data = Recipe(
            issued=true_report(),
            end=lambda members: {**members, STATEMENT: restated(members[STATEMENT], row)},
        ).make()
    else:
        data = true_bundle()
    code = verify(data, trusted).exit_code
    return {0: "**verified**", 1: "refuted"}[code]


def restated(data: bytes, row: str) -> bytes:
    """A statement without a signature, of another report, or with another's signature."""
    envelope, predicate = parse_canonical(data), open_statement(data).predicate
    if row == "none":
        return canonical_bytes({**envelope, "signatures": []})
    if row == "expired":
        return sign_statement({MANIFEST: b"{}", REPORT: b"{}"}, predicate, KEYS.reporter)
    foreign = parse_canonical(sign_statement({REPORT: b"{}"}, predicate, FOREIGN.reporter))
    [signer], [other] = envelope["signatures"], foreign["signatures"]
    return canonical_bytes({**envelope, "signatures": [{**signer, "sig": other["sig"]}]})


# ------------------------------------------------------------------ the table

ATTEMPTS: dict[str, Callable[[World, str], str]] = {
    "publish": publish, "subscribe": subscribe, "ack": ack, "enrol": enrol,
    "API read": api_read, "API admin": api_admin, "report sign": report_sign,
}  # fmt: skip


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("row", ROWS)
def test_a_cell_is_what_it_must_be(world, row, column):
    try:
        found = ATTEMPTS[column](world, row)
    except Refused:
        found = NO_CONNECTION
    assert found == EXPECTED[column][row]


@pytest.mark.parametrize(
    ("device", "payload", "code"),
    [
        ("press", batch_bytes(TREE[0]), "wrong_identity"),  # edge-1's meter on its own topic
        (COUNTER, batch_bytes(COUNTED[0]), "bad_signature"),  # its device, signed by edge-1
        ("press", b"poison", "bad_batch"),
    ],
)
def test_certificate_topic_signature_and_registry_are_one(world, device, payload, code):
    """Who may use a topic is not yet whom the batch on it is by: each of the four is compared."""
    with world.as_("other") as client:
        client.subscribe(f"joulemark/v1/down/{OTHER}/#")
        assert client.publish(batch_topic(OTHER, device), payload) == 0
        topic, answer = client.next()
    assert topic == refusal_topic(OTHER, device)
    assert parse_canonical(answer)["code"] == code


def test_everything_but_one_of_each_column_is_refused():
    allowed = {
        column: [row for row in ROWS if EXPECTED[column][row].startswith("**")]
        for column in COLUMNS
    }
    assert allowed == {
        **{column: ["own"] for column in COLUMNS},
        "ack": [], "enrol": ["own", "wrong client id"],
    }  # fmt: skip


def test_the_table_of_the_documents_is_this_one():
    assert FIGURES.read_text("utf-8") == table()


def table() -> str:
    """docs/figures/access.md."""
    head = ["who", *COLUMNS]
    rows = [[row, *(EXPECTED[column][row] for column in COLUMNS)] for row in ROWS]
    lines = [head, ["---"] * len(head), *rows]
    meant = "\n".join(f"- **{column}**: {text}." for column, text in MEANT.items())
    return (
        "# Who may do what\n\n"
        "Every cell is tried with real servers by `tests/gateway/pki/test_matrix.py`; what is not"
        " in bold is\nrefused, and is looked for where it would have arrived.\n\n"
        + "".join(f"| {' | '.join(line)} |\n" for line in lines)
        + f"\n{meant}\n"
    )
