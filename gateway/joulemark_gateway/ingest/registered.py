"""Who may send, who may open epochs, and up to where keys are trusted. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.revocation import Revoked
from joulemark_agent.contract.topics import parse_topic


@dataclass(frozen=True)
class Agent:
    """One agent that may send: where it stands, what it reads, and its evidence key."""

    agent: str
    site: str
    key: bytes = field(repr=False)
    devices: frozenset[str]


@dataclass(frozen=True)
class Registry:
    """Who may send and who may open epochs."""

    agents: Mapping[str, Agent]
    operators: frozenset[bytes]
    accept_simulated: bool = False
    revoked: tuple[Revoked, ...] = ()


@dataclass(frozen=True)
class Sender:
    """Who a message comes from according to its topic, found in the registry."""

    agent: Agent
    device: str
    kind: str = "batch"  # of the message, as its topic says


def sender_of(topic: str, registry: Registry) -> Sender:
    """The registered agent and device of a topic.

    Raises:
        EvidenceError: `bad_topic`, `unknown_agent` or `unknown_device`.
    """
    direction, name, device, kind = parse_topic(topic)
    if direction != "up":
        raise refusal("bad_topic", f"{topic!r} carries no batches")
    agent = registry.agents.get(name)
    if agent is None:
        raise refusal("unknown_agent", f"the agent {name!r} is not registered here")
    is_itself = kind == "health" and device == name
    if device not in agent.devices and not is_itself:
        raise refusal("unknown_device", f"{name!r} is not registered to read {device!r}")
    return Sender(agent, device, kind)


def refusal(code: str, what: str) -> EvidenceError:
    """Why a batch is not taken."""
    return EvidenceError(
        f"The batch is refused: {what}.", "It is kept in quarantine with this reason.", code=code
    )
