"""What a Sparkplug host says to an edge node: whether it is there, and to be born again."""

from __future__ import annotations

import json

from joulemark_agent.sparkplug.node import REBIRTH
from joulemark_agent.sparkplug.payload import parse_payload


class HostState:
    """Whether the primary host is there, by its newest word; without one, somebody always is."""

    def __init__(self, host: str | None) -> None:
        self.is_online = host is None
        self._last_ms = -1

    def hear(self, payload: bytes) -> None:
        """Take a STATE message; one that is older than the last, or none, changes nothing."""
        try:
            content = json.loads(payload)
            online, time_ms = content["online"], content["timestamp"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if type(online) is bool and type(time_ms) is int and time_ms >= self._last_ms:
            self.is_online, self._last_ms = online, time_ms


def asks_for_rebirth(payload: bytes) -> bool:
    """Whether a command is the one that is heard.

    Raises:
        EvidenceError: it is no command.
    """
    metrics = parse_payload(payload).metrics
    return any(metric.name == REBIRTH and metric.value is True for metric in metrics)
