"""Starts the pages where they may be shown, in a thread of the collector, which collects anyway."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

from joulemark_agent.contract.errors import ConfigError, JoulemarkError
from joulemark_gateway.access.gate import Access, open_access
from joulemark_gateway.access.settings import PagesSettings, PagesTls
from joulemark_gateway.alive import QUIET, Beat
from joulemark_gateway.api.sources import Sources
from joulemark_gateway.pki.contexts import server_context
from joulemark_gateway.web.listener import Listener

log = logging.getLogger(__name__)


class PagesServer(Listener):
    """Listens once made; `stop` ends it within some seconds."""

    def __init__(
        self, sources: Sources, access: Access, *, port: int | None = None, beat: Beat = QUIET
    ) -> None:
        """Bind the address and serve from a thread of its own.

        Args:
            sources: what is shown.
            access: who is let in, and where it listens.
            port: another than the one of the settings; 0: a free one.
            beat: told once a second while they are served.

        Raises:
            OSError: the address cannot be had.
            ConfigError: the certificate cannot be used.
        """

        def make() -> Any:
            from joulemark_gateway.web.application import application  # noqa: PLC0415 - slow

            return application(sources, access)

        wanted = access.wanted
        super().__init__(
            "pages",
            make,
            wanted.host,
            wanted.port if port is None else port,
            tls=None if wanted.tls is None else _context(wanted.tls),
            connections=wanted.limits.connections,
            beat=beat,
        )
        self._access = access

    def stop(self) -> None:
        """Answer what was asked, and end."""
        super().stop()
        self._access.close()


def start_pages(
    wanted: PagesSettings | None, state_dir: Path, sources: Sources, beat: Beat = QUIET
) -> PagesServer | None:
    """The pages, where they are wanted and may be shown; where not, it is told and None."""
    if wanted is None:
        return None
    try:
        access = open_access(state_dir, wanted)
        try:
            _require_users(access)
            return PagesServer(sources, access, beat=beat)
        except BaseException:
            access.close()
            raise
    except OSError as error:
        what = f"The pages cannot listen on {wanted.host}:{wanted.port}: {error.strerror}."
        do = "Set another pages.port in the collector's file, or 'pages: null'."
        log.error("pages_down", extra={"what": what, "do": do})  # noqa: TRY400 - said in full
    except JoulemarkError as error:
        log.error("pages_down", extra={"what": error.what, "do": error.do})  # noqa: TRY400 - as above
    return None


def _require_users(access: Access) -> None:
    """Whether somebody could log in; where others see the pages, somebody must.

    Raises:
        ConfigError: nobody could.
    """
    wanted = access.wanted
    if not wanted.login:
        what = "The pages are shown without log-in to whoever is on this machine."
        do = "Remove 'login: false' from 'pages' in the collector's file where others work on it."
        log.warning("pages_without_login", extra={"what": what, "do": do})
        return
    if access.users.listed():
        return
    what = f"Nobody can log in to the pages on {wanted.host}: there is no user."
    do = "Run 'joulemark collector user add NAME --role admin -c COLLECTOR.yaml'"
    if wanted.is_loopback:  # it may be added while they are shown
        log.warning("pages_without_users", extra={"what": what, "do": f"{do}."})
        return
    raise ConfigError(what, f"{do}, then start the collector again.")


def _context(tls: PagesTls) -> ssl.SSLContext:
    return server_context(
        tls.certificate,
        tls.key,
        clients=tls.clients,
        revoked=tls.revoked,
        must_show=tls.clients is not None,
    )
