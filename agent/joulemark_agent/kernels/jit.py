"""How every kernel is compiled: cached on disk, divisions as in numpy, no reordering of sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(kernel: Kernel) -> Kernel:
    """The kernel as machine code; with NUMBA_DISABLE_JIT=1 the plain function itself.

    No `fastmath`: sums keep the order in which they are written, so compiled and plain runs, and
    runs on other machines, agree.
    """
    return cast("Kernel", njit(cache=True, error_model="numpy")(kernel))
