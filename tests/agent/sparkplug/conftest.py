from collections.abc import Iterator

import pytest

from support.sparkplug_plant import Plant, plant_of


@pytest.fixture
def plant(broker, tmp_path, request) -> Iterator[Plant]:
    """A session before a real broker; a test may ask for another by a parameter."""
    with plant_of(broker.port, tmp_path, **getattr(request, "param", {})) as found:
        yield found
