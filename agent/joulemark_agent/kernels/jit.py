"""How every kernel is compiled: cached on disk, divisions as in numpy, no reordering of sums.

Where numba cannot be imported (it has no wheel for 32-bit ARM or Alpine) the kernels are the plain
functions themselves: the same results to the last bit, some hundred times slower, 100 MB less.
Where no folder for the cache can be written, or the disk is full, they are compiled at every start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

try:
    from numba import config, njit
except (ImportError, OSError) as error:  # not installed, blocked, or for another numpy
    _WHY = f"numba cannot be imported: {error}"
else:
    _WHY = "NUMBA_DISABLE_JIT is set" if config.DISABLE_JIT else ""  # type: ignore[attr-defined]


def _load_without_blas() -> None:
    """Load numba's array functions without scipy's BLAS, which no kernel calls.

    numba looks for it once, where scipy is installed: a fifth of a second and 15 MB at each start.
    """
    from numba.np import linalg  # noqa: PLC0415 - numba is there

    def refuse() -> None:
        raise ImportError("no kernel calls BLAS")

    ensure_blas, linalg.ensure_blas = linalg.ensure_blas, refuse
    try:
        import numba.np.arraymath  # noqa: F401, PLC0415 - as above
    finally:
        linalg.ensure_blas = ensure_blas


if not _WHY:
    _load_without_blas()

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_KERNELS: list[Any] = []  # those that numba has, in the order in which they were imported
_LOST: list[str] = []  # those whose machine code could not be kept


class Standing(NamedTuple):
    """How the kernels that were imported so far run."""

    is_compiled: bool
    why: str  # they are not; empty: they are
    cache: str | None  # folder of the machine code; None: not all of it is kept
    waiting: tuple[str, ...]  # kernels that are compiled, or loaded, by the first call only

    def told(self, took_s: float) -> str:
        """What a person is told of it; `took_s`: how long it took to make them ready."""
        if not self.is_compiled:
            return f"The kernels run as plain Python, with the same results: {self.why}.\n"
        ready = f"The kernels are ready ({took_s:.1f} s).\n"
        if self.cache is not None:
            return f"{ready}They are kept in {self.cache}.\n"
        return (
            f"{ready}They are compiled again at every start: no folder for them can be written, or"
            " its disk is full. Set NUMBA_CACHE_DIR to one that the service's user may write.\n"
        )


def compiled(kernel: Kernel) -> Kernel:
    """The kernel as machine code, or the plain function itself where there is no compiler.

    No `fastmath`: sums keep the order in which they are written, so compiled and plain runs, and
    runs on other machines, agree.
    """
    if _WHY:
        return kernel
    try:
        made = njit(cache=True, error_model="numpy")(kernel)
        _keep_if_possible(made)
    except RuntimeError:  # numba finds no folder that it may write
        made = njit(error_model="numpy")(kernel)
    _KERNELS.append(made)
    return cast("Kernel", made)


def is_compiled() -> bool:
    """Whether kernels are machine code here; plain Python may know a shorter way than they."""
    return not _WHY


def _keep_if_possible(made: Any) -> None:
    """A disk that is full is no reason for a kernel not to run; numba would raise the error."""
    save = made._cache.save_overload  # noqa: SLF001 -- numba has no other place for it

    def save_if_possible(*overload: Any) -> None:
        try:
            save(*overload)
        except OSError:
            _LOST.append(made.__name__)

    made._cache.save_overload = save_if_possible  # noqa: SLF001 -- as above


def standing() -> Standing:
    """Whether the kernels are compiled, where the machine code is kept, and which still wait."""
    inner = {name for one in _KERNELS for name in one.py_func.__code__.co_names}
    waiting = [
        f"{one.__module__}.{one.__name__}"
        for one in _KERNELS
        if not one.signatures and one.__name__ not in inner
    ]
    folders = {one.stats.cache_path for one in _KERNELS} - {None}
    cache = None if _LOST else min(folders, default=None)
    return Standing(not _WHY, _WHY, cache, tuple(waiting))
