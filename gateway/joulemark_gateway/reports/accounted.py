"""What the collector's log says beside a report's evidence: its head, who saw it, corrections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.signature import encode64, fingerprint, parse_note
from joulemark_gateway.evidence.account import Account
from joulemark_gateway.evidence.corrections import (
    Correction,
    Made,
    corrections_in,
    in_force,
    readings_of,
)
from joulemark_gateway.evidence.history import Record, Tree
from joulemark_gateway.measure.result import Measurement
from joulemark_gateway.reports.figures import kwh, local_time, tonnes

_US_PER_S = 1_000_000
Json = dict[str, Any]


@dataclass(frozen=True)
class Listed:
    """A correction, what it is about, and whether it counts."""

    made: Made
    is_in_force: bool
    readings: int
    old: tuple[str, str]  # of the first and the last reading: value, or the code it had


@dataclass(frozen=True)
class AccountUsed:
    """The head of the log under which a report stands, and what the log says of it."""

    origin: str
    size: int
    root: str  # base64
    text: str  # what was signed: three lines
    cosigners: tuple[tuple[str, int], ...]  # name, POSIX seconds
    heads: int
    leaves: int  # of the site
    closed_us: int | None
    stamps: tuple[tuple[int, str, str], ...]  # size, authority, SHA-256 of the token
    corrections: tuple[Listed, ...]

    @property
    def in_force(self) -> list[Correction]:
        """The corrections that count."""
        return [item.made.correction for item in self.corrections if item.is_in_force]


def account_used(account: Account, trees: Sequence[Tree]) -> AccountUsed:
    """What an account says of these trees.

    Raises:
        EvidenceError: a correction does not hold, see `corrections`.
    """
    made = corrections_in(account.entries)
    standing = {item.correction.digest for item in in_force(made)}
    by_origin = {tree.origin: tree for tree in trees}
    listed = [
        _listed(item, by_origin, is_in_force=item.correction.digest in standing)
        for item in made
        if item.correction.origin in by_origin
    ]
    newest = account.newest
    return AccountUsed(
        origin=newest.origin,
        size=newest.size,
        root=encode64(newest.root),
        text=parse_note(account.notes[-1])[0],
        cosigners=tuple(account.cosigners()),
        heads=len(account.heads),
        leaves=len(account.entries),
        closed_us=account.closed_us,
        stamps=tuple(account.stamps()),
        corrections=tuple(listed),
    )


def account_content(account: AccountUsed, zone: ZoneInfo) -> Json:
    """What a report prints of the log."""
    return {
        "origin": account.origin,
        "size": str(account.size),
        "root": account.root,
        "text": account.text,
        "closed": None if account.closed_us is None else local_time(account.closed_us, zone),
        "heads": str(account.heads),
        "leaves": str(account.leaves),
        "cosigned_by": [
            {"name": name, "time": local_time(time_s * _US_PER_S, zone)}
            for name, time_s in account.cosigners
        ],
        "time_stamps": [
            {"authority": name, "size": str(size), "sha256": digest}
            for size, name, digest in account.stamps
        ],
    }


def corrections_content(
    account: AccountUsed, measurement: Measurement, uncorrected: Measurement | MeasureError | None
) -> Json:
    """What a report prints of corrections: each of them, and the totals with and without."""
    return {
        "listed": [_correction(item) for item in account.corrections],
        "with": None if uncorrected is None else _totals(measurement),
        "without": None if uncorrected is None else _totals(uncorrected),
    }


def _correction(item: Listed) -> Json:
    correction = item.made.correction
    return {
        "digest": correction.digest,
        "origin": correction.origin,
        "first_leaf": str(correction.first_seq),
        "last_leaf": str(correction.last_seq),
        "readings": str(item.readings),
        "point": correction.point,
        "treatment": correction.treatment,
        "old_first": item.old[0],
        "old_last": item.old[1],
        "new": correction.value,
        "withdraws": correction.withdraws,
        "counts": item.is_in_force,
        "reason": correction.reason,
        "who": correction.who,
        "operator": fingerprint(item.made.operator_key),
        "log_leaf": str(item.made.position),
    }


def _totals(measured: Measurement | MeasureError) -> Json:
    if isinstance(measured, MeasureError):
        return {"refused_because": [measured.code]}
    saving = measured.saving
    return {
        "refused_because": list(measured.codes) if saving is None else [],
        "baseline_kwh": kwh(measured.baseline.energy_wh),
        "reporting_kwh": kwh(measured.reporting.energy_wh),
        "avoided_kwh": None if saving is None else kwh(saving.avoided_wh),
        "half_width_kwh": None if saving is None else kwh(saving.half_width_wh),
        "avoided_t": None if saving is None else tonnes(saving.carbon.avoided_kg),
    }


def _listed(item: Made, trees: Mapping[str, Tree], *, is_in_force: bool) -> Listed:
    correction = item.correction
    readings = readings_of(correction, trees[correction.origin])
    old = _shown(readings[0], correction.point), _shown(readings[-1], correction.point)
    return Listed(item, is_in_force, len(readings), old)


def _shown(record: Record, point: str) -> str:
    """What stands in a reading: the value, and in brackets the code of one that is not good."""
    value, code = record.values.get(point), record.quality.get(point)
    if code is None:
        return str(value)
    return code if value is None else f"{value} ({code})"
