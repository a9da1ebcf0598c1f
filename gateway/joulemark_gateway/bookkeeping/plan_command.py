"""`joulemark plan sign | register | show`: a plan that is there before its reporting period.

Adding the commands imports nothing heavy: what they need is imported when they run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulemark_agent.contract.errors import ConfigError

if TYPE_CHECKING:
    from joulemark_gateway.bookkeeping.plans import SignedPlan
    from joulemark_gateway.measure.project import Project
    from joulemark_gateway.reports.project_file import ProjectFile
    from joulemark_gateway.settings import CollectorSettings

MOST_BYTES = 4 * 1024 * 1024


def add_command(subparsers: Any) -> None:
    """Add `joulemark plan`."""
    parser = subparsers.add_parser("plan", help="sign a plan and register it in the log")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    sign = commands.add_parser(
        "sign",
        help="sign the plan of a project, and register it with the project's collector",
        description="Everything in the project file but its wiring is the plan. Registered before "
        "the reporting period starts, its reports show that it was there.",
    )
    _add_project(sign)
    sign.add_argument("--key", type=Path, required=True, metavar="FILE", help="the operator's")
    sign.add_argument("--author", required=True, metavar="NAME", help="who states the plan")
    sign.add_argument("--role", default="operator", metavar="TEXT", help="as what")
    sign.add_argument("--out", type=Path, metavar="FILE", help="write the signed plan as well")
    sign.set_defaults(run=run_sign)
    register = commands.add_parser("register", help="register a plan that was signed elsewhere")
    register.add_argument("file", type=Path, metavar="SIGNED.json")
    register.add_argument(
        "-c", "--config", type=Path, required=True, metavar="COLLECTOR.yaml",
        help="the collector's file",
    )  # fmt: skip
    register.set_defaults(run=run_register)
    show = commands.add_parser("show", help="the plan, its digest, and since when it is registered")
    _add_project(show)
    show.add_argument("--json", action="store_true", help="one JSON document")
    show.set_defaults(run=run_show)


def run_sign(args: argparse.Namespace) -> int:
    """Sign, write where asked, and register where the project names its collector."""
    from joulemark_agent.keys import load_key  # noqa: PLC0415 - as above
    from joulemark_gateway.bookkeeping.plans import (  # noqa: PLC0415
        require_operator,
        sign_plan,
    )
    from joulemark_gateway.reports.project_file import load_project  # noqa: PLC0415
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415

    project = load_project(args.project)
    collector = project.wiring.get("collector")
    if collector is None and args.out is None:
        raise ConfigError(
            f"{args.project} names no collector, whose log the plan would be registered in.",
            "Write 'collector: COLLECTOR.yaml', or sign to a file with --out and register that.",
        )
    operator = load_key(args.key)
    settings = load_collector(collector) if collector else None
    if settings is not None:
        require_operator(settings.operators, operator.public)
    signed = sign_plan(project.plan, operator.private, args.author, args.role)
    if settings is not None:
        _register(settings, signed)
    if args.out is not None:
        _write(args.out, signed.to_bytes() + b"\n")
        _tell([f"{args.out}: the plan {signed.registered.statement.plan_sha256}, signed"])
    return 0


def run_register(args: argparse.Namespace) -> int:
    """Register what an operator signed where the key is kept."""
    from joulemark_gateway.bookkeeping.plans import read_signed  # noqa: PLC0415 - as above
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415

    _register(load_collector(args.config), read_signed(_read(args.file)))
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Print the plan and its registration; 1 where it is not registered."""
    from joulemark_agent.contract.canonical import digest_hex, parse_canonical  # noqa: PLC0415
    from joulemark_gateway.measure.project import Project  # noqa: PLC0415
    from joulemark_gateway.reports.planned import plan_content  # noqa: PLC0415
    from joulemark_gateway.reports.project_file import load_project  # noqa: PLC0415

    file = load_project(args.project)
    plan = parse_canonical(file.plan)
    project = Project.model_validate(plan)
    digest = digest_hex(file.plan)
    said = plan_content(project, _dated(file, project, digest)).get("plan", {})
    registered = said.get("registered")
    if args.json:
        _tell([json.dumps({"plan": plan, "sha256": digest, "registered": registered})])
    else:
        _tell(_shown(project, digest, said))
    return 0 if registered else 1


def _shown(project: Project, digest: str, said: Mapping[str, Any]) -> Iterator[str]:
    """The plan for people; what it states besides, as reports print it, is in `said`."""
    yield f"{project.id} of {project.site}: {project.title}"
    yield f"digest     {digest}"
    yield f"baseline   {project.baseline.first} to before {project.baseline.end}"
    yield f"reporting  {project.reporting.first} to before {project.reporting.end}"
    for name in ("option", "boundary", "responsible"):
        if said.get(name) is not None:
            yield f"{name:<11}{said[name]}"
    for item in said.get("static_factors", []):
        how = ", estimated" if item["estimated"] else ""
        yield f"static     {item['name']}: {item['value']} {item['unit']} ({item['source']}{how})"
    registered = said.get("registered")
    if registered is None:
        yield "registered not yet: sign it with 'joulemark plan sign'"
        return
    seen = registered["cosigned_by"]
    yield f"signed     for {registered['author']} ({registered['role']})"
    yield f"registered {registered['logged']}, leaf {registered['log_leaf']} of the log"
    yield f"cosigned   {seen['name'] + ', ' + seen['time'] if seen else 'by nobody yet'}"
    yield f"plans      {registered['versions']} of this project in the log"


def _tell(lines: Iterable[str]) -> None:
    """Lines of which no text moves the cursor, whatever the plan holds."""
    shown = ("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines)
    sys.stdout.write("".join(f"{line}\n" for line in shown))


def _add_project(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("project", type=Path, metavar="PROJECT.yaml")


def _register(settings: CollectorSettings, signed: SignedPlan) -> None:
    from joulemark_gateway.bookkeeping.plans import register  # noqa: PLC0415 - as above
    from joulemark_gateway.bookkeeping.start import open_log  # noqa: PLC0415
    from joulemark_gateway.reports.planned import starts_us  # noqa: PLC0415
    from joulemark_gateway.reports.standing import close_log  # noqa: PLC0415

    now_us = time.time_ns() // 1000
    book = open_log(settings)
    try:
        head = register(book, settings.operators, signed, now_us)
    finally:
        book.store.close()
    statement, project = signed.registered.statement, signed.project
    lines = [
        f"registered the plan of {statement.project}, signed for {statement.author}",
        f"digest {statement.plan_sha256}, under the log's head of {head.size} leaves",
    ]
    if now_us >= starts_us(project):
        lines.append(
            f"The reporting period began on {project.reporting.first}: reports will warn that "
            "nothing shows the plan to be older (plan_not_dated_before)."
        )
    _tell(lines)
    close_log(settings)  # whoever sees the log sees this head now, if they can be reached


def _dated(file: ProjectFile, project: Project, digest: str) -> Any:
    from joulemark_gateway.bookkeeping.plans import account_of  # noqa: PLC0415 - as above
    from joulemark_gateway.evidence.ledger import Ledger, SqliteLedger  # noqa: PLC0415
    from joulemark_gateway.evidence.plans import dated  # noqa: PLC0415
    from joulemark_gateway.settings import load_collector  # noqa: PLC0415

    ledger: Ledger
    if "evidence" in file.wiring:
        ledger = SqliteLedger(file.wiring["evidence"])
    else:
        ledger = load_collector(file.wiring["collector"]).evidence
    with ledger.log(write=False) as store:
        account = account_of(store, project.site)
    return None if account is None else dated(account, digest)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and who may read it."
        ) from error


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.", "Name another file."
        ) from error
