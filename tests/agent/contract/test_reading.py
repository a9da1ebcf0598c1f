"""Leaves: the record's bytes are those of the specification's own example."""

import pytest

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.reading import (
    Gap,
    Reading,
    Response,
    TimeQuality,
    event_leaf,
    gap_fields,
    gaps_merged,
    record_leaf,
    signed_grant,
)
from joulemark_agent.contract.signature import decode64, is_signed_by, public_key

EXAMPLE = (
    b'{"boot":7,"dev":"gx37-01","epoch":1,"q":{"pressure_pa":"stuck"},"raw":[["input",52,'
    b'"44bb8000"],["input",342,"000186a0"],["holding",16,"02bc"]],"seq":"104729",'
    b'"slot":"1795305600000000","t_mono_ns":"8123456789012","t_utc_us":"1795305600041250",'
    b'"tq":{"err_us":"1500","sync":"ntp"},"v":1,"val":{"energy_wh":"10000000",'
    b'"power_w":"1500","pressure_pa":"700000"}}'
)


def test_the_example_record_has_these_355_bytes():
    reading = Reading(
        "gx37-01",
        1795305600000000,
        1795305600041250,
        8123456789012,
        TimeQuality("ntp", 1500),
        (
            Response("input", 52, bytes.fromhex("44bb8000")),
            Response("input", 342, bytes.fromhex("000186a0")),
            Response("holding", 16, bytes.fromhex("02bc")),
        ),
    )
    leaf = record_leaf(
        reading,
        epoch=1,
        seq=104729,
        boot=7,
        values={"power_w": "1500", "energy_wh": "10000000", "pressure_pa": "700000"},
        quality={"pressure_pa": "stuck"},
    )

    assert leaf == EXAMPLE
    assert len(leaf) == 355


def test_an_events_own_fields_cannot_replace_the_common_ones():
    leaf = event_leaf("gap", "m", epoch=1, seq=3, fields={"seq": "9", "dev": "x", "cause": "c"})

    assert parse_canonical(leaf) == {
        "cause": "c", "dev": "m", "epoch": 1, "seq": "3", "type": "gap", "v": 1,
    }  # fmt: skip


def test_the_operator_signs_the_whole_grant():
    key = bytes(range(32))
    signed = signed_grant({"dev": "m", "epoch": 1}, key)

    assert is_signed_by(
        public_key(key), b'{"dev":"m","epoch":1}', decode64(signed["operator_signature"])
    )


@pytest.mark.parametrize(
    ("second", "merged"),
    [
        (Gap("m", 20, 20, 1, "timeout"), 1),
        (Gap("m", 30, 30, 1, "timeout"), 2),
        (Gap("m", 20, 20, 1, "refused"), 2),
        (Gap("n", 20, 20, 1, "timeout"), 2),
    ],
)
def test_neighbouring_gaps_of_one_cause_become_one(second, merged):
    gaps = gaps_merged([Gap("m", 0, 10, 2, "timeout"), second], 10)

    assert len(gaps) == merged
    assert sum(gap.slots for gap in gaps) == 3
    assert gap_fields(gaps[0])["slots"] == str(gaps[0].slots)
