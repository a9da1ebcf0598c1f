"""The equipment models, found by the name of their file, which is the profile's `kind`.

A model's file exports `Parameters` and `analyse(parameters, samples)`; adding one edits no list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol, cast

from pydantic import BaseModel

from joulemark_agent.equipment.base import Analysis, Samples

_KIND = re.compile(r"[a-z][a-z0-9_]{0,40}")


class _Model(Protocol):
    Parameters: type[BaseModel]

    @staticmethod
    def analyse(parameters: Any, samples: Samples) -> Analysis: ...


def has_model(kind: str) -> bool:
    """Whether there is a model of that kind."""
    return _model(kind) is not None


def parameters_of(kind: str, mapping: Mapping[str, Any] | None) -> BaseModel | None:
    """The `equipment:` section of a device, checked; None where its kind has no model.

    A section that is absent is an empty one: what it would declare is refused as a figure.

    Raises:
        pydantic.ValidationError: every mistake of the section.
    """
    model = _model(kind)
    return None if model is None else model.Parameters.model_validate(dict(mapping or {}))


def analyse(kind: str, parameters: BaseModel | None, samples: Samples) -> Analysis | None:
    """What the model of that kind makes of the samples; None where there is no model.

    Args:
        kind: of the device's profile.
        parameters: from `parameters_of`; None is an empty section.
        samples: of one device.
    """
    model = _model(kind)
    if model is None:
        return None
    checked = model.Parameters() if parameters is None else parameters
    if not isinstance(checked, model.Parameters):
        raise ValueError(f"{type(checked).__module__}.Parameters are not those of {kind!r}")
    return model.analyse(checked, samples)


def _model(kind: str) -> _Model | None:
    name = f"{__package__}.{kind}"
    if not _KIND.fullmatch(kind) or find_spec(name) is None:
        return None
    module = import_module(name)
    return cast("_Model", module) if hasattr(module, "Parameters") else None
