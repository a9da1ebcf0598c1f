"""The thread that keeps running projects up to date, one after the other, beside everything else.

A project is due at the start, after each local midnight of its zone and a wait for what agents
still send, when its file changes, and again after a while where something went wrong. One that
cannot be measured is told on its page; the others go on. What was found is kept in `state_dir`, so
that pages have it at once after a start; it can be deleted and is found again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.errors import ConfigError, JoulemarkError, StoreError
from joulemark_agent.files import replace_file
from joulemark_gateway.following.calculation import LATE_US, NOTHING, local_day, plan_told, utc
from joulemark_gateway.following.files import Stamp, files_of, stamp_of
from joulemark_gateway.following.so_far import Board, SoFar, Unfollowed, so_far_of, trouble_of
from joulemark_gateway.measure.calendar import midnight_us
from joulemark_gateway.measure.project import Project
from joulemark_gateway.reports.project_file import load_project

FOLDER = "projects"  # in state_dir
AGAIN_US = 900 * 1_000_000  # after something went wrong, or where a simulated clock runs
NEVER_US = 2**63 - 1
_TURN_S = 30.0

log = logging.getLogger(__name__)

Find = Callable[[Path, int, threading.Event], Mapping[str, Any]]


class Rows(Protocol):
    """Keeps the days of a project where dashboards find them."""

    def keep(self, found: SoFar) -> None:
        """Keep them; what is there already changes nothing.

        Raises:
            StoreError: they are not kept.
        """

    def close(self) -> None:
        """Release the connections."""


@dataclass
class _Followed:
    """One project file between two attempts."""

    plan: Project
    found: SoFar
    stamp: Stamp
    due_us: int = 0
    asked_us: int = 0
    is_written: bool = True  # to the series


@dataclass(frozen=True)
class _Wrong:
    """A file that is no project: it is not read again before it changes, or a while has passed."""

    stamp: Stamp
    read_us: int
    error: JoulemarkError

    def holds(self, stamp: Stamp, now_us: int) -> bool:
        return stamp == self.stamp and self.read_us <= now_us < self.read_us + AGAIN_US


class Follower:
    """One turn after the other, by whoever calls `turn`; `FollowerThread` is who does."""

    def __init__(
        self, paths: Sequence[Path], state_dir: Path, board: Board, find: Find, rows: Rows | None
    ) -> None:
        """Nothing is read yet.

        Args:
            paths: project files, or folders of them.
            state_dir: of the collector.
            board: where the projects are shown.
            find: gives the saving of a project file.
            rows: the series; None: it has no place for them.
        """
        self._paths, self._folder, self._board = paths, state_dir / FOLDER, board
        self._find, self.rows = find, rows
        self._followed: dict[Path, _Followed] = {}
        self._wrong: dict[Path, _Wrong] = {}
        self._is_rows_down = False

    def turn(self, now_us: int, stop: threading.Event) -> None:
        """Find what is due, each project on its own.

        Args:
            now_us: wall time, UTC. [us]
            stop: set to end after the project at hand, which is left off.
        """
        files, unfollowed = files_of(self._paths)
        for kept in (self._followed, self._wrong):
            for path in kept.keys() - set(files):
                del kept[path]
        taken: dict[str, Path] = {}
        running: dict[Path, _Followed] = {}
        for path in files:
            if stop.is_set():
                return
            try:
                one = self._look_at(path, now_us)
                first = taken.setdefault(one.plan.id, path)
                if first != path:
                    raise ConfigError(
                        f"The project {one.plan.id!r} stands in {first} and in {path}.",
                        "Let each project have an id of its own, or remove one of the files.",
                    )
                running[path] = one
            except JoulemarkError as error:
                unfollowed.append(Unfollowed(path, error.what, error.do))
        self._show(running, unfollowed)
        for path, one in running.items():
            if stop.is_set():
                return
            if now_us >= one.due_us or now_us < one.asked_us:  # the clock was set back
                self._update(path, one, now_us, stop)
                self._show(running, unfollowed)
            if not one.is_written:
                self._write(one)

    def _look_at(self, path: Path, now_us: int) -> _Followed:
        """The project of a file, read where it was changed or is seen first: it is due then.

        Raises:
            ConfigError: it is no project file.
            JoulemarkError: `internal`, a mistake of ours; the other projects go on.
        """
        stamp = stamp_of(path)
        known, wrong = self._followed.get(path), self._wrong.get(path)
        if known is not None and known.stamp == stamp:
            return known
        self._followed.pop(path, None)
        if wrong is None or not wrong.holds(stamp, now_us):
            try:
                one = self._followed[path] = self._read(path, stamp, now_us)
            except JoulemarkError as error:
                wrong = self._wrong[path] = _Wrong(stamp, now_us, error)
            except Exception:
                log.exception("project_not_read", extra={"path": str(path)})
                wrong = self._wrong[path] = _Wrong(stamp, now_us, _mistake("project was not read"))
            else:
                self._wrong.pop(path, None)
                return one
        raise JoulemarkError(wrong.error.what, wrong.error.do, code=wrong.error.code)

    def _read(self, path: Path, stamp: Stamp, now_us: int) -> _Followed:
        file = load_project(path)
        sha256 = digest_hex(file.plan)
        plan = Project.model_validate(parse_canonical(file.plan))
        return _Followed(
            plan, self._kept(plan.id, sha256) or _pending(plan, file.plan, now_us), stamp
        )

    def _update(self, path: Path, one: _Followed, now_us: int, stop: threading.Event) -> None:
        one.asked_us = now_us
        try:
            found = so_far_of(self._find(path, now_us, stop))
            _require_plan(found, one.found.plan_sha256)
        except JoulemarkError as error:
            if stop.is_set():
                return
            one.found, one.due_us = _with_trouble(one.found, error), now_us + AGAIN_US
            fields = {"project": one.plan.id, "code": error.code, "what": error.what}
            log.warning("saving_not_found", extra={**fields, "do": error.do})
            return
        except Exception:  # a mistake of ours; the other projects and ingest go on
            log.exception("saving_failed", extra={"project": one.plan.id})
            wrong = _mistake("saving could not be found")
            one.found, one.due_us = _with_trouble(one.found, wrong), now_us + AGAIN_US
            return
        one.found, one.due_us = found, _due_again_us(one.plan, found, now_us)
        one.is_written = self.rows is None
        self._keep(found)
        fields = {"project": found.id, "state": found.state, "stands_to": str(found.stands_to)}
        log.info("saving_found", extra=fields)

    def _write(self, one: _Followed) -> None:
        assert self.rows is not None
        try:
            self.rows.keep(one.found)
        except JoulemarkError as error:
            if not self._is_rows_down:
                fields = {"code": error.code, "what": error.what, "do": error.do}
                log.error("saving_rows_down", extra=fields)  # noqa: TRY400 - said in full
            self._is_rows_down = True
        except Exception:  # likewise
            log.exception("saving_rows_failed", extra={"project": one.plan.id})
            one.is_written = True  # until the next day
        else:
            one.is_written, self._is_rows_down = True, False

    def _show(self, running: Mapping[Path, _Followed], unfollowed: Sequence[Unfollowed]) -> None:
        shown = {one.found.id: one.found for one in running.values()}
        self._board.show(shown, unfollowed)

    def _kept(self, name: str, plan_sha256: str) -> SoFar | None:
        """What was found of this plan before the collector was started."""
        try:
            data = (self._folder / f"{name}.json").read_bytes()
            found = so_far_of(parse_canonical(data))
        except (OSError, JoulemarkError):
            return None
        return found if found.plan_sha256 == plan_sha256 else None

    def _keep(self, found: SoFar) -> None:
        content = found.model_dump(mode="json")
        try:
            replace_file(self._folder / f"{found.id}.json", canonical_bytes(content))
        except OSError as error:  # it is found again after the next start
            fields = {"project": found.id, "what": error.strerror}
            log.warning("saving_not_kept", extra=fields)


class FollowerThread:
    """Follows from a thread of its own, until it is stopped."""

    def __init__(self, follower: Follower, now_us: Callable[[], int]) -> None:
        """Nothing runs yet.

        Args:
            follower: what is done, turn after turn.
            now_us: wall time, UTC. [us]
        """
        self._follower, self._now_us = follower, now_us
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="following", daemon=True)

    def start(self) -> None:
        """Begin with what is due at the start."""
        self._thread.start()

    def stop(self) -> None:
        """Leave off the project at hand, and end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                try:
                    self._follower.turn(self._now_us(), self._stop)
                except Exception:  # evidence goes on whatever happens here
                    log.exception("following_failed")
                if self._stop.wait(_TURN_S):
                    return
        finally:
            if self._follower.rows is not None:
                self._follower.rows.close()


def _require_plan(found: SoFar, plan_sha256: str) -> None:
    if found.plan_sha256 != plan_sha256:
        raise StoreError(
            "The project file was changed while its saving was found.",
            "Wait: it is found again by itself.",
            code="saving_unfinished",
        )


def _mistake(what: str) -> JoulemarkError:
    return JoulemarkError(
        f"The {what}, by a mistake of the program.",
        "Send the collector's log to the makers; the evidence is not affected.",
        code="internal",
    )


def _pending(plan: Project, content: bytes, now_us: int) -> SoFar:
    """A project before anything was found of it."""
    today = local_day(now_us - LATE_US, ZoneInfo(plan.time_zone))
    told = plan_told(plan, content, today)
    nothing = {"state": "pending", "computed": utc(now_us), "simulated": None}
    return so_far_of({**told, **NOTHING, **nothing})


def _with_trouble(found: SoFar, error: JoulemarkError) -> SoFar:
    """What was found before, and what went wrong now; where nothing was, that alone."""
    state = "failed" if found.state == "pending" else found.state
    return found.model_copy(update={"state": state, "trouble": trouble_of(error)})


def _due_again_us(plan: Project, found: SoFar, now_us: int) -> int:
    """When another day has passed; a finished project is not due until its plan changes."""
    if found.is_final:
        return NEVER_US
    if found.simulated:
        return now_us + AGAIN_US
    zone = ZoneInfo(plan.time_zone)
    tomorrow = local_day(now_us - LATE_US, zone) + timedelta(days=1)
    return midnight_us(tomorrow, zone) + LATE_US
