"""The files for Grafana: made from their definitions, in Grafana's own types, naming what exists.

Their numbers are compared with the ledger in `tests/system/test_dashboards.py`.
"""

import itertools
import json
import re
from typing import Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import alerting, units
from grafana_foundation_sdk.models import dashboard as models

from joulemark_agent.contract.document import parse_yaml
from joulemark_gateway.series.savings import FIELDS, SAVING
from joulemark_gateway.series.tables import MEASUREMENTS
from support import grafana

FOLDER = grafana.FOLDER
FILES = sorted(FOLDER.glob("dashboards/*/*.json"))
NAMED = pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
SITES = FOLDER.parents[1] / "configs/sites"
SCHEMA = {
    "joulemark_point": {"value", "quality"},
    SAVING: set(FIELDS),
    **{name: set(kind.fields) for name, kind in MEASUREMENTS.items()},
}
TAGS = {
    "joulemark_point": {"point"},
    SAVING: {"project"},
    **{name: set(kind.tags) for name, kind in MEASUREMENTS.items()},
}
WANTED = {
    "site", "compressor", "photovoltaics", "furnace", "energy", "co2e", "quality", "evidence",
    "savings", "programme", "figures",
}  # fmt: skip


def loaded(path: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def test_the_files_are_those_the_script_writes():
    paths = [*FILES, *FOLDER.glob("provisioning/alerting/*.json")]
    found = {str(path.relative_to(FOLDER)): path.read_text("utf-8") for path in paths}
    written = grafana.module("make_dashboards").written()
    assert found == written, "run: python deploy/grafana/make_dashboards.py"


def test_every_dashboard_is_there_in_both_languages():
    found = {(path.parent.name, path.stem) for path in FILES}
    assert found == set(itertools.product(("metricsql", "influxql"), WANTED))


@NAMED
def test_grafanas_own_types_know_every_field_of_a_dashboard(path):
    plugins.register_default_plugins()
    content = loaded(path)
    read = models.Dashboard.from_json(content)
    again = json.loads(json.dumps(read, cls=JSONEncoder))
    # Query types of its own has the library for Prometheus only; others it keeps as they are.
    assert again == content


def test_grafanas_own_types_know_every_field_of_an_alert_rule():
    for path in FOLDER.glob("provisioning/alerting/*.json"):
        for rule in loaded(path)["groups"][0]["rules"]:
            again = json.loads(json.dumps(alerting.Rule.from_json(rule), cls=JSONEncoder))
            assert {name: again[name] for name in rule} == rule


@NAMED
def test_every_panel_says_what_it_is_in_which_unit_and_what_nothing_means(path):
    content = loaded(path)
    known = {value for name, value in vars(units).items() if isinstance(value, str)}
    taken: set[tuple[int, int]] = set()
    language = path.parent.name
    source = {"metricsql": "joulemark-victoriametrics", "influxql": "joulemark-influxdb"}[language]
    for panel in content["panels"]:
        shown = panel["fieldConfig"]["defaults"]
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert shown["unit"] in known or shown["unit"].startswith("suffix:")
        assert shown["noValue"].endswith(".")
        if panel["type"] == "stat":
            assert shown["thresholds"]["steps"][0]["value"] is None
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {one["uid"] for one in sources} == {source}
        place = panel["gridPos"]
        cells = set(
            itertools.product(
                range(place["x"], place["x"] + place["w"]),
                range(place["y"], place["y"] + place["h"]),
            )
        )
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in content["panels"]}) == len(content["panels"])


@NAMED
def test_links_lead_to_every_other_dashboard_of_the_same_source(path):
    content = loaded(path)
    first, *others = content["links"]
    assert (first["type"], first["tags"]) == ("dashboards", content["tags"])
    assert first["includeVars"]
    assert first["keepTime"]
    uids = {loaded(one)["uid"] for one in FILES if one.parent == path.parent}
    assert {link["url"].partition("?")[0].removeprefix("/d/") for link in others} == uids
    for link in others:
        assert "var-site=" in link["url"] or "/d/joulemark-programme" in link["url"]


def unknown(words: str) -> list[str]:
    """What a query names that the series does not have."""
    found = []
    for name in re.findall(r"joulemark_[a-z0-9_]+", words):
        longest = max((m for m in SCHEMA if name.startswith(m)), key=len, default="")
        field = name[len(longest) + 1 :]
        if not longest or (field and field not in SCHEMA[longest]):
            found.append(name)
    if "SELECT" in words:
        [measurement] = set(re.findall(r'FROM "(joulemark_[a-z0-9]+)"', words))
        made = set(re.findall(r'AS "(\w+)"', words))
        known = SCHEMA[measurement] | TAGS[measurement] | made | {"site", "device", measurement}
        found += [name for name in re.findall(r'"(\w+)"', words) if name not in known]
    return found


def queries(content: Any) -> list[str]:
    """Every query of a file."""
    if isinstance(content, dict):
        own = [v for k, v in content.items() if k in {"expr", "query"} and isinstance(v, str)]
        return own + [one for value in content.values() for one in queries(value)]
    return [one for value in content for one in queries(value)] if isinstance(content, list) else []


def test_every_query_names_measurements_fields_and_tags_that_the_series_has():
    for path in [*FILES, *FOLDER.glob("provisioning/alerting/*.json")]:
        asked = [words for words in queries(loaded(path)) if "joulemark_" in words]
        for words in asked:
            assert unknown(words) == [], (path, words)
            assert "|>" not in words, "that is Flux"


@pytest.mark.parametrize("language", ["metricsql", "influxql"])
def test_a_field_that_was_renamed_is_found(language):
    [words] = [
        words
        for words in queries(grafana.loaded(language, "co2e")["panels"][1])
        if "factor_kg_per_kwh" in words
    ]
    assert unknown(words.replace("factor_kg_per_kwh", "factor_g_per_kwh"))


def test_the_provisioned_sources_and_folders_are_those_that_are_named():
    found = {}
    for path in (FOLDER / "provisioning/datasources").iterdir():
        (source,) = parse_yaml(path.read_text("utf-8"), path.name).mapping["datasources"]
        found[source["uid"]] = source
    assert {uid: source["type"] for uid, source in found.items()} == {
        "joulemark-victoriametrics": "prometheus",
        "joulemark-influxdb": "influxdb",
    }
    query = found["joulemark-victoriametrics"]["jsonData"]["customQueryParameters"]
    assert query == "nocache=1"
    assert found["joulemark-influxdb"]["jsonData"]["version"] == "InfluxQL"
    assert [source["isDefault"] for source in found.values()].count(True) == 1
    text = (FOLDER / "provisioning/dashboards/joulemark.yaml").read_text("utf-8")
    providers = parse_yaml(text, "dashboards").mapping["providers"]
    folders = {row["options"]["path"].rpartition("/")[2]: row["folder"] for row in providers}
    groups = {
        path.stem: loaded(path)["groups"][0]["folder"]
        for path in FOLDER.glob("provisioning/alerting/*.json")
    }
    assert folders == groups


def test_a_dashboard_opens_where_the_demo_has_a_recording():
    made = grafana.module("dashboards")
    us = grafana.module("panels").View.range_ms.fget
    for view in (one for board in made.DASHBOARDS for one in board.views):
        site = parse_yaml((SITES / f"{view.site}.yaml").read_text("utf-8"), view.site).mapping
        assert site["time_zone"] == view.zone
        if "device" in view.others:
            [row] = [one for one in site["devices"] if one["id"] == view.others["device"]]
            start_ms, end_ms = us(view)
            first = row.get("first_slot", site["replay"]["first_slot"])
            assert milliseconds(first) <= start_ms < end_ms
            if "last_slot" in row:
                assert end_ms <= milliseconds(row["last_slot"]) + row["period_s"] * 1000


def milliseconds(text: str) -> int:
    view = grafana.module("panels").View("", text, text, "UTC")
    return int(view.range_ms[0])


def test_the_demo_has_the_project_that_the_saving_opens_with():
    made = grafana.module("dashboards").PROJECT
    path = FOLDER.parents[1] / "gateway/joulemark_gateway/demo/files/project.yaml"
    lines = path.read_text("utf-8")
    assert f"id: {made.others['project']}" in lines
    assert "reporting: {from: 2018-07-01, to: 2019-01-01}" in lines
