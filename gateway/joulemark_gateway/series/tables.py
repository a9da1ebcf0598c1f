"""What the series keeps besides points and intervals; each is a few rows a quarter-hour. Pure.

| measurement | tags beside site and device | a row is | its time |
|---|---|---|---|
| joulemark_quarter | point | what a counter counted in a quarter-hour of UTC | begin + 1 ms |
| joulemark_day | point | the same of a local day | begin + 1 ms |
| joulemark_gauge | point | the good values of a quarter-hour of what is no counter | begin + 1 ms |
| joulemark_co2e | factor | CO2e of the energy used in a quarter-hour | begin + 1 ms |
| joulemark_slot | | slots that were due: one that was read, or those of a gap | slot + 1 ms |
| joulemark_gap | cause | slots without a reading, of one quarter-hour | slot + 1 ms |
| joulemark_batch | epoch | what was signed, sent and cosigned at once | last slot + 1 ms |

Every field is a number with its unit; one that is not known is not there. Energy of a quarter-hour
is cut at its edges as measurement cuts it (`kernels.energy.counter_energy`), so quarter-hours, days
and the ledger add up to the same Wh. The time of a row that began earlier than its quarter-hour, or
lasts longer than ten days, is that of its first slot: nothing is dated before it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

QUARTER, DAY, CO2E = "joulemark_quarter", "joulemark_day", "joulemark_co2e"
GAUGE = "joulemark_gauge"
SLOT, GAP, BATCH = "joulemark_slot", "joulemark_gap", "joulemark_batch"


@dataclass(frozen=True)
class Measurement:
    """One measurement: the fields of its rows, each with its unit, in the order of the schema."""

    tags: tuple[str, ...]
    fields: Mapping[str, str]


_COUNTED = {
    "amount": "of the point's name",
    "rate_per_h": "of the point's name, per hour of the time that is known",
    "covered_us": "us",
    "estimated_us": "us",
    "missing_us": "us",
}
MEASUREMENTS: Mapping[str, Measurement] = {
    QUARTER: Measurement(("point",), _COUNTED),
    DAY: Measurement(("point",), _COUNTED),
    GAUGE: Measurement(
        ("point",),
        {
            "mean": "of the point's name",
            "least": "of the point's name",
            "most": "of the point's name",
            "readings": "readings",
        },
    ),
    CO2E: Measurement(
        ("factor",), {"co2e_kg": "kg", "energy_wh": "Wh", "factor_kg_per_kwh": "kg/kWh"}
    ),
    SLOT: Measurement((), {"expected": "slots", "received": "slots", "unsynchronised": "readings"}),
    GAP: Measurement(("cause",), {"slots": "slots"}),
    BATCH: Measurement(
        ("epoch",),
        {
            "size": "leaves of the tree after it",
            "leaves": "leaves",
            "readings": "readings",
            "cosignatures": "witnesses' signatures",
            "cosigned_s": "s since 1970, wall time",
            "delay_s": "s from its last slot to the cosignature; not of a simulated clock",
        },
    ),
}
