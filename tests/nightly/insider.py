"""An insider rewrites the past with the collector's database and every key on the site.

Who has the database, the agent's key, the collector's key (which cosigns heads and signs the log)
and the reporter's rewrites the evidence, signs and witnesses every tree again, logs it again and
issues the report anew. Without anything held elsewhere that is a good bundle: the control. One head
that the verifier has seen, or one witness that the insider does not have, refutes it.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from joulemark_agent.contract.reading import Response
from joulemark_agent.contract.signature import cosign, encode64, public_key
from joulemark_agent.kernels.decode import decode_responses
from joulemark_gateway.verify.policy import policy_of
from joulemark_gateway.verify.verdict import Verdict, verify
from support.bundles import Recipe, groups_of, policy_mapping, true_bundle
from support.evidence import COUNTER, METER, SEALED_US, SITE, Groups
from support.log_recipes import LogRecipe
from support.logs import FIRM, FIRM_KEY, ORIGIN
from support.plant import small
from support.rotations import rotated_often, signed_from

ROUNDS, FEW = 60, 4
SECRETARIAT, ITS_KEY = "secretariat", hashlib.sha256(b"secretariat").digest()
Rewrite = Callable[[random.Random], Recipe]


def fewer_watt_hours(draw: random.Random) -> Recipe:
    """The energy register shows less from some reading on."""
    groups = groups_of(METER)
    records = [leaf for group in groups for leaf in group if "raw" in leaf]
    less, first = draw.randrange(1, 9000), draw.randrange(1, len(records))
    for leaf in records[first:]:
        table, address, words = leaf["raw"][0]
        count = int(words[:16], 16)  # the first point of the profile: a counter of 64 bits
        leaf["raw"][0] = [table, address, f"{max(count - less, 0):016x}{words[16:]}"]
        _decode(leaf)
    return Recipe(groups={METER: groups})


def one_reading_less(draw: random.Random) -> Recipe:
    """A reading that never was: its slot is a gap."""
    groups, batch = groups_of(METER), draw.randrange(1, 8)
    at = draw.randrange(1, len(groups[batch]))
    slot = groups[batch][at].get("slot", groups[batch][at].get("first_slot"))
    if groups[batch][at].get("type") != "gap":
        groups[batch][at] = {
            "type": "gap", "cause": "timeout", "first_slot": slot, "last_slot": slot, "slots": "1",
        }  # fmt: skip
    else:
        groups[batch][at]["cause"] = "refused"
    return Recipe(groups={METER: groups})


def the_end_cut_off(draw: random.Random) -> Recipe:
    """The last batches were never sent."""
    cut = draw.randrange(1, 3)
    return Recipe(batches={METER: lambda batches: batches[:-cut]})


def a_key_of_his_own(draw: random.Random) -> Recipe:
    """The trees go on with a key that the insider made."""
    at, own = draw.randrange(0, 7), draw.randbytes(32)
    groups: dict[str, Groups] = {
        device: rotated_often(groups_of(device), device, [(at, own)]) for device in (METER, COUNTER)
    }
    return Recipe(groups=groups, sealing={"signer": signed_from((at, own))})


REWRITES: tuple[Rewrite, ...] = (
    fewer_watt_hours,
    one_reading_less,
    the_end_cut_off,
    a_key_of_his_own,
)


def _decode(leaf: dict[str, Any]) -> None:
    replies = [Response(t, address, bytes.fromhex(words)) for t, address, words in leaf["raw"]]
    leaf["val"], leaf["q"] = decode_responses(small().site.profile(METER), replies)


def seen(*origins: str) -> dict[str, Any]:
    """The policy of a verifier who has verified the true bundle once, and kept these heads."""
    heads = verify(true_bundle(), policy_of(policy_mapping())).heads
    kept = [head.model_dump() for head in heads if head.origin in origins]
    assert len(kept) == len(origins)
    return {**policy_mapping(), "heads": kept}


def with_two_witnesses() -> dict[str, Any]:
    """A policy that asks for the collector and the secretariat under every head."""
    witness = {"name": SECRETARIAT, "key": encode64(public_key(ITS_KEY))}
    mapping = policy_mapping()
    return {**mapping, "witnesses": [*mapping["witnesses"], witness], "quorum": 2}


def with_a_witness_of_the_log() -> dict[str, Any]:
    """A policy that asks for one outside witness of the collector's log."""
    firm = {"name": FIRM, "key": encode64(public_key(FIRM_KEY))}
    return {**policy_mapping(), "log_witnesses": [firm], "log_quorum": 1}


def defences() -> dict[str, tuple[dict[str, Any], str]]:
    """What a verifier may hold against the insider, and the code of the finding."""
    return {
        "the last head of the tree": (seen(f"joulemark/{SITE}/{METER}/1"), "known_head"),
        "the last head of the log": (seen(ORIGIN), "known_head"),
        "a second witness of every head": (with_two_witnesses(), "cosignature_missing"),
        "one witness of the log": (with_a_witness_of_the_log(), "log_cosignature_missing"),
    }


def _judged(bundle: bytes, mapping: dict[str, Any]) -> Verdict:
    return verify(bundle, policy_of(mapping))


def the_true_one_passes() -> None:
    """Every policy accepts the bundle that the plant, the collector and the witnesses made."""

    def witnessed(batches: list[Any]) -> list[Any]:
        at_s = SEALED_US // 1_000_000 + 60
        return [
            replace(b, checkpoint=cosign(ITS_KEY, SECRETARIAT, b.checkpoint, at_s)) for b in batches
        ]

    two = Recipe(batches={METER: witnessed, COUNTER: witnessed}).make()
    for name, (mapping, _) in defences().items():
        bundle = two if "second" in name else true_bundle()
        assert _judged(bundle, mapping).status == "verified", name


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Sixty rewritten pasts; `full=False` four."""
    the_true_one_passes()
    draw, rounds = random.Random(seed), ROUNDS if full else FEW
    passed, found = 0, dict.fromkeys(defences(), 0)
    for number in range(rounds):
        rewrite = REWRITES[number % len(REWRITES)]
        # The firm's key is not the insider's: its cosignature is what the new log lacks.
        bundle = replace(rewrite(draw), log=LogRecipe(cosigners={})).make()
        assert bundle != true_bundle()
        control = _judged(bundle, policy_mapping())
        assert control.status == "verified", (rewrite.__name__, control.findings)
        passed += 1
        for name, (mapping, code) in defences().items():
            verdict = _judged(bundle, mapping)
            codes = {finding.code for finding in verdict.findings}
            assert (verdict.exit_code, code in codes) == (1, True), (rewrite.__name__, name, codes)
            found[name] += 1
    return {
        "rewritten pasts that pass where nothing is held elsewhere (control)": f"{passed}/{rounds}",
        **{f"refuted with {name}": f"{count}/{rounds}" for name, count in found.items()},
    }
