"""A collector's address for enrolment on a free port, and the site file of an agent that joins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from joulemark_agent.contract.enrolment import Token
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.keys import Key, key_at
from joulemark_agent.settings import SiteSettings, load_site
from joulemark_agent.tls import certificate_fingerprint, own_certificate
from joulemark_gateway.ingest.registered import Agent
from joulemark_gateway.pki.authority import Role
from joulemark_gateway.pki.contexts import server_context
from joulemark_gateway.pki.enrolments import approve, new_token
from joulemark_gateway.pki.records import Applied, Invited
from joulemark_gateway.pki.service import EnrolmentService
from joulemark_gateway.pki.site_ca import SiteCa
from joulemark_gateway.web.listener import Listener
from support.evidence import KEYS, WITNESS
from support.identities import HOST, PlantCa, now

SITE, AGENT, DEVICES = "plant", "edge-1", ("furnace", "meter")
WITNESS_KEY = public_key(KEYS.witness)
_SITE = """\
site: {site}
agent: {agent}
time_zone: UTC
state_dir: {agent}
factors: {{set: korea, rule_set: ESG, jurisdiction: KR}}
uplink: {{url: "mqtts://{host}", tls: {{}}{pinned}}}
devices:
  - {{id: meter, profile: virtual_main_meter, url: "modbus-tcp://192.0.2.8", unit: 1, period_s: 60}}
  - {{id: furnace, profile: virtual_furnace, url: "opc.tcp://192.0.2.7/plant", period_s: 60}}
"""


def site(folder: Path, agent: str = AGENT, *, pinned: bytes | None = None) -> SiteSettings:
    """The settings of an agent; `pinned`: a collector's key that its site file names."""
    path = folder / f"{agent}.yaml"
    more = "" if pinned is None else (
        f', collector_key: "{encode64(pinned)}", collector_name: {WITNESS}'
    )  # fmt: skip
    path.write_text(_SITE.format(site=SITE, agent=agent, host=HOST, pinned=more))
    return load_site(path)


@dataclass
class Joinable:
    """Where agents join."""

    plant: PlantCa
    own: Path
    url: str = ""
    registered: dict[str, Agent] = field(default_factory=dict)

    @property
    def ca(self) -> SiteCa:
        """The authority, as the administrator's commands open it."""
        return self.plant.ca

    @property
    def fingerprint(self) -> str:
        """Of the certificate it shows."""
        return certificate_fingerprint(own_certificate(self.own).public_bytes(Encoding.DER))

    def token(
        self, agent: str = AGENT, devices: tuple[str, ...] = DEVICES, at: datetime | None = None
    ) -> Token:
        """A new token."""
        invited = Invited(SITE, agent, devices)
        return new_token(self.ca.records, invited, self.fingerprint, at or now())

    def approve(self, _wait_s: float = 0.0) -> None:
        """Approve whoever came last: may stand for waiting."""
        approve(self.ca, self.ca.records.applications(now())[-1].id[:8], now(), 365, self.register)

    def register(self, applied: Applied) -> None:
        """Make the agent known."""
        self.registered[applied.agent] = Agent(
            applied.agent, applied.site, applied.key, frozenset(applied.devices)
        )


@contextmanager
def joinable(plant: PlantCa, **service: object) -> Iterator[Joinable]:
    """The address, served as the collector serves it."""
    own = plant.folder / "collector.pem"
    plant.ca.equip(own, Role.COLLECTOR, now(), hosts=[HOST])
    place = Joinable(plant, own)
    served = EnrolmentService(
        plant.ca.folder,
        collector=(WITNESS, WITNESS_KEY),
        agent=place.registered.get,
        days=365,
        **service,  # type: ignore[arg-type]  # clocks, in the tests that need their own
    )
    tls = server_context(own, clients=plant.ca.folder / "ca.pem")
    listener = Listener("enrolment", lambda: served, HOST, 0, tls=tls, done=served.close)
    place.url = listener.url.rstrip("/")
    try:
        yield place
    finally:
        listener.stop()


def evidence_key(settings: SiteSettings) -> Key:
    """The agent's evidence key."""
    return key_at(settings.state_dir / "agent.key")
