"""Keeps collectors that share a ledger at one in who may send: every few seconds, from a thread."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from joulemark_agent.contract.errors import JoulemarkError
from joulemark_gateway.alive import QUIET, Beat
from joulemark_gateway.evidence.ledger import Ledger
from joulemark_gateway.registry import exchange

EVERY_S = 2.0

log = logging.getLogger(__name__)


class RegistryExchange:
    """Does nothing where the ledger is this collector's own."""

    def __init__(self, state_dir: Path, ledger: Ledger, beat: Beat = QUIET) -> None:
        """Exchange once, so that the collector begins with what the others know.

        Args:
            state_dir: of the collector.
            ledger: through which they exchange.
            beat: told of every turn.

        Raises:
            ConfigError: `registry.json` cannot be used.
            StoreError: the ledger cannot be reached.
        """
        self._state_dir, self._ledger, self._beat = state_dir, ledger, beat
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if ledger.is_shared:
            exchange(state_dir, ledger.exchange_registry)
            self._thread = threading.Thread(target=self._run, name="registry", daemon=True)

    def start(self) -> None:
        """Begin."""
        if self._thread is not None:
            self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        is_down = False
        while not self._stop.wait(EVERY_S):
            self._beat.on()
            try:
                exchange(self._state_dir, self._ledger.exchange_registry)
                is_down = False
            except JoulemarkError as error:
                if not is_down:
                    fields = {"code": error.code, "what": error.what, "do": error.do}
                    log.error("registry_not_shared", extra=fields)  # noqa: TRY400 - said in full
                is_down = True
            except Exception:  # a mistake of ours must not end the sharing of revocations
                if not is_down:
                    log.exception("registry_not_shared")
                is_down = True
        self._beat.off()
