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
from typing import Any

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.document import Document, document_bytes, parse_yaml, validate
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import encode64
from joulemark_agent.keys import load_key
from joulemark_gateway.evidence.base import EvidenceStore, Head
from joulemark_gateway.evidence.bundle import TreeFiles
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.keys import report_key, witness_key
from joulemark_gateway.measure.project import Project
from joulemark_gateway.verify.policy import parse_policy

WIRING = ("collector", "evidence", "trust", "report_key")


@dataclass(frozen=True)
class Signing:
    """Who signed the evidence, as a policy without the reporter, and the reporter's key."""

    trust: Mapping[str, Any]
    report_key: bytes = field(repr=False)


@dataclass(frozen=True)
class ProjectFile:
    """A project file without mistakes."""

    path: Path
    plan: bytes  # canonical
    wiring: Mapping[str, Path]

    def evidence(self) -> Path:
        """The evidence store."""
        if "evidence" in self.wiring:
            return self.wiring["evidence"]
        from joulemark_gateway.settings import load_collector  # noqa: PLC0415 - extra [gateway]

        return load_collector(self.wiring["collector"]).state_dir / FILE

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
        trust = parse_policy(_text(self.wiring["trust"]).encode()).model_dump()
        return Signing(trust, load_key(self.wiring["report_key"]).private)


@dataclass(frozen=True)
class Material:
    """All that a report is made of."""

    plan: bytes
    trees: Sequence[TreeFiles]
    documents: Mapping[str, bytes]
    quarantined: Mapping[str, int]


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
    """The evidence of the plan's devices: of each the latest epoch, up to its last receipt.

    Raises:
        ConfigError: there is no evidence of a device.
        StoreError: the store cannot be read.
    """
    plan = Project.model_validate(parse_canonical(project_file.plan))
    devices = sorted({place.device for place in (plan.energy, *plan.drivers)})
    with SqliteStore(project_file.evidence(), create=False) as store:
        heads = [_head(store, plan.site, device) for device in devices]
        trees = [_tree(store, device, head) for device, head in zip(devices, heads, strict=True)]
        wanted = {digest for head in heads for digest in head.grant["documents"].values()}
        documents = {key: data for key, data in store.documents().items() if key in wanted}
        senders = {"", *(head.grant["agent"] for head in heads)}
        quarantined: dict[str, int] = {}
        for row in store.quarantined():
            if row.agent in senders:
                quarantined[row.code] = quarantined.get(row.code, 0) + row.messages
    return Material(project_file.plan, trees, documents, quarantined)


def _head(store: EvidenceStore, site: str, device: str) -> Head:
    head = store.latest(site, device)
    if head is None:
        raise ConfigError(
            f"There is no evidence of the device {device!r} at the site {site!r}.",
            "Check the ids in the project, and that the agent has sent something.",
        )
    return head


def _tree(store: EvidenceStore, device: str, head: Head) -> TreeFiles:
    """The tree as of this head; what the collector adds meanwhile stays out."""
    notes = [batch.note for batch in store.batches(head.origin) if batch.size <= head.size]
    return TreeFiles(device, head.epoch, store.leaves(head.origin, 0, head.size), notes)


def _of_collector(file: Path, key: Path | None, site: str) -> Signing:
    """Who is trusted for this site; who else the collector serves is nobody's business."""
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415 - extra [gateway]

    settings = load_collector(file)
    signing = load_key(key) if key else report_key(settings.state_dir)
    witness = encode64(witness_key(settings.state_dir).public)
    trust = {
        "v": 1,
        "agents": [
            {"agent": row.agent, "site": row.site, "devices": list(row.devices), "key": row.key}
            for row in settings.agents
            if row.site == site
        ],
        "operators": list(settings.operators),
        "witnesses": [{"name": settings.name, "key": witness}],
        "quorum": 1,
    }
    return Signing(trust, signing.private)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and who may read it."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error
