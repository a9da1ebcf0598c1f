"""The unit files start commands that exist, confine them, and are ones that systemd takes."""

import shutil
import subprocess
from pathlib import Path

import pytest

from joulemark_agent import cli

FOLDER = Path(__file__).parents[2] / "deploy/systemd"
PROGRAM = "/opt/joulemark/bin/joulemark"
AGENT, COLLECTOR, BACKUP = "joulemark-agent", "joulemark-collector", "joulemark-collector-backup"
SERVICES = [AGENT, COLLECTOR]
BROKER = "joulemark-mosquitto"
ALL = [AGENT, "joulemark-agent-renew", COLLECTOR, BACKUP, BROKER]
MOST_EXPOSED = 25  # tenths, of 100: what systemd itself calls OK is below 50
SYSTEMD = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed"
)


def said(unit: str, key: str) -> list[str]:
    """The values of a key, in order."""
    text = (FOLDER / f"{unit}.service").read_text("utf-8")
    lines = (line.partition("=") for line in text.splitlines())
    return [value for name, _, value in lines if name == key]


def test_a_reload_is_the_signal_that_the_agent_listens_to() -> None:
    assert said(AGENT, "ExecReload") == ["/bin/kill -HUP $MAINPID"]


@pytest.mark.parametrize(
    ("unit", "key"),
    [(unit, "ExecStart") for unit in ALL if unit != BROKER]
    + [(u, "ExecStartPre") for u in SERVICES],
)
def test_the_commands_exist(unit: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = said(unit, key)
    program, *words = command.split()
    assert program == PROGRAM
    with pytest.raises(SystemExit) as left:
        cli.main([*words, "--help"])
    assert left.value.code == 0
    assert words[1] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("unit", "variable"),
    [(AGENT, "JOULEMARK_STATE_DIR"), (COLLECTOR, "JOULEMARK_COLLECTOR_STATE_DIR")],
)
def test_what_they_write_is_in_folders_that_they_may_write(unit: str, variable: str) -> None:
    written = dict(value.partition("=")[::2] for value in said(unit, "Environment"))
    assert written == {
        variable: f"/var/lib/{said(unit, 'StateDirectory')[0]}",
        "NUMBA_CACHE_DIR": f"/var/cache/{said(unit, 'CacheDirectory')[0]}",
    }
    assert said(unit, "StateDirectoryMode") == ["0700"]


def test_a_copy_is_made_of_what_the_collector_keeps_and_where_it_may_be_written() -> None:
    for key in ("User", "StateDirectory", "EnvironmentFile"):
        assert said(BACKUP, key) == said(COLLECTOR, key)
    assert set(said(BACKUP, "Environment")) < set(said(COLLECTOR, "Environment"))
    (folder,) = said(BACKUP, "ReadWritePaths")
    assert f"collector backup {folder} -c" in said(BACKUP, "ExecStart")[0]
    assert said(BACKUP, "RequiresMountsFor") == [folder]


@pytest.mark.parametrize("unit", SERVICES)
def test_a_loop_that_hangs_ends_in_a_restart(unit: str) -> None:
    """The words that `watchdog.ServiceManager` says, which test_guard and test_alive try out."""
    told = {
        "Type": "notify", "NotifyAccess": "main", "WatchdogSec": "180", "Restart": "on-failure",
    }  # fmt: skip
    assert {key: said(unit, key) for key in told} == {key: [value] for key, value in told.items()}


@pytest.mark.parametrize("unit", ALL)
def test_they_run_confined_as_a_user_of_their_own(unit: str) -> None:
    wanted = {
        "User": "joulemark" if AGENT in unit else "joulemark-collector",
        "UMask": "0077",
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "SystemCallFilter": "@system-service",
        "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    }
    assert {key: said(unit, key) for key in wanted} == {
        key: [value] for key, value in wanted.items()
    }
    devices = ("DevicePolicy", "closed") if unit == AGENT else ("PrivateDevices", "yes")
    assert said(unit, devices[0]) == [devices[1]]


def copy_of(unit: str, folder: Path, *, without: str = "") -> Path:
    """The unit with a program that is there, and without the lines that begin so."""
    text = (FOLDER / f"{unit}.service").read_text("utf-8")
    text = text.replace(PROGRAM, "/bin/true").replace("/usr/sbin/mosquitto", "/bin/true")
    lines = [line for line in text.splitlines() if not without or not line.startswith(without)]
    copy = folder / f"{unit}.service"
    copy.write_text("\n".join(lines), "utf-8")
    return copy


def analysed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, timeout=30, check=False
    )


@SYSTEMD
@pytest.mark.parametrize("unit", ALL)
def test_systemd_takes_it_as_it_is(unit: str, tmp_path: Path) -> None:
    copy = copy_of(unit, tmp_path)
    done = analysed("verify", "--man=no", str(copy))
    assert [line for line in done.stderr.splitlines() if copy.name in line] == []


@SYSTEMD
@pytest.mark.parametrize("unit", ALL)
def test_systemd_finds_it_confined_and_one_that_is_not_exposed(unit: str, tmp_path: Path) -> None:
    asked = "security", "--offline=yes", f"--threshold={MOST_EXPOSED}"
    done = analysed(*asked, str(copy_of(unit, tmp_path)))
    assert done.returncode == 0, done.stdout
    control = analysed(*asked, str(copy_of(unit, tmp_path, without="System")))
    assert control.returncode, "without its filter of system calls it must be found exposed"
