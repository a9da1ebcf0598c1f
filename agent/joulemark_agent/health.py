"""How the agent is, as a document for the collector: told when it changes, and every minute."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from joulemark_agent import __version__
from joulemark_agent.contract.errors import ConfigError, JoulemarkError
from joulemark_agent.contract.reading import TimeQuality
from joulemark_agent.keeper import Keeper
from joulemark_agent.settings import SiteSettings
from joulemark_agent.tls import own_certificate
from joulemark_agent.troubles import Troubles
from joulemark_agent.uplink import Uplink

HEALTH_EVERY_S = 60.0
_MOST_TROUBLES, _MOST_LETTERS = 20, 300
_MOST_ERROR_US = 10**17


def health_of(
    settings: SiteSettings,
    keeper: Keeper,
    uplink: Uplink,
    late: Sequence[str],
    time_quality: TimeQuality,
) -> dict[str, Any]:
    """The fields of the document, see `contract.health`.

    Args:
        settings: which agent this is.
        keeper: knows the disk.
        uplink: knows the broker and the collector.
        late: lines that hang.
        time_quality: what is known of the clock.
    """
    troubles = [*troubles_of(keeper.troubles), *_told(uplink.troubles)]
    until_us = certificate_until_us(settings)
    return {
        "about": {
            "certificate_until_us": None if until_us is None else str(until_us),
            "clock_error_us": str(min(max(time_quality.error_us, 0), _MOST_ERROR_US)),
            "clock_sync": time_quality.sync,
            "version": __version__,
        },
        "agent": settings.agent,
        "level": "stopped" if keeper.is_stopped else keeper.level.name.lower(),
        "lines": {"stuck": sorted(late)},
        "outbox": {
            "capacity_bytes": str(keeper.capacity_bytes),
            "unconfirmed": str(uplink.unconfirmed),
            "used_bytes": str(keeper.used_bytes),
        },
        "site": settings.site,
        "t_utc_us": str(time.time_ns() // 1000),
        "troubles": troubles[:_MOST_TROUBLES],
    }


def certificate_until_us(settings: SiteSettings) -> int | None:
    """When the certificate that the broker is shown ends; None: there is none, or it is unreadable.

    What is wrong with one is said where it is used.
    """
    if settings.uplink.tls is None:
        return None
    try:
        found = own_certificate(settings.uplink.tls.files(settings.state_dir).certificate)
    except ConfigError:
        return None
    return int(found.not_valid_after_utc.timestamp()) * 1_000_000


def troubles_of(troubles: Troubles) -> list[dict[str, str]]:
    """What one part of the agent has said and not taken back."""
    return _told((trouble.error, trouble.since_s) for trouble in troubles.open())


def state_of(content: Mapping[str, Any]) -> Any:
    """What of the document is worth publishing at once when it changes."""
    codes = sorted(trouble["code"] for trouble in content["troubles"])
    return content["level"], tuple(content["lines"]["stuck"]), tuple(codes)


def _told(troubles: Iterable[tuple[JoulemarkError, float]]) -> list[dict[str, str]]:
    now_s, now_us = time.monotonic(), time.time_ns() // 1000
    return [
        {
            "code": error.code,
            "do": error.do[:_MOST_LETTERS],
            "since_us": str(now_us - int((now_s - since_s) * 1e6)),
            "what": error.what[:_MOST_LETTERS],
        }
        for error, since_s in troubles
    ]
