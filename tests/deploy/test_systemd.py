"""The unit file starts commands that exist, reloads, and is one that systemd takes."""

import shutil
import subprocess
from pathlib import Path

import pytest

from joulemark_agent import cli

UNIT = Path(__file__).parents[2] / "deploy/systemd/joulemark-agent.service"
PROGRAM = "/opt/joulemark/bin/joulemark"


def said(key: str) -> list[str]:
    """The values of a key, in order."""
    lines = (line.partition("=") for line in UNIT.read_text("utf-8").splitlines())
    return [value for name, _, value in lines if name == key]


def test_a_reload_is_the_signal_that_the_agent_listens_to() -> None:
    assert said("ExecReload") == ["/bin/kill -HUP $MAINPID"]


@pytest.mark.parametrize("key", ["ExecStartPre", "ExecStart"])
def test_the_commands_exist(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = said(key)
    program, *words = command.split()
    assert program == PROGRAM
    with pytest.raises(SystemExit) as left:
        cli.main([*words, "--help"])
    assert left.value.code == 0
    assert words[1] in capsys.readouterr().out


def test_what_the_agent_writes_is_in_folders_that_it_may_write() -> None:
    written = dict(value.partition("=")[::2] for value in said("Environment"))
    assert written == {
        "JOULEMARK_STATE_DIR": f"/var/lib/{said('StateDirectory')[0]}",
        "NUMBA_CACHE_DIR": f"/var/cache/{said('CacheDirectory')[0]}",
    }
    assert said("StateDirectoryMode") == ["0700"]


def test_it_runs_confined_as_a_user_of_its_own() -> None:
    wanted = {
        "User": "joulemark",
        "UMask": "0077",
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "DevicePolicy": "closed",
        "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    }
    assert {key: said(key) for key in wanted} == {key: [value] for key, value in wanted.items()}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_it_as_it_is(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    text = UNIT.read_text("utf-8").replace(PROGRAM, "/bin/true")
    copy.write_text(text.replace("file:///opt", "file:///usr"), "utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    mine = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert mine == []
