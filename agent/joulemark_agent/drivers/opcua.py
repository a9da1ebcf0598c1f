"""OPC UA over TCP, reading only: a driver on a session of its own.

Channel and session are in `opcua_channel.py` and `opcua_session.py`, subscriptions in
`opcua_subscription.py`, the encoding in `opcua_binary.py`. There is no task. Whatever goes wrong
with a subscription ends the connection with it, and the line opens another.
"""

from __future__ import annotations

from collections.abc import Sequence

from joulemark_agent import opcua_session
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import NODE
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers.base import Request
from joulemark_agent.opcua_access import Access
from joulemark_agent.opcua_session import Session
from joulemark_agent.opcua_subscription import TOO_MUCH, Subscription, numeric

SCHEMES = ("opc.tcp",)
DEFAULT_PORT = opcua_session.DEFAULT_PORT
HAS_PATH = True
LONGEST_WAIT_S = 2.0  # a server that is back is read again within 5 s
IDLE_S = 90.0  # the session lives for 120 s unasked


async def connect(url: str, *, timeout_s: float, security: Access | None = None) -> OpcUaTcp:
    """An open session at `opc.tcp://HOST[:PORT][/PATH]`, without security where none is named.

    Raises:
        DeviceError: there is none to be had.
    """
    session = await opcua_session.open_session(url, timeout_s=timeout_s, security=security)
    return OpcUaTcp(session, timeout_s=timeout_s)


class OpcUaTcp:
    """An OPC UA client that believes nothing; one request is under way at a time."""

    def __init__(self, session: Session, *, timeout_s: float) -> None:
        self._session, self._timeout_s = session, timeout_s
        self._subscription: Subscription | None = None

    @property
    def is_open(self) -> bool:
        """Whether another read may be tried: the server is there and the channel not too old."""
        return self._session.is_open

    async def read(
        self, unit: int, requests: Sequence[Request], *, timeout_s: float | None = None
    ) -> tuple[Response, ...]:
        """The DataValue of each request, or where it subscribes all that came since the last read.

        A value that is no number is left out of its DataValue.

        Raises:
            DeviceError: `timeout`, `closed`, `bad_reply`, `subscription_lost`, `keep_alive`
                (the connection is gone), `too_much` (it stays) or `status_XXXXXXXX` (the server
                says no to all; the connection stays unless it was for a subscription).
        """
        del unit  # an OPC UA server has none
        wait_s = self._timeout_s if timeout_s is None else timeout_s
        if requests and requests[0].subscribe is not None:
            return await self._follow(tuple(requests), wait_s)
        nodes = [self._session.node_id(request.node) for request in requests]
        found = await self._session.read(nodes, wait_s)
        return tuple(
            Response(NODE, request.address, numeric(variable))
            for request, variable in zip(requests, found, strict=True)
        )

    async def close(self) -> None:
        """Give session and connection back, and the subscription with them."""
        await self._session.close()

    async def _follow(
        self, requests: tuple[Request, ...], timeout_s: float
    ) -> tuple[Response, ...]:
        """What the subscription has for the device."""
        assert requests[0].subscribe is not None
        try:
            if self._subscription is None:
                self._subscription = Subscription(self._session, timeout_s=self._timeout_s)
                await self._subscription.open(requests[0].subscribe)
            return await self._subscription.collect(requests, timeout_s)
        except DeviceError as error:
            if error.code != TOO_MUCH:
                await self._session.close()  # with it the server gives the subscription up
            raise
