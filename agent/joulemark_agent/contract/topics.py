"""Every MQTT topic, and the identifiers that may stand in one.

| topic | from -> to | payload |
|---|---|---|
| joulemark/v1/up/AGENT/DEVICE/batch | agent -> collector | one batch, see `batch` |
| joulemark/v1/up/AGENT/DEVICE/sparse | agent -> collector | a batch without some leaves, `sparse` |
| joulemark/v1/up/AGENT/DEVICE/raw | agent -> collector | the whole batch, asked for later |
| joulemark/v1/up/AGENT/DEVICE/live | agent -> collector | the newest batch, not evidence, `live` |
| joulemark/v1/up/AGENT/AGENT/health | agent -> collector | how the agent itself is, see `health` |
| joulemark/v1/down/AGENT/DEVICE/receipt | collector -> agent | the cosigned checkpoint note |
| joulemark/v1/down/AGENT/DEVICE/refusal | collector -> agent | JSON: epoch, expected size, code |
| joulemark/v1/down/AGENT/DEVICE/request | collector -> agent | which raw records it asks for |
"""

from __future__ import annotations

import re

from joulemark_agent.contract.errors import ConfigError, EvidenceError

ROOT = "joulemark/v1"
ALL_BATCHES = f"{ROOT}/up/+/+/batch"
_KINDS = {
    "up": ("batch", "sparse", "raw", "live", "health"),
    "down": ("receipt", "refusal", "request"),
}
ALL_UP = tuple(f"{ROOT}/up/+/+/{kind}" for kind in _KINDS["up"])  # what a collector listens to
_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


def is_id(text: str) -> bool:
    """Whether the text may name a site, agent or device: a-z, 0-9 and inner hyphens, 1 to 64."""
    return _ID.fullmatch(text) is not None


def require_id(text: str, what: str) -> str:
    """The text, if it may name a site, agent or device.

    Raises:
        ConfigError: it may not.
    """
    if not is_id(text):
        raise ConfigError(
            f"{text[:80]!r} cannot be the id of a {what}.",
            "Use 1 to 64 characters of a-z, 0-9 and '-', not at either end.",
        )
    return text


def batch_topic(agent: str, device: str) -> str:
    """Where an agent publishes a device's batches."""
    return f"{ROOT}/up/{agent}/{device}/batch"


def sparse_topic(agent: str, device: str) -> str:
    """Where an agent publishes batches of which leaves stay away."""
    return f"{ROOT}/up/{agent}/{device}/sparse"


def raw_topic(agent: str, device: str) -> str:
    """Where an agent publishes the whole batches that it was asked for."""
    return f"{ROOT}/up/{agent}/{device}/raw"


def live_topic(agent: str, device: str) -> str:
    """Where an agent publishes the newest batch of a device while older ones wait."""
    return f"{ROOT}/up/{agent}/{device}/live"


def health_topic(agent: str) -> str:
    """Where an agent says how it is itself."""
    return f"{ROOT}/up/{agent}/{agent}/health"


def request_topic(agent: str, device: str) -> str:
    """Where the collector asks for raw records."""
    return f"{ROOT}/down/{agent}/{device}/request"


def receipt_topic(agent: str, device: str) -> str:
    """Where the collector answers with the cosigned checkpoint."""
    return f"{ROOT}/down/{agent}/{device}/receipt"


def refusal_topic(agent: str, device: str) -> str:
    """Where the collector says why it did not take a batch, and what it expects."""
    return f"{ROOT}/down/{agent}/{device}/refusal"


def all_answers(agent: str) -> str:
    """What an agent subscribes to: every answer to its own batches."""
    return f"{ROOT}/down/{agent}/+/+"


def parse_topic(topic: str) -> tuple[str, str, str, str]:
    """Direction ('up' or 'down'), agent, device and kind of a topic of ours.

    Raises:
        EvidenceError: any other topic.
    """
    parts = topic.split("/")
    if (
        len(parts) != 6
        or "/".join(parts[:2]) != ROOT
        or not (is_id(parts[3]) and is_id(parts[4]))
        or parts[5] not in _KINDS.get(parts[2], ())
    ):
        raise EvidenceError(
            f"{topic[:120]!r} is not a topic of Joulemark.",
            "Check the publisher's settings and the broker's access list.",
            code="bad_topic",
        )
    return parts[2], parts[3], parts[4], parts[5]


def origin(site: str, device: str, epoch: int) -> str:
    """The name of the tree of one (device, epoch): the first line of its checkpoints."""
    return f"joulemark/{site}/{device}/{epoch}"


def parse_origin(text: str) -> tuple[str, str, int]:
    """Site, device and epoch of an origin.

    Raises:
        EvidenceError: not an origin of ours.
    """
    parts = text.split("/")
    if (
        len(parts) != 4
        or parts[0] != "joulemark"
        or not (is_id(parts[1]) and is_id(parts[2]))
        or not re.fullmatch(r"[1-9][0-9]{0,8}", parts[3])
    ):
        raise EvidenceError(
            f"{text[:120]!r} is not the origin of a Joulemark tree.",
            "Expected joulemark/SITE/DEVICE/EPOCH.",
            code="bad_origin",
        )
    return parts[1], parts[2], int(parts[3])
