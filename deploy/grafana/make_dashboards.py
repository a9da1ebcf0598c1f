"""Writes dashboards and alert rules beside it: `python deploy/grafana/make_dashboards.py`."""

from __future__ import annotations

import json
from pathlib import Path

from alerts import rules
from dashboards import DASHBOARDS
from panels import LANGUAGES, document

HERE = Path(__file__).parent


def written() -> dict[str, str]:
    """Every file by its path from here."""
    made = {
        f"dashboards/{language}/{one.name}.json": document(one, language, DASHBOARDS)
        for language in LANGUAGES
        for one in DASHBOARDS
    }
    made |= {f"provisioning/alerting/{language}.json": rules(language) for language in LANGUAGES}
    return {
        path: json.dumps(one, indent=2, ensure_ascii=False) + "\n" for path, one in made.items()
    }


if __name__ == "__main__":
    for path, text in written().items():
        (HERE / path).parent.mkdir(parents=True, exist_ok=True)
        (HERE / path).write_text(text, "utf-8")
