"""Hostile machines: nothing false is recorded, faults are named, the others go on as if alone."""

import pytest

from support import hostile_modbus, hostile_opcua, virtual_time
from support.besieged import besieged, judged


def test_there_are_cases_enough_and_no_two_are_one():
    over_modbus = [(name, scheme) for name, scheme, _ in hostile_modbus.over_modbus()]

    assert len(set(over_modbus)) == len(over_modbus) >= 60
    assert len(hostile_opcua.cases()) >= 40


@pytest.mark.endurance
def test_every_hostile_device_at_once_harms_nobody_and_is_read_soon_after():
    figures = judged(virtual_time.run(besieged()))

    assert figures["wrong values accepted"].startswith("0 of")
