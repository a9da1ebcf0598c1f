"""A broker that acknowledges every message of an agent and forgets it.

What it says is what the real one says when somebody was listening, so whoever deletes on that word
loses everything. Answers of the collector pass.
"""

from __future__ import annotations

from collections.abc import Sequence

from moat.lib.mqtt import MQTTPublishPacket, ReasonCode
from moat.lib.mqtt.async_broker import AsyncMQTTClientSession

from joulemark_agent.contract.topics import ROOT
from joulemark_gateway import embedded_broker


class Forgetful(embedded_broker.Broker):
    """Takes what goes up, says yes, and keeps nothing of it."""

    async def _pass_on(self, packet: MQTTPublishPacket, session: AsyncMQTTClientSession) -> None:
        if not packet.topic.startswith(f"{ROOT}/up/"):
            await super()._pass_on(packet, session)
        elif packet.packet_id is not None:
            session.state_machine.acknowledge_publish(packet.packet_id, ReasonCode.SUCCESS)
            print("forgot", flush=True)  # noqa: T201 - counted by whoever started it


def main(words: Sequence[str]) -> None:
    """Serve on that port of this machine."""
    embedded_broker.Broker = Forgetful  # type: ignore[misc]  # what `serve` makes
    embedded_broker.serve(
        "127.0.0.1",
        int(words[0]),
        on_ready=lambda: print("ready", flush=True),  # noqa: T201 - as above
    )
