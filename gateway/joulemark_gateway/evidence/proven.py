"""Records of which most were proven many at once (`record_block`). Pure.

They are a sequence of records like any other: a proven one is read when somebody asks for it. What
is asked of all of them stands in columns, in the order of the leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.reading import SIMULATED, Instant
from joulemark_gateway.evidence.record_block import BOOT, SLOT_US, T_MONO_NS, T_UTC_US, Block

if TYPE_CHECKING:
    from joulemark_agent.contract.profile import Profile
    from joulemark_gateway.evidence.history import Record

Integers = NDArray[np.int64]


class ProvenRecords(Sequence["Record"]):
    """The records of a part of a tree, proven or read one by one."""

    def __init__(
        self,
        profile: Profile,
        blocks: Sequence[Block],
        others: Sequence[Record],
        read: Callable[[int], Record],
    ) -> None:
        """Put them in order.

        Args:
            profile: with which they were proven.
            blocks: of those that are proven.
            others: those that are not.
            read: gives the proven record of a leaf.
        """
        self.profile = profile
        seqs = [*(block.seq for block in blocks), np.array([o.seq for o in others], np.int64)]
        self.seq: Integers = np.sort(np.concatenate(seqs))
        self.blocks = [(self.places(block.seq), block) for block in blocks]
        self.others = dict(zip(self.places(seqs[-1]).tolist(), others, strict=True))
        self._read = read

    def __len__(self) -> int:
        return self.seq.size

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        places = range(len(self))[index]
        if isinstance(places, int):
            return self.others.get(places) or self._read(int(self.seq[places]))
        return [self[place] for place in places]

    def places(self, seqs: Integers) -> Integers:
        """Where in the order of leaves some of them stand."""
        return np.searchsorted(self.seq, seqs)

    def columns(self) -> tuple[Integers, Integers, Integers, Integers, list[str]]:
        """Leaf, slot, time, how many values and the state of the clock of each."""
        rows = np.zeros((3, len(self)), np.int64)
        sync = [""] * len(self)
        for places, block in self.blocks:
            rows[:, places] = block.numbers[:, SLOT_US], block.numbers[:, T_UTC_US], block.told
            for place in places.tolist():
                sync[place] = block.sync
        for place, one in self.others.items():
            rows[:, place] = one.slot_us, one.t_utc_us, len(one.values)
            sync[place] = one.sync
        slot_us, t_utc_us, told = rows
        return self.seq, slot_us, t_utc_us, told, sync

    def instants(self) -> list[Instant | None]:
        """When each was read, by both clocks."""
        found: list[Instant | None] = [None] * len(self)
        for places, block in self.blocks:
            if block.sync == SIMULATED:
                continue
            t_mono_us = (block.numbers[:, T_MONO_NS] // 1000).tolist()
            both = zip(block.numbers[:, [BOOT, T_UTC_US]].tolist(), t_mono_us, strict=True)
            for place, ((boot, t_utc_us), mono_us) in zip(places.tolist(), both, strict=True):
                found[place] = Instant(boot, t_utc_us, mono_us)
        for place, one in self.others.items():
            found[place] = one.instant
        return found
