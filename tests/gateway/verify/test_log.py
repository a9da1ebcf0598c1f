"""The collector's log binds every tree, and others bind the log."""

from dataclasses import replace
from pathlib import Path

import pytest

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.signature import Checkpoint, encode64, public_key
from joulemark_agent.contract.sparse import withheld
from joulemark_gateway.evidence.entries import heads_entry
from joulemark_gateway.verify import log
from joulemark_gateway.verify.command import as_json, as_text
from joulemark_gateway.verify.policy import policy_of
from joulemark_gateway.verify.verdict import verify
from support.authority import root_der
from support.bundles import Recipe, policy, policy_mapping, true_bundle, true_report
from support.evidence import FOREIGN, KEYS, METER, SITE
from support.log_recipes import LogRecipe
from support.logs import FIRM, FIRM_KEY, ORIGIN
from support.present import present

FIRM_ROW = {"name": FIRM, "key": encode64(public_key(FIRM_KEY))}
OTHER_ROW = {"name": "secretariat", "key": encode64(public_key(b"s" * 32))}
GOLDEN_1 = Path(__file__).parents[2] / "golden" / "bundle-1.zip"


def asking(quorum=1, rows=(FIRM_ROW, OTHER_ROW), **more):
    """A policy: the collector, and one or more of these others."""
    return policy_of(
        {**policy_mapping(), "log_witnesses": list(rows), "log_quorum": quorum, **more}
    )


def codes(data, trusted=None):
    """What the layer of the log says; the others have their own tests."""
    return {item.code for item in verify(data, trusted or policy(), (log.check,)).findings}


def with_log(**changes):
    """A bundle with another log; its report does not follow suit, which this layer passes over."""
    return Recipe(issued=true_report(), log=LogRecipe(**changes)).make()


def with_closings(change):
    """A bundle with the entries of every closing changed."""
    return with_log(closings=lambda closings: [change(entries) for entries in closings])


def test_one_of_the_collector_and_one_of_others_can_be_asked_for():
    verdict = verify(true_bundle(), asking())
    assert verdict.status == "verified"
    assert [row["name"] for row in present(verdict.log)["witnesses"]] == [FIRM]
    told = "\n".join(as_text(verdict, asking()))
    assert f"cosigned by {FIRM} at 2025-01-01T01:00:01+00:00" in told
    assert as_json(verdict)["log"]["origin"] == ORIGIN
    assert codes(true_bundle(), asking(2)) == {"log_cosignature_missing"}
    both = {FIRM: FIRM_KEY, "secretariat": b"s" * 32}
    assert codes(with_log(cosigners=both), asking(2)) == set()


@pytest.mark.parametrize("cosigners", [{}, {FIRM: b"x" * 32}, {"someone": FIRM_KEY}])
def test_a_head_that_the_witness_did_not_cosign_is_not_enough(cosigners):
    bundle = with_log(cosigners=cosigners)
    assert codes(bundle) == set()
    assert codes(bundle, asking()) == {"log_cosignature_missing"}


def test_a_cosignature_over_an_older_head_is_not_enough():
    def strip(files):
        text, _, lines = files.checkpoints[-1].rpartition("\n\n")
        return replace(
            files,
            checkpoints=[*files.checkpoints[:-1], f"{text}\n\n{lines.splitlines()[0]}\n"],
        )

    assert codes(with_log(files=strip), asking()) == {"log_cosignature_missing"}


@pytest.mark.parametrize("trusted", [None, policy()])
def test_a_witness_that_nobody_checked_is_named_as_such(trusted):
    """The page of the report names it all the same."""
    verdict = verify(true_bundle(), trusted)
    seen = present(verdict.log)
    assert (seen["witnesses"], seen["unchecked"]) == ([], [FIRM])
    [told] = [line for line in as_text(verdict, trusted) if line.startswith("log ")]
    assert told.endswith(f"cosigned by nobody who was checked; not checked: {FIRM}")
    assert present(verify(true_bundle(), asking()).log)["unchecked"] == []


def test_a_bundle_without_a_log_says_what_it_cannot_show():
    verdict = verify(GOLDEN_1.read_bytes(), None, ())
    assert verdict.status == "verified"
    [told] = [line for line in as_text(verdict, None) if line.startswith("log")]
    assert "were left out" in told


def test_a_policy_that_asks_for_witnesses_of_the_log_refuses_the_format_without_one():
    golden = GOLDEN_1.read_bytes()
    assert codes(golden) == set()
    assert codes(golden, asking()) == {"log_missing"}
    stamped = [{"name": "tsa", "certificates": [encode64(root_der("stamping root"))]}]
    asked = policy_of({**policy_mapping(), "authorities": stamped})
    assert codes(golden, asked) == {"log_missing"}, "a log that is left out has no stamps to check"
    known = {"origin": ORIGIN, "size": 1, "root": encode64(bytes(32))}
    assert codes(golden, policy_of({**policy_mapping(), "heads": [known]})) == {"log_missing"}


@pytest.mark.parametrize("owner", [KEYS, FOREIGN])
def test_the_log_of_a_collector_that_nobody_trusts_is_none(owner):
    other = with_log(origin="joulemark/collector/other", key=owner.witness)
    assert codes(other) == {"log_origin"}
    mixed = with_log(
        files=lambda files: replace(
            files, checkpoints=[files.checkpoints[0].replace(ORIGIN, ORIGIN + "x"),
                                *files.checkpoints[1:]]
        )
    )  # fmt: skip
    assert "log_origin" in codes(mixed)


def test_the_collector_signs_every_head_itself():
    assert codes(with_log(key=b"k" * 32)) == {"log_signature"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda files: replace(files, parts=files.parts[:-1]), "log_root"),
        (lambda files: replace(files, parts=[*files.parts, files.parts[-1]]), "log_uncovered"),
        (lambda files: replace(files, parts=files.parts[::-1]), "log_root"),
        (lambda files: replace(files, checkpoints=files.checkpoints[:1]), "log_uncovered"),
        (lambda files: replace(files, checkpoints=files.checkpoints[::-1]), "log_order"),
        (lambda files: replace(files, checkpoints=[]), "bad_checkpoints"),
        (lambda files: replace(files, checkpoints=["rubbish"]), "bad_note"),
    ],
    ids=["leaf lost", "leaf twice", "turned", "head lost", "heads turned", "none", "rubbish"],
)
def test_leaves_and_heads_belong_together(change, code):
    assert codes(with_log(files=change)) == {code}


def test_a_head_without_its_leaf_is_not_passed_over():
    """The last head lost, and with it what it covers: the log would end before the trees do."""

    def older(closings):
        return closings[:1]

    assert codes(with_log(closings=older)) == {"log_head"}


# --- what the log says of trees -----------------------------------------------------------------


def test_a_tree_that_the_log_knows_longer_was_cut():
    def cut(batches):
        return batches[:-1]

    whole = LogRecipe().made(Recipe().made_batches())
    recipe = Recipe(batches={METER: cut}, log=LogRecipe(files=lambda _: whole))
    assert codes(recipe.make()) == {"log_head"}


def test_a_tree_that_the_log_never_knew_is_no_evidence():
    def forget(entries):
        return [entry for entry in entries if entry.kind != "heads" or entry.site != SITE]

    assert codes(with_closings(forget)) == {"log_head"}


def test_a_grant_that_was_never_logged_was_slipped_in():
    def forget(entries):
        return [entry for entry in entries if entry.fields.get("what") != "grant"]

    assert codes(with_closings(forget)) == {"log_grant"}


def test_a_later_epoch_that_is_kept_back_is_seen():
    later = heads_entry(SITE, [Checkpoint(f"joulemark/{SITE}/{METER}/2", 5, bytes(32))])
    assert codes(with_closings(lambda entries: [*entries, later])) == {"log_epoch"}


def test_other_devices_of_the_site_are_nobody_s_business():
    other = heads_entry(SITE, [Checkpoint(f"joulemark/{SITE}/boiler/2", 5, bytes(32))])
    assert codes(with_closings(lambda entries: [*entries, other])) == set()


def test_no_leaf_of_the_site_can_be_left_out_between_two_others():
    """A correction passed off as a leaf of somebody else leaves a hole in the numbers."""

    def hide(files):
        ours = [i for i, part in enumerate(files.parts) if isinstance(part, bytes)]
        parts = list(files.parts)
        at = ours[len(ours) // 2]
        leaf = parts[at]
        assert isinstance(leaf, bytes)
        parts[at] = withheld([leaf], at)  # every part of this log stands for one leaf
        return replace(files, parts=parts)

    assert codes(with_log(files=hide)) == {"log_sequence"}


def test_a_leaf_of_another_site_has_no_place_in_it():
    def other(leaf):
        content = parse_canonical(leaf)
        if content["type"] == "document":
            content["site"] = "pohang"
        return canonical_bytes(content)

    assert codes(with_log(leaf=other)) == {"log_sequence"}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"v": 2}, {"unknown_version"}),
        ({"more": "x"}, {"log_entry"}),
        ({"minor": 1, "more": "x"}, set()),
        ({"minor": 0}, {"log_entry"}),
        ({"type": "poem"}, {"log_entry"}),
        ({"type": "poem", "minor": 1}, set()),
    ],
)
def test_a_leaf_of_a_later_minor_version_is_kept_and_of_a_later_major_refused(change, found):
    def later(leaf):
        content = parse_canonical(leaf)
        return canonical_bytes({**content, **change} if content["type"] == "document" else content)

    assert codes(with_log(leaf=later)) == found


# --- what the verifier has seen before ----------------------------------------------------------


def test_a_head_of_the_log_that_was_seen_before_must_be_in_it():
    heads = {head.origin: head for head in verify(true_bundle(), policy()).heads}
    seen = heads[ORIGIN].model_dump()
    assert codes(true_bundle(), policy_of({**policy_mapping(), "heads": [seen]})) == set()
    other = {**seen, "root": encode64(bytes(32))}
    unknown = {**seen, "size": seen["size"] - 1}
    larger = {**seen, "size": seen["size"] + 1}
    for head in (other, unknown, larger):
        trusted = policy_of({**policy_mapping(), "heads": [head]})
        assert codes(true_bundle(), trusted) == {"known_head"}
