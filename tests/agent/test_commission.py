"""`agent commission` says what holds, what does not, what was not tested, and lifts disputes."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from joulemark_agent import cli
from joulemark_agent.commission import _identification
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import Profile
from joulemark_agent.documents import load_profile
from joulemark_agent.kernels.checks import Sample
from joulemark_agent.settings import load_site, site_document
from nightly.wrong_profile import Served, mapping_of, serving
from support.modbus_machine import Machine
from support.sites import HEAD

SITE = (
    HEAD
    + """\
  - {{id: meter, profile: {profile}, url: "modbus-tcp://127.0.0.1:{port}", unit: 1,
     period_s: 10{more}}}
"""
)


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    """A PAC2200 under load."""
    served = Served()
    machine = Machine(Profile.model_validate(mapping_of("siemens_pac2200")))
    served.show(machine.words(0))

    async def pass_time() -> None:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        while True:
            served.show(machine.words(int(loop.time() - begun_s)))
            await asyncio.sleep(0.1)

    async with serving(served) as found:
        passing = asyncio.create_task(pass_time())
        yield found
        passing.cancel()


def site(folder: Path, port: int, profile: str = "siemens_pac2200", more: str = "") -> Path:
    path = folder / "site.yaml"
    path.write_text(SITE.format(profile=profile, port=port, more=more), "utf-8")
    return path


async def commissioned(path: Path, *words: str) -> int:
    command = ["agent", "commission", "-c", str(path), "--seconds", "0.3", "--every", "0.05"]
    return await asyncio.to_thread(cli.main, [*command, *words])


def result(document: dict[str, Any], check: str, point: str = "") -> str:
    (device,) = document["devices"]
    found = [
        str(row["result"])
        for row in device["checks"]
        if row["check"] == check and (not point or row["points"][0] == point)
    ]
    return found[0]


async def test_a_sound_meter_passes_and_what_was_not_said_is_not_passed(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await commissioned(site(tmp_path, port), "--json")
    document = json.loads(capsys.readouterr().out)

    assert code == 0
    assert document["devices"][0]["holds"] is True
    assert result(document, "sum_of_phases") == "passed"
    assert result(document, "product", "power_l1_w") == "passed"
    assert result(document, "identification") == "not possible"
    assert result(document, "direction") == "not possible"
    assert document["devices"][0]["disputed"] == ["energy_wh", "exported_wh"]
    assert document["devices"][0]["accept_disputed"] == []


async def test_power_that_flows_against_what_is_seen_fails(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = site(tmp_path, port)

    assert await commissioned(path, "--load", "consumes") == 0
    assert "which way power flows" in capsys.readouterr().out
    assert await commissioned(path, "--load", "feeds") == 1
    text = capsys.readouterr().out
    assert text.index("FAILED       which way power flows") < text.index("passed")
    assert "Do not trust this device yet." in text


async def test_a_dispute_ends_with_what_the_display_shows_and_the_line_to_write_is_printed(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = site(tmp_path, port)

    assert await commissioned(path, "meter", "--shown", "energy_wh=120000 kWh") == 0
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if "accept_disputed" in line).strip()
    assert line == "accept_disputed: [energy_wh]"
    accepting = site(tmp_path, port, more=f", {line}")
    assert b'"accept_disputed":["energy_wh"]' in site_document(load_site(accepting))


async def test_a_display_that_shows_a_tenth_accepts_nothing(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await commissioned(site(tmp_path, port), "--shown", "energy_wh=12000 kWh", "--json")
    document = json.loads(capsys.readouterr().out)

    assert code == 1
    assert result(document, "shown") == "failed"
    assert document["devices"][0]["accept_disputed"] == []


async def test_another_device_is_refused_before_it_is_tested(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await commissioned(site(tmp_path, port, "carlo_gavazzi_em24_e1"))

    assert code == 1
    assert "FAILED       identification" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nosuch"], "There is no device 'nosuch' in this site."),
        (["--shown", "temperature_k=850 C"], "meter has no point 'temperature_k'."),
    ],
)
async def test_what_cannot_be_tested_is_told(
    tmp_path: Path, port: int, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await commissioned(site(tmp_path, port), *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("shown", ["power_w", "power_w=3 Q", "power=3 W", "power_w=three", "=3"])
def test_what_a_display_does_not_show_is_refused(
    shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["agent", "commission", "-c", "site.yaml", "--shown", shown])
    assert "--shown" in capsys.readouterr().err


async def test_read_says_beside_the_values_that_they_cannot_be_true(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path(__file__).parents[2] / "configs/joulemark_profiles/devices/siemens_pac2200.yaml"
    wrong = text.read_text("utf-8").split("golden:")[0].replace(
        "name: power_w, table: holding, address: 65, type: float32",
        "name: power_w, table: holding, address: 65, type: float32, scale: 10",
    )  # fmt: skip
    golden = "golden:\n  - {point: power_w, words: [0x3F80, 0x0000], value: 10}\n"
    (tmp_path / "wrong.yaml").write_text(wrong + golden, "utf-8")
    path = site(tmp_path, port, "wrong.yaml")

    await asyncio.to_thread(cli.main, ["agent", "read", "-c", str(path), "--once", "--json"])
    (device,) = json.loads(capsys.readouterr().out)["devices"]
    assert [found["check"] for found in device["implausible"]] == ["sum_of_phases", "product"]
    await asyncio.to_thread(cli.main, ["agent", "read", "-c", str(path), "--once"])
    assert "implausible: power_w" in capsys.readouterr().out


def test_an_accepted_point_must_be_a_disputed_one_and_others_leave_no_trace(
    tmp_path: Path,
) -> None:
    plain = site_document(load_site(site(tmp_path, 502)))
    assert b"accept" not in plain

    path = site(tmp_path, 502, more=", accept_disputed: [power_w]")
    with pytest.raises(Exception, match=r"site.yaml:\d+: 'power_w' is no disputed point"):
        load_site(path)
    settings = load_site(site(tmp_path, 502, more=", accept_disputed: [exported_wh, energy_wh]"))
    profile, document = settings.profile(settings.devices[0])
    assert not profile.point("energy_wh").disputed
    assert document == load_site(site(tmp_path, 502)).profile(settings.devices[0])[1]


def test_an_identification_that_was_not_made_or_failed_later_has_not_passed() -> None:
    window = [Sample(0.0, {"power_w": 1.0})]
    may_be_silent = load_profile("carlo_gavazzi_em24_rs485")[0]
    sure = load_profile("carlo_gavazzi_em24_e1")[0]
    exchanged = DeviceError("It is another.", "Look.", code="wrong_device")

    assert _identification(may_be_silent, window, None).holds is None
    assert _identification(sure, window, None).holds
    assert _identification(sure, window, exchanged).holds is False
