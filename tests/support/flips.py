"""Single bits of a bundle, and what is flipped of it without anybody noticing.

The bundle has everything that one can have: full leaves, the collector's log with the cosignatures
of its witness, and time stamps over both of its heads.
"""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import encode64, parse_checkpoint, parse_note
from joulemark_gateway.evidence.account import LogFiles
from joulemark_gateway.evidence.bundle import Bundle, open_bundle
from joulemark_gateway.evidence.container import container_bytes
from joulemark_gateway.evidence.timestamps import query, stamped_at
from joulemark_gateway.verify import manifest, signers
from joulemark_gateway.verify.case import Case
from joulemark_gateway.verify.finding import Finding
from joulemark_gateway.verify.policy import Policy, policy_of
from joulemark_gateway.verify.verdict import verify
from support import authority
from support.bundles import Recipe, policy_mapping
from support.log_recipes import LogRecipe

_REFUSED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, ValueError, OSError, EOFError)
# zipfile says so of a method of packing it does not know, and of a member with a password.
_LENIENT = (*_REFUSED, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Whole:
    """A bundle that is verified, under the policy that trusts who signed and who stamped it."""

    data: bytes
    mapping: Mapping[str, Any]
    messages: Mapping[str, bytes]  # what each of its time stamps is of, by member

    @property
    def policy(self) -> Policy:
        """The policy."""
        return policy_of(self.mapping)

    @property
    def members(self) -> dict[str, bytes]:
        """What it holds."""
        return dict(open_bundle(self.data).members)


def flipped(data: bytes, bit: int) -> bytes:
    """The same but for one bit."""
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def stamped_bundle(folder: Path) -> Whole:
    """The bundle, its heads stamped by an authority of OpenSSL's that keeps its files there."""
    messages: dict[str, bytes] = {}

    def stamp(files: LogFiles) -> LogFiles:
        tokens = {}
        for note in files.checkpoints:
            text = parse_note(note)[0]
            size = parse_checkpoint(text).size
            tokens[size, authority.NAME] = authority.stamped(folder, query(text.encode())[0])
            messages[f"anchors/{size}-{authority.NAME}.tsr"] = text.encode()
        return replace(files, tokens=tokens)

    known = {"name": authority.NAME, "certificates": [encode64(authority.root_der())]}
    data = Recipe(log=LogRecipe(files=stamp)).make()
    return Whole(data, {**policy_mapping(), "authorities": [known]}, messages)


def missed_in_file(whole: Whole, bits: Iterable[int]) -> list[int]:
    """The flips of the file with which it is still verified."""
    return [bit for bit in bits if _is_verified(flipped(whole.data, bit), whole.policy)]


def missed_in_member(whole: Whole, name: str, bits: Iterable[int]) -> list[int]:
    """The flips of a member, in a container that is whole again, with which it is still verified.

    What is first asked costs least: a finding of one layer is a finding of the whole.
    """
    members, trusted = whole.members, whole.policy
    found = []
    for bit in bits:
        changed = {**members, name: flipped(members[name], bit)}
        case = Case(Bundle(changed))
        if manifest.check(case, trusted) or _statement(case, trusted):
            continue
        if _is_verified(container_bytes(changed), trusted):
            found.append(bit)
    return found


def missed_by_token(whole: Whole, name: str, bits: Iterable[int]) -> list[int]:
    """The control: flips of a time stamp that its own signature does not show."""
    token, roots = whole.members[name], [authority.root_der()]
    found = []
    for bit in bits:
        try:
            stamped_at(flipped(token, bit), whole.messages[name], roots)
        except EvidenceError:
            continue
        found.append(bit)
    return found


def missed_by_zip(whole: Whole, bits: Iterable[int]) -> list[int]:
    """The control: flips of the file with which any ZIP reader finds every member as it was."""
    return [bit for bit in bits if _unzipped(flipped(whole.data, bit)) == whole.members]


def around_members(whole: Whole) -> list[int]:
    """The bits that are of no member: headers, directory, end."""
    free: list[int] = []
    at = 0
    for name, data in whole.members.items():
        start = at + 30 + len(name)
        free += range(8 * at, 8 * start)
        at = start + len(data)
    return [*free, *range(8 * at, 8 * len(whole.data))]


def _is_verified(data: bytes, trusted: Policy) -> bool:
    return verify(data, trusted).exit_code == 0


def _statement(case: Case, trusted: Policy) -> list[Finding]:
    """What the layer `signers` says first."""
    if isinstance(case.statement, EvidenceError):
        return [Finding("bad_statement", case.statement.what, signers.LAYER)]
    return signers._statement(case, case.statement, trusted)


def _unzipped(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            return {name: file.read(name) for name in file.namelist()}
    except _LENIENT:
        return {}
