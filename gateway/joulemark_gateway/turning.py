"""A thread that takes a turn at something again and again, and goes on whatever happens in one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from joulemark_agent.contract.errors import JoulemarkError
from joulemark_gateway.alive import QUIET, Beat

_LEAVE_S = 30.0

log = logging.getLogger(__name__)


class TurningThread:
    """Turns until told to stop; what goes wrong is said once, and what is a mistake of ours, too.

    In the log: `NAME_down` with what and do, `NAME_back`, and `NAME_failed` with the trace.
    """

    def __init__(
        self,
        name: str,
        turn: Callable[[threading.Event], None],
        *,
        every_s: float,
        beat: Beat = QUIET,
        rests_first: bool = False,
        untold: frozenset[str] = frozenset(),
    ) -> None:
        """Nothing runs yet.

        Args:
            name: in the log.
            turn: is given what is set when it shall end early.
            every_s: after a turn the next one begins.
            beat: told when a turn begins and when it has ended.
            rests_first: whether the first turn begins only after that time.
            untold: codes of what passes by itself.
        """
        self._name, self._turn, self._every_s = name, turn, every_s
        self._beat, self._rests_first, self._untold = beat, rests_first, untold
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the turn at hand; one that hangs is left behind."""
        self._stop.set()
        self._thread.join(_LEAVE_S)

    def _run(self) -> None:
        said = ""  # of what is wrong since the last turn that went well
        if self._rests_first:
            self._stop.wait(self._every_s)
        while not self._stop.is_set():
            self._beat.on()
            try:
                self._turn(self._stop)
            except JoulemarkError as error:
                if not said and error.code not in self._untold:
                    said = "down"
                    fields = {"code": error.code, "what": error.what, "do": error.do}
                    log.error(f"{self._name}_down", extra=fields)  # noqa: TRY400, G004 - said in full
            except Exception:  # a mistake of ours must not end the thread unheard
                if said != "failed":
                    said = "failed"
                    log.exception(f"{self._name}_failed")  # noqa: G004 - NAME is ours
            else:
                if said:
                    log.info(f"{self._name}_back")  # noqa: G004 - likewise
                said = ""
            self._beat.off()
            self._stop.wait(self._every_s)
