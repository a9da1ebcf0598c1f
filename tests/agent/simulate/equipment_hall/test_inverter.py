"""The SunSpec map of the virtual inverter, read as any SunSpec client would."""

import numpy as np
import pytest

from joulemark_agent.simulate.equipment_hall.inverter import BASE, registers
from joulemark_agent.simulate.equipment_hall.recordings import INVERTER, load

OPENING_WH = 412_345_678
VALUES = load(INVERTER).values
ADDRESS, WORDS = registers(VALUES, OPENING_WH)
# offset from the model's ID register, by model: point and scale factor (register map of SunSpec)
POINTS = {
    103: {"ac_power_w": (14, 15), "dc_current_a": (27, 28), "dc_voltage_v": (29, 30),
          "dc_power_w": (31, 32)},
    160: {"dc_current_a": (19, 2), "dc_voltage_v": (20, 3), "dc_power_w": (21, 4)},
}  # fmt: skip
PLACES = {"ac_power_w": 3, "dc_current_a": 5, "dc_voltage_v": 6, "dc_power_w": 4}


def models() -> dict[int, int]:
    """Model -> column of its ID register, found by walking the chain."""
    assert bytes(WORDS[0, :2].astype(">u2")) == b"SunS"
    found, at = {}, 2
    while (number := int(WORDS[0, at])) != 0xFFFF:
        found[number] = at
        at += 2 + int(WORDS[0, at + 1])
    assert WORDS.shape[1] == at + 2
    return found


def scaled(model: int, point: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Value of every slot, by the scale factor of the same slot."""
    at, factor = (models()[model] + offset for offset in POINTS[model][point])
    exponents = WORDS[:, factor].astype(np.int16).astype(np.float64)
    return WORDS[:, at].astype(np.float64) * 10.0**exponents


def test_the_chain_has_the_models_1_103_160_and_302_with_their_lengths_and_ends() -> None:
    found = models()

    assert ADDRESS == BASE == 40_000
    assert list(found) == [1, 103, 160, 302]
    assert [int(WORDS[0, at + 1]) for at in found.values()] == [66, 50, 28, 5]
    assert (WORDS[:, list(found.values())] == WORDS[0, list(found.values())]).all()


def test_who_it_is_stands_in_model_1() -> None:
    text = bytes(WORDS[0, models()[1] + 2 : models()[1] + 66].astype(">u2"))

    assert text[:32].rstrip(b"\0") == b"Joulemark"
    assert text[32:64].rstrip(b"\0") == b"Virtual inverter"


@pytest.mark.parametrize(("model", "point"), [(m, p) for m, of in POINTS.items() for p in of])
def test_every_value_is_the_recorded_one_to_the_digits_that_16_bits_hold(
    model: int, point: str
) -> None:
    recorded = VALUES[point] / 10.0 ** PLACES[point]
    served = scaled(model, point)

    assert np.abs(served[:-1] - recorded).max() <= np.maximum(recorded * 1.6e-4, 0.005).max()
    is_some = recorded > 100
    apart = np.abs(served[:-1] - recorded)[is_some] / recorded[is_some]
    assert apart.size == 0 or apart.max() < 1.6e-4
    assert served[-1] == served[-2]


def test_scale_factors_change_from_read_to_read_and_one_of_another_read_is_ten_times_wrong() -> (
    None
):
    at, factor = (models()[103] + offset for offset in POINTS[103]["ac_power_w"])
    factors = WORDS[:, factor].astype(np.int16)
    changes = np.flatnonzero(np.diff(factors))
    n = int(changes[0]) + 1
    right, wrong = (float(WORDS[n, at]) * 10.0 ** int(factors[i]) for i in (n, n - 1))

    assert set(factors.tolist()) == {-2, -1, 0, 1}
    assert changes.size >= 20
    assert right == pytest.approx(VALUES["ac_power_w"][n] / 1000, rel=1e-3)
    assert abs(np.log10(right / wrong)) > 0.99


def test_the_dc_power_is_voltage_times_current_to_what_three_16_bit_registers_can_tell() -> None:
    for model in (103, 160):
        volt, ampere, watt = (
            scaled(model, point) for point in ("dc_voltage_v", "dc_current_a", "dc_power_w")
        )
        is_some = watt > 1000
        apart = np.abs(volt * ampere - watt)[is_some] / watt[is_some]

        assert apart.size > 100
        assert apart.max() < 3e-4


def test_the_counter_opens_above_0_and_the_days_add_up_to_the_published_wh() -> None:
    at = models()[103] + 24
    total = (WORDS[:, at].astype(np.int64) << 16) + WORDS[:, at + 1]
    days = np.diff(total[::96])

    assert WORDS[:, at + 2].max() == 0  # its scale factor
    assert total[0] == OPENING_WH
    assert np.diff(total).min() >= 0
    assert np.abs(days - [330_564.1, 326_005.9, 421_994.2, 377_322.5, 0]).max() < 1


def test_the_irradiance_is_whole_watts_and_the_day_without_ac_power_has_sun() -> None:
    poa = WORDS[:, models()[302] + 3].astype(np.int64)

    assert np.abs(poa[:-1] - VALUES["poa_w_m2"] / 1e6).max() <= 0.5
    assert poa[384:480].sum() / 4 == pytest.approx(1340.8, abs=1)
    assert scaled(103, "ac_power_w")[384:].max() == 0


def test_what_was_not_recorded_is_not_implemented_and_never_a_state_made_up() -> None:
    at = models()[103]

    assert (WORDS[:, at + 38] == 0xFFFF).all()  # operating state
    assert (WORDS[:, at + 16] == 0xFFFF).all()  # frequency
    assert (WORDS[:, at + 2] == 0xFFFF).all()  # AC current
    assert (WORDS[:, at + 33] == 0x8000).all()  # cabinet temperature
    assert (WORDS[:, at + 40 : at + 52] == 0xFFFF).all()  # events
