"""The embedded MQTT 5 broker: moat-lib-mqtt, with what it lacks for our use.

A connection that breaks is forgotten, a client that connects again takes its own place, a
subscriber that stalls cannot hold up the others for long, a message has a largest size, and PUBACK
says when nobody was listening. Nothing is kept for a client that is away: none of ours needs it.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from uuid import uuid4

import anyio
from anyio.abc import ByteStream
from moat.lib.mqtt import (
    MQTTClientState,
    MQTTConnectPacket,
    MQTTPacket,
    MQTTPublishPacket,
    ReasonCode,
)
from moat.lib.mqtt.async_broker import AsyncMQTTBroker, AsyncMQTTClientSession

from joulemark_agent.contract.batch import MAX_WIRE_BYTES

log = logging.getLogger(__name__)

_STALL_S = 10.0  # how long a subscriber may take nothing before it is cut off
_HEAD_BYTES = 64 * 1024  # of a packet, beside its payload
_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


def serve(host: str, port: int, *, on_ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        host: address to listen on.
        port: port to listen on.
        on_ready: called when connections are accepted.
    """
    anyio.run(_serve, host, port, on_ready)


async def _serve(host: str, port: int, on_ready: Callable[[], None]) -> None:
    async with anyio.create_task_group() as group:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            await group.start(Broker(bind_address=(host, port)).serve)
            on_ready()
            async for _ in signals:
                group.cancel_scope.cancel()
                return


class Broker(AsyncMQTTBroker):
    """One process, no persistence, every client may publish and subscribe."""

    async def serve_client(self, stream: ByteStream) -> None:
        """Serve one connection until it ends, however it ends."""
        session = AsyncMQTTClientSession(stream=stream)
        try:
            async with stream:
                await self._converse(session)
        except Exception as error:  # noqa: BLE001 - what one client sends ends its own connection
            log.info("client_gone", extra={"why": f"{type(error).__name__}: {error}"[:200]})
        finally:
            self._forget(session)

    async def handle_packet(
        self, packet: MQTTPacket, session: AsyncMQTTClientSession, stream: ByteStream
    ) -> None:
        """Do what a packet asks for."""
        if isinstance(packet, MQTTPublishPacket):
            await self._pass_on(packet, session)
            return
        if not isinstance(packet, MQTTConnectPacket):
            await super().handle_packet(packet, session, stream)
            return
        if not packet.client_id:
            packet.client_id = session.state_machine.client_id = uuid4().hex
        old = self._client_sessions.get(packet.client_id)
        if old is not None:  # the same client again: the older connection is dead or a twin
            self._forget(old)
            await anyio.aclose_forcefully(old.stream)
        await super().handle_packet(packet, session, stream)
        if session.state_machine.state is MQTTClientState.CONNECTED:
            self.add_client_session(session)

    async def _converse(self, session: AsyncMQTTClientSession) -> None:
        machine = session.state_machine
        async for chunk in session.stream:
            for packet in machine.feed_bytes(chunk):
                await self.handle_packet(packet, session, session.stream)
            await session.flush_outbound_data()
            if machine.state is MQTTClientState.DISCONNECTED:
                return
            if len(machine._in_buffer) > MAX_WIRE_BYTES + _HEAD_BYTES:  # noqa: SLF001 - no other way
                log.warning("packet_too_large", extra={"client": machine.client_id})
                return

    async def _pass_on(self, packet: MQTTPublishPacket, session: AsyncMQTTClientSession) -> None:
        """Give a message to those who subscribed, and the sender the true outcome."""
        machine = session.state_machine
        recipients: list[AsyncMQTTClientSession] = []
        if len(packet.payload) > MAX_WIRE_BYTES:
            outcome = ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR
        else:
            names = self._state_machine.publish(machine.client_id, packet)
            recipients = [self._client_sessions[n] for n in names if n in self._client_sessions]
            outcome = ReasonCode.SUCCESS if recipients else ReasonCode.NO_MATCHING_SUBSCRIBERS
        if packet.packet_id is not None:
            machine.acknowledge_publish(packet.packet_id, outcome)
        for recipient in recipients:
            await self._deliver(recipient)

    async def _deliver(self, session: AsyncMQTTClientSession) -> None:
        try:
            with anyio.fail_after(_STALL_S):
                await session.flush_outbound_data()
        except (*_BROKEN, TimeoutError) as error:
            client = session.state_machine.client_id
            log.warning("subscriber_cut_off", extra={"client": client, "why": str(error)})
            self._forget(session)
            await anyio.aclose_forcefully(session.stream)

    def _forget(self, session: AsyncMQTTClientSession) -> None:
        """Drop the session and its subscriptions, unless its client has connected anew."""
        client_id = getattr(session.state_machine, "client_id", None)  # unset before CONNECT
        if client_id is None or self._client_sessions.get(client_id) is not session:
            return
        del self._client_sessions[client_id]
        self._state_machine.client_state_machines.pop(client_id, None)
        subscribed = self._state_machine.shared_subscriptions
        for pattern in list(subscribed):
            subscribed[pattern].pop(client_id, None)
            if not subscribed[pattern]:
                del subscribed[pattern]
