"""The command line: one clear message for every mistake, the right exit code, never a traceback."""

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

import joulemark_agent
import joulemark_profiles
from joulemark_agent import cli
from joulemark_agent.contract.errors import ConfigError, DeviceError
from support.modbus import Answer, Connection, Peer, peer, refusal, reply, truth

EXAMPLE = Path(__file__).parents[2] / "configs/sites/gwangyang.yaml"
ADDRESS = "127.0.0.1:5020"
SOURCES = os.pathsep.join(
    str(Path(package.__file__).parents[1])
    for package in (joulemark_agent, joulemark_profiles)
    if package.__file__
)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("JOULEMARK_"):
            monkeypatch.delenv(name)


def started(*words: str | Path) -> "subprocess.Popen[str]":
    """The command as a process of its own, where a warning is an error too."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "joulemark_agent.cli", *words],
        env=os.environ | {"PYTHONPATH": SOURCES},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(script: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def site(folder: Path, *replacements: tuple[str, str]) -> Path:
    text = EXAMPLE.read_text("utf-8")
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path = folder / "site.yaml"
    path.write_text(text, "utf-8")
    return path


async def read_once(folder: Path, answer: Answer, *options: str) -> tuple[int, Peer]:
    """`joulemark agent read --once` in a thread of its own, against the peer."""
    async with peer(answer) as served:
        path = site(folder, (ADDRESS, f"127.0.0.1:{served.port}"), ("timeout_s: 1.0", ""))
        words = ["agent", "read", "-c", str(path), "--once", *options]
        return await asyncio.to_thread(cli.main, words), served


def test_a_site_without_mistakes_is_shown_with_its_plan() -> None:
    process = started("agent", "check", "-c", EXAMPLE)
    out, err = process.communicate()

    assert (process.returncode, err) == (0, "")
    assert "no mistakes" in out
    assert re.search(r"main-meter .* holding 0\.\.14 +96\n", out)
    assert re.search(r"production-counter .* holding 0\.\.3 +96\n", out)
    assert "2 devices on 1 line; per day 192 slots, 192 requests, 1,824 words." in out


def test_the_plan_and_the_profiles_fit_a_terminal_of_80_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["agent", "check", "-c", str(EXAMPLE)]) == 0
    assert cli.main(["agent", "profiles"]) == 0
    tables = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert max(map(len, tables)) <= 80


@pytest.mark.parametrize("every", ["-5", "0", "nan", "inf", "often"])
def test_a_pause_between_rounds_that_is_none_is_wrong_use(
    every: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["agent", "read", "-c", str(EXAMPLE), "--every", every])
    assert caught.value.code == 2
    assert "--every" in capsys.readouterr().err


def test_every_mistake_of_a_site_file_is_told_with_its_line_and_no_traceback(
    tmp_path: Path,
) -> None:
    path = site(tmp_path, ("unit: 1", "unit: one"), ("Asia/Seoul", "Asia/Soul"))
    process = started("agent", "check", "-c", path)
    out, err = process.communicate()

    assert (process.returncode, out) == (2, "")
    assert err.startswith("error: 2 mistake(s):")
    assert f"{path}:8: time_zone: there is no such time zone" in err
    assert f"{path}:27: devices.0.unit: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "words",
    [
        ["agent", "check", "-c", "/nowhere/site.yaml"],
        ["agent", "read", "-c", "/nowhere/site.yaml"],
    ],
)
def test_a_site_file_that_is_not_there_is_wrong_use(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    assert capsys.readouterr().err == (
        "error: /nowhere/site.yaml cannot be read: No such file or directory."
        " Check the path and who may read the file.\n"
    )


@pytest.mark.parametrize(
    "words", [[], ["agent"], ["agent", "check"], ["agent", "chek"], ["nonsense"]]
)
def test_words_that_are_no_command_end_with_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)

    assert caught.value.code == 2
    assert "usage: joulemark" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["agent", "--help"]])
def test_help_and_version_end_with_0(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)

    assert caught.value.code == 0
    assert "joulemark" in capsys.readouterr().out


async def test_live_values_are_shown_with_unit_quality_and_raw_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = await read_once(tmp_path, truth)
    out, err = capsys.readouterr()

    assert (code, err) == (0, "")
    assert re.search(r"energy_wh +4295098371 +Wh +good +0000 0001 0002 0003\n", out)
    assert re.search(r"power_factor_ratio +0\.0006 +1 +good +0006\n", out)
    assert "production-counter (synthetic)" in out


async def test_live_values_as_json_are_one_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, served = await read_once(tmp_path, truth, "--json")
    document = json.loads(capsys.readouterr().out)

    assert code == 0
    assert document["site"] == "gwangyang"
    meter, counter = document["devices"]
    assert meter["points"][0] == {
        "name": "energy_wh",
        "value": "4295098371",
        "unit": "Wh",
        "quality": "good",
        "raw": "0000 0001 0002 0003",
    }
    assert [point["name"] for point in counter["points"]] == ["production_kg"]
    assert counter["synthetic"] is True
    assert served.connections == 1
    assert len(served.requests) == 2


async def test_a_value_that_is_none_is_shown_as_such_with_its_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def answer(connection: Connection, request: bytes) -> None:
        whole = bytearray(reply(request))
        if request[6] == 1:
            whole[9 + 8 : 9 + 12] = b"\x7f\xc0\0\0"  # power_w is not a number
        await connection.say(bytes(whole))

    code, _ = await read_once(tmp_path, answer)

    assert code == 0
    assert re.search(r"power_w +- +W +nan +7FC0 0000\n", capsys.readouterr().out)


async def test_a_wrong_register_is_one_message_and_the_other_device_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def answer(connection: Connection, request: bytes) -> None:
        await connection.say(refusal(request, 2) if request[6] == 1 else reply(request))

    code, _ = await read_once(tmp_path, answer)
    out, err = capsys.readouterr()

    assert code == 1
    assert err.count("error: ") == err.count("\n") == 1
    assert "main-meter: Unit 1 at 127.0.0.1:" in err
    assert "exception 2 (illegal data address) to holding 0 to 14" in err
    assert "Check 'table' and 'address' of the points in the profile." in err
    assert "production_kg" in out
    assert "energy_wh" not in out


def test_a_device_that_cannot_be_reached_is_one_message(tmp_path: Path) -> None:
    path = site(tmp_path, (ADDRESS, "127.0.0.1:1"))
    process = started("agent", "read", "-c", path, "--once", "--json")
    out, err = process.communicate()

    assert process.returncode == 1
    assert [device["error"]["code"] for device in json.loads(out)["devices"]] == ["refused"] * 2
    assert err.count("error: ") == err.count("\n") == 2
    assert "error: main-meter: 127.0.0.1:1 refuses connections" in err
    assert "Traceback" not in err


async def test_reading_goes_on_until_ctrl_c_and_then_ends_quietly(tmp_path: Path) -> None:
    async with peer(truth) as served:
        path = site(tmp_path, (ADDRESS, f"127.0.0.1:{served.port}"))
        process = started("agent", "read", "-c", path, "--json", "--every", "0.01")
        assert process.stdout is not None
        for _ in range(3):
            line = await asyncio.to_thread(process.stdout.readline)
            assert len(json.loads(line)["devices"]) == 2
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.to_thread(process.communicate)

    assert (process.returncode, err) == (130, "")
    assert served.connections == 1


async def test_a_reader_of_the_output_that_has_seen_enough_ends_it_quietly(tmp_path: Path) -> None:
    async with peer(truth) as served:
        path = site(tmp_path, (ADDRESS, f"127.0.0.1:{served.port}"))
        process = started("agent", "read", "-c", path, "--every", "0.01")
        assert process.stdout is not None
        assert process.stderr is not None
        await asyncio.to_thread(process.stdout.readline)
        process.stdout.close()
        err = await asyncio.to_thread(process.stderr.read)
        await asyncio.to_thread(process.wait)
        process.stderr.close()

    assert (process.returncode, err) == (1, "")


def test_the_shipped_profiles_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["agent", "profiles"]) == 0
    text = capsys.readouterr().out
    assert cli.main(["agent", "profiles", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)

    assert [row["name"] for row in listed] == joulemark_profiles.names("devices")
    assert all(row["name"] in text for row in listed)


def with_command(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    entry = EntryPoint(name="x", value=value, group=cli.GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda group: EntryPoints([entry]).select(group=group))


MISSING = "This command needs the package 'duckdb', which is not installed."


def add_failing(subparsers: Any) -> None:
    """What another package's entry point would name."""
    for name, error in {
        "misconfigured": ConfigError("The file is wrong.", "Mend it."),
        "deaf": DeviceError("No answer.", "Try again."),
        "interrupted": KeyboardInterrupt(),
        "incomplete": ModuleNotFoundError("No module named 'duckdb'", name="duckdb"),
    }.items():

        def fail(_: object, error: BaseException = error) -> int:
            raise error

        subparsers.add_parser(name).set_defaults(run=fail)
    subparsers.add_parser("refuted").set_defaults(run=lambda _: 1)


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("misconfigured", 2, "error: The file is wrong. Mend it.\n"),
        ("deaf", 1, "error: No answer. Try again.\n"),
        ("interrupted", 130, ""),
        ("refuted", 1, ""),
        ("incomplete", 2, f"error: {MISSING} Run: pip install 'joulemark[all]'\n"),
    ],
)
def test_commands_of_other_packages_are_found_and_their_errors_told(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    word: str,
    code: int,
    said: str,
) -> None:
    monkeypatch.setitem(sys.modules, "another_package", sys.modules[__name__])
    with_command(monkeypatch, "another_package:add_failing")

    assert cli.main([word]) == code
    assert capsys.readouterr().err == said


def test_the_agents_commands_work_where_other_packages_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_command(monkeypatch, "a_package_that_is_not_there:add_commands")

    assert cli.main(["agent", "profiles"]) == 0
    assert cli.main(["measure"]) == 2
    assert "'a_package_that_is_not_there', which is not installed" in capsys.readouterr().err


def test_every_command_of_the_agent_stands_beside_the_module_that_adds_it() -> None:
    for module, words in cli.AGENT_COMMANDS.items():
        added = argparse.ArgumentParser().add_subparsers()
        import_module(f"joulemark_agent.{module}").add_commands(added)
        assert tuple(added.choices) == words


def test_the_service_starts_without_what_it_does_not_need() -> None:
    """Other commands, HTTP where all devices speak Modbus, and the BLAS that numba looks for."""
    script = (
        "import sys; from joulemark_agent import cli; cli._parser(['agent', 'run']);"
        "from joulemark_agent.lines import line_of; line_of('modbus-tcp://127.0.0.1');"
        "import joulemark_agent.kernels.jit, numba.np.arraymath;"
        "other = ('joulemark_agent.scan', 'joulemark_agent.simulate', 'h11', 'scipy.linalg');"
        "print(*sorted({*other} & {*sys.modules}))"
    )
    assert printed(script) == ""


def test_a_command_of_another_package_needs_nothing_of_the_agents_extras() -> None:
    """`joulemark verify` runs on the base install: no YAML, no settings, no Modbus."""
    script = (
        "import sys; from joulemark_agent import cli; cli._parser(['verify']);"
        "print(*sorted({'yaml', 'pydantic_settings', 'asyncio'} & set(sys.modules)))"
    )
    assert printed(script) == ""
