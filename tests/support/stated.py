"""What this version states of fixed readings; run it to write the file that pins the figures.

python -m support.stated   # in tests/, after figures.VERSION was raised
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from joulemark_agent.documents import load_profile
from joulemark_agent.equipment import parameters_of
from joulemark_agent.figures import Subject, Taken, stated

PINNED = Path(__file__).parents[1] / "data" / "stated_figures.json"
PROFILES = ("huawei_sun2000", "virtual_compressor_a1", "virtual_furnace", "virtual_main_meter")
_PERIOD_US, _READINGS = 10_000_000, 361
_START_US = 1_651_917_600_000_000  # an hour of a day in May, noon on the site's clock


def statement(name: str) -> dict[str, Any]:
    """The statement of an hour in which every gauge goes up and down and every counter counts."""
    profile = load_profile(name)[0]
    section = parameters_of(profile.kind, None)
    subject = Subject(profile, section, _PERIOD_US, 3_600_000_000, ZoneInfo("Asia/Seoul"))
    return stated(subject, [_shown(profile, i) for i in range(_READINGS)])


def _shown(profile: Any, i: int) -> Taken:
    at_us = _START_US + i * _PERIOD_US
    values = {
        point.name: str(at_us // 1_000_000 if point.name == "sampled_at_s" else _value(point, i))
        for point in profile.points
        if not point.name.endswith("_text")
    }
    return Taken(i, at_us, at_us, values, {})


def _value(point: Any, i: int) -> int:
    if point.counter:
        return 1_000_000 + 37 * i
    return 0 if point.name.endswith("_state") else 100 + 500 * (i // 30 % 2) + i % 7


if __name__ == "__main__":
    found = {name: statement(name) for name in PROFILES}
    PINNED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", "utf-8")
