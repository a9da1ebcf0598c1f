"""What the tests of the agent's shell share: a broker that is really running."""

from collections.abc import Iterator

import pytest

from joulemark_gateway.broker import RunningBroker, start_broker


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    """The embedded broker, one for each file of tests."""
    with start_broker("embedded") as running:
        yield running


@pytest.fixture(scope="session")
def opcua_plant() -> Iterator[int]:
    """The port of a foreign OPC UA server, one for all tests: it takes seconds to make."""
    from support.opcua import plant  # noqa: PLC0415 - only who asks for it waits for the library

    with plant() as port:
        yield port
