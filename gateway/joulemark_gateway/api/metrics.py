"""`/metrics`: how the collector, its agents and its copies are, for Prometheus.

Each part is read by itself: where one cannot be, its `_up` is 0 and the others are told. Labels
are the collector's own words (codes, outcomes, files) and names from its registry and settings, of
which at most MOST_LISTED are listed; beyond that only sums are given. Whoever sees some sites only
is told of these alone.
"""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import get_args

from fastapi import APIRouter
from fastapi.responses import Response

from joulemark_agent.contract.errors import JoulemarkError
from joulemark_agent.contract.topics import parse_origin
from joulemark_gateway.access.database import FILE as ACCESS
from joulemark_gateway.access.roles import Role, Scope
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.exposition import MEDIA, Family, text_of
from joulemark_gateway.api.models import PROBLEMS
from joulemark_gateway.api.routes import Here
from joulemark_gateway.api.sources import Sources
from joulemark_gateway.evidence.base import Head
from joulemark_gateway.evidence.store import FILE as EVIDENCE
from joulemark_gateway.ingest.tally import Outcome
from joulemark_gateway.pki.settings import ca_folder
from joulemark_gateway.pki.site_ca import SiteCa
from joulemark_gateway.series.embedded import FILE as SERIES
from joulemark_gateway.software import VERSION

MOST_LISTED = 1_000  # agents, and sites
_LATE_S = 900.0  # without a word, after which an agent counts as late
_HEADS_BACK = 10_000  # leaves of the log among which its last closing is looked for
_US_PER_S = 1e6
_STARTED_S = time.time()

_TEXT = {MEDIA.partition(";")[0]: {"schema": {"type": "string"}}}
router = APIRouter(responses={**PROBLEMS, 200: {"content": _TEXT}})


@router.get("/metrics", response_class=Response)
@needs(Role.VERIFIER, Scope.METRICS)
def get_metrics(here: Here) -> Response:
    """How the collector, its agents and its copies are, in the text format of Prometheus."""
    return Response(text_of(families(here)), media_type=MEDIA)


def families(here: Sources) -> Iterator[Family]:
    """Every metric that whoever asks may see."""
    heads = _heads(here)
    yield _family("build_info", "1; the version is the label", [(1.0, {"version": VERSION})])
    yield _gauge("evidence_up", "1: the ledger can be read", float(heads is not None))
    if heads is not None:
        yield from _ledger(here, heads)
        yield from _agents(here, heads)
    yield from _series(here, heads or [])
    yield from _projects(here)
    if here.who.sites is None:
        yield from _ingest(here)
        yield from _log(here)
        yield from _disk(here)
        yield from _process()


def _heads(here: Sources) -> list[Head] | None:
    with suppress(JoulemarkError), here.store() as store:
        return [head for head in store.heads() if here.who.sees(parse_origin(head.origin)[0])]
    return None


def _ledger(here: Sources, heads: list[Head]) -> Iterator[Family]:
    leaves: Counter[str] = Counter()
    for head in heads:
        leaves[parse_origin(head.origin)[0]] += head.size
    yield _gauge("evidence_trees", "device epochs in the ledger", len(heads))
    yield _gauge("sites", "sites in the ledger", len(leaves))
    found = Family("joulemark_evidence_leaves_total", "counter", "leaves accepted into the ledger")
    for site in sorted(leaves)[:MOST_LISTED]:
        found.add(leaves[site], site=site)
    yield found
    last = max((head.received_us for head in heads), default=None)
    if last is not None:
        told = "when the last batch was accepted"
        yield _gauge("evidence_accepted_timestamp_seconds", told, last / _US_PER_S)
    yield from _quarantine(here)


def _quarantine(here: Sources) -> Iterator[Family]:
    with suppress(JoulemarkError), here.store() as store:
        messages: Counter[str] = Counter()
        kept: Counter[str] = Counter()
        agents, sees = here.agents, here.who.sees
        for row in store.quarantined():
            if sees(agents[row.agent]) if row.agent in agents else here.who.sites is None:
                messages[row.code] += row.messages
                kept[row.code] += row.kept
        name = "joulemark_quarantine_messages_total"
        total = Family(name, "counter", "messages refused for what they hold, since the beginning")
        now = Family("joulemark_quarantine_kept_messages", "gauge", "of them, messages still kept")
        for code in sorted(messages):
            total.add(messages[code], code=code)
            now.add(kept[code], code=code)
        yield total
        yield now


def _agents(here: Sources, heads: list[Head]) -> Iterator[Family]:
    now_s = here.now_us() / _US_PER_S
    seen_us: dict[str, int] = {}
    for head in heads:
        name = str(head.grant["agent"])
        seen_us[name] = max(seen_us.get(name, 0), head.received_us)
    known = {name: site for name, site in here.agents.items() if here.who.sees(site)}
    health = {one.agent: one for site in set(known.values()) for one in here.live.agents(site)}
    for name, one in health.items():
        seen_us[name] = max(seen_us.get(name, 0), one.received_us)
    late = sum(now_s - seen_us.get(name, 0) / _US_PER_S > _LATE_S for name in known)
    yield _gauge("agents", "agents that may send", len(known))
    yield _gauge("agents_late", f"of them, silent for more than {_LATE_S:.0f} s", late)
    yield _gauge("agents_not_listed", "of them, too many to list", max(len(known) - MOST_LISTED, 0))
    agent = {
        name: Family(f"joulemark_agent_{name}", "gauge", told)
        for name, told in (
            ("seen_timestamp_seconds", "when a batch or a word of its health last came"),
            ("unconfirmed_batches", "batches in its outbox without a receipt, as it said last"),
            ("outbox_used_bytes", "of its outbox, as it said last"),
            ("outbox_capacity_bytes", "of its outbox, as it said last"),
            ("clock_ahead_seconds", "its clock against ours as it said last, less the way here"),
            ("troubles", "things that it says are wrong"),
            ("lines_stuck", "lines to devices that it says are stuck"),
            ("certificate_expiry_timestamp_seconds", "end of its newest certificate"),
        )
    }  # fmt: skip
    expiry_s = _expiries(here)
    for name in sorted(known)[:MOST_LISTED]:
        labels = {"site": known[name], "agent": name}
        if name in seen_us:
            agent["seen_timestamp_seconds"].add(seen_us[name] / _US_PER_S, **labels)
        if name in expiry_s:
            agent["certificate_expiry_timestamp_seconds"].add(expiry_s[name], **labels)
        said = health.get(name)
        if said is None:
            continue
        outbox = said.content["outbox"]
        agent["unconfirmed_batches"].add(int(outbox["unconfirmed"]), **labels)
        agent["outbox_used_bytes"].add(int(outbox["used_bytes"]), **labels)
        agent["outbox_capacity_bytes"].add(int(outbox["capacity_bytes"]), **labels)
        ahead_s = (int(said.content["t_utc_us"]) - said.received_us) / _US_PER_S
        agent["clock_ahead_seconds"].add(ahead_s, **labels)
        agent["troubles"].add(len(said.content["troubles"]), **labels)
        agent["lines_stuck"].add(len(said.content["lines"]["stuck"]), **labels)
    yield from agent.values()


def _expiries(here: Sources) -> dict[str, float]:
    """Until when each agent has a certificate, of a collector that has an authority."""
    if here.settings is None:
        return {}
    found: dict[str, float] = {}
    with suppress(JoulemarkError), SiteCa(ca_folder(here.settings.state_dir)) as ca:
        for one in ca.records.issued():
            if one.revoked is None:
                until_s = one.until.astimezone(UTC).timestamp()
                found[one.name] = max(found.get(one.name, 0.0), until_s)
    return found


def _series(here: Sources, heads: list[Head]) -> Iterator[Family]:
    try:
        progress = here.series.progress()
    except JoulemarkError:
        yield _gauge("series_up", "1: the series can be read", 0)
        return
    behind = sum(max(head.size - progress.get(head.origin, 0), 0) for head in heads)
    yield _gauge("series_up", "1: the series can be read", 1)
    yield _gauge("series_behind_leaves", "leaves of the ledger that are not yet in it", behind)


def _projects(here: Sources) -> Iterator[Family]:
    seen = [one for one in here.savings.projects.values() if here.who.sees(one.site)]
    yield _gauge("projects_followed", "running projects that are kept up to date", len(seen))
    troubled = sum(one.trouble is not None for one in seen)
    yield _gauge("projects_troubled", "of them, such as stand still for a trouble", troubled)
    if here.who.sites is None:
        told = "files of projects that cannot be followed"
        yield _gauge("projects_unfollowed", told, len(here.savings.unfollowed))


def _ingest(here: Sources) -> Iterator[Family]:
    name = "joulemark_ingest_messages_total"
    found = Family(name, "counter", "messages since the start, by what became of them")
    refused = Family("joulemark_ingest_refused_total", "counter", "refused ones, by code")
    by_outcome: dict[str, int] = dict.fromkeys(get_args(Outcome), 0)
    for (outcome, code), count in sorted(here.tally.messages().items()):
        by_outcome[outcome] += count
        if outcome == "refused":
            refused.add(count, code=code)
    for name, count in by_outcome.items():
        found.add(count, outcome=name)
    yield found
    yield refused
    total = Family("joulemark_ingest_received_bytes_total", "counter", "payload since the start")
    total.add(here.tally.received_bytes)
    yield total


def _log(here: Sources) -> Iterator[Family]:
    with suppress(JoulemarkError), here.evidence.log(write=False) as book:
        size = book.edge().size
        heads = book.heads(max(size - _HEADS_BACK, 0))
        yield _gauge("log_leaves", "leaves of the collector's log", size)
        if heads:
            told = "when the log was last closed"
            yield _gauge("log_closed_timestamp_seconds", told, heads[-1].time_us / _US_PER_S)
            yield _gauge("log_unclosed_leaves", "leaves after that", size - heads[-1].size)
        named = () if here.settings is None else here.settings.log.witnesses
        behind = Family(
            "joulemark_witness_behind_leaves", "gauge", "leaves that the witness has not cosigned"
        )
        since = Family(
            "joulemark_witness_cosigned_timestamp_seconds",
            "gauge",
            "when the newest head was made that the witness has cosigned",
        )
        for witness in named:
            seen = book.cosigned_size(witness.name)
            behind.add(size - seen, witness=witness.name)
            head = book.head(seen) if seen else None
            if head is not None:
                since.add(head.time_us / _US_PER_S, witness=witness.name)
        yield behind
        yield since
        stamped: dict[str, int] = {}
        for token in book.tokens():
            stamped[token.authority] = max(stamped.get(token.authority, 0), token.time_us)
        stamps = Family(
            "joulemark_log_stamped_timestamp_seconds", "gauge", "when it was last time-stamped"
        )
        for authority, time_us in sorted(stamped.items()):
            stamps.add(time_us / _US_PER_S, authority=authority)
        yield stamps


def _disk(here: Sources) -> Iterator[Family]:
    folder = here.state_dir
    found = Family("joulemark_file_bytes", "gauge", "size of a file in state_dir")
    for name, path in (
        ("evidence", folder / EVIDENCE),
        ("evidence_wal", folder / f"{EVIDENCE}-wal"),
        ("series", folder / SERIES),
        ("access", folder / ACCESS),
    ):
        with suppress(OSError):
            found.add(path.stat().st_size, file=name)
    yield found
    with suppress(OSError):
        told = "room left on the disk of state_dir"
        yield _gauge("state_dir_free_bytes", told, shutil.disk_usage(folder).free)


def _process() -> Iterator[Family]:
    """Under the names that every program of Prometheus has for them."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = Family("process_cpu_seconds_total", "counter", "processor time of the collector")
    cpu.add(used.ru_utime + used.ru_stime)
    yield cpu
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        memory = Family("process_resident_memory_bytes", "gauge", "memory of the collector")
        memory.add(pages * os.sysconf("SC_PAGE_SIZE"))
        yield memory
    started = Family("process_start_time_seconds", "gauge", "when it started")
    started.add(_STARTED_S)
    yield started


def _gauge(name: str, told: str, value: float) -> Family:
    return _family(name, told, [(value, {})])


def _family(name: str, told: str, samples: list[tuple[float, dict[str, str]]]) -> Family:
    found = Family(f"joulemark_{name}", "gauge", told)
    for value, labels in samples:
        found.add(value, **labels)
    return found
