"""What a stranger may write: tests/data/injections.json, by class."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).parents[1] / "data/injections.json"
BOMBS = ("yaml_bomb", "json_bomb", "zip_bomb")


@dataclass(frozen=True)
class Payload:
    """One of them: a text, or parts of which each is repeated."""

    kind: str
    parts: tuple[tuple[str, int], ...]
    why: str

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(part * times for part, times in self.parts)


@cache
def payloads(*kinds: str) -> Sequence[Payload]:
    """Those of these classes; of none, all that are short enough to be anywhere."""
    found = [_payload(row) for row in json.loads(FILE.read_text("utf-8"))["payloads"]]
    wanted = kinds or sorted({one.kind for one in found} - set(BOMBS))
    return tuple(one for one in found if one.kind in wanted)


def _payload(row: Mapping[str, object]) -> Payload:
    parts = row.get("parts", [[row.get("text"), 1]])
    assert isinstance(parts, list)
    return Payload(
        str(row["class"]), tuple((str(text), int(times)) for text, times in parts), str(row["why"])
    )
