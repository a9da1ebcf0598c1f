"""The site file: which devices are read, how often, and where the evidence goes.

What is evidence (site, agent, time zone, clock, factors, devices) stands in the file and nowhere
else; wiring may be overridden by the environment, and the broker's password comes from there only:

| variable | replaces |
|---|---|
| JOULEMARK_STATE_DIR | state_dir |
| JOULEMARK_REPLAY__URL | replay.url |
| JOULEMARK_UPLINK__URL, __USERNAME, __COLLECTOR_KEY, __COLLECTOR_NAME | the same key of uplink |
| JOULEMARK_UPLINK__PASSWORD | nothing: it must not stand in the file |
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

import joulemark_profiles
from joulemark_agent.contract.batch import MAX_LEAVES
from joulemark_agent.contract.canonical import canonical_bytes, digest_hex
from joulemark_agent.contract.committed import COMMITTED, FULL, is_interval
from joulemark_agent.contract.document import (
    MAX_BYTES,
    Document,
    document_bytes,
    parse_yaml,
    plain,
    validate,
)
from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.factor import FactorSet
from joulemark_agent.contract.profile import WITHOUT_UNITS, AnyPoint, NodePoint, Profile
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.contract.reading import SIMULATED
from joulemark_agent.contract.signature import decode64
from joulemark_agent.contract.topics import require_id
from joulemark_agent.drivers.base import MAX_VALUES, Request, Subscribe
from joulemark_agent.figures import MOST_READINGS, Subject
from joulemark_agent.http_login import Login
from joulemark_agent.kernels.decode import decode_point
from joulemark_agent.lines import IN_MODBUS, is_host, line_of
from joulemark_agent.plan import TCP, Cost, PlannedDevice, fields_of, plan_requests
from joulemark_agent.process_gases import with_tables
from joulemark_agent.serial_port import settings_of
from joulemark_agent.sunspec_models import resolved

if TYPE_CHECKING:
    from joulemark_agent.http_trust import Trust
    from joulemark_agent.opcua_access import Access
    from joulemark_agent.pkcs11_key import TokenPlace
    from joulemark_agent.tls import TlsFiles

PREFIX = "JOULEMARK_"
SPOKEN_OVER = {  # the schemes of a device's URL, by its profile's protocol
    "modbus": (
        "modbus-tcp",
        "modbus-rtu",
        "modbus-rtu-tcp",
        "modbus-ascii",
        "modbus-ascii-tcp",
        "sunspec-tcp",
        "sunspec-rtu",
        "sunspec-rtu-tcp",
    ),
    "sunspec": ("sunspec-tcp", "sunspec-rtu", "sunspec-rtu-tcp"),
    "opcua": ("opc.tcp",),
    "elektronikon": ("elektronikon-http", "elektronikon-https"),
    "sigma_control": ("sigma-control-http", "sigma-control-https"),
}
ON_A_BUS = ("modbus-rtu", "modbus-ascii", "sunspec-rtu")  # how such a scheme begins
US_PER_S = 1_000_000
_DAY_S = 86_400
LONGEST_TIMEOUT_S = 10  # that may be written whatever the period is; nobody waits longer than that
LONGEST_UNASKED_S = 60  # half of what a subscription lives without being asked
SERIAL_LATENCY_S = 0.02  # of a device on a serial line, until it has been measured

# The folder relative paths start from: settings built from sources take no validation context.
_FOLDER: ContextVar[Path] = ContextVar("_FOLDER", default=Path())
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Where = tuple[str | int, ...]
_Read = tuple[str, int | None, tuple[AnyPoint, ...]]


def _site_folder() -> Path:
    return _FOLDER.get()


def _mistake(text: str) -> PydanticCustomError:
    return PydanticCustomError("site_file", "{text}", {"text": text})


def _located(check: Callable[[str], Any]) -> AfterValidator:
    """The check as a validator: its ConfigError becomes a mistake with file and line."""

    def checked(value: str) -> str:
        try:
            check(value)
        except ConfigError as error:  # of a file with mistakes only these: what to do is the same
            raise _mistake(error.what.rstrip() if "\n" in error.what else str(error)) from error
        return value

    return AfterValidator(checked)


def _with_tables(section: dict[str, Any]) -> dict[str, Any]:
    try:
        return with_tables(section)
    except ConfigError as error:
        raise _mistake(str(error)) from error


def _tcp_url(url: str) -> str:
    return _url(url, ("tcp",), "tcp://127.0.0.1:5021")


def _mqtt_url(url: str) -> str:
    return _url(url, ("mqtt", "mqtts"), "mqtt://192.0.2.10:1883")


def _url(url: str, schemes: tuple[str, ...], example: str) -> str:
    try:
        parts = urlsplit(url)
        is_plain = is_host(parts.hostname) and "@" not in url and not parts.path.strip("/")
        needs_port = parts.port is not None or parts.scheme == "tcp"
        is_whole = parts.scheme in schemes and (bool(parts.port) or not needs_port)
    except ValueError as error:
        raise _mistake(f"not an address: {error}; write it as {example!r}") from error
    if not is_plain or not is_whole or parts.query or parts.fragment:
        raise _mistake(f"not an address that can be used here; write it as {example!r}")
    return url


def _at_least_one(devices: tuple[Any, ...]) -> tuple[Any, ...]:
    if not devices:  # min_length would also count devices with a mistake as absent
        raise _mistake("there is no device; see configs/sites for an example")
    return devices


def _as_list(names: Any) -> Any:
    return [names] if isinstance(names, str) else names


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:  # not a name, a folder, not found
        raise _mistake("there is no such time zone; write one such as 'Asia/Seoul'") from error
    return name


def _folder(path: Path) -> Path:
    if not str(path).isprintable():
        raise _mistake("the name of a folder has no control characters")
    return _site_folder() / path


def _public_key(text: str) -> str:
    try:
        size = len(decode64(text))
    except EvidenceError as error:
        raise _mistake(str(error)) from error
    if size != 32:
        raise _mistake(f"an Ed25519 public key has 32 bytes, this has {size}")
    return text


def _fingerprint(text: str) -> str:
    digits = text.replace(":", "").replace(" ", "").lower()
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise _mistake("a SHA-256 fingerprint has 64 digits of 0-9 and a-f, as browsers show it")
    return digits


def _key_name(text: str) -> str:
    if not text.isprintable() or not text or " " in text or "+" in text:
        raise _mistake("the name of a key has no spaces and no '+'")
    return text


def _interval_s(interval_s: int) -> int:
    if not is_interval(interval_s):
        raise _mistake("an interval is a whole part of a day, from 60 to 3600 s; write 900")
    return interval_s


Id = Annotated[str, _located(lambda text: require_id(text, "site, agent or device"))]
ProfileName = Annotated[str, _located(lambda name: plan_requests(load_profile(name)[0]))]
FactorsName = Annotated[str, _located(lambda name: load_factors(name))]  # noqa: PLW0108 - defined below
LineUrl = Annotated[str, _located(line_of)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Folder = Annotated[Path, AfterValidator(_folder)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Milliseconds = Annotated[int, Field(ge=0, le=60_000)]


def _us(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReplaySettings(_Strict):
    """The simulator that owns the clock; only with `clock: simulated`."""

    url: Annotated[str, AfterValidator(_tcp_url)]
    first_slot: AwareDatetime

    @property
    def first_slot_us(self) -> int:
        """The first slot of the recording. [us UTC]"""
        return _us(self.first_slot)


class FactorSettings(_Strict):
    """Which emission factors the agent's own CO2e figures use."""

    set: FactorsName  # a file in configs/joulemark_profiles/factors, or a path
    rule_set: str
    jurisdiction: str


class EvidenceKeySettings(_Strict):
    """The evidence key in a security token (PKCS #11), instead of a file in state_dir."""

    module: Path  # the maker's library
    token: str = Field(min_length=1)  # its label
    label: str = Field(default="joulemark", min_length=1)  # the key's
    pin_variable: Annotated[str, Field(pattern=f"^{PREFIX}[A-Z0-9_]+$")] | None = None
    pin_file: Folder | None = None  # mode 0600

    def place(self) -> TokenPlace:
        """Where the key is, with the PIN.

        Raises:
            ConfigError: there is no PIN where the file says.
        """
        from joulemark_agent.pkcs11_key import TokenPlace, pin_at  # noqa: PLC0415 - an extra

        pin = pin_at(self.pin_variable, self.pin_file)
        return TokenPlace(self.module, self.token, self.label, pin)


class TlsSettings(_Strict):
    """How agent and broker know each other; files are read anew at every connection."""

    ca: Folder | None = None  # whose broker is believed; None: state_dir/tls/ca.pem
    certificate: Folder | None = None  # the agent's; None: state_dir/tls/agent.pem
    key: Folder | None = None  # None: it stands in the certificate's file

    def files(self, state_dir: Path) -> TlsFiles:
        """Where the files are.

        Args:
            state_dir: where those are that are not named.
        """
        from joulemark_agent import tls  # noqa: PLC0415 - brings certificates

        folder = state_dir / tls.FOLDER
        return tls.TlsFiles(
            self.ca or folder / tls.CA, self.certificate or folder / tls.OWN, self.key
        )


class UplinkSettings(_Strict):
    """The broker, and the collector whose receipts count."""

    url: Annotated[str, AfterValidator(_mqtt_url)]
    username: str | None = None
    password: SecretStr | None = None
    tls: TlsSettings | None = None  # None: with mqtts any authority that this machine believes
    collector_key: Annotated[str, AfterValidator(_public_key)] | None = None
    collector_name: Annotated[str, AfterValidator(_key_name)] | None = None  # None: as enrolled


SparkplugName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_. -]{1,100}$")]


class SparkplugSettings(_Strict):
    """A broker of the plant whose Sparkplug B host is told what is read; never evidence."""

    url: Annotated[str, AfterValidator(_mqtt_url)]
    group_id: SparkplugName
    edge_node_id: SparkplugName | None = None  # None: the agent
    primary_host: SparkplugName | None = None
    buffered: int = Field(default=100_000, ge=1, le=10_000_000)  # readings while no host listens
    username: str | None = None
    password: SecretStr | None = None
    tls: TlsSettings | None = None


class BatchSettings(_Strict):
    """A batch closes at so many slots or seconds, whichever comes first."""

    slots: int = Field(default=96, ge=1, le=2000)
    seconds: Seconds = 5.0


class OutboxSettings(_Strict):
    """What waits for the collector; near the quota things give way to evidence, see `room`."""

    quota_mb: int = Field(default=2000, ge=16, le=10_000_000)


class ArchiveSettings(_Strict):
    """Raw records that stay at the gateway; beyond the quota the oldest go, and it is said."""

    quota_mb: int = Field(default=1024, ge=1, le=10_000_000)


class SubscribeSettings(_Strict):
    """An OPC UA device that is watched between its slots; a reading holds all that changed."""

    sampling_ms: int = Field(default=250, ge=10, le=60_000)
    queue: int = Field(default=20, ge=1, le=MAX_VALUES)


class SecuritySettings(_Strict):
    """How a locked OPC UA server is reached; files are read anew at every connection."""

    policy: Literal["None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"] = (
        "Basic256Sha256"
    )
    mode: Literal["sign", "sign_and_encrypt"] = "sign_and_encrypt"
    trust: Folder | None = None  # whom to trust; None: state_dir/opcua/trusted
    certificate: Folder | None = None  # the agent's; None: state_dir/opcua/agent.der
    key: Folder | None = None  # None: the certificate's file, but ending in .key
    host: str | None = None  # that the server's certificate bears, where it is not the URL's
    user: str | None = None
    password_variable: Annotated[str, Field(pattern=f"^{PREFIX}[A-Z0-9_]+$")] | None = None
    password_file: Folder | None = None  # mode 0600
    user_certificate: Folder | None = None
    user_key: Folder | None = None  # None: as of the agent's

    def access(self, state_dir: Path) -> Access:
        """What the driver must know.

        Args:
            state_dir: where files are that are not named.
        """
        from joulemark_agent import opcua_access  # noqa: PLC0415 - only who has locked servers
        from joulemark_agent.opcua_security import Mode  # noqa: PLC0415 - as above

        folder = state_dir / opcua_access.FOLDER
        certificate = self.certificate or folder / opcua_access.CERTIFICATE
        named = self.model_dump(exclude={"trust", "certificate", "key", "mode"})
        return opcua_access.Access(
            trust=self.trust or folder / opcua_access.TRUSTED,
            certificate=certificate,
            key=self.key or certificate.with_suffix(".key"),
            mode=Mode[self.mode.upper()],
            **named,
        )


class LoginSettings(_Strict):
    """Who logs in at a controller's web interface; a user of our own, who may only see."""

    user: str = Field(pattern=r"^[!-~]([ -~]{0,62}[!-~])?$")
    password_variable: Annotated[str, Field(pattern=f"^{PREFIX}[A-Z0-9_]+$")]


class DeviceTlsSettings(_Strict):
    """By what a controller is known whose web interface speaks https."""

    fingerprint: Annotated[str, AfterValidator(_fingerprint)] | None = None  # of its certificate
    ca: Folder | None = None  # None: the authorities that this machine believes
    host: str | None = None  # that the certificate bears, where it is not the URL's

    def trust(self) -> Trust:
        """What the driver must know."""
        from joulemark_agent.http_trust import Trust  # noqa: PLC0415 - brings certificates

        return Trust(**self.model_dump())


class DeviceSettings(_Strict):
    """One device: what it is, where it answers, and how often it is read."""

    id: Id
    profile: ProfileName  # a file in configs/joulemark_profiles/devices, or a path
    url: LineUrl
    unit: int = Field(default=0, ge=0, le=255)  # on the line; OPC UA has none
    period_s: int = Field(ge=1, le=86_400)
    timeout_s: Seconds = 1.0  # nobody waits longer, nor longer than a period
    pause_ms: Milliseconds = 0  # quiet time before each request to this unit
    connect_delay_ms: Milliseconds = 0  # quiet time after its connection was opened
    security: SecuritySettings | None = None  # only OPC UA; without it the server is not locked
    login: LoginSettings | None = None  # only Sigma Control, which shows nothing without it
    tls: DeviceTlsSettings | None = None  # only https
    subscribe: SubscribeSettings | None = None  # only OPC UA; without it the device is polled
    first_slot: AwareDatetime | None = None  # only in a replay: where its recording begins
    last_slot: AwareDatetime | None = None  # and ends; then the device is read no more
    equipment: Annotated[dict[str, Any], AfterValidator(_with_tables)] | None = (
        None  # what its model must know: see joulemark_agent.equipment
    )
    figures_every_s: int | None = Field(default=None, ge=60, le=86_400)  # windows of its model
    accept_disputed: tuple[str, ...] = ()  # points that passed a commissioning test
    maximum_power_w: int | None = Field(default=None, ge=1, le=10**12)  # of its connection

    @property
    def period_us(self) -> int:
        """The time from slot to slot. [us]"""
        return self.period_s * US_PER_S

    @property
    def last_slot_us(self) -> int | None:
        """The last slot that is read; None: there is none. [us UTC]"""
        return None if self.last_slot is None else _us(self.last_slot)


class SystemSettings(_Strict):
    """Several devices whose figures belong together."""

    id: Id
    kind: str  # a file in joulemark_agent/equipment/systems
    members: dict[str, Annotated[tuple[Id, ...], BeforeValidator(_as_list)]]  # ids by role
    parameters: dict[str, Any] = {}


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
    interval_s: Annotated[int, AfterValidator(_interval_s)] = 900  # of committed evidence
    outbox: OutboxSettings = OutboxSettings()
    archive: ArchiveSettings = ArchiveSettings()
    raw_requests: Literal["allow", "deny", "ask"] = "ask"  # for raw records of the archive
    devices: Annotated[tuple[DeviceSettings, ...], AfterValidator(_at_least_one)]
    systems: tuple[SystemSettings, ...] = ()

    _folder: Path = PrivateAttr(default_factory=_site_folder)
    _profiles: dict[str, tuple[Profile, bytes]] = PrivateAttr(default_factory=dict)

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
        return self.replay.first_slot_us if device.first_slot is None else _us(device.first_slot)

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
        """The site's emission factors and their document."""
        return load_factors(self.factors.set, self._folder)

    def _requests(self, device: DeviceSettings) -> tuple[Request, ...]:
        """What to ask the device for, and whether its server watches it in the meantime."""
        requests = plan_requests(self.profile(device)[0], _cost(device.url))
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
    _refuse_secrets(document)
    _check_environment(os.environ)
    token = _FOLDER.set(path.absolute().parent)
    try:
        settings = validate(SiteSettings, document)
        found = [
            f"{document.name}:{document.line_of(where)}: {text}"
            for where, text in _contradictions(settings)
        ]
    finally:
        _FOLDER.reset(token)
    if found:
        raise _mistakes(found)
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
        **{name: str(_us(at)) for name, at in windows.items() if at is not None},
        **({} if device.subscribe is None else {"subscribe": device.subscribe.model_dump()}),
        **({} if device.equipment is None else {"equipment": plain(device.equipment)}),
        **({"accept_disputed": sorted(device.accept_disputed)} if device.accept_disputed else {}),
        **({} if device.figures_every_s is None else {"figures_every_s": device.figures_every_s}),
        **({} if most is None else {"maximum_power_w": most}),
    }


def load_profile(name: str, folder: Path | None = None) -> tuple[Profile, bytes]:
    """A profile and its document (canonical bytes).

    Args:
        name: one of the shipped ones, or a path that ends in `.yaml`.
        folder: what a relative path starts from; None: the site file's folder while one is read,
            otherwise the current one.

    Raises:
        ConfigError: no such profile, mistakes in it, or golden words that have another value.
    """
    return checked_profile(_document("devices", name, folder))


def checked_profile(document: Document) -> tuple[Profile, bytes]:
    """The profile that a document holds, and what is signed of it.

    Raises:
        ConfigError: mistakes in it, or golden words that have another value.
    """
    document = resolved(document)
    profile = validate(Profile, document)
    found = [
        f"{document.name}:{document.line_of(('golden', i))}: the words of {row.point} are"
        f" {value or code}, not {'a sentinel' if row.value is None else f'{row.value:f}'}"
        for i, row in enumerate(profile.golden)
        for value, code in [decode_point(profile.point(row.point), row.raw)]
        if row.value != (None if value is None else Decimal(value))
    ]
    if found:
        raise _mistakes(found)
    return profile, document_bytes(document.mapping)


def load_factors(name: str, folder: Path | None = None) -> tuple[FactorSet, bytes]:
    """A factor set and its document; the arguments and errors are those of `load_profile`."""
    document = _document("factors", name, folder)
    return validate(FactorSet, document), document_bytes(document.mapping)


def read_document(path: Path) -> Document:
    """The YAML file, of limited size.

    Raises:
        ConfigError: it cannot be read, is too large, or is not YAML.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and who may read the file."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error
    return parse_yaml(text, str(path))


def _document(kind: str, name: str, folder: Path | None) -> Document:
    if name.endswith(".yaml"):
        return read_document((_site_folder() if folder is None else folder) / name)
    try:
        return parse_yaml(joulemark_profiles.text(kind, name), f"{name}.yaml")
    except KeyError as error:
        known = ", ".join(joulemark_profiles.names(kind))
        raise ConfigError(
            f"There is no {name[:80]!r} in {kind}.",
            f"Use one of: {known}; or the path of a file that ends in '.yaml'.",
        ) from error


def _contradictions(settings: SiteSettings) -> Iterator[tuple[_Where, str]]:
    """What is wrong only together with something else, and where it stands."""
    if settings.clock == SIMULATED and settings.replay is None:
        yield ("clock",), "a simulated clock needs 'replay: {url: ..., first_slot: ...}'"
    if settings.clock != SIMULATED and settings.replay is not None:
        yield ("replay",), "a replay needs 'clock: simulated'; remove one of the two"
    factors = settings.factors
    if not any(
        factors.rule_set in factor.rule_sets and factors.jurisdiction == factor.jurisdiction
        for factor in settings.factor_set()[0].factors
    ):
        yield (
            ("factors",),
            f"{factors.set!r} has no factor for {factors.rule_set!r} in {factors.jurisdiction!r}",
        )
    token, uplink = settings.evidence_key, settings.uplink
    if token is not None and (token.pin_variable is None) == (token.pin_file is None):
        yield ("evidence_key",), "write either 'pin_file' or 'pin_variable'"
    if uplink.tls is not None and not uplink.url.startswith("mqtts:"):
        yield ("uplink", "tls"), "'tls' needs an 'url' that begins with mqtts://"
    if (uplink.collector_key is None) != (uplink.collector_name is None):
        text = "'collector_key' and 'collector_name' go together; write both, or none once enrolled"
        yield ("uplink",), text
    yield from _of_committed(settings)
    seen: set[str] = set()
    read: dict[_Read, str] = {}
    ports: dict[str, tuple[str, str]] = {}  # of Modbus: who uses them first, and how
    locks: dict[str, DeviceSettings] = {}  # servers: who reads them first
    for i, device in enumerate(settings.devices):
        if device.id in seen:
            yield ("devices", i, "id"), f"two devices are called {device.id!r}; rename one"
        seen.add(device.id)
        other = read.setdefault(_what_is_read(settings, device), device.id)
        if other != device.id:
            text = f"{device.id!r} reads what {other!r} reads, which would count twice; remove one"
            yield ("devices", i, "unit"), text
        if (parts := urlsplit(line_of(device.url))).scheme.startswith(IN_MODBUS):
            look = parts.geturl().replace("sunspec", "modbus", 1)  # they share the connection
            first, how = ports.setdefault(parts.netloc or parts.path, (device.id, look))
            if how != look:
                text = f"{first!r} uses this port as {how!r}; a line has one speed and one framing"
                yield ("devices", i, "url"), text
        first_there = locks.setdefault(line_of(device.url), device)
        if first_there.login != device.login:
            text = f"{first_there.id!r} is read from this controller too, with another 'login'; a"
            yield ("devices", i, "login"), f"{text} connection has one: write the same for both"
        if first_there.tls != device.tls:
            text = f"{first_there.id!r} is read from this controller too, with another 'tls'; a"
            yield ("devices", i, "tls"), f"{text} connection has one: write the same for both"
        if first_there.security != device.security:
            text = f"{first_there.id!r} is read from this server too, with other 'security'; both"
            yield ("devices", i, "security"), f"{text} share one session: write the same for both"
        if device.timeout_s > max(device.period_s, LONGEST_TIMEOUT_S):
            text = f"'timeout_s' is longer than 'period_s' ({device.period_s} s); lower it"
            yield ("devices", i, "timeout_s"), text
        yield from ((("devices", i, *where), text) for where, text in _of_device(settings, device))
    if settings.systems:
        yield from _of_systems(settings)


def _of_committed(settings: SiteSettings) -> Iterator[tuple[_Where, str]]:
    """What does not fit raw records that go to the collector, or that stay at the gateway."""
    if not settings.is_committed:
        for key in ("interval_s", "archive", "raw_requests"):
            if key in settings.model_fields_set:
                yield (key,), f"'{key}' is only for 'evidence: committed'; remove one of the two"
        return
    if "batch" in settings.model_fields_set:
        yield ("batch",), "with 'evidence: committed' a batch ends with its interval; remove it"
    for i, device in enumerate(settings.devices):
        records, rest = divmod(settings.interval_s, device.period_s)
        if rest or records > MAX_LEAVES // 2:
            text = f"an interval of {settings.interval_s} s must hold whole periods, at most"
            yield ("devices", i, "period_s"), f"{text} {MAX_LEAVES // 2} of them"
        if not any(point.counter for point in settings.profile(device)[0].points):
            text = "it has no counter: between the ends of intervals nobody would know what it used"
            do = "read its energy register too, or read it by an agent with 'evidence: full'"
            yield ("devices", i, "profile"), f"{text}; {do}"


def _what_is_read(settings: SiteSettings, device: DeviceSettings) -> _Read:
    """Place, unit and points: the same whatever the scheme, and the name of the profile's file."""
    profile, _ = settings.written_profile(device)
    place = line_of(device.url).partition("://")[2]
    return place, None if profile.protocol in WITHOUT_UNITS else device.unit, profile.points


def _of_device(settings: SiteSettings, device: DeviceSettings) -> Iterator[tuple[_Where, str]]:
    """What of a device does not fit its profile, its address or the clock."""
    profile, _ = settings.profile(device)
    spoken = SPOKEN_OVER[profile.protocol]
    if (scheme := urlsplit(device.url).scheme) not in spoken:
        text = f"the profile speaks {profile.protocol}, over {' or '.join(spoken)}, not {scheme}"
        yield ("url",), text
    if profile.protocol not in WITHOUT_UNITS and "unit" not in device.model_fields_set:
        yield (), "'unit' is missing: the device's number on its line, often 1"
    elif scheme.startswith(ON_A_BUS) and device.unit == 0:
        yield ("unit",), "unit 0 is every device of a serial line at once; write 1 to 247"
    if any(isinstance(point, NodePoint) and point.path for point in profile.points):
        text = "its nodes are places in a companion model, where each server has other identifiers"
        yield ("profile",), f"{text}: run 'joulemark agent scan {device.url}' and use what it says"
    for point in profile.registers:
        every_s = point.every_s or device.period_s
        if every_s % device.period_s and device.period_s % every_s:
            text = f"{point.name} is due every {every_s} s: a multiple of 'period_s' is needed"
            yield ("period_s",), f"{text}, or one of which 'period_s' is a multiple"
    if device.subscribe is not None:
        yield from _of_subscription(profile, device, device.subscribe)
    if (profile.protocol == "sigma_control") != (device.login is not None):
        text = "write 'login: {user: NAME, password_variable: JOULEMARK_NAME}', a user of its own"
        yield ("login",), "only a Sigma Control logs in; remove it" if device.login else text
    if device.tls is not None and not scheme.endswith("-https"):
        yield ("tls",), "only an address that begins with ...-https:// has TLS; remove it"
    if device.tls is not None and device.tls.fingerprint and (device.tls.ca or device.tls.host):
        yield ("tls",), "a 'fingerprint' says all; remove 'ca' and 'host'"
    if device.security is not None:
        yield from ((("security", *where), text) for where, text in _of_security(device))
    if device.equipment is not None:
        yield from _of_equipment(profile, device.equipment)
    if device.figures_every_s is not None:
        yield from _of_figures(profile, device, device.figures_every_s)
    written = load_profile(device.profile)[0] if device.accept_disputed else profile
    disputed = {point.name for point in written.points if point.disputed}
    for i, name in enumerate(device.accept_disputed):
        if name not in disputed:
            known = ", ".join(sorted(disputed)) or "none"
            text = f"{name!r} is no disputed point of this profile (disputed: {known}); remove it"
            yield ("accept_disputed", i), text
    if device.maximum_power_w is not None and not energy_counters(profile):
        yield ("maximum_power_w",), "it bounds counters of Wh, and the profile has none; remove it"
    windows = {"first_slot": device.first_slot, "last_slot": device.last_slot}
    for name, at in windows.items():
        if at is not None and settings.replay is None:
            yield (name,), f"'{name}' is only for a replay; remove it"
    first_us, last_us = settings.first_slot_us(device), device.last_slot_us
    if first_us is None:
        return
    where = ("period_s",) if device.first_slot is None else ("first_slot",)
    name = "replay.first_slot" if device.first_slot is None else "first_slot"
    if first_us < 0:
        yield where, f"'{name}' is before 1970; no evidence is"
    if first_us % device.period_us:
        yield where, f"'{name}' is not a multiple of {device.period_s} s; slots are"
    if last_us is not None and (last_us - first_us < 0 or last_us % device.period_us):
        text = f"'last_slot' is before the first slot, or no multiple of {device.period_s} s"
        yield ("last_slot",), text


def energy_counters(profile: Profile) -> tuple[str, ...]:
    """The counters that `maximum_power_w` of a device bounds."""
    found = (point.name for point in profile.points if point.counter)
    return tuple(name for name in found if unit_of(name) == "Wh")


def _of_subscription(
    profile: Profile, device: DeviceSettings, subscribe: SubscribeSettings
) -> Iterator[tuple[_Where, str]]:
    """What speaks against watching the device between its slots."""
    if profile.protocol != "opcua":
        yield ("subscribe",), "only an OPC UA server can be subscribed to; remove it"
    if device.period_s > LONGEST_UNASKED_S:
        text = f"the server keeps what changes for {LONGEST_UNASKED_S} s: lower 'period_s' to that"
        yield ("subscribe",), f"{text}, or remove 'subscribe'"
    if (values := len(profile.points) * subscribe.queue) > MAX_VALUES:
        text = f"{values} values may wait for a slot, and a reading holds {MAX_VALUES}"
        yield ("subscribe", "queue"), f"{text}; lower 'queue'"


def _of_security(device: DeviceSettings) -> Iterator[tuple[_Where, str]]:
    """What of a device's security does not fit together."""
    security = device.security
    assert security is not None
    if urlsplit(device.url).scheme not in SPOKEN_OVER["opcua"]:
        yield (), "'security' is only for OPC UA; remove it"
    passwords = sum(one is not None for one in (security.password_variable, security.password_file))
    if security.user is not None and passwords != 1:
        yield (), "a 'user' needs either 'password_file' or 'password_variable'"
    if security.user is None and passwords:
        yield (), "a password needs a 'user'"
    if security.user is not None and security.user_certificate is not None:
        yield (), "'user' and 'user_certificate' are two ways to log in; write one"
    if security.user_key is not None and security.user_certificate is None:
        yield (), "'user_key' needs a 'user_certificate'"


def _of_equipment(profile: Profile, section: Mapping[str, Any]) -> Iterator[tuple[_Where, str]]:
    """What of a device's section its equipment model does not take."""
    from joulemark_agent.equipment import parameters_of  # noqa: PLC0415 - brings numba

    try:
        if parameters_of(profile.kind, section) is None:
            yield ("equipment",), f"there is no equipment model for {profile.kind!r}; remove it"
    except ValidationError as error:
        for item in error.errors(include_url=False):
            yield ("equipment", *item["loc"]), f"equipment: {item['msg']} ({item['input']!r})"


def _of_systems(settings: SiteSettings) -> Iterator[tuple[_Where, str]]:
    """What is wrong with the systems of devices, and where."""
    from joulemark_agent.equipment.systems import mistakes  # noqa: PLC0415 - brings numba

    kind_of = {device.id: settings.profile(device)[0].kind for device in settings.devices}
    seen: set[str] = set()
    for i, system in enumerate(settings.systems):
        if system.id in seen:
            yield ("systems", i, "id"), f"two systems are called {system.id!r}; rename one"
        seen.add(system.id)
        found = mistakes(system.kind, system.members, plain(system.parameters), kind_of)
        yield from ((("systems", i, *where), text) for where, text in found)


def _of_figures(
    profile: Profile, device: DeviceSettings, every_s: int
) -> Iterator[tuple[_Where, str]]:
    """What speaks against windows of that length."""
    from joulemark_agent.equipment import has_model  # noqa: PLC0415 - as above

    where = ("figures_every_s",)
    if not has_model(profile.kind):
        yield where, f"there is no equipment model for {profile.kind!r}; remove it"
    if _DAY_S % every_s or every_s < 2 * device.period_s:
        text = f"windows of {every_s} s do not divide a day, or hold fewer than two periods of"
        yield where, f"{text} {device.period_s} s; write 900 or 3600"
    elif every_s // device.period_s > MOST_READINGS:
        text = f"a window would hold {every_s // device.period_s} readings"
        yield where, f"{text}; {MOST_READINGS} are the most: lower it"


_INSTEAD_OF_A_PASSWORD = {
    "security": "Remove it, change it on the server, and write 'password_file: FILE' (mode 0600) or"
    f" 'password_variable: {PREFIX}NAME'.",
    "login": "Remove it, change it at the controller, and write 'password_variable:"
    f" {PREFIX}NAME', an environment variable.",
}


def _refuse_secrets(document: Document) -> None:
    """A password in a file is refused before anything could print it."""
    devices = document.mapping.get("devices")
    for i, device in enumerate(devices if isinstance(devices, Sequence) else ()):
        for key, do in _INSTEAD_OF_A_PASSWORD.items():
            section = device.get(key) if isinstance(device, Mapping) else None
            if isinstance(section, Mapping) and "password" in section:
                line = document.line_of(("devices", i, key, "password"))
                what = f"{document.name}:{line}: a password does not belong in a site file."
                raise ConfigError(what, do)
    token = document.mapping.get("evidence_key")
    if isinstance(token, Mapping) and "pin" in token:
        line = document.line_of(("evidence_key", "pin"))
        raise ConfigError(
            f"{document.name}:{line}: a PIN does not belong in a site file.",
            f"Remove it, change it, and write 'pin_file: FILE' or 'pin_variable: {PREFIX}NAME'.",
        )
    for name in ("uplink", "sparkplug"):
        section = document.mapping.get(name)
        if not isinstance(section, Mapping):
            continue
        for key in ("password", "url"):
            if key in section and (key == "password" or "@" in str(section["url"])):
                raise ConfigError(
                    f"{document.name}:{document.line_of((name, key))}: {name}.{key} holds a"
                    " password, and a password does not belong in a file.",
                    "Remove it, change it at the broker, and set"
                    f" {PREFIX}{name.upper()}__PASSWORD.",
                )


def _check_environment(variables: Mapping[str, str]) -> None:
    """Every variable that would replace evidence, or replaces wiring with nonsense, is refused."""
    allowed = {
        "STATE_DIR": SiteSettings.model_fields["state_dir"],
        "REPLAY__URL": ReplaySettings.model_fields["url"],
    } | {f"UPLINK__{name.upper()}": field for name, field in UplinkSettings.model_fields.items()}
    ours = {name.upper() for name in SiteSettings.model_fields}
    found = []
    for variable, value in sorted(variables.items()):
        if not variable.upper().startswith(PREFIX):
            continue
        key = variable.upper().removeprefix(PREFIX)
        if key in allowed:
            kind: Any = Annotated[allowed[key].annotation, Field(), *allowed[key].metadata]
            try:
                TypeAdapter(kind).validate_python(value)
            except ValidationError as error:  # the value may be a secret: it is not shown
                found += [f"{variable}: {item['msg']}" for item in error.errors()]
        elif key.partition("__")[0] in ours:
            found.append(
                f"{variable}: the environment may not replace this; remove the variable and write"
                f" the site file (allowed: {', '.join(PREFIX + name for name in sorted(allowed))})"
            )
    if found:
        raise _mistakes(found)


def _mistakes(found: Sequence[str]) -> ConfigError:
    listed = "\n  ".join(found)
    return ConfigError(
        f"{len(found)} mistake(s):\n  {listed}\n",
        "Correct what is named and run the command again.",
    )
