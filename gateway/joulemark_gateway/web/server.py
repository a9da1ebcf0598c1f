"""Serves the pages from a thread of the collector, which collects on whatever happens here."""

from __future__ import annotations

import logging
import socket
import threading
from typing import TYPE_CHECKING

from joulemark_gateway.api.sources import Sources

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 64
_LAST_REQUESTS_S = 3


class PagesServer:
    """Listens once made; `stop` ends it within some seconds."""

    def __init__(self, sources: Sources, host: str, port: int) -> None:
        """Bind the address and serve from a thread of its own.

        Raises:
            OSError: the address cannot be had.
        """
        self._socket = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
        self._sources = sources
        self._server: uvicorn.Server | None = None
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pages", daemon=True)
        self._thread.start()
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self._socket.getsockname()[1]}/"
        log.info("pages_started", extra={"url": self.url})

    def _run(self) -> None:
        try:
            self._server = _server(self._sources)
            if not self._is_stopping.is_set():
                self._server.run([self._socket])
        except Exception:  # pages may stop; evidence goes on
            log.exception("pages_failed")

    def stop(self) -> None:
        """Answer what was asked, and end."""
        self._is_stopping.set()
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def _server(sources: Sources) -> uvicorn.Server:
    """Made in the thread: its imports take a second that nobody has to wait for."""
    import uvicorn  # noqa: PLC0415 - see above

    from joulemark_gateway.web.application import application  # noqa: PLC0415

    return uvicorn.Server(
        uvicorn.Config(
            application(sources),
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            ws="none",
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_LAST_REQUESTS_S,
        )
    )
