"""Who may send, as of now: the collector's file, and what commands have added since it started.

`registry.json` in the state folder holds what is added while the collector runs: agents that were
enrolled, and keys that were revoked. A command changes it with `enrolled` or `withdrawn`, the
collector looks at it with every message, so neither needs a restart.

Enrolment adds an agent by `enrolled(state_dir, listed, Agent(...), time)`: one that is enrolled
already gets the new key, one that stands in the collector's file is refused, because a person wrote
it there. Nothing takes a revocation back but a person who edits the file.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from joulemark_agent.contract.batch import parse_u64
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.revocation import Revoked
from joulemark_agent.contract.rotation import keys_of
from joulemark_agent.contract.signature import decode64, encode64
from joulemark_agent.contract.topics import origin, parse_origin
from joulemark_agent.files import replace_file
from joulemark_gateway.evidence.base import Head
from joulemark_gateway.ingest.registered import Agent, Registry

FILE = "registry.json"
_AGENT = {"agent", "devices", "key", "site", "time"}
_REVOKED = {"agent", "key", "origin", "reason", "size", "time"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Enrolled:
    """An agent that was added, and when (UTC, ISO 8601)."""

    agent: Agent
    time: str


@dataclass(frozen=True)
class Withdrawn:
    """A key that was revoked in one tree; of which agent, when and why is for people."""

    revoked: Revoked
    agent: str
    time: str
    reason: str


@dataclass(frozen=True)
class Added:
    """What stands in the file."""

    agents: Mapping[str, Enrolled] = field(default_factory=dict)
    revoked: tuple[Withdrawn, ...] = ()

    def to(self, listed: Registry) -> Registry:
        """The registry of the collector's file with all of this.

        Raises:
            ConfigError: the two name the same agent, key or device.
        """
        agents = dict(listed.agents)
        for row in self.agents.values():
            _check_new(row.agent, agents)
            agents[row.agent.agent] = row.agent
        return replace(listed, agents=agents, revoked=self.all_revoked(listed))

    def all_revoked(self, listed: Registry) -> tuple[Revoked, ...]:
        """Every key that is revoked, in the collector's file or here."""
        return (*listed.revoked, *(row.revoked for row in self.revoked))


class LiveRegistry:
    """The registry as it is at each call; any thread may ask."""

    def __init__(self, listed: Registry, state_dir: Path) -> None:
        """Read what was added.

        Args:
            listed: what the collector's file says.
            state_dir: the collector's state folder.

        Raises:
            ConfigError: the file cannot be read, or contradicts the collector's.
        """
        self._listed, self._path = listed, state_dir / FILE
        self._seen = _mark(self._path)
        self._now = read_added(state_dir).to(listed)

    def __call__(self) -> Registry:
        """Who may send now; while the file cannot be read, what it said before.

        Where it names agents that contradict the collector's file, as one that other collectors
        share may, agents stay as they were, and what it revokes is revoked.
        """
        mark = _mark(self._path)
        if mark != self._seen:
            self._seen = mark
            try:
                added = read_added(self._path.parent)
                self._now = replace(self._now, revoked=added.all_revoked(self._listed))
                self._now = added.to(self._listed)
            except ConfigError as error:
                fields = {"what": error.what, "do": error.do}
                log.error("registry_unreadable", extra=fields)  # noqa: TRY400 - said in full
            else:
                counts = {"agents": len(self._now.agents), "revoked": len(self._now.revoked)}
                log.info("registry_changed", extra=counts)
        return self._now

    def __contains__(self, agent: object) -> bool:
        """Whether an agent of this name may send now."""
        return agent in self().agents

    def __iter__(self) -> Iterator[str]:
        """The names of those who may send now."""
        return iter(list(self().agents))

    def __len__(self) -> int:
        """How many may send now."""
        return len(self().agents)


def enrolled(state_dir: Path, listed: Registry, agent: Agent, time: str) -> None:
    """Add an agent, or give one that was added before its new key, site or devices.

    Args:
        state_dir: the collector's state folder.
        listed: what the collector's file says.
        agent: whom to add.
        time: now, UTC, ISO 8601.

    Raises:
        ConfigError: the name, key or one of the devices is another agent's, the key is an
            operator's, or the file cannot be read or written.
    """

    def add(added: Added) -> Added:
        others = {name: row for name, row in added.agents.items() if name != agent.agent}
        _check_new(agent, replace(added, agents=others).to(listed).agents)
        if agent.key in listed.operators:
            raise ConfigError(
                f"The key of {agent.agent!r} is an operator's; who reads must not approve.",
                "Have the agent make a key of its own: move its state folder away and enrol again.",
            )
        known = added.agents.get(agent.agent)
        row = Enrolled(agent, time if known is None else _after(known.time, time))
        return replace(added, agents={**others, agent.agent: row})

    _change(state_dir, add)


def _after(known: str, time: str) -> str:
    """The time, or a second after the known one: of two enrolments the later counts for all."""
    if time > known:
        return time
    return f"{datetime.fromisoformat(known) + timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}"


def withdrawn(state_dir: Path, revoked: Iterable[Withdrawn]) -> None:
    """Revoke keys durably: the running collector refuses what they sign from its next message on.

    Raises:
        ConfigError: the file cannot be read or written.
    """
    new = tuple(revoked)
    _change(state_dir, lambda added: replace(added, revoked=(*added.revoked, *new)))


def withdrawals(agent: Agent, heads: Iterable[Head], time: str, reason: str) -> list[Withdrawn]:
    """What revoking an agent means: every key it had, in every tree, up to the size held now.

    Args:
        agent: as it is registered.
        heads: what the store holds of every tree.
        time: now, UTC, ISO 8601.
        reason: for people.
    """
    found = [
        Revoked(key, head.origin, head.size)
        for head in heads
        if (parse_origin(head.origin)[0], head.grant["agent"]) == (agent.site, agent.agent)
        for key in keys_of(head.first_key, head.rotations)
    ]
    if agent.key not in {row.key for row in found}:  # it has signed nothing here, and never will
        found += [Revoked(agent.key, origin(agent.site, one, 1), 0) for one in agent.devices]
    return [Withdrawn(row, agent.agent, time, reason) for row in found]


def read_added(state_dir: Path) -> Added:
    """What stands in the file; nothing where there is none.

    Raises:
        ConfigError: it cannot be read, or is no such file.
    """
    path = state_dir / FILE
    try:
        return _parsed(path.read_bytes())
    except FileNotFoundError:
        return Added()
    except (OSError, EvidenceError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{path} cannot be used: {error}.",
            "Restore it from its copy: it says who was enrolled and whose key is revoked.",
        ) from error


def _parsed(data: bytes) -> Added:
    content = parse_canonical(data)
    _check_fields(content, {"agents", "revoked", "v"})
    agents = [_agent(row) for row in content["agents"]]
    return Added(
        {row.agent.agent: row for row in agents}, tuple(map(_withdrawn, content["revoked"]))
    )


def _agent(row: Mapping[str, Any]) -> Enrolled:
    _check_fields(row, _AGENT)
    datetime.fromisoformat(row["time"])
    devices = frozenset(map(str, row["devices"]))
    agent = Agent(str(row["agent"]), str(row["site"]), decode64(row["key"]), devices)
    return Enrolled(agent, str(row["time"]))


def _withdrawn(row: Mapping[str, Any]) -> Withdrawn:
    _check_fields(row, _REVOKED)
    size = parse_u64(row["size"], "size")
    revoked = Revoked(decode64(row["key"]), str(row["origin"]), size)
    return Withdrawn(revoked, str(row["agent"]), str(row["time"]), str(row["reason"]))


def _check_fields(row: Mapping[str, Any], wanted: set[str]) -> None:
    if set(row) != wanted or row.get("v", 1) != 1:
        raise ValueError(f"it has other fields than {', '.join(sorted(wanted))}")


def _check_new(agent: Agent, agents: Mapping[str, Agent]) -> None:
    """Raise `ConfigError` where another agent has the name, the key or a device."""
    for other in agents.values():
        if other.agent == agent.agent:
            what = "an agent of this name stands in the collector's file"
        elif other.key == agent.key:
            what = f"its key is that of {other.agent!r}"
        elif other.site == agent.site and (both := other.devices & agent.devices):
            what = f"{other.agent!r} reads {', '.join(sorted(both))}"
        else:
            continue
        raise ConfigError(
            f"The agent {agent.agent!r} cannot be enrolled: {what}.",
            "Take one of the two out, or choose another name.",
        )


def exchange(state_dir: Path, with_others: Callable[[Callable[[bytes], bytes]], bytes]) -> bool:
    """Have the collectors that share a ledger know the same; whether this one learned something.

    While the others are asked the file is free: a ledger that does not answer holds up no command.
    What was revoked anywhere is revoked; of an agent that was enrolled twice the later time counts.

    Args:
        state_dir: the collector's state folder.
        with_others: gives what all of them know (nothing: b"") to be merged, keeps and returns it.

    Raises:
        ConfigError: the file cannot be read or written, or what the others know cannot be read.
        StoreError: the ledger cannot be reached.
    """
    path = state_dir / FILE
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mine = read_added(state_dir)

        def merge(theirs: bytes) -> bytes:
            return _data(_merged(mine, _parsed(theirs) if theirs else Added()))

        found = _parsed(with_others(merge))
        with _locked(path.with_name(f"{FILE}.lock")):
            mine = read_added(state_dir)  # a command may have been here meanwhile
            merged = _data(_merged(mine, found))
            if merged == _data(mine):
                return False
            replace_file(path, merged)
            return True
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.", "Check the free space."
        ) from error
    except (EvidenceError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"What the collectors of {path.parent} share of it cannot be used: {error}.",
            "Use the same version of Joulemark for all of them.",
        ) from error


def _merged(one: Added, other: Added) -> Added:
    agents = dict(one.agents)
    for name, row in other.agents.items():
        known = agents.get(name)
        if known is None or (known.time, known.agent.key) < (row.time, row.agent.key):
            agents[name] = row
    rows = dict.fromkeys((*one.revoked, *other.revoked))  # each once
    order = sorted(rows, key=lambda row: (row.time, row.agent, row.revoked.origin, row.revoked.key))
    return Added(dict(sorted(agents.items())), tuple(order))


def _change(state_dir: Path, change: Callable[[Added], Added]) -> None:
    """Read, change and replace the file, one command after the other."""
    path = state_dir / FILE
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.with_name(f"{FILE}.lock")):
            replace_file(path, _data(change(read_added(state_dir))))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.",
            "Run the command as the user of the collector, and check the free space.",
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _data(added: Added) -> bytes:
    return canonical_bytes(
        {
            "agents": [
                {
                    "agent": row.agent.agent,
                    "devices": sorted(row.agent.devices),
                    "key": encode64(row.agent.key),
                    "site": row.agent.site,
                    "time": row.time,
                }
                for row in added.agents.values()
            ],
            "revoked": [
                {
                    "agent": row.agent,
                    "key": encode64(row.revoked.key),
                    "origin": row.revoked.origin,
                    "reason": row.reason,
                    "size": str(row.revoked.size),
                    "time": row.time,
                }
                for row in added.revoked
            ],
            "v": 1,
        }
    )


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What tells one state of the file from another; None: it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
