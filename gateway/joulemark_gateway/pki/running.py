"""What the running collector does for identities: agents join; what ends soon is told."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from joulemark_agent.contract.errors import ConfigError, StoreError
from joulemark_agent.tls import expiry_warning
from joulemark_gateway.ingest.registered import Registry
from joulemark_gateway.pki.contexts import server_context
from joulemark_gateway.pki.mosquitto import OWN
from joulemark_gateway.pki.servers import renewed
from joulemark_gateway.pki.settings import ca_folder, own_file
from joulemark_gateway.pki.site_ca import CERTIFICATE, SiteCa
from joulemark_gateway.settings import CollectorSettings

if TYPE_CHECKING:
    from joulemark_gateway.web.listener import Listener

DAY_S = 86_400.0
_RENEW = "Run 'joulemark collector ca renew -c COLLECTOR.yaml'; it is used without a restart."
_NEW_CA = "Make a new authority before it ends; every agent has to be enrolled again."

log = logging.getLogger(__name__)


def serve_enrolment(
    settings: CollectorSettings, public_key: bytes, registry: Callable[[], Registry]
) -> Listener | None:
    """The address at which agents join; None where none is wanted or can be had.

    Args:
        settings: the collector's.
        public_key: of the collector, which an agent pins.
        registry: who is registered, asked when somebody renews.
    """
    wanted = settings.enrolment
    if wanted is None:
        return None
    from joulemark_gateway.pki.rights import active_agent  # noqa: PLC0415 - only where wanted
    from joulemark_gateway.pki.service import EnrolmentService  # noqa: PLC0415 - as above
    from joulemark_gateway.web.listener import Listener  # noqa: PLC0415 - as above

    folder = ca_folder(settings.state_dir)
    with ExitStack() as opened:
        try:
            service = EnrolmentService(
                folder,
                collector=(settings.name, public_key),
                agent=lambda name: active_agent(registry(), name),
                days=wanted.days,
            )
            opened.callback(service.close)
            tls = server_context(own_file(settings.state_dir), clients=folder / CERTIFICATE)
            listener = Listener(
                "enrolment", lambda: service, wanted.host, wanted.port, tls=tls, done=service.close
            )
        except (ConfigError, StoreError) as error:
            what, do = error.what, error.do
        except OSError as error:
            what = f"Agents cannot join at {wanted.host}:{wanted.port}: {error.strerror}."
            do = "Set another 'enrolment.port' in the collector's file."
        else:
            opened.pop_all()  # the listener closes it
            return listener
    log.error("enrolment_down", extra={"what": what, "do": do})
    return None


def watch_certificates(settings: CollectorSettings, stop: threading.Event) -> threading.Thread:
    """Every day, renew or tell what ends within 30 days on this machine; ends with `stop`."""

    def watch() -> None:
        while True:
            now = datetime.now(UTC)
            renew_ours(settings, now)
            tell_expiry(settings, now)
            if stop.wait(DAY_S):
                return

    thread = threading.Thread(target=watch, name="certificates", daemon=True)
    thread.start()
    return thread


def renew_ours(settings: CollectorSettings, now: datetime) -> None:
    """Renew the certificates of our servers that end soon, where the authority's key is at hand."""
    folder = ca_folder(settings.state_dir)
    if not (folder / CERTIFICATE).is_file():
        return
    try:
        with SiteCa(folder) as ca:
            made = renewed(settings, ca, now) if ca.can_sign else []
    except (ConfigError, StoreError) as error:
        fields = {"code": error.code, "what": error.what, "do": error.do}
        log.error("certificate_not_renewed", extra=fields)  # noqa: TRY400 - said in full
        return
    for path in made:
        log.info("certificate_renewed", extra={"path": str(path)})


def tell_expiry(settings: CollectorSettings, now: datetime) -> None:
    """Log each certificate that ends soon or cannot be read, and what to do."""
    for path, renew in _ours(settings):
        if not path.exists():
            continue
        try:
            warning = expiry_warning(path, now, renew)
        except ConfigError as error:
            warning = error
        if warning is not None:
            fields = {"code": warning.code, "what": warning.what, "do": warning.do}
            log.warning("certificate_expires", extra=fields)


def _ours(settings: CollectorSettings) -> list[tuple[Path, str]]:
    found = [
        (ca_folder(settings.state_dir) / CERTIFICATE, _NEW_CA),
        (own_file(settings.state_dir), _RENEW),
    ]
    if settings.broker.config is not None:
        found.append((settings.broker.config / OWN, _RENEW))
    if settings.pages is not None and settings.pages.tls is not None:
        found.append((settings.pages.tls.certificate, "Renew the certificate of the pages."))
    return list(dict(found).items())
