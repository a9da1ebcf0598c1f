"""Whether every slot that a test took away stands in the evidence with the right cause."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from joulemark_gateway.evidence.history import parse_tree
from joulemark_gateway.evidence.slots import STORE_DAMAGED
from joulemark_gateway.evidence.store import SqliteStore
from joulemark_gateway.evidence.withheld import lost_slots

OVERRUN = "overrun"  # a machine too busy to read in time says so; nobody injected it
_EDGE_US = 1_500_000  # a slot this near to the edge of an outage may be read or not


@dataclass(frozen=True)
class Outage:
    """What a test took away, and what the agent must say of it. [us UTC]"""

    began_us: int
    ended_us: int
    over_us: int  # when data flowed again
    causes: frozenset[str]  # empty: nothing is missing for it
    devices: frozenset[str] = frozenset()  # empty: all
    early_us: int = 0  # so much may be missing of before: what was read and not sent yet
    is_whole: bool = True  # whether no slot of it can have been read; else some are missing

    def explains(self, at_us: int, cause: str) -> bool:
        """Whether a slot may be missing for it."""
        first_us = self.began_us - self.early_us - _EDGE_US
        is_near = first_us <= at_us <= self.over_us + _EDGE_US
        return is_near and cause in self.causes

    def surely(self, period_us: int) -> range:
        """The slots that nobody can have read."""
        first_us = -(-(self.began_us + _EDGE_US) // period_us) * period_us
        end_us = self.ended_us - _EDGE_US if self.causes and self.is_whole else first_us
        return range(first_us, end_us, period_us)


def labelled(path: Path, outages: Sequence[Outage], period_us: int = 1_000_000) -> dict[str, str]:
    """Compare the gaps of a store with what was taken away; AssertionError where one is wrong."""
    found: Counter[str] = Counter()
    wanted = 0
    for device, missing in _missing(path, period_us).items():
        mine = [one for one in outages if not one.devices or device in one.devices]
        for at_us, cause in missing.items():
            is_right = any(one.explains(at_us, cause) for one in mine)
            assert is_right or cause == OVERRUN, f"{device}: slot {at_us} is missing for {cause}"
            found[cause if is_right else "busy"] += 1
        for one in mine:
            missed = any(one.explains(at_us, cause) for at_us, cause in missing.items())
            assert missed or not one.causes, f"{device}: nothing is missing for {one.causes}"
            for at_us in one.surely(period_us):
                wanted += 1
                assert missing.get(at_us) in one.causes, f"{device}: slot {at_us}, {one.causes}"
    busy = found.pop("busy", 0)
    return {
        "slots taken away that are gaps with the right cause": f"{wanted} of {wanted}",
        "slots missing, by cause": ", ".join(f"{n} {cause}" for cause, n in sorted(found.items())),
        "slots that a busy machine missed, and said so": str(busy),
    }


def _missing(path: Path, period_us: int) -> Mapping[str, dict[int, str]]:
    """The cause of every slot that is missing, by device, over all epochs."""
    found: defaultdict[str, dict[int, str]] = defaultdict(dict)
    with SqliteStore(path, create=False) as store:
        for head in store.heads():
            tree, own = parse_tree(store.parts(head.origin)), found[head.grant["dev"]]
            said = [(gap.first_slot_us, gap.last_slot_us, gap.cause) for _, gap in tree.gaps]
            said += [(run.first_us, run.last_us, STORE_DAMAGED) for run in lost_slots(tree)]
            for first_us, last_us, cause in said:
                own |= dict.fromkeys(range(first_us, last_us + 1, period_us), cause)
    return found
