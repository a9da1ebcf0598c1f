"""Whom the verifier trusts. It comes from the verifier, never from the bundle."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, Self, TypeVar

from cryptography.x509 import InvalidVersion, load_der_x509_certificate
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from joulemark_agent.contract import revocation
from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.signature import decode64, fingerprint
from joulemark_agent.contract.topics import parse_origin
from joulemark_gateway.evidence.entries import PREFIX

MAX_BYTES = 1024 * 1024
MAX_MISTAKES = 1000  # that are told one by one
MOST = 10_000  # of any kind: more are no policy, and each costs memory before it is refused
_SHOWN = 60  # characters of a name in a message
Kind = TypeVar("Kind", bound=BaseModel)


def _is_a_key(text: str) -> str:
    try:
        size = len(decode64(text))
    except EvidenceError as error:
        raise ValueError("a key is 32 bytes in base64") from error
    if size != 32:
        raise ValueError(f"a key is 32 bytes in base64, this has {size}")
    return text


def _is_an_origin(text: str) -> str:
    try:
        parse_origin(text)
    except EvidenceError as error:
        raise ValueError("an origin is joulemark/SITE/DEVICE/EPOCH") from error
    return text


def _is_of_a_head(text: str) -> str:
    return text if text.startswith(PREFIX) and "\n" not in text else _is_an_origin(text)


def _is_a_certificate(text: str) -> str:
    try:
        load_der_x509_certificate(decode64(text))
    except (EvidenceError, ValueError, InvalidVersion) as error:
        raise ValueError("a certificate is DER in base64") from error
    return text


Key = Annotated[str, AfterValidator(_is_a_key)]
Root = Key  # 32 bytes in base64, too
Origin = Annotated[str, AfterValidator(_is_an_origin)]
HeadOrigin = Annotated[str, AfterValidator(_is_of_a_head)]  # of a tree, or of a collector's log
Size = Annotated[int, Field(ge=0, lt=2**53)]
Certificate = Annotated[str, AfterValidator(_is_a_certificate)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Agent(_Strict):
    """An agent, its evidence key, and the devices of a site that it may speak for."""

    agent: str
    site: str
    devices: list[str] = Field(min_length=1)
    key: Key


class Witness(_Strict):
    """A cosigner: the name in its signature lines, and its key."""

    name: str = Field(min_length=1, pattern=r"^[^ +\n]+$")
    key: Key


class RevokedKey(_Strict):
    """A key that is trusted no longer: of this tree it signed heads up to this size only."""

    key: Key
    origin: Origin
    size: Size
    time: str | None = None  # when it was revoked, and why: for people
    reason: str | None = None


class KnownHead(_Strict):
    """A head that the verifier has seen: every later copy of the tree must contain it."""

    origin: HeadOrigin
    size: Size
    root: Root


class Authority(_Strict):
    """A time-stamping authority: its root certificate, and what lies between."""

    name: str = Field(pattern=r"^[a-z0-9-]{1,64}$")
    certificates: list[Certificate] = Field(min_length=1)


class Signers(_Strict):
    """The keys of everybody who signs, and how many witnesses must have seen every head.

    A witness may have several keys, one after the other, and counts once by its name. So may an
    agent: the key that a grant names is looked for. The collector's log is signed by the witness
    whose name it bears; how many others must have seen its newest head, `log_quorum` says.
    """

    v: int = Field(ge=1, le=1)
    agents: list[Agent] = Field(min_length=1, max_length=MOST)
    operators: list[Key] = Field(min_length=1, max_length=MOST)
    witnesses: list[Witness] = Field(min_length=1, max_length=MOST)
    quorum: int = Field(ge=1)
    reporters: list[Key] = Field(min_length=1, max_length=MOST)
    log_witnesses: list[Witness] = []
    log_quorum: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        for group in (self.witnesses, self.log_witnesses):
            if len({witness.key for witness in group}) != len(group):
                raise ValueError("two witnesses share a key; each counts once")
        if self.quorum > len({witness.name for witness in self.witnesses}):
            raise ValueError(f"the quorum {self.quorum} is above the number of witnesses")
        if self.log_quorum > len({witness.name for witness in self.log_witnesses}):
            raise ValueError(f"the quorum {self.log_quorum} is above the witnesses of the log")
        roles = (
            {item.key for item in self.agents},
            set(self.operators),
            {item.key for item in self.witnesses},
            {item.key for item in self.log_witnesses},
            set(self.reporters),
        )
        if len(set().union(*roles)) != sum(map(len, roles)):
            raise ValueError("two roles share a key; no key does the work of another")
        return self

    def allows(self, *, agent: str, site: str, device: str, key: str) -> bool:
        """Whether this agent may speak with this key (base64) for this device of this site."""
        return any(
            (item.agent, item.site, item.key) == (agent, site, key) and device in item.devices
            for item in self.agents
        )

    def stated(self) -> dict[str, Any]:
        """The signers as a statement names them: what says nothing is left out."""
        return self.model_dump(include=set(Signers.model_fields), exclude_defaults=True)

    def fingerprints(self) -> list[tuple[str, str]]:
        """Every key with its role, as people compare them."""
        agents = {(f"agent {item.agent}", item.key) for item in self.agents}
        witnesses = {(f"witness {item.name}", item.key) for item in self.witnesses}
        operators = {("operator", key) for key in self.operators}
        reporters = {("reporter", key) for key in self.reporters}
        log = {(f"witness of the log {item.name}", item.key) for item in self.log_witnesses}
        groups = (agents, operators, witnesses, log, reporters)
        listed = [item for group in groups for item in sorted(group)]
        return [(role, fingerprint(decode64(key))) for role, key in listed]


class Policy(Signers):
    """What a verifier trusts: the keys, up to where, and the heads that it has seen itself."""

    revoked: list[RevokedKey] = Field(default=[], max_length=MOST)
    heads: list[KnownHead] = Field(default=[], max_length=MOST)
    authorities: list[Authority] = []

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        names = [item.name for item in self.authorities]
        if len(set(names)) != len(names):
            raise ValueError("an authority stands twice; write all its certificates in one row")
        others = {*self.operators, *self.reporters}
        others |= {item.key for item in (*self.witnesses, *self.log_witnesses)}
        if both := {item.key for item in self.revoked} & others:
            raise ValueError(
                f"the key {fingerprint(decode64(min(both)))} is revoked, which only agents' keys"
                " can be up to a size; take it out where it is trusted"
            )
        return self

    @property
    def limits(self) -> list[revocation.Revoked]:
        """The revoked keys in the form that signatures are judged by."""
        return [
            revocation.Revoked(decode64(item.key), item.origin, item.size) for item in self.revoked
        ]

    def signers(self) -> dict[str, Any]:
        """The part that a report's statement repeats: who signed."""
        return self.stated()

    def beyond(self) -> dict[str, Any]:
        """The other part, without what says nothing."""
        return self.model_dump(exclude=set(Signers.model_fields), exclude_defaults=True)

    def remembering(self, heads: Iterable[KnownHead]) -> Policy:
        """The policy with these heads in place of those of the same trees."""
        newest = {head.origin: head for head in (*self.heads, *heads)}
        return self.model_copy(update={"heads": [newest[origin] for origin in sorted(newest)]})


def parse_policy(data: bytes) -> Policy:
    """The policy in a JSON file, canonical or not.

    Raises:
        ConfigError: not JSON, a key twice, or not a policy; every mistake is named.
    """
    if len(data) > MAX_BYTES:
        raise _bad([f"it has {len(data)} bytes; {MAX_BYTES} are the most"])
    try:
        content = json.loads(data.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise _bad([f"it is not JSON: {error}"]) from error
    return policy_of(content)


def policy_of(content: Any) -> Policy:
    """The policy in a parsed value.

    Raises:
        ConfigError: it is none; every mistake is named.
    """
    return _validated(Policy, content)


def signers_of(content: Any) -> Signers:
    """The signers that a statement names: a policy's keys and nothing beyond.

    Raises:
        ConfigError: they are none; every mistake is named.
    """
    return _validated(Signers, content)


def _validated(kind: type[Kind], content: Any) -> Kind:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        if error.error_count() > MAX_MISTAKES:
            raise _bad([f"it has {error.error_count()} mistakes"]) from error
        raise _bad(
            f"{'.'.join(str(part)[:_SHOWN] for part in item['loc']) or 'policy'}: {item['msg']}"
            for item in error.errors(include_url=False)
        ) from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("an object names a key twice")
    return content


def _bad(mistakes: Iterable[str]) -> ConfigError:
    listed = "\n  ".join(mistakes)
    return ConfigError(
        f"This is not a policy:\n  {listed}\n",
        "Write v, agents, operators, witnesses, quorum and reporters, and perhaps revoked and"
        " heads; keys and roots are base64.",
        code="bad_policy",
    )
