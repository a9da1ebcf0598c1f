"""Takes an operator's correction into the collector's log, if it holds.

    tree: joulemark/gwangyang/main-meter/1
    point: energy_wh
    first_seq: 812
    last_seq: 815           # as first_seq where it is left out
    excluded: true          # or, instead: value: "10012345"
    reason: The meter was tested on site; these readings are of the test load.
    who: J. Kim, energy manager

Taken back is a correction by its digest: `withdraws`, `reason` and `who` are then all there is.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from joulemark_agent.contract.canonical import canonical_bytes, decimal_text
from joulemark_agent.contract.document import validate
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import sign
from joulemark_agent.contract.topics import parse_origin
from joulemark_agent.keys import Key
from joulemark_gateway.evidence.base import EvidenceStore, Head
from joulemark_gateway.evidence.corrections import (
    EXCLUDED,
    MOST_TEXT,
    REPLACED,
    WITHDRAWN,
    Correction,
    Made,
    check_form,
    check_point,
    corrections_in,
    in_force,
    readings_of,
    signed_entry,
)
from joulemark_gateway.evidence.entries import parse_entry
from joulemark_gateway.evidence.history import parse_part, profile_of
from joulemark_gateway.evidence.log import CollectorLog
from joulemark_gateway.evidence.log_store import LogHead
from joulemark_gateway.sections import Strict, located, mistake, read_yaml


def _as_text(value: Any) -> Any:
    """A number as decimal text: people need not put it in quotes."""
    is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
    return decimal_text(Decimal(value)) if is_number else value


Text = Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]
Origin = Annotated[str, located(parse_origin)]
Value = Annotated[str, BeforeValidator(_as_text)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CorrectionFile(Strict):
    """A correction as a person writes it."""

    tree: Origin | None = None
    point: Text | None = None
    first_seq: int | None = Field(default=None, ge=0, lt=2**53)
    last_seq: int | None = Field(default=None, ge=0, lt=2**53)
    excluded: bool = False
    value: Value | None = None
    withdraws: Digest | None = None
    reason: Text
    who: Text

    @model_validator(mode="after")
    def _check(self) -> Self:
        place = (self.tree, self.point, self.first_seq)
        ways = (self.excluded, self.value is not None, self.withdraws is not None)
        if sum(ways) != 1:
            raise mistake("write one of 'excluded: true', 'value' and 'withdraws'")
        if self.withdraws and {*place, self.last_seq} != {None}:
            raise mistake("what is taken back has its place already: leave tree and readings out")
        if not self.withdraws and None in place:
            raise mistake("say where: 'tree', 'point', 'first_seq' and perhaps 'last_seq'")
        return self

    def correction(self) -> Correction:
        """What it says of readings; not for what takes back."""
        assert self.tree is not None
        assert self.point is not None
        assert self.first_seq is not None
        last = self.first_seq if self.last_seq is None else self.last_seq
        return Correction(
            origin=self.tree,
            first_seq=self.first_seq,
            last_seq=last,
            point=self.point,
            treatment=EXCLUDED if self.excluded else REPLACED,
            reason=self.reason,
            who=self.who,
            value=self.value,
        )


def load_correction(path: Path) -> CorrectionFile:
    """The correction in a file.

    Raises:
        ConfigError: every mistake with its line and what to do.
    """
    return validate(CorrectionFile, read_yaml(path))


def correct(
    book: CollectorLog,
    evidence: EvidenceStore,
    wanted: CorrectionFile,
    operator: Key,
    now_us: int,
) -> tuple[Correction, LogHead]:
    """Log a correction, and close the log over it.

    Args:
        book: the collector's log.
        evidence: where the readings are.
        wanted: what the operator states.
        operator: who signs it.
        now_us: wall time. [us]

    Raises:
        EvidenceError: `correction_form`, `correction_position`, `correction_value` or
            `correction_overlap`.
        ConfigError: what it takes back is not there.
        StoreError: the log or the evidence cannot be read or written.
    """
    correction = _taking_back(book, wanted) if wanted.withdraws else wanted.correction()
    signature = sign(operator.private, canonical_bytes(correction.content()))
    made = Made(correction, operator.public, signature, -1, now_us)
    return correction, take(book, evidence, made, now_us)


def take(book: CollectorLog, evidence: EvidenceStore, made: Made, now_us: int) -> LogHead:
    """Log what an operator has signed, and close the log over it; errors as `correct`."""
    correction = made.correction
    check_form(correction)
    site = parse_origin(correction.origin)[0]
    held = _check_place(correction, evidence)

    def unless() -> None:
        in_force([*_made(book, site), made])

    book.take_heads([held], now_us)  # a report under this correction has the readings it is about
    if not book.store.append(book.origin, [signed_entry(made)], now_us, unless=unless):
        raise ConfigError(
            f"This correction stands in the log already ({correction.digest[:16]}).",
            "Nothing was changed.",
        )
    head = book.close(now_us)
    assert head is not None, "there is a leaf"
    return head


def _taking_back(book: CollectorLog, wanted: CorrectionFile) -> Correction:
    sites = sorted({site for site, _ in book.store.leaves(2**62)})
    made = [item.correction for site in sites for item in _made(book, site)]
    found = [item for item in made if item.digest == wanted.withdraws]
    if not found:
        known = "".join(f"\n  {item.digest}  {item.origin} {item.point}" for item in made)
        raise ConfigError(
            f"There is no correction {str(wanted.withdraws)[:16]} in the log.",
            f"These stand in it:{known}" if known else "There is none at all.",
        )
    return replace(
        found[0],
        treatment=WITHDRAWN,
        value=None,
        withdraws=wanted.withdraws,
        reason=wanted.reason,
        who=wanted.who,
    )


def _check_place(correction: Correction, evidence: EvidenceStore) -> Head:
    """The head of the tree, if the readings are there and the point is one of theirs."""
    head = evidence.head(correction.origin)
    if head is None:
        known = ", ".join(held.origin for held in evidence.heads()) or "none"
        raise ConfigError(f"There is no tree {correction.origin!r} here.", f"There are: {known}.")
    first = correction.first_seq
    parts = evidence.parts(correction.origin, first, correction.last_seq + 1)
    tree = parse_part(parts, first, head.grant, head.operator_signature)
    check_point(correction, profile_of(tree, evidence.documents()))
    readings_of(correction, tree)
    return head


def _made(book: CollectorLog, site: str) -> list[Made]:
    leaves = book.store.of_site(site)
    return corrections_in(parse_entry(leaf, position) for position, leaf in leaves)
