"""Statements, manifests and files that were put together otherwise."""

from __future__ import annotations

from dataclasses import replace

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from support.bundles import (
    CLAIMS,
    Recipe,
)
from support.forgeries.base import (
    found_by,
    reporter_only,
)


@found_by("statement_signature")
def signed_by_another_reporter():
    return reporter_only()


@found_by("statement_heads")
def heads_in_the_statement():
    def claim(predicate):
        head = {**predicate["heads"][0], "size": "1"}
        return {**predicate, "heads": [head, *predicate["heads"][1:]]}

    return reporter_only(predicate=claim)


@found_by("documents_differ")
def documents_in_the_statement():
    return reporter_only(
        predicate=lambda predicate: {**predicate, "documents": predicate["documents"][1:]}
    )


@found_by("issued_early")
def issued_before_the_evidence():
    early = replace(CLAIMS, issued="2018-07-01T00:00:00Z")
    return reporter_only(claims=early)


@found_by("issued_early")
def issued_on_a_day_that_no_calendar_has():
    return reporter_only(claims=replace(CLAIMS, issued="2027-02-30T00:00:00Z"))


@found_by("issued_early")
def issued_at_a_time_in_another_form():
    """Some languages read it, and some do not."""
    return reporter_only(claims=replace(CLAIMS, issued="20261122T120000Z"))


@found_by("statement_subject")
def statement_of_another_bundle():
    other = Recipe(claims=replace(CLAIMS, issued="2026-11-23T00:00:00Z")).made_members()
    return reporter_only(end=lambda members: {**members, "statement.json": other["statement.json"]})


@found_by("bad_statement")
def statement_with_a_further_signature():
    def add(members):
        content = parse_canonical(members["statement.json"])
        content["signatures"] *= 2
        return {**members, "statement.json": canonical_bytes(content)}

    return reporter_only(end=add)


@found_by("file_extra")
def extra_file():
    name = f"documents/{'0' * 64}.json"
    return reporter_only(end=lambda members: {**members, name: b"{}"})


@found_by("file_unknown")
def extra_file_that_is_listed():
    return reporter_only(members=lambda members: {**members, "notes.txt": b"trust me"})


@found_by("file_missing")
def missing_file():
    return reporter_only(
        end=lambda members: {n: d for n, d in members.items() if n != "readme.txt"}
    )


@found_by("file_missing")
def missing_file_that_is_not_listed():
    return reporter_only(
        members=lambda members: {n: d for n, d in members.items() if n != "readme.txt"}
    )


@found_by("file_changed")
def changed_file():
    return reporter_only(end=lambda members: {**members, "readme.txt": b"All is well.\n"})
