"""Files that were handed out beside the bundle: each is one that the reporter signed.

A PDF shows what the page shows, but it cannot be rendered again without its library and in another
version; its digest in the statement is what ties it to the report.
"""

from __future__ import annotations

from collections.abc import Mapping

from joulemark_agent.contract.canonical import digest_hex
from joulemark_agent.contract.errors import EvidenceError
from joulemark_gateway.evidence.bundle import PAGE, RENDERINGS
from joulemark_gateway.verify.case import Case
from joulemark_gateway.verify.finding import Finding

LAYER = "beside"


def check(case: Case, files: Mapping[str, bytes]) -> list[Finding]:
    """Files that are neither a rendering in the statement nor the page; names do not count.

    The page is in the bundle, too; the step `manifest` says whether it is the one that was signed.

    Codes: `file_not_signed`.
    """
    statement = case.statement
    subjects = {} if isinstance(statement, EvidenceError) else statement.subjects
    signed = [digest for name, digest in subjects.items() if name in RENDERINGS]
    if PAGE in case.bundle.members and not isinstance(statement, EvidenceError):
        signed.append(digest_hex(case.bundle.members[PAGE]))
    return [
        Finding("file_not_signed", f"{name} is not a file that this report was signed with", LAYER)
        for name, data in sorted(files.items())
        if digest_hex(data) not in signed
    ]
