"""A witness's file: who it is, where it listens, and which logs it knows."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from joulemark_agent.contract.document import validate
from joulemark_agent.contract.signature import decode64
from joulemark_agent.keys import Key, key_at
from joulemark_gateway.sections import FOLDER, Folder, PublicKey, Strict, mistake, read_yaml
from joulemark_gateway.witness.cosigner import Identity

KEY = "cosigner.key"


def _check_host(host: str) -> str:
    try:
        ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError as error:
        raise mistake("not an address of this machine; write '127.0.0.1' or '0.0.0.0'") from error
    return host


class LogKnown(Strict):
    """A log that is cosigned."""

    origin: Annotated[str, Field(min_length=1, max_length=400, pattern=r"^[^\n]+$")]
    keys: tuple[PublicKey, ...] = Field(min_length=1)


class Tls(Strict):
    """The certificate that is shown, and its private key; PEM files."""

    certificate: Folder
    key: Folder


class WitnessFile(Strict):
    """A witness's file that was found without mistakes."""

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s+]+$")]
    state_dir: Folder = Field(default=Path("state"), validate_default=True)
    host: Annotated[str, AfterValidator(_check_host)] = "127.0.0.1"
    port: int = Field(default=8090, ge=0, le=65_535)  # 0: a free one
    tls: Tls | None = None
    logs: tuple[LogKnown, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({log.origin for log in self.logs}) != len(self.logs):
            raise mistake("a log stands twice; write all its keys under one origin")
        return self

    def key(self) -> Key:
        """The key that cosigns, made on the first call.

        Raises:
            ConfigError: the file is there, but others may read it or it holds no key.
        """
        return key_at(self.state_dir / KEY)

    def identity(self) -> Identity:
        """Who cosigns, and whom it knows; errors as `key`."""
        logs = {log.origin: tuple(map(decode64, log.keys)) for log in self.logs}
        return Identity(self.name, self.key().private, logs)


def load_witness(path: Path) -> WitnessFile:
    """The settings in a witness's file.

    Raises:
        ConfigError: every mistake with its line and what to do.
    """
    token = FOLDER.set(path.absolute().parent)
    try:
        return validate(WitnessFile, read_yaml(path))
    finally:
        FOLDER.reset(token)
