"""What a process that we start is told: no secret but those that are its own.

Passwords and tokens come by environment variables JOULEMARK_..., and every process can be asked for
the environment it was started with. So a child gets none of them that is not named here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

PREFIX = "JOULEMARK_"
HARMLESS = frozenset({"JOULEMARK_KERNELS"})  # how kernels run; no secret


def environment(*kept: str, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables for a child.

    Args:
        kept: how the names begin of those of ours that it needs.
        given: those of this process.
    """
    return {
        name: value
        for name, value in given.items()
        if not name.upper().startswith(PREFIX) or name in HARMLESS or name.upper().startswith(kept)
    }
