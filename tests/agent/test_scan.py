"""A scan finds what answers, says what it is, and proposes what `agent check` takes."""

import asyncio
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import joulemark_profiles
from joulemark_agent import cli, scan_report
from joulemark_agent.contract.document import parse_yaml
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import Point, Profile
from joulemark_agent.documents import checked_profile, load_profile
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.lines import Lines
from joulemark_agent.plan import plan_requests
from joulemark_agent.scan import Found, Match, Scan, scan
from joulemark_agent.scan_profile import sunspec_profile
from joulemark_agent.settings import load_site
from nightly import scan_hostile
from support.controllers import Clock, an_elektronikon
from support.sites import HEAD
from support.tcp import serving, turns
from support.units import (
    Device,
    Line,
    common_model,
    floats,
    inverter_model,
    modbus_tcp,
    rtu_over_tcp,
    sunspec_map,
)

TIMEOUT_S = 0.1
READING = {1, 2, 3, 4, 0x2B}
ON = date(2026, 11, 22)
SITE = HEAD.format()


def zeros(first: int, last: int) -> dict[int, int]:
    return dict.fromkeys(range(first, last + 1), 0)


NAMED = Device(holding=zeros(0, 3), says={0: b"Acme", 1: b"PM-9", 2: b"V1", 4: b"Power meter 9"})
INVERTER = Device(holding=sunspec_map(common_model("Acme", "Sun 10"), inverter_model()))


def device_of(profile: Profile) -> Device:
    """A device that holds the golden words of a profile, and what tells its model."""
    tables: dict[str, Any] = {"holding": {}, "input": {}}
    for request in plan_requests(profile):
        tables[request.table] |= zeros(request.address, request.address + request.count - 1)
    for row in reversed(profile.golden):
        point = profile.point(row.point)
        assert isinstance(point, Point)
        if row.value is None or row.value <= 0:
            continue
        places = list(range(point.address, point.end))
        if point.scale_register is not None:
            places.append(point.scale_register.address)
        tables[point.table] |= dict(zip(places, row.words, strict=True))
    for rule in profile.identify:
        if not rule.expected:
            continue
        value = rule.expected[0]
        raw = (
            value.encode().ljust(2 * rule.words, b"\0")
            if isinstance(value, str)
            else int(value).to_bytes(2 * rule.words, "big")
        )
        words = struct.unpack(f">{rule.words}H", raw)
        tables[rule.table] |= dict(zip(range(rule.address, rule.end), words, strict=True))
    return Device(**tables)


async def scanned(
    devices: Mapping[int, Device], units: tuple[int, ...], *, serve: Any = modbus_tcp
) -> tuple[Scan, Line]:
    kind = "modbus-tcp" if serve is modbus_tcp else "modbus-rtu-tcp"
    async with serve(devices) as line:
        result = Scan(f"{kind}://127.0.0.1:{line.port}", units)
        await scan(result, timeout_s=TIMEOUT_S, progress=lambda _: None, pause_s=0.0)
    return result, line


def told(result: Scan) -> str:
    return scan_report.as_text(result, 1.0, {})


IDENTIFIED = [
    name
    for name in joulemark_profiles.names("devices")
    if any(rule.expected for rule in load_profile(name)[0].identify)
]


@pytest.mark.parametrize("name", IDENTIFIED)
async def test_a_device_whose_registers_tell_its_model_is_recognised(name: str) -> None:
    result, _ = await scanned({1: device_of(load_profile(name)[0])}, (1,))

    [found] = result.found
    identified = {match.profile for match in found.matches if match.how == "identified"}
    assert name in identified
    # Others may be told by the same registers: an inverter and the meter behind it.
    rules = load_profile(name)[0].identify
    assert all(load_profile(other)[0].identify == rules for other in identified)


@pytest.mark.parametrize("serve", [modbus_tcp, rtu_over_tcp])
async def test_a_line_of_many_devices_is_told_device_by_device(serve: Any) -> None:
    devices = {2: device_of(load_profile("eastron_sdm630")[0]), 5: NAMED, 9: INVERTER}
    result, line = await scanned(devices, (2, 3, 5, 9), serve=serve)

    assert [found.unit for found in result.found] == [2, 5, 9]
    meter, named, inverter = result.found
    assert meter.best is not None
    assert (meter.best.profile, meter.best.how) == ("eastron_sdm630", "identified")
    assert named.identification == {
        "vendor": "Acme", "product code": "PM-9", "revision": "V1", "product": "Power meter 9",
    }  # fmt: skip
    assert named.matches == []
    assert inverter.models == {1: 66, 103: 50}
    assert inverter.common == {
        "maker": "Acme", "model": "Sun 10", "version": "1.2.3", "serial": "12345678",
    }  # fmt: skip
    assert line.most_open == 1, "one connection at a time"
    assert {request[0] for _, request in line.requests} <= READING
    assert result.questions <= len(line.requests) <= 2 * result.questions


async def test_a_meter_without_such_registers_is_recognised_by_values_that_fit_together() -> None:
    profile, _ = load_profile("siemens_pac2200")
    now = {"voltage_l1_v": 231.0, "voltage_l2_v": 230.0, "voltage_l3_v": 229.0,
           "current_l1_a": 4.0, "current_l2_a": 4.0, "current_l3_a": 4.0, "power_l1_w": 920.0,
           "power_l2_w": 918.0, "power_l3_w": 910.0, "power_w": 2748.0, "frequency_hz": 49.98,
           "power_factor_ratio": 0.99}  # fmt: skip
    held = {p.address: now[p.name] for p in profile.registers if p.name in now}
    meter = Device(holding=zeros(0, 900) | floats(held))
    result, _ = await scanned({1: meter}, (1,))

    [found] = result.found
    assert found.best is not None
    assert (found.best.profile, found.best.certainty) == ("siemens_pac2200", "possible")
    assert found.best.why == (
        "the phases add up, power fits voltage and current, frequency or voltage is that of a grid"
    )


@pytest.mark.parametrize("value", [0, 0xFFFF, 0x4248, 0x1234])
async def test_a_device_that_answers_everything_with_one_word_is_nothing(value: int) -> None:
    same = Device(
        holding=dict.fromkeys(range(0x10000), value), input=dict.fromkeys(range(0x10000), value)
    )
    result, _ = await scanned({1: same}, (1,))

    [found] = result.found
    assert [m.profile for m in found.matches if m.certainty in {"certain", "possible"}] == []


async def test_what_a_scan_makes_of_a_sunspec_map_is_checked_and_read(tmp_path: Path) -> None:
    module = [i * 100 for i in range(1, 3)]
    mppt = [160, 48, 0xFFFE, 0xFFFF, 0, 0, 0, 0, 2, 0]
    for i, amperes in enumerate(module, 1):
        mppt += [i, *([0] * 8), amperes, 3600, amperes * 36 // 10, *([0] * 8)]
    device = Device(holding=sunspec_map(common_model("Acme", "Sun 10"), inverter_model(), mppt))
    async with modbus_tcp({13: device}) as line:
        result = Scan(f"modbus-tcp://127.0.0.1:{line.port}", (13,))
        await scan(result, timeout_s=1.0, progress=lambda _: None, pause_s=0.0)
        [found] = result.found
        made = sunspec_profile(found.models, found.common, found.responses, ON)
        assert made is not None
        (tmp_path / "made.yaml").write_text(made.text)
        lines = scan_report.device_lines(result, {13: "made.yaml"})
        (tmp_path / "site.yaml").write_text(SITE + "\n".join(lines) + "\n")
        assert cli.main(["agent", "check", "-c", str(tmp_path / "site.yaml")]) == 0
        settings = load_site(tmp_path / "site.yaml")
        [planned] = settings.planned_devices()
        read_by = Lines([planned])
        responses = await read_by.of(planned).read(planned)
        await read_by.close()

    assert planned.url == f"sunspec-tcp://127.0.0.1:{line.port}"
    profile, _ = settings.profile(settings.devices[0])
    values, quality = decode_responses(profile, responses)
    assert quality == {}
    assert values["ac_power_w"] == "9200"
    assert values["generated_wh"] == "100000"
    assert values["module_2_dc_current_a"] == "2"
    assert values["module_2_dc_power_w"] == "720"
    assert "# It had no value for: dc_current_a." in made.text
    assert made.name == "acme_sun_10"


@pytest.mark.parametrize("model", [101, 102, 103, 111, 112, 113, 201, 203, 204, 211, 213, 701])
async def test_of_every_model_of_power_a_profile_can_be_made(model: int) -> None:
    from joulemark_agent.sunspec_models import models  # noqa: PLC0415 - only here

    words = models()[model].words
    assert words is not None
    result, _ = await scanned(
        {1: Device(holding=sunspec_map([model, words - 2, *([1] * (words - 2))]))}, (1,)
    )
    [found] = result.found
    made = sunspec_profile(found.models, found.common, found.responses, ON)

    assert made is not None
    profile, _ = checked_profile(parse_yaml(made.text, "made.yaml"))
    assert {"ac_power_w", "power_w"} & {point.name for point in profile.points}


async def test_a_device_that_takes_any_number_is_connected_once() -> None:
    result, _ = await scanned(dict.fromkeys(range(256), INVERTER), tuple(range(1, 13)))
    text = told(result)

    assert "  1-12  Acme Sun 10" in text
    assert "this is one device that takes any\nnumber. Connect it once, as unit 1." in text
    assert [found.like for found in result.found] == [None, *([1] * 11)]


async def test_devices_of_one_model_with_numbers_of_their_own_are_connected_each() -> None:
    devices = {
        unit: Device(
            holding=sunspec_map(common_model("Acme", "Sun 10", f"SN{unit}"), inverter_model(), MPPT)
        )
        for unit in range(1, 13)
    }
    result, _ = await scanned(devices, tuple(range(1, 13)))

    assert len(scan_report.device_lines(result, {})) == 12
    assert "takes any" not in told(result)


MPPT = [160, 28, 0xFFFE, 0xFFFF, 0, 0, 0, 0, 1, 0, *([0] * 9), 333, 3600, 1199, *([0] * 8)]


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (Device(holding=sunspec_map([1, 0xFFFF])), "ends at 105539"),
        (Device(holding=sunspec_map(*([[7, 0]] * 300))), "more than 128 models"),
        (Device(holding=sunspec_map([103, 20, *([0] * 20)])), "model 103 says it has 20 words"),
    ],
)
async def test_a_map_that_cannot_be_is_noted_and_bounded(device: Device, said: str) -> None:
    result, _ = await scanned({1: device}, (1,))

    [found] = result.found
    assert said in " ".join(found.notes)
    assert result.questions < 400


async def test_a_text_of_a_device_moves_no_cursor_and_breaks_no_line() -> None:
    hostile = Device(
        holding=sunspec_map(common_model("\x1b[2J\x07\n", "]0;x" * 8), inverter_model()),
        says={0: b"\x1b]0;owned\x07", 1: b"\xff" * 200, 2: b"a\nb"},
    )
    result, _ = await scanned({1: hostile}, (1,))
    text = told(result)

    assert all(line.isprintable() for line in text.splitlines())
    made = sunspec_profile(
        result.found[0].models, result.found[0].common, result.found[0].responses, ON
    )
    assert made is not None
    assert re.fullmatch(r"[a-z0-9_]+", made.name)
    json.dumps(scan_report.as_mapping(result, 1.0, {}))


async def test_a_gateway_without_the_unit_is_not_a_device() -> None:
    class Nobody(Device):
        def answer(self, pdu: bytes) -> bytes:
            return bytes((pdu[0] | 0x80, 11))

    result, line = await scanned(dict.fromkeys(range(256), Nobody()), tuple(range(1, 31)))

    assert result.found == []
    assert len(line.requests) == 30
    assert "A gateway answers: check speed and parity" in told(result).replace("\n", " ")


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\0", b"{}\n" * 200]
)
async def test_what_does_not_speak_modbus_is_told_in_a_few_questions(said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(said)

    async with serving(serve) as port:
        result = Scan(f"modbus-tcp://127.0.0.1:{port}", tuple(range(1, 31)))
        await scan(result, timeout_s=3 * TIMEOUT_S, progress=lambda _: None, pause_s=0.0)

    assert result.found == []
    assert result.asked == [1, 2, 3]
    assert result.questions == 6
    text = told(result).replace("\n", " ")
    assert "nothing answers as it should" in text
    assert "Under 1-3 something answers that cannot be used: 127.0.0.1" in text
    assert "The scan ended early: what answers does not speak Modbus" in text


async def test_a_device_whose_first_answer_is_spoilt_is_looked_at_all_the_same() -> None:
    class Rough(Device):
        def answer(self, pdu: bytes) -> bytes:
            return b"\x07\x07" if pdu == bytes((3, 0, 0, 0, 1)) else NAMED.answer(pdu)

    result, _ = await scanned({1: Rough(), 2: NAMED}, (1, 2))

    assert [found.identification.get("vendor") for found in result.found] == ["Acme", "Acme"]
    assert result.wrong == {}


@pytest.mark.parametrize("name", ["a, b: {c/x.yaml", 'q"#.yaml', "plain/x-2.yaml"])
def test_the_lines_for_the_site_file_are_yaml_whatever_the_file_is_called(name: str) -> None:
    result = Scan("modbus-tcp://192.0.2.1:502", (1,), found=[Found(1)], asked=[1])
    [line] = scan_report.device_lines(result, {1: name})

    assert parse_yaml(f"devices:\n{line}\n", "site").mapping["devices"][0]["profile"] == name


async def test_a_profile_is_offered_where_one_can_be_made_and_only_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bare = Device(holding=sunspec_map(common_model("Acme", "Sun 10")))
    for device, is_offered in ((bare, False), (INVERTER, True)):
        async with modbus_tcp({1: device}) as line:
            words = ["agent", "scan", f"modbus-tcp://127.0.0.1:{line.port}", "--units", "1"]
            assert await asyncio.to_thread(cli.main, words) == 0
            assert ("--profile OUT.yaml writes" in capsys.readouterr().out) == is_offered
            out = ["--profile", str(tmp_path / f"{is_offered}.yaml")]
            assert await asyncio.to_thread(cli.main, [*words, *out]) == 0
            assert "OUT.yaml" not in capsys.readouterr().out


async def test_a_profile_that_cannot_be_written_costs_no_report(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = Device(holding=sunspec_map(common_model("Acme", "Sun 20"), inverter_model()))
    (tmp_path / "x-2.yaml").write_text("mine")
    async with modbus_tcp({1: INVERTER, 2: other}) as line:
        words = ["agent", "scan", f"modbus-tcp://127.0.0.1:{line.port}", "--units", "1-2"]
        out = ["--profile", str(tmp_path / "x.yaml")]
        assert await asyncio.to_thread(cli.main, [*words, *out]) == 2

    shown = capsys.readouterr()
    assert "x-2.yaml cannot be written: File exists" in shown.err
    assert "Acme Sun 20" in shown.out
    assert f"profile: {tmp_path / 'x.yaml'}, unit: 1" in shown.out
    assert (tmp_path / "x-2.yaml").read_text() == "mine"


async def test_a_connection_that_is_lost_for_good_ends_the_scan_with_what_was_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("joulemark_agent.scan.RECONNECT_S", 0.0)
    async with modbus_tcp({1: NAMED}) as line:
        result = Scan(f"modbus-tcp://127.0.0.1:{line.port}", (1, 2, 3))

        async def last() -> None:
            await scan(result, timeout_s=TIMEOUT_S, progress=shown.append, pause_s=0.0)

        shown: list[str] = []
        task = asyncio.create_task(last())
        while not any(text.startswith("unit 2 ") for text in shown):
            await turns()
        # From here on nobody listens.
    await task

    assert [found.unit for found in result.found] == [1]
    assert "refuses connections" in result.stopped
    assert "The scan ended early" in told(result)


async def test_a_device_that_hangs_up_on_every_question_is_none_and_the_scan_ends() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(12)
        writer.close()

    async with serving(serve) as port:
        result = Scan(f"modbus-tcp://127.0.0.1:{port}", (1, 2))
        await scan(result, timeout_s=TIMEOUT_S, progress=lambda _: None, pause_s=0.0)

    assert result.found == []
    assert result.asked == [1, 2]


async def test_without_a_connection_there_is_an_error_and_no_report() -> None:
    async with serving(lambda *_: asyncio.sleep(0)) as port:
        pass
    with pytest.raises(DeviceError, match="refuses connections"):
        await scan(
            Scan(f"modbus-tcp://127.0.0.1:{port}", (1,)), timeout_s=TIMEOUT_S, progress=print
        )


@pytest.mark.parametrize(
    ("units", "said"),
    [([1], "1"), ([1, 2, 3], "1-3"), ([1, 3, 4, 9], "1, 3-4, 9"), ([], ""), ([255, 1], "1, 255")],
)
def test_numbers_of_units_are_written_as_people_do(units: list[int], said: str) -> None:
    assert scan_report.ranges(units) == said


def test_two_profiles_that_fit_alike_are_not_chosen_between() -> None:
    one = Match("one", "plausible", "the phases add up", 3, 3, evidence=4)
    other = Match("other", "plausible", "the phases add up", 3, 3, evidence=4)
    result = Scan(
        "modbus-tcp://192.0.2.1:502", (1,), found=[Found(1, matches=[one, other])], asked=[1]
    )

    assert scan_report.device_lines(result, {}) == []
    assert "several fit" in told(result)
    assert "the device's type plate decides" in told(result)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["192.0.2.10"], 2, "cannot be scanned. Write SCHEME://HOST:PORT"),
        (["ftp://192.0.2.10"], 2, "the schemes are: modbus-tcp,"),
        (["modbus-tcp://192.0.2.10", "--units", "1-300"], 2, "is no unit: write 1-30"),
        (["modbus-tcp://192.0.2.10", "--units", "x"], 2, "is no unit"),
        (["modbus-tcp://192.0.2.10", "--timeout", "0"], 2, "is not 0.01 to 60"),
        (["modbus-tcp://192.0.2.10", "--timeout", "soon"], 2, "soon is not 0.01 to 60 seconds"),
        (["modbus-rtu:///dev/there-is-none"], 1, "/dev/there-is-none"),
        (["sigma-control-http://192.0.2.21"], 2, "tells nothing without a login"),
        (["elektronikon-http://192.0.2.20", "--profile", "x.yaml"], 2, "no profile is made"),
        (["modbus-tcp://192.0.2.10", "--profile", "made.txt"], 2, "does not end in .yaml"),
        (
            ["modbus-tcp://192.0.2.10", "--profile", "/no/such/made.yaml"],
            2,
            "/no/such is no folder",
        ),
    ],
)
def test_a_wrong_use_is_told(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        found = cli.main(["agent", "scan", *words])
    except SystemExit as error:
        found = int(str(error.code))
    assert found == code
    assert said in capsys.readouterr().err.replace("\n", " ")


async def test_an_elektronikon_is_told_with_its_line_for_the_site_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async with an_elektronikon(Clock()) as (port, _):
        words = ["agent", "scan", f"elektronikon-http://127.0.0.1:{port}"]
        assert await asyncio.to_thread(cli.main, words) == 0
        text = capsys.readouterr().out
        assert await asyncio.to_thread(cli.main, [*words, "--json"]) == 0
        line = json.loads(capsys.readouterr().out)["device_line"]
        (tmp_path / "site.yaml").write_text(f"{SITE}{line}\n")
        assert cli.main(["agent", "check", "-c", str(tmp_path / "site.yaml")]) == 0

    assert line in text
    assert "profile  atlas_copco_elektronikon_mkv, certain: it answers as its own" in text
    assert re.search(r"\d of 10 points good: running_s \d+ s", text.replace("\n           ", " "))


async def test_a_page_for_people_is_no_elektronikon(capsys: pytest.CaptureFixture[str]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")

    async with serving(serve) as port:
        words = ["agent", "scan", f"elektronikon-http://127.0.0.1:{port}"]
        assert await asyncio.to_thread(cli.main, words) == 1
    assert "a page for people" in capsys.readouterr().err


def on_a_terminal(*words: str, stop_at: str = "") -> tuple[int, str]:
    """Exit code and all that was shown; Ctrl-C when `stop_at` has been."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": "80", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "joulemark_agent.cli", "agent", "scan", *words]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:
                break
            if stop_at and stop_at.encode() in shown:
                process.send_signal(signal.SIGINT)
                stop_at = ""
        os.close(ours)
    return process.returncode, shown.decode()


async def test_on_a_terminal_ctrl_c_ends_it_at_once_with_what_was_found() -> None:
    devices = {1: device_of(load_profile("eastron_sdm630")[0])}
    async with modbus_tcp(devices) as line:
        url = f"modbus-tcp://127.0.0.1:{line.port}"
        code, shown = await asyncio.to_thread(
            on_a_terminal, url, "--units", "1-200", "--timeout", "0.5", stop_at="unit 2 (2 of 200)"
        )

    assert code == cli.INTERRUPTED
    assert "\r\x1b[Kunit 2 (2 of 200), 1 found" in shown
    report = shown.rpartition("\x1b[K")[2].replace("\r\n", "\n")
    assert max(map(len, report.splitlines())) <= 80
    # Its golden words are no reading of one instant: what they say does not fit together.
    assert re.search(r"^  1 +- +eastron_sdm630 +doubtful$", report, re.MULTILINE)
    assert "The scan ended early: it was stopped by Ctrl-C." in report
    assert f'     url: "{url}"}}' in report
    assert "Traceback" not in shown


async def test_for_a_program_it_is_one_document_and_the_profiles_are_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made.yaml"
    async with modbus_tcp({1: INVERTER, 2: NAMED}) as line:
        url = f"modbus-tcp://127.0.0.1:{line.port}"
        words = ["agent", "scan", url, "--units", "1-2", "--json", "--profile", str(out)]
        assert await asyncio.to_thread(cli.main, words) == 0
        document = json.loads(capsys.readouterr().out)
        assert await asyncio.to_thread(cli.main, words) == 2

    assert "is there already" in capsys.readouterr().err
    assert [device["unit"] for device in document["devices"]] == [1, 2]
    inverter, named = document["devices"]
    assert inverter["proposed"] == str(out)
    assert inverter["sunspec"]["models"][1] == {
        "model": 103, "label": "Inverter (Three Phase)", "words": 50,
    }  # fmt: skip
    assert named["identification"]["vendor"] == "Acme"
    assert named["proposed"] is None
    assert load_profile(str(out))[0].model == "acme_sun_10"


def test_devices_that_answer_anything_cost_the_scan_nothing_but_themselves() -> None:
    figures = scan_hostile.run(3, full=False)

    assert figures["rounds"] == "8"
