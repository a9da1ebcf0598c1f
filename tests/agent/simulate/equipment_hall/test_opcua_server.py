"""The furnace's OPC UA server: an independent client reads it, and nobody changes it."""

import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, Server, ua
from asyncua.ua.ua_binary import struct_to_binary
from asyncua.ua.uaerrors import BadUserAccessDenied

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.kernels.datavalue import DataValue, encode, parse
from joulemark_agent.simulate.equipment_hall.factory import FurnaceValues, Hall
from joulemark_agent.simulate.equipment_hall.opcua_server import FurnaceServer, serve_furnace
from joulemark_agent.simulate.run import factory_of
from joulemark_agent.simulate.scenario import HallScenario, load_any_scenario

URI = "urn:joulemark:virtual-furnace"
pytestmark = pytest.mark.asyncio(loop_scope="module")


def furnace() -> FurnaceValues:
    scenario = load_any_scenario("equipment_hall")
    assert isinstance(scenario, HallScenario)
    hall: Hall = factory_of(scenario)
    return hall.furnace


class Clock:
    """The instant that is shown."""

    now_us = 0

    def now(self) -> int:
        return self.now_us


CLOCK = Clock()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[FurnaceServer]:
    found = await serve_furnace(furnace(), CLOCK.now, "127.0.0.1", 0)
    yield found
    await found.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: FurnaceServer) -> AsyncIterator[Any]:
    async with Client(f"opc.tcp://127.0.0.1:{server.port}", timeout=5) as found:
        yield found


async def variable(client: Any, name: str) -> Any:
    space = await client.get_namespace_index(URI)
    return client.get_node(ua.NodeId(f"Furnace.{name}", space))


async def test_asyncua_reads_every_variable_with_its_type_at_the_time_of_the_slot(
    client: Any,
) -> None:
    values = furnace()
    kinds = {"bool": "Boolean", "float64": "Double", "uint64": "UInt64"}
    for slot in (0, 1, 60, 3000, 5760):
        CLOCK.now_us = values.run.slots.all_us()[slot]
        for point in values.points:
            node = await variable(client, point.node.split("Furnace.")[1])
            found = await node.read_data_value()
            assert found.Value.Value == values.value(point.name, slot)
            assert found.Value.VariantType.name == kinds[point.type]
            assert found.SourceTimestamp == datetime.fromtimestamp(CLOCK.now_us / 1e6, UTC)
            assert found.StatusCode.is_good()


async def test_the_binary_form_of_what_asyncua_got_is_the_golden_one_of_the_profile(
    client: Any,
) -> None:
    values = furnace()
    CLOCK.now_us = values.run.slots.first_us
    node = await variable(client, "GasVolume")
    got = await node.read_data_value()
    got.ServerTimestamp = None
    packed = struct_to_binary(got)
    golden = next(row for row in values.profile.golden if row.point == "gas_dm3")
    found = parse(packed)

    assert golden.value == values.value("gas_dm3", 0)
    assert found is not None
    assert encode(DataValue(found.type, found.raw, 0, found.source_time_us)) == golden.raw


@pytest.mark.parametrize(
    "name", ["Temperature", "SetPoint", "GasVolume", "ElectricEnergy", "DoorOpen", "Output"]
)
async def test_no_variable_can_be_written(client: Any, name: str) -> None:
    node = await variable(client, name)
    before = await node.read_data_value()

    with pytest.raises(BadUserAccessDenied):
        await node.write_value(before.Value)
    assert not await node.get_access_level() & {ua.AccessLevel.CurrentWrite}
    assert (await node.read_data_value()).Value == before.Value


async def test_nothing_else_can_be_changed_or_called(client: Any) -> None:
    node = await variable(client, "SetPoint")
    with pytest.raises(BadUserAccessDenied):
        await node.write_attribute(
            ua.AttributeIds.DisplayName, ua.DataValue(ua.Variant(ua.LocalizedText("mine")))
        )
    with pytest.raises(BadUserAccessDenied):
        await client.nodes.objects.add_variable(ua.NodeId("Mine", 2), "2:Mine", 1)
    with pytest.raises(BadUserAccessDenied):
        await client.delete_nodes([node])
    with pytest.raises(BadUserAccessDenied):
        await client.nodes.server.call_method("0:GetMonitoredItems", ua.Variant(1))


async def test_a_name_and_password_open_nothing(server: FurnaceServer) -> None:
    admin = Client(f"opc.tcp://127.0.0.1:{server.port}", timeout=5)
    admin.set_user("admin")
    admin.set_password("admin")

    with pytest.raises(ua.UaError):
        await admin.connect()
    await admin.disconnect()


async def test_without_the_rule_set_a_writable_variable_would_be_written() -> None:
    """The control: that a write is refused is the rule set's work too, not only the variable's."""
    open_server = Server()
    await open_server.init()
    open_server.disable_clock()
    open_server.set_endpoint("opc.tcp://127.0.0.1:0")
    open_server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    open_server.set_identity_tokens([ua.AnonymousIdentityToken])
    node = await open_server.nodes.objects.add_variable(ua.NodeId("SetPoint", 1), "1:SetPoint", 1.0)
    await node.set_writable()
    await open_server.start()
    async with Client(f"opc.tcp://127.0.0.1:{open_server.bserver.port}", timeout=5) as naive:
        await naive.get_node(ua.NodeId("SetPoint", 1)).write_value(2.0)
    assert await node.read_value() == 2.0
    await open_server.stop()


async def test_browsing_shows_that_the_furnace_is_synthetic_and_which_variable_has_no_unit(
    client: Any,
) -> None:
    space = await client.get_namespace_index(URI)
    folder = client.get_node(ua.NodeId("Furnace", space))
    about = await folder.read_attribute(ua.AttributeIds.Description)
    units = {}
    for child in await folder.get_variables():
        name = (await child.read_browse_name()).Name
        units[name] = [await p.read_value() for p in await child.get_properties()]

    assert "SYNTHETIC" in about.Value.Value.Text
    assert {name: of[0].DisplayName.Text for name, of in units.items() if of} == {
        "Temperature": "K", "SetPoint": "K", "GasVolume": "dm3", "ElectricEnergy": "Wh",
    }  # fmt: skip
    assert units["Temperature"][0].UnitId == 0x4B454C  # "KEL"
    assert units["Output"] == units["DoorOpen"] == []


async def test_the_time_of_the_server_itself_is_real(client: Any) -> None:
    before = datetime.now(UTC)
    shown = await client.get_node(ua.ObjectIds.Server_ServerStatus_CurrentTime).read_value()

    assert before <= shown <= datetime.now(UTC)


async def test_it_listens_on_loopback_only(server: FurnaceServer) -> None:
    listening = server._server.bserver._server.sockets

    assert {one.getsockname()[0] for one in listening} == {"127.0.0.1"}


async def test_a_taken_port_is_named(server: FurnaceServer) -> None:
    with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{server.port}: "):
        await serve_furnace(furnace(), CLOCK.now, "127.0.0.1", server.port)


async def test_a_machine_without_asyncua_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "asyncua", None)

    with pytest.raises(ConfigError, match=r"needs the package asyncua\. Install it"):
        await serve_furnace(furnace(), CLOCK.now, "127.0.0.1", 0)
