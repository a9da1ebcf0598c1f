"""Time stamps in a bundle: checked where the policy knows the authority, said where not."""

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import encode64, parse_checkpoint, parse_note
from joulemark_gateway.evidence import timestamps
from joulemark_gateway.evidence.bundle import LOG_HEADS, open_bundle
from joulemark_gateway.evidence.container import container_bytes
from joulemark_gateway.evidence.timestamps import query
from joulemark_gateway.verify import anchors, manifest
from joulemark_gateway.verify.command import as_json, as_text
from joulemark_gateway.verify.policy import policy_of
from joulemark_gateway.verify.verdict import STEPS, verify
from support import authority as tsa
from support.bundles import Recipe, policy, policy_mapping
from support.flips import flipped
from support.log_recipes import LogRecipe
from support.present import present

pytestmark = pytest.mark.service


def authorities(*owners, name=tsa.NAME):
    certificates = [encode64(tsa.root_der(owner)) for owner in owners or ("stamping root",)]
    return {**policy_mapping(), "authorities": [{"name": name, "certificates": certificates}]}


@pytest.fixture(scope="module")
def stamped(tmp_path_factory, openssl):
    """A bundle of which both heads of the log were stamped, and the tokens."""
    assert openssl
    folder = tmp_path_factory.mktemp("authority")
    tokens = {}

    def stamp(files):
        for note in files.checkpoints:
            text = parse_note(note)[0]
            token = tsa.stamped(folder, query(text.encode())[0])
            tokens[parse_checkpoint(text).size, tsa.NAME] = token
        return replace(files, tokens=tokens)

    return Recipe(log=LogRecipe(files=stamp)).make(), tokens


def codes(data, mapping=None, steps=STEPS):
    trusted = policy_of(mapping or authorities())
    return {finding.code for finding in verify(data, trusted, steps).findings}


def with_tokens(tokens):
    return Recipe(log=LogRecipe(files=lambda files: replace(files, tokens=tokens))).make()


def test_a_stamped_log_is_verified_and_its_times_are_told(stamped):
    bundle, _ = stamped
    trusted = policy_of(authorities())
    verdict = verify(bundle, trusted)
    assert verdict.findings == ()
    times = [row["time"] for row in present(verdict.log)["time_stamps"]]
    assert len(times) == 2
    for text in times:
        assert abs((datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()) < 86_400
    told = "\n".join(as_text(verdict, trusted))
    assert f"time stamp of {tsa.NAME} over" in told
    assert times[0] in told
    report = verdict.report["account"]["time_stamps"]
    assert [row["authority"] for row in report] == [tsa.NAME] * 2


def test_an_authority_that_the_policy_does_not_know_is_said_to_be_unchecked(stamped):
    verdict = verify(stamped[0], policy())
    assert verdict.findings == ()
    assert [row["time"] for row in as_json(verdict)["log"]["time_stamps"]] == [None, None]
    assert "not checked: the policy does not know this authority" in "\n".join(
        as_text(verdict, policy())
    )
    assert codes(stamped[0], authorities(name="another-tsa")) == {"timestamp_missing"}


def test_a_policy_with_an_authority_asks_for_a_stamp():
    assert codes(Recipe().make()) == {"timestamp_missing"}


def test_tokens_of_others_over_others_or_twisted_are_found(stamped):
    bundle, tokens = stamped
    assert codes(bundle, authorities("another root")) == {"timestamp_bad"}
    (one, first), (other, second) = sorted(tokens.items())
    assert codes(with_tokens({one: second, other: first})) == {"timestamp_bad"}
    assert codes(with_tokens({one: first[:-1]})) == {"timestamp_bad"}
    assert codes(with_tokens({one: first, (one[0] + 1, tsa.NAME): first})) == {"timestamp_head"}


def test_a_log_that_was_stamped_before_it_says_to_have_been_written_is_found(tmp_path, openssl):
    """The stamp is of today, and the leaves under it claim to be of 2050."""
    assert openssl

    def later(leaf):
        return leaf.replace(b'"t_utc_us":"17', b'"t_utc_us":"25')

    def stamp(files):
        text = parse_note(files.checkpoints[-1])[0]
        token = tsa.stamped(tmp_path / "tsa", query(text.encode())[0])
        return replace(files, tokens={(parse_checkpoint(text).size, tsa.NAME): token})

    assert codes(Recipe(log=LogRecipe(leaf=later, files=stamp)).make()) == {"timestamp_early"}


def test_without_the_extra_nothing_is_decided_and_it_is_said(stamped, monkeypatch):
    monkeypatch.setattr(timestamps, "is_installed", lambda: False)
    trusted = policy_of(authorities())
    verdict = verify(stamped[0], trusted)
    assert (verdict.status, verdict.exit_code) == ("undecidable", 2)
    told = "\n".join(as_text(verdict, trusted))
    assert "timestamp_unchecked" in told
    assert "rfc3161-client, which is not installed" in told
    assert verify(stamped[0], policy()).exit_code == 0, "nobody asked for stamps"
    forged = {**authorities(), "quorum": 1, "log_quorum": 1, "log_witnesses": [
        {"name": "nobody", "key": encode64(b"n" * 32)}]}  # fmt: skip
    assert verify(stamped[0], policy_of(forged)).exit_code == 1, "what is decided stays decided"


def holds(token, message):
    try:
        return bool(timestamps.stamped_at(token, message, [tsa.root_der()]))
    except EvidenceError:
        return False


def test_every_flip_of_a_token_is_found_by_the_manifest_and_not_by_the_token_alone(stamped):
    """E1: the control leaves the manifest out, and what the token does not notice slips through."""
    bundle, tokens = stamped
    members = dict(open_bundle(bundle).members)
    (size, _), token = min(tokens.items())
    message = next(
        text.encode()
        for text in (parse_note(note)[0] for note in parse_canonical(members[LOG_HEADS]))
        if parse_checkpoint(text).size == size
    )
    bits = random.Random(1).sample(range(8 * len(token)), 8 * len(token))
    unnoticed = next(bit for bit in bits if holds(flipped(token, bit), message))
    name = f"anchors/{size}-{tsa.NAME}.tsr"
    for bit in [unnoticed, *bits[:60]]:
        data = container_bytes({**members, name: flipped(token, bit)})
        assert codes(data, steps=(manifest.check,)) == {"file_changed"}
    slipped = container_bytes({**members, name: flipped(token, unnoticed)})
    assert codes(slipped, steps=(anchors.check,)) == set(), "the control"
