"""Time-series servers that tests start: the real programs, on free ports, in a folder."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import Request, urlopen

WAIT_S = 30.0
STOP_S = 10.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def node_modules(package: str) -> Path | None:
    """The folder of global npm packages; None: the package is not in it, or there is no npm."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return None
    asked = [npm, "root", "--global"]
    folder = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout
    found = Path(folder.strip())
    return found if (found / package).is_dir() else None


def program(name: str) -> str | None:
    """The path of a server's program."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def library(name: str, folder: str) -> Path | None:
    """The path of a library that stands in a folder of its own, as Debian has it on any machine."""
    return next(iter(sorted(Path("/usr/lib").glob(f"*/{folder}/{name}"))), None) or next(
        iter(Path("/usr/lib").glob(f"{folder}/{name}")), None
    )


@contextmanager
def victoriametrics(path: str, folder: Path, *flags: str) -> Iterator[str]:
    """The address of a running VictoriaMetrics."""
    port = free_port()
    words = [
        path,
        f"-storageDataPath={folder / 'data'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-memory.allowedBytes=256MB",
        *flags,
    ]
    url = f"http://127.0.0.1:{port}"
    with _running(words, folder, f"{url}/health"):
        yield url


@contextmanager
def influxdb(path: str, folder: Path, database: str) -> Iterator[str]:
    """The address of a running InfluxDB 1.6 behind `V2Calls`."""
    port = free_port()
    config = folder / "influxdb.conf"
    config.write_text(
        f"""\
reporting-disabled = true
bind-address = "127.0.0.1:{free_port()}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
"""
    )
    url = f"http://127.0.0.1:{port}"
    with _running([path, "-config", str(config)], folder, f"{url}/ping"):
        fetch(f"{url}/query", {"q": f"CREATE DATABASE {database}"})
        with serving(type("Calls", (V2Calls,), {"upstream": url})) as front:
            yield front


class V2Calls(BaseHTTPRequestHandler):
    """The v2 write and delete calls on InfluxDB 1.6, as 1.8 has them; queries pass as they are."""

    upstream = ""

    def do_GET(self) -> None:
        self._pass_on(self.path, None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/api/v2/write":
            precision = {"us": "u"}.get(asked["precision"], asked["precision"])
            words = {"db": asked["bucket"], "precision": precision}
            self._pass_on(f"/write?{urlencode(words)}", body)
        elif parts.path == "/api/v2/delete":
            found = re.fullmatch(
                '_measurement="([a-z0-9_]+)" AND site="([a-z0-9-]+)"'
                '(?: AND project="([a-z0-9-]+)")?',
                json.loads(body)["predicate"],
            )
            assert found is not None
            query = f"DROP SERIES FROM {found[1]} WHERE site = '{found[2]}'"
            if found[3]:
                query += f" AND project = '{found[3]}'"
            self._pass_on("/query", urlencode({"db": asked["bucket"], "q": query}).encode())
        else:
            self._pass_on(self.path, body)

    def _pass_on(self, path: str, body: bytes | None) -> None:
        kind = self.headers.get("Content-Type") or "application/x-www-form-urlencoded"
        if body is not None and path == "/query":
            kind = "application/x-www-form-urlencoded"
        try:
            with urlopen(Request(self.upstream + path, body, {"Content-Type": kind})) as answer:
                status, data = answer.status, answer.read()
        except HTTPError as error:
            with error:
                status, data = error.code, error.read()
        answer_with(self, status, data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def answer_with(handler: BaseHTTPRequestHandler, status: int, data: bytes) -> None:
    """A whole answer."""
    handler.send_response(status)
    if status != 204:
        handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    if status != 204:
        handler.wfile.write(data)


@contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """The address of an HTTP server of our own, or of one that speaks TLS."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http{'' if tls is None else 's'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fetch(url: str, fields: dict[str, Any] | None = None) -> bytes:
    """The body of an answer; with fields, to a POST."""
    data = None if fields is None else urlencode(fields, doseq=True).encode()
    with urlopen(Request(url, data)) as answer:
        return bytes(answer.read())


def json_of(url: str, fields: dict[str, Any]) -> Any:
    """The JSON document of an answer to a POST."""
    return json.loads(fetch(url, fields))


@contextmanager
def _running(words: list[str], folder: Path, health: str) -> Iterator[None]:
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + WAIT_S
        while True:
            assert process.poll() is None, (folder / "log.txt").read_text()[-2000:]
            with suppress(URLError, ConnectionError):
                fetch(health)
                break
            assert time.monotonic() < until, f"{words[0]} does not answer"
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
