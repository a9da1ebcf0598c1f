"""`agent check` and `agent read` speak of a device in the words of its protocol."""

import asyncio
import json
import re
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from joulemark_agent import cli
from support.modbus import REQUEST, Connection, peer, refusal, reply
from support.opcua import URI, relayed
from support.sites import HEAD
from support.units import Device, modbus_tcp

PROFILE = f"""model: furnace
kind: furnace
protocol: opcua
source: made up by a test
confidence: bench
synthetic: true
points:
  - {{name: temperature_k, node: "nsu={URI};s=temperature", type: float64}}
  - {{name: door_k, node: "nsu={URI};s=uncertain", type: float64}}
  - {{name: gas_dm3, node: "nsu={URI};s=no gas", type: uint64}}
golden:
  - {{point: temperature_k, data: "010b000000000000f03f", value: 1}}
"""
SITE = (
    HEAD
    + """\
  - {{id: inverter, profile: sunspec_inverter, url: "{sunspec}", unit: 13, period_s: 900}}
  - {{id: furnace, profile: furnace.yaml, url: "{opcua}", period_s: 30}}
"""
)
MODELS = [
    0x5375, 0x6E53, 103, 50, *([0xFFFF] * 12), 11_000, 1, *([0xFFFF] * 36), 160, 28, *([0] * 28),
    0xFFFF, 0,
]  # fmt: skip


def written(folder: Path, **urls: str) -> Path:
    (folder / "furnace.yaml").write_text(PROFILE, "utf-8")
    path = folder / "site.yaml"
    path.write_text(SITE.format(**urls), "utf-8")
    return path


async def inverter(connection: Connection, request: bytes) -> None:
    *_, address, count = REQUEST.unpack(request)
    held = MODELS[address - 40_000 : address - 40_000 + count] if address >= 40_000 else []
    if len(held) < count:
        await connection.say(refusal(request, 2))
    else:
        await connection.say(reply(request, struct.pack(f">{count}H", *held)))


@pytest_asyncio.fixture
async def hall(tmp_path: Path, opcua_plant: int) -> AsyncIterator[Path]:
    """The site file of an inverter and a furnace that answer."""
    async with peer(inverter) as served, relayed(opcua_plant) as relay:
        sunspec = f"sunspec-tcp://127.0.0.1:{served.port}"
        yield written(tmp_path, sunspec=sunspec, opcua=relay.url)


def test_the_plan_names_models_and_variables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, sunspec="sunspec-tcp://192.0.2.1", opcua="opc.tcp://192.0.2.2/plant")
    code = cli.main(["agent", "check", "-c", str(path)])
    out, err = capsys.readouterr()

    assert (code, err) == (0, "")
    assert re.search(
        r"inverter +13 +sunspec_inverter +model 103 \(39 words\), 160 \(22\) +96\n", out
    )
    assert re.search(r"furnace +- +furnace.yaml +3 variables +2880\n", out)
    assert f"  furnace in nsu={URI}: s=temperature, s=uncertain, s=no gas\n" in out
    assert "\nopc.tcp://192.0.2.2:4840/plant\n" in out
    per_day = "2,976 slots, 3,072 requests, 5,856 words, 8,640 variables."
    assert f"2 devices on 2 lines; per day {per_day}" in out


async def test_live_values_show_what_the_server_says_of_them(
    hall: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["agent", "read", "-c", str(hall), "--once"]
    assert await asyncio.to_thread(cli.main, words) == 0
    text = capsys.readouterr().out
    assert await asyncio.to_thread(cli.main, [*words, "--json"]) == 0
    inverter, furnace = json.loads(capsys.readouterr().out)["devices"]

    assert re.search(r"ac_power_w +110000 +W +good +2AF8 0001\n", text)
    assert re.search(r"frequency_hz +- +Hz +sentinel +FFFF FFFF\n", text)
    assert re.search(r"temperature_k +1273.15 +K +good +[0-9A-F]{20,}\n", text)
    assert re.search(r"door_k +1\.5 +K +uncertain 0x40920000 +[0-9A-F]+\n", text)
    assert re.search(r"gas_dm3 +- +dm3 +bad_status 0x80340000 +[0-9A-F]+\n", text)
    assert inverter["points"][0]["raw"] == "2AF8 0001"
    assert "status" not in inverter["points"][0]
    assert {
        key: furnace["points"][1][key] for key in ("value", "quality", "status", "source_time")
    } == {
        "value": "1.5",
        "quality": "uncertain",
        "status": "0x40920000",
        "source_time": "2022-05-09T12:00:30.000+00:00",
    }
    assert furnace["points"][2]["source_time"] is None


def test_the_profiles_are_listed_with_their_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["agent", "profiles"]) == 0
    out = capsys.readouterr().out

    assert re.search(r"sunspec_inverter_poa +pv_inverter +sunspec +11\n", out)
    assert "virtual_production_counter (bench, synthetic): " in out


METER = """model: meter
kind: power_meter
protocol: modbus
source: "made up by a test"
confidence: bench
points:
  - {name: serial_text, table: holding, address: 10, type: string, length: 2}
  - {name: power_w, table: holding, address: 0, type: uint16, scale: 0.1}
  - {name: energy_wh, table: holding, address: 1, type: uint32, counter: true, sentinels: [0]}
"""


async def test_what_was_read_becomes_golden_rows_that_the_check_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meter = Device(holding={**dict.fromkeys(range(14), 0), 0: 12_345, 10: 0x4142, 11: 0x4300})
    async with modbus_tcp({1: meter}) as line:
        device = f'{{id: m, profile: meter.yaml, url: "modbus-tcp://127.0.0.1:{line.port}", unit: 1'
        site = SITE.format(sunspec="", opcua="").partition("devices:")[0]
        (tmp_path / "site.yaml").write_text(f"{site}devices:\n  - {device}, period_s: 60}}\n")
        (tmp_path / "meter.yaml").write_text(METER)
        words = ["agent", "check", "-c", str(tmp_path / "site.yaml")]
        assert cli.main(words) == 0
        assert "note: meter.yaml has no golden words." in capsys.readouterr().out
        read = ["agent", "read", "-c", str(tmp_path / "site.yaml")]
        assert await asyncio.to_thread(cli.main, [*read, "--once"]) == 0
        assert re.search(r"serial_text +ABC +text +4142 4300", capsys.readouterr().out)
        assert await asyncio.to_thread(cli.main, [*read, "--golden"]) == 0
    rows = capsys.readouterr().out

    assert "  - {point: power_w, words: [0x3039], value: 1234.5}" in rows
    assert "  - {point: energy_wh, words: [0x0000, 0x0000], value: null}" in rows
    (tmp_path / "meter.yaml").write_text(METER + rows)
    assert cli.main(words) == 0
    assert "note:" not in capsys.readouterr().out
    (tmp_path / "meter.yaml").write_text(METER.replace("scale: 0.1", "scale: 1") + rows)
    assert cli.main(words) == 2
    assert "the words of power_w are 12345, not 1234.5" in capsys.readouterr().err


async def test_a_scan_looks_through_an_opc_ua_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], opcua_plant: int
) -> None:
    out = tmp_path / "made.yaml"
    url = f"opc.tcp://127.0.0.1:{opcua_plant}"
    assert await asyncio.to_thread(cli.main, ["agent", "scan", url, "--profile", str(out)]) == 0
    text = capsys.readouterr().out

    assert f"profile: {out}, period_s: 60" in text
    assert max(map(len, text.replace(str(tmp_path), "").splitlines())) <= 80
    assert out.read_text().startswith("# Proposed by 'joulemark agent scan'")


SLOW_METER = """model: meter
kind: power_meter
protocol: modbus
source: made up by a test
confidence: bench
serial: {baud: 9600, parity: none, stop_bits: 1}
points:
  - {name: power_w, table: holding, address: 0, type: uint16}
  - {name: energy_wh, table: holding, address: 20, type: uint32, counter: true, every_s: 60}
golden:
  - {point: power_w, words: [1], value: 1}
"""


@pytest.mark.parametrize("baud", [9600, 19_200])
def test_check_shows_what_is_read_more_rarely_and_a_port_that_is_set_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], baud: int
) -> None:
    (tmp_path / "meter.yaml").write_text(SLOW_METER, "utf-8")
    head = SITE.partition("  - ")[0].replace("{{", "{").replace("}}", "}")
    url = f"modbus-rtu:///dev/ttyUSB0?baud={baud}&parity=N&stop_bits=1"
    row = f'  - {{id: meter, profile: meter.yaml, url: "{url}", unit: 1, period_s: 10}}\n'
    (tmp_path / "site.yaml").write_text(head + row, "utf-8")

    assert cli.main(["agent", "check", "-c", str(tmp_path / "site.yaml")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "meter.yaml holding 0..0 8640" in said
    assert (
        "meter every 60 s: holding 0..21" if baud == 19_200 else "holding 0..0, holding"
    ) in said
    slow, fast = 8640 // 6, 8640 - 8640 // 6
    requests, words = (8640, slow * 22 + fast) if baud == 19_200 else (8640 + slow, 8640 + 2 * slow)
    assert f"8,640 slots, {requests:,} requests, {words:,} words" in said
    is_told = "leaves the factory with baud=9600, parity=N, stop_bits=1, and the address says"
    assert (is_told in said) == (baud == 19_200)
