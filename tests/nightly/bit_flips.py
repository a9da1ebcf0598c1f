"""Every single bit of a whole bundle is flipped: none goes unnoticed.

Twice: in the file as it is handed out, and in each member inside a container that is whole again,
as somebody would make it who knows how. Controls: time stamps without the manifest's hash over them
and a ZIP reader that is not strict must each miss some.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from pathlib import Path

from joulemark_gateway.verify.verdict import verify
from support.flips import (
    Whole,
    around_members,
    missed_by_token,
    missed_by_zip,
    missed_in_file,
    missed_in_member,
    stamped_bundle,
)
from support.needed import service

LEAST_BYTES = 20_000
SOME, FEW = 2000, 400  # flips of the short form: of the file, and of all members; of a control
_AT_ONCE = 5000
_Missed = Callable[[Sequence[int]], list[int]]


def run(seed: int, *, full: bool) -> dict[str, str]:
    """All bits, by as many processes as there are cores; or some of them."""
    service("openssl", "openssl")
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = stamped_bundle(Path(folder))
    assert len(whole.data) >= LEAST_BYTES
    assert verify(whole.data, whole.policy).findings == ()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        file, *rest = (
            _Flipped(missed, bits if full else draw.sample(bits, min(count, len(bits))), pool)
            for missed, bits, count in _kinds(whole)
        )
        *members, tokens, zipped = rest
        for name, flips in (("the file", file), *zip(whole.members, members, strict=True)):
            assert not flips.missed, f"{name}: bits {flips.missed[:10]} were flipped unnoticed"
        assert tokens.missed, "the control: a token notices everything"
        assert zipped.missed, "the control: a ZIP reader notices everything"
    return {
        "bundle": f"{len(whole.data):,} bytes, {len(whole.members)} members",
        "flips of the file": f"{file.count:,}, unnoticed 0",
        "flips of members in a container made whole": (
            f"{sum(one.count for one in members):,}, unnoticed 0"
        ),
        "flips of a time stamp, not under the manifest (control)": str(tokens),
        "flips outside of members, for a ZIP reader (control)": str(zipped),
    }


class _Flipped:
    """So many bits, and those of them that went unnoticed."""

    def __init__(self, missed: _Missed, bits: Sequence[int], pool: Executor) -> None:
        parts = [bits[at : at + _AT_ONCE] for at in range(0, len(bits), _AT_ONCE)]
        self.count = len(bits)
        self.missed = [bit for found in pool.map(missed, parts) for bit in found]

    def __str__(self) -> str:
        return f"{self.count:,}, unnoticed {len(self.missed):,}"


def _kinds(whole: Whole) -> list[tuple[_Missed, Sequence[int], int]]:
    """What is flipped: how it is looked for, all bits of it, and how many the short form takes."""
    members, bits = whole.members, 8 * len(whole.data)
    token = min(whole.messages)
    return [
        (partial(missed_in_file, whole), range(bits), SOME),
        *(
            (
                partial(missed_in_member, whole, name),
                range(8 * len(data)),
                1 + SOME * 8 * len(data) // bits,
            )
            for name, data in members.items()
        ),
        (partial(missed_by_token, whole, token), range(8 * len(members[token])), 3 * FEW),
        (partial(missed_by_zip, whole), around_members(whole), FEW),
    ]
