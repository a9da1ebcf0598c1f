"""SunSpec: models are found where a device keeps them, and an answer says again which it is."""

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

import pytest
import pytest_asyncio
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.documents import load_profile
from joulemark_agent.drivers import modbus, sunspec
from joulemark_agent.drivers.base import Request
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.lines import Line
from joulemark_agent.plan import PlannedDevice, plan_requests
from support import virtual_time
from support.modbus import REQUEST, Connection, Peer, peer, refusal, reply

TIMEOUT_S = 5.0
UNIT = 13
MARKER = [0x5375, 0x6E53]
END = [0xFFFF, 0]
COMMON = [1, 66, *range(66)]
INVERTER = 103
# Model 103 after its length: what the profile reads, at its offsets, and 0xFFFF elsewhere.
HELD = {14: 11_000, 15: 1, 16: 5997, 17: 0xFFFE, 24: 1, 25: 0x86A0, 26: 0, 27: 3333, 28: 0xFFFE,
        29: 3600, 30: 0xFFFF, 31: 12_000, 32: 1, 38: 4}  # fmt: skip
MODEL_103 = [103, 50, *(HELD.get(i, 0xFFFF) for i in range(2, 52))]
MODEL_160 = [160, 28, 0xFFFF, 0, 0, 0, 0, 0, 1, 0, *([0] * 9), 333, 360, 60_000, *([0] * 8)]
VALUES = {
    "ac_power_w": "110000",
    "frequency_hz": "59.97",
    "generated_wh": "100000",
    "dc_current_a": "33.33",
    "dc_voltage_v": "360",
    "dc_power_w": "120000",
    "operating_state": "4",
    "module_1_dc_current_a": "33.3",
    "module_1_dc_voltage_v": "360",
    "module_1_dc_power_w": "60000",
}
PROFILE, _ = load_profile("sunspec_inverter")


class Registers:
    """Holding registers by unit; what is not there is refused with exception 2."""

    def __init__(self, units: Mapping[int, Mapping[int, int]]) -> None:
        self.units = dict(units)

    async def answer(self, connection: Connection, request: bytes) -> None:
        *_, unit, _, address, count = REQUEST.unpack(request)
        held = self.units.get(unit, {})
        words = [held.get(i) for i in range(address, address + count)]
        if any(word is None for word in words):
            await connection.say(refusal(request, 2))
        else:
            await connection.say(reply(request, struct.pack(f">{count}H", *words)))


def laid_out(
    *models: Sequence[int], base: int = 40_000, end: Sequence[int] = END
) -> dict[int, int]:
    """A map: the marker, the models one after another, the end."""
    words = [*MARKER, *(word for model in models for word in model), *end]
    return dict(enumerate(words, base))


def url_of(served: Peer) -> str:
    return f"sunspec-tcp://127.0.0.1:{served.port}"


def planned(url: str, *requests: Request, unit: int = UNIT) -> PlannedDevice:
    asked = requests or plan_requests(PROFILE)
    return PlannedDevice("inverter", url, unit, 900_000_000, asked, TIMEOUT_S)


def asked_of(served: Peer) -> list[tuple[int, int]]:
    """Address and count of every question so far; then none."""
    found = [REQUEST.unpack(request)[-2:] for request in served.requests]
    served.requests.clear()
    return found


@pytest_asyncio.fixture
async def foreign_url() -> AsyncIterator[str]:
    """A real, foreign Modbus server that holds a map at 40000."""
    words = list(laid_out(COMMON, MODEL_103, MODEL_160).values())
    device = SimDevice(UNIT, [SimData(40_000, values=words, datatype=DataType.REGISTERS)])
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    listener = cast("asyncio.Server", server.transport)
    yield f"sunspec-tcp://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    await cast("Any", server).shutdown()


async def test_an_inverter_behind_a_foreign_server_is_read_in_its_units(foreign_url: str) -> None:
    line = Line(foreign_url, timeout_s=TIMEOUT_S)
    responses = await line.read(planned(foreign_url))
    await line.close()

    assert decode_responses(PROFILE, responses) == (VALUES, {})
    assert [(r.table, r.address) for r in responses] == [("sunspec", 103), ("sunspec", 160)]


@pytest.mark.parametrize("base", [40_000, 0, 50_000])
@pytest.mark.parametrize("order", [(COMMON, MODEL_103, MODEL_160), (MODEL_160, MODEL_103, COMMON)])
async def test_models_are_found_wherever_they_are(
    base: int, order: Sequence[Sequence[int]]
) -> None:
    registers = Registers({UNIT: laid_out(*order, base=base)})
    async with peer(registers.answer) as served:
        line = Line(url_of(served), timeout_s=TIMEOUT_S)
        responses = await line.read(planned(url_of(served)))
        await line.close()

    assert decode_responses(PROFILE, responses) == (VALUES, {})


async def test_a_model_is_one_read_from_its_id_on_and_the_map_is_walked_once() -> None:
    registers = Registers({UNIT: laid_out(COMMON, MODEL_103, MODEL_160)})
    async with peer(registers.answer) as served:
        line = Line(url_of(served), timeout_s=TIMEOUT_S)
        await line.read(planned(url_of(served)))
        walk = asked_of(served)
        await line.read(planned(url_of(served)))
        again = asked_of(served)
        await line.close()

    heads = [40_002, 40_070, 40_122, 40_152]
    assert walk == [(40_000, 2), *((at, 2) for at in heads), *again]
    assert again == [(40_070, 39), (40_122, 22)]


async def test_each_unit_has_its_own_map() -> None:
    registers = Registers(
        {1: laid_out(COMMON, MODEL_103, MODEL_160), 2: laid_out(MODEL_103, MODEL_160, base=0)}
    )
    async with peer(registers.answer) as served:
        line = Line(url_of(served), timeout_s=TIMEOUT_S)
        found = [await line.read(planned(url_of(served), unit=unit)) for unit in (1, 2, 1)]
        await line.close()

    assert [decode_responses(PROFILE, responses)[0] for responses in found] == [VALUES] * 3
    assert served.connections == 1


async def test_plain_registers_are_read_over_the_same_line() -> None:
    registers = Registers({UNIT: laid_out(COMMON, MODEL_103, MODEL_160) | {7: 42}})
    async with peer(registers.answer) as served:
        line = Line(url_of(served), timeout_s=TIMEOUT_S)
        asked = (
            Request("holding", 7, 1),
            Request("sunspec", 160, 4),
            Request("holding", 40_000, 2),
        )
        plain, model, marker = await line.read(planned(url_of(served), *asked))
        await line.close()

    assert (plain.table, plain.address, plain.data) == ("holding", 7, b"\0\x2a")
    assert (model.table, model.address, model.data[:2]) == ("sunspec", 160, b"\0\xa0")
    assert marker.data == b"SunS"


async def test_of_a_model_that_is_shorter_than_believed_only_what_is_there_is_read() -> None:
    """A point beyond it is missing; what lies behind the model is another's."""
    short = [103, 20, *MODEL_103[2:22]]
    registers = Registers({UNIT: laid_out(COMMON, short, MODEL_160)})
    async with peer(registers.answer) as served:
        line = Line(url_of(served), timeout_s=TIMEOUT_S)
        responses = await line.read(planned(url_of(served)))
        await line.close()
        asked = asked_of(served)

    values, quality = decode_responses(PROFILE, responses)
    assert (40_070, 22) in asked
    assert {name for name, code in quality.items() if code == "missing"} == {
        "generated_wh", "dc_current_a", "dc_voltage_v", "dc_power_w", "operating_state",
    }  # fmt: skip
    assert values == {name: text for name, text in VALUES.items() if name not in quality}


async def test_a_map_that_has_moved_is_walked_again_and_no_word_is_taken_for_another() -> None:
    """A firmware update, or a module plugged in, while the connection lives."""
    registers = Registers({UNIT: laid_out(COMMON, MODEL_103, MODEL_160)})
    async with peer(registers.answer) as served:
        line = Line(url_of(served), timeout_s=TIMEOUT_S)
        await line.read(planned(url_of(served)))
        asked_of(served)
        registers.units[UNIT] = laid_out(COMMON, [120, 26, *range(26)], MODEL_103, MODEL_160)
        responses = await line.read(planned(url_of(served)))
        await line.close()
        naive = asked_of(served)[0]

    assert decode_responses(PROFILE, responses) == (VALUES, {})
    held = registers.units[UNIT]
    # The control: at the address remembered stands 26 words of another model.
    assert held[naive[0]] == 120
    assert served.connections == 1


async def test_a_model_that_became_shorter_is_walked_again() -> None:
    registers = Registers({UNIT: laid_out(COMMON, MODEL_103, MODEL_160)})
    async with peer(registers.answer) as served:
        line = Line(url_of(served), timeout_s=TIMEOUT_S)
        await line.read(planned(url_of(served)))
        registers.units[UNIT] = laid_out(COMMON, [103, 20, *MODEL_103[2:22]], MODEL_160)
        model, *_ = await line.read(planned(url_of(served)))
        await line.close()

    assert len(model.data) == 2 * 22


async def test_a_model_that_appears_while_a_device_starts_is_found_at_the_next_read() -> None:
    registers = Registers({UNIT: laid_out(COMMON)})
    async with peer(registers.answer) as served:
        line = Line(url_of(served), timeout_s=TIMEOUT_S)
        with pytest.raises(DeviceError, match="no SunSpec model 103"):
            await line.read(planned(url_of(served)))
        registers.units[UNIT] = laid_out(COMMON, MODEL_103, MODEL_160)
        responses = await line.read(planned(url_of(served)))
        await line.close()

    assert decode_responses(PROFILE, responses) == (VALUES, {})
    assert served.connections == 1


async def test_a_map_that_moves_all_the_time_is_told() -> None:
    registers = Registers({UNIT: laid_out(COMMON, MODEL_103, MODEL_160)})
    moved = Registers({UNIT: laid_out(MODEL_103, COMMON, MODEL_160)})

    async def answer(connection: Connection, request: bytes) -> None:
        count = REQUEST.unpack(request)[-1]
        await (registers if count == 2 else moved).answer(connection, request)

    async with peer(answer) as served:
        line = Line(url_of(served), timeout_s=TIMEOUT_S)
        with pytest.raises(DeviceError, match="has just shown 103 with 50") as caught:
            await line.read(planned(url_of(served)))
        is_open = line._driver is not None and line._driver.is_open
        await line.close()

    assert caught.value.code == "model_moved"
    assert is_open


async def test_a_map_that_became_shorter_is_looked_at_again_at_the_next_read() -> None:
    registers = Registers({UNIT: laid_out(COMMON, MODEL_103, MODEL_160)})
    async with peer(registers.answer) as served:
        line = Line(url_of(served), timeout_s=TIMEOUT_S)
        await line.read(planned(url_of(served)))
        registers.units[UNIT] = laid_out(MODEL_103, MODEL_160, base=0)
        with pytest.raises(DeviceError, match="illegal data address"):
            await line.read(planned(url_of(served)))
        responses = await line.read(planned(url_of(served)))
        await line.close()

    assert decode_responses(PROFILE, responses) == (VALUES, {})


@pytest.mark.parametrize(
    ("held", "code", "said"),
    [
        ({}, "not_sunspec", r"no 'SunS' at 40000, 0, 50000\. Switch SunSpec on"),
        ({0: 0x5375, 1: 0x6E54}, "not_sunspec", "no 'SunS'"),
        (laid_out(), "no_model_103", "only none at all"),
        (laid_out(COMMON, MODEL_160), "no_model_103", r"only 1, 160\. Use a profile"),
        (laid_out(COMMON, MODEL_103), "no_model_160", "only 1, 103"),
        (laid_out([1, 0xFFFF]), "bad_map", "model 1 with 65535 words ends at 105539"),
        (laid_out([1, 25_531]), "bad_map", "ends at 65535"),
        (laid_out(*([[7, 0]] * 200)), "bad_map", "more than 128 models"),
    ],
)
async def test_a_map_that_cannot_be_read_is_told_and_the_connection_stays(
    held: dict[int, int], code: str, said: str
) -> None:
    registers = Registers({UNIT: held, 1: laid_out(MODEL_103, MODEL_160)})
    async with peer(registers.answer) as served:
        line = Line(url_of(served), timeout_s=TIMEOUT_S)
        with pytest.raises(DeviceError, match=said) as caught:
            await line.read(planned(url_of(served)))
        questions = len(served.requests)
        await line.read(planned(url_of(served), unit=1))
        await line.close()

    assert caught.value.code == code
    assert questions <= len(sunspec.BASES) + sunspec.MAX_MODELS
    assert served.connections == 1


async def test_a_map_without_an_end_is_as_long_as_the_device_answers() -> None:
    registers = Registers({UNIT: laid_out(COMMON, MODEL_103, MODEL_160, end=[])})
    async with peer(registers.answer) as served:
        line = Line(url_of(served), timeout_s=TIMEOUT_S)
        responses = await line.read(planned(url_of(served)))
        await line.close()

    assert decode_responses(PROFILE, responses) == (VALUES, {})


async def test_of_two_models_of_one_kind_the_first_counts() -> None:
    other = [103, 50, *([0] * 50)]
    registers = Registers({UNIT: laid_out(COMMON, MODEL_103, other, MODEL_160)})
    async with peer(registers.answer) as served:
        line = Line(url_of(served), timeout_s=TIMEOUT_S)
        responses = await line.read(planned(url_of(served)))
        await line.close()

    assert decode_responses(PROFILE, responses)[0] == VALUES


@pytest.mark.parametrize("number", [5, 6, 10, 11])
async def test_a_busy_device_or_gateway_is_not_taken_for_one_without_a_map(number: int) -> None:
    async def answer(connection: Connection, request: bytes) -> None:
        await connection.say(refusal(request, number))

    async with peer(answer) as served:
        line = Line(url_of(served), timeout_s=TIMEOUT_S)
        with pytest.raises(DeviceError, match=f"exception {number} ") as caught:
            await line.read(planned(url_of(served)))
        await line.close()

    assert caught.value.code == f"exception_{number:02d}"
    assert len(served.requests) == (2 if number in modbus.BUSY else 1), "it is asked once more"


async def test_a_device_that_falls_silent_in_the_walk_costs_one_timeout() -> None:
    registers = Registers({UNIT: laid_out(COMMON, MODEL_103, MODEL_160)})

    async def answer(connection: Connection, request: bytes) -> None:
        if REQUEST.unpack(request)[-2] < 40_070:
            await registers.answer(connection, request)

    async with peer(answer) as served:
        driver = await sunspec.connect(url_of(served), timeout_s=TIMEOUT_S)
        with pytest.raises(DeviceError, match="no bytes of an answer") as caught:
            await driver.read(UNIT, plan_requests(PROFILE), timeout_s=0.05)
        assert caught.value.code == "timeout"
        assert not driver.is_open
        await driver.close()


async def test_an_accumulator_that_has_nothing_yet_is_no_zero() -> None:
    """At dawn some inverters show a lifetime of 0 Wh."""
    dawn = list(MODEL_103)
    dawn[24] = dawn[25] = 0
    registers = Registers({UNIT: laid_out(COMMON, dawn, MODEL_160)})
    async with peer(registers.answer) as served:
        line = Line(url_of(served), timeout_s=TIMEOUT_S)
        responses = await line.read(planned(url_of(served)))
        await line.close()

    values, quality = decode_responses(PROFILE, responses)
    assert "generated_wh" not in values
    assert quality == {"generated_wh": "sentinel"}


def test_a_walk_in_which_every_answer_is_just_in_time_does_not_hold_the_line() -> None:
    """Of 128 models, each head after nine tenths of the time-out: two minutes, if it went on."""
    timeout_s = 1.0
    many = laid_out(*([1, 1, 0] for _ in range(200)))
    registers = Registers({UNIT: many})

    async def answer(connection: Connection, request: bytes) -> None:
        await asyncio.sleep(0.9 * timeout_s)
        await registers.answer(connection, request)

    async def main() -> float:
        async with peer(answer) as served:
            driver = await sunspec.connect(url_of(served), timeout_s=timeout_s)
            begun_s = asyncio.get_running_loop().time()
            with pytest.raises(DeviceError, match="not shown all its SunSpec models") as caught:
                await driver.read(UNIT, plan_requests(PROFILE), timeout_s=timeout_s)
            assert caught.value.code == "timeout"
            await driver.close()
            return asyncio.get_running_loop().time() - begun_s

    assert virtual_time.run(main()) == pytest.approx(sunspec.WALK_TIMEOUTS * timeout_s, abs=0.1)
