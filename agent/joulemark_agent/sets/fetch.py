"""Fetch the sets of a publisher: all of them, whole, newest, or none."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3  # comes with tuf
from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, TargetFile, Targets
from tuf.ngclient import FetcherInterface, Updater

from joulemark_agent.contract.errors import ConfigError, EvidenceError, JoulemarkError
from joulemark_agent.contract.topics import is_id
from joulemark_agent.documents import load_factors, load_profile

KINDS = ("devices", "factors")
METADATA, TARGETS = "metadata", "targets"
MAX_SET_BYTES = 1024 * 1024
MAX_SETS = 2000
_TRUSTED, _NEW = ".tuf", ".new"
_CHUNK_BYTES = 64 * 1024
SILENCE_S, FILE_S = 30.0, 600.0  # of the server; until a file is here


@dataclass(frozen=True)
class Fetched:
    """What fetching did: the version of the set, and which files are new or changed."""

    version: int
    expires: str  # of what was fetched, UTC
    names: tuple[str, ...]
    changed: tuple[str, ...]


class _Folder(FetcherInterface):
    """A publisher's folder on a stick or a share, as if it were a server."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            with Path(unquote(urlsplit(url).path)).open("rb") as file:
                while data := file.read(_CHUNK_BYTES):
                    yield data
        except FileNotFoundError as error:
            raise exceptions.DownloadHTTPError(str(error), 404) from error


class _Https(FetcherInterface):
    """The files of one server, each in its time; where it sends us elsewhere nobody goes."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        until_s = time.monotonic() + FILE_S
        options: dict[str, Any] = {"redirect": False, "retries": False, "timeout": SILENCE_S}
        try:
            with _pool(url) as pool:
                answer = pool.request("GET", url, preload_content=False, **options)
                if answer.status != HTTPStatus.OK:
                    raise exceptions.DownloadHTTPError(f"it answers {answer.status}", answer.status)
                while data := answer.read1(_CHUNK_BYTES):
                    yield data
                    if time.monotonic() > until_s:
                        raise exceptions.SlowRetrievalError(f"not here after {FILE_S:g} s")
        except urllib3.exceptions.HTTPError as error:
            raise exceptions.DownloadError(str(error)) from error


def _pool(url: str) -> urllib3.PoolManager:
    """Connections to the host, by the proxy that the environment names for it."""
    proxy = None if proxy_bypass(urlsplit(url).netloc) else getproxies().get("https")
    return urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()


def fetch(source: str, root: bytes | None, into: Path) -> Fetched:
    """Bring the folder to the newest sets of the source.

    Args:
        source: a folder, or an https address, that `publish` wrote.
        root: the publisher's root metadata, taken from people; needed the first time only.
        into: where `devices/NAME.yaml` and `factors/NAME.yaml` go.

    Raises:
        ConfigError: no root to trust, or the address is of another kind.
        EvidenceError: `set_refused`: rolled back, frozen, expired, not signed as the root asks,
            changed on the way, or no set of ours. Nothing in the folder has changed.
    """
    trusted = into / _TRUSTED
    _check_root(trusted, root)
    trusted.mkdir(parents=True, exist_ok=True)
    base, fetcher = _reached(source)
    try:
        updater = Updater(
            str(trusted),
            f"{base}/{METADATA}/",
            target_dir=str(trusted),
            target_base_url=f"{base}/{TARGETS}/",
            fetcher=fetcher,
            bootstrap=root,
        )
        updater.refresh()
        listed = _listed(trusted)
        fetched = {name: _target(updater, name) for name in sorted(listed.targets)}
    except (exceptions.RepositoryError, exceptions.DownloadError, OSError, ValueError) as error:
        raise _refused(source, _reason(error)) from error
    for name, data in fetched.items():
        _check_set(name, data, trusted)
    changed = tuple(name for name, data in fetched.items() if _is_new(into / name, data))
    for name in changed:
        _replace(into / name, fetched[name])
    expires = listed.expires.isoformat(timespec="seconds")
    return Fetched(listed.version, expires, tuple(fetched), changed)


def _check_root(trusted: Path, root: bytes | None) -> None:
    """Whom to trust is known: from before, or by what was given."""
    if root is None:
        if not (trusted / "root.json").exists():
            raise ConfigError(
                "Nothing says yet whose sets are trusted here.",
                "Get the publisher's root.json from a person, compare its digest, and give it with"
                " '--root FILE' this once.",
            )
        return
    try:
        Metadata[Root].from_bytes(root)
    except exceptions.RepositoryError as error:
        raise ConfigError(
            f"The file given as root is no TUF root metadata: {error}.",
            "Give the 'root.json' that the publisher handed out.",
        ) from error


def _reached(source: str) -> tuple[str, FetcherInterface]:
    """The address and what reads it."""
    parts = urlsplit(source)
    if parts.scheme == "https" and parts.hostname:
        return source.rstrip("/"), _Https()
    if parts.scheme:
        raise ConfigError(
            f"Sets are not fetched from {source[:200]!r}.",
            "Name a folder, or an address that begins with 'https://'.",
        )
    folder = Path(source).resolve()
    if not (folder / METADATA).is_dir():
        raise ConfigError(
            f"{folder} holds no published sets: it has no folder {METADATA!r}.",
            "Name the folder that 'joulemark agent sets publish' wrote.",
        )
    return folder.as_uri(), _Folder()


def _listed(trusted: Path) -> Targets:
    """The list of sets that was just found good."""
    listed = Metadata[Targets].from_file(str(trusted / "targets.json")).signed
    if len(listed.targets) > MAX_SETS:
        raise ValueError(f"it lists {len(listed.targets)} sets; {MAX_SETS} are the most")
    for name in listed.targets:
        kind, _, file = name.partition("/")
        if kind not in KINDS or not file.endswith(".yaml") or not _is_plain(file[:-5]):
            raise ValueError(f"it lists {name[:80]!r}, which is no {' or '.join(KINDS)}/NAME.yaml")
    return listed


def _is_plain(name: str) -> bool:
    return is_id(name.replace("_", "-"))


def _target(updater: Updater, name: str) -> bytes:
    info: TargetFile | None = updater.get_targetinfo(name)
    if info is None or info.length > MAX_SET_BYTES:
        raise ValueError(f"{name} is not there, or larger than {MAX_SET_BYTES} bytes")
    path = Path(updater.download_target(info))
    try:
        return path.read_bytes()
    finally:
        path.unlink()


def _check_set(name: str, data: bytes, folder: Path) -> None:
    """What is signed is still read as hostile: a set that cannot be used replaces nothing."""
    kind = name.partition("/")[0]
    path = folder / f"{_NEW}.yaml"
    path.write_bytes(data)
    try:
        (load_profile if kind == "devices" else load_factors)(path.name, folder)
    except JoulemarkError as error:
        raise _refused(name, f"it cannot be used: {error.what}") from error
    finally:
        path.unlink()


def _is_new(path: Path, data: bytes) -> bool:
    return not path.exists() or path.read_bytes() != data


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}{_NEW}")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.ExpiredMetadataError, "it has expired: the source is frozen, or nobody renews it"),
    (exceptions.BadVersionNumberError, "it is older than what was fetched before"),
    (exceptions.UnsignedMetadataError, "too few of the keys that the root names have signed it"),
    (exceptions.LengthOrHashMismatchError, "a file is not the one that was signed"),
    (exceptions.DownloadLengthMismatchError, "a file is longer than what was signed"),
    (exceptions.DownloadError, "it cannot be reached, or a file of it is missing"),
)


def _reason(error: Exception) -> str:
    told = next((text for kind, text in _REASONS if isinstance(error, kind)), "it is damaged")
    return f"{told} ({str(error)[:200]})"


def _refused(source: str, why: str) -> EvidenceError:
    return EvidenceError(
        f"The sets of {source[:200]!r} are refused: {why}.",
        "The sets at hand stay as they were. Ask the publisher, and look at this computer's clock.",
        code="set_refused",
    )
