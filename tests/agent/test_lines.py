"""One connection per host:port: opened when needed, shared, dropped on doubt, not pestered."""

import asyncio
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest

from joulemark_agent.contract.errors import ConfigError, DeviceError
from joulemark_agent.drivers.base import Request
from joulemark_agent.fairness import SHARE
from joulemark_agent.lines import (
    IDLE_S,
    LONGEST_WAIT_S,
    Line,
    Lines,
    by_line,
    line_of,
    protocol_of,
    protocols,
)
from joulemark_agent.plan import Field, PlannedDevice, Span
from support.modbus import REQUEST as REQUEST_LAYOUT
from support.modbus import Connection, peer, refusal, reply, truth

REQUEST = Request("holding", 0x10, 2)
RIGHT = bytes.fromhex("00100011")


class Time:
    """Monotonic time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def device(
    url: str, unit: int = 1, *, requests: int = 1, timeout_s: float = 5.0, pause_s: float = 0.0
) -> PlannedDevice:
    return PlannedDevice(
        f"unit-{unit}", url, unit, 1_000_000, (REQUEST,) * requests, timeout_s, pause_s
    )


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is ours and on which nobody listens."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def test_all_devices_of_one_host_and_port_share_one_connection() -> None:
    async with peer(truth) as served:
        devices = [device(served.url, unit) for unit in range(1, 6)]
        lines = Lines(devices)
        for planned in devices:
            [response] = await lines.of(planned).read(planned)
            assert response.data == RIGHT
        await lines.close()

    assert served.connections == 1
    assert [request[6] for request in served.requests] == [1, 2, 3, 4, 5]


async def test_nothing_is_opened_before_it_is_needed() -> None:
    async with peer(truth) as served:
        lines = Lines([device(served.url)])
        await asyncio.sleep(0)
        await lines.close()

    assert served.connections == 0


async def test_two_ports_are_two_lines() -> None:
    async with peer(truth) as one, peer(truth) as other:
        devices = [device(one.url), device(other.url, 2)]
        lines = Lines(devices)
        for planned in devices:
            await lines.of(planned).read(planned)
        await lines.close()

    assert (one.connections, other.connections) == (1, 1)


async def test_after_a_refusal_by_the_device_the_connection_is_kept() -> None:
    async def answer(connection: Connection, request: bytes) -> None:
        await connection.say(refusal(request, 2) if request[6] == 2 else reply(request))

    async with peer(answer) as served:
        line = Line(served.url, timeout_s=5.0)
        with pytest.raises(DeviceError, match="exception 2"):
            await line.read(device(served.url, 2))
        await line.read(device(served.url, 1))
        await line.close()

    assert served.connections == 1


async def test_a_connection_closed_between_two_reads_is_opened_again_without_a_gap() -> None:
    """The peer hangs up when asked again, as a gateway does that was restarted."""
    is_stale = False

    async def answer(connection: Connection, request: bytes) -> None:
        nonlocal is_stale
        if is_stale:
            is_stale = False
            connection.close()
        else:
            await connection.say(reply(request))

    async with peer(answer) as served:
        line = Line(served.url, timeout_s=5.0)
        for _ in range(3):
            assert (await line.read(device(served.url)))[0].data == RIGHT
            is_stale = True
        await line.close()

    assert served.connections == 3


async def test_a_peer_that_always_hangs_up_is_asked_once_a_read_when_the_line_is_new() -> None:
    async def answer(connection: Connection, _: bytes) -> None:
        connection.close()

    async with peer(answer) as served:
        line = Line(served.url, timeout_s=5.0)
        for _ in range(3):
            with pytest.raises(DeviceError) as caught:
                await line.read(device(served.url))
            assert caught.value.code == "closed"
        await line.close()

    assert len(served.requests) == served.connections == 3


async def test_a_timeout_is_not_tried_again_within_the_read() -> None:
    async def answer(connection: Connection, request: bytes) -> None:
        if len(served.requests) == 1:
            await connection.say(reply(request))

    async with peer(answer) as served:
        line = Line(served.url, timeout_s=5.0)
        await line.read(device(served.url))
        with pytest.raises(DeviceError) as caught:
            await line.read(device(served.url, timeout_s=0.05))
        await line.close()

    assert caught.value.code == "timeout"
    assert len(served.requests) == 2


async def test_a_connection_unused_for_long_is_replaced_before_it_is_used() -> None:
    now = Time()
    async with peer(truth) as served:
        line = Line(served.url, timeout_s=5.0, now_s=now)
        await line.read(device(served.url))
        now.now_s += IDLE_S
        await line.read(device(served.url))
        assert served.connections == 1
        now.now_s += IDLE_S + 0.1
        await line.read(device(served.url))
        await line.close()

    assert served.connections == 2


async def test_after_failed_attempts_the_waits_are_1_2_3_and_3_seconds(closed_port: int) -> None:
    now = Time()
    url = f"modbus-tcp://127.0.0.1:{closed_port}"
    line = Line(url, timeout_s=5.0, now_s=now)
    for wait_s in (1, 2, 3, 3):
        with pytest.raises(DeviceError) as caught:
            await line.read(device(url))
        assert caught.value.code == "refused"
        now.now_s += wait_s - 0.01
        async with peer(truth, closed_port) as served:
            with pytest.raises(DeviceError) as again:
                await line.read(device(url))
        assert again.value is caught.value, "within the wait the same cause is given"
        assert served.connections == 0, "and nothing is tried"
        now.now_s += 0.01
    async with peer(truth, closed_port):
        assert (await line.read(device(url)))[0].data == RIGHT
        await line.close()


async def test_a_host_that_is_back_is_read_and_its_wait_starts_at_1_second_again(
    closed_port: int,
) -> None:
    now = Time()
    url = f"modbus-tcp://127.0.0.1:{closed_port}"
    line = Line(url, timeout_s=5.0, now_s=now)
    for _ in range(4):
        with pytest.raises(DeviceError):
            await line.read(device(url))
        now.now_s += LONGEST_WAIT_S
    async with peer(truth, closed_port):
        assert (await line.read(device(url)))[0].data == RIGHT
        await line.close()
    with pytest.raises(DeviceError):
        await line.read(device(url))
    now.now_s += 1.0
    async with peer(truth, closed_port):
        assert (await line.read(device(url)))[0].data == RIGHT
        await line.close()


async def test_a_unit_that_stays_silent_is_left_alone_and_the_others_are_read() -> None:
    now, is_dead = Time(), True

    async def answer(connection: Connection, request: bytes) -> None:
        if request[6] != 1 or not is_dead:
            await connection.say(reply(request))

    async def asked(unit: int) -> bool:
        before = len(served.requests)
        with suppress(DeviceError):
            await line.read(device(served.url, unit, timeout_s=0.02 if unit == 1 else 5.0))
        return len(served.requests) > before

    async with peer(answer) as served:
        line = Line(served.url, timeout_s=5.0, is_shared=True, now_s=now)
        assert await asked(2)
        assert await asked(1), "it has not answered yet"
        is_dead = False
        now.now_s += 0.02 / SHARE
        assert await asked(1)
        is_dead = True
        assert await asked(1)
        assert await asked(1), "one lost answer costs one slot and no more"
        for _ in range(4):
            now.now_s += 0.02 / SHARE - 0.05
            assert not await asked(1)
            assert await asked(2)
            now.now_s += 0.05
            assert await asked(1)
        is_dead = False
        now.now_s += 0.02 / SHARE
        assert await asked(1)
        assert await asked(1), "a unit that answers is asked at every slot again"
        await line.close()


async def test_a_suspect_is_asked_for_its_shortest_point_before_all_others() -> None:
    now, is_dead = Time(), False

    async def answer(connection: Connection, request: bytes) -> None:
        if not is_dead:
            await connection.say(reply(request))

    async with peer(answer) as served:
        line = Line(served.url, timeout_s=5.0, is_shared=True, now_s=now)
        spans = (Span("holding", 0, 4), Span("holding", 7, 8), Span("input", 9, 11))
        planned = replace(
            device(served.url, timeout_s=0.02),
            requests=(Request("holding", 0, 8), Request("input", 9, 2)),
            fields=tuple(Field(f"p{i}_w", span, 0) for i, span in enumerate(spans)),
        )
        await line.read(planned)
        await line.read(device(served.url, 2))
        is_dead = True
        for _ in range(3):
            with pytest.raises(DeviceError, match="no bytes"):
                await line.read(planned)
            now.now_s += 1.0
        is_dead = False
        before = len(served.requests)
        await line.read(planned)
        await line.close()

    places = [REQUEST_LAYOUT.unpack(request)[-2:] for request in served.requests]
    assert places[before:] == [(7, 1), (0, 8), (9, 2)]


async def test_what_a_hang_up_costs_is_counted_for_both_times_it_is_asked() -> None:
    """A gateway that ends the connection when a unit is silent: the read is tried once more."""
    now = Time()

    async def answer(connection: Connection, request: bytes) -> None:
        if request[6] == 2:
            await connection.say(reply(request))
        else:
            now.now_s += 1.0
            connection.close()

    async with peer(answer) as served:
        line = Line(served.url, timeout_s=5.0, is_shared=True, now_s=now)
        begun_s = now.now_s
        while now.now_s < begun_s + 600:
            await line.read(device(served.url, 2))
            with suppress(DeviceError):
                await line.read(device(served.url, 1))
            now.now_s += 0.5
        await line.close()

    held_s = sum(request[6] == 1 for request in served.requests) * 1.0
    assert held_s <= 0.05 * (now.now_s - begun_s)


async def test_a_device_is_left_alone_and_not_all_that_have_its_unit() -> None:
    """All devices of an OPC UA server have unit 0: by unit, one would silence all."""

    async def answer(connection: Connection, request: bytes) -> None:
        if REQUEST_LAYOUT.unpack(request)[-2] != 0x99:
            await connection.say(reply(request))

    async with peer(answer) as served:
        line = Line(served.url, timeout_s=5.0, now_s=Time())
        silent = PlannedDevice(
            "silent", served.url, 1, 1_000_000, (Request("holding", 0x99, 1),), 0.02
        )
        for _ in range(3):
            with pytest.raises(DeviceError, match="no bytes"):
                await line.read(silent)
        asked = len(served.requests)
        assert (await line.read(device(served.url, 1)))[0].data == RIGHT
        with pytest.raises(DeviceError, match="no bytes"):
            await line.read(silent)
        await line.close()

    assert asked == 2
    assert len(served.requests) == asked + 1


async def test_a_unit_that_needs_quiet_gets_it_before_each_request() -> None:
    asked_s: list[float] = []

    async def answer(connection: Connection, request: bytes) -> None:
        asked_s.append(time.monotonic())
        await connection.say(reply(request))

    async with peer(answer) as served:
        line = Line(served.url, timeout_s=5.0, delay_s=0.03)
        opened_s = time.monotonic()
        await line.read(device(served.url, requests=3, pause_s=0.02))
        await line.read(device(served.url, requests=2))
        await line.close()

    assert len(asked_s) == 5
    assert asked_s[0] - opened_s >= 0.03
    assert asked_s[1] - asked_s[0] >= 0.02
    assert asked_s[2] - asked_s[1] >= 0.02


async def test_a_pause_is_kept_in_the_walk_through_a_sunspec_map_and_before_a_repeat() -> None:
    asked_s: list[float] = []
    model = [40_000, 0x5375, 0x6E53, 1, 1, 7, 0xFFFF, 0]

    async def answer(connection: Connection, request: bytes) -> None:
        asked_s.append(time.monotonic())
        *_, address, count = REQUEST_LAYOUT.unpack(request)
        at = address - model[0] + 1
        words = model[at : at + count]
        await connection.say(reply(request, struct.pack(f">{count}H", *words)))

    async with peer(answer) as served:
        url = served.url.replace("modbus", "sunspec")
        line = Line(url, timeout_s=5.0)
        asked = PlannedDevice("a", url, 1, 1_000_000, (Request("sunspec", 1, 3),), 5.0, 0.02)
        await line.read(asked)
        await line.close()

    assert len(asked_s) == 4, "marker, two heads, the model"
    assert all(later - sooner >= 0.02 for sooner, later in pairwise(asked_s))


async def test_a_plain_modbus_device_shares_the_connection_of_a_sunspec_one() -> None:
    async with peer(truth) as served:
        plain = device(served.url)
        solar = replace(device(served.url.replace("modbus", "sunspec"), 2), id="solar")
        lines = Lines([plain, solar])
        for planned in (plain, solar, plain):
            await lines.of(planned).read(planned)
        await lines.close()

    assert served.connections == 1
    assert list(by_line([plain, solar]).values()) == [(plain, solar)]


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("modbus-tcp://192.0.2.1", "modbus-tcp://192.0.2.1:502"),
        ("modbus-tcp://192.0.2.1:502/", "modbus-tcp://192.0.2.1:502"),
        ("modbus-tcp://GATEWAY:5020", "modbus-tcp://gateway:5020"),
        ("modbus-tcp://[::1]:5020", "modbus-tcp://[::1]:5020"),
    ],
)
def test_addresses_that_mean_one_connection_name_one_line(url: str, whole: str) -> None:
    assert line_of(url) == whole
    assert line_of(whole) == whole


@pytest.mark.parametrize(
    "host", ["a..b", ".", "a" * 64, "a b", "a\0b", "\u2028", "\ud800", "127.0.0.1:0"]
)
async def test_a_host_that_no_resolver_can_be_asked_for_is_no_address(host: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        line_of(f"modbus-tcp://{host}")


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("opc.tcp://plc", "opc.tcp://plc:4840"),
        ("opc.tcp://plc/", "opc.tcp://plc:4840"),
        ("opc.tcp://PLC:48010/UA/furnace/", "opc.tcp://plc:48010/UA/furnace"),
        ("opc.tcp://[::1]/x", "opc.tcp://[::1]:4840/x"),
    ],
)
def test_an_opc_ua_server_may_stand_behind_a_path(url: str, whole: str) -> None:
    assert line_of(url) == whole
    assert line_of(whole) == whole


@pytest.mark.parametrize(
    "url",
    [
        "sunspec-tcp://h/x", "modbus-tcp://h/x", "opc.tcp://h/a b", "opc.tcp://h/ofen\u00e9",
        "opc.tcp://h/x?y", "opc.tcp://h/x#y", "opc.tcp://u@h/x", "opc.tcp:///x",
    ],
)  # fmt: skip
def test_a_path_stands_nowhere_else_and_has_no_surprises(url: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        line_of(url)


def test_a_driver_is_found_by_the_name_of_its_file() -> None:
    assert protocols() == [
        "elektronikon", "modbus", "modbus_ascii", "modbus_rtu", "opcua", "sigma_control", "sunspec"
    ]  # fmt: skip
    assert protocol_of("modbus-rtu-tcp://192.0.2.1") == "modbus_rtu"
    assert protocol_of("modbus-ascii:///dev/ttyS0") == "modbus_ascii"
    assert protocol_of("modbus-tcp://192.0.2.1") == "modbus"
    assert protocol_of("sunspec-tcp://192.0.2.1") == "sunspec"
    assert protocol_of("opc.tcp://192.0.2.1") == "opcua"


@pytest.mark.parametrize(
    "url", ["modbus://h", "modbus-udp://h", "base://h", "os://h", "..modbus://h", "", "h:502"]
)
def test_a_scheme_without_a_driver_is_told_with_those_that_have_one(url: str) -> None:
    with pytest.raises(ConfigError, match="modbus"):
        line_of(url)
