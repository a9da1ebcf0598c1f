"""Targets: files that people write, and files that are handed to a verifier."""

from __future__ import annotations

import gzip
import random
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import joulemark_profiles
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.document import document_bytes, parse_yaml
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.documents import checked_profile
from joulemark_agent.settings import load_site
from joulemark_agent.simulate.scenario import load_any_scenario
from joulemark_gateway.evidence.bundle import MANIFEST, STATEMENT, Bundle, open_bundle
from joulemark_gateway.evidence.container import container_bytes, read_container
from joulemark_gateway.evidence.statement import is_statement_signed, open_statement
from joulemark_gateway.reports.project_file import load_project
from joulemark_gateway.settings import load_collector
from joulemark_gateway.verify import manifest
from joulemark_gateway.verify.case import Case
from joulemark_gateway.verify.policy import parse_policy
from support import fleet
from support.bundles import Recipe, policy_mapping
from support.evidence import AGENT, KEYS, METER
from support.evidence import SITE as PLACE
from support.fuzz.evidence_forms import SHARED_MEMORY, RefusedError
from support.fuzz.harness import Target
from support.fuzz.mutate import json_text, octets, words
from support.plant import plan_mapping

SITE = f"""\
{fleet.SITE}  - {{id: meter, profile: small.yaml, url: "modbus-tcp://192.0.2.1:502", unit: 1,
     period_s: 1, timeout_s: 0.5, pause_ms: 5, figures_every_s: 900}}
  - {{id: furnace, profile: node.yaml, url: "opc.tcp://192.0.2.2:4840/plant", period_s: 10,
     subscribe: {{sampling_ms: 500, queue: 20}}}}
"""
NODE = """\
model: node
kind: furnace
protocol: opcua
source: made up for a test
confidence: bench
points:
  - {name: door_state, node: "nsu=urn:example:furnace;s=door", type: bool}
golden:
  - {point: door_state, data: "010101", value: 1}
"""
COLLECTOR = f"""\
name: joulemark/collector
state_dir: state
broker: {{url: "mqtt://broker.example", username: collector}}
accept_simulated: true
agents:
  - {{agent: {AGENT}, site: {PLACE}, key: "{encode64(public_key(KEYS.agent))}", devices: [{METER}]}}
operators: ["{encode64(public_key(KEYS.operator))}"]
series: {{kind: influx, url: "http://127.0.0.1:8086"}}
limits: {{waiting_batches: 8}}
"""


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(dir=SHARED_MEMORY))
    (folder / "small.yaml").write_text(fleet.PROFILE)
    (folder / "node.yaml").write_text(NODE)
    return folder


def _loaded(name: str, load: Callable[[Path], Any]) -> Callable[[bytes], None]:
    """The file as it is read by who reads it."""

    def run(data: bytes) -> None:
        path = _folder() / f"{name}.yaml"
        path.write_bytes(data)
        load(path)

    return run


def _profiles() -> list[bytes]:
    names = ("virtual_main_meter", "sunspec_inverter", "virtual_furnace", "kaeser_sigma_control_2")
    return [joulemark_profiles.text("devices", name).encode() for name in names]


def _scenarios() -> list[bytes]:
    folder = resources.files("joulemark_agent.simulate").joinpath("scenarios")
    return [entry.read_bytes() for entry in folder.iterdir() if entry.name.endswith(".yaml")]


def _projects() -> list[bytes]:
    return [document_bytes({**plan_mapping(), "collector": "collector.yaml"})]


def _profile(data: bytes) -> None:
    checked_profile(parse_yaml(data.decode(errors="replace"), "profile.yaml"))


@cache
def _members() -> dict[str, bytes]:
    return Recipe().made_members()


def _container(data: bytes) -> None:
    for name in read_container(data):
        assert not name.startswith("/"), "an absolute path"
        assert ".." not in name.split("/"), "a way out of the folder"


@cache
def _small_members() -> dict[str, bytes]:
    """A bundle whose trees are three leaves long."""
    members = {name: data for name, data in _members().items() if not name.startswith("report.")}
    for name, data in members.items():
        if name.endswith(".gz"):
            leaves = gzip.decompress(data).split(b"\n")[:3]
            members[name] = gzip.compress(b"\n".join(leaves) + b"\n", 6, mtime=0)
        elif name.endswith("checkpoints.json"):
            members[name] = canonical_bytes(parse_canonical(data)[:1])
    return members


def _bundle(data: bytes) -> None:
    bundle = open_bundle(data)
    bundle.documents()
    case = Case(bundle)
    damaged = [part for part in (*case.files.values(), *case.trees.values())
               if isinstance(part, EvidenceError)]  # fmt: skip
    if damaged:
        raise damaged[0]


def member(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """One member changed, and the container made anew around it; now and then its bytes."""
    if rng.random() < 0.3:
        return octets(rng, data, corpus)
    members = read_container(data)
    name = rng.choice(sorted(members))
    if name.endswith(".gz") and rng.random() < 0.7:
        members[name] = gzip.compress(
            octets(rng, gzip.decompress(members[name]), [b"{}"]), 1, mtime=0
        )
    else:
        members[name] = (json_text if name.endswith(".json") else octets)(
            rng, members[name], [b"{}"]
        )
    return container_bytes(members)


def _manifest(data: bytes) -> None:
    if found := manifest.check(Case(Bundle({**_members(), MANIFEST: data})), None):
        raise RefusedError(found)


def _statement(data: bytes) -> None:
    statement = open_statement(data)
    if is_statement_signed(statement, public_key(KEYS.reporter)):
        assert data == _members()[STATEMENT], "a forged statement"


FILES = (
    Target("site_file", lambda: [SITE.encode()], _loaded("site", load_site), words),
    Target("collector_file", lambda: [COLLECTOR.encode()], _loaded("collector", load_collector),
           words),
    Target("profile_file", _profiles, _profile, words),
    Target("scenario_file", _scenarios, _loaded("scenario", lambda p: load_any_scenario(str(p))),
           words),
    Target("project_file", _projects, _loaded("project", load_project), json_text),
    Target("container", lambda: [container_bytes(_small_members())], _container),
    Target("bundle", lambda: [container_bytes(_small_members())], _bundle, member),
    Target("manifest", lambda: [_members()[MANIFEST]], _manifest, json_text,
           (RefusedError, *Target.refusals)),
    Target("statement", lambda: [_members()[STATEMENT]], _statement, json_text),
    Target("policy", lambda: [canonical_bytes(policy_mapping())], parse_policy, json_text),
)  # fmt: skip
