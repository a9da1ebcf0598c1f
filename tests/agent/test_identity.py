"""A device says what it is before a word of it is believed."""

import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from pymodbus.client import AsyncModbusTcpClient

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import Identify
from joulemark_agent.drivers.base import Request
from joulemark_agent.lines import Line, Lines
from joulemark_agent.plan import PlannedDevice
from support import modbus
from support.modbus import Connection, Peer

HOLDING = 3


class Device:
    """Register n holds n, but for what it is told to say at 11."""

    def __init__(self) -> None:
        self.code: int | None = 1648  # None: it refuses
        self.refusal = 2
        self.is_silent = False

    async def answer(self, connection: Connection, request: bytes) -> None:
        function, address = request[7], int.from_bytes(request[8:10], "big")
        if self.is_silent:
            connection.close()
        elif (function, address) != (HOLDING, 11):
            await modbus.truth(connection, request)
        elif self.code is None:
            await connection.say(modbus.refusal(request, self.refusal))
        else:
            await connection.say(modbus.reply(request, self.code.to_bytes(2, "big")))


RULE = Identify(table="holding", address=11, type="uint16", one_of=(1648, 1649), note="EM24 E1")


@pytest_asyncio.fixture
async def meter() -> AsyncIterator[tuple[Device, Peer]]:
    device = Device()
    async with modbus.peer(device.answer) as peer:
        yield device, peer


def planned(peer: Peer, *rules: Identify) -> PlannedDevice:
    requests = (Request("input", 40, 2),)
    return PlannedDevice("meter", peer.url, 1, 1_000_000, requests, identify=rules)


def asked_for_identity(peer: Peer) -> int:
    return sum(request[7] == HOLDING for request in peer.requests)


async def test_the_right_device_is_asked_once_for_each_connection(meter) -> None:
    _, peer = meter
    one = planned(peer, RULE)
    lines = Lines([one])
    for _ in range(5):
        await lines.of(one).read(one)
    assert (asked_for_identity(peer), len(peer.requests)) == (1, 6)
    await lines.close()
    await lines.of(one).read(one)
    await lines.close()

    assert (asked_for_identity(peer), peer.connections) == (2, 2)


async def test_another_device_has_no_readings_and_is_named(meter) -> None:
    device, peer = meter
    device.code = 71
    one = planned(peer, RULE)
    lines = Lines([one])
    with pytest.raises(DeviceError) as raised:
        await lines.of(one).read(one)
    await lines.close()

    assert raised.value.code == "wrong_device"
    assert "holding 11 (0x000B) holds 71 (0x0047)" in raised.value.what
    assert "one of 1648, 1649 was wanted (EM24 E1)" in raised.value.what
    assert len(peer.requests) == 1  # nothing else was asked of it


async def test_a_reader_that_does_not_ask_believes_the_other_device(meter) -> None:
    device, peer = meter
    device.code = 71
    client = AsyncModbusTcpClient("127.0.0.1", port=peer.port, retries=0)
    await client.connect()
    answer = await client.read_input_registers(40, count=2, device_id=1)
    client.close()

    assert answer.registers == [40, 41]


async def test_a_device_that_is_exchanged_while_it_was_away_is_found(meter) -> None:
    device, peer = meter
    one = planned(peer, RULE)
    lines = Lines([one])
    await lines.of(one).read(one)
    device.is_silent = True
    with pytest.raises(DeviceError):
        await lines.of(one).read(one)
    device.is_silent, device.code = False, 71
    with pytest.raises(DeviceError) as raised:
        await lines.of(one).read(one)
    await lines.close()

    assert raised.value.code == "wrong_device"


async def test_a_device_that_is_exchanged_while_others_keep_the_connection_is_found(meter) -> None:
    device, peer = meter
    one = planned(peer, RULE)
    other = replace(one, id="other", identify=())
    now_s = 0.0
    line = Line(one.url, timeout_s=1.0, now_s=lambda: now_s)
    await line.read(one)
    device.code = 71
    for now_s in (10.0, 20.0, 30.0, 40.0):  # noqa: B007 - the line's clock
        await line.read(other)
    with pytest.raises(DeviceError) as raised:
        await line.read(one)
    await line.close()

    assert raised.value.code == "wrong_device"
    assert peer.connections == 1


async def test_one_that_comes_right_is_read_again(meter) -> None:
    device, peer = meter
    device.code = 71
    one = planned(peer, RULE)
    lines = Lines([one])
    with pytest.raises(DeviceError):
        await lines.of(one).read(one)
    device.code = 1649
    (response,) = await lines.of(one).read(one)
    await lines.close()

    assert response.data.hex() == "00280029"


async def test_a_register_that_cannot_be_read_is_a_cause_of_its_own(meter) -> None:
    device, peer = meter
    device.code = None
    one = planned(peer, RULE)
    lines = Lines([one])
    with pytest.raises(DeviceError) as raised:
        await lines.of(one).read(one)
    await lines.close()

    assert raised.value.code == "not_identified"
    assert "exception 2" in raised.value.what
    assert "unreadable: warn" in raised.value.do


async def test_or_a_warning_where_the_profile_says_so(meter, caplog) -> None:
    device, peer = meter
    device.code = None
    one = planned(peer, RULE.model_copy(update={"unreadable": "warn"}))
    lines = Lines([one])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await lines.of(one).read(one)
    await lines.close()

    assert [record.getMessage() for record in caplog.records] == ["device_not_identified"]


@pytest.mark.parametrize("number", [6, 11])
async def test_a_device_that_is_busy_is_neither(meter, number: int) -> None:
    device, peer = meter
    device.code, device.refusal = None, number
    one = planned(peer, RULE.model_copy(update={"unreadable": "warn"}))
    lines = Lines([one])
    with pytest.raises(DeviceError) as raised:
        await lines.of(one).read(one)
    await lines.close()

    assert raised.value.code == f"exception_{number:02d}"


async def test_what_other_models_have_is_refused_and_the_rest_is_not(meter) -> None:
    device, peer = meter
    rule = Identify(table="holding", address=11, type="uint16", none_of=(1648,))
    one = planned(peer, rule)
    lines = Lines([one])
    with pytest.raises(DeviceError, match="none of 1648 was wanted"):
        await lines.of(one).read(one)
    device.code = 71
    await lines.of(one).read(one)
    await lines.close()


async def test_a_device_without_a_rule_is_asked_nothing(meter) -> None:
    _, peer = meter
    one = replace(planned(peer), identify=())
    lines = Lines([one])
    await lines.of(one).read(one)
    await lines.close()

    assert asked_for_identity(peer) == 0
