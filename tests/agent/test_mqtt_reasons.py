"""Every reason code of MQTT 5 is named, with what to do."""

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from joulemark_agent.mqtt_reasons import is_alarm, meaning, what_to_do

ANSWERS = (PacketTypes.CONNACK, PacketTypes.PUBACK, PacketTypes.SUBACK, PacketTypes.DISCONNECT)


def codes_of(packet: int) -> list[int]:
    """The codes that the library knows of a packet, whose table is the standard's."""
    found = []
    for value in range(256):
        try:
            ReasonCode(packet, identifier=value)
        except (KeyError, ValueError):
            continue
        found.append(value)
    return found


@pytest.mark.parametrize("packet", ANSWERS)
def test_every_failure_is_named_with_what_to_do(packet):
    failures = [value for value in codes_of(packet) if value >= 0x80]
    assert failures
    for value in failures:
        assert is_alarm(value)
        assert not meaning(value).startswith("reason "), f"0x{value:02X} has no name"
        assert f"0x{value:02X}" in meaning(value)
        assert what_to_do(value).endswith(".")


def test_nobody_listening_is_an_alarm_and_success_is_none():
    assert is_alarm(0x10)
    assert "no collector is listening" in meaning(0x10)
    assert not any(map(is_alarm, (0x00, 0x01, 0x02, 0x04)))


def test_a_code_that_nobody_knows_is_shown_as_it_came():
    assert meaning(0xFE) == "reason 0xFE"
    assert "log" in what_to_do(0xFE)
