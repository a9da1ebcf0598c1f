"""The HTTP API against Schemathesis: every check of it, on real sockets and real evidence.

As nobody, as each role, and as the browser of a person. The control plants one failure and one
answer that is not what is described; the same run must find both.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from joulemark_gateway.access.roles import GIVEN, Role
from joulemark_gateway.api import answers
from support import guarded, pages
from support.evidence import METER, SITE

WRONG = {  # a site without PV has no balance of it: the collector says so, and does not fail
    "id": "building",
    "kind": "site_balance",
    "members": {"grid": [METER], "loads": [pages.COMPRESSOR]},
    "parameters": {"reversed": []},
}
HOUSE = {
    "id": "air",
    "kind": "compressor_house",
    "members": {"compressors": [pages.COMPRESSOR]},
    "parameters": {},
}
# What the description cannot say of a request (the end of a span before its begin, a password that
# is guessed first) is 422; an answer that is not ready is 503.
SETTINGS = """\
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "422", "429", "5xx"]
"""
PINNED = f"""\
[parameters]
"path.site" = "{SITE}"
"path.device" = "{METER}"
"path.system" = "air"
"path.project" = "pump-house"
"""
TAKING_BACK = "delete_token_api_v1_tokens__id__delete"  # would take back the token that asks
SERVER_ERROR = "Server error"


@dataclass(frozen=True)
class Found:
    """What one run found."""

    cases: int
    operations: int
    failures: tuple[str, ...]  # what of which operations


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Some thousands of cases in every role; else two thousand as an admin."""
    figures: dict[str, str] = {}
    total = 0
    with tempfile.TemporaryDirectory() as name:
        state = pages.fill(Path(name) / "state", systems=[HOUSE, WRONG])
        folder = Path(name) / "access"
        settings = guarded.collector_of(folder)
        with guarded.serving(state, folder, settings=settings) as (let, url):
            for role in (None, *GIVEN) if full else (Role.ADMIN,):
                cases, operations = _as(role, let, url, seed, full=full)
                total += cases
                told = "nobody" if role is None else role.word
                figures[f"cases as {told}"] = f"{cases:,} on {operations} operations"
            if full:
                found = probe(url, seed, let, Role.ADMIN, "--include-operation-id", TAKING_BACK)
                assert not found.failures, found.failures
                total += found.cases
        with _failing(), guarded.serving(state, Path(name) / "control") as (let, url):
            options = (*_SHORT, "--include-path", "/api/v1/sites/{site}/latest")
            control = probe(url, seed, let, Role.VIEWER, *options, pinned=True)
    assert total >= (25_000 if full else 2_000), total
    assert any(SERVER_ERROR in failure for failure in control.failures), control
    return {
        **figures,
        "cases in all": f"{total:,}",
        "server errors and other failures": "0",
        "control, one planted failure": f"found: {', '.join(control.failures)}",
    }


def _as(role: Role | None, let: guarded.Let, url: str, seed: int, *, full: bool) -> tuple[int, int]:
    """How many cases were asked in a role, and of how many operations; none may fail."""
    options = ["--max-examples", "30"] if full else _TWO_THOUSAND
    options = [*options, "--exclude-operation-id", TAKING_BACK]
    ways = (True, False) if full else (True,)
    runs = [probe(url, seed, let, role, *options, pinned=pinned) for pinned in ways]
    failures = [failure for one in runs for failure in one.failures]
    assert not failures, (role, failures)
    return sum(one.cases for one in runs), runs[0].operations


_TWO_THOUSAND = ["--phases", "fuzzing,stateful", "--max-examples", "36"]
_SHORT = ["--phases", "fuzzing,stateful", "--max-examples", "10"]


def probe(
    url: str, seed: int, let: guarded.Let, role: Role | None, *options: str, pinned: bool = False
) -> Found:
    """Let Schemathesis ask in a role; `pinned`: of what is there, not of any site or device."""
    asked = urllib.request.Request(f"{url}/openapi.json", headers=let.header(Role.VIEWER))
    with urllib.request.urlopen(asked) as answer:
        described = answer.read()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "settings.toml").write_text(SETTINGS + (PINNED if pinned else ""))
        (folder / "openapi.json").write_bytes(described)
        command = [
            sys.executable, "-m", "schemathesis.cli", "--config-file", "settings.toml",
            "run", "openapi.json", "--url", url, "--checks", "all", "--seed", str(seed),
            "--continue-on-failure", "--no-color",
            "--request-timeout", "60", "--max-response-time", "60",
            "--generation-database", "none", "--report", "json",
            "--report-json-path", "report.json", *options,
        ]  # fmt: skip
        for key, value in let.header(role).items():
            command += ["--header", f"{key}: {value}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        try:
            report: dict[str, Any] = json.loads((folder / "report.json").read_text())
        except FileNotFoundError:
            raise AssertionError(done.stdout[-3000:] + done.stderr[-3000:]) from None
    assert report["complete"], done.stdout[-3000:]
    assert not report["errors"], report["errors"]
    failures = tuple(
        f"{row['title']}: {', '.join(row['operations'])}" for row in report["failures"]
    )
    return Found(report["test_cases"]["generated"], report["operations"]["tested"], failures)


@contextmanager
def _failing() -> Iterator[None]:
    """A mistake in one answer, as somebody could make it."""

    def latest(*_: object) -> None:
        raise ZeroDivisionError

    with mock.patch.object(answers, "latest", latest):
        yield
