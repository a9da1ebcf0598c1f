"""A value that a test knows to be there, said so that the type checker knows it too."""

from __future__ import annotations

from typing import TypeVar

Value = TypeVar("Value")


def present(value: Value | None) -> Value:
    """The value; a test that got None ends here."""
    assert value is not None
    return value
