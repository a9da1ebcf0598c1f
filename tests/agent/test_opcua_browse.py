"""What a server has is found whole, within bounds, and a profile of it reads what was seen."""

import itertools
import struct
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent import opcua_browse, opcua_session, scan_report
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import NodePoint, Profile
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.documents import load_profile
from joulemark_agent.drivers import opcua
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.opcua_binary import NULL, Cursor, MalformedError, blob
from joulemark_agent.opcua_browse import Limits, Tree, browse, scan
from joulemark_agent.opcua_proposal import MOST_MACHINES, Found, Leaf, proposals
from joulemark_agent.plan import plan_requests
from support.opcua import (
    CAS,
    COMPRESSOR,
    FIRST_READ,
    OTHER_URI,
    TICKING,
    URI,
    VARIABLES,
    Change,
    Relay,
    body_of,
    handle_of,
    relayed,
    with_body,
)

TIMEOUT_S = 5.0
NUMBERS = set(VARIABLES) - {"array", "text"}


@pytest_asyncio.fixture
async def relay(opcua_plant: int) -> AsyncIterator[Relay]:
    """A relay before the furnace and a compressor."""
    async with relayed(opcua_plant) as running:
        yield running


async def browsed(relay: Relay, limits: Limits | None = None) -> Tree:
    session = await opcua_session.open_session(relay.url, timeout_s=TIMEOUT_S)
    try:
        return await browse(session, timeout_s=TIMEOUT_S, limits=limits)
    finally:
        await session.close()


async def test_every_variable_that_holds_a_number_is_found_once(relay: Relay) -> None:
    tree = await browsed(relay)
    ours = {leaf.node for leaf in tree.leaves if leaf.path[0] != "Compressor 1"}

    assert {f"nsu={URI};s={name}" for name in NUMBERS | {TICKING}} <= ours
    assert {f"nsu={OTHER_URI};s={name}" for name in VARIABLES} <= ours
    assert not {f"nsu={URI};s={name}" for name in ("array", "text")} & ours
    assert len({leaf.node for leaf in tree.leaves}) == len(tree.leaves)  # there is a loop
    found = {"/".join(leaf.path[1:]): leaf for leaf in tree.leaves if leaf.space == CAS}
    assert set(found) == set(COMPRESSOR)
    assert {path: leaf.unit for path, leaf in found.items()} == {
        path: code for path, (_, code) in COMPRESSOR.items()
    }
    assert found["ProcessFluidCircuit/Outlet/GaugePressure"].span == (0.0, 14.2)
    assert tree.is_whole


async def test_the_proposed_profile_reads_the_compressor_in_si(
    relay: Relay, tmp_path: Path
) -> None:
    machine, rest = await scan(relay.url, timeout_s=TIMEOUT_S)
    path = tmp_path / "compressor.yaml"
    path.write_text(machine.profile, "utf-8")
    profile, _ = load_profile(str(path))
    driver = await opcua.connect(relay.url, timeout_s=TIMEOUT_S)
    values, quality = decode_responses(profile, await driver.read(0, plan_requests(profile)))
    await driver.close()

    assert machine.title == "Compressor 1"
    assert "flow_rate_unstated" in machine.about  # the server names no unit
    assert quality == {}
    assert {name: Decimal(value) for name, value in values.items()} == {
        "energy_wh": Decimal(84728278),
        "power_w": Decimal(106880),
        "air_dm3": Decimal(595275500),
        "flow_m3_s": Decimal("0.20000000000000004"),
        "outlet_gauge_pressure_pa": Decimal(710000),
        "outlet_temperature_k": Decimal("298.15"),
        "specific_energy_requirement_j_m3": Decimal(512406),
        "flow_rate_unstated": Decimal(85),
        "running_time_s": Decimal(44442000),
    }
    assert profile.point("energy_wh").counter
    path.write_text(rest.profile.replace("kind: power_meter", "kind: furnace"), "utf-8")
    assert len(load_profile(str(path))[0].points) > len(NUMBERS)


@pytest.mark.parametrize("limits", [Limits(depth=1), Limits(nodes=5), Limits(references=3)])
async def test_what_is_beyond_a_limit_is_said_to_be_missing(relay: Relay, limits: Limits) -> None:
    tree = await browsed(relay, limits)

    assert not tree.is_whole
    assert len(tree.leaves) < len((await browsed(relay)).leaves)


async def test_a_place_to_go_on_from_is_gone_on_from(opcua_plant: int) -> None:
    """The relay cuts the first answer after two references, as a server does that has many."""
    cut: list[ua.ReferenceDescription] = []

    def change(number: int, message: bytes) -> list[bytes]:
        if number == FIRST_READ:
            answer = struct_from_binary(ua.BrowseResponse, Buffer(body_of(message)))
            cut.extend(answer.Results[0].References[2:])
            del answer.Results[0].References[2:]
            answer.Results[0].ContinuationPoint = b"here"
            return [with_body(message, struct_to_binary(answer))]
        if number == FIRST_READ + 1:
            assert cutting.services[-1] == opcua_browse.BROWSE_NEXT
            assert cutting.asked[-1].endswith(b"\x00\x01\0\0\0\x04\0\0\0here")  # not released
            said = struct_from_binary(ua.ServiceFault, Buffer(body_of(message)))
            answer = ua.BrowseNextResponse()
            answer.ResponseHeader = said.ResponseHeader
            answer.ResponseHeader.ServiceResult = ua.StatusCode()
            answer.Parameters.Results = [ua.BrowseResult(References=cut)]
            return [with_body(message, struct_to_binary(answer))]
        return [message]

    async with relayed(opcua_plant) as plain:
        whole = await browsed(plain)
    async with relayed(opcua_plant) as cutting:
        cutting.change = change
        parts = await browsed(cutting)

    assert {leaf.node for leaf in parts.leaves} == {leaf.node for leaf in whole.leaves}


def inventing(relay: Relay, name: str, count: int, *, places: bool = False) -> Change:
    """Each Browse is answered with new nodes, for ever; or with the same one, part by part."""
    made = 0

    def change(number: int, message: bytes) -> list[bytes]:
        nonlocal made
        if number < FIRST_READ or relay.services[-1] not in {
            opcua_browse.BROWSE, opcua_browse.BROWSE_NEXT,
        }:  # fmt: skip
            return [message]
        is_next = relay.services[-1] == opcua_browse.BROWSE_NEXT
        answer = ua.BrowseNextResponse() if is_next else ua.BrowseResponse()
        answer.ResponseHeader.RequestHandle = handle_of(message)
        results = []
        for _ in range(asked_for(relay.asked[-1], is_next=is_next)):
            made += not places
            results.append(ua.BrowseResult(
                ContinuationPoint=b"on" if places else None,
                References=[
                    ua.ReferenceDescription(
                        NodeId=ua.ExpandedNodeId(f"{made}-{i}", 2),
                        BrowseName=ua.QualifiedName(name, 2), NodeClass=ua.NodeClass.Object,
                    )
                    for i in range(count)
                ],
            ))  # fmt: skip
        if is_next:
            answer.Parameters.Results = results
        else:
            answer.Results = results
        return [with_body(message, struct_to_binary(answer))]

    return change


def asked_for(question: bytes, *, is_next: bool) -> int:
    """How many nodes a Browse, or places a BrowseNext, asks for."""
    if is_next:
        return int(question[-6 * (question.count(b"\2\0\0\0on")) - 4])
    return question.count(b"\x00\x21\x01")


async def test_a_server_that_invents_nodes_for_ever_is_left(relay: Relay) -> None:
    relay.change = inventing(relay, "a", 4)
    tree = await browsed(relay, Limits(depth=100, nodes=200))

    assert not tree.is_whole
    assert tree.nodes < 300


async def test_nodes_that_are_as_wide_as_deep_cost_no_more(relay: Relay) -> None:
    """A level is not finished once there are too many: 100 * 100 * 100 would be a million."""
    relay.change = inventing(relay, "a", 100)
    tree = await browsed(relay, Limits(depth=3, nodes=400))

    assert not tree.is_whole
    assert tree.nodes < 400 + 16 * 100


async def test_names_of_any_length_cost_no_memory(relay: Relay) -> None:
    relay.change = inventing(relay, "a" * 50_000, 1)
    tracemalloc.start()
    tree = await browsed(relay, Limits(depth=100, nodes=90))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert tree.nodes > 80
    assert peak < 3 << 20  # whole, they are 4.5 MB


async def test_places_to_go_on_from_for_ever_end_with_the_time(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = itertools.count(0.0, 10.0)
    monkeypatch.setattr(opcua_browse, "monotonic", lambda: next(now_s))
    relay.change = inventing(relay, "a", 1, places=True)
    tree = await browsed(relay)

    assert not tree.is_whole
    assert relay.services.count(opcua_browse.BROWSE_NEXT) < Limits().seconds


URI_PART = "urn:example:p"
STRANGE = {
    "an identifier longer than a profile takes": b"\x03\x01\x00" + blob(b"a" * 505),
    "one that does not fit with its namespace": b"\x03\x01\x00" + blob(b"a" * 495),
    "an empty opaque one": b"\x05\x01\x00" + blob(b""),
    "none": b"\x05\x01\x00" + NULL,
    "one with an escape sequence": b"\x03\x01\x00" + blob(b"\x1b[2J"),
    "one that is no text": b"\x03\x01\x00" + blob(b"\xff"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_node_that_no_profile_can_name_is_left_out(kind: str) -> None:
    assert opcua_browse._name(STRANGE[kind], {1: URI_PART}) is None


def leaf(*path: str, node: str = "1", space: str = URI, unit: str = "") -> Leaf:
    return Leaf(f"nsu={URI};s={node}", path, space, "float64", b"\x01\x0b" + bytes(8), unit)


ODD_NAMES = (
    "null", "on", "\x1b[2J\x1b]0;owned\x07", "\u202eevil", "a\n  - {name: power_w}", "'\"}: #", "-",
    "\x85", "\u2028", "x" * 300,
)  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_can_neither_change_a_profile_nor_a_terminal(name: str, tmp_path: Path) -> None:
    template, _ = load_profile("opcua_compressed_air")
    power = next(p for p in template.points if p.name == "power_w")
    assert isinstance(power, NodePoint)
    leaves = [
        leaf(name, *(power.path or ()), space=CAS, unit="KWT"),
        leaf("Objects", name, node=name if name.isprintable() else "2"),
    ]
    found = proposals(leaves, "opc.tcp://192.0.2.1", [template])
    text = scan_report.variables_text("opc.tcp://192.0.2.1", found, [])

    assert [len(proposed(one, tmp_path).points) for one in found] == [1, 1]
    assert all(line.isprintable() for line in text.splitlines())
    assert "\x1b" not in text


def proposed(one: Found, folder: Path) -> Profile:
    """The profile as it is loaded from its file."""
    path = folder / "proposed.yaml"
    path.write_text(one.profile, "utf-8")
    return load_profile(str(path))[0]


def test_a_name_that_ends_like_a_unit_does_not_change_the_unit(tmp_path: Path) -> None:
    [found] = proposals([leaf("Tank", "flow m3", unit="SEC")], "opc.tcp://192.0.2.1")
    [point] = proposed(found, tmp_path).points

    assert unit_of(point.name) == "s"


def test_two_machines_of_one_place_are_not_mixed() -> None:
    template, _ = load_profile("opcua_compressed_air")
    paths = [point.path for point in template.points if isinstance(point, NodePoint)]
    leaves = [
        leaf("Twin", *(path or ()), space=CAS, node=f"{i}-{twin}")
        for i, path in enumerate(paths)
        for twin in range(2)
    ]
    [found] = proposals(leaves, "opc.tcp://192.0.2.1", [template])

    assert found.title == "all other variables"


def test_machines_without_end_are_not_files_without_end() -> None:
    template, _ = load_profile("opcua_compressed_air")
    power = next(p for p in template.points if p.name == "power_w")
    assert isinstance(power, NodePoint)
    leaves = [
        leaf(f"machine {i}", *(power.path or ()), space=CAS, node=str(i))
        for i in range(MOST_MACHINES + 10)
    ]

    assert len(proposals(leaves, "opc.tcp://192.0.2.1", [template])) == MOST_MACHINES + 1


async def test_a_wrong_answer_to_a_browse_is_named(relay: Relay) -> None:
    relay.change = lambda number, message: [
        with_body(message, body_of(message)[:24] + b"\xff\xff\xff\x7f") if number == FIRST_READ
        else message
    ]  # fmt: skip
    with pytest.raises(DeviceError) as caught:
        await browsed(relay)
    assert caught.value.code == "bad_reply"


@given(st.binary(max_size=120))
def test_no_bytes_of_an_answer_raise_anything_else(data: bytes) -> None:
    with suppress(MalformedError):
        opcua_browse._results(1, Cursor(data))
    opcua_browse._unit(data)
    opcua_browse._span(data)
    opcua_browse._declared(data)


@given(st.integers(0, 3), st.integers(0, 300))
def test_a_node_is_one_key_however_it_is_written(space: int, number: int) -> None:
    forms = [struct.pack("<BHI", 2, space, number)]
    forms += [struct.pack("<BBH", 1, space, number)]
    if space == 0 and number < 256:
        forms += [bytes([0, number])]

    assert len({opcua_browse._canonical(form) for form in forms}) == 1


def test_the_numbers_are_those_of_the_specification() -> None:
    ids = ua.ObjectIds
    assert ids.BrowseRequest_Encoding_DefaultBinary == opcua_browse.BROWSE
    assert ids.BrowseNextRequest_Encoding_DefaultBinary == opcua_browse.BROWSE_NEXT
    assert ids.Range_Encoding_DefaultBinary == opcua_browse.RANGE
    assert ids.EUInformation_Encoding_DefaultBinary == opcua_browse.EU_INFORMATION
