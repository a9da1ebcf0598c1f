"""Which conditions hold now, by rule; what is not known raises nothing and ends nothing. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from joulemark_gateway.agents_now import NOT_SYNCHRONISED, AgentNow
from joulemark_gateway.alerts.settings import RuleKind, RuleSettings
from joulemark_gateway.costs.forecast import Level
from joulemark_gateway.costs.watch import DemandNow, Warned
from joulemark_gateway.evidence.base import QuarantineCount

COLLECTOR = "collector"
_CLEAR_RATIO = 0.05
_US_PER_MINUTE, _US_PER_HOUR, _US_PER_DAY = 60_000_000, 3_600_000_000, 86_400_000_000


@dataclass(frozen=True)
class Condition:
    """Something that holds, and has to be told of."""

    key: str  # one alert for each
    rule: str
    site: str  # "": of the collector
    subject: str  # agent, device or project
    code: str  # of the text
    values: Mapping[str, str] = field(default_factory=dict)  # that stand in the text
    is_known: bool = True  # False: nobody knows whether it still holds; an open alert stays open


@dataclass(frozen=True)
class Coverage:
    """How much of a device's values of the last day are good."""

    site: str
    device: str
    good: int
    due: int


@dataclass(frozen=True)
class Value:
    """The newest value of a point."""

    site: str
    device: str
    point: str
    value: float | None
    t_us: int


@dataclass(frozen=True)
class Facts:
    """What rules look at. Of kinds that are not `known` nothing is raised and nothing ends."""

    now_us: int
    known: Collection[RuleKind]
    started_us: int = 0  # of the collector: before, nobody can have been heard of
    agents: Sequence[AgentNow] = ()
    demands: Mapping[str, DemandNow] = field(default_factory=dict)
    warned: Sequence[Warned] = ()  # since the last look
    quarantined: Sequence[QuarantineCount] = ()
    coverage: Sequence[Coverage] = ()
    values: Sequence[Value] = ()
    savings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    # by project that is refused: its site, and why
    disk_used: float | None = None  # of the collector, as a share


def conditions(rule: RuleSettings, facts: Facts, is_open: Callable[[str], bool]) -> list[Condition]:
    """What holds of one rule.

    Args:
        rule: of the collector's file.
        facts: as they are now.
        is_open: whether there is an open alert of this key: what is raised ends a bit later.
    """
    return list(_RULES[rule.rule](rule, facts, is_open))


_Open = Callable[[str], bool]


def _of_agents(rule: RuleSettings, facts: Facts) -> Iterator[AgentNow]:
    return (row for row in facts.agents if rule.is_of(row.site))


def _condition(rule: RuleSettings, site: str, subject: str, **values: object) -> Condition:
    texts = {name: str(value) for name, value in values.items()}
    return Condition(_key(rule, site, subject), rule.id, site, subject, rule.rule, texts)


def _key(rule: RuleSettings, site: str, subject: str) -> str:
    return f"{rule.id}/{site}/{subject}"


def _unknown(rule: RuleSettings, site: str, subject: str, is_open: _Open) -> Iterator[Condition]:
    """What is open stays so, where nobody knows whether it holds; nothing is raised."""
    key = _key(rule, site, subject)
    if is_open(key):
        yield Condition(key, rule.id, site, subject, rule.rule, is_known=False)


def _peak_demand(rule: RuleSettings, facts: Facts, _: _Open) -> Iterator[Condition]:
    told: set[str] = set()
    for row in reversed(facts.warned):  # the newest of each site
        if rule.is_of(row.site) and row.site not in told:
            told.add(row.site)
            yield _demand(rule, row)
    for site, now in facts.demands.items():
        is_up = now.newest is not None and now.newest.standing.level is not Level.QUIET
        if is_up and rule.is_of(site) and site not in told and now.warnings:
            yield _demand(rule, now.warnings[0])


def _demand(rule: RuleSettings, row: Warned) -> Condition:
    return _condition(
        rule,
        row.site,
        row.site,
        forecast_kw=f"{row.forecast_w / 1000:.1f}",
        u_kw=f"{2 * row.uncertainty_w / 1000:.1f}",
        limit_kw=f"{row.limit_w / 1000:.1f}",
        interval_us=row.interval_us,
        level=row.level.value,
    )


def _agent_silent(rule: RuleSettings, facts: Facts, is_open: _Open) -> Iterator[Condition]:
    after_us = rule.bound * _US_PER_MINUTE
    for row in _of_agents(rule, facts):
        seen_us = row.seen_us or 0
        if facts.now_us - max(seen_us, facts.started_us) > after_us:
            yield _condition(rule, row.site, row.agent, seen_us=seen_us, minutes=f"{rule.bound:g}")
        elif seen_us < facts.started_us:  # not heard of since; a start is no sign of life
            yield from _unknown(rule, row.site, row.agent, is_open)


def _backlog(rule: RuleSettings, facts: Facts, is_open: _Open) -> Iterator[Condition]:
    for row in _of_agents(rule, facts):
        key = _key(rule, row.site, row.agent)
        if row.backlog_records > rule.bound * (0.5 if is_open(key) else 1):
            yield _condition(
                rule, row.site, row.agent, records=row.backlog_records, limit=f"{rule.bound:g}"
            )
        elif row.clock_offset_us is None:  # it has not said how it is
            yield from _unknown(rule, row.site, row.agent, is_open)


def _clock(rule: RuleSettings, facts: Facts, is_open: _Open) -> Iterator[Condition]:
    for row in _of_agents(rule, facts):
        if row.clock_sync == "simulated":
            continue
        if row.clock_offset_us is None:
            yield from _unknown(rule, row.site, row.agent, is_open)
            continue
        offset_s = row.clock_offset_us / 1_000_000
        if row.clock_sync == NOT_SYNCHRONISED or abs(offset_s) > rule.bound:
            sync = row.clock_sync or "unknown"
            yield _condition(rule, row.site, row.agent, offset_s=f"{offset_s:.1f}", sync=sync)


def _certificate(rule: RuleSettings, facts: Facts, is_open: _Open) -> Iterator[Condition]:
    for row in _of_agents(rule, facts):
        if row.certificate_until_us is None:
            yield from _unknown(rule, row.site, row.agent, is_open)
            continue
        days = (row.certificate_until_us - facts.now_us) / _US_PER_DAY
        if days < rule.bound:
            yield _condition(rule, row.site, row.agent, days=f"{days:.0f}")


def _coverage(rule: RuleSettings, facts: Facts, is_open: _Open) -> Iterator[Condition]:
    for row in facts.coverage:
        if not rule.is_of(row.site):
            continue
        if not row.due:
            yield from _unknown(rule, row.site, row.device, is_open)
            continue
        is_up = is_open(_key(rule, row.site, row.device))
        least = min(rule.bound + 0.01, 1.0) if is_up else rule.bound
        if row.good / row.due < least:
            percent = f"{100 * row.good / row.due:.1f}"
            limit = f"{100 * rule.bound:g}"
            yield _condition(rule, row.site, row.device, percent=percent, limit=limit)


def _evidence(rule: RuleSettings, facts: Facts, _: _Open) -> Iterator[Condition]:
    sites = {row.agent: row.site for row in facts.agents}
    for row in facts.quarantined:
        site = sites.get(row.agent, "")
        if facts.now_us - row.last_us < rule.bound * _US_PER_HOUR and (site or not rule.sites):
            if site and not rule.is_of(site):
                continue
            who = row.agent or "unknown"
            found = _condition(rule, site, who, finding=row.code, messages=row.messages)
            yield Condition(
                f"{found.key}/{row.code}", found.rule, site, who, found.code, found.values
            )


def _disk(rule: RuleSettings, facts: Facts, is_open: _Open) -> Iterator[Condition]:
    rows = [
        (row.site, row.agent, row.backlog_bytes / row.capacity_bytes, row.level or "nothing")
        for row in _of_agents(rule, facts)
        if row.backlog_bytes is not None and row.capacity_bytes
    ]
    for row in _of_agents(rule, facts):
        if row.backlog_bytes is None or not row.capacity_bytes:
            yield from _unknown(rule, row.site, row.agent, is_open)
    if facts.disk_used is not None and not rule.sites:
        rows.append(("", COLLECTOR, facts.disk_used, "nothing"))
    for site, subject, used, level in rows:
        most = rule.bound - (_CLEAR_RATIO if is_open(_key(rule, site, subject)) else 0)
        if used > most or level != "nothing":
            yield _condition(rule, site, subject, percent=f"{100 * used:.0f}", level=level)


def _saving(rule: RuleSettings, facts: Facts, _: _Open) -> Iterator[Condition]:
    for project, (site, why) in sorted(facts.savings.items()):
        if rule.is_of(site):
            yield _condition(rule, site, project, why=why[:300])


def _figure(rule: RuleSettings, facts: Facts, is_open: _Open) -> Iterator[Condition]:
    place = (rule.sites[0], rule.device, rule.point)
    subject, sign = f"{rule.device}/{rule.point}", -1 if rule.below else 1
    rows = [row for row in facts.values if (row.site, row.device, row.point) == place]
    if not any(row.value is not None for row in rows):
        yield from _unknown(rule, rule.sites[0], subject, is_open)
    for row in rows:
        if row.value is None:
            continue
        bound = rule.bound
        if is_open(_key(rule, row.site, subject)):
            default = rule.bound - sign * _CLEAR_RATIO * abs(rule.bound)
            bound = default if rule.clear is None else rule.clear
        if sign * row.value > sign * bound:
            yield _condition(
                rule, row.site, subject, value=f"{row.value:.6g}", limit=f"{rule.bound:g}",
                side="below" if rule.below else "above",
            )  # fmt: skip


_RULES: Mapping[RuleKind, Callable[[RuleSettings, Facts, _Open], Iterator[Condition]]] = {
    "peak_demand": _peak_demand,
    "agent_silent": _agent_silent,
    "backlog": _backlog,
    "clock": _clock,
    "certificate": _certificate,
    "coverage": _coverage,
    "evidence": _evidence,
    "disk": _disk,
    "saving": _saving,
    "figure": _figure,
}
