"""The certificates of the servers on this machine: the collector's, and the broker's."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from joulemark_agent.files import credential
from joulemark_agent.tls import WARN_DAYS
from joulemark_gateway.pki.authority import DAYS, Role
from joulemark_gateway.pki.mosquitto import OWN
from joulemark_gateway.pki.settings import own_file
from joulemark_gateway.pki.site_ca import SiteCa
from joulemark_gateway.settings import CollectorSettings


def servers_of(settings: CollectorSettings) -> dict[Role, Path]:
    """Where they stand, of those that are there."""
    places = {Role.COLLECTOR: own_file(settings.state_dir)}
    if settings.broker.config is not None:
        places[Role.BROKER] = settings.broker.config / OWN
    return {role: path for role, path in places.items() if path.exists()}


def renewed(
    settings: CollectorSettings,
    ca: SiteCa,
    now: datetime,
    *,
    days: int = DAYS,
    within_days: int = WARN_DAYS,
) -> list[Path]:
    """Renew those that end soon; which were. What systemd hands over cannot be written.

    Args:
        settings: the collector's.
        ca: the site's authority.
        now: aware.
        days: how long a new one holds.
        within_days: what ends within so many days is renewed.

    Raises:
        ConfigError: a file cannot be read or written, or nothing can be signed now.
        StoreError: the authority's record cannot be used.
    """
    return [
        path
        for role, path in servers_of(settings).items()
        if credential(path) == path
        and ca.equip(path, role, now, days=days, within_days=within_days)
    ]
