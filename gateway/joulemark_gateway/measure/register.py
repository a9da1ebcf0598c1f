"""The register of a counter as amounts per unit; a fall is a rollover or a counter begun anew.

A fall is a rollover only where the size of the register is known and the step that this makes is
one that the meter can do. After any other fall the step is not known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from joulemark_gateway.measure.finding import Finding
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.rules import at_most


@dataclass(frozen=True, eq=False)
class Steps:
    """What was counted between neighbouring readings, NaN where it cannot be known; (n - 1,)."""

    amount: Array
    resets: int
    rollovers: int

    def finding(self, by: str, subject: str) -> Finding:
        """The counter starts anew nowhere; where it did, its step is missing."""
        return at_most(
            "counter_reset",
            by=by,
            subject=subject,
            rule="the counter starts anew nowhere; a step in which it does is missing",
            seen=float(self.resets),
            limit=0,
            unit="units",
        )


def steps(register: Array, *, modulus: float | None = None, most: float = np.inf) -> Steps:
    """The amounts between readings.

    Args:
        register: readings in the order of time, NaN where one is missing, shape (n,).
        modulus: the register shows the count modulo this; None: not known, every fall is a reset.
        most: the largest step that the meter can do; one beyond it is no rollover.
    """
    known = np.where(np.isfinite(register), register, np.nan)
    amount = known[1:] - known[:-1]
    fell = amount < 0
    risen = amount + (np.nan if modulus is None else modulus)
    rolled = fell & (risen >= 0) & (risen <= most)
    reset = fell & ~rolled
    amount = np.where(rolled, risen, np.where(reset, np.nan, amount))
    return Steps(amount, int(np.count_nonzero(reset)), int(np.count_nonzero(rolled)))
