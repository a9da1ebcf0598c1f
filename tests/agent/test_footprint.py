"""What the agent takes; it starts processes of its own and watches them for some seconds."""

import pytest

from nightly import footprint


@pytest.mark.endurance
def test_the_agent_stays_within_its_memory_with_numba_and_without():
    footprint.run(1, full=False)
