"""Stand-ins for what measures and what keeps rows, and one turn of a follower of the two."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from joulemark_agent.contract.canonical import digest_hex
from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.following.follower import Follower
from joulemark_gateway.following.so_far import Board, SoFar
from joulemark_gateway.reports.project_file import load_project
from support.followed import at

NOON = at(date(2018, 3, 20), 12)


class Finding:
    """Finds what it is given, by the name of the file; an error is raised."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = dict(content)
        self.asked: list[str] = []
        self.wrong: dict[str, Exception] = {}

    def __call__(self, path: Path, now_us: int, stop: threading.Event) -> dict[str, Any]:
        del now_us, stop
        file = load_project(path)
        name = path.stem
        self.asked.append(name)
        if name in self.wrong:
            raise self.wrong[name]
        return {**self.content, "id": name, "plan_sha256": digest_hex(file.plan)}


class Rows:
    """Remembers what it kept; may be out of reach."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.is_down, self.is_closed = False, False

    def keep(self, found: SoFar) -> None:
        if self.is_down:
            raise StoreError("The series server does not answer.", "Start it.", code="series")
        self.kept.append(found.id)

    def close(self) -> None:
        self.is_closed = True


def follower(
    folder: Path, finding: Any, rows: Rows | None = None, board: Board | None = None
) -> Follower:
    """A follower of `followed` in this folder."""
    return Follower([folder / "followed"], folder / "state", board or Board(), finding, rows)


def turn(one: Follower, now_us: int) -> dict[str, str]:
    """The states of the projects after a turn, by id."""
    one.turn(now_us, threading.Event())
    return {name: found.state for name, found in one._board.projects.items()}


def told_of(one: Follower) -> dict[str, str]:
    """What is told of files that are not followed, by their names."""
    return {item.path.name: item.what for item in one._board.unfollowed}
