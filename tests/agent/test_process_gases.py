"""A site file names a published table; what is signed holds its numbers."""

import pytest
from pydantic import ValidationError

import joulemark_profiles
from joulemark_agent.process_gases import GASES, WARMING, load_process_gases, load_warming
from joulemark_agent.site_sections import DeviceSettings

DEVICE = {
    "id": "etcher",
    "profile": "sunspec_meter",
    "url": "modbus-tcp://127.0.0.1:502",
    "unit": 1,
    "period_s": 60,
}
GAS = {"gas": "SF6", "flow": "sf6_m3_s", "reference": "normal_0c"}


def device(table):
    factors = {"set": "us_40cfr98_subpart_i", "table": table, "process": "etch"}
    return DeviceSettings.model_validate(
        {**DEVICE, "equipment": {"gases": [GAS], "factors": factors}}
    )


def test_a_device_s_section_has_the_numbers_of_the_table_it_names():
    equipment = device("I-20").equipment
    assert equipment is not None
    emitted = equipment["factors"]["emitted_kg_per_kg"]
    assert {gas: str(number) for gas, number in emitted["SF6"].items()} == {
        "SF6": "0.28",
        "CF4": "0.0072",
        "C2F6": "0.0017",
        "CHF3": "0.0012",
        "CH2F2": "0.000020",
        "CH3F": "0.0082",
    }
    assert list(emitted) == ["SF6"]


def test_a_table_that_does_not_exist_is_a_mistake_of_the_site_file():
    with pytest.raises(ValidationError, match=r"no table 'I-21'\. Use one of: I-20"):
        device("I-21")


@pytest.mark.parametrize("name", joulemark_profiles.names(GASES))
def test_a_set_of_factors_is_called_like_its_file(name):
    assert load_process_gases(name).process_gases == name


@pytest.mark.parametrize("name", joulemark_profiles.names(WARMING))
def test_a_set_of_potentials_is_called_like_its_file(name):
    assert load_warming(name).warming_potentials == name
