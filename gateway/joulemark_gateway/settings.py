"""The collector's file: who may send, who may open epochs, where evidence is kept.

Who is trusted stands in the file and nowhere else. Wiring may be overridden by the environment, and
the broker's password comes from there only:

| variable | replaces |
|---|---|
| JOULEMARK_COLLECTOR_STATE_DIR | state_dir |
| JOULEMARK_COLLECTOR_BROKER__URL, __USERNAME | the same key of broker |
| JOULEMARK_COLLECTOR_BROKER__PASSWORD | nothing: it must not stand in the file |
| JOULEMARK_COLLECTOR_SERIES__URL, __ORG, __BUCKET | the same key of series |
| JOULEMARK_COLLECTOR_SERIES__TOKEN | nothing: it must not stand in the file |
| JOULEMARK_COLLECTOR_LEDGER__URL | the same key of ledger |
| JOULEMARK_COLLECTOR_LEDGER__PASSWORD | nothing: it must not stand in the file |
| ..._PASSWORD_FILE, ..._TOKEN_FILE | names the file in which the secret stands |
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from joulemark_agent.contract.document import Document, validate
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.revocation import Revoked
from joulemark_agent.contract.signature import decode64
from joulemark_agent.contract.topics import parse_origin, require_id
from joulemark_gateway import secret_files
from joulemark_gateway.access.settings import PagesSettings
from joulemark_gateway.alerts.settings import AlertSettings
from joulemark_gateway.bookkeeping.settings import LogSettings
from joulemark_gateway.costs.files import load_tariffs
from joulemark_gateway.costs.settings import CostSettings
from joulemark_gateway.evidence.entries import is_log_name
from joulemark_gateway.evidence.ledger import Ledger
from joulemark_gateway.evidence.settings import LedgerSettings
from joulemark_gateway.evidence.tables import QUARANTINE_BYTES, QUARANTINE_MESSAGES
from joulemark_gateway.ingest.registered import Agent, Registry
from joulemark_gateway.pki.settings import BrokerTls, EnrolmentSettings
from joulemark_gateway.sections import (
    FOLDER,
    Folder,
    Place,
    PublicKey,
    ServerUrl,
    Strict,
    is_address,
    located,
    mistake,
    read_yaml,
)

PREFIX = "JOULEMARK_COLLECTOR_"
PORTS = {"mqtt": 1883, "mqtts": 8883}


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_plain = bool(parts.hostname) and "@" not in url and not parts.path.strip("/")
        is_whole = parts.scheme in PORTS and parts.port != 0
    except ValueError as error:
        raise mistake(f"not an address: {error}") from error
    if not is_plain or not is_whole or parts.query or parts.fragment:
        raise mistake("not the address of a broker; write it as 'mqtt://192.0.2.10:1883'")
    return url


def _check_name(text: str) -> str:
    if not text.isprintable() or not text or " " in text or "+" in text:
        raise mistake("the name of a witness has no spaces and no '+'")
    if not is_log_name(text):
        raise mistake("with this name the collector's log could be taken for the tree of a device")
    return text


def _check_token(token: SecretStr) -> SecretStr:
    """One that no header takes would end up in the error that says so."""
    text = token.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise mistake(
            "a token is letters, digits and signs of ASCII without blanks; look for a line's end"
            " behind it"
        )
    return token


Id = Annotated[str, located(lambda text: require_id(text, "site, agent or device"))]
Origin = Annotated[str, located(parse_origin)]
Url = Annotated[str, AfterValidator(_check_url)]
Token = Annotated[SecretStr, AfterValidator(_check_token)]
GroupName = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]


class BrokerSettings(Strict):
    """Where the agents' batches arrive."""

    url: Url = "mqtt://127.0.0.1:1883"
    username: str | None = None
    password: SecretStr | None = None
    tls: BrokerTls | None = None  # None: with mqtts any authority that this machine believes
    config: Folder | None = None  # of mosquitto: kept as enrolments and revocations say
    group: GroupName | None = None  # of collectors that share what arrives; None: all of it

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tls is not None and not self.uses_tls:
            raise mistake("'tls' needs a 'url' that begins with mqtts://")
        return self

    @property
    def host(self) -> str:
        """Name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port, or the scheme's own."""
        parts = urlsplit(self.url)
        return parts.port or PORTS[parts.scheme]

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted and the broker's certificate checked."""
        return self.url.startswith("mqtts:")


class SeriesSettings(Strict):
    """Where the rebuildable copy for queries is kept: in state_dir, on a server, or elsewhere."""

    kind: Literal["embedded", "victoriametrics", "influx", "none"] = "embedded"
    url: ServerUrl | None = None
    org: str = "joulemark"  # VictoriaMetrics has neither organisations nor buckets
    bucket: str = "joulemark"
    token: Token | None = None
    raw_days: int | None = Field(default=None, ge=2)  # readings and slots are kept; None: for ever
    quarter_days: int | None = Field(default=None, ge=2)  # quarter-hours are kept; days for ever

    @model_validator(mode="after")
    def _check(self) -> Self:
        days = (self.raw_days, self.quarter_days)
        if self.kind != "embedded" and days != (None, None):
            raise mistake(
                "raw_days and quarter_days are of the embedded series; set the retention of "
                f"{self.kind!r} at the server, see docs/series.md"
            )
        if None not in days and days[0] > days[1]:  # type: ignore[operator]  # neither is None
            raise mistake(f"raw_days ({days[0]}) must not be more than quarter_days ({days[1]})")
        if self.raw_days is None and self.quarter_days is not None:
            raise mistake("quarter_days needs raw_days: quarter-hours outlive what they are of")
        is_on_server = self.kind not in {"embedded", "none"}
        if not is_on_server and self.url is not None:
            raise mistake("the embedded series has no url; set kind to the kind of the server")
        if is_on_server and self.url is None:
            raise mistake(f"the kind {self.kind!r} needs the url of the server")
        return self


class AgentSettings(Strict):
    """One agent that may send."""

    agent: Id
    site: Id
    key: PublicKey
    devices: tuple[Id, ...] = Field(min_length=1)


class RevokedSettings(Strict):
    """One key that is trusted no longer: of this tree it signed heads up to this size only."""

    key: PublicKey
    origin: Origin
    size: int = Field(ge=0, lt=2**53)
    time: str | None = None  # when and why, for people
    reason: str | None = None


class LimitSettings(Strict):
    """How much of one agent is kept or waits, so that none can use up what belongs to all."""

    quarantine_bytes: int = Field(default=QUARANTINE_BYTES, ge=0)
    quarantine_messages: int = Field(default=QUARANTINE_MESSAGES, ge=1)
    waiting_batches: int = Field(default=32, ge=1, le=10_000)


class ProjectSettings(Strict):
    """One project that the pages show, or several that run."""

    report: Place | None = None  # what `joulemark report --out` wrote
    follow: Folder | None = None  # a project file, or a folder of them: the saving so far

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        if (self.report is None) == (self.follow is None):
            raise mistake(
                "name either 'report', the folder or address of a report, or 'follow', a project"
            )
        return self


class CollectorSettings(BaseSettings):
    """A collector's file that was found without mistakes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    name: Annotated[str, AfterValidator(_check_name)] = "joulemark/collector"
    state_dir: Folder = Field(default=Path("state"), validate_default=True)
    broker: BrokerSettings = BrokerSettings()
    ledger: LedgerSettings = LedgerSettings()
    accept_simulated: bool = False
    agents: tuple[AgentSettings, ...] = ()  # besides those that were enrolled
    operators: tuple[PublicKey, ...] = Field(min_length=1)
    revoked: tuple[RevokedSettings, ...] = ()
    series: SeriesSettings = SeriesSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()
    pages: PagesSettings | None = PagesSettings()  # null: no pages
    enrolment: EnrolmentSettings | None = None  # None: agents join by hand
    projects: tuple[ProjectSettings, ...] = ()
    costs: tuple[CostSettings, ...] = ()  # tariffs by site
    alerts: AlertSettings | None = None  # None: nobody is told

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
        assert isinstance(env_settings, EnvSettingsSource)
        given = secret_files.opened(os.environ, PREFIX)
        env_settings.env_vars = {name.lower(): value for name, value in given.items()}
        return env_settings, init_settings

    @property
    def evidence(self) -> Ledger:
        """Where evidence and the collector's log are kept; errors as `LedgerSettings.ledger`."""
        return self.ledger.ledger(self.state_dir)

    @property
    def registry(self) -> Registry:
        """Who may send, in the form the judge takes."""
        agents = {
            row.agent: Agent(row.agent, row.site, decode64(row.key), frozenset(row.devices))
            for row in self.agents
        }
        operators = frozenset(decode64(key) for key in self.operators)
        revoked = [Revoked(decode64(row.key), row.origin, row.size) for row in self.revoked]
        return Registry(agents, operators, self.accept_simulated, tuple(revoked))


def load_collector(path: Path) -> CollectorSettings:
    """The settings of a collector's file, with what the environment overrides.

    Raises:
        ConfigError: every mistake with its file and line, or the variable that is at fault.
    """
    document = read_yaml(path)
    _refuse_secrets(document)
    _check_environment(secret_files.opened(os.environ, PREFIX))
    token = FOLDER.set(path.absolute().parent)
    try:
        settings = validate(CollectorSettings, document)
    finally:
        FOLDER.reset(token)
    seen: dict[tuple[str, str], str] = {}
    found = []
    needing = settings.pages is not None or settings.projects or settings.costs
    if settings.series.kind == "none" and needing:
        line = document.line_of(("series",))
        found.append(
            f"{document.name}:{line}: pages, projects and costs need the series; write 'pages:"
            " null' and neither projects nor costs, or leave 'kind: none' out"
        )
    if settings.broker.group is not None and settings.ledger.kind == "sqlite":
        line = document.line_of(("broker", "group"))
        found.append(
            f"{document.name}:{line}: of a group each collector gets a part of the batches,"
            " and they must stand in one ledger; set 'ledger: {kind: postgresql, url: ...}'"
        )
    if not settings.agents and settings.enrolment is None:
        text = "'agents' is empty and nobody can join; list one, or add 'enrolment: {}'"
        found.append(f"{document.name}: {text}")
    for i, row in enumerate(settings.agents):
        devices = (("device", f"{row.site}/{device}") for device in row.devices)
        things = [("agent", row.agent), ("key", row.key), *devices]
        for thing in things:
            if thing in seen:
                line = document.line_of(("agents", i))
                found.append(f"{document.name}:{line}: the {thing[0]} {thing[1]!r} stands twice")
            seen[thing] = row.agent
        if row.key in settings.operators:
            line = document.line_of(("agents", i, "key"))
            found.append(
                f"{document.name}:{line}: the key of {row.agent!r} is an operator's; who reads "
                "must not approve"
            )
    if found:
        raise _mistakes(found)
    load_tariffs(settings.costs)
    return settings


def _refuse_secrets(document: Document) -> None:
    """A password or token in the file is refused before anything could print it."""
    places = (("broker", "password"), ("series", "token"), ("ledger", "password"))
    for section, secret in places:
        found = document.mapping.get(section)
        if isinstance(found, Mapping):
            variable = f"{PREFIX}{section.upper()}__{secret.upper()}"
            if secret in found or _has_secret(found.get("url")):
                key = secret if secret in found else "url"
                raise _secret(document, (section, key), secret, f"set {variable}")
    for place, address in _addresses(document.mapping):
        if _has_secret(address):
            do = "give it to the environment as the package of that store reads it"
            raise _secret(document, place, "password", do)


def _addresses(mapping: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Where the file may hold the address of an object store, and what stands there."""
    ledger, projects = mapping.get("ledger"), mapping.get("projects")
    if isinstance(ledger, Mapping):
        yield ("ledger", "objects"), ledger.get("objects")
    for index, row in enumerate(projects if isinstance(projects, Sequence) else ()):
        if isinstance(row, Mapping) and is_address(str(row.get("report"))):
            yield ("projects", index, "report"), row["report"]


def _secret(document: Document, place: tuple[str | int, ...], secret: str, do: str) -> ConfigError:
    name = ".".join(str(part) for part in place)
    return ConfigError(
        f"{document.name}:{document.line_of(place)}: {name} holds a {secret}, and a {secret} does "
        "not belong in a file.",
        f"Remove it, change it at the server, and {do}.",
    )


def _has_secret(url: object) -> bool:
    """Whether an address names who logs in, or for a database with what."""
    text = str(url)
    if text.startswith("postgres"):
        return "password=" in text or ":" in urlsplit(text).netloc.rpartition("@")[0]
    return "@" in text


def _check_environment(variables: Mapping[str, str]) -> None:
    """A variable that would replace who is trusted, or wiring with nonsense, is refused."""
    wiring: dict[str, Callable[[str], object]] = {
        f"BROKER__{name.upper()}": partial(_try, BrokerSettings, name)
        for name in BrokerSettings.model_fields
    }
    wiring |= {
        f"SERIES__{name.upper()}": partial(
            _try, SeriesSettings, name, kind="influx", url="http://x"
        )
        for name in SeriesSettings.model_fields
        if name != "kind"
    }
    wiring |= {
        "LEDGER__URL": partial(_try, LedgerSettings, "url", kind="postgresql"),
        "LEDGER__PASSWORD": str,
    }
    allowed = {"STATE_DIR", *wiring}
    ours = {name.upper() for name in CollectorSettings.model_fields}
    found = []
    for variable, value in sorted(variables.items()):
        key = variable.upper().removeprefix(PREFIX)
        if not variable.upper().startswith(PREFIX) or key.partition("__")[0] not in ours:
            continue
        if key not in allowed:
            names = ", ".join(PREFIX + name for name in sorted(allowed))
            found.append(f"{variable}: write this into the file; only these may be set: {names}")
            continue
        try:
            wiring.get(key, str)(value)
        except ValidationError as error:  # the value may be a secret: it is not shown
            found += [f"{variable}: {item['msg']}" for item in error.errors()]
    if found:
        raise _mistakes(found)


def _try(model: type[Strict], name: str, value: str, **others: str) -> None:
    """Check one value of a section by itself."""
    model.model_validate({**others, name: value})


def _mistakes(found: Sequence[str]) -> ConfigError:
    listed = "\n  ".join(found)
    return ConfigError(
        f"{len(found)} mistake(s):\n  {listed}\n",
        "Correct what is named and run the command again.",
    )
