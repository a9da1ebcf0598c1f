"""The furnace's OPC UA server: it can be read, browsed and subscribed to, and nothing else.

A variable has no value of its own: it is asked for at every Read, so that it stands at the slot as
soon as the clock does, as the registers of the other machines do. A subscription therefore sees the
value of its first moment only; whoever follows the furnace reads it.
Source: OPC UA specification (1.05), part 4, section 5.11 (Read); part 8, section 5.6.3
(EUInformation: the unit's number is its UN/CEFACT code as bytes).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import NodePoint
from joulemark_agent.simulate.equipment_hall.factory import FurnaceValues
from joulemark_agent.simulate.faults import Fault

NAME = "Joulemark virtual furnace (SYNTHETIC)"
_ABOUT = "SYNTHETIC: a physical simulation; no furnace in known units was recorded"
_TYPES = {"bool": "Boolean", "float64": "Double", "uint64": "UInt64"}
_UNITS = {  # by the end of a point's name: UN/CEFACT code, symbol, name
    "_k": ("KEL", "K", "kelvin"),
    "_dm3": ("DMQ", "dm3", "cubic decimetre"),
    "_wh": ("WHR", "Wh", "watt hour"),
}
_UNIT_NAMESPACE = "http://www.opcfoundation.org/UA/units/un/cefact"
_READING = (
    "CreateSession", "ActivateSession", "CloseSession", "CloseSecureChannel", "GetEndpoints",
    "FindServers", "Read", "Browse", "TranslateBrowsePathsToNodeIds", "CreateSubscription",
    "ModifySubscription", "SetPublishingMode", "Publish", "Republish", "DeleteSubscriptions",
    "CreateMonitoredItems", "ModifyMonitoredItems", "SetMonitoringMode", "DeleteMonitoredItems",
)  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FurnaceServer:
    """A running server; `close` ends it."""

    def __init__(self, server: Any, port: int, variables: _Variables) -> None:
        self.port = port
        self._server, self._variables = server, variables
        self._is_up = True
        self._restarts: set[Fault] = set()

    async def suffer(self, faults: Sequence[Fault]) -> None:
        """Be as these faults say, and well where there is none."""
        self._variables.time_offset_s = sum(fault.step_s for fault in faults)
        await self._variables.keep_all_but({f.point for f in faults if f.kind == "shrunk"})
        restarts = {fault for fault in faults if fault.kind == "opcua_restart"}
        if restarts - self._restarts:
            await self._server.bserver.stop()  # and with it every session
            self._is_up = False
        elif not restarts and not self._is_up:
            await self._server.bserver.start()
            self._is_up = True
        self._restarts = restarts

    async def close(self) -> None:
        """Drop every client and stop listening."""
        await self._server.stop()


async def serve_furnace(
    furnace: FurnaceValues, now_us: Callable[[], int], host: str, port: int
) -> FurnaceServer:
    """The furnace behind OPC UA, without security, for anonymous readers on this machine.

    Args:
        furnace: the values.
        now_us: the instant that is shown. [us UTC]
        host: where to listen.
        port: 0 takes any free one.

    Raises:
        ConfigError: the port cannot be used, or asyncua is not installed.
    """
    _check_port(host, port)
    asyncua = _asyncua()
    policy = asyncua.ua.SecurityPolicyType.NoSecurity
    server = asyncua.Server()
    await server.init()
    server.set_server_name(NAME)
    server.set_endpoint(f"opc.tcp://{host}:{port}")
    server.set_security_policy([policy], permission_ruleset=_ReadingOnly(asyncua.ua))
    server.set_identity_tokens([asyncua.ua.AnonymousIdentityToken])
    server.allow_remote_admin(allow=False)
    # asyncua's own clock would be waited for when stopping, up to a second; this is asked for.
    server.disable_clock()
    server.set_attribute_value_callback(
        asyncua.ua.NodeId(asyncua.ua.ObjectIds.Server_ServerStatus_CurrentTime), _wall_time
    )
    variables = _Variables(server, furnace, now_us)
    await variables.add_all()
    try:
        await server.start()
    except OSError as error:
        raise _taken(host, port, error) from error
    assert server.bserver is not None  # it has started
    return FurnaceServer(server, server.bserver.port, variables)


class _ReadingOnly:
    """The rule set of every channel: what does not read is refused, whoever asks."""

    def __init__(self, ua: Any) -> None:
        self._allowed = {
            ua.NodeId(getattr(ua.ObjectIds, f"{name}Request_Encoding_DefaultBinary"))
            for name in _READING
        }

    def check_validity(self, user: object, action_type: object, body: object) -> bool:
        """Whether the service may be used; the name is asyncua's."""
        del user, body
        return action_type in self._allowed


class _Variables:
    """What of the furnace stands in the address space."""

    def __init__(self, server: Any, furnace: FurnaceValues, now_us: Callable[[], int]) -> None:
        self._server, self._furnace, self._now_us = server, furnace, now_us
        self._uris = {
            point.name: point.node.removeprefix("nsu=").split(";s=")[0] for point in furnace.points
        }
        self._spaces: dict[str, int] = {}
        self._folder: Any = None
        self._there: dict[str, Any] = {}  # the variable of each point that is there
        self.time_offset_s = 0

    async def add_all(self) -> None:
        """Every variable, in a folder that says what the furnace is."""
        ua, server = _asyncua().ua, self._server
        for uri in dict.fromkeys(self._uris.values()):
            self._spaces[uri] = await server.register_namespace(uri)
        first = next(iter(self._spaces.values()))
        name = ua.NodeId("Furnace", first)
        self._folder = await server.nodes.objects.add_object(name, f"{first}:Furnace")
        about = ua.Variant(ua.LocalizedText(_ABOUT), ua.VariantType.LocalizedText)
        await self._folder.write_attribute(ua.AttributeIds.Description, ua.DataValue(about))
        await self.keep_all_but(set())

    async def keep_all_but(self, gone: set[str]) -> None:
        """Delete the variables of these points, and add any other that is not there."""
        for point in self._furnace.points:
            if point.name in gone and point.name in self._there:
                await self._server.delete_nodes([self._there.pop(point.name)], recursive=True)
            elif point.name not in gone and point.name not in self._there:
                self._there[point.name] = await self._add(point)

    async def _add(self, point: NodePoint) -> Any:
        ua, furnace = _asyncua().ua, self._furnace
        space, name = self._spaces[self._uris[point.name]], point.node.split(";s=")[1]
        kind = ua.VariantType[_TYPES[point.type]]
        opening = ua.Variant(furnace.value(point.name, 0), kind)
        short = name.removeprefix("Furnace.")
        variable = await self._folder.add_variable(
            ua.NodeId(name, space), f"{space}:{short}", opening
        )
        if (unit := _unit(point, ua)) is not None:
            await variable.add_property(ua.NodeId(f"{name}.EngineeringUnits", space),
                                        "0:EngineeringUnits", unit)  # fmt: skip
        self._server.set_attribute_value_callback(variable.nodeid, self._value_of(point.name, kind))
        return variable

    def _value_of(self, point: str, kind: Any) -> Callable[[object, object], Any]:
        ua, furnace, slots = _asyncua().ua, self._furnace, self._furnace.run.slots

        def value(_node: object, _attribute: object) -> Any:
            slot = slots.index(self._now_us())
            at = _EPOCH + timedelta(microseconds=slots.first_us + slot * slots.period_us)
            variant = ua.Variant(furnace.value(point, slot), kind)
            shown_at = at + timedelta(seconds=self.time_offset_s)
            return ua.DataValue(variant, SourceTimestamp=shown_at)

        return value


def _wall_time(_node: object, _attribute: object) -> Any:
    """The server's own time is real; only that of the furnace is simulated."""
    ua, now = _asyncua().ua, datetime.now(UTC)
    return ua.DataValue(ua.Variant(now, ua.VariantType.DateTime), SourceTimestamp=now)


def _unit(point: NodePoint, ua: Any) -> Any | None:
    """The unit's EUInformation; None where the name of the point tells no unit."""
    found = [unit for ending, unit in _UNITS.items() if point.name.endswith(ending)]
    if not found:
        return None
    code, symbol, name = found[0]
    unit = ua.EUInformation()
    unit.NamespaceUri = _UNIT_NAMESPACE
    unit.UnitId = int.from_bytes(code.encode(), "big")
    unit.DisplayName, unit.Description = ua.LocalizedText(symbol), ua.LocalizedText(name)
    return unit


def _asyncua() -> Any:
    """The package, only where there is a furnace: the steel works needs none."""
    try:
        return import_module("asyncua")
    except ImportError as error:
        raise ConfigError(
            "The virtual furnace needs the package asyncua.",
            "Install it: pip install 'joulemark[simulator]'.",
        ) from error


def _check_port(host: str, port: int) -> None:
    """Refuse a taken port before asyncua logs a traceback over it."""
    try:
        socket.create_server((host, port)).close()
    except (OSError, OverflowError) as error:
        raise _taken(host, port, error) from error


def _taken(host: str, port: int, error: Exception) -> ConfigError:
    return ConfigError(
        f"The virtual factory cannot listen on {host}:{port}: {error}.",
        "Choose another port, or 0 for any free one.",
    )
