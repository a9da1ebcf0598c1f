"""The services of deploy/compose.yaml without an engine: native programs, the same files.

serve.sh with mosquitto, the collector with the file of the compose file, a series server, an agent
that joins by token, each a process of its own. Only addresses, folders and the operator's key are
other than in the files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from joulemark_gateway.evidence.store import FILE, SqliteStore
from support.child import search_path
from support.identities import HOST, RELOADING, is_serving
from support.servers import free_port, json_of

pytestmark = [pytest.mark.endurance, pytest.mark.service, pytest.mark.timeout(600)]

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
BROKER_USER = 1883
WAIT_S = 60.0
SECRET = "influxdb-token-of-a-file"
_FACTORY = """\
scenario: natively
kind: devices
about: one meter in real time
synthetic: true
first_slot: "2022-05-09T00:00:00Z"
period_s: 1
count: 1000000
devices:
  - {unit: 1, profile: virtual_main_meter}
"""


@dataclass
class Natively:
    """The folder that stands for the containers' own, and the processes."""

    folder: Path
    series: str
    stack: ExitStack
    ports: dict[str, int] = field(
        default_factory=lambda: {name: free_port() for name in ("broker", "join", "pages")}
    )
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    @property
    def broker(self) -> Path:
        """The folder that mosquitto runs from."""
        return self.folder / "broker"

    def file(self, name: str) -> str:
        """The path of one of the files of people."""
        return str(self.folder / name)

    def write(self, name: str, changes: dict[str, str]) -> None:
        """A file of deploy/docker, with the places that are other here."""
        text = (DEPLOY / "docker" / name).read_text("utf-8")
        for old, new in changes.items():
            assert old in text, f"{name} does not say {old!r}"
            text = text.replace(old, new)
        (self.folder / name).write_text(text, "utf-8")

    def environment(self, name: str) -> dict[str, str]:
        """What the compose file gives a service, with its secrets and its alive file here."""
        given = {
            key: str(value).replace("/run/secrets", str(self.folder / "secrets"))
            for key, value in COMPOSE[name].get("environment", {}).items()
        }
        ours = {key: value for key, value in os.environ.items() if not key.startswith("JOULEMARK")}
        given["JOULEMARK_ALIVE_FILE"] = str(self.folder / f"{name}.alive")
        return {**ours, "PYTHONPATH": search_path(), **given}

    def joulemark(self, *words: str, given: str = "") -> str:
        """What a command prints."""
        done = subprocess.run(
            self.command(*words), input=given, env=self.environment("collector"),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def told(self, *words: str) -> Any:
        """What a command prints as JSON."""
        file = self.file("collector.yaml")
        return json.loads(self.joulemark(*words, "-c", file, "--json").splitlines()[-1])

    @staticmethod
    def command(*words: str) -> list[str]:
        """A `joulemark` command."""
        return [sys.executable, "-m", "joulemark_agent.cli", *words]

    def start(self, name: str, words: list[str], **more: Any) -> subprocess.Popen[str]:
        """Start a process that is ended with the test, in order."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(words, stderr=log, text=True, **more)
        self.running[name] = process
        self.stack.callback(self.stop, name)
        return process

    def stop(self, name: str) -> int:
        """SIGTERM; how it ended."""
        process = self.running[name]
        process.terminate()
        code = process.wait(WAIT_S)
        if process.stdout is not None:
            process.stdout.close()
        return code

    def log(self, name: str) -> str:
        """What a process said."""
        return (self.folder / f"{name}.log").read_text("utf-8")

    def is_healthy(self, name: str) -> bool:
        """What the health check of the compose file says."""
        check = COMPOSE[name]["healthcheck"]["test"][1]
        check = check.replace("/run/joulemark/alive", self.file(f"{name}.alive"))
        check = check.replace(":22B3 ", f":{self.ports['broker']:04X} ")
        return subprocess.run(["sh", "-c", check], capture_output=True, check=False).returncode == 0


def until(holds: Callable[[], bool], what: str) -> None:
    until_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < until_s, what
        time.sleep(0.05)


@pytest.fixture
def plant(influxdb) -> Iterator[Natively]:
    """All that the page on containers has a person write."""
    # Not in pytest's folder: the broker's user could not pass through it.
    folder = Path(tempfile.mkdtemp(prefix="joulemark-natively-"))
    folder.chmod(0o711)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        made = Natively(folder, influxdb, stack)
        (folder / "secrets").mkdir()
        for name in ("influxdb_token", "postgres_password"):
            (folder / "secrets" / name).write_text(f"{SECRET}\n", "utf-8")
        made.broker.mkdir(mode=0o700)
        (folder / "factory.yaml").write_text(_FACTORY, "utf-8")
        yield made


def serve(plant: Natively) -> None:
    """mosquitto as its service starts it: as root, then as the user of the compose file."""
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        as_user = {"user": BROKER_USER, "group": BROKER_USER, "extra_groups": []}
    given = {
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
        "JOULEMARK_BROKER": str(plant.broker),
        "JOULEMARK_LOOK_S": "0.1",
    }
    words = ["/bin/sh", str(plant.folder / "serve.sh")]
    plant.start("mosquitto", words, env=given, cwd=plant.broker, **as_user)
    until(lambda: is_serving(plant.ports["broker"]), "mosquitto serves")


def enrol(plant: Natively) -> None:
    """The agent joins by token, and an operator approves."""
    asked = ("collector", "enroll-token", "edge-1", "--site", "plant", "--devices", "meter")
    token = plant.folder / "token"
    token.write_text(plant.told(*asked)["token"], "utf-8")
    words = ["agent", "enroll", "-c", plant.file("site.yaml"), "--operator-key",
             plant.file("operator.key"), "--collector", f"https://{HOST}:{plant.ports['join']}",
             "--token-file", str(token)]  # fmt: skip
    joining = plant.start("join", plant.command(*words), env=plant.environment("agent"),
                          stdout=subprocess.PIPE)  # fmt: skip
    waiting: list[dict[str, Any]] = []
    while not waiting:
        assert joining.poll() is None, plant.log("join")
        waiting = plant.told("collector", "enrolments")["enrolments"]
    plant.told("collector", "enrolments", "approve", waiting[0]["id"][:6])
    assert joining.wait(WAIT_S) == 0, plant.log("join")


def size(plant: Natively) -> int:
    """How many leaves the collector holds."""
    path = plant.folder / "state" / FILE
    if not path.exists():
        return 0
    with SqliteStore(path, create=False) as store:
        return sum(head.size for head in store.heads())


def rows(plant: Natively) -> int:
    """How many readings the series server has."""
    query = "SELECT count(value) FROM joulemark_point WHERE site = 'plant'"
    asked = {"db": "joulemark", "q": query}
    (result,) = json_of(f"{plant.series}/query", asked)["results"]
    return int(result["series"][0]["values"][0][1]) if "series" in result else 0


@pytest.mark.usefixtures("mosquitto")
def test_from_the_files_of_the_compose_file_to_evidence_series_and_a_revocation(plant):
    shutil.copy(DEPLOY / "mosquitto/serve.sh", plant.folder)
    factory = plant.start(
        "factory",
        plant.command("agent", "simulate", "-c", plant.file("factory.yaml"), "--real-time",
                      "--json"),
        env=plant.environment("agent"), stdout=subprocess.PIPE,
    )  # fmt: skip
    assert factory.stdout is not None
    meter = json.loads(factory.stdout.readline())["modbus_port"]
    plant.write("site.yaml", {
        "/var/lib/joulemark": plant.file("agent-state"),
        "mosquitto:8883": f"{HOST}:{plant.ports['broker']}",
        "modbus-tcp://192.0.2.8": f"modbus-tcp://{HOST}:{meter}",
        "period_s: 60": "period_s: 1",
    })  # fmt: skip
    asked = ("--operator-key", plant.file("operator.key"), "--create-operator-key", "--json")
    made = plant.joulemark("agent", "enroll", "-c", plant.file("site.yaml"), *asked)
    plant.write("collector.yaml", {
        "PUBLIC-KEY-OF-THE-OPERATOR": json.loads(made)["operator_key"],
        "/var/lib/joulemark": plant.file("state"),
        "/etc/mosquitto/joulemark": str(plant.broker),
        "mosquitto:8883": f"{HOST}:{plant.ports['broker']}",
        "http://influxdb:8086": plant.series,
        "8080": str(plant.ports["pages"]),
        "enrolment: {}": f"enrolment: {{host: {HOST}, port: {plant.ports['join']}}}",
    })  # fmt: skip
    plant.told("collector", "ca", "init", "--host", HOST)
    if os.geteuid() == 0:
        os.chown(plant.broker, BROKER_USER, BROKER_USER)
    plant.told("broker", "config", "--out", str(plant.broker), "--host", HOST,
               "--port", str(plant.ports["broker"]))  # fmt: skip
    plant.joulemark("collector", "user", "add", "admin", "--role", "admin", "-c",
                    plant.file("collector.yaml"), given="a password for a test\n")  # fmt: skip

    serve(plant)
    assert plant.is_healthy("mosquitto")
    words = plant.command("collector", "run", "-c", plant.file("collector.yaml"))
    plant.start("collector", words, env=plant.environment("collector"))
    until(lambda: "enrolment_started" in plant.log("collector"), "agents may join")
    enrol(plant)
    words = plant.command("agent", "run", "-c", plant.file("site.yaml"))
    plant.start("agent", words, env=plant.environment("agent"), stdout=subprocess.PIPE)
    until(lambda: size(plant) > 8, "evidence is held")
    until(lambda: rows(plant) > 3, "the series has readings")
    assert "pages_started" in plant.log("collector")
    for name in ("agent", "collector"):
        assert plant.is_healthy(name), name

    before = plant.log("mosquitto").count(RELOADING)
    plant.told("collector", "revoke", "edge-1", "--reason", "lost")
    until(lambda: "not authorized" in plant.log("agent").lower()
          or "uplink_trouble" in plant.log("agent"), "the agent is refused")  # fmt: skip
    assert before == 0 or plant.log("mosquitto").count(RELOADING) > before

    assert plant.stop("agent") == 0, plant.log("agent")
    assert plant.stop("collector") == 0, plant.log("collector")
    assert plant.stop("mosquitto") == 0, "the broker ends in order, with its script"
    everything = "".join(plant.log(name) for name in ("agent", "collector", "mosquitto"))
    assert SECRET not in everything
    assert not re.search("Traceback", everything), everything
