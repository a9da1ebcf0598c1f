"""Every golden row of every profile decodes to its value: a new file is tested when it exists."""

from pathlib import Path

import pytest

import joulemark_profiles
from joulemark_agent.contract.profile import Golden, Profile
from joulemark_agent.kernels.decode import decode_point
from joulemark_agent.settings import load_factors, load_profile

DEVICES = joulemark_profiles.names("devices")
ROWS = [
    pytest.param(profile, row, id=f"{name}-{row.point}-{row.raw.hex(' ', 2)}")
    for name in DEVICES
    for profile in [load_profile(name)[0]]
    for row in profile.golden
]


@pytest.mark.parametrize(("profile", "row"), ROWS)
def test_golden_words_have_their_value(profile: Profile, row: Golden) -> None:
    text, quality = decode_point(profile.point(row.point), row.raw)

    assert text == (None if row.value is None else f"{row.value:f}")
    assert (quality is None) == (row.value is not None)


@pytest.mark.parametrize("name", DEVICES)
def test_a_profile_is_called_like_its_file_and_every_point_has_a_golden_row(name: str) -> None:
    profile, _ = load_profile(name)

    assert profile.model == name
    assert {row.point for row in profile.golden} == {point.name for point in profile.points}


@pytest.mark.parametrize("name", joulemark_profiles.names("factors"))
def test_a_factor_set_is_called_like_its_file(name: str) -> None:
    assert load_factors(name)[0].factor_set == name


def test_there_are_profiles_to_test() -> None:
    folder = Path(joulemark_profiles.__file__).parent / "devices"

    assert len(DEVICES) == len(list(folder.glob("*.yaml"))) >= 2
