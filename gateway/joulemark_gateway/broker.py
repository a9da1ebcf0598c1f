"""The MQTT broker between agents and collector: mosquitto where it is found, else an embedded one.

Either runs as its own process, listens on loopback only and keeps nothing on disk. That is enough:
a broker holds no evidence, so it may forget everything at any time; the agent deletes a batch only
on the collector's receipt. For other machines to connect, run mosquitto from the folder that
`joulemark broker config` writes, with TLS, client certificates and access list (`pki/mosquitto`).
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from joulemark_agent.contract.batch import MAX_WIRE_BYTES
from joulemark_agent.contract.errors import ConfigError, JoulemarkError, UplinkError
from joulemark_gateway.children import environment
from joulemark_gateway.pki.options import add_broker_config

HOST = "127.0.0.1"
PORT = 1883
Kind = Literal["auto", "embedded", "mosquitto"]
_PLACES = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"
_READY_S = 10.0
_CONFIG = """\
listener {port} {host}
persistence false
message_size_limit {limit}
max_inflight_messages 512
allow_anonymous {anonymous}
{password_file}
user {user}
log_dest stderr
log_type error
log_type warning
"""


@dataclass
class RunningBroker:
    """A broker in its own process; as a context manager it is stopped at the end."""

    kind: str
    port: int
    process: subprocess.Popen[str]
    _folder: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The address for a site file."""
        return f"mqtt://{HOST}:{self.port}"

    def kill(self) -> None:
        """End it as a power cut would, with everything it holds."""
        self.process.kill()
        self._gone()

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self.process.terminate()
        try:
            self.process.wait(_READY_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._gone()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    def _gone(self) -> None:
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        if self._folder is not None:
            self._folder.cleanup()


def find_mosquitto(configured: Path | None = None) -> Path | None:
    """The mosquitto program: the one named, else the one that is installed; None: there is none.

    Raises:
        ConfigError: the one named cannot be run.
    """
    if configured is not None:
        if not configured.is_file() or not os.access(configured, os.X_OK):
            raise ConfigError(
                f"{configured} is no program that can be run.",
                "Name the mosquitto program, or leave the option out.",
            )
        return configured
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path=_PLACES)
    return Path(found) if found else None


def start_broker(
    kind: Kind = "auto", port: int = 0, *, users: Mapping[str, str] | None = None
) -> RunningBroker:
    """Start a broker on loopback and return when it accepts connections.

    Args:
        kind: which; `auto` is mosquitto where it is found, else the embedded one.
        port: where it listens; 0: a free port.
        users: passwords by user name; nobody else may connect then. Only mosquitto knows users.

    Raises:
        ConfigError: the broker asked for is not there, or the port is taken.
        UplinkError: it did not start.
    """
    folder = tempfile.TemporaryDirectory(prefix="joulemark-users-") if users else None
    words = [sys.executable, "-m", __name__, "--json", "--kind", kind, "--port", str(port)]
    if folder is not None and users is not None:
        words += ["--password-file", str(_password_file(Path(folder.name), users))]
    search = os.pathsep.join(path for path in sys.path if path)  # the child finds what we found
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env={**environment(), "PYTHONPATH": search}
    )
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], 2 * _READY_S)
    line = process.stdout.readline() if ready else ""
    try:
        said = json.loads(line)
    except ValueError as error:
        broken = RunningBroker(kind, port, process, folder)
        broken.kill()
        kind_of_error = ConfigError if process.returncode == 2 else UplinkError
        raise kind_of_error(
            f"The {kind} broker did not start on port {port}; it ended with {process.returncode}.",
            "What it said stands above this message.",
        ) from error
    return RunningBroker(said["broker"], said["port"], process, folder)


def add_command(subparsers: Any) -> None:
    """Add `joulemark broker`."""
    parser = subparsers.add_parser("broker", help="run a broker for this machine")
    _add_options(parser)
    add_broker_config(parser)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kind", choices=("auto", "embedded", "mosquitto"), default="auto",
        help="auto: mosquitto where it is found, else the embedded one (default)",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=PORT, help="0: a free one (default 1883)")
    parser.add_argument("--mosquitto", type=Path, metavar="FILE", help="the mosquitto program")
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="made by mosquitto_passwd; mosquitto only",
    )
    parser.add_argument("--json", action="store_true", help="say the port as one JSON line")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    program = None
    if args.kind != "embedded":
        program = find_mosquitto(args.mosquitto)
    if args.kind == "mosquitto" and program is None:
        raise ConfigError(
            "There is no mosquitto on this machine.",
            "Install it (Debian: apt-get install mosquitto), name it with --mosquitto, or use"
            " --kind embedded.",
        )
    port = _free_port(args.port)
    if program is not None:
        _become_mosquitto(program, port, args.password_file, as_json=args.json)
    if args.password_file is not None:
        raise ConfigError(
            "The embedded broker knows no users.", "Install mosquitto, or leave the users out."
        )
    from joulemark_gateway.embedded_broker import serve  # noqa: PLC0415 - needs moat-lib-mqtt

    serve(HOST, port, on_ready=lambda: _announce("embedded", port, as_json=args.json))
    return 0


def _announce(kind: str, port: int, *, as_json: bool) -> None:
    said = {"broker": kind, "host": HOST, "port": port}
    text = json.dumps(said) if as_json else f"The {kind} broker listens on {HOST}:{port}."
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _free_port(port: int) -> int:
    """The port if it is free, or a free one for 0.

    Raises:
        ConfigError: it is taken, or may not be used.
    """
    try:
        with socket.create_server((HOST, port)) as probe:
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"Port {port} on {HOST} cannot be used: {error}.",
            "Stop what listens there, or choose another port with --port.",
        ) from error


# ------------------------------------------------------------------- mosquitto


def _become_mosquitto(program: Path, port: int, passwords: Path | None, *, as_json: bool) -> None:
    """Replace this process by mosquitto, so that whoever stops or kills it meets the broker."""
    folder = Path(tempfile.mkdtemp(prefix="joulemark-broker-"))
    config = folder / "mosquitto.conf"
    config.write_text(
        _CONFIG.format(
            host=HOST,
            port=port,
            limit=MAX_WIRE_BYTES,
            anonymous="false" if passwords else "true",
            password_file=f"password_file {passwords.absolute()}" if passwords else "",
            user=pwd.getpwuid(os.getuid()).pw_name,
        )
    )
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # inherited: the child below leaves no zombie
    broker = os.getpid()
    if os.fork() == 0:
        if _answers(port, broker):
            _announce("mosquitto", port, as_json=as_json)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)
    try:
        words = [str(program), "-c", str(config)]
        os.execve(program, words, environment())  # noqa: S606 - a program, no shell
    except OSError as error:
        raise ConfigError(
            f"{program} cannot be run: {error.strerror}.",
            "Name the mosquitto program, or use --kind embedded.",
        ) from error


def _answers(port: int, broker: int) -> bool:
    """Whether the broker, our parent, accepts connections before it ends or time is up."""
    end_s = time.monotonic() + _READY_S
    while os.getppid() == broker and time.monotonic() < end_s:
        try:
            socket.create_connection((HOST, port), 1.0).close()
        except OSError:
            time.sleep(0.01)
        else:
            return True
    return False


def _password_file(folder: Path, users: Mapping[str, str]) -> Path:
    """A password file of mosquitto; the passwords never stand in a command line."""
    program = shutil.which("mosquitto_passwd")
    if program is None:
        raise ConfigError(
            "There is no mosquitto_passwd on this machine.",
            "Install mosquitto (Debian: apt-get install mosquitto).",
        )
    path = folder / "passwords"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.writelines(f"{name}:{password}\n" for name, password in users.items())
    subprocess.run([program, "-U", str(path)], check=True, capture_output=True, env=environment())
    return path


def _main() -> int:
    parser = argparse.ArgumentParser(prog="joulemark broker")
    _add_options(parser)
    args = parser.parse_args()
    try:
        return int(args.run(args))
    except JoulemarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2 if isinstance(error, ConfigError) else 1


if __name__ == "__main__":
    sys.exit(_main())
