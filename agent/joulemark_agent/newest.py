"""Messages of which only the newest counts: one of each topic under way, and one that waits."""

from __future__ import annotations

from joulemark_agent.mqtt import Connection


class Newest:
    """What is to be told of each topic, and what the socket has not taken yet."""

    def __init__(self) -> None:
        self._waiting: dict[str, bytes] = {}
        self._under_way: dict[str, int] = {}  # mid by topic

    def put(self, topic: str, payload: bytes) -> None:
        """Tell this instead of what waits."""
        self._waiting[topic] = payload

    def pump(self, connection: Connection) -> None:
        """Publish what waits where nothing of its topic is under way; it is sent once or never."""
        for topic in [one for one in self._waiting if one not in self._under_way]:
            payload = self._waiting.pop(topic)
            self._under_way[topic] = connection.publish(topic, payload, qos=0)

    def acked(self, mid: int) -> None:
        """A message has left."""
        self._under_way = {topic: known for topic, known in self._under_way.items() if known != mid}

    def rewind(self) -> None:
        """The connection is new: what was under way is gone."""
        self._under_way.clear()
