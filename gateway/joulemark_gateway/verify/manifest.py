"""Step 1: every file is listed, no file is missing, none is extra, each has the hash it should."""

from __future__ import annotations

from joulemark_agent.contract.canonical import digest_hex, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_gateway.evidence.bundle import FORMAT, MANIFEST, REQUIRED, STATEMENT, is_known
from joulemark_gateway.verify.case import Case
from joulemark_gateway.verify.finding import Finding
from joulemark_gateway.verify.policy import Policy

LAYER = "manifest"


def check(case: Case, _policy: Policy | None) -> list[Finding]:
    """Files that are not what the manifest says, or not of this format.

    Codes: `manifest_unreadable`, `file_missing`, `file_extra`, `file_changed`, `file_unknown`.
    """
    members = case.bundle.members
    try:
        manifest = parse_canonical(members[MANIFEST])
        listed = manifest["files"]
        is_plain = set(manifest) == {"files", "format"} and isinstance(listed, dict)
    except (EvidenceError, TypeError, KeyError) as error:
        return [Finding("manifest_unreadable", f"{MANIFEST} cannot be read: {error}", LAYER)]
    if not is_plain:
        what = f"{MANIFEST} has other parts than a manifest"
        return [Finding("manifest_unreadable", what, LAYER)]
    form = case.bundle.format if case.bundle.format in REQUIRED else FORMAT
    there = {name for name in members if name not in {MANIFEST, STATEMENT}}
    findings = [
        Finding("file_missing", f"{name} is listed and not there", LAYER)
        for name in sorted(set(listed) - there)
    ]
    findings += [
        Finding("file_extra", f"{name} is there and not listed", LAYER)
        for name in sorted(there - set(listed))
    ]
    findings += [
        Finding("file_changed", f"{name} has another SHA-256 than listed", LAYER)
        for name in sorted(there & set(listed))
        if digest_hex(members[name]) != listed[name]
    ]
    findings += [
        Finding("file_missing", f"{name} is not there", LAYER)
        for name in sorted(REQUIRED[form] - set(listed) - set(members))
    ]
    findings += [
        Finding("file_unknown", f"a bundle has no member {name}", LAYER)
        for name in sorted(members)
        if not is_known(name, form)
    ]
    return findings
