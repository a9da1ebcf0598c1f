"""Any devices over real sockets, each showing the rows of a table: one row a slot, in lock step.

Registers are made from the device's own profile (`simulate.encode`), variables by asyncua. The
agent that reads moves the clock, as in every replay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from asyncua import Server, ua

from joulemark_agent.contract.document import parse_yaml
from joulemark_agent.contract.profile import NodePoint, Profile
from joulemark_agent.documents import checked_profile, load_profile
from joulemark_agent.simulate.control import ControlServer, LockStep
from joulemark_agent.simulate.encode import Registers, Value, registers
from joulemark_agent.simulate.modbus_server import ModbusConnection
from joulemark_agent.simulate.slots import Slots
from support.bus import REQUEST_SIZE, asked
from support.tcp import serving

US_PER_S = 1_000_000
Row = Mapping[str, Value]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VARIANTS = {
    "float64": ua.VariantType.Double,
    "float32": ua.VariantType.Float,
    "int32": ua.VariantType.Int32,
}
_KEPT = 64  # registers of the slots just shown


@dataclass(frozen=True, eq=False)
class Table:
    """A device and what it shows at each of its slots."""

    id: str
    profile: str  # the name of a shipped one, or the text of its file
    first_us: int
    period_s: int
    rows: Sequence[Row | None]  # None: it is asleep, and the gateway before it says so
    unit: int = 1
    # OPC UA: the device's own time of each row, by point; else the slot
    source_us: Mapping[str, Sequence[int]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # EURange, by point
    frame: bytes = b""  # a whole RTU frame: its answer to every question, instead of the rows
    equipment: str = ""  # that section of the site file, in YAML's flow style
    figures_every_s: int = 0  # length of the windows that the agent states figures of

    @property
    def model(self) -> Profile:
        """What its registers or variables are."""
        return _profile(self.profile)

    @property
    def slots(self) -> Slots:
        """Those of its rows."""
        return Slots(self.first_us, self.period_s * US_PER_S, len(self.rows))


@lru_cache(_KEPT)
def _profile(name_or_text: str) -> Profile:
    if "\n" in name_or_text:
        return checked_profile(parse_yaml(name_or_text, "profile"))[0]
    return load_profile(name_or_text)[0]


class Shown:
    """The registers of every unit at the slot that the clock shows."""

    def __init__(self, tables: Sequence[Table], clock: LockStep) -> None:
        self._tables, self._clock = {table.unit: table for table in tables}, clock
        self._held = lru_cache(_KEPT)(self._made)

    def has_unit(self, unit: int) -> bool:
        """Whether it is there and awake; if not, the reply is exception 11."""
        return unit in self._tables and self._row(unit) is not None

    def read(self, unit: int, table: str, address: int, count: int) -> bytes | None:
        """The words now."""
        held = self._held(unit, self._tables[unit].slots.index(self._clock.now_us))
        return held.read(table, address, count)

    def _row(self, unit: int) -> Row | None:
        table = self._tables[unit]
        return table.rows[table.slots.index(self._clock.now_us)]

    def _made(self, unit: int, slot: int) -> Registers:
        table = self._tables[unit]
        row = table.rows[slot]
        assert row is not None
        return registers(table.model, row)


@dataclass
class Factory:
    """A running factory: where each device answers, and who has the clock."""

    urls: dict[str, str]
    control_port: int = 0


@asynccontextmanager
async def serving_tables(tables: Sequence[Table]) -> AsyncIterator[Factory]:
    """Every table on loopback: one port for all registers, one for all variables."""
    clock = LockStep(list(dict.fromkeys(table.slots for table in tables)))
    control = ControlServer(clock)
    clients: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    kinds = {table.id: table.model.protocol for table in tables}
    words = Shown([table for table in tables if kinds[table.id] != "opcua"], clock)
    async with AsyncExitStack() as stack:
        ports = []
        for protocol in (partial(ModbusConnection, words, clients), control.connect):
            server = await loop.create_server(protocol, "127.0.0.1", 0)
            stack.callback(server.close)
            ports.append(server.sockets[0].getsockname()[1])
        schemes = {"modbus": f"modbus-tcp://127.0.0.1:{ports[0]}"}
        schemes["sunspec"] = schemes["modbus"].replace("modbus", "sunspec")
        if variables := [table for table in tables if kinds[table.id] == "opcua"]:
            schemes["opcua"] = await stack.enter_async_context(_variables(variables, clock))
        urls = {table.id: schemes[kinds[table.id]] for table in tables}
        for table in tables:
            if table.frame:
                port = await stack.enter_async_context(serving(partial(_answer, table.frame)))
                urls[table.id] = f"modbus-rtu-tcp://127.0.0.1:{port}"
        try:
            yield Factory(urls, ports[1])
        finally:
            for transport in (*clients, *control.connections):
                transport.abort()
            await asyncio.sleep(0)


async def _answer(frame: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The same bytes again, to the one question that they answer."""
    while True:
        unit, function, _, count = asked(await reader.readexactly(REQUEST_SIZE))
        assert (unit, function, 2 * count) == (frame[0], frame[1], frame[2])
        writer.write(frame)
        await writer.drain()


@asynccontextmanager
async def _variables(tables: Sequence[Table], clock: LockStep) -> AsyncIterator[str]:
    """The tables' variables behind OPC UA; each stands where its profile says."""
    logging.getLogger("asyncua").setLevel(logging.ERROR)
    server = Server()
    await server.init()
    server.disable_clock()  # it would be waited for at the end
    server.set_endpoint("opc.tcp://127.0.0.1:0")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    for table in tables:
        await _add(server, table, clock)
    async with server:
        listener: Any = server.bserver
        yield f"opc.tcp://127.0.0.1:{listener._server.sockets[0].getsockname()[1]}"


async def _add(server: Server, table: Table, clock: LockStep) -> None:
    for point in table.model.points:
        assert isinstance(point, NodePoint)
        uri, _, name = point.node.removeprefix("nsu=").partition(";s=")
        space = await server.register_namespace(uri)
        value = partial(_value, table, point, clock)
        node = ua.NodeId(name, space)
        # A colon would be taken for the end of a namespace's number.
        browse_name, opening = ua.QualifiedName(name, space), _variant(Decimal(0), point.type)
        variable = await server.nodes.objects.add_variable(node, browse_name, opening)
        if point.name in table.ranges:
            await variable.add_property(0, "EURange", ua.Range(*table.ranges[point.name]))
        server.set_attribute_value_callback(node, value)


def _value(
    table: Table, point: NodePoint, clock: LockStep, _node: object, _attribute: object
) -> ua.DataValue:
    at = table.slots.index(clock.now_us)
    row = table.rows[at]
    value = None if row is None else row[point.name]
    stamps = table.source_us.get(point.name)
    source = _EPOCH + timedelta(microseconds=clock.now_us if stamps is None else stamps[at])
    server = _EPOCH + timedelta(microseconds=clock.now_us)
    if value is None:
        status = ua.StatusCode(ua.UInt32(ua.StatusCodes.BadNoCommunication))
        return ua.DataValue(ua.Variant(), status, source, server)
    held = _variant((Decimal(value) - point.offset) / point.scale, point.type)
    return ua.DataValue(held, SourceTimestamp=source, ServerTimestamp=server)


def _variant(raw: Decimal, kind: str) -> ua.Variant:
    return ua.Variant(float(raw) if kind.startswith("float") else int(raw), _VARIANTS[kind])


def write_site(
    folder: Path, tables: Sequence[Table], factory: Factory, *, broker_url: str, key: str
) -> Path:
    """The site file of an agent that reads every table, with the profiles that it names."""
    for table in tables:
        if "\n" in table.profile:
            (folder / f"{table.id}.yaml").write_text(table.profile, "utf-8")
    path = folder / "site.yaml"
    path.write_text(_site_text(tables, factory, broker_url, key), "utf-8")
    return path


def _site_text(tables: Sequence[Table], factory: Factory, broker_url: str, key: str) -> str:
    first = min(table.first_us for table in tables)
    devices = "\n".join(_device(table, factory.urls[table.id]) for table in tables)
    return f"""\
site: works
agent: edge-1
time_zone: Asia/Seoul
clock: simulated
replay: {{url: "tcp://127.0.0.1:{factory.control_port}", first_slot: "{_iso(first)}"}}
state_dir: state
factors: {{set: korea, rule_set: ESG, jurisdiction: KR}}
uplink: {{url: "{broker_url}", collector_key: "{key}", collector_name: witness}}
devices:
{devices}
"""


def _device(table: Table, url: str) -> str:
    profile = f"{table.id}.yaml" if "\n" in table.profile else table.profile
    more = f", equipment: {table.equipment}" if table.equipment else ""
    more += f", figures_every_s: {table.figures_every_s}" if table.figures_every_s else ""
    return (
        f'  - {{id: {table.id}, profile: "{profile}", url: "{url}", unit: {table.unit},'
        f' period_s: {table.period_s}, first_slot: "{_iso(table.first_us)}",'
        f' last_slot: "{_iso(table.slots.last_us)}"{more}}}'
    )


def _iso(at_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat()
