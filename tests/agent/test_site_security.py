"""What a site file may say of locked servers, and the command that makes our certificate."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from joulemark_agent.cli import main
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.opcua_access import Access, own_identity
from joulemark_agent.opcua_security import Mode, shown
from joulemark_agent.settings import load_site, site_document
from support.sites import HEAD

SITE = HEAD.format()
FURNACE = """\
  - id: furnace
    profile: virtual_furnace
    url: "opc.tcp://192.0.2.7/plant"
    period_s: 60
"""
METER = """\
  - id: meter
    profile: virtual_main_meter
    url: "modbus-tcp://192.0.2.8"
    unit: 1
    period_s: 60
"""
OTHER = FURNACE.replace("id: furnace", "id: other").replace("virtual_furnace", "other.yaml")


def site(folder: Path, *devices: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(SITE + "".join(devices))
    return path


def secured(device: str, security: str) -> str:
    return f"{device}    security: {security}\n"


def test_what_is_not_written_is_the_strongest_there_is(tmp_path: Path) -> None:
    [device] = load_site(site(tmp_path, secured(FURNACE, "{}"))).planned_devices()
    folder = tmp_path / "state" / "opcua"

    assert device.security == Access(
        trust=folder / "trusted", certificate=folder / "agent.der", key=folder / "agent.key",
        policy="Basic256Sha256", mode=Mode.SIGN_AND_ENCRYPT,
    )  # fmt: skip


def test_what_is_written_is_looked_for_beside_the_site_file(tmp_path: Path) -> None:
    security = (
        "{policy: Aes256_Sha256_RsaPss, mode: sign, trust: pki, certificate: pki/own.pem,"
        " user: reader, password_file: pki/password, host: furnace-7}"
    )
    [device] = load_site(site(tmp_path, secured(FURNACE, security))).planned_devices()

    assert device.security == Access(
        trust=tmp_path / "pki", certificate=tmp_path / "pki" / "own.pem",
        key=tmp_path / "pki" / "own.key", policy="Aes256_Sha256_RsaPss", mode=Mode.SIGN,
        host="furnace-7", user="reader", password_file=tmp_path / "pki" / "password",
    )  # fmt: skip


def test_security_is_wiring_and_no_evidence(tmp_path: Path) -> None:
    without = site_document(load_site(site(tmp_path, FURNACE)))
    assert site_document(load_site(site(tmp_path, secured(FURNACE, "{mode: sign}")))) == without


MISTAKES = {
    "{policy: Basic256}": "Basic256Sha256",
    "{policy: Basic128Rsa15}": "Basic256Sha256",
    "{mode: none}": "sign_and_encrypt",
    "{user: reader}": "needs either 'password_file' or 'password_variable'",
    "{user: r, password_file: a, password_variable: JOULEMARK_A}": "needs either",
    "{password_file: a}": "a password needs a 'user'",
    "{password_variable: JOULEMARK_A}": "a password needs a 'user'",
    "{user: r, password_variable: PATH}": "JOULEMARK_",
    "{user: r, password_file: a, user_certificate: b}": "two ways to log in",
    "{user_key: a}": "needs a 'user_certificate'",
    "{polcy: None}": "polcy",
}


@pytest.mark.parametrize("security", MISTAKES)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, security: str) -> None:
    path = site(tmp_path, secured(FURNACE, security))
    with pytest.raises(ConfigError) as caught:
        load_site(path)

    assert MISTAKES[security] in str(caught.value)
    assert f"{path}:14" in str(caught.value)


def test_a_password_in_the_site_file_is_refused_and_not_shown(tmp_path: Path) -> None:
    path = site(tmp_path, secured(FURNACE, "{user: reader, password: geheim}"))
    with pytest.raises(ConfigError) as caught:
        load_site(path)

    assert "password_variable" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_security_of_what_is_no_opc_ua_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only for OPC UA"):
        load_site(site(tmp_path, secured(METER, "{}")))


@pytest.mark.parametrize("second", [OTHER, secured(OTHER, "{mode: sign}")])
def test_two_ways_to_speak_to_one_server_are_a_mistake(tmp_path: Path, second: str) -> None:
    import joulemark_profiles  # noqa: PLC0415 - for a profile that reads something else

    text = joulemark_profiles.text("devices", "virtual_furnace").replace("Furnace.", "Other.")
    (tmp_path / "other.yaml").write_text(text)
    load_site(site(tmp_path, secured(FURNACE, "{}"), secured(OTHER, "{}")))
    with pytest.raises(ConfigError, match="'furnace' is read from this server too, with other"):
        load_site(site(tmp_path, secured(FURNACE, "{}"), second))


def test_the_command_makes_a_certificate_once_and_another_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = site(tmp_path, secured(FURNACE, "{}"))

    def told(*more: str) -> dict[str, str]:
        assert main(["agent", "certificate", "-c", str(path), "--json", *more]) == 0
        [found] = json.loads(capsys.readouterr().out)
        assert isinstance(found, dict)
        return found

    first = told()
    [device] = load_site(path).planned_devices()
    assert isinstance(device.security, Access)
    own = own_identity(device.security)
    assert first["thumbprint"] == shown(own.certificate)
    assert first["application_uri"] == own.application_uri == "urn:joulemark:hall:edge-1"
    assert stat.S_IMODE(device.security.key.stat().st_mode) == 0o600
    assert Path(first["trusted_servers"]).is_dir()
    assert told() == first
    assert told("--renew")["thumbprint"] != first["thumbprint"]
    assert main(["agent", "certificate", "-c", str(path)]) == 0
    assert "thumbprint: " in capsys.readouterr().out
