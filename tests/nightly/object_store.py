"""Reports and old batches on an S3 server: a writer killed at any moment, and the server away.

moto serves S3 over a real socket and s3fs asks it, both from an environment of their own
(`object_store.txt`). A process publishes report after report and is killed at a random moment of
that; two others copy all the time, as two collectors do, and every copy they see must be of one
report. The control puts the same files by their names, one after the other, and must be found
mixed. Then the server is stopped, and one that answers nothing takes its place.
"""

from __future__ import annotations

import json
import random
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from support import peer_environment
from support.child import search_path

PINS = Path(__file__).with_suffix(".txt")
KILLS, FEW_KILLS = 20, 4
_SPAN_S = 0.25  # some of the time that one report takes
_WAIT_S = 60.0


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Twenty kills of each; else four."""
    python = peer_environment.python(make=True, pins=PINS)
    draw, kills = random.Random(seed), KILLS if full else FEW_KILLS
    with ExitStack() as stack:
        place = stack.enter_context(_served(python))
        blocks = json.loads(_said(place.process("blocks", "blocks").communicate()[0]))
        ours = _killed(place, "reports", ("publish", "look"), kills, draw)
        control = _killed(place, "plain", ("plainly", "plain-look"), kills, draw)
        assert ours["mixed"] == 0, ours
        assert ours["reports"] > 1, ours
        assert control["mixed"] > 0, "control: plain files must be found mixed"
    away = json.loads(_said(place.process("away", "reports").communicate()[0]))
    with _silent(place.port):
        silent = json.loads(_said(place.process("away", "reports").communicate()[0]))
    assert (away["code"], silent["code"]) == ("objects_away", "objects_away")
    return {
        "old batches: objects, leaves that came back": f"{blocks['objects']}, {blocks['leaves']}",
        "writers killed while they published": f"{ours['killed']}",
        "copies looked at, reports seen, mixed": _row(ours),
        "control, plain files: looked at, seen, mixed": _row(control),
        "server stopped: objects_away after": f"{away['took_s']:.1f} s",
        "server that does not answer: objects_away after": f"{silent['took_s']:.0f} s",
    }


class _Place:
    """A bucket, and processes that use it."""

    def __init__(self, python: Path, port: int) -> None:
        self.python, self.port, self._bucket = python, port, f"b{secrets.token_hex(4)}"
        self.environment = {
            **peer_environment.clean(),
            "PYTHONPATH": search_path(),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def make(self) -> None:
        """The bucket; the server is waited for."""
        script = f"import s3fs; s3fs.S3FileSystem().mkdir({self._bucket!r})"
        until_s = time.monotonic() + _WAIT_S
        while subprocess.run(
            [self.python, "-c", script], env=self.environment, capture_output=True, check=False
        ).returncode:
            assert time.monotonic() < until_s, "the server does not answer"

    def process(self, what: str, folder: str) -> subprocess.Popen[str]:
        """One that does this at a folder of the bucket."""
        words = [self.python, "-m", "support.on_s3", what, f"s3://{self._bucket}/{folder}"]
        return subprocess.Popen(
            [str(word) for word in words],
            env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip


@contextmanager
def _served(python: Path) -> Iterator[_Place]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = _Place(python, port)
    words = [str(python), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(
        words, env=peer_environment.clean(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        place.make()
        yield place
    finally:
        server.kill()
        server.wait()


@contextmanager
def _silent(port: int) -> Iterator[None]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", port), reuse_port=False):
        yield


def _killed(
    place: _Place, folder: str, does: tuple[str, str], kills: int, draw: random.Random
) -> dict[str, int]:
    """What two that look saw while writers of this kind were killed."""
    publish, look = does
    lookers = [place.process(look, folder) for _ in range(2)]
    for looker in lookers:
        assert _line(looker.stdout) == "ready"
    number = killed = 0
    while killed < kills:
        writer = place.process(publish, folder)
        assert writer.stdin is not None
        assert _line(writer.stdout) == "ready"
        number += 1
        print(number, file=writer.stdin, flush=True)
        assert _line(writer.stdout) == str(number), "one report is there whole"
        number += 1
        print(number, file=writer.stdin, flush=True)
        try:
            writer.wait(draw.random() * _SPAN_S)
        except subprocess.TimeoutExpired:
            writer.kill()
            killed += 1
        writer.communicate()
    seen = [json.loads(_said(looker.communicate()[0])) for looker in lookers]
    found = {name: sum(one[name] for one in seen) for name in ("looks", "mixed")}
    return {**found, "reports": max(one["reports"] for one in seen), "killed": killed}


def _line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()


def _said(text: str) -> str:
    assert text, "the process died; what it said stands above"
    return text.strip().splitlines()[-1]


def _row(found: dict[str, Any]) -> str:
    return f"{found['looks']:,}, {found['reports']}, {found['mixed']}"
