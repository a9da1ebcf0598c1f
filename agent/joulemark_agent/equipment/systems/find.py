"""The kinds of systems, found by the name of their file; adding one edits no list.

A kind's file exports `ROLES`, `Parameters`, `NAMING` (which of them name members) and
`analyse(parameters, members)`.
"""

from __future__ import annotations

import pkgutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from pydantic import BaseModel, ValidationError

from joulemark_agent.equipment.base import Analysis
from joulemark_agent.equipment.systems.base import Members, Role

_NO_KINDS = {"base", "find"}


class _System(Protocol):
    ROLES: Mapping[str, Role]
    Parameters: type[BaseModel]
    NAMING: tuple[str, ...]

    @staticmethod
    def analyse(parameters: Any, members: Members) -> Analysis: ...


def kinds() -> tuple[str, ...]:
    """The kinds there are."""
    folder = import_module(__package__).__path__
    return tuple(sorted({file.name for file in pkgutil.iter_modules(folder)} - _NO_KINDS))


def analyse(kind: str, parameters: Mapping[str, Any], members: Members) -> Analysis:
    """What a system of that kind makes of the samples of its members.

    Args:
        kind: one of `kinds()`.
        parameters: of the system, as its section has them.
        members: by role.

    Raises:
        pydantic.ValidationError: every mistake of the parameters.
    """
    system = _system(kind)
    return system.analyse(system.Parameters.model_validate(dict(parameters)), members)


def mistakes(
    kind: str,
    members: Mapping[str, Sequence[str]],
    parameters: Mapping[str, Any],
    kind_of: Mapping[str, str],
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong with a system, and where in its section.

    Args:
        kind: as written.
        members: ids of devices by role, as written.
        parameters: as written.
        kind_of: the kind of each device of the site, by id.
    """
    if kind not in kinds():
        yield ("kind",), f"there is no system {kind!r:.80}; the kinds are: {', '.join(kinds())}"
        return
    system = _system(kind)
    for role in sorted(members.keys() - system.ROLES.keys()):
        known = ", ".join(system.ROLES)
        yield ("members", role), f"{kind} has no {role!r:.80}; its members are: {known}"
    for role, wanted in system.ROLES.items():
        yield from _of_role(role, wanted, members.get(role, ()), kind_of)
    names = Counter(name for role in members.values() for name in role)
    for role, given in members.items():
        for i, name in enumerate(given):
            if names[name] > 1:
                yield ("members", role, i), f"{name!r} is named {names[name]} times"
    try:
        system.Parameters.model_validate(dict(parameters))
    except ValidationError as error:
        for item in error.errors(include_url=False):
            yield ("parameters", *item["loc"]), f"{item['msg']} ({item['input']!r:.80})"
        return
    for key in system.NAMING:
        for name in parameters.get(key, ()):
            if name not in names:
                yield ("parameters", key), f"{name!r} is no member of this system"


def _of_role(
    role: str, wanted: Role, given: Sequence[str], kind_of: Mapping[str, str]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong with the members of one role."""
    where = ("members", role) if given else ("members",)
    if len(given) < wanted.least:
        yield where, f"{role!r} needs {wanted.least} devices or more, not {len(given)}"
    if wanted.most is not None and len(given) > wanted.most:
        yield where, f"{role!r} takes {wanted.most} device, not {len(given)}"
    for i, name in enumerate(given):
        if name not in kind_of:
            yield ("members", role, i), f"there is no device {name!r} in this file"
        elif wanted.kinds and kind_of[name] not in wanted.kinds:
            fits = " or ".join(sorted(wanted.kinds))
            text = f"{name!r} is a {kind_of[name]}; {role!r} takes {fits}"
            yield ("members", role, i), text


def _system(kind: str) -> _System:
    return cast("_System", import_module(f"{__package__}.{kind}"))
