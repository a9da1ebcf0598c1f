"""paho's client for brokers that may send anything: no packet longer than is told, no bad topic.

Of both sides, agent and collector. What paho itself finds malformed ends the connection.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

NO_TOPIC = "(no UTF-8)"
_COLUMNS = ("takes", "columns-1")  # a user property of MQTT 5: brokers hand it on as it is


class LimitedClient(Client):
    """Drops a connection on which a longer packet begins, before there is memory for it."""

    def __init__(self, *args: Any, most_bytes: int, **options: Any) -> None:
        """As paho's own.

        Args:
            args: as paho's.
            most_bytes: of one packet.
            options: as paho's.
        """
        self._most_bytes, self._is_dropped = most_bytes, False
        super().__init__(*args, **options)

    def limits(self) -> Properties:
        """What the broker is told of it, for connecting."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's
        properties.MaximumPacketSize = self._most_bytes
        return properties

    def drop(self) -> None:
        """End the connection at once, whatever was received on it and not read; then reconnect."""
        self._is_dropped = True
        with suppress(OSError, AttributeError):  # there is none any more
            self.socket().shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._is_dropped:
            self._is_dropped = False
            raise OSError(errno.ECONNABORTED, "we leave")
        if bufsize > self._most_bytes:
            raise OSError(errno.EMSGSIZE, f"a packet of more than {self._most_bytes} bytes")
        return super()._sock_recv(bufsize)


def topic_of(message: MQTTMessage) -> str:
    """Its topic; one that is no text is nobody's."""
    try:
        return message.topic
    except UnicodeDecodeError:
        return NO_TOPIC


def with_columns() -> Properties:
    """What a collector says of itself with every answer: that it takes batches in columns."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho's
    properties.UserProperty = _COLUMNS
    return properties


def says_columns(message: MQTTMessage) -> bool:
    """Whether an answer is of a collector that takes batches in columns."""
    return _COLUMNS in getattr(message.properties, "UserProperty", ())
