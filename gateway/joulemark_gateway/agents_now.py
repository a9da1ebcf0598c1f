"""Every agent as it is now: from the registry, what is held, what it said, and its certificate.

Nothing here is kept: after a start an agent is known by its evidence until it says how it is, a
minute later at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.health import ABOUT
from joulemark_agent.contract.signature import fingerprint
from joulemark_gateway.evidence.base import Head
from joulemark_gateway.ingest.live import AgentHealth, LiveBoard, LiveReading
from joulemark_gateway.ingest.registered import Agent
from joulemark_gateway.pki.settings import ca_folder
from joulemark_gateway.pki.site_ca import SiteCa

SILENT_US = 180 * 1_000_000  # an agent says how it is every minute
NOT_SYNCHRONISED = "unsynchronised"

State = Literal["current", "silent", "never"]


@dataclass(frozen=True)
class AgentNow:
    """One agent; None is not known."""

    agent: str
    site: str
    devices: tuple[str, ...]
    state: State
    seen_us: int | None  # heard of last, by health, batch or live message
    received_us: int | None  # its last batch
    version: str | None
    key: str  # fingerprint of its evidence key
    epoch: int | None  # the highest of its devices
    level: str | None  # what gives way on its disk
    backlog_batches: int | None
    backlog_bytes: int | None
    capacity_bytes: int | None
    backlog_records: int  # leaves that are known to be on their way
    backlog_us: int  # age of the oldest of them, by what is held
    clock_sync: str | None
    clock_error_us: int | None
    clock_offset_us: int | None  # of its clock to ours, the way of the message included
    certificate_until_us: int | None
    troubles: tuple[str, ...]  # codes
    lines_stuck: tuple[str, ...]


def agents_now(
    agents: Mapping[str, Agent],
    heads: Iterable[Head],
    live: LiveBoard,
    certificates: Mapping[str, int],
    now_us: int,
) -> list[AgentNow]:
    """Every registered agent, by name.

    Args:
        agents: who may send.
        heads: of every tree.
        live: what agents said.
        certificates: when each agent's newest certificate ends, by name. [us]
        now_us: wall time, UTC. [us]
    """
    held: dict[str, list[Head]] = {}
    for head in heads:
        held.setdefault(str(head.grant["agent"]), []).append(head)
    said = live.everyone()
    ahead: dict[str, list[LiveReading]] = {}
    for reading in live.everything():
        ahead.setdefault(reading.agent, []).append(reading)
    return [
        _now(
            agents[name],
            held.get(name, []),
            said.get(name),
            ahead.get(name, []),
            certificates.get(name),
            now_us,
        )
        for name in sorted(agents)
    ]


def certificate_ends(state_dir: Path) -> Mapping[str, int]:
    """When the newest certificate of each agent ends, as our authority gave it out. [us]

    Raises:
        StoreError: its records cannot be read.
    """
    try:
        with SiteCa(ca_folder(state_dir)) as ca:
            issued = ca.records.issued()
    except ConfigError:
        return {}
    ends: dict[str, int] = {}
    for one in issued:
        if one.revoked is None:
            until_us = int(one.until.timestamp()) * 1_000_000
            ends[one.name] = max(until_us, ends.get(one.name, 0))
    return ends


def _now(  # noqa: PLR0917 -- one for each thing it knows
    agent: Agent,
    heads: list[Head],
    health: AgentHealth | None,
    ahead: list[LiveReading],
    certificate_us: int | None,
    now_us: int,
) -> AgentNow:
    latest: dict[str, Head] = {}
    for head in heads:
        device = head.grant["dev"]
        if device not in latest or latest[device].epoch < head.epoch:
            latest[device] = head
    received_us = max((head.received_us for head in heads), default=None)
    records, backlog_us = 0, 0
    for reading in ahead:
        known = latest.get(reading.device)
        size = known.size if known is not None and known.epoch == reading.epoch else 0
        if known is None or (known.epoch, known.size) < (reading.epoch, reading.size):
            records += reading.size - size
            since_us = None if known is None else known.next_slot_us
            if since_us is not None and 0 < since_us < reading.slot_us:
                backlog_us = max(backlog_us, reading.slot_us - since_us)
    times = [received_us, *(reading.received_us for reading in ahead)]
    times.append(None if health is None else health.received_us)
    seen_us = max((at_us for at_us in times if at_us is not None), default=None)
    state: State = "never" if seen_us is None else "current"
    if seen_us is not None and now_us - seen_us > SILENT_US:
        state = "silent"
    content = {} if health is None else health.content
    about, outbox = content.get(ABOUT) or {}, content.get("outbox") or {}
    offset_us = None if health is None else int(content["t_utc_us"]) - health.received_us
    own_us = about.get("certificate_until_us")
    return AgentNow(
        agent=agent.agent,
        site=agent.site,
        devices=tuple(sorted(agent.devices)),
        state=state,
        seen_us=seen_us,
        received_us=received_us,
        version=about.get("version"),
        key=fingerprint(agent.key),
        epoch=max((head.epoch for head in latest.values()), default=None),
        level=content.get("level"),
        backlog_batches=_number(outbox.get("unconfirmed")),
        backlog_bytes=_number(outbox.get("used_bytes")),
        capacity_bytes=_number(outbox.get("capacity_bytes")),
        backlog_records=records,
        backlog_us=backlog_us,
        clock_sync=about.get("clock_sync"),
        clock_error_us=_number(about.get("clock_error_us")),
        clock_offset_us=offset_us,
        certificate_until_us=certificate_us if own_us is None else int(own_us),
        troubles=tuple(sorted({one["code"] for one in content.get("troubles", ())})),
        lines_stuck=tuple((content.get("lines") or {}).get("stuck", ())),
    )


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
