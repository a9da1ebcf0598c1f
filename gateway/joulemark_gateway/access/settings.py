"""The section `pages` of the collector's file: where they listen, and who is let in."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from joulemark_gateway.sections import Folder, Strict, mistake

_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")


def _check_host(host: str) -> str:
    if host != "localhost":
        try:
            ip_address(host)
        except ValueError as error:
            raise mistake(
                "not an address of this machine; write '127.0.0.1', '192.0.2.10' or '0.0.0.0', and"
                " its names under 'names'"
            ) from error
    return host


def _check_host_name(name: str) -> str:
    if len(name) > 253 or not _HOST_NAME.fullmatch(name):
        raise mistake("not the name of a machine; write it as 'collector.plant.example'")
    return name


HostName = Annotated[str, AfterValidator(_check_host_name)]


class PagesTls(Strict):
    """The certificate that the pages show, and its private key; PEM files."""

    certificate: Folder
    key: Folder | None = None  # null: it stands in the same file
    clients: Folder | None = None  # authority: only who shows a certificate of it comes to log in
    revoked: Folder | None = None  # its list of those that were taken back


class PagesLimits(Strict):
    """How much one address, person or program may ask, so that none takes it from all others."""

    requests_per_s: float = Field(default=20, gt=0, le=10_000)
    burst: int = Field(default=200, ge=1, le=1_000_000)
    together: int = Field(default=8, ge=1, le=1000)  # requests of one that are answered at a time
    connections: int = Field(default=256, ge=8, le=10_000)


class PagesSettings(Strict):
    """Where the collector shows its pages and answers its HTTP API."""

    host: Annotated[str, AfterValidator(_check_host)] = "127.0.0.1"
    port: int = Field(default=8080, ge=1, le=65_535)
    names: tuple[HostName, ...] = ()  # by which they are asked for, besides their address
    login: bool = True  # false: whoever is on this machine sees all and changes nothing
    tls: PagesTls | None = None
    session_minutes: int = Field(default=720, ge=1, le=10_080)
    idle_minutes: int = Field(default=60, ge=1, le=1440)
    limits: PagesLimits = PagesLimits()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.is_loopback:
            return self
        if not self.login:
            raise mistake(
                f"without log-in the pages are shown on this machine only, and {self.host} is seen"
                " by others: remove 'login: false', or listen on 127.0.0.1"
            )
        if self.tls is None:
            raise mistake(
                f"{self.host} is seen by others, so the pages need TLS: give 'tls' a certificate"
                " and its key, or listen on 127.0.0.1 and reach them through an SSH tunnel"
            )
        return self

    @property
    def cookie(self) -> str:
        """Of the session; under TLS no other host and no page without TLS can set this name."""
        return "joulemark-session" if self.tls is None else "__Host-joulemark-session"

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine reaches them."""
        return self.host == "localhost" or ip_address(self.host).is_loopback
