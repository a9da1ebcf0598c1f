"""SunSpec points by name stand where another implementation finds them, and in the document."""

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sunspec2.modbus.client import SunSpecModbusClientModel  # type: ignore[import-untyped]

import joulemark_profiles
from joulemark_agent.contract.document import document_bytes, parse_yaml
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import Profile, SunspecPoint
from joulemark_agent.contract.reading import Response
from joulemark_agent.documents import checked_profile, load_profile
from joulemark_agent.kernels.decode import decode_point, decode_responses, text_of
from joulemark_agent.plan import plan_requests
from joulemark_agent.sunspec_models import labels, models, place, resolved

ROOT = Path(__file__).parents[2]
NAMED = """
model: named
kind: pv_inverter
protocol: sunspec
source: "SunSpec Information Models, json/model_103.json"
confidence: manual
points:
  - {name: maker_text, model: 1, point: Mn}
  - {name: ac_power_w, model: 103, point: W, direction: generation}
  - {name: generated_wh, model: 103, point: WH, counter: true}
  - {name: module_2_dc_power_w, model: 160, point: module.2.DCW}
golden:
  - {point: ac_power_w, words: [0x2AF8, 0x0001], value: 110_000}
"""
NUMBERED = NAMED
for path, keys in {
    "point: Mn": "offset: 2, type: string, length: 16",
    "point: W,": "offset: 14, type: int16, scale_offset: 15,",
    "point: WH": "offset: 24, type: acc32, scale_offset: 26",
    "point: module.2.DCW": "offset: 41, type: uint16, scale_offset: 4",
}.items():
    NUMBERED = NUMBERED.replace(path, keys)


def words_of(model: int) -> list[int]:
    """A model with two of every group that repeats, as another implementation would be given."""
    group = models()[model]
    words = [0] * group.own_words
    at = 0
    for point in group.points:
        if re.fullmatch(r"N|NPrt|NCrv|NCrvSet|NCtl|NPt", point.name):
            words[at] = 2
        at += point.size
    inner = sum(size(each) * (2 if each.repeats else 1) for each in group.groups)
    words += [0] * inner
    words[0:2] = [model, len(words) - 2]
    return words


def size(group: Any) -> int:
    inner = sum(size(each) * (2 if each.repeats else 1) for each in group.groups)
    return int(group.own_words + inner)


def found_by_another(group: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Path, point and group of everything in a model of pysunspec2."""
    for name, point in group.points.items():
        yield f"{path}{name}", point, group
    for name, inner in group.groups.items():
        for i, each in enumerate(inner if isinstance(inner, list) else [inner], 1):
            number = f".{i}" if isinstance(inner, list) else ""
            yield from found_by_another(each, f"{path}{name}{number}.")


@pytest.mark.parametrize("model", models())
def test_every_point_stands_where_pysunspec2_has_it(model: int) -> None:
    words = words_of(model)
    data = struct.pack(f">{len(words)}H", *words)
    foreign = SunSpecModbusClientModel(model_id=model, model_len=words[1], data=data)
    assert not foreign.error_info
    compared, refused = 0, {}
    for path, point, _ in found_by_another(foreign):
        try:
            ours = place(model, path)
        except ValueError as error:
            refused[path] = str(error)
            continue
        compared += 1
        assert ours.offset == point.offset, path
        assert ours.point.size == point.len, path
        assert ours.point.type == point.pdef["type"], path
        factor = point.pdef.get("sf")
        if isinstance(factor, str):
            [stands] = {p.offset for at, p, _ in found_by_another(foreign) if at == factor}
            assert ours.factor_offset == stands, path
        else:
            assert (ours.factor_offset, ours.exponent) == (None, factor or 0), path
    # What is no value, and what lies behind a group whose length the device decides.
    allowed = re.compile(r"which is no value|decided by the device")
    assert not [path for path, why in refused.items() if not allowed.search(why)]
    assert compared >= 3


def test_names_and_numbers_are_one_document_so_decoding_needs_no_model_data() -> None:
    named, document = checked_profile(parse_yaml(NAMED, "named.yaml"))
    numbered, same = checked_profile(parse_yaml(NUMBERED, "numbered.yaml"))

    assert document == same
    assert named == numbered
    assert b"module.2" not in document
    assert Profile.model_validate(json.loads(document)) == named


@pytest.mark.parametrize("name", joulemark_profiles.names("devices"))
def test_a_profile_without_names_keeps_its_bytes(name: str) -> None:
    document = parse_yaml(joulemark_profiles.text("devices", name), name)
    assert resolved(document).mapping == document.mapping
    assert load_profile(name)[1] == document_bytes(document.mapping)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("model: 103, point: Wx", r":9: points\.1\.point: there is no point 'Wx'; did you mean"),
        ("model: 103, point: Watts", "there are ID, L, A, AphA"),
        ("model: 160, point: module.DCW", r"'module' repeats: say which, as in module\.1\.NAME"),
        ("model: 160, point: module.0.DCW", "repeats: say which"),
        ("model: 160, point: module", "no point 'module'"),
        ("model: 160, point: DCW", r"did you mean .*module\.1\.DCW"),
        ("model: 705, point: Crv.2.VRef", r"where Crv\.2 begins is decided by the device"),
        ("model: 707, point: Crv.1.MayTrip.Pt.1.V", "where 'MayTrip' begins is decided by the"),
        ("model: 103, point: W_SF", "of the type sunssf, which is no value"),
        ("model: 120, point: WRtg", "the points of model 120 have no names here, only those of 1,"),
        ("model: 103, point: 7", "a point's name is text, such as W; '7' is none"),
        ("model: 103, point: Hz", "'Hz' of model 103 is in Hz, and the name 'ac_power_w' says W"),
        ("model: 103, point: W, offset: 14", "the name says offset already; remove one of the two"),
        ("point: W", "'model' is missing"),
        ("model: yes, point: W", "'model' is missing"),
    ],
)
def test_a_name_that_cannot_be_resolved_is_told_with_its_line(wrong: str, said: str) -> None:
    text = NAMED.replace("model: 103, point: W, direction: generation", wrong)

    with pytest.raises(ConfigError, match=said) as caught:
        checked_profile(parse_yaml(text, "site/wrong.yaml"))

    assert "site/wrong.yaml:9" in str(caught.value)


def test_a_hostile_path_ends_soon() -> None:
    with pytest.raises(ValueError, match="no group") as caught:
        place(103, "a." * 1_000_000)

    assert len(str(caught.value)) < 500


def test_a_fixed_power_of_ten_is_part_of_the_scale() -> None:
    document = parse_yaml(
        NAMED.replace("model: 160, point: module.2.DCW", "model: 304, point: incl.2.Inclx").replace(
            "module_2_dc_power_w", "tilt_unstated"
        ),
        "tilt.yaml",
    )

    profile, _ = checked_profile(document)

    point = profile.point("tilt_unstated")
    assert isinstance(point, SunspecPoint)
    assert (point.offset, point.type, f"{point.scale}") == (8, "int32", "0.01")
    assert decode_point(point, b"\xff\xff\xff\xfe") == ("-0.02", None)


def test_a_string_is_shown_and_no_value() -> None:
    profile, _ = load_profile_text(NAMED)
    maker = profile.point("maker_text")
    assert isinstance(maker, SunspecPoint)
    words = b"\0\1\0\x42" + b"Acme\0".ljust(32, b"\0")
    values, quality = decode_responses(profile, [Response("sunspec", 1, words)])

    assert "maker_text" not in values
    assert quality["maker_text"] == "text"
    assert text_of(maker, words[4:]) == "Acme"


def load_profile_text(text: str) -> tuple[Profile, bytes]:
    return checked_profile(parse_yaml(text, "text.yaml"))


@pytest.mark.parametrize(
    ("kind", "absent", "present"),
    [
        ("int16", "8000", ("7FFF", "32767")), ("uint16", "FFFF", ("8000", "32768")),
        ("acc16", "0000", ("FFFF", "65535")), ("enum16", "FFFF", ("0000", "0")),
        ("bitfield16", "FFFF", ("7FFF", "32767")), ("int32", "80000000", ("FFFFFFFF", "-1")),
        ("uint32", "FFFFFFFF", ("80000000", "2147483648")),
        ("acc32", "00000000", ("FFFFFFFF", "4294967295")),
        ("enum32", "FFFFFFFF", ("00000007", "7")), ("bitfield32", "FFFFFFFF", ("00000000", "0")),
        ("int64", "8000000000000000", ("FFFFFFFFFFFFFFFF", "-1")),
        ("uint64", "FFFFFFFFFFFFFFFF", ("0000000000000000", "0")),
        ("acc64", "0000000000000000", ("FFFFFFFFFFFFFFFF", "18446744073709551615")),
        ("bitfield64", "FFFFFFFFFFFFFFFF", ("0000000000000001", "1")),
        ("float32", "7FC00000", ("3F800000", "1")),
        ("float64", "7FF8000000000000", ("3FF0000000000000", "1")),
    ],
)  # fmt: skip
def test_what_a_type_shows_for_not_available_is_no_value(
    kind: str, absent: str, present: tuple[str, str]
) -> None:
    point = SunspecPoint.model_validate(
        {"name": "any_unstated", "model": 64001, "offset": 2, "type": kind}
    )
    text, quality = decode_point(point, bytes.fromhex(absent))

    assert text is None
    assert quality in {"sentinel", "nan"}
    assert decode_point(point, bytes.fromhex(present[0])) == (present[1], None)


def test_a_point_beyond_the_reach_of_one_request_is_refused() -> None:
    """Its scale factor stands at the beginning of the model: they are never of one answer."""
    text = NAMED.replace("module.2.DCW", "module.7.DCW")
    profile, _ = load_profile_text(text.replace("module_2", "module_7"))

    with pytest.raises(ConfigError, match="module_7_dc_power_w ends 142 words after the start"):
        plan_requests(profile)


def test_a_device_that_answers_with_few_words_bounds_the_models_too() -> None:
    profile, _ = load_profile_text(NAMED.replace("confidence", "max_words: 40\nconfidence"))

    with pytest.raises(ConfigError, match="One request reads 40 of them"):
        plan_requests(profile)


def test_the_models_named_are_there_with_their_label_and_their_origin() -> None:
    wanted = {1, 101, 102, 103, 111, 112, 113, 160, 201, 202, 203, 204, *range(701, 715)}

    assert wanted <= set(models()) <= set(labels())
    found = json.loads(joulemark_profiles.sunspec_models())
    assert (found["source"].split("-")[:2], found["licence"]) == (
        ["pysunspec2", "1.3.7"],
        "Apache-2.0",
    )
    page = (ROOT / "docs/data.md").read_text("utf-8")
    assert "`configs/joulemark_profiles/sunspec/models.json`" in page
    assert "pysunspec2 1.3.7" in page


@pytest.mark.parametrize(
    ("model", "length", "fits"),
    [(1, 66, True), (1, 65, True), (1, 64, False), (103, 50, True), (103, 49, False),
     (103, 51, False), (160, 8, True), (160, 48, True), (160, 47, False), (160, 7, False),
     (705, 13, True)],
)  # fmt: skip
def test_a_model_has_the_length_its_definition_says(model: int, length: int, fits: bool) -> None:
    assert models()[model].fits(length) is fits
