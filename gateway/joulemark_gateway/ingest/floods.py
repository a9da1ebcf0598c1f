"""Who floods is not listened to for a while.

A broker has one queue for all that the collector subscribed to. mosquitto 2.0 drops whatever finds
1000 packets in it, batches and acknowledgements of others included, and does not tell. A fair turn
behind that queue helps nobody, so a flood has to end before it: the collector connects anew, with
an empty queue, and subscribes to everybody but the one who floods.

An honest agent has at most 20 batches under way, less than its share of the queue.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from joulemark_agent.contract.topics import ALL_UP
from joulemark_gateway.ingest.live import KINDS

WINDOW_S = 10.0
MOST_DROPPED = 256  # messages of one that found its share full, within a window
MOST_DROPPED_BYTES = 64 * 1024 * 1024
FIRST_S, LONGEST_S = 60.0, 3600.0  # how long nobody listens; doubled each time it goes on

log = logging.getLogger(__name__)


@dataclass
class _Account:
    since_s: float
    messages: int = 0
    bytes: int = 0
    shut_until_s: float = 0.0
    shut_for_s: float = 0.0


class Floods:
    """What was dropped unread, by owner; the owner of what nobody registered sends is ""."""

    def __init__(self) -> None:
        """Nobody floods."""
        self._accounts: dict[str, _Account] = {}

    def dropped(self, owner: str, size: int, now_s: float) -> None:
        """Note one message that found the share of its owner full."""
        found = self._accounts.setdefault(owner, _Account(now_s))
        if now_s - found.since_s > WINDOW_S:
            found.since_s, found.messages, found.bytes = now_s, 0, 0
        found.messages += 1
        found.bytes += size
        is_flood = found.messages > MOST_DROPPED or found.bytes > MOST_DROPPED_BYTES
        if is_flood and now_s >= found.shut_until_s:
            goes_on = now_s < found.shut_until_s + found.shut_for_s
            found.shut_for_s = min(2 * found.shut_for_s, LONGEST_S) if goes_on else FIRST_S
            found.shut_until_s = now_s + found.shut_for_s
            fields = {"agent": owner, "seconds": int(found.shut_for_s), "messages": found.messages}
            log.warning("flood_shut_out", extra=fields)

    def shut_out(self, now_s: float) -> frozenset[str]:
        """Who is not listened to now."""
        accounts = list(self._accounts.items())
        return frozenset(owner for owner, found in accounts if now_s < found.shut_until_s)


def filters(
    agents: Collection[str], shut_out: Collection[str], group: str | None = None
) -> tuple[str, ...]:
    """What to subscribe to: everything, or every agent's topics but theirs.

    Args:
        agents: all that are registered.
        shut_out: who is not listened to.
        group: collectors that share evidence; what is live each of them is given. While they shut
            out different agents some batches come to two of them, which absorb one another's.
    """
    topics: tuple[str, ...] = ALL_UP
    if shut_out:
        heard = sorted(agent for agent in agents if agent not in shut_out)
        topics = tuple(topic.replace("+", agent, 1) for agent in heard for topic in ALL_UP)
    if group is None:
        return topics
    is_live = {topic: topic.rpartition("/")[2] in KINDS for topic in topics}
    return tuple(topic if is_live[topic] else f"$share/{group}/{topic}" for topic in topics)
