"""Profiles: what makes no sense is refused when it is read."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import NodePoint, Point, Profile, SunspecPoint
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.documents import load_profile

POINT = {"name": "energy_wh", "table": "holding", "address": 0, "type": "uint32", "counter": True}
PROFILE = {
    "model": "m",
    "kind": "power_meter",
    "protocol": "modbus",
    "source": "a manual, page 7",
    "confidence": "manual",
    "points": [POINT],
    "golden": [{"point": "energy_wh", "words": [0, 1], "value": 1}],
}


@pytest.mark.parametrize(
    ("name", "unit"),
    [("power_w", "W"), ("energy_wh", "Wh"), ("flow_m3_s", "m3/s"), ("air_m3", "m3"),
     ("power", None), ("", None), ("x y_w", None), ("_w", None)],
)  # fmt: skip
def test_the_end_of_a_name_tells_its_unit(name, unit):
    assert unit_of(name) == unit


def test_a_scale_is_exact():
    point = Point.model_validate({**POINT, "counter": False, "scale": "0.1"})

    assert point.scale == Decimal("0.1")
    with pytest.raises(ValidationError, match="binary float"):
        Point.model_validate({**POINT, "counter": False, "scale": 0.1})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": "energy"}, "unit"),
        ({"type": "float32"}, "counter"),
        ({"scale": "0.5"}, "counter"),
        ({"address": 65535}, "beyond"),
        ({"address": -1}, "greater"),
        ({"colour": "red"}, "not permitted"),
        ({"counter": False, "scale": "x"}, "decimal"),
    ],
)
def test_a_point_that_makes_no_sense_is_refused(change, why):
    with pytest.raises(ValidationError, match=why):
        Point.model_validate({**POINT, **change})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"points": [POINT, POINT]}, "share a name"),
        ({"golden": [{"point": "x_w", "words": [0, 1], "value": 1}]}, "no points"),
        ({"golden": [{"point": "energy_wh", "words": [1], "value": 1}]}, "golden words"),
        ({"points": []}, "at least 1"),
        ({"rules": [{"rule": "all_zero", "result": "missing", "counters": ["x_wh"]}]}, "no points"),
        ({"source": "x"}, "at least 10"),
        ({"points": [{**POINT, "counter": False}],
          "rules": [{"rule": "all_zero", "result": "missing", "counters": ["energy_wh"]}]},
         "no counter"),
    ],
)  # fmt: skip
def test_a_profile_that_makes_no_sense_is_refused(change, why):
    assert Profile.model_validate(PROFILE)
    with pytest.raises(ValidationError, match=why):
        Profile.model_validate({**PROFILE, **change})


SUNSPEC = {"name": "generated_wh", "model": 103, "offset": 24, "type": "acc32"}
NODE = {"name": "gas_dm3", "node": "nsu=urn:x;s=gas", "type": "uint64"}
OF: dict[str, dict[str, Any]] = {
    "modbus": PROFILE,
    "sunspec": PROFILE | {
        "protocol": "sunspec",
        "points": [{**SUNSPEC, "scale_offset": 26, "counter": True}],
        "golden": [{"point": "generated_wh", "words": [0, 1, 0], "value": 1}],
    },
    "opcua": PROFILE | {
        "protocol": "opcua",
        "points": [{**NODE, "counter": True}],
        "golden": [{"point": "gas_dm3", "data": "01090100000000000000", "value": 1}],
    },
}  # fmt: skip


@pytest.mark.parametrize("protocol", OF)
@pytest.mark.parametrize("of", OF)
def test_a_point_is_of_its_profiles_protocol(protocol, of):
    points = OF[of]["points"]
    change = {"points": points, "golden": OF[of]["golden"]}
    if protocol == of:
        assert Profile.model_validate(OF[protocol]).points
    else:
        with pytest.raises(ValidationError, match=f"is a point of {of}, not {protocol}"):
            Profile.model_validate({**OF[protocol], **change})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"offset": 1}, "greater than or equal to 2"),
        ({"model": 0}, "greater than or equal to 1"),
        ({"model": 0xFFFF}, "less than or equal to 65534"),
        ({"scale_offset": 1}, "greater than or equal to 2"),
        ({"type": "string"}, "'length' is for the type string, and a string needs it"),
        ({"type": "int16", "length": 2}, "'length' is for the type string"),
        ({"type": "string", "length": 2}, "a string's name ends in '_text'"),
        ({"type": "int32", "counter": True}, "unsigned"),
        ({"type": "enum16", "counter": True}, "unsigned"),
        ({"type": "float32", "counter": True}, "'minimum: 0'"),
        ({"type": "acc32", "counter": True, "modulus": 9, "scale_offset": 9}, "may change"),
        ({"scale": "0.1", "counter": True}, "whole scale"),
        ({"table": "holding"}, "not permitted"),
        ({"address": 5}, "not permitted"),
        ({"sentinels": [0]}, "not permitted"),  # they belong to the type
    ],
)
def test_a_sunspec_point_that_makes_no_sense_is_refused(change, why):
    assert SunspecPoint.model_validate(SUNSPEC)
    with pytest.raises(ValidationError, match=why):
        SunspecPoint.model_validate({**SUNSPEC, **change})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"node": "ns=2;s=gas"}, "match"),  # an index is of one run of one server
        ({"node": "nsu=urn:x"}, "match"),
        ({"node": "nsu=;s=gas"}, "match"),
        ({"node": "nsu=urn:x;s="}, "match"),
        ({"node": "nsu=urn:x;i=gas"}, "'gas' is no identifier of kind 'i'"),
        ({"node": "nsu=urn:x;i=-1"}, "no identifier"),
        ({"node": "nsu=urn:x;i=4294967296"}, "no identifier"),
        ({"node": "nsu=urn:x;g=123"}, "no identifier"),
        ({"node": "nsu=urn:x;b=%%%"}, "no identifier"),
        ({"node": "nsu=urn:x;s=" + "g" * 512}, "at most 512"),
        ({"type": "string"}, "Input should be"),
        ({"type": "int64", "counter": True}, "unsigned"),
        ({"type": "bool", "counter": True}, "unsigned"),
        ({"scale": "0.5", "counter": True}, "whole scale"),
        ({"name": "gas"}, "unit"),
        ({"model": 103}, "not permitted"),
    ],
)
def test_a_node_that_makes_no_sense_is_refused(change, why):
    assert NodePoint.model_validate(NODE)
    with pytest.raises(ValidationError, match=why):
        NodePoint.model_validate({**NODE, **change})


@pytest.mark.parametrize(
    "node",
    [
        "nsu=urn:x;i=0",
        "nsu=urn:x;i=4294967295",
        "nsu=http://example.org/UA/;s=a;b=c",
        "nsu=urn:x;g=09087E75-8E5E-499B-954F-F2A9603DB28A",
        "nsu=urn:x;b=AQID",
    ],
)
def test_every_kind_of_identifier_can_be_written(node):
    assert NodePoint.model_validate({**NODE, "node": node}).node == node


@pytest.mark.parametrize(
    ("protocol", "row", "why"),
    [
        ("sunspec", {"words": [0, 1]}, "another number"),  # without its scale factor
        ("sunspec", {"data": "00000001"}, "sunspec has 'words'"),
        ("opcua", {"words": [0]}, "opcua has 'data'"),
        ("opcua", {"text": "1"}, "opcua has 'data'"),
        ("opcua", {}, "has 'words', or 'data'"),
        ("opcua", {"data": "01", "words": [0]}, "has 'words', or 'data'"),
        ("opcua", {"data": "0"}, "match"),
        ("opcua", {"data": "0G"}, "match"),
    ],
)
def test_a_golden_row_has_the_bytes_of_its_protocol(protocol, row, why):
    name = OF[protocol]["golden"][0]["point"]
    with pytest.raises(ValidationError, match=why):
        Profile.model_validate({**OF[protocol], "golden": [{"point": name, "value": 1, **row}]})


def test_a_mistake_in_any_kind_of_point_is_told_at_its_line(tmp_path):
    """The union of three kinds of points adds no words of its own to the path."""
    path = tmp_path / "mixed.yaml"
    path.write_text(
        """model: mixed
kind: furnace
protocol: opcua
source: made up by a test
confidence: bench
points:
  - {name: a_k, node: "nsu=urn:x;s=a", type: float64}
  - {name: b_k, node: "ns=2;s=b", type: float64}
  - {name: c_k, model: 103, offset: 1, type: int16}
  - {name: d_k, table: holding, address: 1, type: int17}
  - name: e_k
    node: "nsu=urn:x;s=e"
    type: float64
    unit: 1
golden:
  - {point: a_k, data: "01010a", value: 1}
"""
    )
    with pytest.raises(ConfigError) as caught:
        load_profile(str(path))
    told = [line.strip() for line in caught.value.what.splitlines() if "mixed.yaml:" in line]

    assert [line.partition(" ")[0] for line in told] == [
        f"{path}:8:", f"{path}:9:", f"{path}:10:", f"{path}:14:",
    ]  # fmt: skip
    assert [line.split()[1].rstrip(":") for line in told] == [
        "points.1.node", "points.2.offset", "points.3.type", "points.4.unit",
    ]  # fmt: skip


WORD = {"name": "power_w", "table": "holding", "address": 10, "type": "uint16"}
BIT = {"name": "running_state", "type": "bit", "bit": 0}
STRING = {"name": "model_text", "type": "string", "length": 8}
COUNTER = {"name": "energy_wh", "type": "uint32", "counter": True}


@pytest.mark.parametrize(
    "change",
    [
        {"direction": "import", "byte_order": "BADC", "offset": "-1.5", "sentinels": [0xFFFF]},
        {"disputed": "one source says export", "scale_register": {"address": 9}},
        {"scale_register": {"address": 11, "type": "int16"}},
        {"type": "uint64", "byte_order": "EFGHABCD"},
        {"type": "float64", "byte_order": "CDABGHEF"},
        {"type": "int64", "byte_order": "GHEFCDAB"},
        {"type": "float16"},
        {"name": "outlet_k", "offset": "273.15"},
        {**BIT, "bit": 15, "table": "input", "byte_order": "BADC"},
        {**STRING, "byte_order": "BADC"},
        {**COUNTER, "type": "bcd32", "modulus": 10**8, "quantum": 100, "scale": 100},
        {**COUNTER, "daily": True, "direction": "generation"},
        {**COUNTER, "type": "float32", "minimum": 0, "scale": "0.5", "maximum_rate": "27.8"},
        {**COUNTER, "false_zero": True, "stuck_s": 10800},
        {**COUNTER, "type": "int64", "minimum": 0},
        {**COUNTER, "modulus": 1 << 32},
    ],
)  # fmt: skip
def test_what_the_maps_of_real_devices_need_can_be_written(change):
    assert Point.model_validate({**WORD, **change})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"bit": 3}, "'bit' is for the type bit"),
        ({"type": "bit"}, "a bit needs it"),
        ({**BIT, "bit": 16}, "less than or equal to 15"),
        ({**BIT, "table": "coil"}, "its type is uint16"),
        ({**BIT, "scale_register": {"address": 0}}, "no scale register"),
        ({"length": 2}, "'length' is for the type string"),
        ({"name": "model_text", "type": "string"}, "a string needs it"),
        ({**STRING, "length": 126}, "less than or equal to 125"),
        ({**STRING, "name": "model_state"}, "ends in '_text'"),
        ({"name": "power_text"}, "ends in '_text', and no other"),
        ({**STRING, "scale": 10, "maximum": 5}, "no number: remove maximum, scale"),
        ({**STRING, "byte_order": "DCBA"}, "ABCD, or BADC"),
        ({**STRING, "address": 0xFFFF}, "beyond"),
        ({"byte_order": "AB"}, "Input should be"),
        ({"byte_order": "EFGHABCD"}, "an order of 64 bits"),
        ({"type": "uint32", "byte_order": "GHEFCDAB"}, "an order of 64 bits"),
        ({"byte_order": "ABCD", "word_order": "little"}, "write one of them"),
        ({"table": "coil", "byte_order": "BADC"}, "no byte order"),
        ({"table": "coil", "scale_register": {"address": 0}}, "no scale register"),
        ({"scale_register": {"address": 10}}, "one of the point's own words"),
        ({"scale_register": {"address": 0x10000}}, "less than or equal to 65535"),
        ({"scale_register": {"address": 9, "type": "uint16"}}, "int16"),
        ({"scale_register": {"address": 9, "table": "input"}}, "not permitted"),
        ({"direction": "up"}, "Input should be"),
        ({"name": "front_v", "direction": "import"}, "only power and energy"),
        ({"offset": 0.1}, "binary float"),
        ({"sentinels": [-1]}, "without a sign, such as 0x8000"),
        ({"sentinels": [0x10000]}, "without a sign"),
        ({"daily": True}, "are of a counter"),
        ({"modulus": 100}, "are of a counter"),
        ({**COUNTER, "offset": 1}, "no offset"),
        ({**COUNTER, "modulus": 1}, "greater than or equal to 2"),
        ({**COUNTER, "modulus": (1 << 32) + 1}, "cannot count to a modulus"),
        ({**COUNTER, "quantum": 0}, "greater than 0"),
        ({**COUNTER, "type": "int32"}, "with a 'minimum' of 0"),
        ({**COUNTER, "type": "int32", "minimum": -1}, "with a 'minimum' of 0"),
        ({**COUNTER, "type": "float32"}, "'minimum: 0'"),
        ({**COUNTER, "type": "float32", "minimum": 0, "modulus": 9}, "a float has no modulus"),
        ({**COUNTER, "modulus": 9, "scale_register": {"address": 9}}, "may change"),
        ({**COUNTER, "daily": True, "false_zero": True}, "a daily counter starts at 0"),
    ],
)
def test_a_register_that_is_written_wrong_is_refused_with_what_to_write(change, why):
    with pytest.raises(ValidationError, match=why):
        Point.model_validate({**WORD, **change})


PHASES = [{**WORD, "name": f"power_l{i}_w", "address": 20 + i} for i in range(1, 4)]
WHOLE = PROFILE | {
    "points": [POINT, WORD, *PHASES, {**WORD, **STRING, "address": 40}],
    "sentinels": {"uint16": [0xFFFF], "int32": [0x7FFFFFFF]},
    "identify": [
        {"table": "holding", "address": 0xFC02, "type": "uint16", "equals": 0x70, "note": "n"},
        {"table": "input", "address": 0, "type": "string", "length": 4, "one_of": ["A", "1"]},
        {"table": "input", "address": 0, "type": "bit", "bit": 1, "one_of": [1]},
    ],
    "checks": [
        {"rule": "sum_of_phases", "total": "power_w",
         "parts": [point["name"] for point in PHASES], "tolerance_ratio": "0.05"},
        {"rule": "rate", "counter": "energy_wh", "power": "power_w", "tolerance_ratio": "0.1"},
        {"rule": "monotonic", "counter": "energy_wh"},
    ],
    "quirks": [{"text": "waits a second", "source": "evcc"}],
    "serial": {"baud": 9600, "parity": "none", "stop_bits": 1},
    "confidence": "second_hand",
}  # fmt: skip


def test_what_is_known_of_a_device_besides_its_points_is_data():
    made = Profile.model_validate(WHOLE)

    assert [rule.expected for rule in made.identify] == [
        (Decimal(0x70),),
        ("A", "1"),
        (Decimal(1),),
    ]
    assert [check.names[0] for check in made.checks] == ["power_w", "energy_wh", "energy_wh"]
    assert made.registers[1].sentinels == (0xFFFF,)
    assert made.registers[0].sentinels == ()
    assert hash(made) == hash(Profile.model_validate(WHOLE))  # decoders are kept by profile


def test_a_profile_that_says_no_more_than_before_is_what_it_was():
    made = Profile.model_validate(PROFILE)

    assert (made.sentinels.model_fields_set, made.identify, made.checks) == (set(), (), ())
    assert (made.quirks, made.serial) == ((), None)
    point = made.registers[0]
    assert (point.order, point.offset, point.span) == ("ABCD", Decimal(0), (0, 2))
    assert not point.disputed


RULE = {"table": "holding", "address": 1, "type": "uint16", "equals": 1}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sentinels": {"uint17": [1]}}, "not permitted"),
        ({"sentinels": {"string": [1]}}, "not permitted"),
        ({"sentinels": {"uint16": [0x10000]}}, "without a sign, such as 0x8000"),
        ({"sentinels": {"int32": [-1]}}, "without a sign, such as 0x80000000"),
        ({"identify": [{**RULE, "one_of": [1]}]}, "either 'equals' or 'one_of'"),
        ({"identify": [{**RULE, "equals": None}]}, "either 'equals' or 'one_of'"),
        ({"identify": [{**RULE, "equals": "SDM"}]}, "'SDM' is not a decimal number"),
        ({"identify": [{**RULE, "type": "string", "length": 1}]}, "put quotes around 1"),
        ({"identify": [{**RULE, "address": 0xFFFF, "type": "uint32"}]}, "beyond"),
        ({"identify": [{**RULE, "scale": 10}]}, "not permitted"),
        ({"checks": [{"rule": "sum"}]}, "a 'rule' is sum_of_phases, rate, monotonic or at_most"),
        ({"checks": ["sum_of_phases"]}, "a 'rule' is sum_of_phases, rate, monotonic or at_most"),
        ({"checks": [{"rule": "monotonic", "counter": "x_wh"}]}, r"no points .*'x_wh'"),
        ({"checks": [{"rule": "monotonic", "counter": "energy_wh", "power": "power_w"}]},
         "not permitted"),
        ({"checks": [{"rule": "rate", "counter": "power_w", "power": "energy_wh"}]}, "Wh and W"),
        ({"checks": [{"rule": "sum_of_phases", "total": "energy_wh",
                      "parts": ["power_l1_w", "power_l2_w"]}]}, "not of one unit"),
        ({"checks": [{"rule": "sum_of_phases", "total": "power_w", "parts": ["power_l1_w"]}]},
         "at least 2"),
        ({"checks": [{"rule": "sum_of_phases", "total": "power_w",
                      "parts": ["power_l1_w", "power_l2_w"], "tolerance_ratio": 5}]},
         "less than 1"),
        ({"quirks": [{"text": "waits a second"}]}, "required"),
        ({"serial": {"baud": 9600, "parity": "N", "stop_bits": 1}}, "'none', 'even' or 'odd'"),
        ({"serial": {"baud": 9600, "parity": "none", "stop_bits": 3}}, "1 or 2"),
        ({"points": [{**POINT, "scale_register": {"address": 9}}]}, "golden words"),
        ({"points": [POINT, {**WORD, "type": "bit"}]}, "a bit needs it"),
    ],
)  # fmt: skip
def test_what_is_known_of_a_device_is_checked_like_its_points(change, why):
    with pytest.raises(ValidationError, match=why):
        Profile.model_validate({**WHOLE, "checks": [], **change})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sentinels", {"int16": [0x8000]}),
        ("identify", [RULE]),
        ("serial", {"baud": 9600, "parity": "none", "stop_bits": 1}),
    ],
)
@pytest.mark.parametrize("protocol", ["sunspec", "opcua"])
def test_other_protocols_have_no_registers_to_know_about(protocol, key, value):
    with pytest.raises(ValidationError, match=f"'{key}' is for Modbus registers, not {protocol}"):
        Profile.model_validate({**OF[protocol], key: value})


def test_a_mistake_in_a_rule_is_told_at_its_line(tmp_path):
    path = tmp_path / "meter.yaml"
    path.write_text(
        """model: meter
kind: power_meter
protocol: modbus
source: made up by a test
confidence: bench
points:
  - {name: power_w, table: holding, address: 0, type: uint16}
checks:
  - {rule: rate, counter: power_w, power: power_w, colour: red}
  - {rule: growth}
identify:
  - {table: holding, address: 0, type: uint16}
golden:
  - {point: power_w, words: [1], value: 1}
"""
    )
    with pytest.raises(ConfigError) as caught:
        load_profile(str(path))
    told = [line.strip() for line in caught.value.what.splitlines() if "meter.yaml:" in line]

    assert [line.partition(" (found")[0].removeprefix(f"{path}:") for line in told] == [
        "9: checks.0.colour: Extra inputs are not permitted",
        "10: checks.1: a 'rule' is sum_of_phases, rate, monotonic or at_most",
        "12: identify.0: write either 'equals' or 'one_of' or 'none_of'",
    ]
