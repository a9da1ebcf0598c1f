"""Collector's logs that tell of another past, and leaves that stay away without leave."""

from __future__ import annotations

from dataclasses import replace

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.signature import (
    Checkpoint,
    cosign,
    encode64,
    parse_checkpoint,
    parse_note,
)
from joulemark_agent.contract.signature import public_key as public
from joulemark_agent.contract.sparse import withheld
from joulemark_gateway.evidence.bundle import LOG_HEADS, LOG_LEAVES, packed
from joulemark_gateway.evidence.entries import GRANT, heads_entry
from support.bundles import Recipe, policy_mapping, true_report
from support.evidence import FOREIGN, METER, SITE
from support.forgeries.base import LEAVES, found_by, reporter_only, unpacked
from support.log_recipes import LogRecipe
from support.logs import FIRM, FIRM_KEY


def logged(**parts):
    """The true evidence under another log; the report stays the true one."""
    return Recipe(log=LogRecipe(**parts), issued=true_report())


def with_files(change):
    """Another log in the bundle than the one that was made."""
    return logged(files=change)


def with_parts(change):
    """The same with other parts."""
    return with_files(lambda files: replace(files, parts=change(list(files.parts))))


def ours(parts):
    """Where the leaves of our site stand in the log."""
    return [at for at, part in enumerate(parts) if isinstance(part, bytes)]


def one_of_the_firm():
    """A policy that asks for the anchor firm under the newest head of the log."""
    firm = {"name": FIRM, "key": encode64(public(FIRM_KEY))}
    return {**policy_mapping(), "log_witnesses": [firm], "log_quorum": 1}


def seen_twice():
    """A policy with two heads of one size: the true one, and another that a verifier was shown."""
    mapping = seen_log()
    [true] = mapping["heads"]
    return {**mapping, "heads": [{**true, "root": encode64(bytes(32))}, true]}


def seen_log():
    """A policy with the newest head of the true log."""
    true = Recipe()
    head = parse_checkpoint(parse_note(true.made_log(true.made_batches()).checkpoints[-1])[0])
    row = {"origin": head.origin, "size": head.size, "root": encode64(head.root)}
    return {**policy_mapping(), "heads": [row]}


# --- the collector's log ------------------------------------------------------------------------


@found_by("log_missing")
def log_left_out():
    parts = {LOG_HEADS, LOG_LEAVES}
    return reporter_only(
        members=lambda members: {n: d for n, d in members.items() if n not in parts},
        issued=true_report(),
    )


@found_by("log_origin")
def log_of_another_collector():
    return logged(origin="joulemark/collector/elsewhere")


@found_by("log_signature")
def log_that_somebody_else_signed():
    return logged(key=FOREIGN.witness)


@found_by("log_order")
def log_rolled_back():
    return with_files(lambda f: replace(f, checkpoints=[*f.checkpoints, f.checkpoints[0]]))


@found_by("log_uncovered")
def log_without_its_newest_head():
    return with_files(lambda f: replace(f, checkpoints=f.checkpoints[:-1]))


@found_by("log_root")
def log_entry_changed_after_the_fact():
    def change(parts):
        at = ours(parts)[0]
        parts[at] = parts[at].replace(b'"t_utc_us":"1', b'"t_utc_us":"2')
        return parts

    return with_parts(change)


@found_by("log_sequence")
def log_entry_held_back():
    def hold_back(parts):
        at = ours(parts)[1]
        parts[at] = withheld([parts[at]], at)
        return parts

    return with_parts(hold_back)


@found_by("log_grant")
def grant_that_was_never_logged():
    def drop(closings):
        return [[e for e in entries if e.fields.get("what") != GRANT] for entries in closings]

    return logged(closings=drop)


@found_by("log_grant")
def grant_logged_as_something_else():
    """A kind of a later version that nobody reads approves nothing."""

    def change(leaf):
        content = parse_canonical(leaf)
        if content["type"] == "approval":
            content |= {"type": "poem", "minor": 1}
        return canonical_bytes(content)

    return logged(leaf=change)


@found_by("log_epoch")
def later_epoch_that_is_not_shown():
    def add(closings):
        later = heads_entry(SITE, [Checkpoint(f"joulemark/{SITE}/{METER}/2", 3, bytes(32))])
        return [*closings[:-1], [*closings[-1], later]]

    return logged(closings=add)


@found_by("log_cosignature_missing", one_of_the_firm)
def log_that_no_witness_saw():
    return logged(cosigners={})


@found_by("log_cosignature_missing", one_of_the_firm)
def log_cosigned_by_somebody_else():
    return logged(cosigners={FIRM: FOREIGN.witness})


def knows_the_firm():
    """A policy that knows the anchor firm, and is content without it."""
    return {**one_of_the_firm(), "log_quorum": 0}


@found_by("log_cosignature_missing", knows_the_firm)
def cosignature_of_the_firm_made_up():
    """The page of the report would say that the firm saw it."""
    return logged(cosigners={FIRM: FOREIGN.witness})


@found_by("log_cosignature_missing", knows_the_firm)
def second_cosignature_of_the_firm_made_up():
    """Beside a true one, and much earlier."""

    def add(files):
        *before, last = files.checkpoints
        return replace(files, checkpoints=[*before, cosign(FOREIGN.witness, FIRM, last, 1)])

    return with_files(add)


@found_by("known_head", seen_log)
def log_rewritten_with_every_key_of_the_collector():
    return logged(closings=lambda closings: [[*closings[0], *closings[1]]])


@found_by("known_head", seen_twice)
def log_that_was_seen_with_two_roots():
    return Recipe()


# --- leaves that are not here -------------------------------------------------------------------


def held_back(first, count):
    """Leaves of the meter's tree stood for by their cover."""

    def change(members):
        lines = unpacked(members)
        run = withheld(lines[first : first + count], first)
        parts = [*lines[:first], run, *lines[first + count :]]
        return {**members, LEAVES: packed(parts)}

    return Recipe(members=change, issued=true_report())


@found_by("withheld_refused")
def reading_held_back():
    return held_back(40, 1)


@found_by("lost_unexplained")
def batch_held_back():
    return held_back(99, 97)


@found_by("bad_sequence")
def grant_held_back():
    return held_back(0, 1)
