"""A bundle under examination: what several steps need of it, worked out once.

A part that cannot be read is kept as its error. The layer it belongs to reports that error; the
others do without the part, so every layer says all it can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.sparse import line_of
from joulemark_gateway.evidence import bundle
from joulemark_gateway.evidence.account import Account, LogFiles, read_account
from joulemark_gateway.evidence.bundle import STATEMENT, Bundle, TreeFiles
from joulemark_gateway.evidence.history import Tree, parse_tree
from joulemark_gateway.evidence.statement import Statement, open_statement
from joulemark_gateway.verify.policy import Signers, signers_of

Part = TypeVar("Part")
Place = tuple[str, int]  # device and epoch, as the member's name says


@dataclass(frozen=True)
class Case:
    """One bundle."""

    bundle: Bundle

    @cached_property
    def statement(self) -> Statement | EvidenceError:
        """The statement, its signature not yet checked."""
        try:
            return open_statement(self.bundle.members.get(STATEMENT, b""))
        except EvidenceError as error:
            return error

    @cached_property
    def claimed(self) -> Signers | None:
        """The signers the bundle itself names: enough for consistency, never for trust."""
        if isinstance(self.statement, EvidenceError):
            return None
        try:
            return signers_of(self.statement.predicate.get("signers"))
        except ConfigError:
            return None

    @cached_property
    def files(self) -> Mapping[Place, TreeFiles | EvidenceError]:
        """Leaves and checkpoints of every tree."""
        found: dict[Place, TreeFiles | EvidenceError] = {}
        left = bundle.MAX_LEAVES_BYTES
        for place in self.bundle.trees():
            try:
                files = self.bundle.tree(*place, left)
            except EvidenceError as error:
                found[place] = error
            else:
                found[place] = files
                left -= sum(len(line_of(part)) + 1 for part in files.parts)
        return found

    @cached_property
    def trees(self) -> Mapping[Place, Tree | EvidenceError]:
        """Every tree whose leaves could be unpacked, parsed."""
        found: dict[Place, Tree | EvidenceError] = {}
        for place, files in readable(self.files).items():
            try:
                found[place] = parse_tree(files.parts, packed=True)
            except EvidenceError as error:
                found[place] = error
        return found

    @cached_property
    def log(self) -> LogFiles | EvidenceError | None:
        """What is here of the collector's log; None: nothing."""
        try:
            return self.bundle.log(bundle.MAX_LOG_BYTES)
        except EvidenceError as error:
            return error

    @cached_property
    def account(self) -> Account | EvidenceError | None:
        """The same, read."""
        if self.log is None or isinstance(self.log, EvidenceError):
            return self.log
        try:
            return read_account(self.log)
        except EvidenceError as error:
            return error

    @cached_property
    def documents(self) -> Mapping[str, bytes]:
        """The documents by the digest that their names claim."""
        return self.bundle.documents()


def readable(parts: Mapping[Place, Part | EvidenceError]) -> dict[Place, Part]:
    """The parts that could be read."""
    return {key: part for key, part in parts.items() if not isinstance(part, EvidenceError)}


def unreadable(parts: Mapping[Place, Part | EvidenceError]) -> list[EvidenceError]:
    """The errors of those that could not."""
    return [part for part in parts.values() if isinstance(part, EvidenceError)]
