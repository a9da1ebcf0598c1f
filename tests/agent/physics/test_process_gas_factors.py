"""The shipped factors of process gases are those published, and emissions from them are by hand."""

import json
import math
from decimal import Decimal
from typing import Any

import pytest

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.physics.budget import Amount
from joulemark_agent.physics.process_gas import emission, emitted_kg, warming
from joulemark_agent.process_gases import load_process_gases, load_warming, with_tables
from support.vectors import FOLDER

PUBLISHED = json.loads((FOLDER / "semiconductor_factors.json").read_text("utf-8"))
SHIPPED = {table.table: table for table in load_process_gases("us_40cfr98_subpart_i").tables}
POTENTIALS = {table.assessment: table for table in load_warming("ipcc_100_years").assessments}
TABLES = {
    "table_I_20_300mm_reference_by_process": "I-20",
    "table_I_12_300mm_stack_all_processes": "I-12",
    "table_I_11_150_200mm_stack_all_processes": "I-11",
}
REMOTE = "_remote"
NO_LOG = {"heel_ratio": 0.1, "abated_ratio": 1.0, "uptime_ratio": 0.0}


def cells(name):
    """Process, gas fed, gas emitted (None: itself) and number of each cell of a published table."""
    table = PUBLISHED[name]
    for row, numbers in (table.get("rows") or table["etch"]).items():
        process = "all" if "rows" in table else "etch"
        for gas, number in numbers.items():
            is_remote = gas.endswith(REMOTE)
            fed = gas.removesuffix(REMOTE)
            if row == f"B_{fed}":
                assert number is None, "no gas is its own by-product"
            else:
                yield "remote_plasma" if is_remote else process, fed, row, number
    for process, gases in table.get("chamber_clean", {}).items():
        for gas, rows in gases.items():
            for row, number in rows.items():
                yield process, gas, row, number


@pytest.mark.parametrize("name", TABLES)
def test_every_published_factor_is_shipped_and_what_has_none_is_left_out(name):
    processes = SHIPPED[TABLES[name]].processes
    seen = 0
    for process, gas, row, number in cells(name):
        emitted = gas if row == "one_minus_U" else row.removeprefix("B_")
        shipped = processes.get(process, {}).get(gas, {}).get(emitted)
        assert shipped == (None if number is None else Decimal(str(number))), (process, gas, row)
        seen += number is not None
    assert seen > 30


def test_every_table_of_the_vectors_is_used():
    assert set(PUBLISHED) - {"about"} == set(TABLES)
    assert set(SHIPPED) == set(TABLES.values())


@pytest.mark.parametrize("name", TABLES)
def test_what_is_shipped_beyond_them_are_by_products_that_they_leave_out(name):
    """Tables I-11, I-12 and I-20 have more rows of by-products than the vectors hold."""
    held = {
        (process, gas, gas if row == "one_minus_U" else row.removeprefix("B_"))
        for process, gas, row, number in cells(name)
        if number is not None
    }
    shipped = {
        (process, gas, emitted)
        for process, gases in SHIPPED[TABLES[name]].processes.items()
        for gas, row in gases.items()
        for emitted in row
    }
    beyond = {emitted for _, _, emitted in shipped - held}
    assert held <= shipped
    assert beyond <= {"C4F6", "C4F8", "C3F8", "C5F8", "CH2F2", "CH3F", "F2"}
    assert all(gas != emitted for _, gas, emitted in shipped - held)


@pytest.mark.parametrize("name", TABLES)
def test_emissions_of_every_factor_agree_with_hand_arithmetic(name):
    # 8 kg fed, heel 0.1, a 0.95, d 0.9, UT 0.75: 7.2 x (1 - 0.64125) = 7.2 x 0.35875 = 2.583
    for _, _, _, number in cells(name):
        if number is not None:
            found = emitted_kg(
                8.0,
                number,
                heel_ratio=0.1,
                abated_ratio=0.95,
                destroyed_ratio=0.9,
                uptime_ratio=0.75,
            )
            assert found == pytest.approx(2.583 * number, rel=1e-9)


def test_a_remote_clean_with_nf3_by_hand():
    # 100 kg of NF3, heel 0.1, not abated: NF3 90 x 0.018 = 1.62, CF4 90 x 0.038 = 3.42,
    # CHF3 0.00531, CH2F2 0.144, CH3F 0.252 kg. By AR5: 1.62 x 16100 + 3.42 x 6630
    # + 0.00531 x 12400 + 0.144 x 677 + 0.252 x 116 = 26082 + 22674.6 + 65.844 + 97.488 + 29.232
    # = 48949.164 kg CO2e
    factors = SHIPPED["I-20"].processes["remote_plasma"]["NF3"]
    emitted = {
        gas: emission(Amount(100.0), Amount(float(factor)), Amount(0.9), **NO_LOG)
        for gas, factor in factors.items()
    }
    masses = {gas: amount.value for gas, amount in emitted.items()}
    by_hand = {"NF3": 1.62, "CF4": 3.42, "CHF3": 0.00531, "CH2F2": 0.144, "CH3F": 0.252}
    assert masses == pytest.approx(by_hand, rel=1e-9)
    potentials = {gas: float(value) for gas, value in POTENTIALS["AR5"].kg_per_kg.items()}
    found = warming(emitted, potentials)
    assert found.co2e.value == pytest.approx(48949.164, rel=1e-9)
    assert found.unrated == ()


def test_an_assessment_that_lists_no_nf3_leaves_it_out_and_says_so():
    potentials = {gas: float(value) for gas, value in POTENTIALS["SAR"].kg_per_kg.items()}
    found = warming({"NF3": Amount(1.0), "SF6": Amount(1.0)}, potentials)
    assert (found.co2e.value, found.unrated) == (23900.0, ("NF3",))


def test_assessments_differ_and_none_is_the_default():
    nf3 = {name: float(table.kg_per_kg.get("NF3", math.nan)) for name, table in POTENTIALS.items()}
    assert nf3 == pytest.approx(
        {"SAR": math.nan, "TAR": 10800, "AR4": 17200, "AR5": 16100, "AR5_ccf": 17885, "AR6": 17400},
        nan_ok=True,
    )


def test_a_named_table_becomes_its_numbers_of_the_gases_fed():
    section: dict[str, Any] = {
        "gases": [{"gas": "CF4", "flow": "cf4_m3_s"}],
        "factors": {"set": "us_40cfr98_subpart_i", "table": "I-12", "process": "all"},
        "warming": {"set": "ipcc_100_years", "assessment": "AR6"},
    }
    found = with_tables(section)
    assert set(found["factors"]["emitted_kg_per_kg"]) == {"CF4"}
    assert found["factors"]["emitted_kg_per_kg"]["CF4"]["CF4"] == Decimal("0.65")
    assert "Table I-12; 89 FR 31922" in found["factors"]["source"]
    assert "2024-04-25" in found["factors"]["source"]
    assert found["warming"]["assessment"] == "AR6"
    assert found["warming"]["kg_per_kg"]["CF4"] == 7380
    assert with_tables(found) == found  # numbers stay as they are
    assert section["factors"]["table"] == "I-12"


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"factors": {"set": "korea"}}, "exactly set, table, process"),
        ({"factors": {"set": "kr", "table": "1", "process": "all"}}, "us_40cfr98_subpart_i"),
        (
            {"factors": {"set": "us_40cfr98_subpart_i", "table": "I-3", "process": "etch"}},
            "I-20, I-12, I-11",
        ),
        (
            {"factors": {"set": "us_40cfr98_subpart_i", "table": "I-20", "process": "all"}},
            "in_situ_plasma",
        ),
        (
            {
                "factors": {"set": "us_40cfr98_subpart_i", "table": "I-20", "process": "etch"},
                "gases": [{"gas": "C4F8O"}],
            },
            "no gas 'C4F8O'",
        ),
        ({"warming": {"set": "ipcc_100_years", "assessment": "latest"}}, "AR5_ccf"),
    ],
)
def test_a_table_that_is_not_there_is_refused_with_those_that_are(section, says):
    with pytest.raises(ConfigError, match=says):
        with_tables(section)
