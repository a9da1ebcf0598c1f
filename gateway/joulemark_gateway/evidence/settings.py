"""The section `ledger` of the collector's file: where evidence and the collector's log are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, SecretStr, model_validator

from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.evidence.ledger import Ledger, SqliteLedger
from joulemark_gateway.evidence.store import FILE
from joulemark_gateway.sections import Strict, is_address, mistake

if TYPE_CHECKING:
    from joulemark_gateway.evidence.blocks import Outside
    from joulemark_gateway.evidence.objects import Objects

_SCHEMES = {"postgresql", "postgres"}


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        asked = parse_qs(parts.query, strict_parsing=bool(parts.query))
        is_whole = parts.scheme in _SCHEMES and len(parts.path) > 1 and not parts.fragment
    except ValueError as error:
        raise mistake(f"not an address: {error}") from error
    if not is_whole:
        raise mistake(
            "not the address of a database; write it as"
            " 'postgresql://joulemark@192.0.2.10/joulemark'"
        )
    if parts.password is not None or "password" in asked:
        raise mistake(
            "a password does not belong in a file; set JOULEMARK_COLLECTOR_LEDGER__PASSWORD, or"
            " name a file with '?passfile=...'"
        )
    if "options" in asked:
        raise mistake("'options' are set by the collector")
    return url


class LedgerSettings(Strict):
    """A file of this collector's own, or a database that several collectors share."""

    kind: Literal["sqlite", "postgresql"] = "sqlite"
    url: Annotated[str, AfterValidator(_check_url)] | None = None
    password: SecretStr | None = None
    objects: str | None = None  # what logs in there comes from the environment, as for fsspec

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "sqlite" and self.url is not None:
            raise mistake("the ledger in state_dir has no url; set 'kind: postgresql'")
        if self.kind == "postgresql" and self.url is None:
            raise mistake("the kind 'postgresql' needs the url of the database")
        return self

    def ledger(self, state_dir: Path) -> Ledger:
        """The ledger; nothing is opened yet.

        Args:
            state_dir: of the collector.

        Raises:
            ConfigError: the package that talks to the server is not installed.
        """
        outside = None
        if self.objects is not None:
            is_folder = not is_address(self.objects)
            url = str((state_dir / self.objects).absolute()) if is_folder else self.objects
            outside = open_objects(url)
        if self.url is None:
            return SqliteLedger(state_dir / FILE, outside)
        return _on_server(self.url, self.password, outside)


def open_objects(url: str, **options: Any) -> Objects:
    """The objects at an address; nothing is read or written yet.

    Args:
        url: of the store.
        options: as `Objects` takes them.

    Raises:
        ConfigError: the package for it is not installed.
        StoreError: there is no such kind of store here.
    """
    try:
        from joulemark_gateway.evidence.objects import Objects  # noqa: PLC0415 - extra [objects]
    except ImportError as error:
        raise ConfigError(
            f"Objects at an address need the package fsspec: {error}.",
            "Run: pip install 'joulemark[gateway,objects]'",
        ) from error
    return Objects(url, **options)


def _on_server(url: str, password: SecretStr | None, outside: Outside | None) -> Ledger:
    try:
        from joulemark_gateway.evidence.postgres import Server  # noqa: PLC0415 - extra [postgresql]
        from joulemark_gateway.evidence.shared import PostgresLedger  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise ConfigError(
            f"A ledger in PostgreSQL needs the package psycopg: {error}.",
            "Run: pip install 'joulemark[gateway,postgresql]'",
        ) from error
    server = Server(url, password.get_secret_value() if password else "")
    return PostgresLedger(server, outside)
