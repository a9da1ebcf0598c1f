"""deploy/compose.yaml and the images: confined, no secret in them, and every path and port fits.

No container engine runs here. `python -m tests.nightly images` validates against the specification
and carries out the steps of the images; test_natively runs the same services from the same files.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from joulemark_agent import cli
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.settings import load_site
from joulemark_gateway.settings import load_collector
from support.evidence import KEYS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NAMES = sorted(SERVICES)
OURS = {"agent": "JOULEMARK_STATE_DIR", "collector": "JOULEMARK_COLLECTOR_STATE_DIR"}
REPLACED = "PUBLIC-KEY-OF-THE-OPERATOR"


def mounts(name: str) -> dict[str, tuple[str, bool]]:
    """What is mounted where, and whether it may be written."""
    rows = [volume.split(":") for volume in SERVICES[name].get("volumes", [])]
    found = {row[1]: (row[0], row[2:] != ["ro"]) for row in rows}
    return found | {entry.partition(":")[0]: ("tmpfs", True) for entry in SERVICES[name]["tmpfs"]}


def writable(name: str, path: str) -> bool:
    """Whether a service may write there: its own root is read-only."""
    return any(
        may and Path(path).is_relative_to(target) for target, (_, may) in mounts(name).items()
    )


def published(name: str) -> set[str]:
    return {port.rpartition(":")[2] for port in SERVICES[name].get("ports", [])}


@pytest.mark.parametrize("name", NAMES)
def test_every_service_is_confined_watched_and_nobody_s_root(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].partition(":")[0]) > 0
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    assert not {"privileged", "cap_add", "network_mode", "pid"} & service.keys()


@pytest.mark.parametrize("name", NAMES)
def test_every_image_has_a_tag_and_no_address(name):
    image = SERVICES[name]["image"]
    place, _, tag = image.rpartition(":")
    assert re.search(r"\d+\.\d+", tag), f"{image} is not one version"
    assert "." not in place, f"{image} names where it comes from"


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_stands_in_the_file_or_in_an_environment(name):
    service = SERVICES[name]
    for key, value in service.get("environment", {}).items():
        if re.search("PASSWORD|TOKEN|SECRET", key):
            assert key.endswith("_FILE"), key
            assert value.removeprefix("/run/secrets/") in service["secrets"]


def test_what_is_named_is_declared_and_what_is_declared_is_used():
    named = {row[0] for name in NAMES for row in mounts(name).values()} - {"tmpfs"}
    assert {path for path in named if not path.startswith(".")} == set(COMPOSE["volumes"])
    for path in named - set(COMPOSE["volumes"]):
        assert (DEPLOY / path).exists(), path
    used = {secret for name in NAMES for secret in SERVICES[name].get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    assert {row["file"] for row in COMPOSE["secrets"].values()} == {
        f"./docker/secrets/{name}" for name in used
    }
    assert (DEPLOY / "docker/secrets/.gitignore").read_text("utf-8").split("\n")[1] == "*"
    networks = {network for name in NAMES for network in SERVICES[name]["networks"]}
    assert networks == set(COMPOSE["networks"])


def test_what_serves_the_inside_only_is_reached_from_there_only():
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    inside = [name for name in NAMES if SERVICES[name]["networks"] == ["inside"]]
    assert inside == ["influxdb", "postgres", "victoriametrics"]
    assert not [name for name in inside if published(name)]
    assert SERVICES["grafana"]["ports"] == ["127.0.0.1:3000:3000"]


@pytest.fixture
def collector(tmp_path):
    """The collector's file of the compose file, once its operator is known."""
    text = (DEPLOY / "docker/collector.yaml").read_text("utf-8")
    assert text.count(REPLACED) == 1
    path = tmp_path / "collector.yaml"
    path.write_text(text.replace(REPLACED, encode64(public_key(KEYS.operator))), "utf-8")
    return load_collector(path)


def address(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return str(parts.hostname), str(parts.port)


def test_the_collector_s_file_fits_its_mounts_and_its_neighbours(collector):
    assert collector.pages.tls is not None
    for path in (collector.state_dir, collector.broker.config, collector.pages.tls.certificate):
        assert writable("collector", str(path)), path
    listener = (DEPLOY / "mosquitto/mosquitto.conf").read_text("utf-8").splitlines()[1]
    assert address(collector.broker.url) == ("mosquitto", listener.removeprefix("listener "))
    assert address(collector.broker.url)[1] in published("mosquitto")
    assert {str(collector.pages.port), str(collector.enrolment.port)} == published("collector")
    assert address(collector.series.url) == ("influxdb", "8086")
    given = SERVICES["influxdb"]["environment"]
    assert given["DOCKER_INFLUXDB_INIT_BUCKET"] == collector.series.bucket
    assert given["DOCKER_INFLUXDB_INIT_ORG"] == collector.series.org


def test_broker_and_collector_are_one_user_and_share_the_folder_that_the_latter_writes(collector):
    folder = str(collector.broker.config)
    assert mounts("mosquitto")[folder] == ("broker", False)
    assert mounts("collector")[folder] == ("broker", True)
    assert SERVICES["mosquitto"]["user"] == SERVICES["collector"]["user"]
    assert f"cafile {folder}/ca.pem" in (DEPLOY / "mosquitto/mosquitto.conf").read_text("utf-8")
    assert writable("mosquitto", SERVICES["mosquitto"]["working_dir"])
    script = (DEPLOY / "mosquitto/serve.sh").read_text("utf-8")
    assert f":-{folder}}}" in script
    (port,) = published("mosquitto")
    assert f":{int(port):04X} " in SERVICES["mosquitto"]["healthcheck"]["test"][1]


def test_the_agent_s_site_file_fits_its_mounts_and_the_broker():
    site = load_site(DEPLOY / "docker/site.yaml")
    assert writable("agent", str(site.state_dir))
    assert address(site.uplink.url) == ("mosquitto", "8883")
    assert "plant" in SERVICES["agent"]["networks"]


def test_grafana_finds_the_provisioned_sources_and_dashboards():
    providers = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/dashboards/joulemark.yaml").read_text("utf-8")
    )["providers"]
    (target,) = [to for to, row in mounts("grafana").items() if row[0] == "./grafana/dashboards"]
    for provider in providers:
        folder = Path(provider["options"]["path"]).relative_to(target)
        assert list((DEPLOY / "grafana/dashboards" / folder).glob("*.json")), folder
    for path in (DEPLOY / "grafana/provisioning/datasources").iterdir():
        (plain,) = yaml.safe_load(path.read_text("utf-8"))["datasources"]
        ours = DEPLOY / "docker/grafana/datasources" / path.name
        (here,) = yaml.safe_load(ours.read_text("utf-8"))["datasources"]
        host, port = address(here["url"])
        assert "inside" in SERVICES[host]["networks"]
        assert port == address(plain["url"])[1]
        token = here.pop("secureJsonData", None)
        if token is not None:
            secret = token["httpHeaderValue1"].removeprefix("Token $__file{/run/secrets/")
            assert secret.removesuffix("}") in SERVICES["grafana"]["secrets"]
            assert here["jsonData"].pop("httpHeaderName1") == "Authorization"
        assert here | {"url": plain["url"]} == plain


# ------------------------------------------------------------------ images


def steps(name: str) -> list[tuple[str, str]]:
    """The instructions of an image with their words."""
    text = (DEPLOY / f"docker/{name}.Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(verb, words) for verb, _, words in (line.partition(" ") for line in lines)]


def variables(name: str) -> dict[str, str]:
    """The environment of the second stage, which is what runs."""
    (*_, words) = [words for verb, words in steps(name) if verb == "ENV"]
    return dict(word.partition("=")[::2] for word in words.split())


@pytest.mark.parametrize("name", sorted(OURS))
def test_an_image_runs_a_command_that_exists_as_the_user_of_the_compose_file(name, capsys):
    said = dict(steps(name))
    assert said["USER"] == SERVICES[name]["user"]
    assert re.fullmatch(r"BASE=python:3\.1[123]\.\d+-slim-bookworm", said["ARG"])
    words = [*yaml.safe_load(said["ENTRYPOINT"]), *yaml.safe_load(said["CMD"])]
    assert words[0] == "joulemark"
    with pytest.raises(SystemExit) as left:
        cli.main([*words[1:], "--help"])
    assert left.value.code == 0
    assert words[2] in capsys.readouterr().out
    assert words[-1] in mounts(name)


@pytest.mark.parametrize(("name", "state"), sorted(OURS.items()))
def test_what_an_image_writes_may_be_written_under_the_compose_file(name, state):
    given = variables(name)
    for key in (state, "NUMBA_CACHE_DIR", "JOULEMARK_ALIVE_FILE"):
        assert writable(name, given[key]), key
    check = SERVICES[name]["healthcheck"]["test"][1]
    assert f"find {given['JOULEMARK_ALIVE_FILE']} " in check
    assert dict(steps(name))["HEALTHCHECK"].endswith(f'"{check}"]')
    assert given["NUMBA_CPU_NAME"] == "generic", "the image need not run where it was built"


@pytest.mark.parametrize("name", sorted(OURS))
def test_what_an_image_copies_is_there_and_not_ignored(name):
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").split() if "!" in line]
    for verb, words in steps(name):
        if verb != "COPY" or words.startswith("--from"):
            continue
        for source in words.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(Path(source).match(item) for item in kept), f"{source} is ignored"


def test_the_health_check_knows_who_has_stood_still(tmp_path):
    check = SERVICES["agent"]["healthcheck"]["test"][1]
    alive = tmp_path / "alive"
    words = ["sh", "-c", check.replace("/run/joulemark/alive", str(alive))]

    def is_healthy() -> bool:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    assert not is_healthy()
    alive.touch()
    assert is_healthy()
    subprocess.run(["touch", "-d", "10 minutes ago", str(alive)], check=True)
    assert not is_healthy()
