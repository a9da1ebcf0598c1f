"""The second verifier, written in another language from docs/format.md alone, asked for verdicts."""

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
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run(
        [node, str(PROGRAM), "--batch"], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(verdicts) == len(asked)
    return verdicts
