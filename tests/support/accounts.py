"""The account of slots every runner ends with: readings + gaps = slots, on every device-day."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from joulemark_agent.contract.sparse import present
from joulemark_gateway.api.plant import Device, sites_of
from joulemark_gateway.api.records import leaf_of
from joulemark_gateway.api.slots import DAY_US, slots_of, windows_of
from joulemark_gateway.evidence.base import EvidenceStore
from joulemark_gateway.evidence.slots import Account, total
from joulemark_gateway.evidence.store import SqliteStore


@dataclass(frozen=True)
class Accounted:
    """The account of everything a store holds."""

    device_days: int
    total: Account

    @property
    def figures(self) -> dict[str, str]:
        """As runners print it."""
        found = self.total
        missing = ", ".join(f"{slots:,} {cause}" for cause, slots in found.missing.items())
        return {
            "slots expected, received": f"{found.expected:,}, {found.received:,}",
            "slots missing, by cause": missing or "0",
            "device-days that add up exactly": f"{self.device_days} of {self.device_days}",
        }


def accounted(path: Path) -> Accounted:
    """The account of a store in a file; AssertionError where a device-day does not add up."""
    with SqliteStore(path, create=False) as store:
        return accounted_of(store)


def accounted_of(store: EvidenceStore) -> Accounted:
    """The account of a store; errors as `accounted`."""
    found: list[Account] = []
    for site in sites_of(store).values():
        for device in site.devices.values():
            for window_us in windows_of(_span_us(store, device), DAY_US):
                one = slots_of(store, device, window_us, now_us=window_us[1])
                assert one.reconciles, one
                assert not one.unaccounted, f"{one.unaccounted} slots of {device.id}: {one}"
                assert not one.twice, one
                found.append(one)
    return Accounted(len(found), total(found))


def _span_us(store: EvidenceStore, device: Device) -> tuple[int, int]:
    """From the first slot of the first epoch to the one due next."""
    first = device.epochs[-1].head
    parts = present(store.parts(first.origin, 0, 1000), 0)
    slots = (leaf.slot_us for leaf in (leaf_of(data, seq) for seq, data in parts)
             if leaf.kind in {"record", "gap"})  # fmt: skip
    start_us = next(at_us for at_us in slots if at_us is not None)
    assert device.head.next_slot_us is not None
    return start_us, device.head.next_slot_us
