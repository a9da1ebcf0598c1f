"""Who may do what, as registry and certificates together say: for the broker and for renewals."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.ingest.registered import Agent, Registry
from joulemark_gateway.pki.mosquitto import write_rights
from joulemark_gateway.pki.records import Applied, Records
from joulemark_gateway.pki.settings import ca_folder
from joulemark_gateway.pki.site_ca import SiteCa
from joulemark_gateway.registry import enrolled, read_added
from joulemark_gateway.settings import CollectorSettings


def active_agent(registry: Registry, name: str) -> Agent | None:
    """A registered agent whose evidence key is not revoked; None: there is none."""
    agent = registry.agents.get(name)
    if agent is None or any(one.key == agent.key for one in registry.revoked):
        return None
    return agent


def active_agents(registry: Registry, records: Records) -> list[Agent]:
    """Everybody who may send: also not those whose certificates were all taken back."""
    issued = records.issued()
    holding = {one.name for one in issued if one.revoked is None}
    gone = {one.name for one in issued} - holding
    found = [active_agent(registry, name) for name in registry.agents if name not in gone]
    return [agent for agent in found if agent is not None]


def agents_now(settings: CollectorSettings, ca: SiteCa) -> Iterator[Agent]:
    """Everybody who may send, as it is when they are asked for; errors as `registry_now`."""
    yield from active_agents(registry_now(settings), ca.records)


def registry_now(settings: CollectorSettings) -> Registry:
    """The registry of the collector's file with all that was added since.

    Raises:
        ConfigError: the two contradict each other, or cannot be read.
    """
    return read_added(settings.state_dir).to(settings.registry)


def register(settings: CollectorSettings, applied: Applied) -> None:
    """Have the collector know an agent; one that stands in its file just so is known already.

    Raises:
        ConfigError: it is known there with another key, site or devices, or somebody else is.
    """
    agent = Agent(applied.agent, applied.site, applied.key, frozenset(applied.devices))
    listed = settings.registry.agents.get(agent.agent)
    if listed is None:
        enrolled(settings.state_dir, settings.registry, agent, f"{datetime.now(UTC):%FT%TZ}")
    elif listed != agent:
        raise ConfigError(
            f"The agent {agent.agent!r} stands in the collector's file with another key, site or"
            " devices.",
            "Correct or remove it there, then approve again.",
        )
    if active_agent(registry_now(settings), agent.agent) is None:
        raise ConfigError(
            f"The evidence key of {agent.agent!r} is revoked.",
            "Have the agent make a new one: move its state folder away and enrol again.",
        )


def refresh_broker(settings: CollectorSettings, ca: SiteCa, now: datetime) -> bool:
    """Write access and revocation list where the collector's file says; False: it says nothing.

    Raises:
        ConfigError: a file cannot be written, or the authority's key is not at hand.
        StoreError: the record cannot be used.
    """
    if settings.broker.config is None:
        return False
    write_rights(settings.broker.config, ca, agents_now(settings, ca), now)
    return True


def left_to_do(settings: CollectorSettings) -> str:
    """What a person has to do until the broker knows of a change."""
    reload = "have the broker read its files again: systemctl reload mosquitto."
    if settings.broker.config is not None:
        return f"{settings.broker.config} is written anew; unless it is watched, {reload}"
    return f"Run 'joulemark broker config' for the broker's folder, then {reload}"


def withdraw_certificates(settings: CollectorSettings, name: str, now: datetime) -> int | None:
    """Take back every certificate in a name and tell the broker; None: there is no authority.

    Returns:
        how many were taken back.

    Raises:
        ConfigError: as `refresh_broker`; the certificates are taken back all the same.
        StoreError: the record cannot be used.
    """
    try:
        ca = SiteCa(ca_folder(settings.state_dir))
    except ConfigError:
        return None
    with ca:
        count = ca.records.revoke(name, now)
        if not refresh_broker(settings, ca, now):
            ca.revoked_list(now)
    return count
