"""What the operator approved of a site: the agent's key, each device's terms and documents."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from joulemark_agent.contract.canonical import digest_hex
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.envelope import Carbon, warm
from joulemark_agent.figures import warm as warm_model
from joulemark_agent.grants import Terms, kept_site, load_grant
from joulemark_agent.keys import AGENT_KEY, Key, agent_key, has_key, load_key
from joulemark_agent.recorded import Recorded
from joulemark_agent.rotation import former_keys
from joulemark_agent.settings import SiteSettings, site_document
from joulemark_agent.site_sections import DeviceSettings


def evidence_key(settings: SiteSettings, *, create: bool = False) -> Key:
    """The agent's key, in a file or a token, which enrolling made.

    Args:
        settings: the site.
        create: whether to make it where there is none: when enrolling.

    Raises:
        ConfigError: there is none, or others may read it.
    """
    if settings.evidence_key is not None:
        from joulemark_agent.pkcs11_key import token_key  # noqa: PLC0415 - an extra

        return token_key(settings.evidence_key.place(), create=create)
    if create:
        return agent_key(settings.state_dir)
    path = settings.state_dir / AGENT_KEY
    if not has_key(path):
        raise ConfigError(
            f"The agent {settings.agent!r} has no key in {settings.state_dir}.",
            "Run 'joulemark agent enroll -c SITE.yaml --operator-key FILE' first.",
        )
    return load_key(path)


def terms_of(settings: SiteSettings, device: DeviceSettings, key: Key) -> Terms:
    """What the operator must have approved for a device to be read as configured."""
    return _terms(settings, device, key, _documents(settings, device, site_document(settings)))


def _terms(
    settings: SiteSettings, device: DeviceSettings, key: Key, documents: Mapping[str, bytes]
) -> Terms:
    return Terms(
        former_keys=former_keys(settings.state_dir),
        site=settings.site,
        device=device.id,
        clock=settings.clock,
        agent=settings.agent,
        agent_key=key.public,
        first_slot_us=settings.first_slot_us(device),
        documents={name: digest_hex(data) for name, data in documents.items()},
    )


def recorded_devices(settings: SiteSettings, key: Key) -> list[Recorded]:
    """Every device with its grant and documents.

    Raises:
        ConfigError: a device has no grant, or for something else than is configured.
    """
    carbon = Carbon(
        settings.factor_set()[0],
        settings.factors.rule_set,
        settings.factors.jurisdiction,
        ZoneInfo(settings.time_zone),
    )
    site, found = site_document(settings), []  # the same for all, and as long as they are many
    for device in settings.devices:
        documents = _documents(settings, device, site)
        found.append(
            Recorded(
                profile=settings.profile(device)[0],
                period_us=device.period_us,
                grant=load_grant(settings.state_dir, _terms(settings, device, key, documents)),
                documents=documents,
                carbon=carbon,
                figures=settings.figures_of(device),
            )
        )
    return found


def software_digest() -> str:
    """SHA-256 over the agent's own code: a line of path and SHA-256 for each .py file, sorted."""
    package = Path(__file__).parent
    lines = [
        f"{path.relative_to(package).as_posix()} {digest_hex(path.read_bytes())}\n"
        for path in sorted(package.rglob("*.py"))
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _documents(settings: SiteSettings, device: DeviceSettings, site: bytes) -> dict[str, bytes]:
    return {
        "profile": settings.profile(device)[1],
        "site": kept_site(settings.state_dir, device.id, site),
        "factors": settings.factor_set()[1],
    }


def warm_kernels(devices: Sequence[Recorded]) -> None:
    """Have the kernels ready before the first batch closes, and the models that are asked for."""
    warmed = set[bytes]()
    for device in devices:
        if (profile := device.documents["profile"]) not in warmed:  # one is like the other
            warm(device.profile, device.carbon)
            warmed.add(profile)
        if device.figures is not None:
            warm_model(device.figures)
