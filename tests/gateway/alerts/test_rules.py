"""Each rule holds where it should, ends where it should, and says nothing of what is not known."""

from dataclasses import replace

import pytest

from joulemark_gateway.agents_now import AgentNow
from joulemark_gateway.alerts.engine import looked
from joulemark_gateway.alerts.rules import Coverage, Facts, Value, conditions
from joulemark_gateway.alerts.settings import AlertSettings, RuleSettings
from joulemark_gateway.alerts.store import AlertStore
from joulemark_gateway.alerts.texts import what_of
from joulemark_gateway.costs.forecast import Level
from joulemark_gateway.costs.watch import Warned
from joulemark_gateway.evidence.base import QuarantineCount

NOW_US = 1_700_000_000_000_000
MINUTE_US, DAY_US = 60_000_000, 86_400_000_000
AGENT = AgentNow(
    agent="edge-1", site="a", devices=("meter",), state="current", seen_us=NOW_US,
    received_us=NOW_US, version="0.1.0", key="k", epoch=1, level="nothing", backlog_batches=0,
    backlog_bytes=10, capacity_bytes=100, backlog_records=0, backlog_us=0, clock_sync="ntp",
    clock_error_us=10, clock_offset_us=-50_000, certificate_until_us=NOW_US + 100 * DAY_US,
    troubles=(), lines_stuck=(),
)  # fmt: skip
FACTS = Facts(now_us=NOW_US, known={"agent_silent"}, agents=[AGENT])


def rule(kind, **more):
    return RuleSettings(rule=kind, tell=("ops",), **more)


def found(one, facts, *, is_open=False):
    return conditions(one, facts, lambda _: is_open)


def of(**changes):
    return replace(FACTS, agents=[replace(AGENT, **changes)])


def refused_at(at_us):
    return replace(FACTS, quarantined=[QuarantineCount("edge-1", "fork", 2, 2, at_us)])


FIGURE = {"sites": ("a",), "device": "air", "point": "leak_ratio", "limit": 0.2}
COVERED = replace(FACTS, coverage=[Coverage("a", "meter", 94, 100)])
LEAK = replace(FACTS, values=[Value("a", "air", "leak_ratio", 0.25, NOW_US)])
WARNED = Warned("a", NOW_US, NOW_US, Level.WARNED, 210e3, 5e3, 200e3, NOW_US)
CASES = {
    "silent": (rule("agent_silent"), of(seen_us=NOW_US - 11 * MINUTE_US), FACTS),
    "never heard of": (rule("agent_silent"), of(seen_us=None), replace(FACTS, started_us=NOW_US)),
    "backlog": (rule("backlog"), of(backlog_records=1001), of(backlog_records=1000)),
    "clock": (rule("clock"), of(clock_sync="unsynchronised"), FACTS),
    "clock far": (rule("clock"), of(clock_offset_us=-3_000_000), of(clock_sync="simulated")),
    "certificate": (rule("certificate"), of(certificate_until_us=NOW_US + DAY_US), FACTS),
    "disk": (rule("disk"), of(backlog_bytes=90), FACTS),
    "disk gives way": (rule("disk"), of(level="figures"), of(backlog_bytes=None)),
    "disk of ours": (rule("disk"), replace(FACTS, disk_used=0.9), replace(FACTS, disk_used=0.1)),
    "coverage": (rule("coverage"), COVERED, replace(FACTS, coverage=[Coverage("a", "m", 0, 0)])),
    "figure": (rule("figure", **FIGURE), LEAK, FACTS),
    "figure below": (
        rule("figure", **FIGURE | {"limit": 0.3, "below": True}), LEAK,
        replace(FACTS, values=[Value("a", "air", "leak_ratio", None, NOW_US)]),
    ),
    "evidence": (rule("evidence"), refused_at(NOW_US), refused_at(NOW_US - 2 * DAY_US)),
    "saving": (rule("saving"), replace(FACTS, savings={"pump": ("a", "cv_rmse")}), FACTS),
    "peak": (rule("peak_demand"), replace(FACTS, warned=[WARNED]), FACTS),
}  # fmt: skip


@pytest.mark.parametrize(("one", "holds", "not_"), CASES.values(), ids=CASES)
def test_a_rule_holds_and_does_not(one, holds, not_):
    [condition] = found(one, holds)
    assert found(one, not_) == []
    for language in ("en", "ko"):
        text = what_of(condition.code, {**condition.values, "subject": "x"}, language)
        assert "{" not in text, "every value that the sentence names is there"
    other = one.model_copy(update={"sites": ("b",)})
    if condition.site and one.rule != "figure":
        assert found(other, holds) == []


@pytest.mark.parametrize(
    ("one", "between"),
    [
        (rule("backlog"), of(backlog_records=600)),
        (rule("disk"), of(backlog_bytes=78)),
        (rule("coverage"), replace(FACTS, coverage=[Coverage("a", "meter", 955, 1000)])),
        (rule("figure", **FIGURE), replace(LEAK, values=[replace(LEAK.values[0], value=0.195)])),
    ],
)
def test_what_is_raised_ends_a_bit_later(one, between):
    assert found(one, between) == []
    assert len(found(one, between, is_open=True)) == 1


def test_what_is_not_known_ends_nothing(tmp_path):
    wanted = AlertSettings.model_validate(
        {"rules": [{"rule": "agent_silent", "tell": ["ops"]}],
         "receivers": [{"name": "ops", "webhook": "https://hooks.example/"}]}
    )  # fmt: skip
    silent = of(seen_us=NOW_US - 60 * MINUTE_US)
    with AlertStore(tmp_path / "alerts.sqlite") as store:
        looked(store, wanted, silent)
        looked(store, wanted, replace(silent, agents=(), known=()))
        assert len(store.alerts(["raised"], 10)) == 1
        looked(store, wanted, FACTS)
        assert store.alerts(["raised"], 10) == []


UNKNOWN = {"clock_sync": None, "clock_offset_us": None, "backlog_bytes": None,
           "capacity_bytes": None, "certificate_until_us": None}  # fmt: skip
JUST_STARTED = replace(of(**UNKNOWN, seen_us=NOW_US - DAY_US), started_us=NOW_US)
STARTED = {
    "silent": (rule("agent_silent"), of(seen_us=NOW_US - DAY_US), JUST_STARTED),
    "backlog": (rule("backlog"), of(backlog_records=2000), JUST_STARTED),
    "clock": (rule("clock"), of(clock_sync="unsynchronised"), JUST_STARTED),
    "certificate": (rule("certificate"), of(certificate_until_us=NOW_US), JUST_STARTED),
    "disk": (rule("disk"), of(backlog_bytes=90), JUST_STARTED),
    "coverage": (
        rule("coverage"), COVERED, replace(FACTS, coverage=[Coverage("a", "meter", 0, 0)]),
    ),
    "figure bad": (
        rule("figure", **FIGURE), LEAK,
        replace(FACTS, values=[Value("a", "air", "leak_ratio", None, NOW_US)]),
    ),
    "figure gone": (rule("figure", **FIGURE), LEAK, FACTS),
}  # fmt: skip


@pytest.mark.parametrize(("one", "holds", "unknown"), STARTED.values(), ids=STARTED)
def test_an_alert_does_not_end_while_nobody_knows(tmp_path, one, holds, unknown):
    with AlertStore(tmp_path / "alerts.sqlite") as store:
        for k, facts in enumerate((unknown, holds, unknown, holds)):
            store.apply(one, conditions(one, facts, store.is_open), k)
            assert len(store.alerts(["raised"], 10)) == (k > 0)
        assert [alert.times for alert in store.alerts(["raised"], 10)] == [1]
        assert [line.what for line in store.lines(1)] == ["raised"]


OPS = {"name": "ops", "webhook": "https://hooks.example/"}
WRONG = {
    "no receiver": {"rules": [{"rule": "disk", "tell": ["ops"]}]},
    "twice": {"rules": [{"rule": "disk", "tell": ["ops"]}] * 2, "receivers": [OPS]},
    "two ways": {"receivers": [{**OPS, "mail": ["a@b.example"]}]},
    "no way": {"receivers": [{"name": "ops"}]},
    "no server": {"receivers": [{"name": "ops", "mail": ["a@b.example"]}]},
    "no address": {"receivers": [{"name": "ops", "mail": ["a b@b.example"]}]},
    "no TLS": {"receivers": [{"name": "ops", "webhook": "http://hooks.example/"}]},
    "password": {"receivers": [{"name": "ops", "webhook": "https://a:b@hooks.example/"}]},
    "figure": {"rules": [{"rule": "figure", "tell": ["ops"]}], "receivers": [OPS]},
    "limit of none": {
        "rules": [{"rule": "disk", "tell": ["ops"], "point": "x"}],
        "receivers": [OPS],
    },
}


@pytest.mark.parametrize("section", WRONG.values(), ids=WRONG)
def test_a_mistake_of_the_file_is_refused(section):
    with pytest.raises(ValueError, match="validation error"):
        AlertSettings.model_validate(section)
