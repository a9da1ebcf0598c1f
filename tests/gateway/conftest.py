"""The brokers that everything on the collector's side must work with."""

from collections.abc import Iterator

import pytest

from joulemark_gateway.broker import RunningBroker, start_broker


@pytest.fixture(
    scope="module",
    params=["embedded", pytest.param("mosquitto", marks=pytest.mark.service)],
)
def kind(request) -> str:
    """Each kind of broker in turn."""
    if request.param == "mosquitto":
        request.getfixturevalue("mosquitto")
    return str(request.param)


@pytest.fixture(scope="module")
def broker(kind) -> Iterator[RunningBroker]:
    """A running broker of each kind."""
    with start_broker(kind) as running:
        yield running
