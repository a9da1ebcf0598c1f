"""One outage of the endurance check, which itself says what must hold."""

import pytest

from nightly import opcua_restart


@pytest.mark.endurance
def test_a_server_behind_a_wire_that_was_cut_is_read_again_within_5_s() -> None:
    figures = opcua_restart.run(1, full=False)

    assert figures["rounds"] == "1"
