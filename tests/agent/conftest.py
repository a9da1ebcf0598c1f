"""What the tests of the agent's shell share: a broker that is really running."""

from collections.abc import Iterator

import pytest

from joulemark_gateway.broker import RunningBroker, start_broker


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    """The embedded broker, one for each file of tests."""
    with start_broker("embedded") as running:
        yield running
