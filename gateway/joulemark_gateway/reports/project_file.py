"""A project file: the measurement and verification plan, and where its evidence lies.

| key beside the plan's | what it names |
|---|---|
| collector | the collector's file: evidence, keys and who is trusted come from there |
| evidence, trust, report_key | instead of it: the store, a policy file, the reporter's key |

Paths start from the project file's folder. Only the plan goes into the bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.document import Document, document_bytes, parse_yaml, validate
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.rotation import linked_keys
from joulemark_agent.contract.signature import Checkpoint, encode64
from joulemark_agent.contract.topics import parse_origin
from joulemark_agent.keys import load_key
from joulemark_gateway.evidence.account import LogFiles, read_account
from joulemark_gateway.evidence.base import EvidenceStore
from joulemark_gateway.evidence.bundle import TreeFiles
from joulemark_gateway.evidence.ledger import Ledger, SqliteLedger
from joulemark_gateway.evidence.log import excerpt
from joulemark_gateway.keys import report_key, witness_key
from joulemark_gateway.measure.project import Project
from joulemark_gateway.reports.standing import close_log, head_for
from joulemark_gateway.verify.policy import parse_policy

if TYPE_CHECKING:
    from joulemark_gateway.bookkeeping.settings import LogSettings

WIRING = ("collector", "evidence", "trust", "report_key")


@dataclass(frozen=True)
class Signing:
    """Who signed the evidence, as a policy without the reporter, and the reporter's key."""

    trust: Mapping[str, Any]
    report_key: bytes = field(repr=False)
    beyond: Mapping[str, Any] = field(default_factory=dict)  # what a policy says besides: limits


@dataclass(frozen=True)
class Source:
    """Where the evidence lies, and how many of whom must have seen the head of its log."""

    ledger: Ledger
    witnesses: frozenset[str] = frozenset()
    quorum: int = 0


@dataclass(frozen=True)
class ProjectFile:
    """A project file without mistakes."""

    path: Path
    plan: bytes  # canonical
    wiring: Mapping[str, Path]

    def source(self) -> Source:
        """The evidence store, as new as it can be had, and who must have seen its log.

        Raises:
            ConfigError: the collector's file or the policy cannot be used.
        """
        if "evidence" in self.wiring:
            if "trust" not in self.wiring:
                return Source(SqliteLedger(self.wiring["evidence"]))
            trust = parse_policy(_text(self.wiring["trust"]).encode())
            names = frozenset(item.name for item in trust.log_witnesses)
            return Source(SqliteLedger(self.wiring["evidence"]), names, trust.log_quorum)
        from joulemark_gateway.settings import load_collector  # noqa: PLC0415 - extra [gateway]

        settings = load_collector(self.wiring["collector"])
        close_log(settings)
        names = frozenset(item.name for item in settings.log.witnesses)
        return Source(settings.evidence, names, settings.log.quorum)

    def signing(self) -> Signing:
        """Who is trusted, and the key that signs the statement.

        Raises:
            ConfigError: a path is not named, or what it names cannot be used.
        """
        if "collector" in self.wiring:
            plan = Project.model_validate(parse_canonical(self.plan))
            return _of_collector(self.wiring["collector"], self.wiring.get("report_key"), plan.site)
        missing = [name for name in ("trust", "report_key") if name not in self.wiring]
        if missing:
            raise ConfigError(
                f"{self.path} names no {' and no '.join(missing)}.",
                "A report says who signed its evidence and is signed itself: add the paths.",
            )
        trust = parse_policy(_text(self.wiring["trust"]).encode())
        return Signing(trust.signers(), load_key(self.wiring["report_key"]).private, trust.beyond())


@dataclass(frozen=True)
class Material:
    """All that a report is made of."""

    plan: bytes
    trees: Sequence[TreeFiles]
    documents: Mapping[str, bytes]
    quarantined: Mapping[str, int]
    log: LogFiles  # of the collector, up to the head under which all this stands
    store: Ledger  # where the evidence lies


def load_project(path: Path) -> ProjectFile:
    """The plan in a project file, and its wiring.

    Raises:
        ConfigError: every mistake with its line and what to do.
    """
    document = parse_yaml(_text(path), str(path))
    plan = {name: item for name, item in document.mapping.items() if name not in WIRING}
    validate(Project, Document(document.name, plan, document.lines))
    wiring: dict[str, Path] = {}
    for name in WIRING:
        value = document.mapping.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            line = document.line_of((name,))
            raise ConfigError(f"{path}:{line}: {name} is not a path.", "Write one path as text.")
        wiring[name] = path.absolute().parent / value
    if ("collector" in wiring) == ("evidence" in wiring):
        raise ConfigError(
            f"{path} does not say in one way where the evidence is.",
            "Write either 'collector: collector.yaml', or 'evidence', 'trust' and 'report_key'.",
        )
    return ProjectFile(path, document_bytes(plan), wiring)


def gather(project_file: ProjectFile) -> Material:
    """The evidence of the plan's devices: of each the latest epoch, as the collector's log has it.

    Raises:
        ConfigError: there is no evidence of a device, or no head of the log that will do.
        StoreError: the store cannot be read.
    """
    plan = Project.model_validate(parse_canonical(project_file.plan))
    devices = sorted({place.device for place in (plan.energy, *plan.drivers)})
    source = project_file.source()
    with (
        source.ledger.reader() as store,
        source.ledger.log(write=False) as book,
    ):
        head = head_for(book, source.witnesses, source.quorum)
        log = excerpt(book, plan.site, head)
        logged = read_account(log).last_heads()
        heads = [_latest(logged, plan.site, device) for device in devices]
        trees = [_tree(store, head) for head in heads]
        grants = [held.grant for head in heads if (held := store.head(head.origin))]
        wanted = {digest for grant in grants for digest in grant["documents"].values()}
        documents = {key: data for key, data in store.documents().items() if key in wanted}
        senders = {"", *(grant["agent"] for grant in grants)}
        quarantined: dict[str, int] = {}
        for row in store.quarantined():
            if row.agent in senders:
                quarantined[row.code] = quarantined.get(row.code, 0) + row.messages
    return Material(project_file.plan, trees, documents, quarantined, log, source.ledger)


def _latest(logged: Mapping[str, Checkpoint], site: str, device: str) -> Checkpoint:
    """The head that was logged last of the device's highest epoch."""
    places = {parse_origin(origin): head for origin, head in logged.items()}
    epochs = [epoch for of, name, epoch in places if (of, name) == (site, device)]
    if not epochs:
        raise ConfigError(
            f"There is no evidence of the device {device!r} at the site {site!r}.",
            "Check the ids in the project, and that the agent has sent something.",
        )
    return places[site, device, max(epochs)]


def _tree(store: EvidenceStore, head: Checkpoint) -> TreeFiles:
    """The tree as of this head; what the collector adds meanwhile stays out."""
    _, device, epoch = parse_origin(head.origin)
    notes = [batch.note for batch in store.batches(head.origin) if batch.size <= head.size]
    return TreeFiles(device, epoch, store.parts(head.origin, 0, head.size), notes)


def _of_collector(file: Path, key: Path | None, site: str) -> Signing:
    """Who is trusted for this site; who else the collector serves is nobody's business."""
    from joulemark_gateway.registry import read_added  # noqa: PLC0415 - extra [gateway]
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415 - as above

    settings = load_collector(file)
    registry = read_added(settings.state_dir).to(settings.registry)
    with settings.evidence.reader() as store:
        rotations = store.rotations()
    signing = load_key(key) if key else report_key(settings.state_dir)
    witness = encode64(witness_key(settings.state_dir).public)
    trust = {
        "v": 1,
        "agents": [
            {
                "agent": agent.agent,
                "site": site,
                "devices": sorted(agent.devices),
                "key": encode64(one),
            }
            for agent in registry.agents.values()
            if agent.site == site
            for one in sorted(linked_keys(agent.key, rotations))
        ],
        "operators": list(settings.operators),
        "witnesses": [{"name": settings.name, "key": witness}],
        "quorum": 1,
        **_witnesses_of_log(settings.log),
    }
    revoked = [
        {"key": encode64(row.key), "origin": row.origin, "size": row.size}
        for row in registry.revoked
        if parse_origin(row.origin)[0] == site
    ]
    beyond = {"revoked": revoked, "authorities": _authorities(settings.log)}
    return Signing(trust, signing.private, {name: rows for name, rows in beyond.items() if rows})


def _witnesses_of_log(settings: LogSettings) -> dict[str, Any]:
    """Who else sees the log, and how many of them must; nothing where it is nobody."""
    if not settings.witnesses:
        return {}
    witnesses = [{"name": item.name, "key": item.key} for item in settings.witnesses]
    quorum = {"log_quorum": settings.quorum} if settings.quorum else {}
    return {"log_witnesses": witnesses, **quorum}


def _authorities(settings: LogSettings) -> list[dict[str, Any]]:
    """Who stamps the log, with the certificates that tell."""
    from joulemark_gateway.bookkeeping.start import others_of  # noqa: PLC0415 - [gateway]

    return [
        {"name": item.name, "certificates": [encode64(data) for data in item.certificates]}
        for item in others_of(settings).authorities
    ]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and who may read it."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error
