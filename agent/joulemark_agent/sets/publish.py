"""Publish sets so that others can fetch them: sign what is new, and renew what would expire.

Three keys, each in a file of its own, which is needed only where it signs: `root` says which keys
count and stays off-line for half a year; `targets` signs the sets when one has changed; `online`
says every few days that this is still the newest list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError, StorageError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.documents import load_factors, load_profile
from joulemark_agent.keys import create_key, has_key, load_key
from joulemark_agent.sets.fetch import KINDS, METADATA, TARGETS

ROOT_DAYS, TARGETS_DAYS, ONLINE_DAYS = 365, 180, 14
ROLES = {"root": ("root",), "targets": ("targets",), "online": ("snapshot", "timestamp")}


@dataclass(frozen=True)
class Published:
    """What publishing did: the version of the list, of the root, and the sets in it."""

    version: int
    root_version: int
    names: tuple[str, ...]


def publish(
    sets: Path, keys: Path, repository: Path, now: datetime, *, replaced: str | None = None
) -> Published:
    """Sign the sets of a folder, and lay them out for `fetch`.

    Args:
        sets: has `devices/NAME.yaml` and `factors/NAME.yaml`.
        keys: the folder of `root.key`, `targets.key` and `online.key`, as far as they sign now;
            those missing are made where nothing is published yet.
        repository: the folder that is handed out or served.
        now: wall time, with a time zone.
        replaced: the key to make anew: `root`, `targets` or `online`.

    Raises:
        ConfigError: a set that cannot be used, no set at all, or keys that are not there or not
            those of the repository.
    """
    files = _sets(sets)
    metadata = repository / METADATA
    root = _root(keys, metadata, now, replaced)
    version = _next_version(metadata)
    listed = {name: TargetFile.from_data(name, data, ["sha256"]) for name, data in files.items()}
    held = None if replaced == "targets" else _held(metadata, listed, now)
    if held is None:
        signer = _named(keys, "targets", root.signed)
        for name, info in listed.items():
            kind, _, file = name.partition("/")
            _write(repository / TARGETS / kind / f"{info.hashes['sha256']}.{file}", files[name])
        targets = Targets(version=version, expires=_until(now, TARGETS_DAYS), targets=listed)
        _save(Metadata(targets), signer, metadata / f"{version}.targets.json")
        held = version
    signer = _named(keys, "online", root.signed)
    snapshot = Snapshot(version=version, expires=_until(now, ONLINE_DAYS))
    snapshot.meta["targets.json"] = MetaFile(version=held)
    timestamp = Timestamp(version=version, expires=_until(now, ONLINE_DAYS))
    timestamp.snapshot_meta = MetaFile(version=version)
    _save(Metadata(snapshot), signer, metadata / f"{version}.snapshot.json")
    _save(Metadata(timestamp), signer, metadata / "timestamp.json")
    return Published(held, root.signed.version, tuple(sorted(files)))


def _named(keys: Path, name: str, root: Root) -> CryptoSigner:
    """The signer with a key that the root names for its roles.

    Raises:
        ConfigError: the key is not there, or is another.
    """
    signer = _signer(keys, name)
    if any(signer.public_key.keyid not in root.roles[role].keyids for role in ROLES[name]):
        raise ConfigError(
            f"{keys / f'{name}.key'} is not the key that the root names for {name!r}.",
            "Use the folder of keys that the sets were published with before.",
        )
    return signer


def _held(metadata: Path, listed: Mapping[str, TargetFile], now: datetime) -> int | None:
    """The version of the newest list where it names just these sets, and for long enough yet."""
    path = max(metadata.glob("*.targets.json"), key=_version_in, default=None)
    if path is None:
        return None
    newest: Targets = _loaded(path).signed
    is_old = newest.expires - _utc(now) < timedelta(days=TARGETS_DAYS / 2)
    return None if is_old or newest.targets != listed else newest.version


def _sets(folder: Path) -> dict[str, bytes]:
    """Every set of the folder, each found usable."""
    found: dict[str, bytes] = {}
    for kind in KINDS:
        for path in sorted((folder / kind).glob("*.yaml")):
            (load_profile if kind == "devices" else load_factors)(path.name, path.parent)
            found[f"{kind}/{path.name}"] = path.read_bytes()
    if not found:
        raise ConfigError(
            f"{folder} holds no set.", f"Put files into {' and '.join(KINDS)}, as NAME.yaml."
        )
    return found


def _root(keys: Path, metadata: Path, now: datetime, replaced: str | None) -> Metadata[Root]:
    """The root in force, made, renewed or changed where that is due."""
    newest = max(metadata.glob("*.root.json"), key=_version_in, default=None)
    if newest is None:
        for name in ROLES:
            if not has_key(keys / f"{name}.key"):
                create_key(keys / f"{name}.key")
        root = Metadata(Root(version=1, expires=_until(now, ROOT_DAYS), consistent_snapshot=True))
        for name in ROLES:
            _name_key(root.signed, name, _signer(keys, name))
        _save(root, _signer(keys, "root"), metadata / "1.root.json")
        return root
    root = _loaded(newest)
    is_old = root.signed.expires - _utc(now) < timedelta(days=ROOT_DAYS / 2)
    if replaced is None and not is_old:
        return root
    old = _signer(keys, "root")
    if replaced is not None:
        path = keys / f"{replaced}.key"
        path.rename(path.with_name(f"{replaced}.{root.signed.version}.key"))
        create_key(path)
        _name_key(root.signed, replaced, _signer(keys, replaced))
    root.signed.version += 1
    root.signed.expires = _until(now, ROOT_DAYS)
    root.sign(_signer(keys, "root"))
    if replaced == "root":
        root.sign(old, append=True)  # by the old and the new key
    _write(metadata / f"{root.signed.version}.root.json", root.to_bytes())
    return root


def _name_key(root: Root, name: str, signer: CryptoSigner) -> None:
    """Let this key, and no other, count for the roles."""
    for role in ROLES[name]:
        for keyid in tuple(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        root.add_key(signer.public_key, role)


def _next_version(metadata: Path) -> int:
    path = metadata / "timestamp.json"
    if not path.exists():
        return 1
    return int(Metadata[Timestamp].from_file(str(path)).signed.version) + 1


def _version_in(path: Path) -> int:
    return int(path.name.partition(".")[0])


def _loaded(path: Path) -> Metadata[Any]:
    """What was signed before; the file itself says of which kind it is."""
    try:
        return Metadata[Any].from_file(str(path))
    except (RepositoryError, StorageError) as error:
        raise ConfigError(
            f"{path} is damaged: {error}.", "Restore the folder from its copy."
        ) from error


def _signer(keys: Path, name: str) -> CryptoSigner:
    key = load_key(keys / f"{name}.key")
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(key.private))


def _save(metadata: Metadata[Root] | Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp],
          signer: CryptoSigner, path: Path) -> None:  # fmt: skip
    metadata.sign(signer)
    _write(path, metadata.to_bytes())


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def _until(now: datetime, days: int) -> datetime:
    return _utc(now) + timedelta(days=days)


def _utc(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(microsecond=0)
