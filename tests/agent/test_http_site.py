"""A site whose compressors answer over HTTP: what `agent check` and `agent read` make of it."""

import asyncio
import json
from pathlib import Path

import pytest

from joulemark_agent import cli
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.settings import load_site, site_document
from support.controllers import PASSWORD, USER, VARIABLE, Clock, a_sigma_control, an_elektronikon
from support.sites import HEAD

SITE = (
    HEAD
    + """\
  - id: ga37
    profile: atlas_copco_elektronikon_mkv
    url: "{elektronikon}"
    period_s: 5
  - id: asd35
    profile: kaeser_sigma_control_2
    url: "{sigma}"
    period_s: 30
    login: {login}
"""
)
LOGIN = f"{{user: {USER}, password_variable: {VARIABLE}}}"
ELSEWHERE = {
    "elektronikon": "elektronikon-http://192.0.2.1",
    "sigma": "sigma-control-https://192.0.2.2",
}


def written(folder: Path, *, login=LOGIN, **urls) -> Path:
    path = folder / "site.yaml"
    path.write_text(SITE.format(login=login, **(ELSEWHERE | urls)), "utf-8")
    return path


def test_the_plan_counts_selectors_objects_and_lamps(tmp_path, capsys):
    assert cli.main(["agent", "check", "-c", str(written(tmp_path))]) == 0
    said = capsys.readouterr().out

    assert "elektronikon-http://192.0.2.1:80" in said
    assert "sigma-control-https://192.0.2.2:443" in said
    assert "19 selectors" in said
    assert "1 controller, 3 leds, 7 objects" in said
    assert f"{86_400 // 5 + 3 * 86_400 // 30:,} requests" in said


async def test_read_shows_the_values_beside_the_text_they_came_from(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(VARIABLE, PASSWORD)
    clock = Clock()
    async with an_elektronikon(clock) as (port, _), a_sigma_control(clock) as (other, controller):
        path = written(
            tmp_path,
            elektronikon=f"elektronikon-http://127.0.0.1:{port}",
            sigma=f"sigma-control-http://127.0.0.1:{other}",
        )
        words = ["agent", "read", "-c", str(path), "--once"]
        as_json = await asyncio.to_thread(cli.main, [*words, "--json"])
        clock.now_s += 61
        said = capsys.readouterr().out
        as_text = await asyncio.to_thread(cli.main, words)
        table = capsys.readouterr().out
        clock.now_s += 61
        rows = await asyncio.to_thread(cli.main, [*words[:-1], "--golden"])
        golden = capsys.readouterr().out

    assert (as_json, as_text, rows) == (0, 0, 0)
    assert not controller.has_session
    devices = {one["device"]: one for one in json.loads(said)["devices"]}
    points = {point["name"]: point for point in devices["ga37"]["points"]}
    raw = points["running_s"]["raw"]
    assert points["running_s"]["value"] == str(int(raw[:8], 16))
    assert raw[8:] == "00650001"
    points = {point["name"]: point for point in devices["asd35"]["points"]}
    assert points["running_s"]["quality"] == "good"
    assert json.loads(points["running_s"]["raw"])["Id"] == 3261336
    assert points["energy_wh"]["quality"] == "disputed"
    assert "running_s" in table
    assert '{point: running_s, text: \'{"Id": 3261336' in golden
    for text in (said, table, golden):
        assert PASSWORD not in text


@pytest.mark.parametrize(
    ("login", "said"),
    [
        ("null", "'login: {user: NAME"),
        ("{user: a, password: secret, password_variable: JOULEMARK_X}", "does not belong"),
        ("{user: a, password_variable: HOME}", "password_variable"),
        ('{user: "a\\nHost: b", password_variable: JOULEMARK_X}', "user"),
    ],
)
def test_a_login_that_cannot_be_is_refused_with_its_line(tmp_path, login, said):
    with pytest.raises(ConfigError) as error:
        load_site(written(tmp_path, login=login))

    assert said in str(error.value)
    assert "site.yaml:1" in str(error.value)
    assert "secret" not in str(error.value)


def test_the_login_is_wiring_and_no_evidence(tmp_path):
    document = site_document(load_site(written(tmp_path)))

    assert b"login" not in document
    assert USER.encode() not in document.replace(b"joulemark/", b"")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://192.0.2.1", "There is no driver"),
        ("elektronikon-http://user:pass@192.0.2.1", "not the address of a line"),
        ("elektronikon-http://192.0.2.1/cgi-bin", "not the address of a line"),
        ("modbus-tcp://192.0.2.1", "the profile speaks elektronikon"),
    ],
)
def test_an_address_of_another_kind_is_refused(tmp_path, url, said):
    with pytest.raises(ConfigError, match=said):
        load_site(written(tmp_path, elektronikon=url))
