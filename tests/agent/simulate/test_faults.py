"""Faults come from data and a seed, are met as written, and are all told."""

import asyncio
import json
import random
import re
import signal
import socket
import struct
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from joulemark_agent.contract.document import document_bytes, parse_yaml
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import Point
from joulemark_agent.simulate.devices import Devices, modulus
from joulemark_agent.simulate.faults import (
    OPCUA,
    VALUE,
    WIRE,
    Fault,
    Faults,
    segments,
    spoiled_pdu,
)
from joulemark_agent.simulate.run import factory_of, serve
from joulemark_agent.simulate.scenario import DevicesScenario, load_any_scenario
from nightly import faults as nightly
from support.leaving import crc

SHIPPED = load_any_scenario("faults")
assert isinstance(SHIPPED, DevicesScenario)


def with_faults(*plan: dict[str, Any], **changed: Any) -> DevicesScenario:
    """A meter, an inverter and a furnace controller, with faults."""
    assert isinstance(SHIPPED, DevicesScenario)
    units = changed.pop("units", {1, 6, 9})
    devices = tuple(device for device in SHIPPED.devices if device.unit in units)
    given = Faults(seed=1, plan=tuple(Fault(**fault) for fault in plan))
    return SHIPPED.model_copy(
        update={"devices": devices, "furnace": None, "faults": given, "count": 40, **changed}
    )


@pytest.mark.endurance
def test_every_fault_is_recorded_as_what_it_is_and_no_value_is_wrong() -> None:
    """The control, stock pymodbus, hands over wrong values, or this raises."""
    figures = nightly.run(1, full=False)

    assert figures["wrong values"] == "0"
    assert figures["faults not recorded with their code"] == "0"
    assert figures["gaps without a fault"] == "0"


def test_a_seed_says_when_a_fault_comes_and_another_seed_says_otherwise() -> None:
    fault = Fault(unit=1, kind="dead", first=100, count=4000, probability=Decimal("0.25"))
    drawn = {seed: [n for n in range(5000) if fault.holds(seed, n)] for seed in (1, 2)}

    assert drawn[1] == [n for n in range(5000) if fault.holds(1, n)]
    assert drawn[1] != drawn[2]
    assert 900 < len(drawn[1]) < 1100
    assert (min(drawn[1]) >= 100, max(drawn[1]) < 4100) == (True, True)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"unit": 1, "kind": "exception", "first": 1}, "exception needs 'code'"),
        ({"unit": 1, "kind": "dead", "first": 1, "code": 2}, "dead has no 'code'"),
        ({"unit": 1, "kind": "late", "first": 1}, "late needs 'delay_s'"),
        ({"unit": 1, "kind": "sentinel", "first": 1}, "sentinel needs 'point'"),
        ({"kind": "dead", "first": 1}, "dead is of a unit"),
        ({"unit": 1, "kind": "opcua_restart", "first": 1}, "opcua_restart is of the furnace"),
        ({"unit": 1, "kind": "rollover", "first": 1, "count": 2, "point": "x"}, "happens once"),
        ({"kind": "shrunk", "first": 1, "point": "x", "by": "second"}, "counted by slot"),
        ({"unit": 1, "kind": "asleep", "first": 1}, "Input should be"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Fault(**wrong)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda m: m["devices"].append({"unit": 1, "profile": "sungrow_sg"}), "one unit number"),
        (lambda m: m["faults"]["plan"].append({"unit": 99, "kind": "dead", "first": 1}), r"\[99\]"),
        (lambda m: m.pop("furnace"), "needs a 'furnace'"),
        (lambda m: m.update(period_s=7), "multiple of period_s"),
        (lambda m: m.update(synthetic=False), "synthetic"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_with_its_line(
    tmp_path: Path, change: Any, why: str
) -> None:
    mapping = parse_yaml(shipped_text(), "faults.yaml").mapping
    change(mapping)
    path = tmp_path / "faults.yaml"
    path.write_bytes(document_bytes(mapping))
    with pytest.raises(ConfigError, match=why):
        load_any_scenario(str(path))


def shipped_text() -> str:
    from joulemark_agent import simulate  # noqa: PLC0415 - only for its folder

    return (Path(simulate.__file__).parent / "scenarios/faults.yaml").read_text("utf-8")


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"kind": "false_zero", "point": "power_w"}, "no counter of eastron_sdm630"),
        ({"kind": "sentinel", "point": "nothing_w"}, "'nothing_w', which is no point"),
    ],
)
def test_a_fault_of_a_point_that_is_not_there_is_refused(fault: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        factory_of(with_faults({"unit": 1, "first": 3, **fault}))


def test_a_profile_that_is_not_shipped_is_refused() -> None:
    unknown = with_faults().devices[0].model_copy(update={"profile": "acme"})
    with pytest.raises(ConfigError, match="no device profile called 'acme'"):
        factory_of(with_faults(devices=(unknown,)))


def values_of(devices: Devices, unit: int, point: str) -> list[Decimal]:
    return [devices.shown(unit, slot).values[point] for slot in range(10)]


def test_counters_reset_run_over_and_show_a_false_zero_as_written() -> None:
    plain = values_of(factory_of(with_faults()), 6, "generated_wh")
    kinds = ("counter_reset", "rollover", "false_zero")
    shown = {
        kind: values_of(
            factory_of(with_faults({"unit": 6, "kind": kind, "first": 5, "point": "generated_wh"})),
            6,
            "generated_wh",
        )
        for kind in kinds
    }
    steps = [after - before for before, after in pairwise(plain)]
    point = factory_of(with_faults()).profiles[6].point("generated_wh")
    assert isinstance(point, Point)
    top = modulus(point)

    assert plain == sorted(plain)
    assert shown["counter_reset"][:5] == plain[:5]
    assert shown["counter_reset"][5:] == [sum(steps[5:n], Decimal(0)) for n in range(5, 10)]
    assert shown["rollover"][4] == top - steps[4]
    assert shown["rollover"][5:] == shown["counter_reset"][5:]
    assert shown["false_zero"] == [*plain[:5], Decimal(0), *plain[6:]]


def test_a_counter_that_will_run_over_never_stands_at_its_top() -> None:
    """However little is left until then."""
    fault = {"unit": 6, "kind": "rollover", "first": 5000, "point": "generated_wh"}
    scenario = with_faults(fault, count=5100, period_s=1)
    devices = factory_of(scenario)
    point = devices.profiles[6].point("generated_wh")
    assert isinstance(point, Point)
    for slot in range(4700, 5001):
        devices.shown(6, slot)


def test_a_spoiled_reply_is_wrong_in_one_thing_only() -> None:
    good = bytes((3, 4)) + bytes.fromhex("00010002")

    assert spoiled_pdu("short", good) == bytes.fromhex("03020001")
    assert spoiled_pdu("long", good) == bytes.fromhex("0306000100020007")
    assert spoiled_pdu("wrong_function", good) == bytes.fromhex("040400010002")
    assert spoiled_pdu("exception", good, 6) == bytes.fromhex("8306")
    assert spoiled_pdu("short", b"\x83\x02") == b"\x83\x02"
    assert segments("drip_fed", b"abc") == [b"a", b"b", b"c"]
    assert segments("two_answers", b"abc") == [b"abcabc"]
    assert segments("garbage_prefix", b"abc") == [b"\xde\xadabc"]


ASK = bytes.fromhex("000700000006010400340002")  # unit 1, input 52 and 53


async def answered(
    kind: str, *, is_rtu: bool = False, size: int = 13, **more: Any
) -> tuple[bytes, list[Any]]:
    """What a client that asks once at slot 0 gets, and what was injected; size 0: it gets none."""
    scenario = with_faults({"unit": 1, "kind": kind, "first": 0, **more})
    async with await serve(scenario, modbus_port=0, control_port=0) as simulation:
        port = simulation.rtu_port if is_rtu else simulation.modbus_port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = ASK[6:]
        writer.write(body + crc(body) if is_rtu else ASK)
        got = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(5 if size else 0.05):
                got = await (reader.readexactly(size) if size else reader.read())
        writer.close()
        await writer.wait_closed()
        return got, simulation.record.all()


async def test_what_a_device_does_on_the_wire_is_what_is_told() -> None:
    good, nothing = await answered("wrong_transaction", is_rtu=True, size=9)
    assert nothing == []  # RTU has no transaction to be wrong
    assert crc(good[:-2]) == good[-2:]
    wrong, told = await answered("crc", is_rtu=True, size=9)
    assert (wrong[:-2], wrong[-2] ^ 1) == (good[:-2], good[-2])
    assert [one["kind"] for one in told] == ["crc"]

    tcp, nothing = await answered("crc")
    assert nothing == []  # Modbus TCP has no CRC
    assert tcp[7:] == good[1:-2]
    assert (await answered("dead", size=0))[0] == b""
    assert (await answered("closed", size=0))[0] == b""
    assert (await answered("drip_fed"))[0] == tcp
    assert (await answered("slow", delay_s=Decimal("0.02")))[0] == tcp
    assert (await answered("wrong_unit"))[0] == tcp[:6] + b"\x02" + tcp[7:]
    assert (await answered("wrong_transaction"))[0] == b"\x00\x08" + tcp[2:]
    assert (await answered("exception", code=5, size=9))[0][7:] == b"\x84\x05"
    assert (await answered("two_answers", size=26))[0] == tcp * 2
    late, told = await answered("late", delay_s=Decimal("0.05"))
    assert late == tcp
    assert Counter(one["kind"] for one in told) == {"late": 1, "late_answer": 1}


async def test_garbage_on_the_line_is_forgotten_and_a_stranger_is_not_answered() -> None:
    scenario = with_faults()
    async with await serve(scenario, modbus_port=0, control_port=0) as simulation:
        reader, writer = await asyncio.open_connection("127.0.0.1", simulation.rtu_port)
        body = ASK[6:]
        writer.write(random.Random(1).randbytes(300))
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(b"\x63" + body[1:] + crc(b"\x63" + body[1:]))  # unit 99: silence
        writer.write(bytes.fromhex("010600000001") + crc(bytes.fromhex("010600000001")))
        async with asyncio.timeout(5):
            assert (await reader.readexactly(5))[:3] == bytes.fromhex("018601")
            writer.write(body + crc(body))
            assert (await reader.readexactly(9))[:3] == bytes.fromhex("010404")
        writer.close()
        await writer.wait_closed()
        reader, writer = await asyncio.open_connection("127.0.0.1", simulation.modbus_port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_in_real_time_the_first_slot_is_now() -> None:
    scenario = with_faults({"unit": 1, "kind": "exception", "code": 6, "first": 0, "by": "second",
                            "count": 100})  # fmt: skip
    async with await serve(
        scenario, modbus_port=0, control_port=0, is_real_time=True
    ) as simulation:
        reader, writer = await asyncio.open_connection("127.0.0.1", simulation.modbus_port)
        writer.write(ASK)
        async with asyncio.timeout(5):
            assert (await reader.readexactly(9))[7:] == b"\x84\x06"
        writer.close()
        await writer.wait_closed()
        [told] = simulation.record.all()
    assert (told["slot"], told["code"]) == (0, 6)


def test_the_command_serves_it_and_tells_at_its_end_what_was_met(tmp_path: Path) -> None:
    mapping = parse_yaml(shipped_text(), "faults.yaml").mapping
    plan = [{"unit": 1, "kind": "dead", "first": 0}, {"unit": 2, "kind": "short", "first": 0}]
    mapping |= {"faults": {"seed": 1, "plan": plan}}
    del mapping["furnace"]
    path = tmp_path / "mine.yaml"
    path.write_bytes(document_bytes(mapping))
    start = partial(
        subprocess.Popen, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    ports = [word for name in ("modbus", "rtu", "opcua", "control") for word in
             (f"--{name}-port", "0")]  # fmt: skip
    base = [sys.executable, "-W", "error", "-m", "joulemark_agent.cli", "agent", "simulate", "-c",
            str(path), *ports]  # fmt: skip
    with start([*base, "--json"]) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", ready["modbus_port"])) as line:
            line.sendall(ASK)
            line.sendall(ASK[:6] + b"\x02" + struct.pack(">BHH", 3, 3203, 4))
            assert line.recv(100)[6:9] == b"\x02\x03\x06"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=10)

    assert process.returncode == 0
    assert ready["synthetic_units"] == [*range(1, 11)]
    met = {(one["unit"], one["kind"]) for one in json.loads(out)["injected"]}
    assert met == {(1, "dead"), (2, "short")}


def test_the_page_says_what_every_kind_does_and_its_examples_load(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/simulator.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for kind in WIRE | VALUE | OPCUA:
        assert any(f"`{kind}`" in row.split("|")[1] for row in rows), kind
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    path = tmp_path / "mine.yaml"
    path.write_text("".join(examples), "utf-8")
    scenario = load_any_scenario(str(path))
    assert isinstance(scenario, DevicesScenario)
    factory_of(scenario)
    assert len(scenario.faults.plan) == 4
