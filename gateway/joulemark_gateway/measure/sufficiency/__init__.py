"""Named, versioned policies that say when a baseline may prove anything; one file each.

The engine has no limits of its own. A project names its policy; changing a limit makes a new
version, and id and version stand beside every saving.

`POLICIES` holds all of them. `SUFFICIENCY_POLICIES` holds those that a project file may name, whose
drivers are counters of machines.
"""

from joulemark_gateway.measure.sufficiency.base import BillCycle, Billing, Carrier, Case, Policy
from joulemark_gateway.measure.sufficiency.caltrack_daily import (
    CALTRACK_DAILY,
    CaltrackDaily,
)
from joulemark_gateway.measure.sufficiency.iso50006_production import (
    ACTIVITY_UNITS,
    ISO50006_PRODUCTION,
    DriverFacts,
    Facts,
    SufficiencyPolicy,
)

SUFFICIENCY_POLICIES = {ISO50006_PRODUCTION.id: ISO50006_PRODUCTION}
POLICIES: dict[str, Policy] = {
    CALTRACK_DAILY.id: CALTRACK_DAILY,
    ISO50006_PRODUCTION.id: ISO50006_PRODUCTION,
}

__all__ = [
    "ACTIVITY_UNITS",
    "CALTRACK_DAILY",
    "ISO50006_PRODUCTION",
    "POLICIES",
    "SUFFICIENCY_POLICIES",
    "BillCycle",
    "Billing",
    "CaltrackDaily",
    "Carrier",
    "Case",
    "DriverFacts",
    "Facts",
    "Policy",
    "SufficiencyPolicy",
]
