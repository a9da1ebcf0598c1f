"""What must not stand in a site file, and what the environment may replace of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from joulemark_agent.contract.document import Document
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.documents import mistakes
from joulemark_agent.site_sections import ReplaySettings, SparkplugSettings, UplinkSettings
from joulemark_agent.site_values import PREFIX

_INSTEAD_OF_A_PASSWORD = {
    "security": "Remove it, change it on the server, and write 'password_file: FILE' (mode 0600) or"
    f" 'password_variable: {PREFIX}NAME'.",
    "login": "Remove it, change it at the controller, and write 'password_variable:"
    f" {PREFIX}NAME', an environment variable.",
}


def refuse_secrets(document: Document) -> None:
    """Refuse a password or PIN in the file before anything could print it.

    Raises:
        ConfigError: it names the line, and what to write instead.
    """
    devices = document.mapping.get("devices")
    for i, device in enumerate(devices if isinstance(devices, Sequence) else ()):
        for key, do in _INSTEAD_OF_A_PASSWORD.items():
            section = device.get(key) if isinstance(device, Mapping) else None
            if isinstance(section, Mapping) and "password" in section:
                line = document.line_of(("devices", i, key, "password"))
                what = f"{document.name}:{line}: a password does not belong in a site file."
                raise ConfigError(what, do)
    token = document.mapping.get("evidence_key")
    if isinstance(token, Mapping) and "pin" in token:
        line = document.line_of(("evidence_key", "pin"))
        raise ConfigError(
            f"{document.name}:{line}: a PIN does not belong in a site file.",
            f"Remove it, change it, and write 'pin_file: FILE' or 'pin_variable: {PREFIX}NAME'.",
        )
    for name in ("uplink", "sparkplug"):
        section = document.mapping.get(name)
        if not isinstance(section, Mapping):
            continue
        for key in ("password", "url"):
            if key in section and (key == "password" or "@" in str(section["url"])):
                raise ConfigError(
                    f"{document.name}:{document.line_of((name, key))}: {name}.{key} holds a"
                    " password, and a password does not belong in a file.",
                    "Remove it, change it at the broker, and set"
                    f" {PREFIX}{name.upper()}__PASSWORD.",
                )


def check_environment(
    variables: Mapping[str, str], written: Mapping[str, Any], fields: Mapping[str, FieldInfo]
) -> None:
    """Refuse every variable that would replace evidence, or replaces wiring with nonsense.

    Args:
        variables: of the environment.
        written: the site file.
        fields: the keys that it may have.

    Raises:
        ConfigError: it names the variable, and not its value.
    """
    allowed = {
        "STATE_DIR": fields["state_dir"],
        "REPLAY__URL": ReplaySettings.model_fields["url"],
        **{f"UPLINK__{name.upper()}": one for name, one in UplinkSettings.model_fields.items()},
        **{
            f"SPARKPLUG__{name.upper()}": SparkplugSettings.model_fields[name]
            for name in ("url", "username", "password")
        },
    }
    ours = {name.upper() for name in fields}
    found = []
    for variable, value in sorted(variables.items()):
        if not variable.upper().startswith(PREFIX):
            continue
        key = variable.upper().removeprefix(PREFIX)
        section = key.partition("__")[0].lower()
        if key in allowed and "__" in key and written.get(section) is None:
            text = f"the site file has no section '{section}'; write it, or remove the variable"
            found.append(f"{variable}: {text}")
        elif key in allowed:
            kind: Any = Annotated[allowed[key].annotation, Field(), *allowed[key].metadata]
            try:
                TypeAdapter(kind).validate_python(value)
            except ValidationError as error:  # the value may be a secret: it is not shown
                found += [f"{variable}: {item['msg']}" for item in error.errors()]
        elif section.upper() in ours:
            found.append(
                f"{variable}: the environment may not replace this; remove the variable and write"
                f" the site file (allowed: {', '.join(PREFIX + name for name in sorted(allowed))})"
            )
    if found:
        raise mistakes(found)
