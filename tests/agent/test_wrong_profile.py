"""Machines read with a wrong profile, the named cases; all of them are tried every night."""

from nightly import wrong_profile


def test_a_wrong_profile_is_refused_or_flagged_within_ten_minutes() -> None:
    figures = wrong_profile.run(1, full=False)

    assert figures["refused or flagged within 10 min"] == "15 of 15 (100.0 %)"
    assert figures["noticed without identification and checks"].startswith("1 of 15")
