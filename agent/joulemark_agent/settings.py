"""The site file: which devices are read, how often, and where the evidence goes.

What is evidence (site, agent, time zone, clock, factors, devices) stands in the file and nowhere
else; wiring may be overridden by the environment, and the broker's password comes from there only:

| variable | replaces |
|---|---|
| JOULEMARK_STATE_DIR | state_dir |
| JOULEMARK_REPLAY__URL | replay.url |
| JOULEMARK_UPLINK__URL, __USERNAME, __COLLECTOR_KEY, __COLLECTOR_NAME | the same key of uplink |
| JOULEMARK_SPARKPLUG__URL, __USERNAME | the same key of sparkplug |
| JOULEMARK_UPLINK__PASSWORD, JOULEMARK_SPARKPLUG__PASSWORD | nothing: not in the file |
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, PrivateAttr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex
from joulemark_agent.contract.committed import COMMITTED, FULL
from joulemark_agent.contract.document import plain, validate
from joulemark_agent.contract.factor import FactorSet
from joulemark_agent.contract.profile import Profile
from joulemark_agent.documents import (
    FOLDER,
    load_factors,
    load_profile,
    mistakes,
    read_document,
    site_folder,
)
from joulemark_agent.drivers.base import Request, Subscribe
from joulemark_agent.figures import Subject
from joulemark_agent.http_login import Login
from joulemark_agent.plan import TCP, US_PER_S, Cost, PlannedDevice, fields_of, plan_requests
from joulemark_agent.serial_port import settings_of
from joulemark_agent.site_checks import contradictions
from joulemark_agent.site_secrets import check_environment, refuse_secrets
from joulemark_agent.site_sections import (
    ArchiveSettings,
    BatchSettings,
    DeviceSettings,
    EvidenceKeySettings,
    FactorSettings,
    OutboxSettings,
    ReplaySettings,
    SparkplugSettings,
    SystemSettings,
    UplinkSettings,
)
from joulemark_agent.site_values import PREFIX, Folder, Id, IntervalS, TimeZone, mistake, us_of

if TYPE_CHECKING:
    from joulemark_agent.opcua_access import Access

SERIAL_LATENCY_S = 0.02  # of a device on a serial line, until it has been measured


def _at_least_one(devices: tuple[Any, ...]) -> tuple[Any, ...]:
    if not devices:  # min_length would also count devices with a mistake as absent
        raise mistake("there is no device; see configs/sites for an example")
    return devices


class SiteSettings(BaseSettings):
    """A site file that was found without mistakes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    site: Id
    agent: Id
    time_zone: TimeZone
    clock: Literal["system", "simulated"] = "system"
    replay: ReplaySettings | None = None
    state_dir: Folder = Field(default=Path("state"), validate_default=True)
    evidence_key: EvidenceKeySettings | None = None  # None: a file in state_dir
    factors: FactorSettings
    uplink: UplinkSettings
    sparkplug: SparkplugSettings | None = None
    batch: BatchSettings = BatchSettings()
    evidence: Literal["full", "committed"] = FULL  # whether raw records go to the collector
    interval_s: IntervalS = 900  # of committed evidence
    outbox: OutboxSettings = OutboxSettings()
    archive: ArchiveSettings = ArchiveSettings()
    raw_requests: Literal["allow", "deny", "ask"] = "ask"  # for raw records of the archive
    devices: Annotated[tuple[DeviceSettings, ...], AfterValidator(_at_least_one)]
    systems: tuple[SystemSettings, ...] = ()

    _folder: Path = PrivateAttr(default_factory=site_folder)
    _profiles: dict[str, tuple[Profile, bytes]] = PrivateAttr(default_factory=dict)
    _factors: dict[str, tuple[FactorSet, bytes]] = PrivateAttr(default_factory=dict)
    _plans: dict[tuple[str, Cost], tuple[Request, ...]] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before the file, and nothing else."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @property
    def is_committed(self) -> bool:
        """Whether raw records stay at the gateway."""
        return self.evidence == COMMITTED

    def first_slot_us(self, device: DeviceSettings) -> int | None:
        """The first slot of the device's recording; None with the system clock. [us UTC]"""
        if self.replay is None:
            return None
        return self.replay.first_slot_us if device.first_slot is None else us_of(device.first_slot)

    def profile(self, device: DeviceSettings) -> tuple[Profile, bytes]:
        """The device's profile and its document, read once: what is planned is what is signed.

        In the profile, what the site accepts is disputed no more, and its energy counters count no
        more than the connection carries; the document is as it was.
        """
        profile, document = self.written_profile(device)
        accepted = profile.accepting(device.accept_disputed)
        return accepted.bounded(device.maximum_power_w), document

    def figures_of(self, device: DeviceSettings) -> Subject | None:
        """What the live figures of the device are made of; None where none are asked for."""
        if device.figures_every_s is None:
            return None
        from joulemark_agent.equipment import parameters_of  # noqa: PLC0415 - brings numba

        profile = self.profile(device)[0]
        section = None if device.equipment is None else plain(device.equipment)
        return Subject(
            profile,
            parameters_of(profile.kind, section),
            device.period_us,
            device.figures_every_s * US_PER_S,
            ZoneInfo(self.time_zone),
        )

    def written_profile(self, device: DeviceSettings) -> tuple[Profile, bytes]:
        """The same, as its file has it."""
        if device.profile not in self._profiles:
            self._profiles[device.profile] = load_profile(device.profile, self._folder)
        return self._profiles[device.profile]

    def factor_set(self) -> tuple[FactorSet, bytes]:
        """The site's emission factors and their document, read once as a profile is."""
        if self.factors.set not in self._factors:
            self._factors[self.factors.set] = load_factors(self.factors.set, self._folder)
        return self._factors[self.factors.set]

    def _requests(self, device: DeviceSettings) -> tuple[Request, ...]:
        """What to ask the device for, and whether its server watches it in the meantime."""
        like = device.profile, _cost(device.url)  # what is accepted or bounded changes no request
        if like not in self._plans:
            self._plans[like] = plan_requests(self.written_profile(device)[0], like[1])
        requests = self._plans[like]
        if device.subscribe is None:
            return requests
        subscribe = Subscribe(device.subscribe.sampling_ms, device.subscribe.queue)
        return tuple(replace(request, subscribe=subscribe) for request in requests)

    def planned_devices(self) -> tuple[PlannedDevice, ...]:
        """What the lines must know of each device."""
        return tuple(
            PlannedDevice(
                id=device.id,
                url=device.url,
                unit=device.unit,
                period_us=device.period_us,
                requests=self._requests(device),
                timeout_s=device.timeout_s,
                pause_s=device.pause_ms / 1000,
                connect_delay_s=device.connect_delay_ms / 1000,
                first_us=self.first_slot_us(device),
                last_us=device.last_slot_us,
                identify=self.profile(device)[0].identify,
                security=self._access(device),
                trust=None if device.tls is None else device.tls.trust(),
                fields=fields_of(self.profile(device)[0]),
                max_words=self.profile(device)[0].max_words,
                cost=_cost(device.url),
                profile=digest_hex(self.profile(device)[1]),
            )
            for device in self.devices
        )

    def _access(self, device: DeviceSettings) -> Access | Login | None:
        if device.login is not None:
            return Login(device.login.user, device.login.password_variable)
        return None if device.security is None else device.security.access(self.state_dir)


def load_site(path: Path) -> SiteSettings:
    """The settings of a site file, with what the environment overrides.

    Raises:
        ConfigError: every mistake with its file and line, or the variable that is at fault.
    """
    document = read_document(path)
    refuse_secrets(document)
    check_environment(os.environ, document.mapping, SiteSettings.model_fields)
    token = FOLDER.set(path.absolute().parent)
    try:
        settings = validate(SiteSettings, document)
        found = [
            f"{document.name}:{document.line_of(where)}: {text}"
            for where, text in contradictions(settings)
        ]
    finally:
        FOLDER.reset(token)
    if found:
        raise mistakes(found)
    return settings


def site_document(settings: SiteSettings) -> bytes:
    """The canonical bytes of what is evidence; addresses and folders are not."""
    first_slot_us = settings.replay.first_slot_us if settings.replay else None
    systems = [system.model_dump() for system in settings.systems]
    return canonical_bytes(
        {
            "agent": settings.agent,
            "clock": settings.clock,
            "devices": [_device_mapping(device) for device in settings.devices],
            **({"evidence": COMMITTED} if settings.is_committed else {}),
            "factors": settings.factors.model_dump(),
            "first_slot": None if first_slot_us is None else str(first_slot_us),
            **({"interval_s": settings.interval_s} if settings.is_committed else {}),
            "site": settings.site,
            **({"systems": plain(systems)} if systems else {}),
            "time_zone": settings.time_zone,
        }
    )


def _cost(url: str) -> Cost:
    """What a request costs on the line: on a serial one every word takes its time."""
    if urlsplit(url).netloc:
        return TCP
    return Cost.rtu(settings_of(url).baud, SERIAL_LATENCY_S)


def _device_mapping(device: DeviceSettings) -> dict[str, Any]:
    """What is evidence of a device; a key that was not written does not stand there."""
    windows = {"first_slot": device.first_slot, "last_slot": device.last_slot}
    most = device.maximum_power_w
    return {
        "id": device.id,
        "period_s": device.period_s,
        "profile": device.profile,
        "unit": device.unit,
        **{name: str(us_of(at)) for name, at in windows.items() if at is not None},
        **({} if device.subscribe is None else {"subscribe": device.subscribe.model_dump()}),
        **({} if device.equipment is None else {"equipment": plain(device.equipment)}),
        **({"accept_disputed": sorted(device.accept_disputed)} if device.accept_disputed else {}),
        **({} if device.figures_every_s is None else {"figures_every_s": device.figures_every_s}),
        **({} if most is None else {"maximum_power_w": most}),
    }
