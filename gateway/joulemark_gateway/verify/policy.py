"""Whom the verifier trusts. It comes from the verifier, never from the bundle."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.signature import decode64, fingerprint

MAX_BYTES = 1024 * 1024


def _is_a_key(text: str) -> str:
    try:
        size = len(decode64(text))
    except EvidenceError as error:
        raise ValueError("a key is 32 bytes in base64") from error
    if size != 32:
        raise ValueError(f"a key is 32 bytes in base64, this has {size}")
    return text


Key = Annotated[str, AfterValidator(_is_a_key)]


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


class Policy(_Strict):
    """The keys a verifier accepts, and how many witnesses must have seen every head.

    A witness may have several keys, one after the other, and counts once by its name.
    """

    v: int = Field(ge=1, le=1)
    agents: list[Agent] = Field(min_length=1)
    operators: list[Key] = Field(min_length=1)
    witnesses: list[Witness] = Field(min_length=1)
    quorum: int = Field(ge=1)
    reporters: list[Key] = Field(min_length=1)

    @model_validator(mode="after")
    def _makes_sense(self) -> Policy:
        if len({witness.key for witness in self.witnesses}) != len(self.witnesses):
            raise ValueError("two witnesses share a key; each counts once")
        if self.quorum > len({witness.name for witness in self.witnesses}):
            raise ValueError(f"the quorum {self.quorum} is above the number of witnesses")
        roles = (
            {item.key for item in self.agents},
            set(self.operators),
            {item.key for item in self.witnesses},
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

    def fingerprints(self) -> list[tuple[str, str]]:
        """Every key with its role, as people compare them."""
        agents = {(f"agent {item.agent}", item.key) for item in self.agents}
        witnesses = {(f"witness {item.name}", item.key) for item in self.witnesses}
        operators = {("operator", key) for key in self.operators}
        reporters = {("reporter", key) for key in self.reporters}
        listed = (*sorted(agents), *sorted(operators), *sorted(witnesses), *sorted(reporters))
        return [(role, fingerprint(decode64(key))) for role, key in listed]


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
    try:
        return Policy.model_validate(content)
    except ValidationError as error:
        raise _bad(
            f"{'.'.join(str(part) for part in item['loc']) or 'policy'}: {item['msg']}"
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
        "Write v, agents, operators, witnesses, quorum and reporters; keys are base64.",
        code="bad_policy",
    )
