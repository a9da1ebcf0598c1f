"""What is live and not yet evidence: the newest readings ahead of a backlog, and how agents are."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from joulemark_gateway.api.answers import Open
from joulemark_gateway.ingest.live import LiveReading


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class LiveDevice(_Answer):
    """The newest reading of a device, signed by its agent, whose evidence is on its way."""

    device: str
    epoch: int
    slot_us: int
    t_utc_us: int
    received_us: int
    values: dict[str, str] = Field(description="decimal text by point, as the agent decoded it")
    quality: dict[str, str] = Field(description="code of each point that is not good")
    leaves_missing: int = Field(description="of the evidence before it and of its own batch")


class Trouble(_Answer):
    """One thing that an agent says is wrong."""

    code: str
    what: str
    do: str
    since_us: int


class LiveAgent(_Answer):
    """How an agent said it is."""

    agent: str
    received_us: int
    level: str = Field(description="what gives way for room on its disk; stopped: it does not read")
    used_bytes: int
    capacity_bytes: int
    unconfirmed: int = Field(description="batches that wait for a receipt")
    lines_stuck: list[str]
    troubles: list[Trouble]


class Live(_Answer):
    """What is shown as live and is not yet evidence; nothing is counted of it."""

    site: str
    devices: list[LiveDevice]
    agents: list[LiveAgent]


def live(read: Open, site: str) -> Live:
    """What is live of a site."""
    place = read.site(site)
    board = read.sources.live
    ahead = [found for one in board.readings(place.id) if (found := _ahead(read, one)) is not None]
    agents = [_agent(one.agent, one.received_us, one.content) for one in board.agents(place.id)]
    return Live(site=place.id, devices=ahead, agents=agents)


def live_of(read: Open, site: str, device: str) -> LiveDevice | None:
    """What is live of a device; None where its evidence is here."""
    one = read.sources.live.reading(site, device)
    return None if one is None else _ahead(read, one)


def _ahead(read: Open, one: LiveReading) -> LiveDevice | None:
    latest = read.store.latest(one.site, one.device)
    held = 0 if latest is None or latest.epoch < one.epoch else latest.size
    if latest is not None and (latest.epoch, held) >= (one.epoch, one.size):
        return None
    return LiveDevice(
        device=one.device,
        epoch=one.epoch,
        slot_us=one.slot_us,
        t_utc_us=one.t_utc_us,
        received_us=one.received_us,
        values=dict(one.values),
        quality=dict(one.quality),
        leaves_missing=one.size - held,
    )


def _agent(name: str, received_us: int, content: Any) -> LiveAgent:
    outbox = content["outbox"]
    return LiveAgent(
        agent=name,
        received_us=received_us,
        level=content["level"],
        used_bytes=outbox["used_bytes"],
        capacity_bytes=outbox["capacity_bytes"],
        unconfirmed=outbox["unconfirmed"],
        lines_stuck=content["lines"]["stuck"],
        troubles=[Trouble(**trouble) for trouble in content["troubles"]],
    )
