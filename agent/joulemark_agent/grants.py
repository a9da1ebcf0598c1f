"""Grants on disk: what the operator approved by signing, one file per device.

A grant says: this agent's key may open this epoch of this device, under these documents. When a
document changes the grant no longer fits, and the agent does not start until the next epoch is
granted; an epoch therefore never changes its profile, site or factors.

The site document is one for all devices. A device whose own row in it, and all that is not of a
device, is as it was approved, goes on under the site document that its grant names: `kept_site`.
So a device can come, go or change without a new epoch of the others.

With every grant the operator signs a reserve: the same for the next epoch. It takes the grant's
place only where a damaged disk has left nothing to go on with, so that reading need not wait for a
person (`take_reserve`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.reading import grant, signed_grant
from joulemark_agent.files import flush_folder, replace_file
from joulemark_agent.keys import Key
from joulemark_agent.sqlite_file import store_error

log = logging.getLogger(__name__)

_FOLDER, _SITES, _REQUEST, _RESERVE = "grants", "sites", ".request.json", ".reserve.json"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIELDS = {"grant", "operator_signature"}


@dataclass(frozen=True)
class Terms:
    """What a grant must say of a device as it is configured now; only the epoch is missing."""

    site: str
    device: str
    clock: str
    agent: str
    agent_key: bytes
    first_slot_us: int | None
    documents: Mapping[str, str]  # SHA-256 (hex) of profile, site, factors
    former_keys: tuple[bytes, ...] = ()  # the agent's keys before `agent_key`

    def fits(self, content: Mapping[str, Any]) -> bool:
        """Whether a grant says this, to the agent's key of now or of former days."""
        keys = (self.agent_key, *self.former_keys)
        epoch = content["epoch"]
        return any(replace(self, agent_key=key).content(epoch) == content for key in keys)

    def content(self, epoch: int) -> dict[str, Any]:
        """The grant of these terms for an epoch."""
        return grant(
            site=self.site,
            device=self.device,
            epoch=epoch,
            clock=self.clock,
            agent=self.agent,
            agent_key=self.agent_key,
            first_slot_us=self.first_slot_us,
            documents=self.documents,
        )


@dataclass(frozen=True)
class Enrolled:
    """What enrolling did for one device."""

    device: str
    epoch: int
    state: str  # 'kept', 'signed', or 'requested'
    path: Path


def load_grant(state_dir: Path, terms: Terms) -> dict[str, Any]:
    """The signed grant of a device, if it still says what is configured.

    Raises:
        ConfigError: there is none, or what was approved has changed.
    """
    path = state_dir / _FOLDER / f"{terms.device}.json"
    signed = _read(path)
    if signed is None:
        raise ConfigError(
            f"The device {terms.device!r} has no grant signed by the operator ({path}).",
            "Run 'joulemark agent enroll -c SITE.yaml --operator-key FILE'.",
        )
    content = signed["grant"]
    if terms.fits(content):
        return signed
    wanted = terms.content(content["epoch"])
    changed = [
        *(f"{name} document" for name in wanted["documents"] if _differ(content, wanted, name)),
        *(name for name in wanted if name != "documents" and content.get(name) != wanted[name]),
    ]
    raise ConfigError(
        f"What the operator approved for {terms.device!r} has changed: {', '.join(changed)}.",
        "If the change is meant, run 'joulemark agent enroll -c SITE.yaml --operator-key FILE'"
        " again: it opens a new epoch. Otherwise put the old file back.",
    )


def enroll(
    state_dir: Path, terms: Terms, operator: Key | None, *, first_epoch: int = 1
) -> Enrolled:
    """Sign a grant for the next epoch, or leave a request; a grant that still fits is kept.

    Args:
        state_dir: the agent's state folder.
        terms: what the device is configured to be.
        operator: the operator's key; None: only write what is to be signed.
        first_epoch: lowest epoch that will do, higher than 1 where the state was lost.
    """
    folder = state_dir / _FOLDER
    path = folder / f"{terms.device}.json"
    old = _read(path)
    last = 0 if old is None else int(old["grant"]["epoch"])
    if old is not None and last >= first_epoch and terms.fits(old["grant"]):
        if operator is not None:
            _sign_reserve(state_dir, terms, last + 1, operator)
        return Enrolled(terms.device, last, "kept", path)
    epoch = max(first_epoch, last + 1)
    content = terms.content(epoch)
    request = folder / f"{terms.device}{_REQUEST}"
    if operator is None:
        _write(request, canonical_bytes(content))
        return Enrolled(terms.device, epoch, "requested", request)
    _write(path, canonical_bytes(signed_grant(content, operator.private)))
    request.unlink(missing_ok=True)
    _sign_reserve(state_dir, terms, epoch + 1, operator)
    return Enrolled(terms.device, epoch, "signed", path)


def take_reserve(state_dir: Path, terms: Terms) -> bool:
    """Put the reserve grant in the place of the grant, whose epoch a damaged disk has ended.

    Returns:
        False where there is none, or it is not for the epoch after that, these documents and the
        key of now: then the operator must enroll again.

    Raises:
        ConfigError: a file cannot be read.
        StoreError: the disk does not take it.
    """
    path, reserve = _paths(state_dir, terms.device)
    old, signed = _read(path), _read(reserve)
    if old is None or signed is None:
        return False
    epoch = int(old["grant"]["epoch"]) + 1
    if signed["grant"] != terms.content(epoch):
        return False
    try:
        reserve.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        raise store_error(f"The file {path}", error) from error
    log.warning("reserve_grant_taken", extra={"device": terms.device, "epoch": epoch})
    return True


def _sign_reserve(state_dir: Path, terms: Terms, epoch: int, operator: Key) -> None:
    """Approve the next epoch too, for a disk that loses this one; nothing else may use it."""
    _, reserve = _paths(state_dir, terms.device)
    content = terms.content(epoch)
    known = _read(reserve)
    if known is None or known["grant"] != content:
        _write(reserve, canonical_bytes(signed_grant(content, operator.private)))


def _paths(state_dir: Path, device: str) -> tuple[Path, Path]:
    """Where the grant of a device is, and where its reserve."""
    folder = state_dir / _FOLDER
    return folder / f"{device}.json", folder / f"{device}{_RESERVE}"


def keep_site(state_dir: Path, site: bytes) -> None:
    """Keep a site document that grants name."""
    path = _site_path(state_dir, digest_hex(site))
    if not path.exists():
        _write(path, site)


def forget_sites(state_dir: Path, site: bytes, openings: Iterable[bytes]) -> None:
    """Forget the site documents that are neither this one nor named by a grant or a tree.

    Args:
        state_dir: the agent's state folder.
        site: the document as configured now.
        openings: the signed grants that the trees there are were opened with.
    """
    opened = [_site_digest(content) for content in map(_content_of, openings)]
    named = {digest_hex(site), *_named_sites(state_dir), *opened}
    for old in (state_dir / _FOLDER / _SITES).glob("*.json"):
        if old.stem not in named:
            old.unlink(missing_ok=True)


def kept_site(state_dir: Path, device: str, site: bytes) -> bytes:
    """The site document a device is recorded under: what its grant names while that still holds.

    Args:
        state_dir: the agent's state folder.
        device: its id.
        site: the site document as configured now.
    """
    signed = _read(state_dir / _FOLDER / f"{device}.json")
    granted = None if signed is None else _granted_site(state_dir, signed["grant"])
    if granted is None or granted == site:  # the same bytes are not understood to be compared
        return site
    return granted if is_same_for(device, granted, site) else site


def opening_site(state_dir: Path, opening: bytes) -> bytes | None:
    """The site document under which a tree was opened; None: it was never kept, or is gone.

    Args:
        state_dir: the agent's state folder.
        opening: the signed grant that the tree was opened with.
    """
    return _granted_site(state_dir, _content_of(opening))


def _granted_site(state_dir: Path, content: Mapping[str, Any]) -> bytes | None:
    """The site document that a grant names, if it is at hand and what was approved."""
    digest = _site_digest(content)
    if digest is None:
        return None
    try:
        granted = _site_path(state_dir, digest).read_bytes()
    except OSError:
        return None
    return granted if digest_hex(granted) == digest else None


def _site_path(state_dir: Path, digest: str) -> Path:
    return state_dir / _FOLDER / _SITES / f"{digest}.json"


def _content_of(opening: bytes) -> Mapping[str, Any]:
    """What was granted; nothing where these bytes are no grant."""
    try:
        content = parse_canonical(opening)["grant"]
    except (EvidenceError, KeyError, TypeError):
        return {}
    return content if isinstance(content, dict) else {}


def is_same_for(device: str, one: bytes, other: bytes) -> bool:
    """Whether two site documents say the same of a device, and of all that is of no device."""
    return bool(_without_others(device, one) == _without_others(device, other))


def _without_others(device: str, document: bytes) -> Any:
    site = parse_canonical(document)
    devices = [row for row in site["devices"] if row["id"] == device]
    systems = [row for row in site.get("systems", ()) if _is_member(device, row)]
    return {**site, "devices": devices, "systems": systems}


def _is_member(device: str, system: Mapping[str, Any]) -> bool:
    return any(device in names for names in system["members"].values())


def _named_sites(state_dir: Path) -> set[str]:
    signed = [_read(path) for path in (state_dir / _FOLDER).glob("*.json") if _is_grant(path)]
    found = [_site_digest(one["grant"]) for one in signed if one is not None]
    return {digest for digest in found if digest is not None}


def _is_grant(path: Path) -> bool:
    return not path.name.endswith(_REQUEST)


def _site_digest(content: Mapping[str, Any]) -> str | None:
    documents = content.get("documents")
    found = documents.get("site") if isinstance(documents, dict) else None
    return found if isinstance(found, str) and _DIGEST.fullmatch(found) else None


def _differ(content: Mapping[str, Any], wanted: Mapping[str, Any], name: str) -> bool:
    documents = content.get("documents")
    return not isinstance(documents, dict) or documents.get(name) != wanted["documents"][name]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        signed = parse_canonical(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, EvidenceError) as error:
        raise ConfigError(
            f"The grant {path} cannot be read: {error}.",
            "Restore it from its copy: the number of its epoch must not be used again.",
        ) from error
    is_grant = isinstance(signed, dict) and set(signed) == _FIELDS
    content = signed["grant"] if is_grant else None
    if not isinstance(content, dict) or type(content.get("epoch")) is not int:
        raise ConfigError(
            f"The file {path} is no signed grant.",
            "Restore it from its copy: the number of its epoch must not be used again.",
        )
    return dict(signed)


def _write(path: Path, data: bytes) -> None:
    try:
        replace_file(path, data)
    except OSError as error:
        full = store_error(f"The file {path}", error)
        if full.code == "disk_full":
            raise full from error
        raise ConfigError(
            f"The file {path} cannot be written: {error.strerror}.",
            "Check the folder, and who may write to it.",
        ) from error
