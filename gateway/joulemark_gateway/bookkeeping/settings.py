"""The section `log` of the collector's file: when it is closed, and who sees its heads."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from joulemark_gateway.sections import Folder, PublicKey, ServerUrl, Strict, mistake

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s+]+$")]
AuthorityName = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]


class WitnessSettings(Strict):
    """Somebody else who sees every head of the log and cosigns it."""

    name: Name
    key: PublicKey
    url: ServerUrl | None = None  # null: heads go and come back as files


class AuthoritySettings(Strict):
    """A time-stamping authority (RFC 3161) that is shown a head a day."""

    name: AuthorityName
    url: ServerUrl
    certificates: Folder  # PEM: its root, and what lies between


class LogSettings(Strict):
    """The collector's own log."""

    close_every_s: int = Field(default=3600, ge=1, le=86_400)
    witnesses: tuple[WitnessSettings, ...] = Field(default=(), max_length=14)
    quorum: int = Field(default=0, ge=0)  # of these witnesses, for a head that a report uses
    authorities: tuple[AuthoritySettings, ...] = Field(default=(), max_length=8)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = {item.name for item in self.witnesses}
        if self.quorum > len(names):
            raise mistake(f"the quorum {self.quorum} is above the {len(names)} witnesses named")
        keys = {item.key for item in self.witnesses}
        if len(names) != len(self.witnesses) or len(keys) != len(self.witnesses):
            raise mistake("two witnesses share a name or a key; each counts once")
        if len({item.name for item in self.authorities}) != len(self.authorities):
            raise mistake("two authorities share a name")
        return self
