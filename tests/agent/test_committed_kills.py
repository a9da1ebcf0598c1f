import pytest

from nightly import committed


@pytest.mark.endurance
def test_kills_between_archive_and_receipt_lose_no_raw_record_and_a_thin_link_suffices():
    figures = committed.run(1, full=False)
    assert figures["archive first, then delete: leaves lost"].startswith("0 of ")
