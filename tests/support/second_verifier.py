"""The second verifier, written in another language from docs/format.md alone, is asked."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PROGRAM = Path(__file__).parents[1] / "data/second_verifier/verify.mjs"


class Asked(NamedTuple):
    """A bundle, and the policy under which it is judged; None: without one."""

    name: str
    data: bytes
    policy: Mapping[str, Any] | None


def judged(
    node: str, asked: Sequence[Asked], folder: Path, *, quick: bool = False
) -> list[dict[str, Any]]:
    """Its verdicts: `exit`, `findings` (layer and code) and `undecided`.

    Args:
        node: the program.
        asked: what it is asked.
        folder: for files.
        quick: whether the first layer that objects is enough.
    """
    lines = []
    for k, (_, data, policy) in enumerate(asked):
        bundle, named = folder / f"{k}.zip", folder / f"{k}.json"
        bundle.write_bytes(data)
        if policy is not None:
            named.write_text(json.dumps(policy))
        path = None if policy is None else str(named)
        lines.append({"bundle": str(bundle), "policy": path, "quick": quick})
    return _answers(node, "--batch", lines)


def decoded(node: str, asked: Sequence[tuple[Any, list[Any]]]) -> list[dict[str, Any]]:
    """What it decodes: `values` and `quality` of each profile's document and `raw` of a record."""
    lines = [{"profile": profile, "raw": raw} for profile, raw in asked]
    return _answers(node, "--decode", lines)


def _answers(node: str, mode: str, lines: Sequence[Any]) -> list[dict[str, Any]]:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run(
        [node, str(PROGRAM), mode], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(lines)
    return answers
