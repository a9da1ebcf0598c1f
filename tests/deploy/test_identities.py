"""The units that renew an agent's certificate and reload the broker fit commands and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulemark_agent import cli
from joulemark_gateway.pki.mosquitto import ACL, CONFIG, OWN

DEPLOY = Path(__file__).parents[2] / "deploy"


def said(unit: str, key: str) -> list[str]:
    """The values of a key in a unit, in order."""
    lines = (line.partition("=") for line in (DEPLOY / unit).read_text("utf-8").splitlines())
    return [value for name, _, value in lines if name == key]


def test_the_command_that_renews_exists(capsys: pytest.CaptureFixture[str]) -> None:
    [command] = said("systemd/joulemark-agent-renew.service", "ExecStart")
    program, *words = command.split()
    assert program == "/opt/joulemark/bin/joulemark"
    with pytest.raises(SystemExit) as left:
        cli.main([*words, "--help"])
    assert left.value.code == 0
    assert "--within" in capsys.readouterr().out


def test_it_runs_where_the_agent_does() -> None:
    agent, renew = "systemd/joulemark-agent.service", "systemd/joulemark-agent-renew.service"
    for key in ("User", "StateDirectory", "StateDirectoryMode", "UMask"):
        assert said(renew, key) == said(agent, key)
    assert set(said(renew, "Environment")) < set(said(agent, "Environment"))
    assert said("systemd/joulemark-agent-renew.timer", "Persistent") == ["yes"]


def test_the_broker_is_reloaded_when_one_of_its_files_has_changed() -> None:
    """The revocation list is written before the access list, so that one watch is enough."""
    watched = said("mosquitto/joulemark-broker.path", "PathChanged")
    assert watched == [f"/etc/mosquitto/joulemark/{name}" for name in (ACL, OWN)]
    assert said("mosquitto/joulemark-broker.service", "ExecStart") == [
        f"-/bin/systemctl try-reload-or-restart {unit}.service"
        for unit in ("mosquitto", "joulemark-mosquitto")
    ]


def test_the_broker_s_own_unit_runs_it_from_that_folder_as_the_collector_s_user() -> None:
    unit = "systemd/joulemark-mosquitto.service"
    [command] = said(unit, "ExecStart")
    assert command == f"/usr/sbin/mosquitto -c /etc/mosquitto/joulemark/{CONFIG}"
    assert said(unit, "User") == said("systemd/joulemark-collector.service", "User")
    assert said(unit, "WorkingDirectory") == [f"/var/lib/{said(unit, 'StateDirectory')[0]}"]
    assert said(unit, "ExecReload") == ["/bin/kill -HUP $MAINPID"]
