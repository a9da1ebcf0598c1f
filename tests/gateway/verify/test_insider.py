import pytest

from nightly import insider


@pytest.mark.endurance
def test_who_rewrites_the_past_with_every_key_of_the_site_fails_at_one_head_held_elsewhere():
    figures = insider.run(1, full=False)
    assert len(figures) == 5
    assert len(set(figures.values())) == 1
