"""Nothing but reading leaves for a machine: seen on the socket, in every process of the tests."""

import ast
import asyncio
import os
import socket
import ssl
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from joulemark_agent import exchange, serial_port
from joulemark_agent.contract.errors import DeviceError
from nightly import no_writes
from support import leaving
from support.bus import LOOK, ascii_of, rtu, terminal
from support.child import search_path
from support.tcp import serving

AGENT = Path(exchange.__file__).parent
WRITES = {
    "tcp: one register": bytes.fromhex("000100000006010600000001"),
    "tcp: one coil": bytes.fromhex("00010000000601050000ff00"),
    "tcp: several registers": bytes.fromhex("0001000000090110000000010200ff"),
    "tcp: diagnostics": bytes.fromhex("000100000006010800010000"),
    "rtu: one register": rtu(1, 6, 0, 0, 0, 1),
    "rtu: a mask that looks like Modbus TCP": rtu(1, 22, 0, 0, 0, 4, 0, 3),
    "ascii: one register": ascii_of(rtu(1, 6, 0, 0, 0, 1)),
    "tcp: a write that begins like JSON": bytes.fromhex("7b2200000006010600000001"),
    "tcp: a write after a read": bytes.fromhex("000100000006010300000001000200000006010600000001"),
    "tcp: half a write": bytes.fromhex("00010000000601060000"),
    "http: a page with a query": b"GET /?valve=1 HTTP/1.1\r\nHost: h\r\n\r\n",
    "http: another question": b'POST /json.json HTTP/1.1\r\nHost: h\r\n\r\n{"0":1,"1":3}',
    "opcua: Write, its node in another form": (
        b"MSGF" + bytes([40, 0, 0, 0]) + bytes(16) + b"\x02\0\0\xa1\x02\0\0" + bytes(9)
    ),
    "opcua: Write after Read": (
        b"MSGF" + bytes([40, 0, 0, 0]) + bytes(16) + b"\x01\0\x77\x02" + bytes(12)
    )
    + (b"MSGF" + bytes([40, 0, 0, 0]) + bytes(16) + b"\x01\0\xa1\x02" + bytes(12)),
    "opcua: Write": b"MSGF" + bytes([40, 0, 0, 0]) + bytes(16) + b"\x01\0\xa1\x02" + bytes(12),
    "opcua: Call": b"MSGF" + bytes([40, 0, 0, 0]) + bytes(16) + b"\x01\0\xc8\x02" + bytes(12),
}
READS = {
    "tcp": bytes.fromhex("000100000006010300000001"),
    "tcp: like JSON": bytes.fromhex("7b2200000006010300000001"),
    "tcp: like ASCII": bytes.fromhex("3a3000000006010400000001"),
    "tcp: device identification": bytes.fromhex("000100000005012b0e0100"),
    "rtu": rtu(1, 4, 0, 0, 0, 1),
    "opcua: Read": b"MSGF" + bytes([40, 0, 0, 0]) + bytes(16) + b"\x01\0\x77\x02" + bytes(12),
}


async def ask(question: bytes) -> list[bytes]:
    """What a machine hears of a question that our own code sends."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            heard.append(data)
            writer.write(b"x")

    async with serving(serve) as port:
        opened = await exchange.connect("127.0.0.1", port, timeout_s=5.0)
        try:
            await opened.ask(question, lambda answer: answer, timeout_s=5.0)
        finally:
            await opened.close()
    return heard


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_planted_write_is_refused_before_it_leaves(name: str) -> None:
    with leaving.planting() as refused, pytest.raises((DeviceError, leaving.LeftError)):
        await ask(WRITES[name])

    assert len(refused) == 1
    assert WRITES[name][:8].hex(" ") in refused[0]


@pytest.mark.parametrize("name", READS)
async def test_reading_leaves_and_is_counted(name: str) -> None:
    before = leaving.said.total()

    assert await ask(READS[name]) == [READS[name]]
    assert leaving.said.total() == before + 1


async def test_a_planted_write_on_a_serial_line_is_refused_too() -> None:
    with terminal() as (_, path), leaving.planting() as refused:
        settings = serial_port.settings_of(f"modbus-rtu://{path}{LOOK}")
        line = await serial_port.connect(settings)
        with pytest.raises(leaving.LeftError):
            await line.ask(rtu(1, 6, 0, 0, 0, 1), lambda answer: answer, timeout_s=1.0)
        await line.close()

    assert len(refused) == 1


def as_the_agent(code: str, **given: Any) -> None:
    """Run code as if it stood in a driver of the agent."""
    exec(code, {"__name__": "joulemark_agent.drivers.another", **given})


@pytest.mark.parametrize(
    "code",
    [
        "one.send(write)", "one.sendall(write)", "one.sendmsg([write[:5], write[5:]])",
        "os.write(fd, write)", "os.writev(fd, [write[:5], write[5:]])",
        "tls.write(write)", "udp.sendto(write, udp.getsockname())",
    ],
)  # fmt: skip
async def test_a_driver_of_its_own_way_is_looked_at_as_well(code: str) -> None:
    write = WRITES["tcp: one register"]
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as server,
        closing(socket.create_connection(server.getsockname())) as one,
        closing(socket.socket(type=socket.SOCK_DGRAM)) as udp,
        terminal() as (fd, _),
    ):
        udp.bind(("127.0.0.1", 0))
        tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
        with leaving.planting() as refused, pytest.raises(leaving.LeftError):
            as_the_agent(code, one=one, os=os, fd=fd, tls=tls, udp=udp, write=write)

    assert len(refused) == 1


async def test_a_stock_client_in_a_driver_would_be_refused() -> None:
    from pymodbus.client import ModbusTcpClient  # noqa: PLC0415 - the control

    async with serving(lambda *_: asyncio.sleep(60)) as port:
        with (
            closing(ModbusTcpClient("127.0.0.1", port=port, retries=0)) as client,
            leaving.planting() as refused,
        ):
            client.connect()
            with pytest.raises(leaving.LeftError):
                as_the_agent("client.write_register(0, 1, device_id=1)", client=client)

    assert len(refused) == 1


def test_what_is_no_word_to_a_machine_is_not_judged(tmp_path: Path) -> None:
    here, there = socket.socketpair()
    with closing(here), closing(there), (tmp_path / "file").open("wb") as file:
        as_the_agent(
            "here.send(b'wake up'); os.write(fd, b'kept')", here=here, os=os, fd=file.fileno()
        )
        assert there.recv(100) == b"wake up"


PLANTED = """
import asyncio
from joulemark_agent import exchange
async def main():
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    opened = await exchange.connect("127.0.0.1", port, timeout_s=5.0)
    await opened.ask(bytes.fromhex("000100000006010600000001"), lambda a: a, timeout_s=5.0)
asyncio.run(main())
"""


def test_a_process_that_a_test_starts_is_looked_at_as_well(tmp_path: Path) -> None:
    words = {**os.environ, "PYTHONPATH": search_path(), leaving.FOLDER: str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PLANTED], env=words, capture_output=True, text=True, check=False
    )

    said, refused = leaving.report(tmp_path)
    assert done.returncode
    assert said == {"Modbus tcp 6": 1}
    assert len(refused) == 1


def test_a_run_in_which_a_write_was_about_to_leave_fails(tmp_path: Path) -> None:
    """Though each of its tests has passed; one plants it itself, one in a process."""
    planted = Path(__file__).parents[1] / "data/planted_write.py"
    words = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider",
             f"--basetemp={tmp_path / 'run'}", str(planted)]  # fmt: skip
    done = subprocess.run(
        words, cwd=planted.parents[2], capture_output=True, text=True, check=False
    )

    assert "2 passed" in done.stdout
    assert done.stdout.partition("NOT READING: ")[2].count("Modbus tcp 6") == 2
    assert done.returncode == 1


TALKING = {
    "create_connection", "open_connection", "create_datagram_endpoint", "create_unix_connection",
    "open_unix_connection", "sendto", "sendall", "send", "sendmsg", "sock_sendall", "sock_connect",
    "urlopen", "Popen", "create_subprocess_exec", "create_subprocess_shell", "HTTPSConnection",
}  # fmt: skip
MAY_TALK = {
    "exchange.py": "machines", "serial_port.py": "machines", "mqtt.py": "the broker",
    "enrolment.py": "the collector", "watchdog.py": "systemd",
    "raw_requests.py": "the collector: it hands an answer to the uplink",
    "http.py": "nobody: h11 makes bytes of what is sent to it",
}  # fmt: skip


def talking(path: Path) -> list[str]:
    """The calls of a file that could send something."""
    return [
        f"{path.relative_to(AGENT)}:{node.lineno} {ast.unparse(node.func)}"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and (name := ast.unparse(node.func))
        and (name.rpartition(".")[2] in TALKING or name == "os.write")
    ]


def test_only_the_two_exchanges_talk_to_machines() -> None:
    """And nothing else talks to anybody, unless it is said here to whom."""
    found = {
        path.relative_to(AGENT).as_posix(): calls
        for path in sorted(AGENT.rglob("*.py"))
        if "simulate" not in path.parts and (calls := talking(path))
    }

    assert "exchange.py" in found
    assert "serial_port.py" in found
    strangers = set(found) - set(MAY_TALK)
    assert not strangers, [found[name] for name in strangers]


@pytest.mark.endurance
def test_what_leaves_for_a_misbehaving_factory_only_reads_and_planted_writes_are_refused() -> None:
    figures = no_writes.run(1, full=False)

    assert figures["not reading"] == "0"
    assert figures["controls refused"].count(",") == 13


def test_a_locked_channel_hides_nothing_of_the_connection_after_it() -> None:
    """What cannot be read is let through on its own connection only."""
    policy = b"http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256"
    head = bytes(4) + len(policy).to_bytes(4, "little") + policy
    opening = b"OPNF" + (8 + len(head)).to_bytes(4, "little") + head
    write = WRITES["opcua: Write"]

    assert leaving.kinds_of(opening, "here 4840, there 1") == [("OPC UA OpenSecureChannel", True)]
    assert leaving.kinds_of(write, "here 4840, there 1") == [("OPC UA secured", True)]
    assert [may for _, may in leaving.kinds_of(write, "here 4840, there 2")] == [False]


def test_a_text_that_ends_in_its_own_crc_is_still_a_text() -> None:
    """Of 65,536 messages one does, and a run has many more."""
    question = b'{"committed_us":null,"go_us":325792}\n'

    assert leaving.crc(question[:-2]) == question[-2:]
    assert leaving.kinds_of(question) == [("replay clock", True)]
