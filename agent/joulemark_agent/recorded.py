"""What a recorder is given: devices with their approval, when batches close, wall time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import Reading
from joulemark_agent.envelope import Carbon
from joulemark_agent.figures import Subject

Observe = Callable[[Reading, Mapping[str, str], Mapping[str, str]], None]


@dataclass(frozen=True)
class Wall:
    """Wall time, which heads, boots and the closing of batches use even in a replay."""

    utc_us: Callable[[], int] = lambda: time.time_ns() // 1000
    mono_ns: Callable[[], int] = time.monotonic_ns


@dataclass(frozen=True)
class Recorded:
    """A device whose evidence is recorded: by whose approval and under which documents."""

    profile: Profile
    period_us: int
    grant: Mapping[str, Any]  # {"grant": ..., "operator_signature": ...}
    documents: Mapping[str, bytes]  # canonical bytes of profile, site, factors
    carbon: Carbon
    figures: Subject | None = None  # None: none are stated

    @property
    def device(self) -> str:
        """The device's id."""
        return str(self.grant["grant"]["dev"])

    @property
    def epoch(self) -> int:
        """The epoch that was granted."""
        return int(self.grant["grant"]["epoch"])


@dataclass(frozen=True)
class Limits:
    """When a batch closes: at so many slots or seconds, whichever comes first.

    A commit closes what is due very soon, so that devices that are read together share it. In
    committed mode it closes with the slot that ends an interval, and only then.
    """

    slots: int
    seconds: float
    interval_us: int | None = None  # of committed mode
