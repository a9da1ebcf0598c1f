"""Where a list goes on: a text that whoever asks gives back as it is, and that says nothing secret.

It names the row that comes next by its own key, not by a count, so that rows that are added
meanwhile shift nothing. What it says is checked like any parameter.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from joulemark_gateway.api.problems import Problem

MOST_LENGTH = 400
Item = TypeVar("Item")


def cursor_of(kind: str, **fields: str | int) -> str:
    """The text."""
    data = json.dumps({"k": kind, **fields}, separators=(",", ":"), sort_keys=True).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def parse_cursor(text: str, kind: str, wanted: Mapping[str, type]) -> dict[str, Any]:
    """What the text says.

    Args:
        text: what was sent.
        kind: of the list.
        wanted: the fields and their types.

    Raises:
        Problem: `bad_cursor`: it is none of this list.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found = json.loads(data)
    except (ValueError, binascii.Error, RecursionError) as error:
        raise bad_cursor(text) from error
    if not isinstance(found, dict) or found.pop("k", None) != kind or set(found) != set(wanted):
        raise bad_cursor(text)
    for name, value in found.items():
        if type(value) is not wanted[name] or (isinstance(value, int) and not 0 <= value < 2**53):
            raise bad_cursor(text)
    return found


def page_of(
    items: Mapping[str, Item], kind: str, cursor: str | None, limit: int
) -> tuple[list[Item], str | None]:
    """Some of the items in the order of their ids, and where the next begin; None: that was all.

    Raises:
        Problem: `bad_cursor`.
    """
    after = "" if cursor is None else parse_cursor(cursor, kind, {"after": str})["after"]
    names = sorted(name for name in items if name > after)
    following = cursor_of(kind, after=names[limit - 1]) if len(names) > limit else None
    return [items[name] for name in names[:limit]], following


def bad_cursor(text: str) -> Problem:
    """The refusal of a cursor that is none of its list."""
    return Problem(
        422,
        "bad_cursor",
        f"The cursor {text!r:.60} is none of this list.",
        "Give 'next_cursor' back as it was, with the same other parameters; or begin without one.",
    )
