"""The HTTP API against Schemathesis, two thousand cases; the tens of thousands run nightly."""

import pytest

from nightly import http_api


@pytest.mark.endurance
@pytest.mark.timeout(900)
def test_no_answer_fails_or_is_not_as_described():
    figures = http_api.run(1, full=False)
    assert figures["server errors and other failures"] == "0"
