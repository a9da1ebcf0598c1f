"""`joulemark measure` and `joulemark report`: from a project file and the evidence to figures.

The project file is the measurement and verification plan, and one or two lines of wiring beside it:

| key | what it names |
|---|---|
| collector | the collector's file: evidence, keys and who is trusted come from there |
| evidence, trust, report_key | instead of it: the store, a policy file, the reporter's key |

Paths start from the project file's folder. Only the plan goes into the bundle.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import ConfigError, MeasureError
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_gateway.evidence.bundle import (
    PAGE,
    REPORT,
    Contents,
    TreeFiles,
    make_bundle,
)
from joulemark_gateway.evidence.history import parse_tree
from joulemark_gateway.measure.project import Project
from joulemark_gateway.reports.issue import Issued, issue
from joulemark_gateway.reports.provenance import Claims, predicate_of
from joulemark_gateway.reports.text import lines
from joulemark_gateway.software import VERSION, source_digest
from joulemark_gateway.verify import recompute
from joulemark_gateway.verify.policy import parse_policy, policy_of
from joulemark_gateway.verify.verdict import STEPS, verify

if TYPE_CHECKING:
    from joulemark_gateway.evidence.base import EvidenceStore

WIRING = ("collector", "evidence", "trust", "report_key")
BUNDLE, POLICY = "bundle.zip", "policy.json"


@dataclass(frozen=True)
class Wiring:
    """Where a project's evidence lies, and who signed it."""

    evidence: Path
    trust: Mapping[str, Any] | None  # a policy without the reporter; None: nobody is named
    report_key: bytes | None


@dataclass(frozen=True)
class Material:
    """All that a report is made of."""

    project: Project
    plan: bytes
    trees: Sequence[TreeFiles]
    documents: Mapping[str, bytes]
    quarantined: Mapping[str, int]


def add_command(subparsers: Any) -> None:
    """Add `joulemark measure` and `joulemark report`."""
    measure = subparsers.add_parser("measure", help="baseline, avoided energy, tCO2e, creditable")
    measure.add_argument("project", type=Path, metavar="PROJECT.yaml")
    measure.add_argument("--json", action="store_true", help="print one JSON document")
    measure.set_defaults(run=run_measure)
    report = subparsers.add_parser(
        "report",
        help="report.html, report.json, bundle.zip and policy.json",
        description="Writes report.html, report.json, bundle.zip and policy.json. A PDF is not "
        "made yet; report.html prints on A4.",
    )
    report.add_argument("project", type=Path, metavar="PROJECT.yaml")
    report.add_argument("--out", type=Path, required=True, metavar="DIR")
    report.set_defaults(run=run_report)


def run_measure(args: argparse.Namespace) -> int:
    """Print the measurement; 1 where the baseline proves nothing."""
    plan, wiring = load_project(args.project, needs_key=False)
    issued = _issued(gather(plan, wiring.evidence))
    if args.json:
        sys.stdout.write(issued.report_json.decode() + "\n")
    else:
        print("\n".join(lines(issued.report)))
    return 0 if issued.report["saving"] else 1


def run_report(args: argparse.Namespace) -> int:
    """Write the files of the report, or none of them where its own verifier would object."""
    plan, wiring = load_project(args.project, needs_key=True)
    material = gather(plan, wiring.evidence)
    issued = _issued(material)
    assert wiring.report_key is not None  # load_project saw to both
    assert wiring.trust is not None
    reporter = encode64(public_key(wiring.report_key))
    signers = {**wiring.trust, "reporters": [reporter]}
    contents = Contents(
        issued.report_json, issued.report_html, material.plan, material.documents, material.trees
    )
    bundle = make_bundle(contents, predicate_of(issued.provenance, signers), wiring.report_key)
    _check_before_issue(bundle, signers)
    files = {
        PAGE: issued.report_html,
        REPORT: issued.report_json,
        BUNDLE: bundle,
        POLICY: canonical_bytes(signers),
    }
    _write(args.out, files)
    print("\n".join(lines(issued.report)))
    print(f"\nwritten to {args.out}:")
    for name, data in files.items():
        print(f"  {name:<12} {len(data):>12,} bytes")
    print("  report.pdf   not made yet; report.html prints on A4")
    print(f"give {POLICY} to the verifier by another way than the bundle")
    return 0


def load_project(path: Path, *, needs_key: bool) -> tuple[bytes, Wiring]:
    """The canonical plan in a project file, and its wiring.

    Raises:
        ConfigError: every mistake with its line and what to do.
    """
    from joulemark_agent.contract.document import (  # noqa: PLC0415 - yaml is in the extra
        Document,
        document_bytes,
        parse_yaml,
        validate,
    )

    document = parse_yaml(_text(path), str(path))
    plan = {name: item for name, item in document.mapping.items() if name not in WIRING}
    validate(Project, Document(document.name, plan, document.lines))
    named = {name: document.mapping[name] for name in WIRING if name in document.mapping}
    for name, value in named.items():
        if not isinstance(value, str):
            line = document.line_of((name,))
            raise ConfigError(f"{path}:{line}: {name} is not a path.", "Write one path as text.")
    folder = path.absolute().parent
    paths = {name: folder / value for name, value in named.items()}
    return document_bytes(plan), _wiring(path, paths, needs_key=needs_key)


def gather(plan: bytes, evidence: Path) -> Material:
    """The evidence of the plan's devices: the latest epoch of each, up to its last cosigned head.

    Raises:
        ConfigError: there is no evidence of a device.
        StoreError: the store cannot be read.
    """
    from joulemark_gateway.evidence.store import SqliteStore  # noqa: PLC0415 - measuring alone

    project = Project.model_validate(parse_canonical(plan))
    devices = sorted({place.device for place in (project.energy, *project.drivers)})
    with SqliteStore(evidence, create=False) as store:
        trees = [_tree(store, project.site, device) for device in devices]
        grants = [store_head.grant for store_head in _heads(store, project.site, devices)]
        wanted = {digest for grant in grants for digest in grant["documents"].values()}
        documents = {key: data for key, data in store.documents().items() if key in wanted}
        agents = {"", *(grant["agent"] for grant in grants)}
        quarantined: dict[str, int] = {}
        for row in store.quarantined():
            if row.agent in agents:
                quarantined[row.code] = quarantined.get(row.code, 0) + row.messages
    return Material(project, plan, trees, documents, quarantined)


def _heads(store: EvidenceStore, site: str, devices: Sequence[str]) -> Iterator[Any]:
    for device in devices:
        head = store.latest(site, device)
        if head is None:
            raise ConfigError(
                f"There is no evidence of the device {device!r} at the site {site!r}.",
                "Check the ids in the project, and that the agent has sent something.",
            )
        yield head


def _tree(store: EvidenceStore, site: str, device: str) -> TreeFiles:
    [head] = _heads(store, site, [device])
    notes = [batch.note for batch in store.batches(head.origin) if batch.size <= head.size]
    return TreeFiles(device, head.epoch, store.leaves(head.origin, 0, head.size), notes)


def _issued(material: Material) -> Issued:
    witnessed = [(parse_tree(tree.leaves), tree.checkpoints) for tree in material.trees]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    claims = Claims(now, VERSION, source_digest(), material.quarantined)
    return issue(material.plan, witnessed, material.documents, claims)


def _check_before_issue(bundle: bytes, signers: Mapping[str, Any]) -> None:
    """A report its own verifier would refute is not issued."""
    steps = tuple(step for step in STEPS if step is not recompute.check)  # computed just now
    verdict = verify(bundle, policy_of(signers), steps)
    if verdict.findings:
        listed = "\n  ".join(f"{item.code}: {item.what}" for item in verdict.findings)
        raise MeasureError(
            f"No report is issued, the evidence does not hold:\n  {listed}\n",
            "Look at these places of the evidence; a report can be made of a period without them.",
            code="not_issued",
        )


def _wiring(path: Path, paths: Mapping[str, Path], *, needs_key: bool) -> Wiring:
    if "collector" in paths and not {"evidence", "trust"} & set(paths):
        return _of_collector(paths["collector"], paths.get("report_key"), needs_key=needs_key)
    if "collector" in paths or "evidence" not in paths:
        raise ConfigError(
            f"{path} does not say where the evidence is.",
            "Add 'collector: collector.yaml', or 'evidence', 'trust' and 'report_key'.",
        )
    if not needs_key:
        return Wiring(paths["evidence"], None, None)
    from joulemark_gateway.keys import load_key  # noqa: PLC0415 - only who signs needs keys

    if missing := [name for name in ("trust", "report_key") if name not in paths]:
        raise ConfigError(
            f"{path} names no {' and no '.join(missing)}.",
            "A report says who signed its evidence and is signed itself: add both paths.",
        )
    trust = parse_policy(_text(paths["trust"]).encode()).model_dump()
    return Wiring(paths["evidence"], trust, load_key(paths["report_key"]).private)


def _of_collector(file: Path, key: Path | None, *, needs_key: bool) -> Wiring:
    from joulemark_gateway.evidence.store import FILE  # noqa: PLC0415 - as below
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415 - the extra [gateway]

    settings = load_collector(file)
    evidence = settings.state_dir / FILE
    if not needs_key:
        return Wiring(evidence, None, None)
    from joulemark_gateway.keys import load_key, report_key, witness_key  # noqa: PLC0415 - as above

    signing = load_key(key) if key else report_key(settings.state_dir)
    witness = encode64(witness_key(settings.state_dir).public)
    trust = {
        "v": 1,
        "agents": [
            {
                "agent": row.agent,
                "site": row.site,
                "devices": list(row.devices),
                "key": row.key,
            }
            for row in settings.agents
        ],
        "operators": list(settings.operators),
        "witnesses": [{"name": settings.name, "key": witness}],
        "quorum": 1,
    }
    return Wiring(evidence, trust, signing.private)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Each file whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            part = folder / f".{name}.part"
            part.write_bytes(data)
            part.replace(folder / name)
    except OSError as error:
        raise ConfigError(
            f"The report cannot be written to {folder}: {error.strerror}.",
            "Check the folder, who may write to it, and the free space.",
        ) from error


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and who may read it."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error
