"""What is proven of many records at once is what reading them one by one gives."""

import json
import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import joulemark_profiles
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import Reading, Response, TimeQuality, record_leaf
from joulemark_agent.documents import load_profile
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.plan import plan_requests
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.proven import ProvenRecords
from joulemark_gateway.evidence.record_block import proven

DEVICE, EPOCH, SLOT_US = "meter-1", 3, 1_800_000_000_000_000
GRANT = {"dev": DEVICE, "epoch": EPOCH, "site": "plant", "clock": "system", "first_slot": None}
SHIPPED = {name: load_profile(name)[0] for name in joulemark_profiles.names("devices")}
WORDS = [name for name, profile in SHIPPED.items() if profile.protocol in {"modbus", "sunspec"}]


def profile_of(*points, **fields):
    rows = [
        {"table": "holding", "address": 4 * i, "name": f"p{i}_v", **point}
        for i, point in enumerate(points)
    ]
    golden = [{"point": row["name"], "words": [0] * 4, "value": None} for row in rows]
    for row, one in zip(rows, golden, strict=True):
        one["words"] = [0] * max(int(row["type"][-2:]) // 16, 1)
    return Profile.model_validate(
        {"model": "some_points", "kind": "power_meter", "protocol": "modbus", "points": rows,
         "source": "made for the test", "confidence": "bench", "golden": golden, **fields}
    )  # fmt: skip


def leaf_of(profile, responses, seq, *, says=None, **fields):
    """The record of a reading; `says` changes its values and codes before it is written."""
    values, quality = decode_responses(profile, responses)
    if says is not None:
        says(values, quality)
    t_us = SLOT_US + seq * 1_000_000
    known = {"device": DEVICE, "slot_us": t_us, "t_utc_us": t_us + 20_000, "t_mono_ns": seq * 10**9}
    reading = Reading(
        **{**known, **fields}, time_quality=TimeQuality("ntp", 500), responses=tuple(responses)
    )
    return record_leaf(reading, epoch=EPOCH, seq=seq, boot=7, values=values, quality=quality)


def long_way(profile, leaves, first_seq=0):
    """The records as they are read one by one, each with what is wrong with it."""
    tree = history.parse_part(leaves, first_seq, GRANT, b"")
    history.check_decode(tree, profile)
    return tree


def check_proven(profile, leaves):
    """Every record that is proven is good, and says the same the long way; how many there are."""
    count = 0
    for block in proven(profile, DEVICE, EPOCH, dict(enumerate(leaves))):
        for row, seq in enumerate(block.seq.tolist()):
            [record] = long_way(profile, [leaves[seq]], seq).records
            for k, point in enumerate(profile.points):
                text, value = record.values.get(point.name), block.values[row, k]
                assert np.isnan(value) if text is None else value == float(text)
                assert block.codes[block.quality[row, k]] == record.quality.get(point.name)
                if text is not None:
                    assert int(value) == int(float(text).__trunc__())
            assert block.told[row] == len(record.values)
            count += 1
    if count:
        whole = history.parse_part(leaves, 0, GRANT, b"", profile=profile)
        assert isinstance(whole.records, ProvenRecords)
        plain = history.parse_part(leaves, 0, GRANT, b"")
        assert list(whole.records) == list(plain.records)
        assert whole.columns.sync == plain.columns.sync
        for mine, other in zip(whole.columns[:4], plain.columns[:4], strict=True):
            assert mine.tolist() == other.tolist()
        assert whole.records.instants() == [record.instant for record in plain.records]
    return count


@pytest.mark.parametrize("name", WORDS)
def test_of_every_shipped_profile_what_is_proven_is_what_is_read(name):
    profile, draw = SHIPPED[name], random.Random(name)
    asked = plan_requests(profile)
    leaves = []
    for seq in range(12):
        of_zeros = seq % 3 == 0
        responses = [
            Response(
                r.table,
                r.address,
                (struct.pack(">HH", r.address, r.count - 2) if r.table == "sunspec" else b"")
                + (bytes(2 * r.count) if of_zeros else draw.randbytes(2 * r.count))[
                    4 if r.table == "sunspec" else 0 :
                ],
            )
            for r in asked
        ]
        leaves.append(leaf_of(profile, responses if seq != 5 else responses[1:], seq))
    count = check_proven(profile, leaves)
    is_long = any(p.type == "float32" and p.offset for p in profile.registers)  # of a tiny float
    assert count >= 4 or is_long, "those of zeros have decimals of few digits"


def some_readings(values):
    data = [struct.pack(">IfHh", 10**6 + i, value, i, -i) for i, value in enumerate(values)]
    return [[Response("holding", 0, one)] for one in data]


ORDINARY = profile_of(
    {"type": "uint32", "name": "energy_wh", "scale": 10, "counter": True},
    {"type": "float32", "name": "power_w", "address": 2, "maximum": 10_000},
    {"type": "uint16", "name": "voltage_v", "address": 4, "scale": "0.1", "sentinels": [3]},
    {"type": "int16", "name": "temp_k", "address": 5, "scale": "0.01", "offset": "273.15"},
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(-(10**7), 10**7).map(lambda n: n / 1000), min_size=1, max_size=8))
def test_ordinary_records_are_proven_all_of_them(values):
    readings = some_readings(values)
    leaves = [leaf_of(ORDINARY, responses, seq) for seq, responses in enumerate(readings)]
    assert check_proven(ORDINARY, leaves) == len(leaves)


KINDS = ["uint16", "int16", "uint32", "int32", "uint64", "int64", "bcd32", "float16", "float32",
         "float64"]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    scale=st.sampled_from(["1", "0.001", "-10", "123456.789", "1e-20", "1e9", "1e30"]),
    offset=st.sampled_from(["0", "273.15", "-40", "0.000001"]),
    data=st.data(),
)
def test_of_every_type_a_decimal_that_is_almost_the_right_one_is_not_proven(
    kind, scale, offset, data
):
    """Its float64 may be the same: above 15 digits only the text can tell."""
    profile = profile_of({"type": kind, "scale": scale, "offset": offset})
    size = int(kind[-2:]) // 8
    raw = data.draw(
        st.one_of(
            st.binary(min_size=size, max_size=size),
            st.integers(0, 10**16 if size == 8 else 1000).map(
                lambda n: (n % (1 << 8 * size)).to_bytes(size, "big")
            ),
        )
    )
    good = leaf_of(profile, [Response("holding", 0, raw)], 0)
    check_proven(profile, [good])

    def almost(values, _):
        for name, text in values.items():
            shorter = f"{float(text):.15g}"
            wrong = data.draw(
                st.sampled_from([shorter, repr(float(text)), text + "0", text + "1", text[:-1]])
            )
            values[name] = text + "0" if wrong == text else wrong

    lied = leaf_of(profile, [Response("holding", 0, raw)], 0, says=almost)
    if lied != good:
        assert not proven(profile, DEVICE, EPOCH, {0: lied}) or not sum(
            block.seq.size for block in proven(profile, DEVICE, EPOCH, {0: lied})
        )


LEAF = leaf_of(ORDINARY, some_readings([1, 2, 3, 12_000])[3], 3)


def is_proven(leaf, seq=3, profile=ORDINARY, device=DEVICE, epoch=EPOCH):
    return any(block.seq.size for block in proven(profile, device, epoch, {seq: leaf}))


def is_good(leaf, seq=3):
    try:
        long_way(ORDINARY, [leaf], seq)
    except EvidenceError:
        return False
    return True


def test_the_record_that_is_damaged_below_is_proven_whole():
    assert is_proven(LEAF)
    assert b'"q":{"power_w":"range","voltage_v":"sentinel"}' in LEAF


def test_a_record_with_any_byte_changed_is_proven_only_where_it_is_good():
    proved = 0
    for at in range(len(LEAF)):
        for byte in (LEAF[at] ^ 1, LEAF[at] ^ 0x20, ord("0"), ord("9"), ord('"'), ord("}"), 0xFF):
            damaged = LEAF[:at] + bytes([byte]) + LEAF[at + 1 :]
            if damaged != LEAF and is_proven(damaged):
                assert is_good(damaged), damaged
                proved += 1
    assert proved, "a time of another digit is a good one"


def test_a_record_with_a_byte_more_or_less_is_proven_only_where_it_is_good():
    for at in range(len(LEAF)):
        shorter = LEAF[:at] + LEAF[at + 1 :]
        assert not is_proven(shorter) or is_good(shorter), shorter
        for more in (b"0", b" ", b",", b"-", b".", b"\n", b"\\"):
            longer = LEAF[:at] + more + LEAF[at:]
            assert not is_proven(longer) or is_good(longer), longer


def changed(**fields):
    return canonical_bytes({**parse_canonical(LEAF), **fields})


@pytest.mark.parametrize(
    "leaf",
    [
        json.dumps(parse_canonical(LEAF)).encode(),
        json.dumps(parse_canonical(LEAF), separators=(",", ":"), sort_keys=False)
        .replace('"boot":7,"dev":"meter-1"', '"dev":"meter-1","boot":7')
        .encode(),
        LEAF + b"}",
        LEAF[:-1] + b',"v":1}',
        LEAF[:-1] + b',"minor":1}',
        changed(dev="meter-2"),
        changed(epoch=4),
        changed(epoch="3"),
        changed(seq="4"),
        changed(seq="03"),
        changed(v=2),
        changed(boot=None),
        changed(boot="7"),
        changed(slot="-1"),
        changed(t_utc_us="9" * 19),
        changed(q={}),
        changed(val={}),
        changed(val={**parse_canonical(LEAF)["val"], "power_w": "12000.0"}),
        changed(val={**parse_canonical(LEAF)["val"], "power_w": "1.2e4"}),
        changed(val={**parse_canonical(LEAF)["val"], "power_w": "012000"}),
        changed(val={**parse_canonical(LEAF)["val"], "power_w": "+12000"}),
        changed(val={**parse_canonical(LEAF)["val"], "power_w": "12000."}),
        changed(val={**parse_canonical(LEAF)["val"], "more_w": "1"}),
        changed(raw=[["holding", 0, parse_canonical(LEAF)["raw"][0][2].upper()]]),
        changed(raw=[]),
    ],
)
def test_a_record_of_another_form_is_not_proven(leaf):
    assert leaf != LEAF
    assert not is_proven(leaf)


def test_a_zero_with_a_sign_is_not_proven():
    zero = leaf_of(ORDINARY, some_readings([0])[0], 0)
    assert is_proven(zero, 0)
    assert not is_proven(zero.replace(b'"power_w":"0"', b'"power_w":"-0"'), 0)


def test_records_of_several_forms_and_others_between_them_stay_in_order():
    asked = some_readings([1, 2, 3, 4, 5, 6])
    leaves = [leaf_of(ORDINARY, responses, seq) for seq, responses in enumerate(asked)]
    leaves[1] = leaf_of(ORDINARY, [], 1)
    leaves[4] = leaf_of(ORDINARY, [Response("input", 0, b"\0\1"), *asked[4]], 4)
    leaves[2] = canonical_bytes({**parse_canonical(leaves[2]), "boot": None})
    assert check_proven(ORDINARY, leaves) == 5
    tree = history.parse_part(leaves, 0, GRANT, b"", profile=ORDINARY)
    history.check_decode(tree, ORDINARY)
    assert [record.seq for record in tree.records] == list(range(6))
    assert [record.seq for record in tree.records[2:5]] == [2, 3, 4]


def test_one_record_that_lies_among_many_that_do_not_is_refused():
    asked = some_readings(range(9))
    leaves = [leaf_of(ORDINARY, responses, seq) for seq, responses in enumerate(asked)]
    lied = leaf_of(ORDINARY, asked[6], 6, says=lambda values, _: values.update(power_w="7"))
    leaves[6] = lied
    tree = history.parse_part(leaves, 0, GRANT, b"", profile=ORDINARY)
    with pytest.raises(EvidenceError, match="leaf 6 of") as caught:
        history.check_decode(tree, ORDINARY)
    assert caught.value.code == "decode_mismatch"


def test_a_profile_whose_values_have_no_fixed_length_proves_nothing():
    name = next(name for name in SHIPPED if name not in WORDS)
    assert not is_proven(LEAF, profile=SHIPPED[name])
