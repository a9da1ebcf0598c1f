"""Secrets planted in a real chain of processes are nowhere but where they have to be."""

import asyncio
import json
import os
import signal
import ssl
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, closing, suppress
from functools import partial
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

import pytest

from joulemark_agent.contract.signature import encode64, new_private_key, public_key
from joulemark_agent.keys import load_key
from joulemark_agent.mqtt import Login
from joulemark_agent.simulate.controllers.compressor import Compressor
from joulemark_agent.simulate.controllers.sigma_control import SigmaControl
from joulemark_agent.simulate.controllers.web import serving
from joulemark_gateway.broker import RunningBroker, start_broker
from joulemark_gateway.children import environment
from support import certificates, servers
from support.bundles import true_bundle, true_report
from support.canaries import Canaries, descendants
from support.child import search_path
from support.evidence import KEYS
from support.fleet import PROFILE, bus_of
from support.opcua import URI
from support.opcua_locked import PASSWORDS, locked_plant

SECRETS = {
    "JOULEMARK_UPLINK__PASSWORD": "canary-uplink-5c1f9e07",
    "JOULEMARK_COLLECTOR_BROKER__PASSWORD": "canary-broker-b7720a61",
    "JOULEMARK_COLLECTOR_SERIES__TOKEN": "canary-series-token-0d4e",
    "JOULEMARK_FURNACE": PASSWORDS["reader"],
    "JOULEMARK_FURNACE_WRONG": "canary-furnace-wrong-88c2",
    "JOULEMARK_ASD": "canary-controller-19ab3f",
    "JOULEMARK_ASD_WRONG": "canary-controller-wrong-f2",
}
OF_COLLECTOR = "JOULEMARK_COLLECTOR_"
PASSWORD, WRONG_PASSWORD = "canary that sings, 0f3e", "canary of nobody, 77d1"
PAGES_KEY = "pages.key"
KEYS_OF_OURS = {"agent.key", "operator.key", "report.key", "witness.key", "log.key", PAGES_KEY}
NODE = f"""model: node
kind: furnace
protocol: opcua
source: made up for a test
confidence: bench
points:
  - {{name: temperature_k, node: "nsu={URI};s=temperature", type: float64}}
"""
LOCK = "security: {{user: reader, password_variable: {}}}"
WAIT_S = 90.0  # for what must come about, however busy the machine is


class NoEntry(BaseHTTPRequestHandler):
    """A series server that takes no token."""

    shown: ClassVar[list[str]] = []

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _refuse(self) -> None:
        self.shown.append(self.headers.get("Authorization", ""))
        servers.answer_with(
            self, 401, f"no entry with {self.shown[-1]}".encode()
        )  # told by it, not by us


for _method in ("GET", "POST"):
    setattr(NoEntry, f"do_{_method}", NoEntry._refuse)


class Chain:
    """Processes in a folder; what they print is in files there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[str, set[str]] = {}  # in command lines and environments
        self._started: list[asyncio.subprocess.Process] = []

    def environment(self, *kept: str) -> dict[str, str]:
        ours = {name: value for name, value in SECRETS.items() if name.startswith(kept)}
        own = {"PYTHONPATH": search_path(), "PYTHONFAULTHANDLER": "1"}
        return environment() | own | ours

    async def started(
        self, name: str, *words: str, env: dict[str, str], typed: str | None = None
    ) -> asyncio.subprocess.Process:
        """The command; what is typed it reads from its standard input."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "joulemark_agent.cli", *words, cwd=self.folder,
                stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log, env=env,
            )  # fmt: skip
        self._started.append(process)
        assert process.stdin is not None
        if typed is not None:
            process.stdin.write(f"{typed}\n".encode())
        process.stdin.close()
        return process

    async def done(
        self, name: str, *words: str, env: dict[str, str], typed: str | None = None
    ) -> int:
        return await (await self.started(name, *words, env=env, typed=typed)).wait()

    def kill(self) -> None:
        """Whatever still runs."""
        for process in self._started:
            with suppress(ProcessLookupError):
                process.kill()

    def has_said(self, name: str, *texts: str) -> bool:
        """Whether all of them stand in what a process has printed."""
        told = (self.folder / f"{name}.log").read_text(errors="replace")
        return all(text in told for text in texts)

    def look(self, name: str, pid: int, secrets: Canaries) -> None:
        """At a process and its children, which inherit nothing."""
        self.found[name] = secrets.in_process(pid, environment=False)
        for child in descendants(pid):
            self.found[f"a child of {name}"] = secrets.in_process(child, environment=True)


async def until(is_met: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(WAIT_S):
        while not is_met():  # noqa: ASYNC110 - what other processes do is looked at
            await asyncio.sleep(0.05)


async def ended(process: asyncio.subprocess.Process, how: signal.Signals) -> None:
    """Send a signal to a process, and wait for its end."""
    with suppress(ProcessLookupError):
        process.send_signal(how)
    await asyncio.wait_for(process.wait(), 30)


def log_in(folder: Path, port: int, password: str) -> str | None:
    """The cookie that anna gets at the pages."""
    tls = ssl.create_default_context(cafile=str(folder / "pages.crt"))
    form = urlencode({"name": "anna", "password": password, "next": "/"})
    kind = "application/x-www-form-urlencoded"
    head = {"Content-Type": kind, "Origin": f"https://127.0.0.1:{port}"}
    until = time.monotonic() + 30
    while True:
        with closing(HTTPSConnection("127.0.0.1", port, timeout=10, context=tls)) as pages:
            try:
                pages.request("POST", "/login", form, head)
                answer = pages.getresponse()
            except ConnectionRefusedError:
                assert time.monotonic() < until, "the pages do not open"
                time.sleep(0.1)
                continue
            cookie = answer.headers.get("Set-Cookie")
            assert answer.status == (303 if cookie else 401), answer.read()[:500]
            return cookie and cookie.partition(";")[0].partition("=")[2]


def _broker() -> AbstractContextManager[RunningBroker]:
    if not servers.program("mosquitto"):
        return start_broker("embedded")
    names = {"edge-1": "JOULEMARK_UPLINK__PASSWORD",
             "collector": "JOULEMARK_COLLECTOR_BROKER__PASSWORD"}  # fmt: skip
    return start_broker("mosquitto", users={user: SECRETS[name] for user, name in names.items()})


def _is_ours(path: Path) -> bool:
    return len(path.read_bytes()) < 100


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The bytes of an RSA key, in pieces as they stand in a line of a PEM file."""
    text = path.read_text().splitlines()[1:-1]
    data = b64decode("".join(text))
    for i in range(len(data) // 48):
        if i > len(data) // 96:  # from there on it is private
            yield i, data[48 * i : 48 * (i + 1)]


def site(folder: Path, *, broker: str, key: str, ports: dict[str, int]) -> Path:
    for name, text in (("small.yaml", PROFILE), ("node.yaml", NODE)):
        (folder / name).write_text(text)
    plant = f"opc.tcp://127.0.0.1:{ports['opcua']}/plant"
    asd = f"sigma-control-http://127.0.0.1:{ports['sigma']}"
    modbus = f"modbus-tcp://127.0.0.1:{ports['modbus']}"
    login = "login: {user: reader, password_variable: JOULEMARK_ASD}"
    rows = [
        f'{{id: meter, profile: small.yaml, url: "{modbus}", unit: 1}}',
        f'{{id: furnace, profile: node.yaml, url: "{plant}", {LOCK.format("JOULEMARK_FURNACE")}}}',
        f'{{id: asd, profile: kaeser_sigma_control_2, url: "{asd}", {login}}}',
    ]  # fmt: skip
    listed = "".join(f"  - {row[:-1]}, period_s: 1}}\n" for row in rows)
    path = folder / "site.yaml"
    path.write_text(f"""site: hall
agent: edge-1
time_zone: UTC
state_dir: state
factors: {{set: korea, rule_set: ESG, jurisdiction: KR}}
uplink: {{url: "{broker}", username: edge-1, collector_name: joulemark/collector,
         collector_key: "{key}"}}
batch: {{slots: 5, seconds: 2}}
devices:
{listed}""")
    wrong = path.read_text()
    for name in ("JOULEMARK_FURNACE", "JOULEMARK_ASD"):
        wrong = wrong.replace(f"{name}}}", f"{name}_WRONG}}")
    (folder / "wrong.yaml").write_text(wrong)
    return path


def collector_file(
    folder: Path, *, broker: str, series: str, pages: int, agent: dict[str, Any]
) -> None:
    """`collector.yaml`, beside a certificate for its pages."""
    shown = certificates.certificate("pages")
    (folder / "pages.crt").write_bytes(certificates.pem(shown))
    (folder / PAGES_KEY).write_bytes(certificates.key_pem("pages"))
    (folder / PAGES_KEY).chmod(0o600)
    row = {"agent": "edge-1", "site": "hall", "key": agent["key"],
           "devices": ["meter", "furnace", "asd"]}  # fmt: skip
    (folder / "collector.yaml").write_text(f"""name: joulemark/collector
state_dir: keep
broker: {{url: "{broker}", username: collector}}
series: {{kind: influx, url: "{series}"}}
pages: {{port: {pages}, tls: {{certificate: pages.crt, key: {PAGES_KEY}}}}}
agents: [{json.dumps(row)}]
operators: ["{encode64(load_key(folder / "operator.key").public)}"]
""")


def test_the_net_has_no_hole():
    """The control: a leak in any form is found, in files, in packed files and in a command line."""
    secret = "canary-of-the-control-71"
    net = Canaries({"x": secret.encode()})
    packed = encode64(b"ab" + secret.encode() + b"c")
    for leak in (f"level=info password={secret}", f'"{packed}"', secret.encode().hex()):
        assert net.in_bytes(leak.encode()) == {"x"}
    assert net.in_bytes(b"nothing of the kind") == set()
    assert net.in_process(os.getpid(), environment=True) == set()


async def test_a_leak_in_a_command_line_or_an_inherited_environment_is_found():
    secret = "canary-of-the-control-72"
    net = Canaries({"x": secret.encode()})
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    for leaking, env in (([*words, secret], None), (words, {**os.environ, "JOULEMARK_X": secret})):
        process = await asyncio.create_subprocess_exec(*leaking, env=env)
        try:
            await asyncio.sleep(0.2)
            assert net.in_process(process.pid, environment=True) == {"x"}
            assert process.pid in descendants(os.getpid())
        finally:
            process.kill()
            await process.wait()


def test_a_child_gets_no_variable_of_ours_that_is_not_its_own():
    given = {"PATH": "/bin", "JOULEMARK_KERNELS": "plain", **SECRETS}

    assert environment(given=given) == {"PATH": "/bin", "JOULEMARK_KERNELS": "plain"}
    kept = environment(OF_COLLECTOR, given=given)
    assert {name for name in kept if name in SECRETS} == {
        name for name in SECRETS if name.startswith(OF_COLLECTOR)
    }


def test_what_holds_a_password_does_not_show_it():
    assert "canary" not in repr(Login("mqtt://h", "me", "user", "canary"))


def test_neither_a_bundle_nor_a_report_holds_a_key():
    keys = {name: getattr(KEYS, name) for name in ("agent", "operator", "witness", "reporter")}
    net = Canaries(keys)

    assert net.in_bytes(true_bundle()) == set()
    assert net.in_bytes(true_report().report_html + true_report().report_json) == set()
    assert net.in_bytes(true_bundle() + encode64(keys["agent"]).encode()) == {"agent"}


PLANTED = """
from paho.mqtt.client import Client

def connected(*_, **__):
    raise RuntimeError("a planted bug")

Client.username_pw_set = connected
"""


@pytest.mark.endurance
@pytest.mark.timeout(300)
async def test_a_chain_of_processes_keeps_its_secrets(tmp_path):
    chain = Chain(tmp_path)
    async with AsyncExitStack() as stack:
        stack.callback(chain.kill)
        broker = stack.enter_context(_broker())
        modbus = await stack.enter_async_context(bus_of("modbus-tcp"))
        locked = stack.enter_context(locked_plant())
        controller = SigmaControl(
            Compressor(1), lambda: 1000.0, user="reader", password=SECRETS["JOULEMARK_ASD"]
        )
        sigma = await stack.enter_async_context(serving(controller.respond))
        shown: list[str] = []
        handler = type("Series", (NoEntry,), {"shown": shown})
        series = stack.enter_context(servers.serving(handler))
        pages = servers.free_port()
        plain = chain.environment()
        own = chain.environment("JOULEMARK_UPLINK", "JOULEMARK_FURNACE", "JOULEMARK_ASD")
        collecting = chain.environment(OF_COLLECTOR)
        words, its = ("-c", "site.yaml"), ("-c", "collector.yaml")

        ports = {"modbus": modbus.port, "opcua": locked.port, "sigma": sigma}
        private = new_private_key()
        (tmp_path / "keep").mkdir(mode=0o700)
        witness = tmp_path / "keep" / "witness.key"
        witness.touch(0o600)
        witness.write_text(encode64(private))
        site(tmp_path, broker=broker.url, key=encode64(public_key(private)), ports=ports)
        enrol = ("agent", "enroll", *words, "--operator-key", "operator.key", "--json")
        assert await chain.done("enroll", *enrol, "--create-operator-key", env=plain) == 0
        assert await chain.done("certificate", "agent", "certificate", *words, env=plain) == 0
        enrolled = json.loads((tmp_path / "enroll.log").read_text().strip().splitlines()[-1])
        collector_file(tmp_path, broker=broker.url, series=series, pages=pages, agent=enrolled)
        add = ("collector", "user", "add", "anna", "--role", "admin", "--all-sites", *its)
        assert await chain.done("user", *add, env=plain, typed=PASSWORD) == 0
        token = ("collector", "token", "add", "robot", "--role", "viewer", "--all-sites", *its)
        assert await chain.done("token.shown", *token, "--json", env=plain) == 0
        collector = await chain.started("collector", "collector", "run", *its, env=collecting)
        cookie = await asyncio.to_thread(log_in, tmp_path, pages, PASSWORD)
        assert await asyncio.to_thread(log_in, tmp_path, pages, WRONG_PASSWORD) is None
        assert cookie is not None
        said = json.loads((tmp_path / "token.shown.log").read_text().strip().splitlines()[-1])
        keys = [path for path in tmp_path.rglob("*.key") if path.name in KEYS_OF_OURS]
        net = Canaries({
            **{name: secret.encode() for name, secret in SECRETS.items()},
            "a password": PASSWORD.encode(),
            "a wrong password": WRONG_PASSWORD.encode(),
            "a session": cookie.encode(),
            "an API token": said["token"].encode(),
            **{str(p.relative_to(tmp_path)): load_key(p).private for p in keys if _is_ours(p)},
            **{f"{p.name}:{i}": line for p in keys if not _is_ours(p) for i, line in _lines(p)},
        })  # fmt: skip

        failing = {**own, "JOULEMARK_UPLINK__PASSWORD": SECRETS["JOULEMARK_FURNACE_WRONG"]}
        failing |= chain.environment("JOULEMARK_FURNACE_WRONG", "JOULEMARK_ASD_WRONG")
        read = ("agent", "read", *words, "--once", "--json")
        await chain.done("untrusted", *read, env=own)
        rejected, trusted = (tmp_path / "state/opcua" / name for name in ("rejected", "trusted"))
        trusted.mkdir(exist_ok=True)
        for path in rejected.iterdir():
            path.rename(trusted / path.name)
        agent = await chain.started("wrong", "agent", "run", "-c", "wrong.yaml", env=failing)
        refusals = ('"code": "refused"', "login_refused", "BadUserAccessDenied")
        await until(lambda: chain.has_said("wrong", *refusals))
        chain.look("an agent that is refused", agent.pid, net)
        await ended(agent, signal.SIGTERM)
        await chain.done("read", *read, env=own)
        await chain.done("no password", *read, env=plain)

        agent = await chain.started("agent", "agent", "run", *words, env=own)
        await until(lambda: bool(shown))  # evidence has come as far as the series
        chain.look("the agent", agent.pid, net)
        chain.look("the collector", collector.pid, net)
        chain.found["the broker"] = net.in_process(broker.process.pid, environment=True)
        await ended(agent, signal.SIGSEGV)  # a crash, with all that is told of it
        await ended(collector, signal.SIGTERM)
        (tmp_path / "sitecustomize.py").write_text(PLANTED)
        for name, start, env in (
            ("agent.bug", ("agent", "run", *words), own),
            ("collector.bug", ("collector", "run", *its), collecting),
        ):
            search = f"{tmp_path}{os.pathsep}{env['PYTHONPATH']}"
            process = await chain.started(name, *start, env={**env, "PYTHONPATH": search})
            await until(partial(chain.has_said, name, "a planted bug"))
            await ended(process, signal.SIGTERM)
        await chain.done("check", "agent", "check", *words, env=own)
        for name in ("keys", "status", "events"):
            await chain.done(name, "collector", name, *its, "--json", env=collecting)

    leaks = net.in_folder(tmp_path, *KEYS_OF_OURS, "token.shown.log")
    told = {path.stem: path.read_text(errors="replace") for path in tmp_path.glob("*.log")}
    assert not leaks
    assert not any(chain.found.values()), chain.found
    assert "Segmentation" in told["agent"]
    for name in ("agent.bug", "collector.bug"):
        assert "Traceback" in told[name], told[name][-2000:]
    assert any(SECRETS[f"{OF_COLLECTOR}SERIES__TOKEN"] in header for header in shown)
    assert '"temperature_k"' in told["read"], "the furnace was read with its password"
    assert net.in_folder(tmp_path, "x"), "the net finds them where they have to be"
    for file in tmp_path.rglob("*.key"):
        assert file.stat().st_mode & 0o077 == 0, f"{file.name} may be read by others"
