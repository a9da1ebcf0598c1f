"""The means to forge a bundle: one thing is changed, and all that follows is made anew."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.reading import Response
from joulemark_agent.kernels.decode import decode_responses
from support.bundles import (
    Recipe,
    groups_of,
    policy_mapping,
    true_report,
)
from support.evidence import FOREIGN, KEYS, METER
from support.plant import small


@dataclass(frozen=True)
class Forgery:
    """How a forged bundle is made, the code of the finding it deserves, and under which policy."""

    code: str
    make: Callable[[], Recipe]
    policy: Callable[[], dict[str, Any]]


MUTATIONS: dict[str, Forgery] = {}
PROFILE = small().site.of(METER)["profile"]
FACTORS = small().site.of(METER)["factors"]
BATCH = 4  # the batch most mutations touch; its leaf 10 is an ordinary record
LEAVES = f"evidence/{METER}/1/leaves.jsonl.gz"
NOTES = f"evidence/{METER}/1/checkpoints.json"


def found_by(code, policy=policy_mapping):
    """A forgery; `code` is what its layer must say under the policy."""

    def keep(make):
        assert make.__name__ not in MUTATIONS, make.__name__
        MUTATIONS[make.__name__] = Forgery(code, make, policy)
        return make

    return keep


def changed(change, device=METER, batch=BATCH, owner=FOREIGN, **more):
    """A recipe with one batch's leaves changed in place before they are hashed and signed."""
    groups = groups_of(device)
    change(groups[batch])
    return Recipe(owner=owner, groups={device: groups}, **more)


def reporter_only(**more):
    """A recipe that leaves the evidence as it is: only manifest and statement are made anew."""
    return Recipe(owner=KEYS, reporter=FOREIGN, **more)


def flip_word(leaf):
    """One bit of the energy counter's raw words."""
    table, address, words = leaf["raw"][0]
    leaf["raw"][0] = [table, address, words[:14] + f"{int(words[14:16], 16) ^ 1:02x}" + words[16:]]


def decoded_again(leaf, profile=None):
    """Values and quality that follow from the leaf's raw words."""
    replies = [
        Response(table, address, bytes.fromhex(hex_)) for table, address, hex_ in leaf["raw"]
    ]
    leaf["val"], leaf["q"] = decode_responses(profile or small().site.profile(METER), replies)


def gap_leaf(slot):
    return {"type": "gap", "cause": "timeout", "first_slot": slot, "last_slot": slot, "slots": "1"}


def edited_report(**paths):
    """The true report with figures replaced; names are paths with __ for a dot."""
    report = json.loads(true_report().report_json)
    for path, change in paths.items():
        *parents, name = path.split("__")
        place = report
        for parent in parents:
            place = place[parent]
        place[name] = change(place[name])
    return replace(true_report(), report=report, report_json=canonical_bytes(report))


def a_wh_more(text):
    return str(Decimal(text) + Decimal("0.001"))


def a_wh_less(text):
    return str(Decimal(text) - Decimal("0.001"))


def changed_note(index, change):
    """A recipe whose checkpoint notes have one changed; nobody signs the evidence again."""

    def change_one(batches):
        notes = list(batches)
        notes[index] = replace(notes[index], checkpoint=change(notes[index].checkpoint))
        return notes

    return reporter_only(batches={METER: change_one})


def forged_document(digest, change):
    """Another document under the name of an approved one."""
    content = parse_canonical(small().site.by_digest()[digest])
    change(content)
    return {digest: canonical_bytes(content)}


def unpacked(members):
    return gzip.decompress(members[LEAVES])[:-1].split(b"\n")
