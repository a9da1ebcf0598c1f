"""Every decoder, and what it may do with any bytes. The minutes are in tests/nightly/fuzz.py."""

import random

import pytest

from joulemark_agent.contract.errors import EvidenceError
from nightly import fuzz
from support.fuzz.harness import LIMIT_MB, Outcome, Target, drive
from support.fuzz.mutate import json_text, octets, words
from support.fuzz.run import MODULES, targets

WANTED = {  # what has a decoder of its own, and which targets stand for it
    "Modbus TCP": {"modbus_tcp_holding", "modbus_tcp_coil", "modbus_identification"},
    "Modbus RTU and ASCII": {"modbus_rtu", "modbus_ascii"},
    "SunSpec": {"sunspec_walk"},
    "OPC UA conversations": {"opcua_polled", "opcua_watched", "opcua_browsed", "opcua_offered"},
    "OPC UA values and locks": {"opcua_value", "opcua_certificate", "opcua_sealed"},
    "controllers over HTTP": {"elektronikon", "sigma_control"},
    "MQTT, to the collector": {
        "batch", "batch_columns", "sparse_batch", "signed_leaves", "leaf", "intake", "topic",
    },
    "MQTT, to the agent": {"receipt", "refusal"},
    "signed notes": {"signed_note"},
    "raw records": {"raw_request", "raw_file", "raw_lines"},
    "live values and health": {"live", "health"},
    "joining": {"application", "certificate_request", "enrolment_token"},
    "the collector's log and its witnesses": {"log_entry", "witness_request"},
    "Sparkplug": {"sparkplug"},
    "files of people": {
        "site_file", "collector_file", "profile_file", "scenario_file", "project_file",
    },
    "bundles": {"container", "bundle", "manifest", "statement", "policy"},
}  # fmt: skip


def test_every_decoder_has_a_target():
    names = [target.name for target in targets(MODULES)]

    assert len(names) == len(set(names))
    assert set(names) == set().union(*WANTED.values())


@pytest.mark.endurance
@pytest.mark.timeout(420)  # seconds of computing, beside others
@pytest.mark.parametrize("module", MODULES)
def test_no_bytes_make_a_decoder_fail(module):
    assert len(fuzz.shared(module, 1)) == len(targets([module])) + 1, "and all together"


@pytest.mark.endurance
def test_a_decoder_without_checks_fails():
    assert fuzz.control(fuzz.QUICK_CONTROL, 1).endswith("fails")


def _takes_everything(data: bytes) -> None:
    del data


def _breaks(data: bytes) -> None:
    if len(data) % 3 == 0:
        raise KeyError(len(data))
    if len(data) % 3 == 1:
        raise EvidenceError("No.", "")


def test_another_error_than_a_decoders_own_is_a_failure():
    outcome = drive(Target("breaks", lambda: [b"ab"], _breaks), seed=1, seconds=5.0, executions=200)

    with pytest.raises(AssertionError, match="KeyError"):
        outcome.check()


def test_memory_and_targets_that_refuse_nothing_are_failures():
    with pytest.raises(AssertionError, match="MB more"):
        Outcome("x", executions=2, refused=1, growth_mb=LIMIT_MB + 1).check()
    everything = drive(
        Target("all", lambda: [b"ab"], _takes_everything), seed=1, seconds=5.0, executions=50
    )
    with pytest.raises(AssertionError, match="none refused"):
        everything.check()


@pytest.mark.parametrize("mutate", [octets, json_text, words])
def test_the_same_seed_makes_the_same_inputs(mutate):
    data, corpus = b'{"a":[1,{"b":"c"}],"d":"e"}', [b'{"a":1}']
    one, other = (
        [mutate(rng, data, corpus) for _ in range(200)]
        for rng in (random.Random(7), random.Random(7))
    )

    assert one == other
    assert len(set(one)) > 100
