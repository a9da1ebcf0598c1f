"""A serial port: what its address means, that it is ours alone, and the silence between frames."""

import asyncio
import fcntl
import os
import stat
import termios
from pathlib import Path

import pytest

from joulemark_agent import modbus_line, serial_port
from joulemark_agent.contract.errors import ConfigError, DeviceError
from joulemark_agent.drivers import modbus_rtu
from joulemark_agent.drivers.base import Request
from joulemark_agent.lines import Lines, line_of
from joulemark_agent.plan import PlannedDevice
from joulemark_agent.serial_port import settings_of
from support.bus import LOOK, bus, over_wire, reply, terminal, truth

TWO_WORDS = Request("holding", 0x10, 2)


@pytest.fixture(autouse=True)
def _nothing_owed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal of an earlier test may come again."""
    monkeypatch.setattr(modbus_line, "_owed", {})


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("modbus-rtu:///dev/ttyS0", "baud=19200&parity=E&stop_bits=1&data_bits=8"),
        ("modbus-rtu:////dev//ttyS0?", "baud=19200&parity=E&stop_bits=1&data_bits=8"),
        ("modbus-rtu:///dev/ttyS0?stop_bits=2&parity=N&baud=9600",
         "baud=9600&parity=N&stop_bits=2&data_bits=8"),
        ("modbus-ascii:///dev/ttyS0", "baud=19200&parity=E&stop_bits=1&data_bits=7"),
        ("modbus-ascii:///dev/ttyS0?data_bits=8", "baud=19200&parity=E&stop_bits=1&data_bits=8"),
    ],
)  # fmt: skip
def test_addresses_that_mean_one_port_name_one_line(url: str, whole: str) -> None:
    scheme = url.partition(":")[0]
    assert line_of(url) == f"{scheme}:///dev/ttyS0?{whole}"
    assert line_of(line_of(url)) == line_of(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("modbus-rtu://dev/ttyS0", "not the address of a serial line"),
        ("modbus-rtu://127.0.0.1:502", "not the address of a serial line"),
        ("modbus-rtu:ttyS0", "not the address of a serial line"),
        ("modbus-rtu:///", "not the address of a serial line"),
        ("modbus-rtu:///dev/", "not the address of a serial line"),
        ("modbus-rtu:///dev/tty S0", "not the address of a serial line"),
        ("modbus-rtu:///dev/tty%53", "not the address of a serial line"),
        ("modbus-rtu:///dev/ttyS0#x", "not the address of a serial line"),
        ("modbus-rtu:///dev/ttyS0?baud", "is not an address"),
        ("modbus-rtu:///dev/ttyS0?baud=", "has baud ''; use one of: 1200, 2400"),
        ("modbus-rtu:///dev/ttyS0?baud=9601", "has baud '9601'; use one of: 1200, 2400"),
        ("modbus-rtu:///dev/ttyS0?baud=9600&baud=9600", "says 'baud' twice"),
        ("modbus-rtu:///dev/ttyS0?parity=even", "has parity 'even'; use one of: N, E, O"),
        ("modbus-rtu:///dev/ttyS0?stop_bits=1.5", "has stop_bits '1.5'; use one of: 1, 2"),
        ("modbus-rtu:///dev/ttyS0?data_bits=7", "7 data bits; RTU needs all 8"),
        ("modbus-rtu:///dev/ttyS0?speed=9600", "has 'speed'; a serial line has baud, parity"),
        ("modbus-rtu-tcp://h/dev/ttyS0", "not the address of a line"),
        ("modbus-rtu-tcp://h?baud=9600", "not the address of a line"),
    ],
)
def test_an_address_that_is_none_is_told_with_an_example(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match="Write it as") as caught:
        line_of(url)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("look", "byte_s", "silence_s"),
    [
        ("baud=9600&parity=N&stop_bits=1", 10 / 9600, 35 / 9600),
        ("baud=9600&parity=E&stop_bits=1", 11 / 9600, 38.5 / 9600),
        ("baud=19200&parity=N&stop_bits=2", 11 / 19200, 38.5 / 19200),
        ("baud=38400&parity=N&stop_bits=1", 10 / 38400, 0.00175),
        ("baud=115200&parity=N&stop_bits=1", 10 / 115200, 0.00175),
    ],
)
def test_the_silence_is_three_and_a_half_characters_and_never_under_1_75_ms(
    look: str, byte_s: float, silence_s: float
) -> None:
    settings = settings_of(f"modbus-rtu:///dev/x?{look}")

    assert settings.byte_s == pytest.approx(byte_s)
    assert settings.silence_s == pytest.approx(silence_s)


async def test_questions_are_parted_by_silence() -> None:
    """Timed at the far end, from what was said there to the first byte of the next question."""
    loop = asyncio.get_running_loop()
    said_s: list[float] = []
    parted_s: list[float] = []

    def heard(data: bytes) -> None:
        if said_s:
            parted_s.append(loop.time() - said_s[-1])
        say(reply(data))
        said_s.append(loop.time())

    async with bus(heard) as (say, path):
        look = "?baud=1200&parity=N&stop_bits=1"
        driver = await modbus_rtu.connect(f"modbus-rtu://{path}{look}", timeout_s=5.0)
        await driver.read(1, [TWO_WORDS] * 4)
        await driver.close()

    assert len(parted_s) == 3
    assert min(parted_s) >= 3.5 * 10 / 1200


async def test_bytes_nobody_asked_for_are_thrown_away_and_waited_out() -> None:
    def heard(data: bytes) -> None:
        requests.append(data)
        say(reply(data))

    requests: list[bytes] = []
    async with bus(heard) as (say, path):
        driver = await modbus_rtu.connect(f"modbus-rtu://{path}{LOOK}", timeout_s=5.0)
        await driver.read(1, [TWO_WORDS])
        say(reply(requests[0], b"\0\7\0\7"))
        [response] = await driver.read(1, [TWO_WORDS])
        await driver.close()

    assert response.data == bytes.fromhex("00100011")


async def test_a_line_that_is_never_silent_is_told_and_not_asked() -> None:
    loop = asyncio.get_running_loop()
    heard: list[bytes] = []
    is_over = False

    def babble() -> None:
        if not is_over:
            say(b"\x55")
            loop.call_later(0.002, babble)

    async with bus(heard.append) as (say, path):
        look = "?baud=1200&parity=N&stop_bits=1"
        driver = await modbus_rtu.connect(f"modbus-rtu://{path}{look}", timeout_s=5.0)
        babble()
        with pytest.raises(DeviceError, match="was not silent") as caught:
            await driver.read(1, [TWO_WORDS], timeout_s=0.05)
        is_over = True
        await driver.close()

    assert caught.value.code == "bad_reply"
    assert not heard


async def test_devices_of_one_port_share_it() -> None:
    async with over_wire(truth) as served:
        devices = [
            PlannedDevice(f"unit-{unit}", served.url, unit, 1_000_000, (TWO_WORDS,), 5.0)
            for unit in (1, 2, 3)
        ]
        lines = Lines(devices)
        for device in devices:
            assert (await lines.of(device).read(device))[0].data == bytes.fromhex("00100011")
        assert len({id(lines.of(device)) for device in devices}) == 1
        await lines.close()

    assert [request[0] for request in served.requests] == [1, 2, 3]


async def test_the_port_is_raw_and_as_the_address_says_and_ours_alone() -> None:
    with terminal() as (_, path):
        look = "?baud=38400&parity=N&stop_bits=2"
        url = f"modbus-rtu://{path}{look}"
        driver = await modbus_rtu.connect(url, timeout_s=5.0)
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY) if os.geteuid() == 0 else None
        with pytest.raises(DeviceError, match="used by another program") as caught:
            await modbus_rtu.connect(url, timeout_s=5.0)
        if descriptor is not None:  # others may not even open it
            into, out, control, local, *speeds, _ = termios.tcgetattr(descriptor)
            assert (into, out, local) == (0, 0, 0)
            assert speeds == [termios.B38400] * 2
            assert control & termios.CSTOPB
            assert not control & (termios.HUPCL | termios.CRTSCTS)
            os.close(descriptor)
        await driver.close()
        again = await modbus_rtu.connect(url, timeout_s=5.0)
        await again.close()

    assert caught.value.code == "refused"


async def test_a_port_another_program_has_locked_is_left_as_it_is() -> None:
    with terminal() as (_, path):
        other = os.open(path, os.O_RDWR | os.O_NOCTTY)
        fcntl.flock(other, fcntl.LOCK_EX)
        before = termios.tcgetattr(other)
        with pytest.raises(DeviceError) as caught:
            await modbus_rtu.connect(f"modbus-rtu://{path}?baud=1200", timeout_s=5.0)
        assert termios.tcgetattr(other) == before
        os.close(other)

    assert caught.value.code == "refused"


async def test_what_is_no_port_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path, said in (
        (file, "is no serial port"),
        (tmp_path, "cannot be opened"),
        (tmp_path / "absent", "No such file"),
    ):
        with pytest.raises(DeviceError, match=said) as caught:
            await modbus_rtu.connect(f"modbus-rtu://{path}", timeout_s=5.0)
        assert caught.value.code == "unreachable"
    assert stat.S_ISREG(file.stat().st_mode)


def test_a_port_that_may_not_be_opened_names_the_group() -> None:
    error = serial_port._unopened("/dev/ttyS0", PermissionError(13, "Permission denied"))

    assert "dialout" in str(error)


async def test_an_adapter_pulled_out_while_an_answer_is_due_is_a_closed_line() -> None:
    master, slave = os.openpty()
    path = os.ttyname(slave)
    os.close(slave)
    driver = await modbus_rtu.connect(f"modbus-rtu://{path}{LOOK}", timeout_s=5.0)
    reading = asyncio.create_task(driver.read(1, [TWO_WORDS]))
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    loop.add_reader(master, asked.set)
    await asked.wait()
    loop.remove_reader(master)
    os.close(master)
    with pytest.raises(DeviceError, match="is gone") as caught:
        await reading
    with pytest.raises(DeviceError, match="is gone"):
        await driver.read(1, [TWO_WORDS])
    await driver.close()

    assert caught.value.code == "closed"
    assert not driver.is_open


async def test_a_question_given_up_leaves_the_line_good_for_the_next() -> None:
    asked = asyncio.Event()

    def respond(request: bytes) -> list[bytes]:
        asked.set()
        return [reply(request)] if len(served.requests) > 1 else []

    async with over_wire(respond) as served:
        driver = await modbus_rtu.connect(served.url, timeout_s=5.0)
        reading = asyncio.create_task(driver.read(1, [TWO_WORDS]))
        await asked.wait()
        with pytest.raises(RuntimeError, match="another waits"):
            await driver.read(2, [TWO_WORDS])
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert (await driver.read(1, [TWO_WORDS]))[0].data == bytes.fromhex("00100011")
        await driver.close()

    assert [request[5] for request in served.requests] == [2, 1, 2], "the given up answer is owed"
