"""Every golden row of every profile decodes to its value: a new file is tested when it exists."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path

import pytest

import joulemark_profiles
from joulemark_agent.contract.profile import Golden, Point, Profile
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.contract.reading import Response
from joulemark_agent.documents import load_factors, load_profile
from joulemark_agent.kernels.decode import decode_point, decode_responses
from joulemark_agent.plan import plan_requests
from support.scripts import script

ROOT = Path(__file__).parents[2]
DEVICES = joulemark_profiles.names("devices")
PROFILES = {name: load_profile(name)[0] for name in DEVICES}
MACHINES = [name for name in DEVICES if not name.startswith("virtual_")]
ROWS = [
    pytest.param(profile, row, id=f"{name}-{row.point}-{row.raw.hex(' ', 2)}")
    for name, profile in PROFILES.items()
    for row in profile.golden
]
A_DOCUMENT = re.compile(
    r"SunSpec Information Models|HA\d{6}|OPC 40250-1|Modbus Map - GIMAC1000 \(Eng\.\) V4\.0"
    r"|FLOWSIC500 Technical Bulletin"
)
A_COMMIT = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{7,}")


@pytest.mark.parametrize(("profile", "row"), ROWS)
def test_golden_words_have_their_value(profile: Profile, row: Golden) -> None:
    point = profile.point(row.point)
    text, quality = decode_point(point, row.raw)

    assert text == (None if row.value is None else f"{row.value:f}")
    assert (quality is None) == (row.value is not None and not point.disputed)


@pytest.mark.parametrize("name", DEVICES)
def test_a_profile_is_called_like_its_file_and_every_point_has_a_golden_row(name: str) -> None:
    profile = PROFILES[name]

    assert profile.model == name
    assert {row.point for row in profile.golden} == {point.name for point in profile.points}


@pytest.mark.parametrize("name", joulemark_profiles.names("factors"))
def test_a_factor_set_is_called_like_its_file(name: str) -> None:
    assert load_factors(name)[0].factor_set == name


def test_there_are_profiles_to_test() -> None:
    folder = Path(joulemark_profiles.__file__).parent / "devices"

    assert len(DEVICES) == len(list(folder.glob("*.yaml"))) >= 24
    assert {"air_compressor", "furnace", "power_meter", "pv_inverter", "gas_meter"} <= {
        PROFILES[name].kind for name in MACHINES
    }
    assert sum(PROFILES[name].kind == "air_compressor" for name in MACHINES) >= 5


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_read_at_second_hand_names_the_commit_and_one_by_manual_the_document(
    name: str,
) -> None:
    profile = PROFILES[name]

    assert profile.confidence in {"manual", "second_hand"}  # none was on a bench or in the field
    # At second hand also a document of which only a copy of some pages was read.
    is_named = A_DOCUMENT.search(profile.source) is not None
    assert is_named or (
        profile.confidence == "second_hand" and A_COMMIT.search(profile.source) is not None
    )


def of_type(profile: Profile, kind: str) -> set[str]:
    return {p.name for p in profile.registers if p.type == kind}


@pytest.mark.parametrize("name", MACHINES)
def test_every_sentinel_and_every_sign_has_a_golden_row(name: str) -> None:
    profile = PROFILES[name]
    absent = [row for row in profile.golden if row.value is None]
    below_0 = {
        row.point
        for row in profile.golden
        if row.value is not None and row.value < getattr(profile.point(row.point), "offset", 0)
    }

    for kind in profile.sentinels.model_fields_set & {p.type for p in profile.registers}:
        raw = {row.raw for row in absent if row.point in of_type(profile, kind)}
        assert len(raw) >= len(getattr(profile.sentinels, kind)), f"{kind} of {name}"
    for kind in ("int16", "int32", "int64"):
        signed = {
            point.name for point in profile.registers if point.type == kind and not point.counter
        }
        assert not signed or signed & below_0, f"no {kind} of {name} is below 0 in a golden row"


@pytest.mark.parametrize(
    ("family", "sentinel"),
    [
        ("huawei_sun2000", ("int32", 0x7FFFFFFF)),
        ("huawei_sun2000", ("uint16", 0xFFFF)),
        ("huawei_sun2000_meter", ("int32", 0x7FFFFFFF)),
        ("sungrow_sg_meter", ("int32", 0x7FFFFFFF)),
        ("sungrow_shx", ("int32", 0x7FFFFFFF)),
        ("sma_sunny_tripower", ("int32", 0x80000000)),
        ("sma_sunny_tripower", ("int32", 0x7FFFFFFF)),
        ("sma_sunny_tripower", ("uint64", 0xFFFFFFFFFFFFFFFF)),
        ("abb_b23", ("uint32", 0xFFFFFFFF)),
        ("abb_b23", ("int32", 0x7FFFFFFF)),
    ],
)
def test_what_a_family_shows_for_not_available_is_no_value(
    family: str, sentinel: tuple[str, int]
) -> None:
    kind, raw = sentinel
    points = [point for point in PROFILES[family].registers if point.type == kind]

    assert points
    for point in points:
        words = raw.to_bytes(2 * point.words, "big")
        if point.order == "CDAB":
            words = words[2:] + words[:2]
        assert decode_point(point, words) == (None, "sentinel")


@pytest.mark.parametrize("name", MACHINES)
def test_names_say_the_unit_and_which_way_energy_flows(name: str) -> None:
    directions = {
        "energy_wh": "import",
        "exported_wh": "export",
        "generated_wh": "generation",
        "generated_today_wh": "generation",
        "ac_power_w": "generation",
    }
    for point in PROFILES[name].points:
        if point.name in directions and (PROFILES[name].checks or point.direction):
            assert point.direction == directions[point.name], point.name
        if isinstance(point, Point) and unit_of(point.name) == "K":
            assert point.offset == Decimal("273.15"), f"{point.name}: no device counts in kelvins"
        if unit_of(point.name) == "Pa":
            assert point.name.endswith(("_gauge_pressure_pa", "_absolute_pressure_pa"))
        if isinstance(point, Point) and point.counter and unit_of(point.name) == "s":
            assert point.scale in {60, 3600}, f"{point.name}: minutes or hours"


@pytest.mark.parametrize("name", [n for n in MACHINES if PROFILES[n].kind == "power_meter"])
def test_a_float_register_of_energy_is_a_counter_and_the_profile_tells_its_step(name: str) -> None:
    profile = PROFILES[name]
    floats = [
        point.name
        for point in profile.registers
        if point.type.startswith("float") and unit_of(point.name) == "Wh"
    ]

    assert all(profile.point(point).counter for point in floats)
    assert not floats or any("counted in whole Wh" in quirk.text for quirk in profile.quirks)


def test_the_devices_with_an_identity_register_are_identified_by_it() -> None:
    identified = {name for name in MACHINES if PROFILES[name].identify}

    assert identified >= {
        "abb_b23",
        "carlo_gavazzi_em24_e1",
        "eastron_sdm120",
        "eastron_sdm630",
        "huawei_sun2000",
        "huawei_sun2000_meter",
        "sma_sunny_tripower",
        "sungrow_shx",
    }


# A device as it answers: the words by address, from the golden rows of its own profile.


def image(profile: Profile, values: Mapping[str, tuple[int, ...]] | None = None) -> dict[int, int]:
    """The words of a device of this model, each point at the first golden row it has."""
    first = {row.point: row.words for row in reversed(profile.golden) if row.value is not None}
    words: dict[int, int] = {}
    for point in profile.registers:
        for k, word in enumerate((values or {}).get(point.name, first.get(point.name, ()))):
            words[point.address + k] = word
    return words


def read(profile: Profile, words: Mapping[int, int]) -> tuple[dict[str, str], dict[str, str]]:
    """What the profile makes of such a device; a word nobody described is 0."""
    return decode_responses(profile, list(answers(profile, words)))


def answers(profile: Profile, words: Mapping[int, int]) -> Iterator[Response]:
    for request in plan_requests(profile):
        span = range(request.address, request.address + request.count)
        data = b"".join(words.get(address, 0).to_bytes(2, "big") for address in span)
        yield Response(request.table, request.address, data)


@pytest.mark.parametrize(
    ("device", "profile"),
    [
        ("carlo_gavazzi_em24_e1", "carlo_gavazzi_em24_rs485"),
        ("carlo_gavazzi_em24_rs485", "carlo_gavazzi_em24_e1"),
    ],
)
def test_the_other_em24_is_out_of_range_where_its_own_profile_reads_all(
    device: str, profile: str
) -> None:
    words = image(PROFILES[device])
    values, quality = read(PROFILES[profile], words)
    own_values, own_quality = read(PROFILES[device], words)

    assert own_quality == {}
    assert values["energy_wh"] != own_values["energy_wh"]  # the harm: a number, and a wrong one
    assert quality["frequency_hz"] == "range"


def test_the_lifetime_energy_that_differs_by_10_between_sg_and_shx_is_never_good() -> None:
    words = {5003: 0xE240, 5004: 0x0001}
    sg, sg_quality = read(PROFILES["sungrow_sg"], words)
    shx, shx_quality = read(PROFILES["sungrow_shx"], words)

    assert int(sg["generated_wh"]) == 10 * int(shx["generated_and_discharged_wh"])
    assert sg_quality["generated_wh"] == "disputed"
    assert shx_quality["generated_and_discharged_wh"] == "disputed"


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in MACHINES
        if PROFILES[name].protocol == "modbus"
        and PROFILES[name].kind in {"power_meter", "pv_inverter"}
    ],
)
def test_words_the_wrong_way_round_leave_a_point_that_is_not_good(name: str) -> None:
    profile = PROFILES[name]
    swapped = {
        row.point: row.words[::-1]
        for row in reversed(profile.golden)
        if row.value is not None and len(row.words) > 1
    }
    _, quality = read(profile, image(profile, swapped))
    _, own_quality = read(profile, image(profile))

    named = {"disputed", "text"}
    assert set(own_quality.values()) <= named
    assert set(quality.values()) - named


def test_the_page_of_devices_is_what_its_script_makes() -> None:
    made = script("make_device_list").page()

    assert (ROOT / "docs/devices.md").read_text("utf-8") == made, (
        "run: python docs/scripts/make_device_list.py"
    )
    assert all(f"### {name}\n" in made for name in DEVICES)
