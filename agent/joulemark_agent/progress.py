"""Who goes on and who hangs: each loop promises when it will be seen again at the latest."""

from __future__ import annotations

import time
from collections.abc import Callable


class Progress:
    """The promises of the loops of one process; any thread may give one."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._until_s: dict[str, float] = {}

    def promise(self, name: str, within_s: float) -> None:
        """The loop of this name will be seen again within this time."""
        self._until_s[name] = self._now_s() + within_s

    def renew(self, within_s: float) -> None:
        """Every loop has this time again."""
        for name in list(self._until_s):
            self.promise(name, within_s)

    def forget(self, name: str) -> None:
        """The loop has ended, or rests for as long as it likes."""
        self._until_s.pop(name, None)

    def late(self) -> list[str]:
        """The loops that did not keep their promise."""
        now_s = self._now_s()
        promised = list(self._until_s.items())
        return [name for name, until_s in promised if until_s < now_s]
