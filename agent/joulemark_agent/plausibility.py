"""The checks of `kernels/checks.py`, kept up to date for every device while it is read.

Two windows slide along: the last ten minutes at every 5 s, for what shows at once, and the last six
hours at every minute, for counters that move seldom. A check that fails in either is a finding; it
ends when neither window shows it. Time is what the readings say: nothing here waits or looks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from joulemark_agent.contract.profile import Profile
from joulemark_agent.kernels.checks import (
    EARLIEST_RATIO,
    FEWEST_SAMPLES,
    WINDOWS,
    Sample,
    Verdict,
    failures,
    sample_of,
)

_LOOK_STEPS = 6  # from one look at a window to the next
_US = 1e-6


@dataclass(frozen=True)
class Change:
    """A finding that begins or ends."""

    device: str
    verdict: Verdict
    begins: bool


@dataclass
class _Window:
    """Samples at least a step apart, none older than the span before the last."""

    span_s: float
    step_s: float
    samples: deque[Sample] = field(default_factory=deque)
    looked_s: float = float("-inf")

    def is_due(self, t_s: float) -> bool:
        """Whether a sample of this time would be kept: a step after the last, or before it."""
        after_s = t_s - self.samples[-1].t_s if self.samples else self.step_s
        return after_s < 0 or after_s >= EARLIEST_RATIO * self.step_s

    def take(self, sample: Sample) -> bool:
        """Keep a sample that is due; whether the window is worth a look now."""
        samples = self.samples
        if samples and sample.t_s < samples[-1].t_s:  # the clock was set back
            samples.clear()
            self.looked_s = float("-inf")
        samples.append(sample)
        while sample.t_s - samples[0].t_s > self.span_s:
            samples.popleft()
        if len(samples) < FEWEST_SAMPLES or sample.t_s - self.looked_s < _LOOK_STEPS * self.step_s:
            return False
        self.looked_s = sample.t_s
        return True


class _Watched:
    """One device."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.windows = tuple(_Window(span_s, step_s) for span_s, step_s in WINDOWS)
        self.failing: tuple[dict[str, Verdict], ...] = ({}, {})
        self.found: dict[str, Verdict] = {}

    def is_due(self, t_s: float) -> bool:
        """Whether a sample of this time is of any use."""
        return any(window.is_due(t_s) for window in self.windows)

    def take(self, sample: Sample) -> bool:
        """Whether the findings may have changed."""
        looked = False
        for window, failing in zip(self.windows, self.failing, strict=True):
            if window.is_due(sample.t_s) and window.take(sample):
                looked = True
                failing.clear()
                for verdict in failures(self.profile, window.samples):
                    failing[verdict.name] = verdict
        return looked


class Watch:
    """What is implausible of each device now."""

    def __init__(self, profiles: Mapping[str, Profile]) -> None:
        """Nothing is known yet.

        Args:
            profiles: by device.
        """
        self._watched = {device: _Watched(profile) for device, profile in profiles.items()}

    def change(self, profiles: Mapping[str, Profile]) -> None:
        """Watch these devices from now on; what is known of one whose profile is the same stays."""
        self._watched = {
            device: known
            if (known := self._watched.get(device)) is not None and known.profile == profile
            else _Watched(profile)
            for device, profile in profiles.items()
        }

    def take(
        self, device: str, t_us: int, values: Mapping[str, str], quality: Mapping[str, str]
    ) -> list[Change]:
        """Take what was decoded of a reading; the findings that begin or end with it.

        Args:
            device: its id; one that is not watched is passed over.
            t_us: when it was read, by a clock that nobody sets. [us]
            values: decimal text by point.
            quality: code by point, where it is not good.
        """
        watched, t_s = self._watched.get(device), t_us * _US
        if watched is None or not watched.is_due(t_s):  # most are too early: no number is needed
            return []
        if not watched.take(sample_of(t_s, values, quality)):
            return []
        short, long = watched.failing
        found = {**long, **short}
        before, watched.found = watched.found, found
        return [
            *(Change(device, found[name], True) for name in found if name not in before),
            *(Change(device, before[name], False) for name in before if name not in found),
        ]

    def findings(self) -> dict[str, list[Verdict]]:
        """By device: the checks that do not hold, where there are any."""
        return {
            device: list(watched.found.values())
            for device, watched in self._watched.items()
            if watched.found
        }
