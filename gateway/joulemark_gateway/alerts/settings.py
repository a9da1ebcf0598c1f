"""The section `alerts` of the collector's file: rules, who is told, and by what way.

Secrets stand in the environment only, or in a file that NAME_FILE names:

| variable | what it is |
|---|---|
| JOULEMARK_ALERTS_MAIL_PASSWORD | of the mail server's user |
| JOULEMARK_ALERTS_SECRET_NAME | that signs what the receiver NAME is sent, 32 characters or more |
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from joulemark_agent.contract.topics import require_id
from joulemark_gateway.access.settings import HostName
from joulemark_gateway.sections import Folder, ServerUrl, Strict, located, mistake

RuleKind = Literal[
    "peak_demand",
    "agent_silent",
    "backlog",
    "clock",
    "certificate",
    "coverage",
    "evidence",
    "disk",
    "saving",
    "figure",
]
# Unsaid: what each rule is measured against, in the unit of `limit`.
USUAL: dict[RuleKind, float] = {
    "peak_demand": 0.0,  # nothing: the limit stands under costs
    "agent_silent": 10.0,  # minutes
    "backlog": 1000.0,  # records
    "clock": 2.0,  # seconds
    "certificate": 30.0,  # days
    "coverage": 0.95,  # share of a day's values that is good
    "evidence": 24.0,  # hours for which a finding stays open
    "disk": 0.8,  # share that is used
    "saving": 0.0,
}
_Id = Annotated[str, located(lambda text: require_id(text, "rule, site or receiver"))]
_POINT = r"^[a-z][a-z0-9_]{0,62}$"
_ADDRESS = r"^[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*$"
_LEAST_SECRET = 32
Address = Annotated[str, Field(pattern=_ADDRESS, max_length=254)]


def _check_hook(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in {"https", "http"} and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise mistake(f"not an address: {error}") from error
    if not is_whole or "@" in parts.netloc or parts.fragment or not url.isprintable() or " " in url:
        raise mistake("not the address of a webhook; write it as 'https://hooks.example/joulemark'")
    return url


HookUrl = Annotated[str, Field(max_length=2000), AfterValidator(_check_hook)]


class RuleSettings(Strict):
    """One thing that is told."""

    rule: RuleKind
    name: _Id | None = None  # without it the rule's own
    sites: tuple[_Id, ...] = ()  # none: all
    limit: float | None = None  # unsaid as in USUAL
    below: bool = False  # of a figure: told where it is below the limit
    clear: float | None = None  # of a figure: where it ends; else 5 % from the limit
    device: _Id | None = None  # of a figure
    point: str | None = Field(default=None, pattern=_POINT)  # of a figure, kpi_ ones included
    minutes: float = Field(default=0, ge=0, le=10_080)  # it has to hold so long
    tell: tuple[_Id, ...] = Field(min_length=1)
    escalate: tuple[_Id, ...] = ()  # told where nobody acknowledges it
    escalate_minutes: float = Field(default=60, gt=0, le=10_080)

    @model_validator(mode="after")
    def _check(self) -> Self:
        is_figure = self.rule == "figure"
        if is_figure and (self.device is None or self.point is None or self.limit is None):
            raise mistake("the rule 'figure' needs 'device', 'point' and 'limit'")
        if not is_figure and (self.device or self.point or self.below or self.clear is not None):
            raise mistake("'device', 'point', 'below' and 'clear' go with 'rule: figure'")
        if is_figure and len(self.sites) != 1:
            raise mistake("the rule 'figure' needs the one site of its device under 'sites'")
        return self

    @property
    def id(self) -> str:
        """By which its alerts are known."""
        return self.name or self.rule.replace("_", "-")

    @property
    def bound(self) -> float:
        """What it is measured against."""
        return USUAL.get(self.rule, 0.0) if self.limit is None else self.limit

    def is_of(self, site: str) -> bool:
        """Whether it looks at the site."""
        return not self.sites or site in self.sites


class ReceiverSettings(Strict):
    """One who is told: by a webhook, or by e-mail."""

    name: _Id
    webhook: HookUrl | None = None
    ca: Folder | None = None  # whose certificates are believed; none: any of this machine
    mail: tuple[Address, ...] = ()
    language: Literal["en", "ko", "both"] = "both"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.webhook is None) == (not self.mail):
            raise mistake("a receiver has either a 'webhook' or 'mail'")
        return self

    @property
    def secret_variable(self) -> str:
        """The environment variable with the secret of its webhook."""
        return f"JOULEMARK_ALERTS_SECRET_{self.name.upper().replace('-', '_')}"


class MailServer(Strict):
    """By which e-mail goes; without TLS none does."""

    host: HostName
    port: int = Field(default=587, ge=1, le=65_535)
    security: Literal["starttls", "tls"] = "starttls"
    ca: Folder | None = None
    username: str | None = Field(default=None, max_length=200)
    sender: Address


class FloodSettings(Strict):
    """More than this one receiver is not told one by one: the rest comes as one digest."""

    notices: int = Field(default=10, ge=1, le=1000)
    minutes: float = Field(default=10, gt=0, le=1440)


class AlertSettings(Strict):
    """What is told to whom."""

    rules: tuple[RuleSettings, ...] = Field(default=(), max_length=200)
    receivers: tuple[ReceiverSettings, ...] = Field(default=(), max_length=50)
    mail_server: MailServer | None = None
    pages: ServerUrl | None = None  # address of the pages, for links
    private_addresses: bool = False  # whether a webhook may be in the plant's own network
    flood: FloodSettings = FloodSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if found := [*self._mistakes()]:
            raise mistake("; ".join(found))
        return self

    def _mistakes(self) -> Iterator[str]:
        names = [row.name for row in self.receivers]
        if len(set(names)) < len(names):
            yield "two receivers have the same name"
        ids = [row.id for row in self.rules]
        for name in sorted({name for name in ids if ids.count(name) > 1}):
            yield f"two rules are called {name!r}; give them a 'name' each"
        for row in self.rules:
            for name in (*row.tell, *row.escalate):
                if name not in names:
                    yield f"the rule {row.id!r} tells {name!r}, which is no receiver"
        if self.mail_server is None and any(row.mail for row in self.receivers):
            yield "receivers with 'mail' need 'mail_server'"
        for one in self.receivers:
            is_plain = one.webhook is not None and one.webhook.startswith("http:")
            if is_plain and not self.private_addresses:
                yield f"the webhook of {one.name!r} is without TLS; write https://"
