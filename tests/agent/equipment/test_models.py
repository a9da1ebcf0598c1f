from decimal import Decimal

import numpy as np
import pytest
from pydantic import ValidationError

from joulemark_agent.equipment import Samples, analyse, parameters_of

NOTHING = Samples(np.zeros(0, np.int64), {}, 1)


@pytest.mark.parametrize("kind", ["air_compressor", "pv_inverter", "furnace", "power_meter"])
def test_a_kind_is_found_by_the_name_of_its_file(kind):
    parameters = parameters_of(kind, None)
    assert parameters is not None
    assert type(parameters).__module__ == f"joulemark_agent.equipment.{kind}"
    analysis = analyse(kind, parameters, NOTHING)
    assert analysis is not None
    assert analysis.figures[0].value is None
    assert analysis.figures[0].why


@pytest.mark.parametrize(
    "kind", ["production_counter", "base", "models", "segments", "../base", ""]
)
def test_a_kind_without_a_model_has_neither_parameters_nor_an_analysis(kind):
    assert parameters_of(kind, {}) is None
    assert analyse(kind, None, NOTHING) is None


def test_parameters_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="furnace"):
        analyse("furnace", parameters_of("pv_inverter", None), NOTHING)


@pytest.mark.parametrize("text", ["38.9", "0.1", "56100", "123456789.123456789"])
def test_yaml_s_decimals_and_the_text_of_canonical_bytes_give_the_same_number(text):
    written = parameters_of("pv_inverter", {"dc_peak_w": Decimal(text)})
    read_back = parameters_of("pv_inverter", {"dc_peak_w": text})
    assert written == read_back
    assert written is not None
    assert written.model_dump()["dc_peak_w"] == float(text)


@pytest.mark.parametrize(
    ("kind", "section", "says"),
    [
        ("air_compressor", {"presure": "header_pressure_pa"}, "presure"),
        ("air_compressor", {"pressure": "header_temperature_k"}, "counted in K; name one in Pa"),
        ("air_compressor", {"pressure": "header"}, "must end in its unit"),
        ("air_compressor", {"rated_power_w": True}, "not true or false"),
        ("air_compressor", {"rated_power_w": "NaN"}, "finite"),
        ("air_compressor", {"rated_power_w": "1e999"}, "finite"),
        ("air_compressor", {"rated_power_w": -5}, "greater than 0"),
        ("air_compressor", {"loaded_a": 6}, "give both"),
        ("air_compressor", {"loaded_a": 4, "unloaded_a": 6}, "must be below"),
        ("air_compressor", {"only_source": True}, "name the point"),
        ("air_compressor", {"flow": {"point": "flow_m3_s", "reference": "scfm"}}, "normal_0c"),
        (
            "air_compressor",
            {"flow": {"point": "flow_m3_s", "inlet": {"water_vapour_pa": 99_000}}},
            "small part",
        ),
        ("pv_inverter", {"time_zone": "Seoul"}, "such as 'Asia/Seoul'"),
        ("pv_inverter", {"irradiance": "ghi_w"}, "name one in W/m2"),
        ("furnace", {"gas": {"point": "gas_dm3", "ncv_mj_per_m3": "38.9"}}, "where"),
        ("furnace", {"gas": {"point": "gas_wh"}}, "m3 or dm3"),
        ("furnace", {"gas": {"point": "gas_dm3", "basis": "lower"}}, "'net' or 'gross'"),
        ("furnace", {"electricity": "current_a"}, "Wh or W"),
    ],
)
def test_a_mistake_in_a_section_is_told(kind, section, says):
    with pytest.raises(ValidationError, match=says):
        parameters_of(kind, section)
