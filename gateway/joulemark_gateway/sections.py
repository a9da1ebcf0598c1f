"""What files for people share: how they are read, strictness, located mistakes, their folder."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

from joulemark_agent.contract.document import MAX_BYTES, Document, parse_yaml
from joulemark_agent.contract.errors import ConfigError, JoulemarkError
from joulemark_agent.contract.signature import decode64

FOLDER: ContextVar[Path] = ContextVar("FOLDER", default=Path())  # of the file that is being read
Folder = Annotated[Path, AfterValidator(lambda path: FOLDER.get() / path)]


def is_address(text: str) -> bool:
    """Whether this is an address of an object store, and no path."""
    return "://" in text


def mistake(text: str) -> PydanticCustomError:
    """What a person reads beside file and line."""
    return PydanticCustomError("collector_file", "{text}", {"text": text})


def _placed(text: str) -> Path | str:
    return text if is_address(text) else FOLDER.get() / text


Place = Annotated[Path | str, BeforeValidator(str), AfterValidator(_placed)]


class Strict(BaseModel):
    """A section in which an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def located(check: Callable[[str], Any]) -> AfterValidator:
    """The check as a validator: its error becomes a mistake with file and line."""

    def checked(value: str) -> str:
        try:
            check(value)
        except JoulemarkError as error:
            raise mistake(str(error)) from error
        return value

    return AfterValidator(checked)


def read_yaml(path: Path) -> Document:
    """What a person wrote in a file.

    Raises:
        ConfigError: it cannot be read, or is no YAML that is accepted.
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


def _check_server(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in {"http", "https"} and parts.port != 0 and bool(parts.hostname)
    except ValueError as error:
        raise mistake(f"not an address: {error}") from error
    if not is_whole or "@" in url or parts.query or parts.fragment:
        raise mistake("not the address of a server; write it as 'http://192.0.2.10:8086'")
    return url


def _check_key(text: str) -> None:
    if len(decode64(text)) != 32:
        raise mistake("an Ed25519 public key has 32 bytes")


PublicKey = Annotated[str, located(_check_key)]
ServerUrl = Annotated[str, AfterValidator(_check_server)]
