"""Secrets that come by a file: a variable NAME_FILE names the file that holds what NAME would.

As containers and systemd hand them over; the secret itself then stands in no environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from joulemark_agent.contract.errors import ConfigError

SECRETS = ("PASSWORD", "TOKEN")
_SUFFIX = "_FILE"
_MOST_BYTES = 64 * 1024


def opened(variables: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The same variables with what stands in such files; the line's end behind it is no part of it.

    Args:
        variables: of the environment.
        prefix: how the names of ours begin.

    Raises:
        ConfigError: a file cannot be read, or the variable is set as well; the value is not shown.
    """
    found = dict(variables)
    for variable in variables:
        name = variable.upper().removesuffix(_SUFFIX)
        is_ours = name != variable.upper() and name.startswith(prefix) and name.endswith(SECRETS)
        if not is_ours:
            continue
        found[name] = _read(variables, name, variable)
        del found[variable]
    return found


def secret(variables: Mapping[str, str], name: str) -> str | None:
    """The secret of one variable, or of the file that its NAME_FILE names; None: neither is set.

    Raises:
        ConfigError: as `opened`.
    """
    variable = name + _SUFFIX
    return _read(variables, name, variable) if variable in variables else variables.get(name)


def _read(variables: Mapping[str, str], name: str, variable: str) -> str:
    if name in {given.upper() for given in variables}:
        raise ConfigError(
            f"{name} and {variable} are both set.", "Remove one of them; better the former."
        )
    path = variables[variable]
    try:
        with Path(path).open("rb") as file:
            return file.read(_MOST_BYTES).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise ConfigError(
            f"{variable}: {path} cannot be read: {why}.",
            "Name a file that this user may read and that holds the secret alone.",
        ) from error
