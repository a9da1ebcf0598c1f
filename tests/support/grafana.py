"""The generated dashboards, and what Grafana would ask with them: variables filled, over HTTP."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from support import servers

FOLDER = Path(__file__).parents[2] / "deploy/grafana"
STEPS_S = {"1m": 60, "15m": 900, "1h": 3600, "1d": 86_400}
Lines = dict[str, dict[int, float]]  # by legend: values by instant. [s]


def module(name: str) -> ModuleType:
    """One of the scripts that make the dashboards."""
    sys.path.insert(0, str(FOLDER))  # as where they are run
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))


def loaded(language: str, name: str) -> dict[str, Any]:
    """A dashboard as it stands in its file."""
    path = FOLDER / f"dashboards/{language}/{name}.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def values_of(view: Any, language: str) -> dict[str, str]:
    """The variables as the link to a view of the demo sets them."""
    zone = {"zone": view.zone} if language == "influxql" else {}
    return {"site": view.site, **view.others, **zone}


def asked(
    url: str, panel: dict[str, Any], values: dict[str, str], span_s: tuple[int, int]
) -> Lines:
    """The numbers that a panel would show of a span."""
    step = panel["interval"]
    is_number = panel["type"] == "stat"
    found: Lines = {}
    for target in panel["targets"]:
        words = target.get("expr") or target["query"]
        filled = _filled(words, values, span_s, step)
        if "expr" in target:
            rows = _metricsql(url, filled, span_s, None if is_number else STEPS_S[step])
        else:
            rows = influxql(url, filled)
        for tags, numbers in rows:
            legend = _named(target, tags)
            assert legend not in found, f"two lines are called {legend!r}"
            found[legend] = numbers
    return found


def _filled(words: str, values: dict[str, str], span_s: tuple[int, int], step: str) -> str:
    start_s, end_s = span_s
    everything = {
        **values,
        "__interval": step,
        "__range": f"{end_s - start_s}s",
        "timeFilter": f"time >= {start_s * 1000}ms and time <= {end_s * 1000}ms",
    }
    for name, value in everything.items():
        words = re.sub(rf"\${name}\b", value, words)
    assert "$" not in words.replace("$/", ""), words
    return words


def _metricsql(
    url: str, query: str, span_s: tuple[int, int], step_s: int | None
) -> Iterator[tuple[dict[str, str], dict[int, float]]]:
    start_s, end_s = span_s
    times = {"start": start_s, "end": end_s, "step": step_s} if step_s else {"time": end_s}
    path = "query_range" if step_s else "query"
    answer = servers.json_of(f"{url}/api/v1/{path}", {"query": query, "nocache": 1, **times})
    for row in answer["data"]["result"]:
        pairs = row["values"] if step_s else [row["value"]]
        yield row["metric"], {int(t): float(text) for t, text in pairs}


def influxql(url: str, query: str) -> Iterator[tuple[dict[str, str], dict[int, float]]]:
    """The lines of an answer of InfluxDB."""
    fields = {"db": "joulemark", "q": query, "epoch": "ms"}
    (result,) = servers.json_of(f"{url}/query", fields)["results"]
    assert "error" not in result, result
    for row in result.get("series", []):
        numbers = {t // 1000: float(v) for t, v in row["values"] if v is not None}
        yield row.get("tags", {}), numbers


def _named(target: dict[str, Any], tags: dict[str, str]) -> str:
    legend = str(target.get("legendFormat") or target["alias"])
    for name, value in tags.items():
        legend = legend.replace(f"{{{{{name}}}}}", value).replace(f"$tag_{name}", value)
    return legend


def offered(url: str, variable: dict[str, Any], values: dict[str, str]) -> set[str]:
    """What a variable lets one choose from."""
    query = variable["query"]
    words = _filled(query if isinstance(query, str) else query["query"], values, (0, 0), "1m")
    if isinstance(query, str):
        (result,) = servers.json_of(f"{url}/query", {"db": "joulemark", "q": words})["results"]
        return {value for row in result.get("series", []) for _, value in row["values"]}
    match, _, tag = words.removeprefix("label_values(").removesuffix(")").rpartition(", ")
    years = {"start": 1_262_304_000, "end": 1_893_456_000}
    answer = servers.json_of(f"{url}/api/v1/label/{tag}/values", {"match[]": match, **years})
    return set(answer["data"])
