"""The everyday part of the endurance checks of energy."""

from nightly import energy_registers, energy_stream


def test_energy_from_power_in_short():
    energy_stream.run(1, full=False)


def test_energy_from_registers_in_short():
    energy_registers.run(1, full=False)
