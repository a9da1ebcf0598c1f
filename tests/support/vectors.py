"""Reference numbers of formulas: tests/data/vectors, one file per topic."""

import json
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "data" / "vectors"
ZERO_TOLERANCE = 1e-9  # absolute, where the expected number is 0

Vector = Mapping[str, Any]
Adapter = Callable[[Vector], None]


def vectors(topic: str) -> dict[str, Vector]:
    """The vectors of a file, by id."""
    found = json.loads((FOLDER / f"{topic}.json").read_text("utf-8"))["vectors"]
    return {vector["id"]: vector for vector in found}


def require_close(found: Any, expected: Any, rel_tol: float) -> None:
    """What was computed is what was published: numbers, None for no number, lists and mappings."""
    if isinstance(expected, Mapping):
        for name in expected:
            require_close(found[name], expected[name], rel_tol)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            require_close(one, other, rel_tol)
    elif expected is None:
        assert math.isnan(found)
    else:
        absolute = ZERO_TOLERANCE if expected == 0 else 0.0
        told = f"{found!r} is not {expected!r}"
        assert math.isclose(found, expected, rel_tol=rel_tol, abs_tol=absolute), told


def require_all_used(topic: str, used: Collection[str]) -> None:
    """Every vector of the file has its adapter, and every adapter a vector."""
    assert set(vectors(topic)) == set(used)
