"""Sections of the collector's file: TLS to the broker, and the address at which agents join."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from joulemark_agent.tls import TlsFiles
from joulemark_gateway.pki.authority import DAYS, MOST_DAYS
from joulemark_gateway.sections import Folder, Strict, mistake

TLS_FOLDER, OWN = "tls", "collector.pem"


def _check_address(host: str) -> str:
    try:
        ip_address(host)
    except ValueError as error:
        raise mistake("not an address of this machine; write '0.0.0.0' or '192.0.2.10'") from error
    return host


class BrokerTls(Strict):
    """How collector and broker know each other; files are read anew at every connection."""

    ca: Folder | None = None  # whose broker is believed; None: state_dir/ca/ca.pem
    certificate: Folder | None = None  # the collector's; None: state_dir/tls/collector.pem
    key: Folder | None = None  # None: it stands in the certificate's file

    def files(self, state_dir: Path) -> TlsFiles:
        """Where the files are.

        Args:
            state_dir: where those are that are not named.
        """
        own = self.certificate or own_file(state_dir)
        return TlsFiles(self.ca or ca_folder(state_dir) / "ca.pem", own, self.key)


class EnrolmentSettings(Strict):
    """Where agents join; without this section they join by hand only."""

    host: Annotated[str, AfterValidator(_check_address)] = "0.0.0.0"  # noqa: S104 - agents are elsewhere
    port: int = Field(default=8443, ge=1, le=65_535)
    days: int = Field(default=DAYS, ge=1, le=MOST_DAYS)  # that a certificate holds


def ca_folder(state_dir: Path) -> Path:
    """Where the site's authority is."""
    return state_dir / "ca"


def own_file(state_dir: Path) -> Path:
    """The collector's own certificate with its key."""
    return state_dir / TLS_FOLDER / OWN
