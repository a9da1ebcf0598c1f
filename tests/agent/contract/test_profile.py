"""Profiles: what makes no sense is refused when it is read."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import NodePoint, Point, Profile, SunspecPoint
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.settings import load_profile

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
        ({"golden": []}, "at least 1"),
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
        ({"type": "string"}, "Input should be"),
        ({"type": "int32", "counter": True}, "unsigned"),
        ({"type": "enum16", "counter": True}, "unsigned"),
        ({"type": "float32", "counter": True}, "unsigned"),
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
        ("sunspec", {"data": "00000001"}, "OPC UA has 'data', others 'words'"),
        ("opcua", {"words": [0]}, "OPC UA has 'data', others 'words'"),
        ("opcua", {}, "either 'words' or"),
        ("opcua", {"data": "01", "words": [0]}, "either 'words' or"),
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
