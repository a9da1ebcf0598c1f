"""The sections of a site file, each by itself; `site_checks` finds what does not fit together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
)

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.drivers.base import MAX_VALUES
from joulemark_agent.plan import US_PER_S
from joulemark_agent.process_gases import with_tables
from joulemark_agent.site_values import (
    FactorsName,
    Fingerprint,
    Folder,
    Id,
    KeyName,
    LineUrl,
    Milliseconds,
    MqttUrl,
    ProfileName,
    PublicKey,
    Seconds,
    SparkplugName,
    TcpUrl,
    Variable,
    mistake,
    us_of,
)

if TYPE_CHECKING:
    from joulemark_agent.http_trust import Trust
    from joulemark_agent.opcua_access import Access
    from joulemark_agent.pkcs11_key import TokenPlace
    from joulemark_agent.tls import TlsFiles


class Strict(BaseModel):
    """A section in which an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ReplaySettings(Strict):
    """The simulator that owns the clock; only with `clock: simulated`."""

    url: TcpUrl
    first_slot: AwareDatetime

    @property
    def first_slot_us(self) -> int:
        """The first slot of the recording. [us UTC]"""
        return us_of(self.first_slot)


class FactorSettings(Strict):
    """Which emission factors the agent's own CO2e figures use."""

    set: FactorsName  # a file in configs/joulemark_profiles/factors, or a path
    rule_set: str
    jurisdiction: str


class EvidenceKeySettings(Strict):
    """The evidence key in a security token (PKCS #11), instead of a file in state_dir."""

    module: Path  # the maker's library
    token: str = Field(min_length=1)  # its label
    label: str = Field(default="joulemark", min_length=1)  # the key's
    pin_variable: Variable | None = None
    pin_file: Folder | None = None  # mode 0600

    def place(self) -> TokenPlace:
        """Where the key is, with the PIN.

        Raises:
            ConfigError: there is no PIN where the file says.
        """
        from joulemark_agent.pkcs11_key import TokenPlace, pin_at  # noqa: PLC0415 - an extra

        pin = pin_at(self.pin_variable, self.pin_file)
        return TokenPlace(self.module, self.token, self.label, pin)


class TlsSettings(Strict):
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


class UplinkSettings(Strict):
    """The broker, and the collector whose receipts count."""

    url: MqttUrl
    username: str | None = None
    password: SecretStr | None = None
    tls: TlsSettings | None = None  # None: with mqtts any authority that this machine believes
    collector_key: PublicKey | None = None
    collector_name: KeyName | None = None  # None: as enrolled


class SparkplugSettings(Strict):
    """A broker of the plant whose Sparkplug B host is told what is read; never evidence."""

    url: MqttUrl
    group_id: SparkplugName
    edge_node_id: SparkplugName | None = None  # None: the agent
    primary_host: SparkplugName | None = None
    buffered: int = Field(default=10_000, ge=1, le=1_000_000)  # readings while no host listens
    values_leave: bool = False  # with committed evidence: that every value goes to this broker
    username: str | None = None
    password: SecretStr | None = None
    tls: TlsSettings | None = None


class BatchSettings(Strict):
    """A batch closes at so many slots or seconds, whichever comes first."""

    slots: int = Field(default=96, ge=1, le=2000)
    seconds: Seconds = 5.0


class OutboxSettings(Strict):
    """What waits for the collector; near the quota things give way to evidence, see `room`."""

    quota_mb: int = Field(default=2000, ge=16, le=10_000_000)


class ArchiveSettings(Strict):
    """Raw records that stay at the gateway; beyond the quota the oldest go, and it is said."""

    quota_mb: int = Field(default=1024, ge=1, le=10_000_000)


class SubscribeSettings(Strict):
    """An OPC UA device that is watched between its slots; a reading holds all that changed."""

    sampling_ms: int = Field(default=250, ge=10, le=60_000)
    queue: int = Field(default=20, ge=1, le=MAX_VALUES)


class SecuritySettings(Strict):
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
    password_variable: Variable | None = None
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


class LoginSettings(Strict):
    """Who logs in at a controller's web interface; a user of our own, who may only see."""

    user: str = Field(pattern=r"^[!-~]([ -~]{0,62}[!-~])?$")
    password_variable: Variable


class DeviceTlsSettings(Strict):
    """By what a controller is known whose web interface speaks https."""

    fingerprint: Fingerprint | None = None  # of its certificate
    ca: Folder | None = None  # None: the authorities that this machine believes
    host: str | None = None  # that the certificate bears, where it is not the URL's

    def trust(self) -> Trust:
        """What the driver must know."""
        from joulemark_agent.http_trust import Trust  # noqa: PLC0415 - brings certificates

        return Trust(**self.model_dump())


def _with_tables(section: dict[str, Any]) -> dict[str, Any]:
    try:
        return with_tables(section)
    except ConfigError as error:
        raise mistake(str(error)) from error


class DeviceSettings(Strict):
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
        return None if self.last_slot is None else us_of(self.last_slot)


def _as_list(names: Any) -> Any:
    return [names] if isinstance(names, str) else names


class SystemSettings(Strict):
    """Several devices whose figures belong together."""

    id: Id
    kind: str  # a file in joulemark_agent/equipment/systems
    members: dict[str, Annotated[tuple[Id, ...], BeforeValidator(_as_list)]]  # ids by role
    parameters: dict[str, Any] = {}
