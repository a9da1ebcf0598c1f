"""Step 12: time stamps hold, each over a head that is here, where the policy knows their authority.

That their bytes are those that were handed out, the manifest says; some bits of a token are neither
signed nor looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.signature import decode64, parse_note
from joulemark_gateway.evidence.account import Account
from joulemark_gateway.evidence.timestamps import stamped_at
from joulemark_gateway.verify.case import Case
from joulemark_gateway.verify.finding import Finding, found
from joulemark_gateway.verify.policy import Policy
from joulemark_gateway.verify.times import EPSILON_US

LAYER = "anchors"
UNCHECKED = "timestamp_unchecked"


@dataclass(frozen=True)
class Anchored:
    """A head that an authority stamped; None: the policy does not know the authority."""

    size: int
    authority: str
    time: datetime | None


def check(case: Case, policy: Policy | None) -> list[Finding]:
    """Time stamps that do not hold.

    Codes: `timestamp_head`, `timestamp_bad`, `timestamp_early`, `timestamp_missing`, and
    `timestamp_unchecked` where what checks them is not installed: then nothing is decided.
    """
    account = case.account
    if account is None or isinstance(account, EvidenceError):
        return []  # the layer of the log says so
    sizes = {head.size for head in account.heads}
    for size, authority in account.tokens:
        if size not in sizes:
            what = f"{authority} stamped a head of {size} leaves that is not here"
            return [Finding("timestamp_head", what, LAYER)]
    try:
        anchored = list(anchors_of(account, policy))
    except (EvidenceError, ConfigError) as error:
        return [found(error, LAYER)]
    if policy and policy.authorities and not any(item.time for item in anchored):
        what = "no authority that is trusted stamped a head of the log"
        return [Finding("timestamp_missing", what, LAYER)]
    return [
        Finding("timestamp_early", _early(item), LAYER)
        for item in anchored
        if item.time is not None and item.time < _logged(account, item.size)
    ]


def anchors_of(account: Account, policy: Policy | None) -> Iterator[Anchored]:
    """The stamped heads, each with the time that its authority signed.

    Raises:
        EvidenceError: `timestamp_bad`.
        ConfigError: `timestamp_unchecked`.
    """
    messages = {
        head.size: parse_note(note)[0].encode()
        for head, note in zip(account.heads, account.notes, strict=True)
    }
    trusted = {
        item.name: [decode64(text) for text in item.certificates]
        for item in (policy.authorities if policy else ())
    }
    for (size, authority), token in sorted(account.tokens.items()):
        roots = trusted.get(authority)
        time = None if roots is None else stamped_at(token, messages[size], roots)
        yield Anchored(size, authority, time)


def _logged(account: Account, size: int) -> datetime:
    """The latest time that a leaf under this head claims, less what clocks may differ."""
    times = [entry.time_us for entry in account.entries if entry.position < size]
    latest = timedelta(microseconds=max(times, default=EPSILON_US) - EPSILON_US)
    return datetime(1970, 1, 1, tzinfo=UTC) + latest


def _early(item: Anchored) -> str:
    return f"{item.authority} stamped {item.size} leaves before the last of them was logged"
