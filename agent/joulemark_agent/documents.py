"""Profiles, factor sets and site files: read from YAML, and what is signed of the former."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path

import joulemark_profiles
from joulemark_agent.contract.document import (
    MAX_BYTES,
    Document,
    document_bytes,
    parse_yaml,
    validate,
)
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.factor import FactorSet
from joulemark_agent.contract.profile import Profile
from joulemark_agent.kernels.decode import decode_point
from joulemark_agent.sunspec_models import resolved

# The folder relative paths start from: settings built from sources take no validation context.
FOLDER: ContextVar[Path] = ContextVar("FOLDER", default=Path())


def site_folder() -> Path:
    """Where relative paths start: the folder of the site file that is being read."""
    return FOLDER.get()


def load_profile(name: str, folder: Path | None = None) -> tuple[Profile, bytes]:
    """A profile and its document (canonical bytes).

    Args:
        name: one of the shipped ones, or a path that ends in `.yaml`.
        folder: what a relative path starts from; None: the site file's folder while one is read,
            otherwise the current one.

    Raises:
        ConfigError: no such profile, mistakes in it, or golden words that have another value.
    """
    if name.endswith(".yaml"):
        path = (site_folder() if folder is None else folder) / name
        return _written_profile(_text_of(path), str(path))
    return _shipped_profile(name)


@lru_cache(maxsize=64)
def _written_profile(text: str, name: str) -> tuple[Profile, bytes]:
    """Understood once, however many devices name the file, as long as the same stands in it."""
    return checked_profile(parse_yaml(text, name))


@cache
def _shipped_profile(name: str) -> tuple[Profile, bytes]:
    """Read once, however many devices are of that model."""
    return checked_profile(_document("devices", name, None))


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
        raise mistakes(found)
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
    return parse_yaml(_text_of(path), str(path))


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1).decode()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and who may read the file."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error


def _document(kind: str, name: str, folder: Path | None) -> Document:
    if name.endswith(".yaml"):
        return read_document((site_folder() if folder is None else folder) / name)
    try:
        text = joulemark_profiles.text(kind, name)
    except KeyError as error:
        known = ", ".join(joulemark_profiles.names(kind))
        raise ConfigError(
            f"There is no {name[:80]!r} in {kind}.",
            f"Use one of: {known}; or the path of a file that ends in '.yaml'.",
        ) from error
    return parse_yaml(text, f"{name}.yaml", is_shipped=True)


def mistakes(found: Sequence[str]) -> ConfigError:
    """All mistakes of a file at once."""
    listed = "\n  ".join(found)
    return ConfigError(
        f"{len(found)} mistake(s):\n  {listed}\n",
        "Correct what is named and run the command again.",
    )
