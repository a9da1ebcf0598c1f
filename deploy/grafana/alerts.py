"""Alert rules over the newest evidence, for each site and device; thresholds stand here alone.

A rule is three steps of Grafana: A asks, B takes the one number, C compares it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from grafana_foundation_sdk.builders import alerting as builders
from grafana_foundation_sdk.builders import expr as expressions
from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import alerting, dashboard
from panels import METRICSQL, NAMES, SOURCES, SUFFIXES, InfluxQuery
from queries import RANGE, Query, influxql, metricsql

HOUR_S, DAY_S = 3600, 86_400
EACH = ("site", "device")
_EXPRESSION = dashboard.DataSourceRef("__expr__", "__expr__")
_DROPPED = ("folderUID", "orgID", "ruleGroup")  # the file says them once for all rules


@dataclass(frozen=True)
class Rule:
    """One rule; it fires where the number is beyond the limit."""

    name: str
    title: str
    says: str  # what it means, and what to do
    query: Query
    limit: float
    beyond: Literal["gt", "lt"] = "gt"
    span_s: int = HOUR_S
    for_s: int = 300
    recent_s: int = 0  # count this long only, and 0 where there is nothing but was in the span
    is_paused: bool = False


RULES = (
    Rule(
        "silent",
        "A device has sent no evidence for an hour",
        "It sent some in the last day. Look at the agent: is it running, has it a network, does "
        "its "
        "broker answer? What it reads meanwhile waits in its outbox.",
        Query("slot", "sum", ("expected",), by=EACH),
        1,
        "lt",
        span_s=DAY_S,
        recent_s=HOUR_S,
    ),
    Rule(
        "gaps",
        "More than 5 % of the slots of an hour have no reading",
        "The quality dashboard shows the causes as the agent signed them.",
        Query("slot", "sum", ("expected", "-received"), ("expected",), by=EACH),
        0.05,
    ),
    Rule(
        "clock",
        "Readings by a clock that was not set",
        "Their times may be wrong. Give the machine of the agent a time server.",
        Query("slot", "sum", ("unsynchronised",), by=EACH),
        0,
    ),
    Rule(
        "uncosigned",
        "A batch has no cosignature",
        "No collector has witnessed it. Look at the collector's log.",
        Query("batch", "min", ("cosignatures",), by=EACH),
        1,
        "lt",
    ),
    Rule(
        "late",
        "Evidence arrives more than an hour after its last slot",
        "The agent has a backlog, or its clock is behind. Look at its network and at the fleet "
        "page.",
        Query("batch", "max", ("delay_s",), by=EACH),
        HOUR_S,
    ),
    Rule(
        "unmeasured",
        "Less than 95 % of a day's energy was measured from slot to slot",
        "A saving over such days has a wider interval, or none. Look at the gaps and at the meter.",
        Query(
            "quarter",
            "sum",
            ("covered_us",),
            ("covered_us", "estimated_us", "missing_us"),
            where={"point": "energy_wh"},
            by=EACH,
        ),
        0.95,
        "lt",
        span_s=DAY_S,
    ),
    Rule(
        "demand",
        "A quarter-hour is above the agreed demand",
        "CONFIGURE the limit in alerts.py: 1 MW is no contract's; the rule is paused until you do.",
        Query("quarter", "max", ("rate_per_h",), where={"point": "energy_wh"}, by=EACH),
        1_000_000,
        is_paused=True,
    ),
)


def asked(rule: Rule, language: str) -> str:
    """The words of the query of a rule."""
    if rule.recent_s:
        return _recent(rule, language)
    if language == METRICSQL:
        return metricsql(rule.query, window=f"{rule.span_s}s")
    return influxql(rule.query, window=RANGE)


def rules(language: str) -> dict[str, Any]:
    """The file that Grafana is provisioned with."""
    made: dict[str, Any] = json.loads(
        json.dumps([_rule(rule, language).build() for rule in RULES], cls=JSONEncoder)
    )
    for one in made:
        for name in _DROPPED:
            one.pop(name, None)
    group = {
        "orgId": 1,
        "name": f"Joulemark{NAMES[language]}",
        "folder": f"Joulemark{NAMES[language]}",
        "interval": "1m",
        "rules": made,
    }
    return {"apiVersion": 1, "groups": [group]}


def _recent(rule: Rule, language: str) -> str:
    """The sum of the newest part; 0 where there was something before, so that silence is seen."""
    [name] = rule.query.top
    measurement, tags = f"joulemark_{rule.query.measurement}", rule.query.by
    if language == METRICSQL:
        apart = f"by ({', '.join(tags)})"
        newest, all_of_it = (
            f"sum(sum_over_time({measurement}_{name}[{span_s}s])) {apart}"
            for span_s in (rule.recent_s, rule.span_s)
        )
        return f"({newest}) or (({all_of_it}) * 0)"
    apart = "GROUP BY " + ", ".join(f'"{tag}"' for tag in tags)
    nothing = f'SELECT "{name}" * 0 AS "n" FROM "{measurement}" WHERE $timeFilter {apart}'
    newest = (
        f'SELECT "{name}" AS "n" FROM "{measurement}" '
        f"WHERE time > now() - {rule.recent_s}s AND $timeFilter {apart}"
    )
    return f'SELECT sum("n") FROM ({nothing}), ({newest}) WHERE $timeFilter {apart}'


def _rule(rule: Rule, language: str) -> Any:
    words = asked(rule, language)
    query: Any = InfluxQuery("A", words, "")
    if language == METRICSQL:
        query = prometheus.Dataquery().ref_id("A").datasource(SOURCES[METRICSQL]).expr(words)
        query = query.instant()
    one_number = expressions.TypeReduce().ref_id("B").datasource(_EXPRESSION).expression("A")
    evaluator = expressions.ExprTypeThresholdConditionsEvaluator()
    condition = expressions.ExprTypeThresholdConditions().evaluator(
        evaluator.type(rule.beyond).params([rule.limit])
    )
    compared = expressions.TypeThreshold().ref_id("C").datasource(_EXPRESSION).expression("B")
    source = SOURCES[language].uid or ""
    return (
        builders.Rule(rule.title)
        .uid(f"joulemark-{rule.name}{SUFFIXES[language]}")
        .condition("C")
        .queries(
            [
                _step("A", query, source, rule.span_s),
                _step("B", one_number.reducer("last"), "__expr__", 0),
                _step("C", compared.conditions([condition]), "__expr__", 0),
            ]
        )
        .for_val(f"{rule.for_s}s")
        .no_data_state("OK")
        .exec_err_state("Error")
        .annotations({"summary": rule.title, "description": rule.says})
        .labels({"product": "joulemark"})
        .is_paused(rule.is_paused)
    )


def _step(ref_id: str, model: Any, source: str, span_s: int) -> Any:
    span = alerting.RelativeTimeRange(span_s, 0)
    return builders.Query(ref_id).datasource_uid(source).model(model).relative_time_range(span)
