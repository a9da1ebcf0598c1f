"""`joulemark verify BUNDLE [--policy FILE] [--file FILE] [--json]`: base install, no network.

Adding the command imports nothing heavy: the verifier is imported when it runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.files import replace_file
from joulemark_gateway.evidence.container import MAX_BYTES

if TYPE_CHECKING:
    from joulemark_gateway.verify.policy import Policy
    from joulemark_gateway.verify.verdict import Verdict

DISABLE = "NUMBA_DISABLE_JIT"
UNCHECKED = "consistent; signers not checked"


def add_command(subparsers: Any) -> None:
    """Add `joulemark verify`."""
    parser = subparsers.add_parser(
        "verify",
        help="check a report's bundle offline",
        description="Recomputes every figure of a report from raw register words. Exit status: 0 "
        "verified, 1 refuted, 2 not a bundle or not decidable.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument(
        "--policy", type=Path, metavar="FILE", help="the keys you trust; without, none is checked"
    )
    parser.add_argument(
        "--file",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="a PDF or page that came with it: is it one that was signed? May be repeated",
    )
    parser.add_argument(
        "--raw",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="raw records that 'joulemark agent archive export' wrote: do they fit the cosigned"
        " heads, and give what was stated? May be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--remember",
        action="store_true",
        help="write the heads of what was verified into the policy: no later bundle may contradict",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify, print, and return the exit status.

    A verdict has few loops to compute, and a compiler takes more memory than a million values: they
    run as where numba is not installed, unless its own variable says otherwise.
    """
    if DISABLE not in os.environ:
        sys.modules.setdefault("numba", None)  # type: ignore[arg-type] # Python's word for "not"
    from joulemark_gateway.verify.policy import parse_policy  # noqa: PLC0415 - as above
    from joulemark_gateway.verify.verdict import verify  # noqa: PLC0415

    if args.remember and args.policy is None:
        raise ConfigError("'--remember' does not say where to.", "Add '--policy FILE'.")
    policy = None if args.policy is None else parse_policy(_read(args.policy))
    files = {str(path): _read(path) for path in args.file}
    raw = {str(path): _read(path) for path in args.raw}
    gc.disable()  # millions of rows are made, and none of them in a circle
    try:
        verdict = verify(_read(args.bundle), policy, files=files, raw=raw)
    finally:
        gc.enable()
    if args.json:
        print(json.dumps(as_json(verdict), indent=2, sort_keys=True, ensure_ascii=False))
    else:
        print("\n".join(as_text(verdict, policy)))
    if args.remember and policy is not None and verdict.status == "verified":
        _remember(args.policy, policy, verdict)
    return verdict.exit_code


def _remember(path: Path, policy: Policy, verdict: Verdict) -> None:
    """Keep the heads in the policy's file, which is replaced as a whole."""
    from joulemark_gateway.verify.policy import parse_policy  # noqa: PLC0415 - as above

    if parse_policy(_read(path)) != policy:
        raise ConfigError(
            f"{path} was changed while the bundle was verified; nothing was written to it.",
            "Run it again: what others remembered meanwhile has its say, too.",
        )
    content = policy.remembering(verdict.heads).model_dump(exclude_defaults=True)
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    try:
        replace_file(path, text.encode(), path.stat().st_mode & 0o777)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.",
            "Check who may write to it; the bundle is verified all the same.",
        ) from error


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict as one document."""
    report = verdict.report
    return {
        "status": verdict.status,
        "exit": verdict.exit_code,
        "verdict": _verdict(verdict),
        "signers": verdict.signers,
        "simulated": verdict.simulated,
        "keys": [{"role": role, "fingerprint": print_} for role, print_ in verdict.keys],
        "findings": [
            {"code": item.code, "layer": item.layer, "what": item.what} for item in verdict.findings
        ],
        "counts": verdict.counts,
        "log": verdict.log,
        "files": list(verdict.files),
        "coverage": list(report.get("coverage", [])),
        "headline": report.get("headline"),
    }


def as_text(verdict: Verdict, policy: Policy | None) -> Iterator[str]:
    """The verdict as lines; the first says how far it reaches.

    A line is printable whatever the bundle holds: nothing in it moves the cursor of a terminal.
    """
    for line in _lines(verdict, policy):
        yield "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in line)


def _lines(verdict: Verdict, policy: Policy | None) -> Iterator[str]:
    if verdict.status == "verified":
        if policy is None:
            yield from (UNCHECKED, *(["simulated"] if verdict.simulated else []))
        else:
            yield from ("verified", _verdict(verdict))
        by = "" if policy else ", by whom was not checked"
        yield from (f"{name} is as it was signed{by}" for name in verdict.files)
    else:
        yield verdict.status if policy else f"{verdict.status}; signers not checked"
        for finding in verdict.findings:
            yield f"{finding.code}: {finding.what}"
    counts = verdict.counts
    if counts:
        yield "evidence: " + ", ".join(
            f"{count} {name.replace('_', ' ')}" for name, count in counts.items()
        )
    if verdict.log is not None:
        yield from _log(verdict.log)
    elif verdict.status == "verified":
        yield "log: none is here; corrections, or later epochs, that were left out cannot be seen"
    yield from _report(verdict.report)
    for role, fingerprint in verdict.keys:
        yield f"{'trusted' if policy else 'claimed'} key, {role}: {fingerprint}"


def _log(seen: Any) -> Iterator[str]:
    names = ", ".join(f"{item['name']} at {item['time']}" for item in seen["witnesses"])
    others = f"; not checked: {', '.join(seen['unchecked'])}" if seen["unchecked"] else ""
    by = f"{names or 'nobody who was checked'}{others}"
    yield f"log {seen['origin']}: head of {seen['size']} leaves, cosigned by {by}"
    for stamp in seen["time_stamps"]:
        when = stamp["time"] or "not checked: the policy does not know this authority"
        yield f"time stamp of {stamp['authority']} over {stamp['size']} leaves of the log: {when}"
    if seen["corrections"]:
        yield f"corrections by operators: {seen['corrections']}"
    if "plan" in seen:
        yield from _plan(seen["plan"])
    if others := seen.get("other_plans"):
        digests = ", ".join(digest[:16] for digest in others)
        yield f"plan: not in the log, where others of its project stand: {digests}"


def _plan(plan: Any) -> Iterator[str]:
    by = f"{plan['author']} ({plan['role']})"
    yield f"plan {plan['sha256'][:16]}: signed by {by}, logged {plan['logged']} by the collector"
    if (seen := plan["cosigned"]) is not None:
        how = "checked" if seen["checked"] else "not checked"
        yield f"plan first cosigned by {seen['name']} at {seen['time']}, {how}"
        if not seen["checked"] and (other := plan["checked"]) is not None:
            yield f"plan first cosigned by {other['name']} at {other['time']}, checked"
    if (stamp := plan["stamped"]) is not None:
        yield f"plan first stamped by {stamp['authority']} at {stamp['time']}"
    if plan["versions"] > 1:
        yield f"plan: one of {plan['versions']} of its project that stand in the log"
    if plan["checked"] is None and plan["stamped"] is None:
        yield "plan: when it was there, the collector alone says"


def _report(report: Any) -> Iterator[str]:
    for stream in report.get("coverage", []):
        yield (
            f"coverage of {stream['device']} {stream['point']}: {stream['covered_percent']} % "
            f"measured, {stream['estimated_percent']} % estimated, "
            f"{stream['missing_percent']} % missing"
        )
    head = report.get("headline")
    if head:
        yield (
            f"avoided: {head['avoided_kwh']} ± {head['half_width_kwh']} kWh, {head['avoided_t']} ± "
            f"{head['half_width_t']} t CO2e ({head['confidence_percent']} %, policy "
            f"{head['sufficiency_policy']})"
        )
        override = (report.get("engine") or {}).get("override")
        if override is not None and override["passed_over"]:
            codes = ", ".join(override["passed_over"])
            yield f"overridden by {override['author']}: {codes} ({override['reason']})"
    elif report:
        yield f"avoided: none stated ({', '.join(report['refused_because'])})"


def _verdict(verdict: Verdict) -> str:
    if verdict.status != "verified":
        return verdict.status
    return "valid, simulated" if verdict.simulated else "valid"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and who may read it."
        ) from error
